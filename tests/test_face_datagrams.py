"""`moorings.connect` and `moorings.listen` with `udp://`."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE, until
from tests.sockets.datagram_peers import plain_peer, unused_port
from tests.sockets.peers import code

import moorings
from moorings import DatagramSocket, ListeningDatagrams


async def shout(message: Any) -> None:
    await message.reply(bytes(message.data).upper())


def answer_at_once(message: Any) -> None:
    message.reply(bytes(message.data).upper())


@pytest.mark.parametrize("handler", [shout, answer_at_once, moorings.blocking(answer_at_once)])
async def test_a_server_and_its_client(handler: Any) -> None:
    async with (
        moorings.listen("udp://127.0.0.1:0", handler) as server,
        await moorings.connect(f"udp://127.0.0.1:{server.port}", timeout=5) as client,
    ):
        assert isinstance(server, ListeningDatagrams)
        assert isinstance(client, DatagramSocket)
        for word in (b"one", b"two"):
            await client.send(word)
            async with asyncio.timeout(PATIENCE):
                assert (await client.receive()).data == word.upper()
        assert server.counters.datagrams_received == 2
        server.limits.receive_queue_limit = 5
        assert server.socket.limits.receive_queue_limit == 5


async def test_iterating() -> None:
    server: Any = await moorings.listen("udp://:")
    with plain_peer() as peer:
        peer.sendto(b"x", ("127.0.0.1", server.port))
        async for message in server:
            await server.send(b"y", message)
            server.close()
        assert peer.recv(10) == b"y"
    await server.serve_forever()


async def test_iterating_too_early() -> None:
    with pytest.raises(OSError) as caught:
        aiter(moorings.listen("udp://127.0.0.1:0"))
    assert code(caught.value) == "E_ILLEGAL_METHOD_CALL"


async def test_leaving_waits_for_the_handlers() -> None:
    done: list[bytes] = []
    gate = asyncio.Event()

    async def handle(message: Any) -> None:
        data = bytes(message.data)
        await gate.wait()
        done.append(data)

    with plain_peer() as peer:
        async with moorings.listen("udp://127.0.0.1:0", handle) as server:
            peer.sendto(b"x", ("127.0.0.1", server.port))
            await until(lambda: server.counters.datagrams_received == 1)
            asyncio.get_running_loop().call_soon(gate.set)
    assert done == [b"x"]


async def test_leaving_by_an_exception_cancels_the_handlers() -> None:
    ended: list[str] = []

    async def handle(_message: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def serve() -> None:
        async with moorings.listen("udp://127.0.0.1:0", handle) as server:
            peer.sendto(b"x", ("127.0.0.1", server.port))
            await until(lambda: server.counters.datagrams_received == 1)
            await asyncio.sleep(0)
            raise ValueError("the program's own")

    with plain_peer() as peer, pytest.raises(ValueError, match="the program's own"):
        await serve()
    assert ended == ["cancelled"]


async def test_serve_forever_ends_with_the_socket() -> None:
    async with moorings.listen("udp://127.0.0.1:0", shout) as server:
        serving = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        server.close()
        async with asyncio.timeout(PATIENCE):
            await serving


async def test_a_client_that_has_gone_hurts_no_server() -> None:
    """The answer to a closed port comes back as a report: it is counted, and the handler never sees it."""
    async with moorings.listen("udp://127.0.0.1:0", shout) as server:
        with plain_peer() as peer:
            peer.sendto(b"x", ("127.0.0.1", server.port))
        await until(lambda: server.counters.errors == 1)
        with plain_peer() as peer:
            peer.sendto(b"y", ("127.0.0.1", server.port))
            assert await asyncio.to_thread(peer.recv, 10) == b"Y"


async def test_a_peer_that_is_not_there() -> None:
    async with await moorings.connect(f"udp://127.0.0.1:{unused_port()}") as client:
        await client.send(b"anybody?")
        with pytest.raises(ConnectionResetError):
            await client.receive()


@pytest.mark.parametrize(
    "url", ["udp://", "udp://127.0.0.1:80/path", "udp://::1:80", "udp://127.0.0.1:65536", "udp://exa mple:80"]
)
async def test_bad_urls(url: str) -> None:
    with pytest.raises(OSError) as caught:
        await moorings.connect(url)
    assert code(caught.value) == "E_INVALIDARG"
    with pytest.raises(OSError) as caught:
        await moorings.listen(url)
    assert code(caught.value) == "E_INVALIDARG"


async def test_options_of_connections_are_none_of_datagrams() -> None:
    with pytest.raises(OSError, match="no connections") as caught:
        moorings.listen("udp://:0", shout, max_connections=5)
    assert code(caught.value) == "E_INVALIDARG"
    with pytest.raises(TypeError):
        moorings.listen("udp://:0", "handler")  # type: ignore[call-overload]


async def test_a_port_that_is_taken() -> None:
    with plain_peer() as peer, pytest.raises(OSError) as caught:
        await moorings.listen(f"udp://127.0.0.1:{peer.getsockname()[1]}")
    assert code(caught.value) == "WSAEADDRINUSE"


async def test_ipv6() -> None:
    async with moorings.listen("udp://[::1]:0", shout) as server:
        async with await moorings.connect(f"udp://[::1]:{server.port}") as client:
            await client.send(b"six")
            assert (await client.receive()).data == b"SIX"
        assert socket.AF_INET6 == server.socket._link.port.plain_socket.family
