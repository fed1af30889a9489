"""MessageWebSocket: messages, frames, events, plain scripts and threads."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest
import websockets
from tests.docs.programs import environment
from tests.engine.pairs import PATIENCE, until
from tests.sockets.web_socket_servers import code_of, connected, scripted, serving, upgrade

import moorings
from moorings import (
    MessageWebSocket,
    ServerMessageWebSocket,
    SocketMessageType,
    WebSocketCompression,
    errors,
)
from moorings.protocols.web_error_status import (
    INET_E_CONNECTION_ABORTED,
    INET_E_DISCONNECTED,
    WEB_E_RESOURCE_TOO_LARGE,
)
from winrt.windows.networking.sockets import (
    IWebSocket,
)

# -- messages --------------------------------------------------------------------------------------------------------

MESSAGES: list[str | bytes] = ["", "größer", b"", b"\0\1", "x" * 70_000, b"y" * 300_000]


@pytest.mark.parametrize("compression", [False, True, WebSocketCompression(context_takeover=True)])
async def test_messages_pass_unchanged(compression: Any) -> None:
    async with serving(compression=True) as url:
        made = MessageWebSocket()
        made.control.compression = compression
        await connected(url, made)
        for message in MESSAGES:
            await made.send(message)
            assert await made.receive() == message
        assert (made.counters.deflated_bytes > 0) == bool(compression)
        assert await made.ping() >= 0
        await made.aclose()
        assert made.close_code == 1005


@pytest.mark.parametrize("wrong", [{"text": "x"}, 5, None, ["x"]], ids=repr)
async def test_a_message_that_is_neither_text_nor_bytes_is_named_and_nothing_is_sent(wrong: Any) -> None:
    async with serving() as url:
        made = await connected(url)
        with pytest.raises(TypeError, match=f"a message must be str or bytes-like, not {type(wrong).__name__}"):
            await made.send(wrong)
        await made.send("right")
        assert await made.receive() == "right"
        await made.aclose()


async def test_a_server_may_decline_compression() -> None:
    async with serving() as url:
        made = MessageWebSocket()
        made.control.compression = True
        await connected(url, made)
        await made.send("x" * 1000)
        assert await made.receive() == "x" * 1000
        assert made.counters.deflated_bytes == 0
        await made.aclose()


async def test_the_output_stream_sends_messages_of_the_type_of_the_moment() -> None:
    async with serving() as url:
        made = MessageWebSocket()
        stream = made.output_stream
        for call in (lambda: stream.write_async(b"x"), stream.flush_async):
            with pytest.raises(OSError, match="connect it first") as caught:
                call()
            assert code_of(caught) == errors.E_ILLEGAL_METHOD_CALL
        await connected(url, made)
        writer = moorings.DataWriter(stream)
        writer.write_string("binary é")
        assert await writer.store_async() == 9
        made.control.message_type = SocketMessageType.UTF8
        writer.write_string("text é")
        await writer.store_async()
        assert await writer.flush_async()
        assert await made.receive() == "binary é".encode()
        assert await made.receive() == "text é"
        with pytest.raises(OSError, match="UTF-8") as caught:
            await stream.write_async(b"\xff")
        assert code_of(caught) == errors.E_INVALIDARG
        writer.detach_stream()
        stream.close()
        with pytest.raises(OSError) as caught:
            stream.flush_async()
        assert code_of(caught) == errors.RO_E_CLOSED
        await made.aclose()


async def test_frames_make_messages() -> None:
    async with serving() as url:
        made = await connected(url)
        made.control.message_type = SocketMessageType.UTF8
        both = "é".encode()
        assert await made.send_nonfinal_frame_async(both[:1]) == 1
        made.control.message_type = SocketMessageType.BINARY  # it counts for the next message
        with pytest.raises(OSError) as caught:
            await made.output_stream.write_async(b"between")
        assert code_of(caught) == errors.E_ILLEGAL_METHOD_CALL
        with pytest.raises(OSError) as caught:
            await made.send_final_frame_async(b"\xff")
        assert code_of(caught) == errors.E_INVALIDARG
        assert await made.send_final_frame_async(bytearray(both[1:])) == 1
        assert await made.receive() == "é"
        assert await made.send_final_frame_async(moorings.Buffer(0)) == 0
        assert await made.receive() == b""
        with pytest.raises(TypeError):
            made.send_final_frame_async("text")  # type: ignore[arg-type]
        await made.aclose()


async def test_a_message_over_the_limit_is_refused() -> None:
    async with serving() as url:
        made = MessageWebSocket()
        made.control.max_message_size = 10
        await connected(url, made)
        await made.send(b"x" * 10)
        assert await made.receive() == b"x" * 10
        await made.send(b"x" * 11)
        with pytest.raises(OSError) as caught:
            await made.receive()
        assert code_of(caught) == WEB_E_RESOURCE_TOO_LARGE
        await made.aclose()


async def test_async_for_ends_with_the_close_of_the_server() -> None:
    async def handle(web_socket: ServerMessageWebSocket) -> None:
        for number in range(3):
            await web_socket.send(str(number))
        web_socket.close(1000, "done")
        await web_socket.aclose()

    async with serving(handle) as url, await connected(url) as made:
        assert [message async for message in made] == ["0", "1", "2"]
        assert (made.close_code, made.close_reason) == (1000, "done")
        with pytest.raises(OSError, match="1000 done") as caught:
            await made.send("late")
        assert code_of(caught) == INET_E_DISCONNECTED


# -- events ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["inline", "async", "blocking"])
async def test_handlers_get_messages_and_the_end(kind: str) -> None:
    seen: list[Any] = []
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    made = MessageWebSocket()

    def on_message(sender: Any, args: Any) -> None:
        assert sender is made
        reader = args.get_data_reader()
        seen.append(
            (args.message_type.name, reader.read_string(reader.unconsumed_buffer_length), args.is_message_complete)
        )

    async def later(sender: Any, args: Any) -> None:
        await asyncio.sleep(0)
        on_message(sender, args)

    def on_closed(sender: Any, args: Any) -> None:
        assert isinstance(sender, IWebSocket)
        seen.append((args.code, args.reason))
        loop.call_soon_threadsafe(ended.set)

    async def handle(web_socket: ServerMessageWebSocket) -> None:
        await web_socket.send("one é")
        await web_socket.send(b"two")
        web_socket.close(3000, "enough")
        await web_socket.aclose()

    handlers: dict[str, Any] = {"inline": on_message, "async": later, "blocking": moorings.blocking(on_message)}
    token = made.add_message_received(print)
    made.remove_message_received(token)
    made.add_message_received(handlers[kind])
    made.add_closed(on_closed)
    async with serving(handle) as url:
        await connected(url, made)
        with pytest.raises(OSError, match="one or the other"):
            await made.receive()
        await ended.wait()
        await made.aclose()
    assert seen == [("UTF8", "one é", True), ("BINARY", "two", True), (3000, "enough")]


async def test_a_break_is_the_last_event_and_no_close() -> None:
    seen: list[Any] = []
    failed = asyncio.Event()

    def on_message(_sender: Any, args: Any) -> None:
        try:
            seen.append(args.get_data_stream() and args.data)
        except OSError as error:
            seen.append(error.winerror)  # type: ignore[attr-defined]
            assert not args.is_message_complete
            failed.set()

    async def break_off(head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(upgrade(head) + b"\x81\x02hi")

    async with asyncio.timeout(PATIENCE), scripted(break_off) as script:
        made = MessageWebSocket()
        closed: list[Any] = []
        made.add_message_received(on_message)
        made.add_closed(lambda _sender, args: closed.append(args))
        await connected(script.url, made)
        await failed.wait()
        assert seen == ["hi", INET_E_CONNECTION_ABORTED]
        await made.aclose()
        assert closed == []


# -- plain scripts ---------------------------------------------------------------------------------------------------

SCRIPT = """
import sys, threading
from winrt.windows.foundation import Uri
from winrt.windows.networking.sockets import MessageWebSocket, SocketMessageType
from winrt.windows.storage.streams import DataWriter

done = threading.Event()
closed = threading.Event()

def on_message(sender, args):
    assert threading.current_thread().name == "moorings-worker"
    reader = args.get_data_reader()
    print("got", reader.read_string(reader.unconsumed_buffer_length))
    if not done.is_set():
        writer = DataWriter(sender.output_stream)
        writer.write_string("from a handler")
        writer.store_async().get()
        writer.detach_stream()
        done.set()
    else:
        sender.close(1000, "bye")

def on_closed(sender, args):
    print("closed", args.code)
    closed.set()

socket = MessageWebSocket()
socket.control.message_type = SocketMessageType.UTF8
socket.add_message_received(on_message)
socket.add_closed(on_closed)
socket.connect_async(Uri(sys.argv[1])).get()
socket.send_nonfinal_frame_async(b"in ").get()
socket.send_final_frame_async(b"frames").get()
done.wait()
closed.wait()
try:
    socket.output_stream.write_async(b"late")
except OSError as error:
    print(hex(error.winerror & 0xffffffff))
"""


async def test_a_plain_script() -> None:
    async with serving() as url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", SCRIPT, url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        printed, complaints = await process.communicate()
    assert (printed.decode().splitlines(), complaints) == (
        ["got in frames", "got from a handler", "closed 1000", "0x80000013"],
        b"",
    )


async def test_it_can_be_used_from_another_thread() -> None:
    async with serving() as url:
        made = await connected(url)
        outcome: list[Any] = []

        def work() -> None:
            made.send("from a thread").get()
            made.send_final_frame_async(b"and a frame").get()
            outcome.append(made.receive().get())
            made.close()

        thread = threading.Thread(target=work)
        thread.start()
        await until(lambda: not thread.is_alive())
        assert outcome == ["from a thread"]
        await made.aclose()


async def test_the_websockets_package_as_the_server() -> None:
    async def handle(connection: websockets.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)
        assert connection.close_code == 1000

    async with asyncio.timeout(PATIENCE), websockets.serve(handle, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        for compression in (False, True, WebSocketCompression(context_takeover=True, peer_context_takeover=True)):
            made = MessageWebSocket()
            made.control.compression = compression
            await connected(f"ws://127.0.0.1:{port}/", made)
            assert ("sec-websocket-extensions" in dict(made.information.response_headers)) == bool(compression)
            for message in MESSAGES:
                await made.send(message)
                assert await made.receive() == message
            made.close(1000, "bye")
            await made.aclose()
            assert made.close_code == 1000
