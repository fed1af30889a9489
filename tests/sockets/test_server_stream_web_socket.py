"""ServerStreamWebSocket: made from accepted sockets, with `websockets` as the client, and with ourselves."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from tests.engine.pairs import PATIENCE, connected_sockets, socket_and_peer

import moorings
from moorings import Buffer, DataReader, DataWriter, EndReason, InputStreamOptions, errors
from moorings.protocols.web_error_status import (
    INET_E_DISCONNECTED,
    INET_E_OPERATION_CANCELLED,
    WEB_SOCKET_E_PROTOCOL,
)
from moorings.sockets.server_stream_web_socket import ServerStreamWebSocket, accept_stream_web_socket

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable

REQUEST = (
    b"GET /bytes HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
NONE, PARTIAL = InputStreamOptions.NONE, InputStreamOptions.PARTIAL


@asynccontextmanager
async def serving(handle: Callable[[ServerStreamWebSocket], Any], **settings: Any) -> AsyncIterator[str]:
    async def accept(connection: Any) -> None:
        await handle(await accept_stream_web_socket(connection, **settings))

    async with asyncio.timeout(PATIENCE), moorings.listen("tcp://127.0.0.1:0", accept) as listening:
        yield f"ws://127.0.0.1:{listening.port}/bytes"


async def test_bytes_of_another_implementation_are_a_stream_and_writes_are_its_messages() -> None:
    async def handle(web_socket: ServerStreamWebSocket) -> None:
        async with web_socket:
            assert await web_socket.read_exactly(5) == b"abcde"
            assert await web_socket.read_until(b"\n") == b"f\n"
            assert [line async for line in web_socket.lines()] == [b"one", b"two", b"last"]
            assert await web_socket.read() == b""
        assert web_socket.end_reason == EndReason.CLOSED_BY_PEER
        assert (web_socket.close_code, web_socket.close_reason) == (1000, "")

    async with serving(handle) as url, websockets.connect(url, compression=None) as client:
        for message in (b"abc", b"def", b"\none\r\nt", [b"wo\n", b"la", b"st"]):
            await client.send(message)


async def test_it_writes_one_message_for_each_write() -> None:
    async def handle(web_socket: ServerStreamWebSocket) -> None:
        async with web_socket:
            web_socket.write(b"one")
            web_socket.write(bytearray(b"two"))
            assert await web_socket.output_stream.write_async(b"three") == 5
            assert await web_socket.write(b"x" * 100_000) == 100_000
            writer = DataWriter(web_socket.output_stream)
            writer.write_string("by a writer")
            await writer.store_async()
            assert await writer.flush_async()
            writer.detach_stream()
            assert await web_socket.read() == b""

    async with serving(handle) as url, websockets.connect(url, compression=None) as client:
        for wanted in (b"one", b"two", b"three", b"x" * 100_000, b"by a writer"):
            assert await client.recv() == wanted


async def test_a_data_reader_reads_over_the_ends_of_messages() -> None:
    async def handle(web_socket: ServerStreamWebSocket) -> None:
        reader = DataReader(web_socket.input_stream)
        assert await reader.load_async(6) == 6
        assert reader.read_string(6) == "abcdef"
        reader.input_stream_options = PARTIAL
        assert await reader.load_async(100) == 1
        assert await reader.load_async(100) == 0
        reader.detach_stream()
        await web_socket.aclose()

    async with serving(handle) as url, websockets.connect(url, compression=None) as client:
        for message in (b"abcd", b"efg"):
            await client.send(message)


async def test_request_subprotocol_and_addresses_are_known_and_closed_is_told() -> None:
    told: list[Any] = []
    ended = asyncio.Event()

    async def handle(web_socket: ServerStreamWebSocket) -> None:
        def on_closed(sender: Any, args: Any) -> None:
            told.append((sender, args.code, args.reason))
            ended.set()

        forgotten = web_socket.add_closed(lambda _sender, _args: told.append("removed"))
        web_socket.remove_closed(forgotten)
        web_socket.add_closed(on_closed)
        information = web_socket.information
        assert information is web_socket.information
        assert web_socket.input_stream is web_socket.input_stream
        assert web_socket.output_stream is web_socket.output_stream
        assert information.bandwidth_statistics is not None
        await web_socket.write(
            f"{information.protocol} {information.request.path} {information.local_address}".encode()
        )
        await ended.wait()
        assert told == [(web_socket, 4000, "bye")]
        web_socket.close()
        assert "ServerStreamWebSocket over" in repr(web_socket)

    offered: Any = ["a", "b"]
    async with (
        serving(handle, subprotocols=["b", "a"]) as url,
        websockets.connect(url, subprotocols=offered, compression=None) as client,
    ):
        assert await client.recv() == b"b /bytes 127.0.0.1"
        assert await (await client.ping()) >= 0  # nobody reads
        await client.close(4000, "bye")
    await ended.wait()


async def test_what_is_no_request_is_refused_and_so_is_an_origin() -> None:
    for request, origins, status in (
        (REQUEST.replace(b"Upgrade: websocket\r\n", b""), None, 426),
        (REQUEST, ["https://good.example"], 403),
    ):
        async with socket_and_peer() as (ours, peer):
            peer.sendall(request)
            with pytest.raises(OSError, match=f"answered with {status}"):
                await accept_stream_web_socket(ours, origins=origins)
    with pytest.raises(TypeError, match="socket"):
        await accept_stream_web_socket("socket")  # type: ignore[arg-type]


@asynccontextmanager
async def web_socket_and_peer(rest: bytes = b"") -> AsyncIterator[tuple[ServerStreamWebSocket, Any]]:
    async with asyncio.timeout(PATIENCE), socket_and_peer() as (ours, peer):
        peer.sendall(REQUEST + rest)
        web_socket = await accept_stream_web_socket(ours)
        try:
            yield web_socket, peer
        finally:
            web_socket.abort()


def masked(first: int, payload: bytes) -> bytes:
    return bytes([first, 0x80 | len(payload), 0, 0, 0, 0]) + payload


async def test_bytes_that_came_with_the_request_are_read() -> None:
    async with web_socket_and_peer(masked(0x82, b"early")) as (web_socket, _):
        assert await web_socket.read() == b"early"


async def test_a_second_read_is_refused_through_both_faces() -> None:
    async with web_socket_and_peer() as (web_socket, peer):
        first = web_socket.input_stream.read_async(Buffer(1), 1, NONE)
        second = web_socket.input_stream.read_async(Buffer(1), 1, NONE)
        for waiting in (second, web_socket.read()):
            with pytest.raises(OSError, match="pending") as caught:
                await waiting
            assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        peer.sendall(masked(0x82, b"x"))
        assert bytes(await first) == b"x"


async def test_a_text_message_fails_the_read_and_closes_with_1003() -> None:
    async with web_socket_and_peer(masked(0x82, b"before") + masked(0x81, b"text")) as (web_socket, peer):
        assert await web_socket.read() == b"before"
        with pytest.raises(OSError, match="a text message") as caught:
            await web_socket.read()
        assert caught.value.winerror == WEB_SOCKET_E_PROTOCOL
        received = b""
        while b"a text message on a stream of bytes" not in received:
            received += await asyncio.get_running_loop().sock_recv(peer, 4096)
        assert b"\x03\xeba text message" in received
        assert web_socket.close_code == 0


async def test_after_the_peers_close_frame_reads_end_and_writes_fail() -> None:
    async with web_socket_and_peer(masked(0x88, b"\x03\xf3no")) as (web_socket, _):
        assert await web_socket.read() == b""
        assert len(await web_socket.input_stream.read_async(Buffer(1), 1, NONE)) == 0
        with pytest.raises(OSError, match="1011 no") as caught:
            await web_socket.write(b"late")
        assert caught.value.winerror == INET_E_DISCONNECTED
        assert not await web_socket.output_stream.flush_async()
        await web_socket.aclose()


async def test_close_checks_its_arguments_and_ends_what_is_pending() -> None:
    async with web_socket_and_peer() as (web_socket, _):
        for arguments, error in (((1005, ""), OSError), ((1000,), TypeError), ((1000, "x" * 124), OSError)):
            with pytest.raises(error):
                web_socket.close(*arguments)
        with pytest.raises(TypeError):
            web_socket.close("1000", "")
        reading = web_socket.input_stream.read_async(Buffer(1), 1, NONE)
        inputs, outputs = web_socket.input_stream, web_socket.output_stream
        web_socket.close(1000, "bye")
        web_socket.close()
        with pytest.raises(OSError, match="pending") as caught:
            await reading
        assert caught.value.winerror == INET_E_OPERATION_CANCELLED
        for call in (
            lambda: web_socket.input_stream,
            lambda: web_socket.output_stream,
            lambda: web_socket.write(b"late"),
            lambda: inputs.read_async(Buffer(1), 1, NONE),
            outputs.flush_async,
        ):
            with pytest.raises(OSError, match="closed") as caught:
                call()
            assert caught.value.winerror == errors.RO_E_CLOSED


async def test_closing_the_output_stream_sends_the_close_frame_and_reading_goes_on() -> None:
    async with web_socket_and_peer() as (web_socket, peer):
        await asyncio.get_running_loop().sock_recv(peer, 4096)
        web_socket.write(b"last")
        web_socket.output_stream.close()
        received = b""
        while len(received) < 8:
            received += await asyncio.get_running_loop().sock_recv(peer, 4096)
        assert received == b"\x82\x04last\x88\0"
        peer.sendall(masked(0x82, b"answer") + masked(0x88, b""))
        assert await web_socket.read() == b"answer"
        assert await web_socket.read() == b""


async def test_cancelling_a_winrt_read_takes_it_down_and_a_python_read_does_not() -> None:
    async with web_socket_and_peer() as (web_socket, peer):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(web_socket.read(), 0.001)
        peer.sendall(masked(0x82, b"x"))
        assert await web_socket.read() == b"x"
        operation: Any = web_socket.input_stream.read_async(Buffer(1), 1, NONE)
        operation.cancel()
        with pytest.raises(OSError, match="cancelled") as caught:
            await operation
        assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
        with pytest.raises(OSError, match="closed"):
            await web_socket.read()


async def accepted(rest: bytes = b"") -> tuple[Any, socket.socket]:
    """One that nobody else holds, and its peer."""
    ours, peer = connected_sockets()
    peer.sendall(REQUEST + rest)
    return await accept_stream_web_socket(moorings.StreamSocket.from_socket(ours)), peer


@pytest.mark.parametrize("has_ended", [False, True])
async def test_one_that_is_dropped_is_closed_with_a_warning(has_ended: bool) -> None:
    async with asyncio.timeout(PATIENCE):
        web_socket, peer = await accepted(masked(0x88, b"") if has_ended else b"")
        if has_ended:
            assert await web_socket.read() == b""
        stream = web_socket._bytes
        stream.link.close_wait = 0.0
        with pytest.warns(ResourceWarning, match="unclosed ServerStreamWebSocket over"):
            del web_socket
        await stream.wait_closed()
        peer.close()


async def test_dropping_one_that_was_closed_says_nothing() -> None:
    async with asyncio.timeout(PATIENCE):
        web_socket, peer = await accepted()
        stream = web_socket._bytes
        web_socket.close()
        del web_socket
        gc.collect()
        peer.sendall(masked(0x88, b""))
        await stream.wait_closed()
        peer.close()


async def test_its_stream_may_be_kept_without_it() -> None:
    async with asyncio.timeout(PATIENCE):
        web_socket, peer = await accepted()
        inputs, outputs = web_socket.input_stream, web_socket.output_stream
        stream = web_socket._bytes
        del web_socket
        gc.collect()
        peer.sendall(masked(0x82, b"x"))
        assert bytes(await inputs.read_async(Buffer(1), 1, NONE)) == b"x"
        assert await outputs.write_async(b"y") == 1
        stream.abort()
        peer.close()


def test_it_works_from_plain_scripts() -> None:
    import threading

    got: list[bytes] = []
    done = threading.Event()

    async def serve() -> None:
        accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def handle(web_socket: ServerStreamWebSocket) -> None:
            accepted.set_result(web_socket)
            await asyncio.to_thread(done.wait)

        async with serving(handle) as url, websockets.connect(url, compression=None) as client:
            await client.send(b"from the client")
            web_socket = await accepted

            def elsewhere() -> None:
                async def use() -> None:
                    got.append(await web_socket.read())
                    await web_socket.write(b"answer")
                    await web_socket.ping()
                    await web_socket.aclose()

                asyncio.run(use())
                done.set()

            working = asyncio.to_thread(elsewhere)
            task = asyncio.ensure_future(working)
            assert await client.recv() == b"answer"
            await task

    asyncio.run(serve())
    assert got == [b"from the client"]
