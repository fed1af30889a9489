"""What a datagram port does when system calls fail: each datagram arrives once, or its operation tells why not."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import turns, until
from tests.engine.ports import Owner, Target, port_and_peer, two_ports, udp_socket, waiting_at
from tests.faults.shim import Faults, find_faults

from moorings._native_switch import native_mode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from socket import socket

    from moorings.engine.datagram_port import DatagramPort

COMPILED = native_mode()[0]
PRELOADED = os.environ.get("MOORINGS_FAULTS") is not None
ONE = "sendto" if COMPILED else "sendmsg"
SEVERAL = "sendmmsg" if COMPILED else "sendmsg"
RECEIVE = "recvmmsg" if COMPILED else "recvmsg"
CODES = [errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.ENOBUFS, errno.EPERM, errno.EOPNOTSUPP, errno.ENOMEM]
BY_NAME = pytest.mark.parametrize("code", CODES, ids=lambda code: errno.errorcode[code])
LIMITS = {errno.EINVAL: 99, errno.EMSGSIZE: 99, errno.EIO: 0, errno.EOPNOTSUPP: 0}


@pytest.fixture
def faults() -> Iterator[Faults]:
    found = find_faults()
    yield found
    found.close()


def number(value: int, size: int) -> bytes:
    return b"%d" % value + b"." * (size - len(b"%d" % value))


def check(port: DatagramPort, peer: socket, data: list[bytes], writes: list[Any]) -> list[int]:
    """Exactly once, in order, or told; the places of those that failed."""
    failed = [place for place, write in enumerate(writes) if write.exception() is not None]
    assert waiting_at(peer) == [piece for place, piece in enumerate(data) if place not in failed]
    assert port.datagrams_sent == len(data) - len(failed)
    assert port.writes_failed == len(failed)
    assert (port.queued_bytes, port.queued_count) == (0, 0)
    return failed


@BY_NAME
async def test_a_segmented_send_is_refused_once(faults: Faults, code: int) -> None:
    with port_and_peer() as (port, peer, target), udp_socket() as second:
        data = [number(place, 100) for place in range(50)]
        faults.fail(port, "sendmsg", code)
        writes = [port.write(piece, 100, target) for piece in data]
        assert await port.flush() is True
        assert check(port, peer, data, writes) == []
        assert (port.batches_refused, port.segmented_sent) == (1, 0)
        assert target.segment_limit == LIMITS.get(code, 65535)
        # Another target is sent to as before, and so is this one, with what suits it.
        other = Target(second.getsockname())
        for piece in data:
            port.write(piece, 100, other)
        assert await port.flush() is True
        assert waiting_at(second) == data
        assert port.segmented_sent == 50
        for piece in data:
            port.write(piece[:99], 99, target)
        assert await port.flush() is True
        assert waiting_at(peer) == [piece[:99] for piece in data]
        assert port.segmented_sent == (50 if LIMITS.get(code) == 0 else 100)


@BY_NAME
@pytest.mark.parametrize("on", [1, 2])
async def test_sends_of_several_groups_fail(faults: Faults, code: int, on: int) -> None:
    """Segmented groups and single ones, for one target: in compiled mode one call, in pure mode one for each group."""
    with port_and_peer() as (port, peer, target):
        data = [number(place, 9 if place % 10 == 9 else 100 + place // 10) for place in range(100)]
        faults.fail(port, SEVERAL, code, on=on, times=2)
        writes = [port.write(piece, len(piece), target) for piece in data]
        flush = await port.flush()
        failed = check(port, peer, data, writes)
        assert flush is (not failed)
        assert len(failed) <= 1


@BY_NAME
async def test_single_datagrams_fail(faults: Faults, code: int) -> None:
    with port_and_peer() as (port, peer, target):
        data = [number(place, 10 + place) for place in range(20)]
        faults.fail(port, SEVERAL, code, on=1 if COMPILED else 5, times=3)
        writes = [port.write(piece, len(piece), target) for piece in data]
        assert await port.flush() is False
        first = 0 if COMPILED else 4
        failed = check(port, peer, data, writes)
        assert failed
        assert failed[0] == first
        for place in failed:
            error = writes[place].exception()
            assert isinstance(error, OSError)
            assert error.errno == code
        assert target.segment_limit == 65535
        assert await port.write(b"goes on", 7, target) == 7
        assert waiting_at(peer) == [b"goes on"]


@pytest.mark.parametrize("on", [1, 3])
async def test_the_kernel_takes_no_more_in_mid_batch(faults: Faults, on: int) -> None:
    with port_and_peer() as (port, peer, target):
        data = [number(place, 10 + place) for place in range(200)]
        faults.fail(port, SEVERAL, errno.EAGAIN, on=on, times=2)
        writes = [port.write(piece, len(piece), target) for piece in data]
        assert await port.flush() is True
        assert check(port, peer, data, writes) == []
        assert not port.write_blocked


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_the_kernel_takes_a_few_messages_at_a_time(faults: Faults, limit: int) -> None:
    if not (COMPILED and PRELOADED):
        return  # one call takes one message there
    with port_and_peer() as (port, peer, target):
        data = [number(place, 100 + place // 3) for place in range(100)]
        faults.shorten(port, "sendmmsg", limit)
        writes = [port.write(piece, len(piece), target) for piece in data]
        assert await port.flush() is True
        assert check(port, peer, data, writes) == []
        assert port.segmented_sent > 0


async def test_interrupted_calls_are_made_again(faults: Faults) -> None:
    if not PRELOADED:
        return  # the interpreter's own wrappers, above which the plan works, have done it
    with two_ports() as (sender, receiver, target):
        found: list[bytes] = []
        owner = Owner().serve(receiver, lambda _owner, datagram: found.append(bytes(datagram.payload())))
        faults.fail(sender, ONE, errno.EINTR, times=3)
        assert await sender.write(b"one", 3, target) == 3
        faults.fail(sender, SEVERAL, errno.EINTR, times=3)
        faults.fail(receiver, RECEIVE, errno.EINTR, times=3)
        for size in (1, 2, 3):
            sender.write(b"xyz", size, target)
        assert await sender.flush() is True
        await until(lambda: len(found) == 4)
        assert found == [b"one", b"x", b"xy", b"xyz"]
        # Where one came after the other, the next is asked for alone.
        receiver.burst = 1
        faults.fail(receiver, "recvmsg", errno.EINTR, times=3)
        assert await sender.write(b"last", 4, target) == 4
        await until(lambda: len(found) == 5)
        assert found[4] == b"last"
        assert faults.count(receiver, "recvmsg") >= 3
        assert not owner.reports


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOMEM], ids=["EIO", "ENOMEM"])
async def test_receiving_fails_once(faults: Faults, code: int) -> None:
    with two_ports() as (sender, receiver, target):
        found: list[Any] = []
        owner = Owner().serve(receiver, lambda _owner, datagram: found.append(datagram.error or datagram.size))
        faults.fail(receiver, RECEIVE, code)
        await sender.write(b"abc", 3, target)
        await until(lambda: len(found) == 2)
        assert isinstance(found[0], OSError)
        assert found[0].errno == code
        assert found[1] == 3
        assert receiver.errors_received == 1
        assert not owner.reports


async def test_nothing_to_receive_is_no_error(faults: Faults) -> None:
    with two_ports() as (sender, receiver, target):
        found: list[Any] = []
        owner = Owner().serve(receiver, lambda _owner, datagram: found.append(datagram.error or datagram.size))
        faults.fail(receiver, RECEIVE, errno.EAGAIN, times=3)
        await sender.write(b"abc", 3, target)
        await until(lambda: found)
        await turns(3)
        assert found == [3]
        assert not owner.reports


@pytest.mark.parametrize("code", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EMSGSIZE])
async def test_the_error_of_an_earlier_datagram(faults: Faults, code: int) -> None:
    """ECONNREFUSED is never a send's own error, so it is told and the datagram tried again; the others may be."""
    with port_and_peer() as (port, peer, target):
        found: list[Any] = []
        owner = Owner().serve(port, lambda _owner, datagram: found.append(datagram.error))
        faults.fail(port, ONE, code)
        write = port.write(b"abc", 3, target)
        again = code == errno.ECONNREFUSED
        assert await port.flush() is again
        assert check(port, peer, [b"abc"], [write]) == ([] if again else [0])
        assert len(found) == again
        assert not owner.reports


async def test_errors_without_end(faults: Faults) -> None:
    with port_and_peer() as (port, peer, target):
        found: list[Any] = []
        owner = Owner().serve(port, lambda _owner, datagram: found.append(datagram.error))
        faults.fail(port, ONE, errno.ECONNREFUSED, times=-1)
        write = port.write(b"abc", 3, target)
        assert await port.flush() is False
        assert check(port, peer, [b"abc"], [write]) == [0]
        assert 0 < len(found) < 100
        assert not owner.reports
