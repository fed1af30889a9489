"""WebSockets of the engine as the client of a server made with `websockets`, and the server of its client."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from tests.engine.pairs import PATIENCE

import moorings
from moorings import Uri, accept_web_socket
from moorings.engine.web_socket import WebSocketLink
from moorings.protocols.web_socket_handshake import Accepted, ClientHandshake, target_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RECEIVE = 1
NEXT = 2
TEXT = 1
BINARY = 2


@asynccontextmanager
async def client_of(port: int) -> AsyncIterator[WebSocketLink]:
    """Our client, with the opening handshake of the codec."""
    handshake = ClientHandshake(target_of(Uri(f"ws://127.0.0.1:{port}/")))
    async with moorings.connect(f"tcp://127.0.0.1:{port}") as connection:
        await connection.write(handshake.request)
        outcome: Any = None
        while outcome is None:
            outcome = handshake.receive(await connection.read())
        assert isinstance(outcome, Accepted)
        stream: Any = connection._connection.stream
        link = WebSocketLink(stream, True)
        link.start(outcome.rest)
        yield link
        link.close(1000, "")
        await stream.wait_closed()


async def echo(web_socket: Any) -> None:
    async for message in web_socket:
        await web_socket.send(message)


def messages() -> list[Any]:
    chance = random.Random(7)
    sizes = [0, 1, 125, 126, 65535, 65536, 300_000, *(chance.randrange(5000) for _ in range(60))]
    return [chance.randbytes(size) if chance.random() < 0.5 else "ü" * (size // 2) for size in sizes]


async def test_our_client_and_their_server() -> None:
    async with asyncio.timeout(PATIENCE), websockets.serve(echo, "127.0.0.1", 0, compression=None) as server:
        (listener,) = server.sockets
        async with client_of(listener.getsockname()[1]) as link:
            for message in messages():
                link.send(TEXT if isinstance(message, str) else BINARY, message, True)
            for message in messages():
                assert await link.receive(RECEIVE) == message
            assert 0 < await link.ping() < PATIENCE
            link.send_fragment(TEXT, "in ", False, True)
            link.send_fragment(TEXT, "", False, True)
            link.send_fragment(TEXT, "parts", True, True)
            assert await link.receive(RECEIVE) == "in parts"
        assert (link.close_code, link.stage) == (1000, 4)


async def test_their_server_closes() -> None:
    async def leave(web_socket: Any) -> None:
        await web_socket.send("bye")
        await web_socket.close(4001, "leaving")

    async with asyncio.timeout(PATIENCE), websockets.serve(leave, "127.0.0.1", 0, compression=None) as server:
        (listener,) = server.sockets
        async with client_of(listener.getsockname()[1]) as link:
            assert await link.receive(RECEIVE) == "bye"
            with pytest.raises(OSError, match="4001 leaving"):
                await link.receive(NEXT)


async def test_their_client_and_our_server() -> None:
    async def serve(connection: Any) -> None:
        async with await accept_web_socket(connection) as web_socket:
            await echo(web_socket)

    async with (
        asyncio.timeout(PATIENCE),
        moorings.listen("tcp://127.0.0.1:0", serve) as listening,
        websockets.connect(f"ws://127.0.0.1:{listening.port}/", compression=None) as client,
    ):
        sending = asyncio.ensure_future(_send_all(client))
        for message in messages():
            assert await client.recv() == message
        await sending
        assert await (await client.ping()) < PATIENCE
        await client.close(1001, "going")
        assert client.close_code == 1001


async def _send_all(client: Any) -> None:
    for message in messages():
        await client.send(message)
