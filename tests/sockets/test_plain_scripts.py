"""Programs without asyncio: `.get()`, `wait()`, events on worker threads, many threads, the end of the program."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE
from tests.sockets.peers import LOOPBACK, code, refused_port, silent_port
from tests.sockets.scripts import LOCALHOST, connect, echo, listening, read_exactly, until

import moorings
from moorings import DrainReport
from moorings.foundation.background import WORKER_LIMIT, background_home
from moorings.sockets.accepting import CONCURRENT_HANDLERS
from winrt.windows.foundation import AsyncStatus
from winrt.windows.networking import EndpointPair
from winrt.windows.networking.sockets import StreamSocket, StreamSocketListener
from winrt.windows.storage.streams import Buffer, DataReader, DataWriter, InputStreamOptions


@pytest.fixture(autouse=True)
def background() -> None:
    """The background loop keeps its descriptors for the rest of the process: they are no test's leak."""
    background_home()


# -- one thread ------------------------------------------------------------------------------------------------------


def test_every_operation_with_get() -> None:
    pairs = StreamSocket.get_endpoint_pairs_async(LOCALHOST, "80").get()
    assert [str(pair.remote_host_name) for pair in pairs] == ["127.0.0.1"]
    with listening(echo) as listener:
        ours = StreamSocket()
        port = listener.information.local_port
        assert ours.connect_async(EndpointPair(None, "", LOCALHOST, port)).get() is None
        writer, reader = DataWriter(ours.output_stream), DataReader(ours.input_stream)
        writer.write_uint32(5)
        writer.write_string("hello")
        assert writer.store_async().get() == 9
        assert writer.flush_async().get() is True
        assert reader.load_async(4).get() == 4
        assert reader.load_async(reader.read_uint32()).get() == 5
        assert reader.read_string(5) == "hello"
        writer.detach_stream()
        reader.detach_stream()
        assert ours.output_stream.write_async(b"more").get() == 4
        assert ours.output_stream.flush_async().get() is True
        assert read_exactly(ours, 4) == b"more"
        ours.cancel_io_async().get()
        ours.close()


def test_wait_and_status() -> None:
    with listening(None) as listener:
        ours = connect(listener)
        reading = ours.input_stream.read_async(Buffer(1), 1, InputStreamOptions.NONE)
        assert reading.wait(0) == AsyncStatus.STARTED
        assert reading.wait(0.001) == AsyncStatus.STARTED
        ours.cancel_io_async().get()
        assert reading.wait(float("inf")) == AsyncStatus.ERROR
        with pytest.raises(OSError) as caught:
            reading.get()
        assert code(caught.value) == "ERROR_OPERATION_ABORTED"
        ours.close()


def test_errors_with_get() -> None:
    with refused_port() as port:
        ours = StreamSocket()
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                ours.connect_async(LOCALHOST, port).get()
    with silent_port() as port:
        operation = ours.connect_async(LOCALHOST, port)
        ours.close()
        with pytest.raises(OSError) as caught:
            operation.get()
        assert code(caught.value) == "ERROR_CANCELLED"
        assert operation.status == AsyncStatus.CANCELED


def test_close_sends_what_was_written() -> None:
    received = bytearray()
    done = threading.Event()

    def collect(_listener: StreamSocketListener, args: Any) -> None:
        while data := args.socket.input_stream.read_async(Buffer(65536), 65536, InputStreamOptions.PARTIAL).get():
            received.extend(bytes(data))
        args.socket.close()
        done.set()

    with listening(collect) as listener:
        ours = connect(listener)
        for number in range(100):
            ours.output_stream.write_async(bytes([number]) * 1000)
        ours.close()
        assert done.wait(PATIENCE)
    assert received == b"".join(bytes([number]) * 1000 for number in range(100))


def test_completed_and_progress_handlers_run_in_order_on_workers() -> None:
    calls: list[object] = []
    threads: set[str] = set()
    overlap = threading.Lock()
    ended = threading.Event()

    def note(value: object) -> None:
        assert overlap.acquire(blocking=False)
        threads.add(threading.current_thread().name)
        calls.append(value)
        overlap.release()

    def completed(_operation: Any, status: AsyncStatus) -> None:
        note(status)
        ended.set()

    with listening(echo) as listener:
        ours = connect(listener)
        reading = ours.input_stream.read_async(Buffer(50), 50, InputStreamOptions.NONE)
        reading.progress = lambda _operation, value: note(value)
        reading.completed = completed
        for _ in range(50):
            ours.output_stream.write_async(b"x").get()
        assert ended.wait(PATIENCE)
        ours.close()
    assert calls[-1] == AsyncStatus.COMPLETED
    assert calls[:-1] == sorted(calls[:-1])  # type: ignore[type-var]
    assert threads == {"moorings-worker"}


# -- events ----------------------------------------------------------------------------------------------------------


def test_handlers_run_side_by_side_up_to_the_limit() -> None:
    """64 handlers that block: accepting pauses; what waits is served when they have ended."""
    extra = 6
    running = 0
    most = 0
    served = 0
    lock = threading.Lock()
    go_on = threading.Event()

    def block(_listener: StreamSocketListener, args: Any) -> None:
        nonlocal running, most, served
        with lock:
            running += 1
            most = max(most, running)
        go_on.wait(PATIENCE)
        args.socket.close()
        with lock:
            running -= 1
            served += 1

    with listening(block) as listener:
        clients = [connect(listener) for _ in range(CONCURRENT_HANDLERS + extra)]
        until(lambda: running == CONCURRENT_HANDLERS)
        accepting = listener._accepting
        assert accepting.accepted == CONCURRENT_HANDLERS
        # Other handlers have threads of their own.
        ended = threading.Event()
        operation = clients[0].cancel_io_async()
        operation.completed = lambda _operation, _status: ended.set()
        assert ended.wait(PATIENCE)
        assert running == accepting.accepted == CONCURRENT_HANDLERS
        go_on.set()
        until(lambda: served == len(clients))
        until(lambda: accepting.running == 0)
        for client in clients:
            client.close()
    assert most == CONCURRENT_HANDLERS
    assert WORKER_LIMIT >= 1


def test_handlers_of_two_listeners_do_not_starve_each_other() -> None:
    """All handlers of the first listener wait for those of the second."""
    count = CONCURRENT_HANDLERS
    permits = threading.Semaphore(0)
    served = Counter[str]()
    lock = threading.Lock()

    def first(_listener: StreamSocketListener, args: Any) -> None:
        assert permits.acquire(timeout=PATIENCE)
        args.socket.close()
        with lock:
            served["first"] += 1

    def second(_listener: StreamSocketListener, args: Any) -> None:
        args.socket.close()
        permits.release()
        with lock:
            served["second"] += 1

    with listening(first) as one, listening(second) as two:
        clients = [connect(one) for _ in range(count)]
        until(lambda: one._accepting.running == count)
        clients += [connect(two) for _ in range(count)]
        until(lambda: served == {"first": count, "second": count})
        for client in clients:
            client.close()


def test_a_handler_that_raises_is_reported_once(expect_loop_errors: list[dict[str, Any]]) -> None:
    sockets: list[StreamSocket] = []

    def fail(_listener: StreamSocketListener, args: Any) -> None:
        sockets.append(args.socket)
        raise SystemExit if len(sockets) == 1 else KeyError("broken")

    with listening(fail) as listener:
        for number in (1, 2):
            client = connect(listener)
            until(lambda: len(sockets) == number and len(expect_loop_errors) == number)  # noqa: B023
            sockets[-1].output_stream.write_async(b"alive").get()
            assert read_exactly(client, 5) == b"alive"
            client.close()
            sockets[-1].close()
    assert [type(context["exception"]) for context in expect_loop_errors] == [SystemExit, KeyError]
    assert all("connection_received handler" in context["message"] for context in expect_loop_errors)


def test_a_completed_handler_that_raises_is_reported_once(expect_loop_errors: list[dict[str, Any]]) -> None:
    def fail(_operation: Any, _status: Any) -> None:
        raise KeyError("broken")

    with listening(None) as listener:
        ours = connect(listener)
        reading = ours.input_stream.read_async(Buffer(1), 1, InputStreamOptions.NONE)
        reading.completed = fail
        ours.cancel_io_async().get()
        until(lambda: expect_loop_errors)
        ours.close()
    assert [type(context["exception"]) for context in expect_loop_errors] == [KeyError]


def test_async_handlers_run_on_the_background_loop_and_belong_to_the_listener() -> None:
    seen: list[str] = []

    async def serve(_listener: StreamSocketListener, args: Any) -> None:
        seen.append(threading.current_thread().name)
        async with args.socket as connection:
            async for line in connection.lines():
                await connection.write(line.upper() + b"\n")

    with listening(serve) as listener:
        client = connect(listener)
        client.output_stream.write_async(b"hello\n").get()
        assert read_exactly(client, 6) == b"HELLO\n"
        assert len(listener._accepting.tasks) == 1
        # A program without a loop of its own may still use what is only there as a coroutine.
        assert asyncio.run(listener.drain(0)) == DrainReport(accepted=1, finished=0, aborted=1)
        assert not listener._accepting.tasks
        client.close()
    assert seen == ["moorings-home"]


def test_blocking_changes_nothing_here() -> None:
    with listening(moorings.blocking(echo)) as listener:
        client = connect(listener)
        client.output_stream.write_async(b"hello").get()
        assert read_exactly(client, 5) == b"hello"
        client.close()


def test_iterating_and_the_python_face_through_asyncio_run() -> None:
    """Objects of the background loop, used from a loop that comes later."""
    with listening(None) as listener:
        client = connect(listener)

        async def use() -> bytes:
            async for connection in listener:
                await connection.write(b"from the server\n")
                line = await client.read_until()
                await connection.aclose()
                assert await client.read() == b""
                return line
            raise AssertionError

        assert asyncio.run(use()) == b"from the server\n"
        client.close()


def test_get_on_the_background_loop_itself_says_what_to_do() -> None:
    messages: list[str] = []

    async def handle(_listener: StreamSocketListener, args: Any) -> None:
        reading = args.socket.input_stream.read_async(Buffer(1), 1, InputStreamOptions.NONE)
        try:
            reading.get()
        except RuntimeError as error:
            messages.append(str(error))
        args.socket.abort()
        await asyncio.wait([asyncio.ensure_future(ignore(reading))])

    with listening(handle) as listener:
        client = connect(listener)
        until(lambda: messages)
        client.close()
    assert "await" in messages[0]


async def ignore(operation: Any) -> None:
    try:
        await operation
    except OSError:
        return


# -- many threads ----------------------------------------------------------------------------------------------------


def test_64_threads_of_scripts_at_once() -> None:
    """Each exchanges messages with a handler that blocks, and counts events. Nothing is lost, nobody hangs."""
    threads_count, messages = 64, 25
    events = Counter[int]()
    lock = threading.Lock()
    failures: list[BaseException] = []

    def script(number: int) -> None:
        try:
            use(number)
        except BaseException as error:  # noqa: BLE001 - told in the end
            failures.append(error)

    def use(number: int) -> None:
        def completed(_operation: Any, status: AsyncStatus) -> None:
            with lock:
                events[number] += status == AsyncStatus.COMPLETED

        ours = StreamSocket()
        connecting = ours.connect_async(LOCALHOST, port)
        connecting.completed = completed
        connecting.get()
        for index in range(messages):
            message = f"{number:02}:{index:02};".encode() * 10
            writing = ours.output_stream.write_async(message)
            writing.completed = completed
            reading = ours.input_stream.read_async(Buffer(len(message)), len(message), InputStreamOptions.NONE)
            reading.completed = completed
            assert bytes(reading.get()) == message
            assert writing.get() == len(message)
        ours.close()

    with listening(echo) as listener:
        port = listener.information.local_port
        threads = [threading.Thread(target=script, args=(number,)) for number in range(threads_count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert not failures
        until(lambda: events.total() == threads_count * (1 + 2 * messages))
        until(lambda: listener.open_connections == 0)
    assert set(events.values()) == {1 + 2 * messages}


def test_many_threads_share_one_socket() -> None:
    """Writes of several threads arrive whole; their reads get every byte once."""
    with listening(echo) as listener:
        ours = connect(listener)
        writers = [
            threading.Thread(target=lambda: [ours.output_stream.write_async(b"0123456789").get() for _ in range(50)])
            for _ in range(8)
        ]
        for thread in writers:
            thread.start()
        found: list[bytes] = []
        readers = [
            threading.Thread(target=lambda: found.extend(read_exactly(ours, 10) for _ in range(100))) for _ in range(4)
        ]
        for thread in readers:
            thread.start()
        for thread in (*writers, *readers):
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert found == [b"0123456789"] * 400
        assert ours.input_stream is ours.input_stream
        ours.close()


def test_streams_are_the_same_for_two_threads_that_ask_at_once() -> None:
    with listening(None) as listener:
        for _ in range(20):
            ours = connect(listener)
            barrier = threading.Barrier(8)
            found: list[Any] = []

            def ask(ours: StreamSocket = ours, barrier: threading.Barrier = barrier, found: list[Any] = found) -> None:
                barrier.wait()
                found.append((ours.input_stream, ours.output_stream, ours.control, ours.information))

            threads = [threading.Thread(target=ask) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(set(found)) == 1
            ours.close()


# -- the end of the program ------------------------------------------------------------------------------------------


def run_script(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text), *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


WRITER = """
    import sys
    from winrt.windows.networking import HostName
    from winrt.windows.networking.sockets import StreamSocket
    ours = StreamSocket()
    ours.connect_async(HostName("127.0.0.1"), sys.argv[1]).get()
    for _ in range(int(sys.argv[2])):
        ours.output_stream.write_async(bytes(65536))
    ours.close()
"""


@pytest.mark.parametrize("pieces", [1, 64])
def test_what_was_written_goes_out_at_the_end_of_the_program(pieces: int) -> None:
    with socket.create_server((LOOPBACK[socket.AF_INET], 0)) as server:
        received: list[int] = []

        def receive() -> None:
            connection, _ = server.accept()
            with connection:
                total = 0
                while data := connection.recv(65536):
                    total += len(data)
            received.append(total)

        thread = threading.Thread(target=receive)
        thread.start()
        done = run_script(WRITER, str(server.getsockname()[1]), str(pieces))
        thread.join(PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert received == [pieces * 65536]


def test_a_peer_that_never_reads_does_not_hold_the_end_of_the_program() -> None:
    with socket.create_server((LOOPBACK[socket.AF_INET], 0)) as server:
        done = run_script(WRITER, str(server.getsockname()[1]), "1024")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


UNFINISHED = """
    import asyncio, threading
    from winrt.windows.networking import HostName
    from winrt.windows.networking.sockets import StreamSocket, StreamSocketListener
    from winrt.windows.storage.streams import Buffer, InputStreamOptions

    async def wait(listener, args):
        await asyncio.get_running_loop().create_future()

    arrived = threading.Event()
    def block(listener, args):
        arrived.set()
        args.socket.input_stream.read_async(Buffer(1), 1, InputStreamOptions.NONE).get()

    listener = StreamSocketListener()
    listener.add_connection_received(wait)
    listener.add_connection_received(block)
    listener.bind_service_name_async("").get()
    client = StreamSocket()
    client.connect_async(HostName("127.0.0.1"), listener.information.local_port).get()
    pending = client.input_stream.read_async(Buffer(1), 1, InputStreamOptions.NONE)
    connecting = StreamSocket().connect_async(HostName("203.0.113.1"), "9")
    arrived.wait()
    client.close()
    listener.close()
    print("end")
"""


def test_work_that_is_left_at_the_end_of_the_program_is_dropped_quietly() -> None:
    done = run_script(UNFINISHED)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
