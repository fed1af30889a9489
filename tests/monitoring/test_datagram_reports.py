"""What is told about DatagramSockets, as they do one thing or another."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, until
from tests.monitoring.samples import only_program
from tests.sockets import scripts
from tests.sockets.datagram_peers import Received, bound, plain_peer, port_of, unused_port

import moorings
from moorings import DatagramReport, DatagramSocket, HostName
from moorings.engine.inspection import SocketMemory
from moorings.monitoring import gathering
from moorings.sockets import datagram_delivery

if TYPE_CHECKING:
    from pathlib import Path

    from moorings import Monitor

LOCALHOST = HostName("127.0.0.1")


def report_of(monitor: Monitor, ours: DatagramSocket) -> DatagramReport:
    """What is told about one socket."""
    (report,) = [one for one in monitor.snapshot().datagram_sockets if one.local_port == port_of(ours)]
    return report


@pytest.fixture
async def watched(tmp_path: Path) -> Any:
    async with moorings.monitor(directory=tmp_path) as monitor:
        yield monitor


async def test_both_ends_of_an_exchange(watched: Monitor) -> None:
    received = Received()
    async with await bound(received) as ours, DatagramSocket() as theirs:
        await theirs.connect_async(LOCALHOST, ours.information.local_port)
        for _ in range(3):
            await theirs.output_stream.write_async(b"x" * 100)
        await received.wait(3)
        program = await only_program(watched)
        assert program.sockets == tuple(program.datagram_sockets)
        there, here = sorted(program.datagram_sockets, key=lambda report: report.datagrams_received)
        assert (here.state, here.local_address, here.local_port) == ("receiving", "127.0.0.1", port_of(ours))
        assert (here.remote_address, here.remote_port) == (None, None)
        assert (here.datagrams_received, here.bytes_received, here.datagrams_sent) == (3, 300, 0)
        assert (there.state, there.local_port) == ("sending", port_of(theirs))
        assert (there.remote_address, there.remote_port) == ("127.0.0.1", port_of(ours))
        assert (there.datagrams_sent, there.bytes_sent) == (3, 300)
        assert here.age_s is not None
        assert here.kernel_drops == here.kernel_unread_bytes == 0
        assert here.receive_buffer_bytes
        assert here.why_slow == there.why_slow == "Nothing stands out."


async def test_it_tells_what_the_counters_tell(watched: Monitor) -> None:
    async with await bound() as ours:
        with plain_peer() as peer:
            peer.sendto(b"abc", ("127.0.0.1", port_of(ours)))
            assert (await ours.receive()).data == b"abc"
            await ours.send(b"four", ("127.0.0.1", peer.getsockname()[1]))
        ours.limits.write_queue_limit = 123
        ours.limits.receive_queue_limit = 45
        ours.limits.drop_policy = "newest"
        report, counters = report_of(watched, ours), ours.counters
        assert (report.write_queue_limit_bytes, report.receive_queue_limit_datagrams) == (123, 45)
        assert report.drop_policy == "newest"
        same = {
            "datagrams_segmented": "segmented",
            "datagrams_coalesced": "coalesced",
            "queue_drops": "dropped",
            "network_errors": "errors",
            "pinned_blocks": "pinned",
        }
        told = {same.get(name, name): value for name, value in report._asdict().items()}
        assert {name: told.get(name) for name in counters._fields if name != "refused"} == {
            name: value for name, value in counters._asdict().items() if name != "refused"
        }


async def test_the_kernel_drops_what_nobody_receives_in_time(watched: Monitor) -> None:
    ours = DatagramSocket()
    ours.control.inbound_buffer_size_in_bytes = 4096
    async with ours:
        await ours.bind_endpoint_async(LOCALHOST, "")
        with plain_peer() as peer:
            for _ in range(50):
                peer.sendto(b"x" * 500, ("127.0.0.1", port_of(ours)))
            report = report_of(watched, ours)
            assert report.kernel_drops
            assert report.kernel_unread_bytes
            assert report.drops == report.kernel_drops
            assert "nobody receives" in report.why_slow
            await ours.receive()
            kept = 50 - report.kernel_drops
            await until(lambda: report_of(watched, ours).datagrams_received == kept)
        later = report_of(watched, ours)
        assert (later.state, later.kernel_unread_bytes) == ("receiving", 0)
        assert later.why_slow.startswith(f"The kernel dropped {report.kernel_drops} datagrams")
        assert "raise control.inbound_buffer_size_in_bytes" in later.why_slow


async def test_a_kernel_that_does_not_tell(watched: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "memory_of", lambda _: SocketMemory())
    async with await bound() as ours:
        report = report_of(watched, ours)
        assert report.kernel_drops is report.receive_buffer_bytes is report.kernel_unread_bytes is None
        assert report.drops == 0


async def test_a_full_receive_queue(watched: Monitor) -> None:
    async with await bound() as ours:
        ours.limits.receive_queue_limit = 2
        with plain_peer() as peer:
            peer.sendto(b"first", ("127.0.0.1", port_of(ours)))
            await ours.receive()
            for _ in range(5):
                peer.sendto(b"x", ("127.0.0.1", port_of(ours)))
            await until(lambda: ours.counters.datagrams_received == 6)
        report = report_of(watched, ours)
        assert (report.waiting_datagrams, report.queue_drops, report.drops) == (2, 3, 3)
        assert report.why_slow.startswith("3 datagrams were dropped because 2 waited already")


async def test_queued_and_refused_writes(watched: Monitor) -> None:
    async with await bound() as ours:
        ours.limits.write_queue_limit = 1000
        stream = await ours.get_output_stream_async(LOCALHOST, str(unused_port()))
        writes = [stream.write_async(b"x" * 100) for _ in range(2)]
        report = report_of(watched, ours)
        assert (report.queued_datagrams, report.queued_bytes) == (2, ours.counters.queued_bytes)
        assert report.send_blocked is False
        assert f"{report.queued_bytes} bytes wait in our queue" in report.why_slow
        with pytest.raises(OSError, match="await writes"):
            await stream.write_async(b"x" * 400)
        assert report_of(watched, ours).writes_refused == 1
        await asyncio.gather(*writes)


async def test_failures_of_the_network(watched: Monitor) -> None:
    errors = Received(lambda args: args)
    async with await bound(errors) as ours:
        stream = await ours.get_output_stream_async(LOCALHOST, str(unused_port()))
        await stream.write_async(b"anybody?")
        await errors.wait()
        report = report_of(watched, ours)
        assert report.network_errors == 1
        assert report.why_slow.startswith("The network reported 1 failure")


async def test_unicast_on_a_socket_for_groups(watched: Monitor) -> None:
    ours = DatagramSocket()
    ours.control.multicast_only = True
    ours.add_message_received(lambda *_: None)
    async with ours:
        await ours.bind_endpoint_async(None, "")
        with plain_peer() as peer:
            peer.sendto(b"x", ("127.0.0.1", port_of(ours)))
        await until(lambda: ours.counters.refused == 1)
        report = report_of(watched, ours)
        assert (report.unicast_refused, report.writes_refused) == (1, 0)


async def test_handlers_that_do_not_end(watched: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagram_delivery, "HANDLER_TASK_LIMIT", 4)
    release = asyncio.Event()

    async def handler(*_: object) -> None:
        await release.wait()

    async with await bound(handler) as ours:
        with plain_peer() as peer:
            for number in range(4):
                peer.sendto(b"x", ("127.0.0.1", port_of(ours)))
                await until(lambda number=number: report_of(watched, ours).handler_tasks > number)  # type: ignore[misc]
        report = report_of(watched, ours)
        assert (report.state, report.handler_tasks) == ("paused", 4)
        assert report.why_slow == "Receiving is paused: 4 tasks of handlers run."
        release.set()
        await until(lambda: report_of(watched, ours).state == "receiving")


async def test_a_socket_that_drains(watched: Monitor) -> None:
    release = asyncio.Event()

    async def serve(_message: object) -> None:
        await release.wait()

    listening = moorings.listen("udp://127.0.0.1:0", serve, drain_timeout=PATIENCE)
    async with listening:
        with plain_peer() as peer:
            peer.sendto(b"x", ("127.0.0.1", listening.port))
        await until(lambda: sum(one.handler_tasks for one in watched.snapshot().datagram_sockets) == 1)
        draining = asyncio.ensure_future(listening.drain())
        await until(lambda: [one.state for one in watched.snapshot().datagram_sockets] == ["ending"])
        release.set()
        await draining
    assert watched.snapshot().datagram_sockets == []


def test_a_plain_script(tmp_path: Path) -> None:
    release, running = threading.Event(), threading.Event()

    def handler(*_: object) -> None:
        running.set()
        release.wait(PATIENCE)

    with moorings.monitor(directory=tmp_path) as monitor, DatagramSocket() as ours, plain_peer() as peer:
        ours.add_message_received(handler)
        ours.bind_endpoint_async(LOCALHOST, "").get()
        try:
            for _ in range(3):
                peer.sendto(b"x", ("127.0.0.1", port_of(ours)))
            assert running.wait(PATIENCE)
            scripts.until(lambda: report_of(monitor, ours).waiting_datagrams == 2)
            report = report_of(monitor, ours)
            assert (report.loop, report.state) == ("background", "receiving")
            assert report.why_slow.startswith("2 datagrams not taken by the program")
        finally:
            release.set()
        scripts.until(lambda: report_of(monitor, ours).waiting_datagrams == 0)
