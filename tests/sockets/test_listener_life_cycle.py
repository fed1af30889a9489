"""Stop accepting, drain, abort the rest; limits; exhaustion; handlers that fail."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import (
    FIN,
    PATIENCE,
    RST,
    ending,
    receive,
    receive_ending,
    reset,
    turns,
    until,
)
from tests.sockets.peers import client_of

import moorings
from moorings import DrainReport, EndReason, errors
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import StreamSocket, StreamSocketListener

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

LOCALHOST = HostName("127.0.0.1")


class Server:
    """A listener that keeps its sockets, and clients of it."""

    def __init__(self) -> None:
        self.listener = StreamSocketListener()
        self.sockets: list[StreamSocket] = []
        self.clients: list[socket.socket] = []

    async def start(self) -> None:
        self.listener.add_connection_received(lambda _listener, args: self.sockets.append(args.socket))
        await self.listener.bind_endpoint_async(LOCALHOST, "")

    def client(self) -> socket.socket:
        self.clients.append(client_of(self.listener))
        return self.clients[-1]

    async def accepted(self, count: int) -> None:
        await until(lambda: len(self.sockets) == count)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    for end in (*server.sockets, server.listener):
        end.abort() if isinstance(end, StreamSocket) else end.close()
    for client in server.clients:
        client.close()


async def connects(port: str) -> bool:
    probe = StreamSocket()
    try:
        await probe.connect_async(LOCALHOST, port)
    except ConnectionRefusedError:
        return False
    probe.abort()
    return True


# -- stopping and closing --------------------------------------------------------------------------------------------


async def test_close_leaves_delivered_sockets_alone(server: Server) -> None:
    client = server.client()
    await server.accepted(1)
    port = server.listener.information.local_port
    server.listener.close()
    server.listener.close()
    assert not await connects(port)
    assert server.listener.open_connections == 1
    client.send(b"ping")
    assert await server.sockets[0].read_exactly(4) == b"ping"
    await server.sockets[0].write(b"pong")
    assert await receive(client, 4) == b"pong"
    await server.sockets[0].aclose()
    assert server.listener.open_connections == 0
    assert repr(server.listener) == f"<StreamSocketListener on port {port} closed>"


async def test_close_resets_what_nobody_took() -> None:
    """Connections in the backlog, and those that wait for an iterator."""
    listener = StreamSocketListener()
    await listener.bind_endpoint_async(LOCALHOST, "")
    iterator = aiter(listener)
    with client_of(listener) as queued:
        await until(lambda: listener.open_connections == 1)
        await listener.cancel_io_async()
        with client_of(listener) as in_backlog:
            listener.close()
            assert await ending(queued) == RST
            assert await ending(in_backlog) == RST
    del iterator


async def test_stop_accepting(server: Server) -> None:
    client = server.client()
    await server.accepted(1)
    port = server.listener.information.local_port
    server.listener.stop_accepting()
    server.listener.stop_accepting()
    assert not await connects(port)
    await server.sockets[0].write(b"alive")
    assert await receive(client, 5) == b"alive"
    assert server.listener.information.local_port == port
    second = StreamSocketListener()
    await second.bind_endpoint_async(LOCALHOST, port)
    second.close()


# -- draining --------------------------------------------------------------------------------------------------------


async def test_drain_waits_for_connections_to_end(server: Server) -> None:
    for _ in range(3):
        server.client()
    await server.accepted(3)
    await server.sockets[0].aclose()
    draining = asyncio.create_task(server.listener.drain(PATIENCE))
    await turns(5)
    assert not draining.done()
    assert not await connects(server.listener.information.local_port)
    server.sockets[1].close()
    await turns(5)
    assert not draining.done()
    server.sockets[2].close()
    assert await draining == DrainReport(accepted=3, finished=2, aborted=0)
    assert server.listener.open_connections == 0


async def test_drain_aborts_the_rest_at_the_deadline(server: Server) -> None:
    clients = [server.client() for _ in range(4)]
    await server.accepted(4)
    await server.sockets[0].aclose()
    draining = asyncio.create_task(server.listener.drain(0.05))
    await turns(2)
    await server.sockets[1].aclose()
    assert await draining == DrainReport(accepted=4, finished=1, aborted=2)
    for client in clients[2:]:
        assert await ending(client) == RST
    assert server.sockets[2].end_reason == EndReason.ABORTED


async def test_drain_at_once(server: Server) -> None:
    client = server.client()
    await server.accepted(1)
    assert await server.listener.drain(0) == DrainReport(accepted=1, finished=0, aborted=1)
    assert await ending(client) == RST
    with pytest.raises(OSError) as caught:
        server.listener.stop_accepting()
    assert caught.value.winerror == errors.RO_E_CLOSED


async def test_drain_without_a_deadline(server: Server) -> None:
    server.client()
    await server.accepted(1)
    draining = asyncio.create_task(server.listener.drain(None))
    await turns(5)
    assert not draining.done()
    server.sockets[0].abort()
    assert await draining == DrainReport(accepted=1, finished=1, aborted=0)


async def test_drain_counts_after_stop_and_close_too(server: Server) -> None:
    server.client()
    await server.accepted(1)
    server.listener.stop_accepting()
    server.listener.close()
    assert await server.listener.drain(0) == DrainReport(accepted=1, finished=0, aborted=1)
    assert await server.listener.drain(0) == DrainReport(accepted=1, finished=0, aborted=0)


async def test_drain_of_one_that_was_never_bound() -> None:
    listener = StreamSocketListener()
    assert await listener.drain() == DrainReport(0, 0, 0)
    with pytest.raises(OSError) as caught:
        listener.bind_service_name_async("")
    assert caught.value.winerror == errors.RO_E_CLOSED


async def test_drain_counts_what_nobody_took() -> None:
    listener = StreamSocketListener()
    await listener.bind_endpoint_async(LOCALHOST, "")
    iterator = aiter(listener)
    with client_of(listener) as first, client_of(listener) as second:
        await until(lambda: listener.open_connections == 2)
        taken = await anext(iterator)
        draining = asyncio.create_task(listener.drain(PATIENCE))
        assert await ending(second) == RST
        taken.close()
        assert await draining == DrainReport(accepted=2, finished=1, aborted=1)
        assert await ending(first) == FIN


async def test_cancelled_drain_aborts_at_once(server: Server) -> None:
    client = server.client()
    await server.accepted(1)
    draining = asyncio.create_task(server.listener.drain(PATIENCE))
    await turns(3)
    draining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await draining
    assert await ending(client) == RST


async def test_drain_waits_for_handler_tasks_and_cancels_them_at_the_deadline() -> None:
    progress: list[str] = []
    go_on = asyncio.Event()

    async def handle(_listener: StreamSocketListener, args: Any) -> None:
        async with args.socket:
            pass
        progress.append("connection ended")
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            progress.append("cancelled")
            raise
        progress.append("done")

    for outcome in ("done", "cancelled"):
        progress.clear()
        go_on.clear()
        listener = StreamSocketListener()
        listener.add_connection_received(handle)
        await listener.bind_endpoint_async(LOCALHOST, "")
        with client_of(listener) as client:
            assert await ending(client) == FIN
            await until(lambda: progress == ["connection ended"] and listener.open_connections == 0)  # noqa: B023
            draining = asyncio.create_task(listener.drain(PATIENCE if outcome == "done" else 0.01))
            await turns(5)
            if outcome == "done":
                assert not draining.done()
                go_on.set()
            assert await draining == DrainReport(accepted=1, finished=0, aborted=0)
            assert progress == ["connection ended", outcome]


async def test_drain_at_the_deadline_reports_no_handler_as_failed() -> None:
    """A handler that waits for its peer is cancelled before its connection is aborted: it ends quietly."""

    async def handle(_listener: StreamSocketListener, args: Any) -> None:
        async with args.socket as connection:
            await connection.read()

    listener = StreamSocketListener()
    listener.add_connection_received(handle)
    await listener.bind_endpoint_async(LOCALHOST, "")
    with client_of(listener) as client:
        await until(lambda: listener.open_connections == 1)
        assert await listener.drain(0.01) == DrainReport(accepted=1, finished=0, aborted=1)
        assert await ending(client) == RST


async def test_drain_inside_a_handler_does_not_wait_for_itself() -> None:
    reports: list[DrainReport] = []

    async def handle(listener: StreamSocketListener, args: Any) -> None:
        args.socket.abort()
        reports.append(await listener.drain(PATIENCE))

    listener = StreamSocketListener()
    listener.add_connection_received(handle)
    await listener.bind_endpoint_async(LOCALHOST, "")
    with client_of(listener):
        await until(lambda: reports)
    assert reports == [DrainReport(accepted=1, finished=0, aborted=0)]


async def test_async_with_drains() -> None:
    async with StreamSocketListener() as listener:
        await listener.bind_endpoint_async(LOCALHOST, "")
        port = listener.information.local_port
    assert not await connects(port)


async def leave_with_error(server: Server) -> None:
    async with server.listener:
        raise KeyError


async def test_async_with_aborts_when_left_by_an_exception(server: Server) -> None:
    client = server.client()
    await server.accepted(1)
    with pytest.raises(KeyError):
        await leave_with_error(server)
    assert await ending(client) == RST


async def test_tasks_of_handlers_go_on_after_close() -> None:
    """close() gives the port back; connections are served to their end."""
    served: list[bytes] = []

    async def handle(_listener: StreamSocketListener, args: Any) -> None:
        async with args.socket as connection:
            async for line in connection.lines():
                served.append(line)
                await connection.write(line + b"\n")

    listener = StreamSocketListener()
    listener.add_connection_received(handle)
    await listener.bind_endpoint_async(LOCALHOST, "")
    with client_of(listener) as client:
        await until(lambda: listener.open_connections == 1)
        listener.close()
        client.send(b"one\ntwo\n")
        client.shutdown(1)
        assert await receive_ending(client) == (b"one\ntwo\n", FIN)
    assert served == [b"one", b"two"]


# -- limits ----------------------------------------------------------------------------------------------------------


async def test_max_connections_pauses_and_resumes(server: Server) -> None:
    server.listener.max_connections = 2
    for _ in range(5):
        server.client()
    await server.accepted(2)
    await turns(10)
    assert len(server.sockets) == 2
    server.sockets[0].abort()
    await server.accepted(3)
    await turns(10)
    assert server.listener.open_connections == 2
    server.listener.max_connections = 3
    await server.accepted(4)
    await turns(10)
    assert len(server.sockets) == 4
    server.listener.max_connections = None
    await server.accepted(5)
    assert server.listener.open_connections == 4


async def test_max_connections_with_iteration() -> None:
    listener = StreamSocketListener()
    listener.max_connections = 1
    await listener.bind_endpoint_async(LOCALHOST, "")
    with client_of(listener), client_of(listener):
        iterator = aiter(listener)
        first = await anext(iterator)
        waiting = asyncio.ensure_future(anext(iterator))
        await turns(10)
        assert not waiting.done()
        first.abort()
        (await waiting).abort()
    listener.close()


EXHAUSTION = """
    import asyncio, resource, socket, sys
    import moorings
    from moorings.foundation.home import current_home

    async def main():
        reports = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        async with moorings.listen("tcp://127.0.0.1:0", echo) as listener:
            acceptor = listener.listener._accepting.acceptor
            address = ("127.0.0.1", listener.port)
            clients = [socket.create_connection(address) for _ in range(4)]
            used = max(client.fileno() for client in clients)
            while acceptor.accepted < 4:
                await asyncio.sleep(0)
            more = [socket.socket() for _ in range(3)]
            # Nothing is free now: accept() fails with EMFILE, whatever the clients do.
            highest = max(int(name) for name in __import__("os").listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
            for client in more:
                client.connect(address)
            while not acceptor.exhausted:
                await asyncio.sleep(0.001)
            assert acceptor.accepted < 7
            # The connections that are open are served all the while.
            await exchange(clients[0])
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for client in more:
                await exchange(client)
            assert acceptor.accepted == 7
            for client in clients + more:
                client.close()
        assert listener.report == (7, 7, 0, 0), listener.report
        assert not reports, reports
        print("recovered")

    async def echo(connection):
        while data := await connection.read():
            await connection.write(data)

    async def exchange(client):
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, b"x")
        assert await loop.sock_recv(client, 1) == b"x"

    loop = asyncio.new_event_loop() if sys.argv[1] == "asyncio" else __import__("uvloop").new_event_loop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(asyncio.wait_for(main(), 20))
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_descriptor_exhaustion(loop: str) -> None:
    """Accepting pauses while the process is out of descriptors, and recovers unaided."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(EXHAUSTION), loop],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("recovered\n", "")


# -- handlers that fail ----------------------------------------------------------------------------------------------


def failures(contexts: list[dict[str, Any]]) -> list[tuple[type, str]]:
    return [(type(context["exception"]), str(context["message"])) for context in contexts]


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_handler_that_raises_is_reported_once(kind: str, expect_loop_errors: list[dict[str, Any]]) -> None:
    sockets: list[StreamSocket] = []

    def fail(_listener: StreamSocketListener, args: Any) -> None:
        sockets.append(args.socket)
        raise KeyError("broken")

    async def fail_later(listener: StreamSocketListener, args: Any) -> None:
        await asyncio.sleep(0)
        fail(listener, args)

    listener = StreamSocketListener()
    listener.add_connection_received(fail if kind == "plain" else fail_later)
    listener.add_connection_received(lambda _listener, args: sockets.append(args.socket))
    await listener.bind_endpoint_async(LOCALHOST, "")
    with client_of(listener) as client:
        await until(lambda: len(sockets) == 2 and expect_loop_errors)
        # The connection lives, the other handler got it too, and accepting goes on.
        assert sockets[0] is sockets[1]
        await sockets[0].write(b"alive")
        assert await receive(client, 5) == b"alive"
        with client_of(listener):
            await until(lambda: len(sockets) == 4 and len(expect_loop_errors) == 2)
    await turns(5)
    [(first, message), _] = failures(expect_loop_errors)
    assert first is KeyError
    assert "connection_received handler" in message
    assert "fail" in message
    for ours in sockets:
        ours.abort()
    listener.close()


async def test_accepting_that_fails_for_good_is_reported_and_closes(
    server: Server, expect_loop_errors: list[dict[str, Any]]
) -> None:
    acceptor = server.listener._accepting.acceptor
    assert acceptor is not None
    acceptor._socket.shutdown(2)  # type: ignore[union-attr]  # somebody else who has the descriptor might do this
    await until(lambda: expect_loop_errors)
    [(kind, message)] = failures(expect_loop_errors)
    assert issubclass(kind, OSError)
    assert "accepting failed for good" in message
    with pytest.raises(OSError) as caught:
        server.listener.add_connection_received(print)
    assert caught.value.winerror == errors.RO_E_CLOSED


async def test_a_client_that_resets_in_the_backlog_harms_nobody(server: Server) -> None:
    for _ in range(3):
        client = server.client()
        reset(client)
    good = server.client()
    await until(lambda: any(ours.information.remote_port == str(good.getsockname()[1]) for ours in server.sockets))
    good.send(b"x")
    assert await server.sockets[-1].read() == b"x"


async def test_many_connections_are_all_counted() -> None:
    async def echo(connection: moorings.StreamSocket) -> None:
        while data := await connection.read():
            await connection.write(data)

    async with moorings.listen("tcp://127.0.0.1:0", echo) as listener:

        async def use() -> None:
            async with await moorings.connect(f"tcp://127.0.0.1:{listener.port}") as client:
                await client.write(b"x")
                assert await client.read() == b"x"

        for _ in range(10):
            async with asyncio.TaskGroup() as group:
                for _ in range(50):
                    group.create_task(use())
    report = listener.report
    assert report is not None
    assert (report.accepted, report.aborted) == (500, 0)
