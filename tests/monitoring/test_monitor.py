"""A program that called `moorings.monitor()` can be looked at, by its user, within limits, until it ends."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import clog, connected_sockets, socket_and_peer, turns, until
from tests.engine.web_socket_pairs import link_pair
from tests.monitoring.samples import connected, everything, only_program, raw_client, short
from tests.sockets import scripts
from tests.sockets.stream_web_socket_pairs import pair_over

import moorings
from moorings import StreamSocket
from moorings.monitoring import gathering, lister, monitor, wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


# -- what is told ----------------------------------------------------------------------------------------------------


async def test_sockets_of_a_program(tmp_path: Path) -> None:
    async with moorings.monitor(name="server", directory=tmp_path) as watched, connected() as (client, server):
        await client.write(b"x" * 1000)
        assert await server.read_exactly(400) == b"x" * 400
        program = await only_program(watched)
        assert (program.pid, program.name, program.version) == (os.getpid(), "server", moorings.__version__)
        assert (program.truncated, program.silent_loops) == (0, 0)
        (listener,) = program.listeners
        assert (listener.accepted_connections, listener.open_connections, listener.max_connections) == (1, 1, None)
        assert (listener.local_address, listener.backlog_connections) == ("127.0.0.1", 0)
        ours = next(report for report in program.streams if not report.accepted)
        theirs = next(report for report in program.streams if report.accepted)
        assert ours.host_name == ours.remote_address == "127.0.0.1"
        assert (ours.local_port, ours.remote_port) == (theirs.remote_port, theirs.local_port)
        assert (ours.bytes_sent, theirs.bytes_received, theirs.unread_bytes) == (1000, 1000, 600)
        assert ours.tcp_state == theirs.tcp_state == "ESTABLISHED"
        assert ours.round_trip_time_us
        assert ours.round_trip_time_min_us
        assert ours.age_s is not None
        assert theirs.outbound_bits_per_second is None  # it never sent: unknown is not zero
        assert theirs.why_slow.startswith("The application is not reading: 600 bytes unread.")


async def test_messages_of_web_sockets(tmp_path: Path) -> None:
    async with moorings.monitor(directory=tmp_path) as watched, link_pair() as (client, server):
        for _ in range(3):
            client.send(1, "one", True)
        await client.ping()
        assert await server.receive(1) == "one"
        program = await only_program(watched)
        ours, theirs = sorted(program.streams, key=lambda report: report.messages_received or 0)
        assert (ours.messages_sent, ours.messages_received, ours.waiting_messages) == (3, 0, 0)
        assert (theirs.messages_sent, theirs.messages_received, theirs.waiting_messages) == (0, 3, 2)
        assert ours.ping_time_us
        assert theirs.ping_time_us is None
        assert "2 messages not taken by the program: the peer has to wait." in theirs.why_slow
        assert not theirs.read_pending
        await server.receive(1)
        await server.receive(1)
        pending = server.receive(1)
        assert [report.read_pending for report in watched.snapshot().streams if report.messages_received] == [True]
        pending.cancel()


async def test_web_sockets_of_bytes(tmp_path: Path) -> None:
    """One report for each, with what is unread and queued above; none where only bytes are left to read."""
    async with moorings.monitor(directory=tmp_path) as watched, pair_over() as (client, server):
        await client.write(b"x" * 1000)
        assert await server.read(400) == b"x" * 400
        reading = asyncio.ensure_future(client.read())
        await turns(10)
        theirs, ours = sorted(watched.snapshot().streams, key=lambda report: report.accepted is False)
        assert (theirs.unread_bytes, theirs.read_pending) == (600, False)
        assert (ours.unread_bytes, ours.read_pending, ours.messages_sent) == (0, True, 1)
        server.close()
        assert await reading == b""
        await until(lambda: client._bytes is not None and client._bytes.fd < 0)
        assert watched.snapshot().streams == []


async def test_snapshot_tells_the_same_as_the_socket(tmp_path: Path) -> None:
    async with moorings.monitor(directory=tmp_path) as watched, connected() as (client, server):
        await client.write(b"abc")
        assert await server.read_exactly(3) == b"abc"
        told = await only_program(watched)
        for snapshot in (watched.snapshot(), await watched.snapshot_async()):
            assert [report.id for report in snapshot.sockets] == [report.id for report in told.sockets]
            assert [report.bytes_sent for report in snapshot.streams] == [report.bytes_sent for report in told.streams]
        assert watched.open_metrics().endswith("# EOF\n")


async def test_a_clogged_and_a_closing_connection(tmp_path: Path) -> None:
    with moorings.monitor(directory=tmp_path) as watched:
        async with socket_and_peer(receive_buffer=4096) as (ours, _):
            queued = await clog(ours)
            (report,) = watched.snapshot().streams
            assert (report.state, report.queued_bytes) == ("open", queued)
            assert report.unacknowledged_bytes
            assert f"{queued:,} bytes wait in our queue" in report.why_slow
            ours.close()
            (report,) = watched.snapshot().streams
            assert (report.state, report.end_reason) == ("closing", "CLOSED_BY_US")
            assert report.why_slow.startswith("close() waits up to 5 s until ")


async def test_looking_keeps_nothing_alive(tmp_path: Path) -> None:
    with moorings.monitor(directory=tmp_path) as watched:
        async with connected():
            kept = watched.snapshot()
        await until(lambda: not watched.snapshot().sockets)
        assert len(kept.streams) == 2


async def test_the_limit_of_a_request_and_the_count_of_the_rest(tmp_path: Path) -> None:
    async with moorings.monitor(directory=tmp_path) as watched, connected():
        program = await only_program(watched, limit=1)
        assert (len(program.sockets), program.truncated) == (1, 2)


async def test_two_thousand_sockets_and_the_loop_goes_on(
    tmp_path: Path, many_descriptors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "SLICE_SECONDS", 0)  # one socket is a slice
    pairs = [connected_sockets() for _ in range(1000)]
    sockets = [StreamSocket.from_socket(end) for pair in pairs for end in pair]
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    try:
        async with moorings.monitor(directory=tmp_path) as watched:
            assert len((await only_program(watched)).sockets) == 2000
            assert turns > 1000  # without slices there would be a handful
    finally:
        counting.cancel()
        for ours in sockets:
            ours.abort()


# -- other loops -----------------------------------------------------------------------------------------------------


class OtherLoop:
    """A thread with an asyncio loop of its own, and a connection on it."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.ready = threading.Event()
        self.ended: asyncio.Event | None = None
        self.thread = threading.Thread(target=lambda: asyncio.run(self._live()))

    async def _live(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        async with connected():
            self.ready.set()
            await self.ended.wait()

    def __enter__(self) -> OtherLoop:
        self.thread.start()
        assert self.ready.wait(20)
        return self

    def call(self, function: Callable[[], object]) -> None:
        assert self.loop is not None
        self.loop.call_soon_threadsafe(function)

    def __exit__(self, *_: object) -> None:
        assert self.ended is not None
        self.call(self.ended.set)
        self.thread.join()


async def test_sockets_of_another_loop(tmp_path: Path) -> None:
    with OtherLoop():
        async with moorings.monitor(directory=tmp_path) as watched:
            assert len((await only_program(watched)).streams) == 2
            assert len(watched.snapshot().streams) == 2


async def test_a_blocked_loop_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "LOOP_DEADLINE", 0.02)
    unblock = threading.Event()
    with OtherLoop() as other:
        other.call(lambda: unblock.wait(20))
        try:
            async with moorings.monitor(directory=tmp_path) as watched:
                program = await only_program(watched)
                assert (program.sockets, program.silent_loops) == ((), 1)
                assert watched.snapshot().silent_loops == 1
        finally:
            unblock.set()


def test_a_plain_script(tmp_path: Path) -> None:
    with moorings.monitor(directory=tmp_path) as watched, scripts.listening(scripts.echo) as listener:
        ours = scripts.connect(listener)
        scripts.until(lambda: len(watched.snapshot().streams) == 2)
        program = asyncio.run(only_program(watched))
        assert {report.loop for report in program.sockets} == {"background"}
        assert len(program.sockets) == 3
        ours.close()
    scripts.until(lambda: watched.closed)
    assert list(tmp_path.iterdir()) == []


# -- beginning and end -----------------------------------------------------------------------------------------------


async def test_the_socket_is_private_and_goes_with_the_monitor(tmp_path: Path) -> None:
    directory = tmp_path / "new"
    before = os.umask(0)
    try:
        watched = moorings.monitor(directory=directory)
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(watched.path.stat().st_mode) == 0o600
    assert watched.path.name == f"{os.getpid()}-0.sock"
    assert not watched.closed
    watched.close()
    assert watched.closed
    assert not watched.path.exists()
    watched.close()


async def test_closed_from_another_thread(tmp_path: Path) -> None:
    watched = moorings.monitor(directory=tmp_path)
    await asyncio.to_thread(watched.close)
    assert not watched.path.exists()
    await until(lambda: watched.closed)


async def test_several_monitors_of_one_process(tmp_path: Path) -> None:
    with moorings.monitor(name="a", directory=tmp_path), moorings.monitor(name="b", directory=tmp_path):
        listing = await lister.ask_all([tmp_path])
        assert [program.name for program in listing.programs] == ["a", "b"]


async def test_a_client_that_waits_is_let_go_at_the_end(tmp_path: Path) -> None:
    async with moorings.monitor(directory=tmp_path) as watched, raw_client(watched.path) as client:
        await until(lambda: watched._clients)
        await watched.aclose()
        assert await everything(client) == b""


def test_a_forgotten_monitor_ends_with_its_loop(tmp_path: Path) -> None:
    kept: list[moorings.Monitor] = []

    async def main() -> None:
        kept.append(moorings.monitor(directory=tmp_path))
        assert kept[0].path.exists()

    asyncio.run(main())
    assert kept[0].closed
    assert list(tmp_path.iterdir()) == []


def test_a_loop_that_is_only_closed(tmp_path: Path) -> None:
    async def main() -> moorings.Monitor:
        return moorings.monitor(directory=tmp_path)

    loop = asyncio.new_event_loop()
    watched = loop.run_until_complete(main())
    loop.close()
    watched.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", ["", "x" * 201])
async def test_bad_names(bad: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name must have"):
        moorings.monitor(name=bad, directory=tmp_path)
    with pytest.raises(TypeError):
        moorings.monitor(name=1, directory=tmp_path)  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


async def test_nothing_is_left_when_it_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(monitor, "Acceptor", refuse)
    with pytest.raises(OSError, match="no"):
        moorings.monitor(directory=tmp_path)
    with pytest.raises(OSError, match="no"):
        await asyncio.to_thread(moorings.monitor, directory=tmp_path)
    assert os.listdir(tmp_path) == []


# -- hostile clients -------------------------------------------------------------------------------------------------


async def test_several_requests_on_one_connection(tmp_path: Path) -> None:
    async with moorings.monitor(directory=tmp_path) as watched, raw_client(watched.path) as client:
        client.send(wire.request_line() * (monitor.CLIENT_REQUESTS_LIMIT + 1))
        lines = (await everything(client)).splitlines()
        assert len(lines) == monitor.CLIENT_REQUESTS_LIMIT
        assert {json.loads(line)["pid"] for line in lines} == {os.getpid()}


@pytest.mark.parametrize("line", [b"{}\n", b"\xff\xfe\n", b"[" * 1000 + b"\n", b"\n", b"x" * 5000])
async def test_nonsense_gets_one_line_and_the_end(line: bytes, tmp_path: Path) -> None:
    async with moorings.monitor(directory=tmp_path) as watched:
        async with raw_client(watched.path) as client:
            client.send(line)
            answer = await everything(client)
            # What a client sent and nobody read may turn the end into a reset, which can overtake the line.
            assert answer == b"" or list(json.loads(answer)) == ["error"]
        assert (await only_program(watched)).sockets == ()


async def test_a_client_that_says_half_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "CLIENT_TIMEOUT", 0.02)
    async with moorings.monitor(directory=tmp_path) as watched, raw_client(watched.path) as client:
        client.send(b'{"get"')
        assert await everything(client) == b""


async def test_a_client_that_does_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "CLIENT_TIMEOUT", 0.05)
    size = 16 << 20  # no kernel keeps that much for a Unix socket
    async with moorings.monitor(directory=tmp_path) as watched:
        with monkeypatch.context() as patch:
            patch.setattr(wire, "answer", lambda *_: iter([bytes(size)]))
            async with raw_client(watched.path) as client:
                client.send(wire.request_line())
                await until(lambda: watched._clients)
                await until(lambda: not watched._clients)
                assert 0 < len(await everything(client)) < size
        monkeypatch.setattr(monitor, "CLIENT_TIMEOUT", 10)
        assert (await only_program(watched)).pid == os.getpid()


async def test_clients_that_hang_up(tmp_path: Path) -> None:
    async with moorings.monitor(directory=tmp_path) as watched:
        for request in (b"", b'{"get"', wire.request_line()):
            async with raw_client(watched.path) as client:
                client.send(request)
        assert (await only_program(watched)).pid == os.getpid()


async def test_too_many_clients_wait(tmp_path: Path) -> None:
    async with moorings.monitor(directory=tmp_path) as watched:
        silent = [socket.socket(socket.AF_UNIX) for _ in range(monitor.CLIENT_LIMIT)]
        for client in silent:
            client.connect(short(watched.path))
        await until(lambda: len(watched._clients) == monitor.CLIENT_LIMIT)
        asking = asyncio.create_task(only_program(watched))
        await asyncio.sleep(0)
        assert len(watched._clients) == monitor.CLIENT_LIMIT
        for client in silent:
            client.close()
        assert (await asking).pid == os.getpid()


class Claims:
    """A client of another user."""

    def __init__(self, user: int | None) -> None:
        self.user = user

    def getsockopt(self, *_: int) -> bytes:
        if self.user is None:
            raise OSError("not known")
        return struct.pack("3i", 1, self.user, 1)


@pytest.mark.parametrize(
    ("user", "may"), [(os.geteuid(), True), (0, True), (os.geteuid() + 1, False), (-1, False), (None, False)]
)
def test_who_may_ask(user: int | None, may: bool) -> None:
    client: Any = Claims(user)
    assert monitor._may_ask(client) is may


async def test_another_user_gets_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with moorings.monitor(directory=tmp_path) as watched:
        monkeypatch.setattr(monitor, "_may_ask", lambda _: False)
        async with raw_client(watched.path) as client:
            assert await everything(client) == b""
        assert watched._clients == set()


async def test_a_failure_of_ours_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expect_loop_errors: list[dict[str, Any]]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async with moorings.monitor(directory=tmp_path) as watched:
        monkeypatch.setattr(wire, "answer", fail)
        async with raw_client(watched.path) as client:
            client.send(wire.request_line())
            assert await everything(client) == b""
        await until(lambda: expect_loop_errors)
    assert [type(context["exception"]) for context in expect_loop_errors] == [ZeroDivisionError]
