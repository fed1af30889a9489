"""Receiving, events and endings of a datagram port."""

from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import os
import socket
import struct
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, turns, until
from tests.engine.ports import (
    Owner,
    Target,
    clogged_pair,
    closed_address,
    port_and_peer,
    two_ports,
    udp_socket,
)

from moorings import errors
from moorings.engine.datagram import KEPT_COPY_LIMIT
from moorings.engine.datagram_port import RECEIVE_BURST, DatagramPort
from moorings.engine.hub import current_hub

if TYPE_CHECKING:
    from moorings.engine.datagram import Datagram

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])


# -- receiving -------------------------------------------------------------------------------------------------------


@FAMILIES
async def test_a_handler_gets_each_datagram(family: int) -> None:
    with port_and_peer(family) as (port, peer, _target):
        found: list[tuple[bytes, Any]] = []
        owner = Owner().serve(port, lambda _owner, datagram: found.append((bytes(datagram.payload()), datagram.name)))
        address = port.plain_socket.getsockname()
        sent = [b"", b"a", bytes(1200), bytes(60000), *(b"%d" % number for number in range(40))]
        for data in sent:
            peer.sendto(data, address)
        await until(lambda: len(found) == len(sent))
        assert found == [(data, peer.getsockname()) for data in sent]
        assert (port.datagrams_received, port.bytes_received) == (len(sent), sum(map(len, sent)))
        assert not owner.reports


async def test_nothing_is_received_while_nobody_takes_it() -> None:
    with port_and_peer() as (port, peer, _target):
        peer.sendto(b"early", port.plain_socket.getsockname())
        await turns(5)
        assert port.receive_calls == 0
        async with asyncio.timeout(PATIENCE):
            assert bytes((await port.receive()).payload()) == b"early"


async def test_what_went_segmented_is_counted_at_both_ends() -> None:
    with two_ports() as (sender, receiver, target):
        found: list[bytes] = []
        owner = Owner().serve(receiver, lambda _owner, datagram: found.append(bytes(datagram.payload())))
        data = [bytes([number]) * 1000 for number in range(50)] + [b"shorter"]
        for piece in data:
            sender.write(piece, len(piece), target)
        assert await sender.flush() is True
        await until(lambda: len(found) == 51)
        assert found == data
        assert sender.segmented_sent == receiver.coalesced_received == 51
        await sender.write(b"alone", 5, target)
        await until(lambda: len(found) == 52)
        assert sender.segmented_sent == receiver.coalesced_received == 51
        assert not owner.reports


async def test_kept_datagrams_stay_right_after_more_traffic() -> None:
    with two_ports() as (sender, receiver, target):
        kept: list[Datagram] = []
        owner = Owner().serve(receiver, lambda _owner, datagram: kept.append(datagram))
        sizes = [0, 1, 1200, KEPT_COPY_LIMIT, KEPT_COPY_LIMIT + 1, 60000]
        data = [bytes([65 + number]) * size for number, size in enumerate(sizes * 4)]
        for piece in data:
            await sender.write(piece, len(piece), target)
            await turns(1)
        await until(lambda: len(kept) == len(data))
        assert [bytes(datagram.payload()) for datagram in kept] == data
        kinds = {type(datagram.payload()) for datagram in kept if datagram.size <= KEPT_COPY_LIMIT}
        assert kinds == {bytes}
        long = [datagram.payload() for datagram in kept if datagram.size > KEPT_COPY_LIMIT]
        assert all(isinstance(view, memoryview) and view.readonly for view in long)
        await sender.write(b"last", 4, target)
        await until(lambda: len(kept) > len(data))
        assert receiver.pinned == current_hub().inbox.pinned == len(long)
        assert sender.pinned == 0
        assert not owner.reports


async def test_a_payload_stays_right_when_only_it_is_kept() -> None:
    with two_ports() as (sender, receiver, target):
        kept: list[Any] = []
        owner = Owner().serve(receiver, lambda _owner, datagram: kept.append(datagram.payload()))
        data = [bytes([number]) * size for number, size in enumerate([9, 5000, 9, 60000] * 8)]
        for piece in data:
            sender.write(piece, len(piece), target)
        assert await sender.flush() is True
        await until(lambda: len(kept) == len(data))
        assert [bytes(view) for view in kept] == data
        assert not owner.reports


async def test_a_datagram_that_nobody_kept_serves_again() -> None:
    with two_ports() as (sender, receiver, target):
        seen: list[int] = []
        names: list[Any] = []

        def handle(_owner: Any, datagram: Datagram) -> None:
            assert datagram.error is None
            assert datagram.reader is None
            datagram.reader = object()
            seen.append(id(datagram))
            names.append(datagram.name)
            datagram.payload()

        owner = Owner().serve(receiver, handle)
        for _ in range(3):
            for _ in range(10):
                sender.write(b"abc", 3, target)
            await sender.flush()
            await until(lambda: len(seen) % 10 == 0)
        await until(lambda: len(seen) == 30)
        assert len(set(seen)) == 1
        assert set(names) == {sender.plain_socket.getsockname()}
        assert not owner.reports


@pytest.mark.parametrize("deed", ["close", "abort", "cancel io", "raise", "close and raise", "be async"])
async def test_what_a_handler_does_in_mid_batch(deed: str) -> None:
    with two_ports() as (sender, receiver, target):
        calls: list[bytes] = []
        done: list[str] = []

        async def later() -> None:
            await asyncio.sleep(0)
            done.append("later")

        def handle(_owner: Any, datagram: Datagram) -> Any:
            calls.append(bytes(datagram.payload()))
            if len(calls) != 5:
                return None
            if deed.startswith("close"):
                receiver.close()
            elif deed == "abort":
                receiver.abort()
            elif deed == "cancel io":
                receiver.cancel_io()
            if deed == "be async":
                return later()
            if deed.endswith("raise"):
                raise LookupError(deed)
            return None

        owner = Owner().serve(receiver, handle)
        for _ in range(10):
            sender.write(b"same", 4, target)
        for number in range(10):
            sender.write(b"%d" % number, 1, target)
        assert await sender.flush() is True
        ends = deed in {"close", "abort", "close and raise"}
        await until(lambda: len(calls) >= (5 if ends else 20))
        await turns(5)
        assert calls == ([b"same"] * 5 if ends else [b"same"] * 10 + [b"%d" % number for number in range(10)])
        assert receiver.is_open() is not ends
        assert [error.args for error in owner.reports] == ([(deed,)] if deed.endswith("raise") else [])
        await asyncio.gather(*owner.started)
        assert done == (["later"] if deed == "be async" else [])
        assert receiver.datagrams_received == len(calls)


async def test_an_async_handler_that_closes_the_port() -> None:
    with two_ports() as (sender, receiver, target):
        ran: list[str] = []

        async def rest() -> None:
            ran.append("rest")

        def handle(_owner: Any, _datagram: Datagram) -> Any:
            receiver.close()
            return rest()

        owner = Owner().serve(receiver, handle)
        await sender.write(b"abc", 3, target)
        await until(lambda: owner.started)
        await asyncio.gather(*owner.started)
        assert ran == ["rest"]


async def test_an_owner_that_is_gone_gets_nothing_and_costs_nothing() -> None:
    with port_and_peer() as (port, peer, _target):
        owner: Any = Owner()
        port.serve(weakref.ref(owner), lambda _owner, _datagram: None, None, None)
        del owner
        gc.collect()
        peer.sendto(b"abc", port.plain_socket.getsockname())
        await until(lambda: not port.reading)
        await turns(3)
        assert port.receive_calls == 0


async def test_a_sink_gets_datagrams_of_its_own() -> None:
    with two_ports() as (sender, receiver, target):
        found: list[Datagram] = []
        receiver.serve_sink(found.append)
        data = [bytes([number]) * 100 for number in range(30)]
        for piece in data:
            sender.write(piece, 100, target)
        await sender.flush()
        await sender.write(b"", 0, Target(closed_address()))
        await until(lambda: len(found) == 30)
        assert [bytes(datagram.payload()) for datagram in found] == data
        assert len(set(map(id, found))) == 30
        sender.serve_sink(found.append)
        await sender.write(b"lost", 4, Target(closed_address()))
        await until(lambda: len(found) > 30)
        with pytest.raises(ConnectionResetError):
            found[-1].payload()


async def test_a_filter_sees_each_message_first() -> None:
    with port_and_peer() as (port, peer, _target):
        found: list[bytes] = []
        port.filter = lambda inbox: inbox.size != 3
        owner = Owner().serve(port, lambda _owner, datagram: found.append(bytes(datagram.payload())))
        for data in (b"ab", b"abc", b"abcd"):
            peer.sendto(data, port.plain_socket.getsockname())
        await until(lambda: len(found) == 2)
        assert found == [b"ab", b"abcd"]
        assert not owner.reports


# -- receive operations ----------------------------------------------------------------------------------------------


async def test_receivers_are_served_in_order() -> None:
    with port_and_peer() as (port, peer, _target):
        waiting = [port.receive() for _ in range(3)]
        for number in range(5):
            peer.sendto(b"%d" % number, port.plain_socket.getsockname())
        async with asyncio.timeout(PATIENCE):
            assert [bytes((await operation).payload()) for operation in waiting] == [b"0", b"1", b"2"]
        await until(lambda: len(port.queue) == 2)
        assert [bytes((await port.receive()).payload()) for _ in range(2)] == [b"3", b"4"]


async def test_a_cancelled_receive_takes_nothing() -> None:
    with port_and_peer() as (port, peer, _target):
        operations = [port.receive() for _ in range(3)]
        operations[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await operations[1]

        async def receive() -> Any:
            return await port.receive()

        task = asyncio.ensure_future(receive())
        await turns(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for number in range(3):
            peer.sendto(b"%d" % number, port.plain_socket.getsockname())
        async with asyncio.timeout(PATIENCE):
            found = [bytes((await operation).payload()) for operation in (operations[0], operations[2], port.receive())]
        assert found == [b"0", b"1", b"2"]


@pytest.mark.parametrize("drop_newest", [False, True])
async def test_a_full_queue_drops_and_counts(drop_newest: bool) -> None:
    with port_and_peer() as (port, peer, _target):
        port.queue_length_limit = 10
        port.drop_newest = drop_newest
        first = port.receive()
        for number in range(31):
            peer.sendto(b"%d" % number, port.plain_socket.getsockname())
        await until(lambda: port.datagrams_received == 31)
        assert bytes((await first).payload()) == b"0"
        assert port.datagrams_dropped == 20
        kept = range(1, 11) if drop_newest else range(21, 31)
        assert [bytes((await port.receive()).payload()) for _ in kept] == [b"%d" % number for number in kept]


async def test_a_queue_of_no_length_drops_everything() -> None:
    with port_and_peer() as (port, peer, _target):
        port.queue_length_limit = 0
        operation = port.receive()
        for _ in range(3):
            peer.sendto(b"abc", port.plain_socket.getsockname())
        await until(lambda: port.datagrams_received == 3)
        assert bytes((await operation).payload()) == b"abc"
        assert port.datagrams_dropped == 2


async def test_what_is_put_back_comes_first() -> None:
    with port_and_peer() as (port, peer, _target):
        assert port.take() is None
        operation = port.receive()
        for number in range(3):
            peer.sendto(b"%d" % number, port.plain_socket.getsockname())
        await until(lambda: port.datagrams_received == 3)
        first: Any = await operation
        port.put_back(first)
        assert port.take() is first
        port.put_back(first)
        assert [bytes((await port.receive()).payload()) for _ in range(3)] == [b"0", b"1", b"2"]
        late = port.receive()
        port.put_back(first)
        assert await late is first
        port.abort()
        port.put_back(first)
        assert port.take() is None


async def test_a_receiver_hears_of_errors() -> None:
    with port_and_peer() as (port, _peer, _target):
        nobody = closed_address()
        operation = port.receive()
        await port.write(b"lost", 4, Target(nobody))
        with pytest.raises(ConnectionResetError, match=str(nobody[1])):
            await operation


@pytest.mark.parametrize("deed", ["receive", "write", "close", "cancel"])
async def test_a_receiving_task_that_goes_on_in_mid_batch(deed: str) -> None:
    with two_ports() as (sender, receiver, target):
        back = Target(sender.plain_socket.getsockname())
        others = []

        async def act() -> Any:
            first = await receiver.receive()
            if deed == "receive":
                return await receiver.receive()
            if deed == "write":
                await receiver.write(b"answer", 6, back)
            elif deed == "close":
                receiver.close()
            else:
                others[0].cancel()
            return first

        task = asyncio.ensure_future(act())
        await turns(1)
        others.append(receiver.receive())
        for number in range(20):
            sender.write(b"%02d" % number, 2, target)
        await sender.flush()
        async with asyncio.timeout(PATIENCE):
            assert bytes((await task).payload()) == (b"02" if deed == "receive" else b"00")
        if deed == "close":
            with pytest.raises(OSError, match="closed"):
                await others[0]
        elif deed == "cancel":
            with pytest.raises(asyncio.CancelledError):
                await others[0]
            assert bytes((await receiver.receive()).payload()) == b"01"
        else:
            assert bytes((await others[0]).payload()) == b"01"
        if deed == "write":
            async with asyncio.timeout(PATIENCE):
                assert bytes((await sender.receive()).payload()) == b"answer"


# -- the network's errors --------------------------------------------------------------------------------------------


async def test_errors_without_an_error_queue() -> None:
    """Without IP_RECVERR a connected socket gets the bare number."""
    plain = udp_socket(reports=False)
    plain.connect(closed_address())
    port = DatagramPort(current_hub(), plain, "the port")
    try:
        found: list[Any] = []
        owner = Owner().serve(port, lambda _owner, datagram: found.append(datagram.error))
        for _ in range(10):
            assert await port.write(b"abc", 3, Target(None)) == 3
            await turns(2)
        await until(lambda: len(found) >= 10)
        assert {type(error) for error in found} == {errors.make(errors.WSAECONNRESET, "").__class__}
        assert port.datagrams_sent == 10
        assert not owner.reports
    finally:
        port.abort()


async def test_more_errors_than_one_turn_takes() -> None:
    with port_and_peer() as (port, _peer, _target):
        nobody = closed_address()
        port.plain_socket.connect(nobody)
        for _ in range(200):
            try:
                port.plain_socket.send(b"lost")
            except ConnectionRefusedError:
                continue
        found: list[Any] = []
        owner = Owner().serve(port, lambda _owner, datagram: found.append(datagram.name))
        await until(lambda: len(found) >= 100)
        assert set(found) == {nobody}
        assert port.errors_received == len(found)
        assert not owner.reports


@pytest.mark.parametrize("control", [b"", b"short", bytes(15)])
async def test_a_report_that_is_too_short_is_no_report(control: bytes) -> None:
    with port_and_peer() as (port, _peer, _target):
        assert port._told(control, ("192.0.2.1", 1)) == 0


@pytest.mark.parametrize("origin", [0, 1, 4, 5, 6, 255])
async def test_entries_of_the_error_queue_that_the_network_did_not_send(origin: int) -> None:
    entry = struct.pack("=IBBBBII", errno.ECONNREFUSED, origin, 3, 3, 0, 0, 0) + bytes(16)
    with port_and_peer() as (port, _peer, _target):
        found: list[Any] = []
        owner = Owner().serve(port, lambda _owner, datagram: found.append(datagram.error))
        assert port._told(entry, ("192.0.2.1", 1)) == 0
        assert not found
        assert port._told(bytes([errno.EMSGSIZE, 0, 0, 0, 2]) + entry[5:8] + struct.pack("=II", 1280, 0), None) == 1
        assert found[0].winerror == errors.WSAEMSGSIZE
        assert "1280" in str(found[0])
        assert not owner.reports


# -- endings ---------------------------------------------------------------------------------------------------------


async def test_close_sends_what_is_queued() -> None:
    with port_and_peer() as (port, peer, target):
        port.home.turn_bytes = 1 << 30  # whatever the turn's budget says
        writes = [port.write(bytes(9000), 9000, target) for _ in range(100)]
        flush = port.flush()
        port.close()
        assert [await write for write in writes] == [9000] * 100
        assert await flush is True
        for _ in range(100):
            assert peer.recv(65536) == bytes(9000)


@pytest.mark.parametrize("end", ["close", "abort", "cancel io"])
async def test_ends_of_a_blocked_port(end: str) -> None:
    with clogged_pair() as (port, peer, target):
        writes = [port.write(b"abcd", 4, target) for _ in range(40)]
        await until(lambda: port.write_blocked)
        writes = [write for write in writes if not write.done()]
        flush = port.flush()
        receiving = port.receive()
        {"close": port.close, "abort": port.abort, "cancel io": port.cancel_io}[end]()
        for operation in (*writes, receiving):
            with pytest.raises(OSError, match=r"closed|cancel_io") as caught:
                await operation
            assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
        assert await flush is False
        assert (port.queued_bytes, port.queued_count) == (0, 0)
        assert port.is_open() is (end == "cancel io")
        if end == "cancel io":
            late = asyncio.ensure_future(port.write(b"late", 4, target))
            received = b""
            while received != b"late":
                received = await asyncio.get_running_loop().sock_recv(peer, 100)
            assert await late == 4
            peer.send(b"back")
            async with asyncio.timeout(PATIENCE):
                assert bytes((await port.receive()).payload()) == b"back"


async def test_everything_fails_after_the_end() -> None:
    with port_and_peer() as (port, _peer, target):
        released: list[Any] = []
        port.on_release = released.append
        port.close()
        port.close()
        port.abort()
        assert released == [port]
        for operation in (port.write(b"abc", 3, target), port.flush(), port.receive()):
            with pytest.raises(OSError, match="closed") as caught:
                await operation
            assert caught.value.winerror == errors.RO_E_CLOSED
        port.cancel_io()
        port.on_events(0x1D)
        port.on_turn()
        port.on_flush()
        assert port.fd == -1
        assert port.take() is None


async def test_a_port_that_cannot_be_watched_is_not_taken_over() -> None:
    class NoSocket(socket.socket):
        def fileno(self) -> int:
            return 999_999

    with NoSocket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        with pytest.raises(OSError, match="watching"):
            DatagramPort(current_hub(), plain, "the port")
        assert plain.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_DGRAM  # still open


async def test_the_child_of_a_fork_leaves_the_parents_port_alone() -> None:
    with port_and_peer() as (port, peer, target):
        queued = port.write(b"once", 4, target)
        owner = Owner().serve(port, lambda _owner, _datagram: None)
        child = os.fork()
        if child == 0:
            verdict = 1
            try:
                late = port.write(b"child", 5, target)
                verdict = 0 if late.done() and not port.is_open() and port.fd == -1 else 2
            finally:
                os._exit(verdict)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0  # noqa: ASYNC222
        assert await queued == 4
        assert peer.recv(100) == b"once"
        with pytest.raises(BlockingIOError):
            peer.recv(100)
        assert port.is_open()
        assert not owner.reports


# -- fairness and memory ---------------------------------------------------------------------------------------------


async def test_a_flood_lets_the_loop_turn() -> None:
    with two_ports() as (sender, receiver, target):
        at_turn: list[int] = [0]
        owner = Owner().serve(receiver, lambda _owner, _datagram: None)

        async def beat() -> None:
            while receiver.datagrams_received < 4000:
                await asyncio.sleep(0)
                at_turn.append(receiver.receive_calls)

        beating = asyncio.ensure_future(beat())
        async with asyncio.timeout(PATIENCE):
            while receiver.datagrams_received < 4000:
                for _ in range(100):
                    sender.write(bytes(1200), 1200, target)
                await sender.flush()
                await turns(1)
        await beating
        # One receive call of a bounded number of messages in one look at the hub; uvloop may look twice in a turn.
        assert max(after - before for before, after in itertools.pairwise(at_turn)) <= 2
        assert 1 <= receiver.burst <= RECEIVE_BURST
        assert not owner.reports


async def test_a_flood_of_writes_lets_the_loop_turn() -> None:
    with port_and_peer() as (port, _peer, target):
        at_turn: list[int] = [0]

        async def beat() -> None:
            while port.bytes_sent < 8 << 20:
                await asyncio.sleep(0)
                at_turn.append(port.bytes_sent)

        beating = asyncio.ensure_future(beat())
        while port.bytes_sent < 8 << 20:
            await port.write(bytes(50000), 50000, target)
        await beating
        # Three callbacks of the hub may run in one turn, each with a budget of 256 KiB and one datagram beyond it.
        assert max(after - before for before, after in itertools.pairwise(at_turn)) <= 3 * (262144 + 50000)


async def test_ports_of_a_loop_share_the_memory_for_receiving() -> None:
    with two_ports() as (first, second, target):
        back = Target(first.plain_socket.getsockname())
        owner = Owner().serve(first, lambda _owner, _datagram: None)
        owner.serve(second, lambda _owner, _datagram: None)
        await first.write(b"abc", 3, target)
        await second.write(b"abc", 3, back)
        await until(lambda: first.datagrams_received + second.datagrams_received == 2)
        assert first.inbox is second.inbox is current_hub().inbox


async def test_a_port_below_another_on_the_stack_has_memory_of_its_own() -> None:
    """A handler that runs the hub itself, as nested loops do."""
    with two_ports() as (first, second, target):
        back = Target(first.plain_socket.getsockname())
        found: list[bytes] = []

        def outer(_owner: Any, datagram: Datagram) -> None:
            second.write(b"inner", 5, back)
            second.on_flush()
            first.on_events(1)
            found.append(bytes(datagram.payload()))

        owner = Owner().serve(second, outer)
        owner.serve(first, lambda _owner, datagram: found.append(bytes(datagram.payload())))
        await first.write(b"outer", 5, target)
        await until(lambda: len(found) == 2)
        assert found == [b"inner", b"outer"]


async def test_a_port_is_freed() -> None:
    async def use() -> weakref.ref[DatagramPort]:
        with port_and_peer() as (port, peer, target):
            owner = Owner().serve(port, lambda _owner, _datagram: None)
            await port.write(b"abc", 3, target)
            peer.sendto(b"abc", port.plain_socket.getsockname())
            await until(lambda: port.datagrams_received == 1)
            assert not owner.reports
            return weakref.ref(port)

    gone = await use()
    await turns(2)
    gc.collect()
    assert gone() is None
