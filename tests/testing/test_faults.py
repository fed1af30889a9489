"""Plans of failing system calls, and where they may stand. What the library makes of failures: tests/faults."""

from __future__ import annotations

import errno

import pytest
from tests.engine.pairs import receive, socket_and_peer

import moorings
from moorings import StreamSocket, StreamSocketListener, errors
from moorings._native_switch import native_mode
from moorings.engine.hub import current_hub
from moorings.testing.faults import CALLS, FaultPlan, faulty


def outcomes(plan: FaultPlan, call: str, number: int) -> list[object]:
    found: list[object] = []
    for _ in range(number):
        try:
            found.append(plan.count(call))
        except OSError as error:
            found.append(errno.errorcode[error.errno or 0])
    return found


@pytest.mark.parametrize("call", CALLS)
def test_calls_fail_and_are_short_where_the_plan_says(call: str) -> None:
    plan = FaultPlan()
    plan.fail(call, errno.EIO, on=2)
    plan.fail(call, errno.EPIPE, on=4, times=2)
    plan.shorten(call, 7, on=6)
    assert outcomes(plan, call, 7) == [None, "EIO", None, "EPIPE", "EPIPE", 7, 7]
    plan.clear()
    assert outcomes(plan, call, 1) == [None]
    plan.fail(call, errno.EIO, times=float("inf"))
    assert outcomes(plan, call, 3) == ["EIO"] * 3
    assert plan.calls[call] == 11


def test_calls_are_counted_one_by_one() -> None:
    plan = FaultPlan()
    plan.fail("send", errno.EIO)
    assert outcomes(plan, "recv", 1) == [None]
    assert outcomes(plan, "send", 1) == ["EIO"]


def test_an_unknown_call_is_refused() -> None:
    with pytest.raises(ValueError, match="'read' is not one of recv, send"):
        FaultPlan().fail("read", errno.EIO)


async def test_the_seam_is_there_only_inside_the_block() -> None:
    if native_mode()[0]:
        async with socket_and_peer() as (ours, _peer):
            for target in (ours, ours._connection.stream, current_hub()):
                with pytest.raises(OSError, match="MOORINGS_NATIVE=off") as caught, faulty(target, FaultPlan()):
                    pass
                assert caught.value.winerror == errors.ERROR_NOT_SUPPORTED
        return
    async with socket_and_peer() as (ours, peer):
        plan = FaultPlan()
        with faulty(ours, plan) as inside, faulty(current_hub(), FaultPlan()):
            assert inside is plan
            await ours.write(b"counted")
        await ours.write(b" not counted")
        assert plan.calls == {"send": 1}
        assert await receive(peer, 19) == b"counted not counted"


async def test_a_target_that_ends_inside_the_block_is_left_alone() -> None:
    async with moorings.listen("tcp://127.0.0.1:0", print) as listening:
        with faulty(listening.listener, FaultPlan()):
            listening.close()


@pytest.mark.parametrize("kind", [StreamSocket, StreamSocketListener])
async def test_targets_without_a_descriptor_are_refused(kind: type) -> None:
    target = kind()
    with pytest.raises(OSError, match="connect or bind it first") as caught, faulty(target, FaultPlan()):
        pass
    assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
    target.close()


async def test_a_hub_without_sockets_is_refused() -> None:
    if not native_mode()[0]:
        with pytest.raises(OSError, match="open a socket first"), faulty(current_hub(), FaultPlan()):
            pass
