"""The sending side of a datagram port."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, turns, until
from tests.engine.ports import (
    Owner,
    Target,
    clogged_pair,
    closed_address,
    datagrams_at,
    port_and_peer,
    two_ports,
    udp_socket,
    waiting_at,
)

from moorings import Buffer, errors
from moorings.engine.datagram_port import DatagramPort
from moorings.engine.datagram_sending import DATAGRAM_FLUSH_COUNT, DATAGRAM_FLUSH_MARK
from moorings.engine.hub import current_hub

if TYPE_CHECKING:
    from moorings.engine.datagram import Datagram

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
COMPLETED, CANCELED, ERROR = 1, 2, 3


async def clog(port: DatagramPort, target: Any) -> list[Any]:
    """Fill the peer's queue until the kernel takes no more; the writes that are still queued."""
    writes = [port.write(b"x%d" % number, len(b"x%d" % number), target) for number in range(40)]
    await until(lambda: port.write_blocked)
    return [write for write in writes if not write.done()]


# -- when things are sent --------------------------------------------------------------------------------------------


@FAMILIES
async def test_awaiting_a_write_sends_it_at_once(family: int) -> None:
    with port_and_peer(family) as (port, peer, target):
        operation = port.write(b"abc", 3, target)
        assert port.send_calls == 0
        assert await operation == 3
        assert port.send_calls == 1
        assert waiting_at(peer) == [b"abc"]
        assert (port.datagrams_sent, port.bytes_sent, port.segmented_sent) == (1, 3, 0)


async def test_awaiting_the_newest_write_sends_all_before_it() -> None:
    with port_and_peer() as (port, peer, target):
        writes = [port.write(bytes([65 + number]), 1, target) for number in range(20)]
        await writes[-1]
        assert all(write.done() for write in writes)
        assert port.send_calls == 1
        assert waiting_at(peer) == [bytes([65 + number]) for number in range(20)]
        assert (port.datagrams_sent, port.segmented_sent) == (20, 20)


async def test_an_unawaited_write_goes_out_at_the_end_of_the_turn() -> None:
    with port_and_peer() as (port, peer, target):
        writes = [port.write(b"ab", 2, target) for _ in range(10)]
        assert port.send_calls == 0
        await until(writes[-1].done)
        assert port.send_calls == 1
        assert waiting_at(peer) == [b"ab"] * 10
        assert (port.queued_bytes, port.queued_count) == (0, 0)


async def test_the_byte_mark_sends_without_waiting() -> None:
    with port_and_peer() as (port, peer, target):
        piece = bytes(DATAGRAM_FLUSH_MARK // 4)
        writes = [port.write(piece, len(piece), target) for _ in range(3)]
        assert port.send_calls == 0
        writes.append(port.write(piece, len(piece), target))
        assert port.send_calls > 0
        assert writes[-1].done()
        assert waiting_at(peer) == [piece] * 4


async def test_the_mark_of_datagrams_sends_without_waiting() -> None:
    with port_and_peer() as (port, peer, target):
        for number in range(DATAGRAM_FLUSH_COUNT):
            assert port.send_calls == 0
            port.write(b"%d" % number, len(b"%d" % number), target)
        assert port.send_calls > 0
        assert port.queued_count == 0
        assert waiting_at(peer) == [b"%d" % number for number in range(DATAGRAM_FLUSH_COUNT)]


async def test_flush_ends_behind_the_writes_before_it_only() -> None:
    with clogged_pair() as (port, peer, target):
        await clog(port, target)
        first = port.write(b"first", 5, target)
        flush = port.flush()
        second = port.write(b"second", 6, target)
        waiting = asyncio.ensure_future(second)
        while not first.done():
            assert not flush.done()
            assert waiting_at(peer)
            await turns(2)
        assert await flush is True
        while not second.done():
            waiting_at(peer)
            await turns(2)
        assert await waiting == 6


async def test_flush_of_an_empty_queue() -> None:
    with port_and_peer() as (port, _peer, _target):
        assert await port.flush() is True
        assert port.send_calls == 0


async def test_order_over_targets_sizes_and_kinds() -> None:
    with port_and_peer() as (port, peer, target), udp_socket() as other:
        second = Target(other.getsockname())
        filled = Buffer(10)
        filled._put(0, b"buffer")
        filled.length = 6
        data: list[Any] = [b"", b"a", b"bc", b"bc", b"d", filled, memoryview(b"view"), b"x" * 60000, b"y" * 60000, b""]
        for piece in data:
            port.write(piece, len(piece), target)
            port.write(piece, len(piece), second)
        for piece in data:
            port.write(piece, len(piece), target)
        assert await port.flush() is True
        expected = [bytes(piece) for piece in data]
        assert await datagrams_at(peer, 20) == expected * 2
        assert await datagrams_at(other, 10) == expected
        assert port.datagrams_sent == 30


async def test_operations_are_used_again_only_when_nobody_holds_them() -> None:
    with port_and_peer() as (port, peer, target):
        kept = [port.write(b"kept", 4, target) for _ in range(5)]
        for _ in range(20):
            port.write(b"lost", 4, target)
        await port.flush()
        again = [port.write(b"more", 4, target) for _ in range(30)]
        assert len({id(operation) for operation in kept + again}) == 35
        await again[-1]
        assert [await operation for operation in kept + again] == [4] * 35
        assert len(waiting_at(peer)) == 55


async def test_a_write_counts_what_it_was_told_to() -> None:
    with port_and_peer() as (port, peer, target):
        assert await port.write(b"abcdef", 4, target) == 4
        assert await port.write(memoryview(b"abcdef"), 2, target) == 2
        assert waiting_at(peer) == [b"abcd", b"ab"]


# -- what fails ------------------------------------------------------------------------------------------------------


async def test_an_oversized_datagram_fails_alone() -> None:
    with port_and_peer() as (port, peer, target):
        before = port.write(b"before", 6, target)
        big = port.write(bytes(65508), 65508, target)
        after = port.write(b"after", 5, target)
        assert await port.flush() is False
        assert before.done()
        assert after.done()
        with pytest.raises(OSError, match="sending failed") as caught:
            await big
        assert (caught.value.errno, caught.value.winerror) == (errno.EMSGSIZE, errors.WSAEMSGSIZE)
        assert waiting_at(peer) == [b"before", b"after"]
        assert port.writes_failed == 1
        assert await port.flush() is True


async def test_flush_knows_each_error_that_nobody_has_seen() -> None:
    with port_and_peer() as (port, _peer, target):
        unseen = port.write(bytes(65508), 65508, target)
        seen = port.write(bytes(65508), 65508, target)
        await until(seen.done)
        for operation in (seen, unseen):
            assert await port.flush() is (operation is unseen)
            with pytest.raises(OSError, match="sending failed"):
                await operation
            port.write(bytes(65508), 65508, target)
            await turns(3)
            assert await port.flush() is False


async def test_more_unseen_errors_than_are_remembered() -> None:
    with port_and_peer() as (port, _peer, target):
        failed = [port.write(bytes(65508), 65508, target) for _ in range(200)]
        await until(failed[-1].done)
        for operation in failed:
            assert isinstance(operation.exception(), OSError)
        assert await port.flush() is False
        assert await port.flush() is True


async def test_data_that_changed_while_it_was_queued_fails_alone() -> None:
    with port_and_peer() as (port, peer, target):
        view = memoryview(bytearray(b"view"))
        writes = [
            port.write(b"first", 5, target),
            port.write(b"short", 9, target),
            port.write(view, 4, target),
            port.write(memoryview(b"strided")[::2], 4, target),
            port.write("text", 4, target),
            port.write(b"last", 4, target),
        ]
        view.release()
        assert await port.flush() is False
        kinds = [type(write.exception()) for write in writes]
        assert kinds == [type(None), BufferError, ValueError, BufferError, TypeError, type(None)]
        assert waiting_at(peer) == [b"first", b"last"]


@pytest.mark.parametrize("attempt", range(2), ids=["first", "later"])
async def test_the_queue_limit_refuses_what_comes_after(attempt: int) -> None:
    with clogged_pair() as (port, peer, target):
        queued = await clog(port, target)
        port.queue_limit = port.queued_bytes
        refused = [port.write(b"refused", 7, target) for _ in range(attempt + 1)][-1]
        with pytest.raises(OSError, match="limit") as caught:
            await refused
        assert caught.value.winerror == errors.WSAENOBUFS
        assert port.writes_refused == attempt + 1
        flush = port.flush()
        found = []
        while not flush.done():
            found += waiting_at(peer)
            await turns(2)
        found += waiting_at(peer)
        assert found == [b"x%d" % number for number in range(40)]
        assert all(write.done() for write in queued)
        assert await flush is (attempt == 0)


async def test_a_single_datagram_is_never_refused() -> None:
    with port_and_peer() as (port, peer, target):
        port.queue_limit = 10
        assert await port.write(bytes(1000), 1000, target) == 1000
        assert waiting_at(peer) == [bytes(1000)]


# -- a kernel that takes no more -------------------------------------------------------------------------------------


async def test_a_blocked_port_goes_on_where_it_stopped() -> None:
    with clogged_pair() as (port, peer, target):
        queued = await clog(port, target)
        calls = port.send_calls
        more = [port.write(b"more", 4, target) for _ in range(100)]
        waiting = asyncio.ensure_future(more[-1])
        await turns(5)
        assert port.send_calls == calls  # nobody asks the kernel again before it says so
        found: list[bytes] = []
        while not waiting.done():
            found += waiting_at(peer)
            await turns(2)
        found += waiting_at(peer)
        assert found == [b"x%d" % number for number in range(40)] + [b"more"] * 100
        assert all(operation.done() for operation in queued + more)


@pytest.mark.parametrize("place", ["first", "middle", "last"])
async def test_a_cancelled_write_is_not_sent(place: str) -> None:
    with clogged_pair() as (port, peer, target):
        queued = await clog(port, target)
        victim = {"first": queued[0], "middle": queued[len(queued) // 2], "last": queued[-1]}[place]
        number = 40 - len(queued) + queued.index(victim)
        victim.cancel()
        with pytest.raises(OSError, match="cancelled") as caught:
            await victim
        assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
        last = port.write(b"last", 4, target)
        found: list[bytes] = []
        while not last.done():
            found += waiting_at(peer)
            await turns(2)
        found += waiting_at(peer)
        assert found == [b"x%d" % other for other in range(40) if other != number] + [b"last"]
        assert (port.queued_bytes, port.queued_count) == (0, 0)


async def test_a_cancelled_task_takes_its_write_along() -> None:
    with clogged_pair() as (port, peer, target):
        queued = await clog(port, target)

        async def write() -> None:
            await port.write(b"never", 5, target)

        task = asyncio.ensure_future(write())
        await turns(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not queued[-1].done():
            assert b"never" not in waiting_at(peer)
            await turns(2)
        assert b"never" not in waiting_at(peer)


async def test_a_cancelled_flush_takes_nothing_along() -> None:
    with clogged_pair() as (port, peer, target):
        queued = await clog(port, target)
        flush = port.flush()
        flush.cancel()
        assert flush.done()
        while not queued[-1].done():
            waiting_at(peer)
            await turns(2)


async def test_an_operation_cancelled_before_it_was_queued_is_not_sent() -> None:
    with port_and_peer() as (port, peer, target):
        with clogged_pair() as (other, _theirs, plain):
            await clog(other, plain)
            operation = other.write(b"abc", 3, plain)
            operation.cancel()
        port.enter_write(operation)
        port.enter_receive(operation)
        await port.flush()
        assert waiting_at(peer) == []
        assert await port.write(b"abc", 3, target) == 3


# -- what resumed tasks do -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 0], ids=["segmented", "plain"])
@pytest.mark.parametrize("deed", ["write", "cancel", "close", "cancel io"])
async def test_a_task_that_goes_on_in_mid_batch(deed: str, size: int) -> None:
    """Twenty writes reach the kernel together; the task that awaits one of them acts before the others are told."""
    with two_ports() as (port, receiver, target):
        received: list[bytes] = []
        owner = Owner().serve(receiver, lambda _owner, datagram: received.append(bytes(datagram.payload())))
        writes: list[Any] = []

        async def act() -> None:
            await writes[5]
            if deed == "write":
                assert await port.write(b"extra", 5, target) == 5
            elif deed == "cancel":
                writes[10].cancel()
            elif deed == "close":
                port.close()
            else:
                port.cancel_io()

        def queue(_owner: Any, _datagram: Datagram) -> None:
            writes.extend(port.write(b"x" * size, size, target) for _ in range(20))
            writes.append(asyncio.ensure_future(act()))

        with udp_socket() as starter:
            starting = Owner().serve(port, queue)
            starter.sendto(b"go", port.plain_socket.getsockname())
            await until(lambda: len(writes) == 21)
            async with asyncio.timeout(PATIENCE):
                await writes[20]
                assert [await write for write in writes[:20]] == [size] * 20
        await until(lambda: len(received) >= 20 + (deed == "write"))
        await turns(3)
        assert received == [b"x" * size] * 20 + [b"extra"] * (deed == "write")
        assert (port.queued_bytes, port.queued_count) == (0, 0)
        assert not owner.reports
        assert not starting.reports


# -- errors that concern earlier datagrams ---------------------------------------------------------------------------


@FAMILIES
@pytest.mark.parametrize("connected", [False, True], ids=["unconnected", "connected"])
@pytest.mark.parametrize("batch", [1, 50])
async def test_a_thousand_datagrams_to_a_closed_port(family: int, connected: bool, batch: int) -> None:
    nobody = closed_address(family)
    plain = udp_socket(family)
    if connected:
        plain.connect(nobody)
    port = DatagramPort(current_hub(), plain, "the port")
    errors_seen: list[Any] = []
    owner = Owner().serve(port, lambda _owner, datagram: errors_seen.append((datagram.error, datagram.name)))
    target = Target(None if connected else nobody)
    try:
        for number in range(0, 1000, batch):
            for _ in range(batch):
                port.write(b"%d" % number, len(b"%d" % number), target)
            assert await port.flush() is True
        await turns(5)
        assert port.datagrams_sent == 1000
        assert errors_seen
        for error, name in errors_seen:
            assert isinstance(error, ConnectionResetError)
            assert error.winerror == errors.WSAECONNRESET
            assert name[:2] == nobody[:2]
            assert str(nobody[1]) in str(error)
        assert port.is_open()
        if not connected:
            with udp_socket(family) as peer:
                assert await port.write(b"still here", 10, Target(peer.getsockname())) == 10
                assert await datagrams_at(peer, 1) == [b"still here"]
        assert not owner.reports
    finally:
        port.abort()


async def test_a_datagram_behind_the_error_of_another_is_sent_once() -> None:
    nobody = closed_address()
    with port_and_peer() as (port, peer, target):
        reports: list[Any] = []
        owner = Owner().serve(port, lambda _owner, datagram: reports.append(datagram.error))
        for number in range(100):
            await port.write(b"lost", 4, Target(nobody))
            assert await port.write(b"%d" % number, len(b"%d" % number), target) > 0
        await turns(3)
        assert waiting_at(peer) == [b"%d" % number for number in range(100)]
        assert len(reports) == 100
        assert not owner.reports


@pytest.mark.parametrize("abort", [False, True], ids=["close", "abort"])
async def test_a_handler_that_ends_the_port_when_it_hears_of_an_error(abort: bool) -> None:
    with port_and_peer() as (port, peer, target):
        owner = Owner().serve(port, lambda _owner, _datagram: port.abort() if abort else port.close())
        await port.write(b"lost", 4, Target(closed_address()))
        late = port.write(b"late", 4, target)
        later = port.write(b"later", 5, target)
        for operation in (late, later):
            if abort:
                with pytest.raises(OSError, match="closed"):
                    await operation
            else:
                assert await operation > 0
        assert not port.is_open()
        assert waiting_at(peer) == ([] if abort else [b"late", b"later"])
        assert (port.queued_bytes, port.queued_count) == (0, 0)
        assert not owner.reports


# -- kernels that cannot ---------------------------------------------------------------------------------------------


async def test_a_kernel_without_segments_gets_single_datagrams() -> None:
    with port_and_peer() as (port, peer, target):
        assert port.can_segment
        assert port.can_coalesce
        port.can_segment = False
        for number in range(100):
            port.write(b"%02d" % number, 2, target)
        assert await port.flush() is True
        assert waiting_at(peer) == [b"%02d" % number for number in range(100)]
        assert (port.datagrams_sent, port.segmented_sent) == (100, 0)


async def test_a_socket_that_knows_no_segments_is_asked() -> None:
    with clogged_pair() as (port, peer, target):
        assert not port.can_segment
        assert not port.can_coalesce
        for _ in range(5):
            port.write(b"same", 4, target)
        assert await port.flush() is True
        assert waiting_at(peer) == [b"same"] * 5


async def test_an_ipv4_target_of_a_socket_for_both_families() -> None:
    plain = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    plain.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    plain.bind(("::", 0))
    plain.setblocking(False)
    port = DatagramPort(current_hub(), plain, "the port")
    try:
        with udp_socket() as peer:
            target = Target(peer.getsockname())
            for _ in range(3):
                port.write(b"abc", 3, target)
            assert await port.write(b"d", 1, target) == 1
            assert waiting_at(peer) == [b"abc"] * 3 + [b"d"]
    finally:
        port.abort()
