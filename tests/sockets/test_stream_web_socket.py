"""StreamWebSocket: states, settings, connecting, both faces, endings; `websockets` and ourselves as the server."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from tests.engine.pairs import PATIENCE
from tests.sockets.stream_web_socket_pairs import TRANSPORTS, pair_over
from tests.sockets.web_socket_servers import accepting, scripted, status
from tests.sockets.web_socket_states import in_state

from moorings import (
    Buffer,
    DataReader,
    DataWriter,
    EndReason,
    HandshakeRefusedError,
    InputStreamOptions,
    StreamWebSocket,
    Uri,
    errors,
)
from moorings.foundation.operation import Operation
from moorings.protocols.web_error_status import (
    INET_E_CONNECTION_ABORTED,
    INET_E_CONNECTION_RESET,
    INET_E_DISCONNECTED,
    INET_E_OPERATION_CANCELLED,
    WEB_SOCKET_E_PROTOCOL,
)
from moorings.sockets.connection import State
from moorings.sockets.stream_web_socket import RULES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

NONE, PARTIAL = InputStreamOptions.NONE, InputStreamOptions.PARTIAL


async def connected(url: str, web_socket: StreamWebSocket | None = None) -> StreamWebSocket:
    made = StreamWebSocket() if web_socket is None else web_socket
    async with asyncio.timeout(PATIENCE):
        await made.connect_async(Uri(url))
    return made


@asynccontextmanager
async def serving(handle: Callable[[Any], Any], **settings: Any) -> AsyncIterator[str]:
    """`websockets` as the server."""
    async with (
        asyncio.timeout(PATIENCE),
        websockets.serve(handle, "127.0.0.1", 0, compression=None, **settings) as server,
    ):
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/bytes"


async def echo(connection: Any) -> None:
    async for message in connection:
        await connection.send(message)


async def test_bytes_go_both_ways_with_another_implementation() -> None:
    async with serving(echo, max_size=None) as url, await connected(url) as made:
        for size in (1, 125, 126, 65_536, 300_000):
            assert await made.write(b"x" * size) == size
            assert await made.read_exactly(size) == b"x" * size
        made.write(b"one\ntw")
        made.write(b"o\r\nla")
        made.write(b"st")
        await made.flush()
        assert await made.read_until(b"\n") == b"one\n"
        assert await made.read_exactly(5) == b"two\r\n"
        assert await made.read_exactly(4) == b"last"
        assert await made.ping() >= 0
        assert made.latency > 0
    assert made.end_reason == EndReason.CLOSED_BY_US
    assert made.close_code == 1005


async def test_lines_up_to_the_servers_close_frame() -> None:
    told: list[Any] = []

    async def handle(connection: Any) -> None:
        await connection.send([b"one\ntw", b"o\r\n", b"la"])
        await connection.send(b"st")
        await connection.close(4001, "enough")

    async with serving(handle) as url:
        made = StreamWebSocket()
        made.add_closed(lambda sender, args: told.append((sender is made, args.code, args.reason)))
        await connected(url, made)
        assert [line async for line in made.lines()] == [b"one", b"two", b"last"]
        assert await made.read() == b""
        assert len(await made.input_stream.read_async(Buffer(1), 1, NONE)) == 0
        with pytest.raises(OSError, match="4001 enough") as caught:
            await made.output_stream.write_async(b"late")
        assert caught.value.winerror == INET_E_DISCONNECTED
        assert (made.close_code, made.close_reason) == (4001, "enough")
        assert made.end_reason == EndReason.CLOSED_BY_PEER
        await made.aclose()
    assert told == [(True, 4001, "enough")]


async def test_the_winrt_way_with_readers_and_writers() -> None:
    async with serving(echo) as url:
        made = StreamWebSocket()
        writer, reader = DataWriter(made.output_stream), DataReader(made.input_stream)
        await connected(url, made)
        writer.write_int32(7)
        writer.write_string("text")
        assert await writer.store_async() == 8
        assert await writer.flush_async()
        assert await reader.load_async(8) == 8
        assert (reader.read_int32(), reader.read_string(4)) == (7, "text")
        reader.input_stream_options = PARTIAL
        loading = reader.load_async(100)
        await made.output_stream.write_async(b"abc")
        assert await loading == 3
        writer.detach_stream()
        reader.detach_stream()
        await made.aclose()


# -- states ----------------------------------------------------------------------------------------------------------


async def use(made: StreamWebSocket, member: str) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "connect_async": lambda: made.connect_async(Uri("ws://127.0.0.1:1/")),
        "set_request_header": lambda: made.set_request_header("X", "y"),
        "add_server_custom_validation_requested": lambda: made.add_server_custom_validation_requested(print),
        "input_stream": lambda: made.input_stream,
        "output_stream": lambda: made.output_stream,
        "read": made.read,
        "read_exactly": lambda: made.read_exactly(1),
        "read_until": made.read_until,
        "lines": lambda: anext(made.lines()),
        "write": lambda: made.write(b"x"),
        "flush": made.flush,
        "ping": made.ping,
        "limits": lambda: made.limits,
    }
    done = calls[member]()
    if isinstance(done, Operation) or hasattr(done, "__await__"):
        await done


USED = [name for name, states in RULES.items() if states != frozenset(State)]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("member", USED)
async def test_members_in_wrong_states(member: str, state: State) -> None:
    if state in RULES[member]:
        return
    async with serving(echo) as url:
        made = await in_state(StreamWebSocket(), state, url)
        with pytest.raises(OSError) as caught:
            await use(made, member)
        wanted = errors.RO_E_CLOSED if state == State.CLOSED else errors.E_ILLEGAL_METHOD_CALL
        assert caught.value.winerror == wanted
        await made.aclose()
        assert made.information.protocol == ""
        assert repr(made.control)
        assert made.counters.queued_bytes == 0


async def test_the_streams_are_there_before_the_connect_and_fail() -> None:
    async with serving(echo) as url:
        made = StreamWebSocket()
        inputs, outputs = made.input_stream, made.output_stream
        calls = (lambda: inputs.read_async(Buffer(1), 1, NONE), lambda: outputs.write_async(b"x"), outputs.flush_async)
        assert made.end_reason == EndReason.OPEN
        for state in (State.NEW, State.BUSY):
            for call in calls:
                with pytest.raises(OSError, match="used while it is") as caught:
                    call()
                assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
            if state == State.NEW:
                connecting = made.connect_async(Uri(url))
        await connecting
        assert made.input_stream is inputs
        assert made.output_stream is outputs
        await outputs.write_async(b"x")
        assert bytes(await inputs.read_async(Buffer(1), 1, NONE)) == b"x"
        await made.aclose()
        for call in calls:
            with pytest.raises(OSError, match="closed") as caught:
                call()
            assert caught.value.winerror == errors.RO_E_CLOSED


async def test_closing_before_the_connect_closes_it() -> None:
    made = StreamWebSocket()
    inputs = made.input_stream
    made.output_stream.close()
    made.close()
    with pytest.raises(OSError, match="closed") as caught:
        inputs.read_async(Buffer(1), 1, NONE)
    assert caught.value.winerror == errors.RO_E_CLOSED
    async with scripted(accepting()) as script:
        busy = StreamWebSocket()
        connecting = busy.connect_async(Uri(script.url))
        await busy.aclose()
        with pytest.raises(asyncio.CancelledError):
            await connecting


async def test_a_connect_that_failed_leaves_it_new() -> None:
    async with scripted(status("404 No"), accepting(rest=b"\x82\x02hi")) as script:
        made = StreamWebSocket()
        with pytest.raises(HandshakeRefusedError):
            await connected(script.url, made)
        made.control.no_delay = False
        made.set_request_header("X-Second", "yes")
        await connected(script.url, made)
        assert await made.read() == b"hi"
        assert script.headers()["x-second"] == ["yes"]
        made.abort()


# -- control and information -----------------------------------------------------------------------------------------


async def test_settings_their_defaults_and_when_they_may_be_made() -> None:
    made = StreamWebSocket()
    control = made.control
    assert control is made.control
    assert control.no_delay is True
    assert control.desired_unsolicited_pong_interval == timedelta(seconds=30)
    assert control.actual_unsolicited_pong_interval == timedelta()
    assert control.client_certificate is control.server_credential is control.proxy_credential is None
    assert control.outbound_buffer_size_in_bytes == 0
    assert list(control.supported_protocols) == list(control.ignorable_server_certificate_errors) == []
    assert not hasattr(control, "compression")
    control.no_delay = False
    control.supported_protocols.append("b")
    async with serving(echo, subprotocols=["b"]) as url:
        await connected(url, made)
        for name, value in (("no_delay", True), ("server_credential", None)):
            with pytest.raises(OSError, match=name) as caught:
                setattr(control, name, value)
            assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        control.outbound_buffer_size_in_bytes = 100_000
        control.supported_protocols.append("ignored")
        assert control.actual_unsolicited_pong_interval == timedelta(seconds=30)
        information = made.information
        assert information is made.information
        assert information.protocol == "b"
        assert str(information.local_address) == "127.0.0.1"
        assert information.bandwidth_statistics is not None
        assert information.server_certificate is None
        await made.aclose()
        with pytest.raises(OSError, match="no_delay") as caught:
            control.no_delay = True
        assert caught.value.winerror == errors.RO_E_CLOSED


@pytest.mark.parametrize("no_delay", [True, False])
async def test_no_delay_is_that_of_the_descriptor(no_delay: bool) -> None:
    import socket

    from moorings.engine.descriptor import borrowed

    async with serving(echo) as url:
        made = StreamWebSocket()
        made.control.no_delay = no_delay
        await connected(url, made)
        with borrowed(made._last().fd) as plain:
            assert bool(plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) is no_delay
        await made.aclose()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_server_and_its_certificate_are_known(transport: str) -> None:
    async with pair_over(transport) as (client, server):
        assert (client.information.server_certificate is not None) is (transport != "TCP")
        await client.write(b"hello")
        assert await server.read() == b"hello"
        assert client.counters.bytes_sent == server.counters.bytes_received == 5


# -- endings ---------------------------------------------------------------------------------------------------------


async def test_a_text_message_fails_the_read_and_is_told_the_server() -> None:
    said: list[Any] = []

    async def handle(connection: Any) -> None:
        await connection.send(b"before")
        await connection.send("text")
        await connection.wait_closed()
        said.append((connection.close_code, connection.close_reason))

    async with serving(handle) as url:
        made = await connected(url)
        assert await made.read_exactly(6) == b"before"
        with pytest.raises(OSError, match="a text message") as caught:
            await made.read()
        assert caught.value.winerror == WEB_SOCKET_E_PROTOCOL
        await made.aclose()
    assert said == [(1003, "a text message on a stream of bytes")]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("swapped", [False, True])
async def test_close_says_code_and_reason_and_ends_what_is_pending(transport: str, swapped: bool) -> None:
    async with pair_over(transport) as pair:
        one, other = reversed(pair) if swapped else pair
        told: list[Any] = []
        for end in (one, other):
            end.add_closed(lambda _sender, args, told=told: told.append((args.code, args.reason)))
        reading = one.input_stream.read_async(Buffer(1), 1, NONE)
        one.write(b"last")
        one.close(4000, "bye")
        with pytest.raises(OSError, match="pending") as caught:
            await reading
        assert caught.value.winerror == INET_E_OPERATION_CANCELLED
        assert await other.read() == b"last"
        assert await other.read() == b""
        await asyncio.gather(one.aclose(), other.aclose())
        assert told == [(4000, "bye"), (4000, "")]
        assert (one.end_reason, other.end_reason) == (EndReason.CLOSED_BY_US, EndReason.CLOSED_BY_PEER)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_both_close_at_once(transport: str) -> None:
    async with pair_over(transport) as (client, server):
        client.write(b"unread")
        server.write(b"unread")
        await asyncio.gather(client.aclose(), server.aclose())
        assert (client.end_reason, server.end_reason) == (EndReason.CLOSED_BY_US, EndReason.CLOSED_BY_US)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_reset_fails_reads_and_writes(transport: str) -> None:
    async with pair_over(transport) as (client, server):
        told: list[Any] = []
        client.add_closed(lambda _sender, args: told.append(args))
        server.abort()
        for call in (client.read, client.read, lambda: client.write(b"late")):
            with pytest.raises(ConnectionResetError) as caught:
                await call()
            assert getattr(caught.value, "winerror", 0) == INET_E_CONNECTION_RESET
        assert (client.end_reason, told, client.close_code) == (EndReason.RESET, [], 0)
        await client.aclose()


async def test_an_end_without_a_close_frame_fails_the_read() -> None:
    async def answer(head: bytes, _reader: Any, writer: Any) -> None:
        from tests.sockets.web_socket_servers import upgrade

        writer.write(upgrade(head) + b"\x82\x02hi")

    async with scripted(answer) as script:
        made = await connected(script.url)
        assert await made.read() == b"hi"
        with pytest.raises(ConnectionAbortedError) as caught:
            await made.read()
        assert getattr(caught.value, "winerror", 0) == INET_E_CONNECTION_ABORTED
        assert made.end_reason == EndReason.TRUNCATED
        await made.aclose()


async def test_one_that_is_dropped_is_closed_with_a_warning_that_names_the_place() -> None:
    async with serving(echo) as url:
        made: Any = await connected(url)
        stream = made._last()
        with pytest.warns(ResourceWarning, match=r"unclosed StreamWebSocket over .*test_stream_web_socket\.py"):
            del made
        await stream.wait_closed()
        made = await connected(url)
        stream, inputs, outputs = made._last(), made.input_stream, made.output_stream
        del made
        gc.collect()
        await outputs.write_async(b"still")
        assert bytes(await inputs.read_async(Buffer(5), 5, NONE)) == b"still"
        with pytest.warns(ResourceWarning, match="unclosed"):
            del inputs, outputs
        await stream.wait_closed()


async def test_dropping_one_that_was_closed_says_nothing() -> None:
    async with serving(echo) as url:
        made: Any = await connected(url)
        stream = made._last()
        made.close()
        del made
        gc.collect()
        await stream.wait_closed()
        assert stream.end_reason == EndReason.CLOSED_BY_US


def test_plain_scripts_use_it_without_a_loop() -> None:
    def work(url: str) -> None:
        made = StreamWebSocket()
        made.connect_async(Uri(url)).get()
        writer = DataWriter(made.output_stream)
        writer.write_string("from a script")
        assert writer.store_async().get() == 13
        writer.detach_stream()
        assert bytes(made.input_stream.read_async(Buffer(13), 13, NONE).get()) == b"from a script"
        made.close(1000, "done")

    async def serve() -> None:
        async with serving(echo) as url:
            await asyncio.to_thread(work, url)

    asyncio.run(serve())
