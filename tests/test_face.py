"""`moorings.connect`, `listen`, `adopt`, `blocking`: URLs, options, errors, and the programs one writes with them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import FIN, PATIENCE, RST, ending, receive, receive_ending, reset, socket_and_peer, turns, until
from tests.sockets.peers import FAMILIES, client_of, plain_listener, port_of, refused_port, silent_port

import moorings
from moorings import DrainReport, EndReason, SocketErrorStatus, StreamSocket, errors

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

BAD_URLS = [
    "",
    "127.0.0.1:80",
    "tcp:127.0.0.1:80",
    "tcp://",
    "tcp:///",
    "tcp:///path",
    "tcp://127.0.0.1:80/path",
    "tcp://127.0.0.1:80//",
    "tcp://127.0.0.1:80?query",
    "tcp://127.0.0.1:80#fragment",
    "tcp://user@127.0.0.1:80",
    "tcp://user:password@127.0.0.1:80",
    "http://127.0.0.1:80",
    "://127.0.0.1:80",
    "tcp://::1:80",
    "tcp://[::1:80",
    "tcp://[::1]80",
    "tcp://[]:80",
    "tcp://[::1]:80:90",
    "tcp://127.0.0.1:65536",
    "tcp://127.0.0.1:-1",
    "tcp://127.0.0.1:8 0",
    "tcp://a..b:80",
    "tcp://[127.0.0.1%]:80",
    "tcp://exa mple:80",
    "tcp://\0:80",
]
INCOMPLETE_URLS = ["tcp://127.0.0.1", "tcp://127.0.0.1:", "tcp://:80", "tcp://[::1]", "tcp://[::1]:"]
LATER = ["rfcomm"]


async def echo(connection: StreamSocket) -> None:
    async for line in connection.lines():
        await connection.write(line + b"\n")


# -- URLs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", BAD_URLS + INCOMPLETE_URLS)
async def test_connect_to_a_bad_url(url: str) -> None:
    with pytest.raises(OSError) as caught:
        await moorings.connect(url)
    assert caught.value.winerror == errors.E_INVALIDARG
    assert len(str(caught.value)) > 30


@pytest.mark.parametrize("url", [url for url in BAD_URLS if url])
async def test_listen_on_a_bad_url(url: str) -> None:
    with pytest.raises(OSError) as caught:
        async with moorings.listen(url):
            raise AssertionError
    assert caught.value.winerror == errors.E_INVALIDARG


@pytest.mark.parametrize("url", ["127.0.0.1:80", "wx://127.0.0.1:80/chat"])
async def test_a_bad_url_is_told_the_good_forms(url: str) -> None:
    for call in (moorings.connect, moorings.listen):
        with pytest.raises(OSError) as caught:
            await call(url)
        for scheme in ("tcp", "tls", "udp", "ws", "wss"):
            assert f"'{scheme}://host:port" in str(caught.value)


@pytest.mark.parametrize(("page", "web_socket"), [("http", "ws"), ("https", "wss"), ("HTTP", "ws")])
async def test_the_url_of_a_page_is_told_that_of_a_web_socket(page: str, web_socket: str) -> None:
    for call in (moorings.connect, moorings.listen):
        with pytest.raises(OSError) as caught:
            await call(f"{page}://127.0.0.1:80/chat")
        assert f"for a WebSocket use '{web_socket}://127.0.0.1:80/chat'" in str(caught.value)
        assert caught.value.winerror == errors.E_INVALIDARG


@pytest.mark.parametrize("scheme", LATER)
async def test_schemes_that_are_not_built_yet(scheme: str) -> None:
    for call in (moorings.connect, moorings.listen):
        with pytest.raises(OSError, match=f"{scheme}://") as caught:
            await call(f"{scheme}://127.0.0.1:80")
        assert caught.value.winerror == errors.E_NOTIMPL


@pytest.mark.parametrize("url", [None, b"tcp://127.0.0.1:80", 80, ("127.0.0.1", 80)])
async def test_what_is_no_text_is_a_type_error(url: Any) -> None:
    for call in (moorings.connect, moorings.listen):
        with pytest.raises(TypeError, match=r"tcp://.*ws://"):
            await call(url)


@pytest.mark.parametrize("form", ["tcp://{}:{}", "TCP://{}:{}", "tcp://{}:{}/"])
@pytest.mark.parametrize("family", FAMILIES)
async def test_forms_of_good_urls(family: int, form: str) -> None:
    with plain_listener(family) as listening:
        host = listening.getsockname()[0]
        url = form.format(f"[{host}]" if ":" in host else host, port_of(listening))
        async with await moorings.connect(url) as ours:
            assert isinstance(ours, StreamSocket)
            assert str(ours.information.remote_address) == host
            listening.accept()[0].close()


async def test_names_of_hosts_and_services() -> None:
    with plain_listener() as listening:
        async with await moorings.connect(f"tcp://localhost:{port_of(listening)}") as ours:
            assert str(ours.information.remote_host_name) == "localhost"
            listening.accept()[0].close()
    with pytest.raises(OSError, match="no-such-service") as caught:
        await moorings.connect("tcp://127.0.0.1:no-such-service")
    assert caught.value.winerror == errors.WSATYPE_NOT_FOUND
    with contextlib.suppress(ConnectionRefusedError):  # understood as port 7, where mostly nobody listens
        (await moorings.connect("tcp://127.0.0.1:echo")).abort()


@pytest.mark.parametrize(
    "url", ["tcp://:0", "tcp://:", "tcp://localhost", "tcp://127.0.0.1", "tcp://[::1]:0", "tcp://[::1]"]
)
async def test_listener_may_leave_out_host_and_port(url: str) -> None:
    async with moorings.listen(url, echo) as listener:
        assert 0 < listener.port < 65536
        async with await moorings.connect(f"tcp://localhost:{listener.port}") as ours:
            await ours.write(b"hello\n")
            assert await ours.read_until() == b"hello\n"


# -- connecting ------------------------------------------------------------------------------------------------------


async def test_refused() -> None:
    with refused_port() as port, pytest.raises(ConnectionRefusedError) as caught:
        await moorings.connect(f"tcp://127.0.0.1:{port}")
    error: Any = caught.value
    assert error.status == SocketErrorStatus.CONNECTION_REFUSED
    assert f"127.0.0.1:{port}" in error.reason
    assert len(error.attempts) == 1


async def test_timeout_says_what_and_how_long() -> None:
    with silent_port() as port, pytest.raises(TimeoutError) as caught:
        await moorings.connect(f"tcp://127.0.0.1:{port}", timeout=0.05)
    error: Any = caught.value
    assert error.winerror == errors.WSAETIMEDOUT
    assert error.status == SocketErrorStatus.CONNECTION_TIMED_OUT
    assert error.reason == (
        f"connecting to tcp://127.0.0.1:{port}: no connection within 0.05 s; is the host up and reachable?"
    )


async def test_timeout_of_the_caller_is_the_callers() -> None:
    with silent_port() as port, pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.02):
            await moorings.connect(f"tcp://127.0.0.1:{port}", timeout=PATIENCE)
    assert not hasattr(caught.value, "winerror")


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), (float("nan"), ValueError), ("5", TypeError)])
async def test_bad_timeout(timeout: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await moorings.connect("tcp://127.0.0.1:1", timeout=timeout)
    with pytest.raises(error):
        moorings.listen("tcp://:0", echo, drain_timeout=timeout)


async def test_cancelled_at_any_turn_leaves_nothing() -> None:
    with plain_listener() as listening:
        for count in range(16):
            connecting = asyncio.create_task(moorings.connect(f"tcp://127.0.0.1:{port_of(listening)}"))
            await turns(count)
            if connecting.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await connecting
            else:
                (await connecting).abort()


async def test_no_delay() -> None:
    with plain_listener() as listening:
        for no_delay in (True, False):
            url = f"tcp://127.0.0.1:{port_of(listening)}"
            async with await moorings.connect(url, no_delay=no_delay) as ours:
                assert ours.control.no_delay is no_delay


# -- listening -------------------------------------------------------------------------------------------------------


async def test_readme_echo_server() -> None:
    """At most 8 lines, with the client's 3."""
    program = """
async def echo(connection):
    async for line in connection.lines():
        await connection.write(line + b"\\n")

async def main():
    async with moorings.listen("tcp://127.0.0.1:0", echo) as listener:
        await use(listener.port)
"""
    assert len(program.strip().splitlines()) <= 8
    answers: list[bytes] = []

    async def use(port: int) -> None:
        async with await moorings.connect(f"tcp://127.0.0.1:{port}") as client:
            await client.write(b"hello\n")
            answers.append(await client.read_until())

    names: dict[str, Any] = {"moorings": moorings, "use": use}
    exec(program, names)
    await names["main"]()
    assert answers == [b"hello\n"]


async def test_line_protocol_with_a_timeout_and_a_clean_shutdown() -> None:
    async def serve(connection: StreamSocket) -> None:
        try:
            while True:
                async with asyncio.timeout(PATIENCE if answered == 0 else 0.01):
                    line = await connection.read_until()
                await answer(connection, line)
        except TimeoutError:
            await connection.write(b"too slow\n")
        except asyncio.IncompleteReadError:
            return

    answered = 0

    async def answer(connection: StreamSocket, line: bytes) -> None:
        nonlocal answered
        answered += 1
        await connection.write(line.upper())

    async with (
        moorings.listen("tcp://127.0.0.1:0", serve) as listener,
        await moorings.connect(f"tcp://127.0.0.1:{listener.port}") as client,
    ):
        await client.write(b"hello\n")
        assert [line async for line in client.lines()] == [b"HELLO", b"too slow"]
    assert listener.report is not None
    assert (listener.report.accepted, listener.report.aborted) == (1, 0)


@pytest.mark.parametrize("way", ["async with", "await", "await and async with"])
async def test_ways_to_start(way: str) -> None:
    listening = moorings.listen("tcp://127.0.0.1:0", echo)
    assert listening.port == 0
    assert listening.report is None
    if way == "async with":
        async with listening as listener:
            assert listener is listening
            assert listener.port > 0
    elif way == "await":
        assert await listening is listening
        port = listening.port
        assert await listening is listening
        assert listening.port == port
        listening.close()
        assert await listening.drain() == DrainReport(0, 0, 0)
    else:
        async with await listening as listener:
            assert listener is listening
    assert listening.open_connections == 0


async def test_port_in_use() -> None:
    with plain_listener() as other:
        listening = moorings.listen(f"tcp://127.0.0.1:{port_of(other)}", echo)
        for _ in range(2):
            with pytest.raises(OSError, match="another socket") as caught:
                await listening
            assert caught.value.winerror == errors.WSAEADDRINUSE


@pytest.mark.parametrize("handler", [5, "echo"])
def test_handler_that_cannot_be_called(handler: Any) -> None:
    with pytest.raises(TypeError, match="callable"):
        moorings.listen("tcp://:0", handler)


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), ("many", TypeError)])
def test_bad_max_connections(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        moorings.listen("tcp://:0", echo, max_connections=value)


async def test_max_connections() -> None:
    async with moorings.listen("tcp://127.0.0.1:0", echo, max_connections=1) as listener:
        first = await moorings.connect(f"tcp://127.0.0.1:{listener.port}")
        second = await moorings.connect(f"tcp://127.0.0.1:{listener.port}")
        await until(lambda: listener.open_connections)
        await second.write(b"second\n")
        await turns(10)
        assert listener.open_connections == 1
        assert second.counters.bytes_received == 0
        await first.aclose()
        assert await second.read_until() == b"second\n"
        await second.aclose()


async def test_connection_is_closed_when_the_handler_returns() -> None:
    def plain(connection: StreamSocket) -> None:
        connection.write(b"goodbye")

    async def coroutine(connection: StreamSocket) -> None:
        connection.write(b"goodbye")

    def returning_an_awaitable(connection: StreamSocket) -> Any:
        return connection.write(b"goodbye")

    for handler in (plain, coroutine, returning_an_awaitable):
        async with moorings.listen("tcp://127.0.0.1:0", handler) as listener:
            with client_of(listener.listener) as client:
                assert await receive_ending(client) == (b"goodbye", FIN)
        assert listener.report == DrainReport(accepted=1, finished=0, aborted=0)


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_connection_is_aborted_when_the_handler_raises(
    kind: str, expect_loop_errors: list[dict[str, Any]]
) -> None:
    def fail(_connection: StreamSocket) -> None:
        raise KeyError("broken")

    async def fail_later(_connection: StreamSocket) -> None:
        await asyncio.sleep(0)
        raise KeyError("broken")

    async with moorings.listen("tcp://127.0.0.1:0", fail if kind == "plain" else fail_later) as listener:
        for _ in range(2):
            with client_of(listener.listener) as client:
                assert await ending(client) == RST
    assert [type(context["exception"]) for context in expect_loop_errors] == [KeyError, KeyError]


async def read_on(connection: StreamSocket) -> None:
    while await connection.read():
        pass


async def write_on(connection: StreamSocket) -> None:
    while True:
        await connection.write(bytes(100_000))


async def read_and_write(connection: StreamSocket) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(read_on(connection))
        group.create_task(write_on(connection))


async def read_with_winrt_names(connection: StreamSocket) -> None:
    await connection.input_stream.read_async(moorings.Buffer(10), 10, 0)


@moorings.blocking
def read_on_a_worker(connection: StreamSocket) -> None:
    connection.input_stream.read_async(moorings.Buffer(10), 10, 0).get()


async def serve_a_client_that_resets(handler: Callable[[StreamSocket], Any]) -> tuple[StreamSocket, DrainReport]:
    served: list[StreamSocket] = []

    def serve(connection: StreamSocket) -> Any:
        served.append(connection)
        return handler(connection)

    wrapped = functools.update_wrapper(serve, handler)
    async with moorings.listen("tcp://127.0.0.1:0", wrapped) as listener:
        client = client_of(listener.listener)
        await until(lambda: served)
        await turns(5)
        reset(client)
        await until(lambda: not listener.open_connections)
    assert listener.report is not None
    return served[0], listener.report


@pytest.mark.parametrize(
    "handler",
    [read_on, write_on, read_and_write, read_with_winrt_names, read_on_a_worker],
    ids=lambda each: each.__name__,
)
async def test_a_reset_by_the_peer_is_counted_and_not_reported(handler: Callable[[StreamSocket], Any]) -> None:
    connection, report = await serve_a_client_that_resets(handler)
    assert connection.end_reason == EndReason.RESET
    assert (report.accepted, report.broken) == (1, 1)


async def raise_anew(connection: StreamSocket) -> None:
    try:
        await read_on(connection)
    except ConnectionResetError as error:
        raise ConnectionResetError("of the database") from error


async def fail_beside_the_reset(connection: StreamSocket) -> None:
    failures: list[Exception] = [KeyError("broken")]
    try:
        await read_on(connection)
    except ConnectionResetError as error:
        failures.append(error)
    raise ExceptionGroup("both", failures)


@moorings.blocking
def fail_on_a_worker(connection: StreamSocket) -> None:
    with contextlib.suppress(ConnectionResetError):
        connection.input_stream.read_async(moorings.Buffer(10), 10, 0).get()
    raise KeyError("broken")


@pytest.mark.parametrize(
    ("handler", "reported"),
    [(raise_anew, ConnectionResetError), (fail_beside_the_reset, ExceptionGroup), (fail_on_a_worker, KeyError)],
    ids=["anew", "group", "worker"],
)
async def test_other_failures_on_a_broken_connection_are_reported(
    handler: Callable[[StreamSocket], Any], reported: type[Exception], expect_loop_errors: list[dict[str, Any]]
) -> None:
    _, report = await serve_a_client_that_resets(handler)
    await turns(5)
    assert [type(context["exception"]) for context in expect_loop_errors] == [reported]
    assert report.broken == 1


async def test_the_reset_of_another_connection_is_reported(expect_loop_errors: list[dict[str, Any]]) -> None:
    """A proxy whose upstream breaks has failed, although its client is there."""
    async with socket_and_peer() as (upstream, peer):

        async def relay(_connection: StreamSocket) -> None:
            reset(peer)
            await read_on(upstream)

        async with moorings.listen("tcp://127.0.0.1:0", relay) as listener:
            with client_of(listener.listener) as client:
                assert await ending(client) == RST
    assert [isinstance(context["exception"], ConnectionResetError) for context in expect_loop_errors] == [True]
    assert listener.report is not None
    assert listener.report.broken == 0


async def test_a_plain_handler_that_finds_the_connection_broken() -> None:
    def write(connection: StreamSocket) -> None:
        stream = connection._connection.stream
        assert stream is not None
        # What reading and writing find; a plain handler runs too early to bring it about.
        stream.end_reason = EndReason.RESET
        stream.write_error = errors.make(errors.WSAECONNRESET, "reset")
        connection.write(b"x")

    async with moorings.listen("tcp://127.0.0.1:0", write) as listener:
        with client_of(listener.listener) as client:
            assert await ending(client) == RST
    assert listener.report is not None
    assert listener.report.broken == 1


async def test_drain_timeout_and_report() -> None:
    async def forever(connection: StreamSocket) -> None:
        await connection.read()

    for drain_timeout in (0, 0.01):
        async with moorings.listen("tcp://127.0.0.1:0", forever, drain_timeout=drain_timeout) as listener:
            client = client_of(listener.listener)
            await until(lambda: listener.open_connections)
        assert listener.report == DrainReport(accepted=1, finished=0, aborted=1)
        with client:
            assert await ending(client) == RST


async def leave_with_error(handler: Callable[[StreamSocket], Any]) -> tuple[moorings.Listening, socket.socket]:
    listening = moorings.listen("tcp://127.0.0.1:0", handler, drain_timeout=None)
    client: Any = None
    with contextlib.suppress(KeyError):
        async with listening as listener:
            client = client_of(listener.listener)
            await until(lambda: listener.open_connections)
            raise KeyError
    return listening, client


async def test_leaving_through_an_exception_aborts_at_once() -> None:
    async def forever(connection: StreamSocket) -> None:
        await connection.read()

    async with asyncio.timeout(PATIENCE):
        listening, client = await leave_with_error(forever)
    assert listening.report == DrainReport(accepted=1, finished=0, aborted=1)
    with client:
        assert await ending(client) == RST


async def test_iteration() -> None:
    async with moorings.listen("tcp://127.0.0.1:0", drain_timeout=0) as listener:
        with client_of(listener.listener) as client:
            async for connection in listener:
                async with connection:
                    await connection.write(b"hello")
                break
            assert await receive_ending(client) == (b"hello", FIN)


async def test_serve_forever_ends_with_the_listener() -> None:
    listener = await moorings.listen("tcp://127.0.0.1:0", echo)
    for _ in range(2):
        serving = asyncio.create_task(listener.serve_forever())
        await turns(3)
        assert not serving.done()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
    serving = asyncio.create_task(listener.serve_forever())
    await turns(3)
    listener.close()
    await serving
    await listener.serve_forever()


# -- blocking --------------------------------------------------------------------------------------------------------


async def test_blocking_with_listen() -> None:
    """The connection ends when the handler has returned on its worker, not before."""
    go_on = threading.Event()

    def serve(connection: StreamSocket) -> None:
        assert go_on.wait(PATIENCE)
        connection.output_stream.write_async(b"from a worker").get()

    async with moorings.listen("tcp://127.0.0.1:0", moorings.blocking(serve)) as listener:
        with client_of(listener.listener) as client:
            await until(lambda: listener.open_connections)
            await turns(5)
            assert listener.open_connections == 1
            go_on.set()
            assert await receive_ending(client) == (b"from a worker", FIN)


async def test_blocking_handlers_of_one_object_run_in_order() -> None:
    seen: list[int] = []
    running = threading.Lock()

    def handle(_operation: Any, value: int) -> None:
        assert running.acquire(blocking=False)
        seen.append(value)
        running.release()

    async with socket_and_peer() as (ours, peer):
        reading = ours.input_stream.read_async(bytearray(30), 30, 0)
        reading.progress = moorings.blocking(handle)
        for _ in range(30):
            before = len(seen)
            peer.send(b"x")
            await until(lambda: len(seen) > before)  # noqa: B023
        await reading
    assert seen == list(range(1, 31))


async def test_blocking_reports_once(expect_loop_errors: list[dict[str, Any]]) -> None:
    def fail(*_arguments: object) -> None:
        raise SystemExit("handlers do not end the program")

    for count in (1, 2):
        operation: Any = moorings.blocking(fail)()
        await operation
        await until(lambda: len(expect_loop_errors) == count)  # noqa: B023
    await turns(5)
    assert [type(context["exception"]) for context in expect_loop_errors] == [SystemExit, SystemExit]


async def test_blocking_keeps_name_and_arguments() -> None:
    seen: list[object] = []

    def handle(*arguments: object) -> None:
        """What it does."""
        seen.append(arguments)

    wrapped: Any = moorings.blocking(handle)
    assert (wrapped.__name__, wrapped.__doc__) == ("handle", "What it does.")
    await wrapped(1, [2])
    await wrapped()
    assert seen == [(1, [2]), ()]


@pytest.mark.parametrize("handler", [None, 5, echo])
def test_blocking_takes_plain_functions(handler: Any) -> None:
    with pytest.raises(TypeError, match="plain function"):
        moorings.blocking(handler)


async def test_adopt_gives_a_socket_that_ends_as_any_other() -> None:
    with plain_listener() as listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port_of(listening)))
        theirs, _ = listening.accept()
        theirs.setblocking(False)
        with theirs:
            theirs.send(b"early ")
            await until(reader._buffer.__len__)  # type: ignore[attr-defined]
            async with await moorings.adopt(writer) as ours:
                theirs.send(b"late")
                assert await ours.read_exactly(10) == b"early late"
                await ours.write(b"answer")
                assert await receive(theirs, 6) == b"answer"
            assert ours.end_reason == EndReason.CLOSED_BY_US
            assert await ending(theirs) == FIN


async def test_connect_in_a_block_closes_at_its_end() -> None:
    async with moorings.listen("tcp://127.0.0.1:0", echo) as server:
        async with moorings.connect(f"tcp://127.0.0.1:{server.port}") as connection:
            await connection.write(b"a\n")
            assert await connection.read_until(b"\n") == b"a\n"
        assert connection.end_reason.name == "CLOSED_BY_US"


@pytest.mark.parametrize(("data", "words"), [("text", "text.encode"), ([1], "not list"), (None, "not NoneType")])
async def test_writing_what_has_no_bytes_says_what_to_do(data: Any, words: str) -> None:
    async with (
        moorings.listen("tcp://127.0.0.1:0", echo) as server,
        moorings.connect(f"tcp://127.0.0.1:{server.port}") as connection,
    ):
        with pytest.raises(TypeError, match=words):
            connection.write(data)
        await connection.write(b"still here\n")
        assert await connection.read_until(b"\n") == b"still here\n"
