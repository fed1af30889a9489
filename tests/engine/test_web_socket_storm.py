"""Cancelling at every loop turn of a WebSocket, over TCP and TLS: nothing is lost, repeated or left behind."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, socket_and_peer, turns
from tests.engine.web_socket_pairs import NEXT, RECEIVE, RawPeer, link_pair
from tests.sockets.test_server_message_web_socket import REQUEST

import moorings
from moorings.protocols.web_socket_deflate import DeflateParameters, client_settings, make_codecs

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from moorings.engine.web_socket import WebSocketLink

TEXT, BINARY = 1, 2
ENDED = 4
TRANSPORTS = ["TCP", "TLS 1.2", "TLS 1.3"]
MANY = 200
TURNS = 7

every_transport = pytest.mark.parametrize("transport", TRANSPORTS)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def cut_short(awaitable: Awaitable[Any], number: int) -> Any:
    """Cancel the task that awaits it, from its first turn on; its result, or None where it was cancelled."""
    task = asyncio.ensure_future(_await(awaitable))
    await turns(1 + number % TURNS)
    task.cancel()
    await asyncio.wait([task])
    return None if task.cancelled() else task.result()


async def receive_all(link: WebSocketLink, wanted: int, chance: random.Random) -> list[Any]:
    received: list[Any] = []
    while len(received) < wanted:
        got = await cut_short(link.receive(chance.choice((RECEIVE, NEXT))), chance.randrange(TURNS))
        if got is not None:
            received.append(got)
    return received


async def send_all(link: WebSocketLink, messages: list[Any], chance: random.Random) -> None:
    """Each once: a send that is cancelled stays queued. Pings and fragments in between."""
    for number, message in enumerate(messages):
        kind = TEXT if isinstance(message, str) else BINARY
        if number % 5 == 4 and len(message) > 2:
            for start, end in ((0, 1), (1, len(message))):
                await cut_short(link.send_fragment(kind, message[start:end], end == len(message), True), number)
        else:
            await cut_short(link.send(kind, message, True), chance.randrange(TURNS))
        if number % 7 == 3:
            await cut_short(link.ping(), chance.randrange(TURNS))
        if number % 11 == 0:
            await link.stream.flush()
    await link.stream.flush()


def messages_of(seed: int) -> list[Any]:
    chance = random.Random(seed)
    texts = [f"{number} {'ü' * chance.randrange(300)}" for number in range(MANY)]
    return [text if chance.randrange(2) else text.encode() * chance.choice((1, 1, 1, 100)) for text in texts]


@every_transport
@pytest.mark.parametrize("compressed", [False, True])
async def test_no_message_is_lost_or_repeated(transport: str, compressed: bool) -> None:
    async with link_pair(transport) as links:
        if compressed:
            for link in links:
                codecs = make_codecs(DeflateParameters(), link.sender.is_client, client_settings())
                link.inflater, link.sender.deflater = codecs
        wanted = [messages_of(seed) for seed in range(2)]
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            receiving = [
                group.create_task(receive_all(link, MANY, random.Random(seed)))
                for seed, link in enumerate(reversed(links))
            ]
            for seed, link in enumerate(links):
                group.create_task(send_all(link, wanted[seed], random.Random(seed)))
        for task, messages in zip(receiving, wanted, strict=True):
            assert task.result() == messages
        for link in links:
            assert link.pings_waiting == 0
            assert link.ping_head is link.receive_head is link.receive_tail is None
            assert link.protocol_failures == 0


@every_transport
async def test_a_cancelled_wait_for_the_end_ends_at_once(transport: str) -> None:
    for number in range(12):
        async with link_pair(transport) as (client, server):
            messages = [str(count) for count in range(20)]
            for message in messages:
                client.send(TEXT, message, True)
            client.close(1000, "")

            async def leave(link: WebSocketLink = client) -> None:
                await link.stream.wait_closed()

            leaving = asyncio.ensure_future(leave())
            reading = asyncio.ensure_future(_read_to_the_end(server))
            await turns(1 + number)
            leaving.cancel()
            await asyncio.wait([leaving])
            assert client.stream.is_released()
            assert client.stage == ENDED
            async with asyncio.timeout(PATIENCE):
                got = await reading
                with suppress(OSError):
                    await server.stream.wait_closed()
            assert got == messages[: len(got)]
            if client.close_code == 1000:
                assert got == messages


async def _read_to_the_end(link: WebSocketLink) -> list[Any]:
    got: list[Any] = []
    try:
        while True:
            got.append(await link.receive(NEXT))
    except StopAsyncIteration:
        pass
    except OSError:
        link.abort()
    return got


async def test_a_cancelled_write_of_the_winrt_face_is_the_end_or_has_gone_out() -> None:
    for number in range(TURNS):
        async with link_pair() as (client, server):
            receiving = asyncio.ensure_future(_read_to_the_end(server))
            task = asyncio.ensure_future(_await(client.send(BINARY, bytes(4_000_000), False)))
            await turns(1 + number)
            task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                assert client.stage == ENDED
            else:
                client.close(1000, "")
            async with asyncio.timeout(PATIENCE):
                got = await receiving
            assert got in ([], [bytes(4_000_000)])
            assert task.cancelled() or len(got) == 1
            client.abort()


@pytest.mark.parametrize("cut", [0, 30, len(REQUEST)])
async def test_a_cancelled_accept_leaves_an_aborted_socket_or_an_open_web_socket(cut: int) -> None:
    accepted = cancelled = 0
    for number in range(25):
        async with socket_and_peer() as (ours, plain):
            plain.sendall(REQUEST[:cut])

            async def accept(ours: moorings.StreamSocket = ours) -> moorings.ServerMessageWebSocket:
                return await moorings.accept_web_socket(ours, compression=True)

            accepting = asyncio.ensure_future(accept())
            await turns(1 + number // 2)
            with suppress(OSError):
                plain.sendall(REQUEST[cut:])
            await turns(number % 4)
            accepting.cancel()
            await asyncio.wait([accepting])
            stream: Any = ours._connection.stream
            if accepting.cancelled():
                cancelled += 1
                assert stream.is_released()
                continue
            accepted += 1
            async with accepting.result() as web_socket:
                peer = RawPeer(plain, client=True)
                head = await asyncio.get_running_loop().sock_recv(plain, 65536)
                assert head.startswith(b"HTTP/1.1 101 ")
                await web_socket.send("open")
                assert await peer.next() == "open"
                web_socket.abort()
    assert cancelled > 0 or cut == len(REQUEST)  # which is there, and then nothing waits
    assert accepted > 0 or cut == 0
