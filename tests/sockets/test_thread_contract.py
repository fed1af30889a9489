"""The contract about threads, loops and events: one test for each of its sentences.

The docstring of each test is the sentence that it holds. What belongs to `message_received` comes with the classes that
have it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import textwrap
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, connected_sockets, receive, socket_and_peer, socket_pair, turns
from tests.engine.pairs import until as until_async
from tests.sockets.peers import client_of, code, plain_listener, port_of, refused_port
from tests.sockets.scripts import connect, echo, listening, read_exactly, until

import moorings
from moorings import errors
from moorings.foundation.background import background_home
from moorings.sockets.accepting import CONCURRENT_HANDLERS
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import StreamSocket, StreamSocketListener
from winrt.windows.storage.streams import Buffer, InputStreamOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from winrt.windows.foundation import AsyncStatus

LOCALHOST = HostName("127.0.0.1")


@pytest.fixture(autouse=True)
def background() -> None:
    """The background loop keeps its descriptors for the rest of the process: they are no test's leak."""
    background_home()


# -- homes -----------------------------------------------------------------------------------------------------------


async def test_home_is_fixed_by_the_first_operation() -> None:
    """An object's home loop is fixed by its first operation."""
    ours = StreamSocket()  # making it is none
    listener = StreamSocketListener()
    with refused_port() as port, pytest.raises(ConnectionRefusedError):
        await ours.connect_async(LOCALHOST, port)
    await listener.bind_service_name_async("")

    def elsewhere() -> None:
        """A second connect, from a thread without a loop, runs on the first one's loop."""
        with plain_listener() as plain:
            ours.connect_async(LOCALHOST, port_of(plain)).get()

    await asyncio.to_thread(elsewhere)
    assert ours._connection.stream is not None
    assert ours._connection.stream.home.loop is asyncio.get_running_loop()
    assert listener._accepting.home is not None
    assert listener._accepting.home.loop is asyncio.get_running_loop()
    ours.abort()
    listener.close()


async def test_in_a_running_loop_that_is_the_loop() -> None:
    """In a running asyncio loop (stock or uvloop) that is the loop."""
    async with socket_and_peer() as (ours, _):
        assert ours._connection.stream.home.loop is asyncio.get_running_loop()
        assert ours._connection.stream.home is not background_home()


async def test_handlers_run_inline_on_the_loop_in_arrival_order() -> None:
    """Handlers run inline on it, in arrival order."""
    seen: list[tuple[str, object, int]] = []

    def handle(_listener: StreamSocketListener, args: Any) -> None:
        loop = asyncio.get_running_loop()
        seen.append((args.socket.information.remote_port, loop, threading.get_ident()))
        args.socket.abort()

    listener = StreamSocketListener()
    listener.add_connection_received(handle)
    await listener.bind_service_name_async("")
    clients = [client_of(listener) for _ in range(10)]
    await until_async(lambda: len(seen) == len(clients))
    here = (asyncio.get_running_loop(), threading.get_ident())
    assert seen == [(str(client.getsockname()[1]), *here) for client in clients]
    for client in clients:
        client.close()
    listener.close()


async def test_call_soon_threadsafe_works_in_a_handler() -> None:
    """`call_soon_threadsafe` in portable code works too."""
    loop = asyncio.get_running_loop()
    received: asyncio.Future[StreamSocket] = loop.create_future()
    listener = StreamSocketListener()
    listener.add_connection_received(
        lambda _listener, args: loop.call_soon_threadsafe(received.set_result, args.socket)
    )
    await listener.bind_service_name_async("")
    with client_of(listener) as client:
        ours = await received
        await ours.output_stream.write_async(b"hello")
        assert await receive(client, 5) == b"hello"
        ours.close()
    listener.close()


# -- plain scripts ---------------------------------------------------------------------------------------------------


def test_without_a_loop_it_is_one_background_loop_thread() -> None:
    """Without a running loop (a plain script) it is one background loop thread that the library owns."""
    with listening(None) as first, listening(None) as second:
        client = connect(first)
        homes = {first._accepting.home, second._accepting.home, client._connection.stream.home}
        assert homes == {background_home()}
        threads = [thread for thread in threading.enumerate() if thread.name == "moorings-home"]
        assert [thread.ident for thread in threads] == [background_home().thread_id]
        assert threads[0].daemon
        client.close()


def test_get_and_wait_block() -> None:
    """`.get()` and `wait()` block."""
    with listening(None) as listener:
        ours, peer_holder = connect(listener), []
        listener.add_connection_received(lambda _listener, args: peer_holder.append(args.socket))
        until(lambda: peer_holder)
        got: list[bytes] = []
        reading = ours.input_stream.read_async(Buffer(4), 4, InputStreamOptions.NONE)
        threads = [
            threading.Thread(target=lambda: got.append(bytes(reading.get()))),
            threading.Thread(target=lambda: got.append(reading.wait(PATIENCE).name.encode())),
        ]
        for thread in threads:
            thread.start()
        assert all(thread.is_alive() for thread in threads)
        peer_holder[0].output_stream.write_async(b"data").get()
        for thread in threads:
            thread.join(PATIENCE)
        assert sorted(got) == [b"COMPLETED", b"data"]
        ours.close()
        peer_holder[0].close()


def test_handlers_run_on_worker_threads_serially_per_object() -> None:
    """Handlers run on worker threads, serially per object."""
    running = threading.Lock()
    order: list[object] = []
    workers: set[threading.Thread] = set()
    done = threading.Event()

    def progress(_operation: Any, value: int) -> None:
        assert running.acquire(blocking=False), "two handlers of one object at once"
        workers.add(threading.current_thread())
        order.append(value)
        running.release()

    def completed(_operation: Any, _status: AsyncStatus) -> None:
        progress(_operation, 1000)
        done.set()

    with listening(echo) as listener:
        ours = connect(listener)
        reading = ours.input_stream.read_async(Buffer(20), 20, InputStreamOptions.NONE)
        reading.progress, reading.completed = progress, completed
        for _ in range(20):
            ours.output_stream.write_async(b"x").get()
        assert done.wait(PATIENCE)
        ours.close()
    assert order == sorted(order)  # type: ignore[type-var]
    assert order[-1] == 1000
    assert {thread.name for thread in workers} == {"moorings-worker"}


def test_connection_received_handlers_run_concurrently() -> None:
    """Except `connection_received`, whose handlers run concurrently."""
    together = threading.Barrier(8)
    met: list[int] = []

    def handle(_listener: StreamSocketListener, args: Any) -> None:
        met.append(together.wait(PATIENCE))
        args.socket.close()

    with listening(handle) as listener:
        clients = [connect(listener) for _ in range(8)]
        until(lambda: len(met) == 8)
        for client in clients:
            client.close()


def test_limit_64_then_accepting_pauses() -> None:
    """(Limit 64, then accepting pauses.)"""
    go_on = threading.Event()
    served: list[int] = []

    def handle(_listener: StreamSocketListener, args: Any) -> None:
        go_on.wait(PATIENCE)
        args.socket.close()
        served.append(1)

    with listening(handle) as listener:
        clients = [connect(listener) for _ in range(CONCURRENT_HANDLERS + 1)]
        until(lambda: listener._accepting.running == CONCURRENT_HANDLERS)
        assert listener._accepting.accepted == CONCURRENT_HANDLERS == 64
        go_on.set()
        until(lambda: len(served) == len(clients))
        for client in clients:
            client.close()


def test_handlers_may_block_and_call_get() -> None:
    """So they may block and call `.get()` as under PyWinRT."""
    with listening(echo) as listener:  # echo does both
        client = connect(listener)
        client.output_stream.write_async(b"hello").get()
        assert read_exactly(client, 5) == b"hello"
        client.close()


async def test_blocking_gives_the_same_inside_asyncio() -> None:
    """`moorings.blocking(handler)` gives the same inside asyncio."""
    go_on = threading.Event()
    threads: set[str] = set()

    def serve(listener: StreamSocketListener, args: Any) -> None:
        threads.add(threading.current_thread().name)
        go_on.wait(PATIENCE)
        echo(listener, args)

    listener = StreamSocketListener()
    listener.add_connection_received(moorings.blocking(serve))
    await listener.bind_service_name_async("")
    clients = [client_of(listener) for _ in range(CONCURRENT_HANDLERS + 1)]
    accepting = listener._accepting
    await until_async(lambda: accepting.running == CONCURRENT_HANDLERS)
    await turns(10)
    assert accepting.accepted == CONCURRENT_HANDLERS
    go_on.set()
    for client in clients:
        client.send(b"hello")
        client.shutdown(socket.SHUT_WR)
    for client in clients:
        assert await receive(client, 5) == b"hello"
        client.close()
    assert threads == {"moorings-worker"}
    assert (await listener.drain(PATIENCE)).finished <= len(clients)
    assert accepting.accepted == len(clients)
    assert accepting.running == 0


# -- across threads and loops ----------------------------------------------------------------------------------------


async def test_calls_from_another_thread_hop_to_the_home_loop() -> None:
    """Calls from another thread hop to the home loop."""
    async with socket_pair() as (first, second):
        seen: list[int] = []

        def completed(_operation: Any, _status: AsyncStatus) -> None:
            seen.append(threading.get_ident())

        def elsewhere() -> bytes:
            writing = first.output_stream.write_async(b"over there")
            writing.completed = completed
            writing.get()
            data = bytes(second.input_stream.read_async(Buffer(10), 10, InputStreamOptions.NONE).get())
            first.close()
            return data

        assert await asyncio.to_thread(elsewhere) == b"over there"
        await until_async(lambda: seen)
        assert await second.read() == b""


async def test_awaits_from_another_loop_are_bridged() -> None:
    """Awaits from another loop are bridged."""
    async with socket_pair() as (first, second):

        async def use() -> bytes:
            assert await first.output_stream.write_async(b"winrt ") == 6
            await first.write(b"python")
            await first.flush()
            data = bytes(await second.input_stream.read_async(Buffer(6), 6, InputStreamOptions.NONE))
            data += await second.read_exactly(6)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await second.read()
            await first.aclose()
            return data

        assert await asyncio.to_thread(asyncio.run, use()) == b"winrt python"


MISUSED: list[Callable[[Any], Any]] = [lambda operation: operation.get(), lambda operation: operation.wait(1)]


@pytest.mark.parametrize("block", MISUSED, ids=["get", "wait"])
async def test_get_on_the_home_loops_own_thread_is_an_error(block: Callable[[Any], Any]) -> None:
    """Only `.get()` on the home loop's own thread ... [is an error], and [it says] what to do."""
    async with socket_and_peer() as (ours, peer):
        reading = ours.input_stream.read_async(Buffer(4), 4, InputStreamOptions.NONE)
        with pytest.raises(RuntimeError, match=r"await.*moorings\.blocking"):
            block(reading)
        peer.send(b"fine")
        assert bytes(await reading) == b"fine"


def test_a_closed_home_loop_is_an_error() -> None:
    """... and a closed home loop [is an error], and [it says] what to do."""
    plain, peer = connected_sockets()

    async def adopt() -> StreamSocket:
        return StreamSocket.from_socket(plain)

    async def use() -> None:
        background_home()
        await ours.read()

    ours = asyncio.run(adopt())
    with peer:
        for call in (lambda: ours.write(b"x"), lambda: asyncio.run(use())):
            with pytest.raises(OSError, match=r"inside one asyncio\.run\(\)") as caught:
                call()
            assert code(caught.value) == "RO_E_CLOSED"
        ours.close()


# -- events ----------------------------------------------------------------------------------------------------------


async def test_async_connection_received_starts_a_task_that_the_listener_owns() -> None:
    """`async def` handlers: ... `connection_received` starts a task that the listener owns."""
    ended: list[str] = []

    async def handle(_listener: StreamSocketListener, args: Any) -> None:
        try:
            await args.socket.read()
        except asyncio.CancelledError:
            ended.append("cancelled by the listener")
            raise

    listener = StreamSocketListener()
    listener.add_connection_received(handle)
    await listener.bind_service_name_async("")
    with client_of(listener), client_of(listener):
        await until_async(lambda: len(listener._accepting.tasks) == 2)  # one does not wait for the other
        await listener.drain(0)
    assert ended == ["cancelled by the listener"] * 2


async def test_a_handler_that_raises_is_reported_once(expect_loop_errors: list[dict[str, Any]]) -> None:
    """A handler that raises is reported once through the loop's exception handler and leaves the connection alive."""
    sockets: list[StreamSocket] = []

    def fail(_listener: StreamSocketListener, args: Any) -> None:
        sockets.append(args.socket)
        raise KeyError("broken")

    listener = StreamSocketListener()
    listener.add_connection_received(fail)
    await listener.bind_service_name_async("")
    with client_of(listener) as client:
        await until_async(lambda: sockets)
        await turns(5)
        [context] = expect_loop_errors
        assert isinstance(context["exception"], KeyError)
        await sockets[0].write(b"alive")
        assert await receive(client, 5) == b"alive"
        sockets[0].close()
    listener.close()


@pytest.mark.parametrize("taker", ["handler", "iterator"])
async def test_binding_without_a_handler_is_legal(taker: str) -> None:
    """Binding without a handler is legal: accepting ... starts with the first handler or `__aiter__`."""
    listener = StreamSocketListener()
    await listener.bind_service_name_async("")
    with client_of(listener):
        await turns(10)
        assert listener._accepting.accepted == 0
        if taker == "handler":
            received: list[Any] = []
            listener.add_connection_received(lambda _listener, args: received.append(args.socket))
            await until_async(lambda: received)
            received[0].abort()
        else:
            (await anext(aiter(listener))).abort()
    listener.close()


async def test_handler_and_iterator_at_once_are_illegal() -> None:
    """Both at once is E_ILLEGAL_METHOD_CALL."""
    listener = StreamSocketListener()
    await listener.bind_service_name_async("")
    iterator = aiter(listener)
    with pytest.raises(OSError) as caught:
        listener.add_connection_received(print)
    assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
    del iterator
    listener.add_connection_received(print)
    with pytest.raises(OSError) as caught:
        aiter(listener)
    assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
    listener.close()


# -- fork and the end ------------------------------------------------------------------------------------------------


def forked(work: Callable[[], str]) -> str:
    """What `work` returns in a forked child."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads
        child = os.fork()
    if child == 0:
        try:
            os.write(writing, work().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(child, 0)
    return answer


def test_after_fork_the_child_drops_loop_epoll_and_objects() -> None:
    """After `fork` the child drops loop, epoll and objects, and their use raises."""
    with listening(echo) as listener:
        client = connect(listener)
        descriptor = client._connection.stream.fd

        def child() -> str:
            found = []
            for use in (lambda: client.output_stream.write_async(b"x"), listener.stop_accepting):
                try:
                    use()
                except OSError as error:
                    found.append(code(error))
            try:
                os.fstat(descriptor)
            except OSError:
                found.append("descriptor dropped")
            # The child is a plain script of its own, with a loop of its own.
            with listening(echo) as second:
                another = connect(second)
                another.output_stream.write_async(b"new").get()
                found.append(read_exactly(another, 3).decode())
                another.close()
            return " ".join(found)

        assert forked(child) == "RO_E_CLOSED RO_E_CLOSED descriptor dropped new"
        # The parent's objects have noticed nothing.
        client.output_stream.write_async(b"hello").get()
        assert read_exactly(client, 5) == b"hello"
        client.close()


EXIT = """
    import sys, time
    from winrt.windows.networking import HostName
    from winrt.windows.networking.sockets import StreamSocket
    import moorings.foundation.background as background
    ours = StreamSocket()
    ours.connect_async(HostName("127.0.0.1"), sys.argv[1]).get()
    for _ in range(512):
        ours.output_stream.write_async(bytes(65536))
    shut_down, clock = background.background_loop.shut_down, time.monotonic
    import atexit
    atexit.unregister(shut_down)
    def timed():
        begin = clock()
        shut_down()
        print("within bounds" if clock() - begin < 20 * background.EXIT_DRAIN_SECONDS else "too long")
    atexit.register(timed)
    print(background.EXIT_DRAIN_SECONDS)
"""


@pytest.mark.parametrize("peer", ["reads", "is silent"])
def test_at_exit_the_background_loop_drains_for_at_most_a_second(peer: str) -> None:
    """At interpreter exit the background loop drains for at most 1 s."""
    received: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def receive_all() -> None:
            connection, _ = server.accept()
            with connection:
                total = 0
                while data := connection.recv(1 << 20):
                    total += len(data)
            received.append(total)

        thread = threading.Thread(target=receive_all)
        if peer == "reads":
            thread.start()
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(EXIT), str(server.getsockname()[1])],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        if peer == "reads":
            thread.join(PATIENCE)
            assert received == [512 * 65536]
    assert (done.stdout, done.stderr) == ("1.0\nwithin bounds\n", "")
