"""ServerMessageWebSocket: made from accepted sockets, with `websockets` as the client."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from tests.engine.pairs import PATIENCE, connected_sockets, receive, reset, socket_and_peer, until
from tests.engine.tls_pairs import tls_pair
from tests.sockets.web_socket_peers import plain_client

import moorings
from moorings import Buffer, errors
from moorings.protocols.web_error_status import INET_E_CONNECTION_ABORTED, INET_E_DISCONNECTED
from moorings.sockets.enums import SocketMessageType
from moorings.sockets.server_message_web_socket import ServerMessageWebSocket, accept_web_socket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

REQUEST = (
    b"GET /chat?room=1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@asynccontextmanager
async def serving(handle: Callable[[ServerMessageWebSocket], Any], **settings: Any) -> AsyncIterator[str]:
    async def accept(connection: Any) -> None:
        await handle(await accept_web_socket(connection, **settings))

    async with moorings.listen("tcp://127.0.0.1:0", accept) as listening:
        yield f"ws://127.0.0.1:{listening.port}/chat"


async def echo(web_socket: ServerMessageWebSocket) -> None:
    async with web_socket:
        async for message in web_socket:
            await web_socket.send(message)


async def test_it_echoes_to_another_implementation() -> None:
    async with asyncio.timeout(PATIENCE), serving(echo) as url, websockets.connect(url, compression=None) as client:
        for message in ("", "größer", b"", b"\0\1", "x" * 70_000, b"y" * 300_000):
            await client.send(message)
            assert await client.recv() == message
        await (await client.ping())
        await client.send(["in ", "many ", "parts"])
        assert await client.recv() == "in many parts"


@pytest.mark.parametrize("blocking", [False, True])
async def test_its_handlers_get_messages_and_the_end(blocking: bool) -> None:
    seen: list[Any] = []
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def handle(web_socket: ServerMessageWebSocket) -> None:
        def on_message(sender: Any, args: Any) -> None:
            assert sender is web_socket
            reader = args.get_data_reader()
            assert reader is args.get_data_reader()
            seen.append((args.message_type, reader.read_string(reader.unconsumed_buffer_length), args.data))
            assert args.is_message_complete

        def on_closed(_sender: Any, args: Any) -> None:
            seen.append((args.code, args.reason))
            loop.call_soon_threadsafe(ended.set)

        web_socket.add_message_received(moorings.blocking(on_message) if blocking else on_message)
        web_socket.add_closed(on_closed)
        with pytest.raises(OSError, match="one or the other"):
            await web_socket.receive()
        await ended.wait()
        await web_socket.aclose()

    async with asyncio.timeout(PATIENCE), serving(handle) as url:
        async with websockets.connect(url, compression=None) as client:
            await client.send("one é")
            await client.send(b"two")
            await client.close(3000, "enough")
        await ended.wait()
    utf8, binary = SocketMessageType.UTF8, SocketMessageType.BINARY
    assert seen == [(utf8, "one é", "one é"), (binary, "two", b"two"), (3000, "enough")]


async def test_an_async_handler_answers_through_the_output_stream() -> None:
    async def handle(web_socket: ServerMessageWebSocket) -> None:
        async def answer(_sender: Any, args: Any) -> None:
            web_socket.control.message_type = args.message_type
            data = args.get_data_stream()
            buffer = await data.read_async(Buffer(100), 100, moorings.InputStreamOptions.NONE)
            assert await web_socket.output_stream.write_async(buffer) == len(buffer)

        web_socket.add_message_received(answer)
        closed = asyncio.Event()
        web_socket.add_closed(lambda _sender, _args: closed.set())
        await closed.wait()

    async with asyncio.timeout(PATIENCE), serving(handle) as url, websockets.connect(url, compression=None) as client:
        for message in ("text", b"binary"):
            await client.send(message)
            assert await client.recv() == message


async def test_request_subprotocol_and_addresses_are_known() -> None:
    async def handle(web_socket: ServerMessageWebSocket) -> None:
        information = web_socket.information
        await web_socket.send(f"{information.protocol} {information.request.path} {information.local_address}")
        web_socket.close(1000, "done")
        await web_socket.aclose()

    offered: Any = ["a", "b"]
    async with (
        asyncio.timeout(PATIENCE),
        serving(handle, subprotocols=["b", "a"]) as url,
        websockets.connect(url, subprotocols=offered, compression=None) as client,
    ):
        assert client.subprotocol == "b"
        assert await client.recv() == "b /chat 127.0.0.1"
        with pytest.raises(websockets.ConnectionClosedOK) as caught:
            await client.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1000, "done")


async def test_what_is_no_request_for_a_web_socket_is_answered_and_refused() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(OSError, match="answered with 426") as caught:
            await accept_web_socket(ours)
        assert caught.value.winerror == errors.signed(0x80190004)
        answer = await asyncio.get_running_loop().sock_recv(peer, 65536)
        assert answer.startswith(b"HTTP/1.1 426 ")


async def test_an_origin_that_may_not_connect_gets_403() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.sendall(REQUEST.replace(b"Host:", b"Origin: https://evil.example\r\nHost:"))
        with pytest.raises(OSError, match=r"evil\.example may not connect") as caught:
            await accept_web_socket(ours, origins=["https://good.example"])
        assert caught.value.winerror == errors.signed(0x80190193)
        assert (await asyncio.get_running_loop().sock_recv(peer, 65536)).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    ("origin", "origins", "opens"),
    [
        ("http://localhost", None, True),
        ("https://other.example", None, False),
        ("https://other.example", ["*"], True),
        ("https://other.example", ["https://OTHER.example/"], True),
    ],
)
async def test_pages_of_other_hosts_may_connect_only_where_they_are_named(
    origin: str, origins: Any, opens: bool
) -> None:
    async with socket_and_peer() as (ours, peer):
        peer.sendall(REQUEST.replace(b"Host:", f"Origin: {origin}\r\nHost:".encode()))
        if opens:
            (await accept_web_socket(ours, origins=origins)).abort()
        else:
            with pytest.raises(OSError, match="may not connect"):
                await accept_web_socket(ours, origins=origins)


async def test_a_request_that_does_not_come_or_breaks_off_is_no_web_socket() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.sendall(REQUEST[:50])
        peer.shutdown(1)
        with pytest.raises(OSError, match="before its request was complete"):
            await accept_web_socket(ours)
    async with socket_and_peer() as (ours, _peer):
        accepting = asyncio.ensure_future(accept_web_socket(ours))
        await asyncio.sleep(0)
        accepting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await accepting
        assert ours.end_reason == moorings.EndReason.ABORTED


async def test_over_tls_with_a_head_that_comes_byte_by_byte_and_a_message_behind_it() -> None:
    async with tls_pair("TLS 1.3") as (ours, theirs):
        accepting = asyncio.ensure_future(accept_web_socket(ours))
        for byte in REQUEST[:-1]:
            await theirs.write(bytes([byte]))
        await theirs.write(REQUEST[-1:] + b"\x81\x82\0\0\0\0hi")
        web_socket = await accepting
        assert await web_socket.receive() == "hi"
        await theirs.read_until(b"\r\n\r\n")
        await web_socket.send("ho")
        assert await theirs.read_exactly(4) == b"\x81\x02ho"
        theirs.abort()
        with pytest.raises(ConnectionError):
            await web_socket.receive()


async def test_a_break_is_raised_by_receiving_and_by_the_last_event() -> None:
    for by_event in (False, True):
        async with socket_and_peer() as (ours, peer):
            peer.sendall(REQUEST)
            web_socket = await accept_web_socket(ours)
            failures: list[Any] = []
            failed = asyncio.Event()

            def on_message(_sender: Any, args: Any, failures: list[Any] = failures, failed: Any = failed) -> None:
                with pytest.raises(ConnectionAbortedError) as caught:
                    args.get_data_reader()
                failures.append((caught.value, args.is_message_complete))
                failed.set()

            closed: list[Any] = []
            web_socket.add_closed(lambda _sender, args, closed=closed: closed.append(args))
            if by_event:
                web_socket.add_message_received(on_message)
            peer.shutdown(1)
            if by_event:
                async with asyncio.timeout(PATIENCE):
                    await failed.wait()
                ((error, complete),) = failures
                assert not complete
            else:
                with pytest.raises(ConnectionAbortedError) as caught:
                    await web_socket.receive()
                error = caught.value
            assert getattr(error, "winerror", 0) == INET_E_CONNECTION_ABORTED
            await web_socket.aclose()
            assert closed == []
            assert web_socket.close_code == 0


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_a_handler_of_tcp_whose_web_socket_breaks_is_counted_and_not_reported(how: str) -> None:
    async def accept(connection: Any) -> None:
        await echo(await accept_web_socket(connection))

    async with asyncio.timeout(PATIENCE), moorings.listen("tcp://127.0.0.1:0", accept) as listening:
        with plain_client(listening.port) as client:
            client.sendall(REQUEST)
            await receive(client, 12)
            if how == "reset":
                reset(client)
            else:
                client.shutdown(1)
            await until(lambda: listening.open_connections == 0)
    assert listening.report is not None
    assert listening.report.broken == 1


async def test_sends_after_the_end_say_why() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.sendall(REQUEST + b"\x88\x84\0\0\0\0\x03\xf3no")
        web_socket = await accept_web_socket(ours)
        with pytest.raises(OSError, match="1011 no") as caught:
            await web_socket.receive()
        assert caught.value.winerror == INET_E_DISCONNECTED
        with pytest.raises(OSError, match="1011 no"):
            await web_socket.send("late")
        web_socket.close()
        with pytest.raises(OSError, match="closed") as caught:
            await web_socket.output_stream.write_async(b"later")
        assert caught.value.winerror == errors.RO_E_CLOSED


async def test_wrong_arguments_of_close_are_refused() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.sendall(REQUEST)
        web_socket = await accept_web_socket(ours)
        with pytest.raises(TypeError, match=r"use close\(\) or close\(code, reason\)"):
            web_socket.close(1000)
        with pytest.raises(OverflowError):
            web_socket.close(70_000, "")
        for code, reason in ((999, ""), (1005, ""), (1000, "x" * 124)):
            with pytest.raises(OSError, match="close") as caught:
                web_socket.close(code, reason)
            assert caught.value.winerror == errors.E_INVALIDARG
        web_socket.abort()


async def test_one_that_is_dropped_while_it_is_open_warns() -> None:
    ours, peer = connected_sockets()
    with peer:
        peer.sendall(REQUEST)
        kept = [await accept_web_socket(moorings.StreamSocket.from_socket(ours))]
        with pytest.warns(ResourceWarning, match="unclosed"):
            kept.clear()
