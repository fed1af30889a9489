"""The check-suite notices streams that misbehave."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import connected_sockets

from moorings import StreamSocket, errors
from moorings.testing import cancelling_checks, ending_checks, transfer_checks
from moorings.testing.stream_checks import (
    HALF_CLOSE_CHECKS,
    ONE_WAY_CHECKS,
    STREAM_CHECKS,
    TRANSPORT_CHECKS,
    TWO_WAY_CHECKS,
    Check,
    check_half_closeable_stream,
    check_one_way_stream,
    check_two_way_stream,
    run_check,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class Wrapped:
    """A stream socket that does as the real one, but for what a subclass changes."""

    def __init__(self, real: StreamSocket) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def __aenter__(self) -> Wrapped:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()


class LosesAByte(Wrapped):
    def write(self, data: Any) -> Any:
        return self._real.write(bytes(data)[:-1] if len(data) > 60000 else data)


class IgnoresEnds(Wrapped):
    async def read(self, n: int = 65536) -> bytes:
        return await self._real.read(n) or b"?"


class ClosesOnce(Wrapped):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise errors.closed("me")
        self.closed = True
        self._real.close()


class LosesWhenCancelled(Wrapped):
    async def read(self, n: int = 65536) -> bytes:
        first = await self._real.read_exactly(1)
        return first + await self._real.read(n)

    async def read_exactly(self, n: int) -> bytes:
        data = b""
        while len(data) < n:
            piece = await self._real.read(n - len(data))
            if not piece:
                raise asyncio.IncompleteReadError(data, n)
            data += piece
        return data


class HidesResets(Wrapped):
    async def read(self, n: int = 65536) -> bytes:
        try:
            return await self._real.read(n)
        except ConnectionResetError:
            return b""


class SendsEachWrite(Wrapped):
    @property
    def counters(self) -> Any:
        counters = self._real.counters
        return counters._replace(send_calls=counters.bytes_sent)


class NeverHalfCloses(Wrapped):
    def end_writing(self) -> None:
        """Do nothing."""


class AbortsOnClose(Wrapped):
    def close(self) -> None:
        self._real.abort()


class QueuesForEver(Wrapped):
    async def flush(self) -> None:
        """Do nothing."""


MISBEHAVIOURS: list[tuple[type[Wrapped], Check]] = [
    (LosesAByte, transfer_checks.all_sizes_arrive_in_order),
    (IgnoresEnds, ending_checks.reads_after_the_end),
    (ClosesOnce, ending_checks.closing_twice_does_nothing),
    (LosesWhenCancelled, cancelling_checks.cancelled_reads_take_nothing),
    (HidesResets, ending_checks.reset_is_told_to_everybody),
    (SendsEachWrite, transfer_checks.batches_go_out_together),
    (NeverHalfCloses, ending_checks.half_close_leaves_the_other_direction),
    (AbortsOnClose, ending_checks.close_sends_what_was_written),
    (QueuesForEver, transfer_checks.silence_lets_the_writer_wait),
]


def pair_of(kind: Callable[[StreamSocket], Any]) -> Callable[[], Any]:
    async def make_pair() -> tuple[Any, Any]:
        ours, theirs = connected_sockets(send_buffer=65536, receive_buffer=65536)
        return kind(StreamSocket.from_socket(ours)), kind(StreamSocket.from_socket(theirs))

    return make_pair


@pytest.mark.parametrize(("kind", "check"), MISBEHAVIOURS, ids=lambda value: value.__name__)
async def test_misbehaviour_is_noticed(kind: type[Wrapped], check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorings.testing.stream_checks.PATIENCE", 0.2)
    with pytest.raises((AssertionError, TimeoutError, OSError)) as caught:
        await run_check(check, pair_of(kind))
    assert check.__name__ in "".join(caught.value.__notes__)


@pytest.mark.parametrize("check", [check for _, check in MISBEHAVIOURS], ids=lambda check: check.__name__)
async def test_a_plain_wrapper_passes(check: Check) -> None:
    await run_check(check, pair_of(Wrapped))


async def test_a_failing_check_aborts_its_pair() -> None:
    made: list[StreamSocket] = []

    async def make_pair() -> tuple[StreamSocket, StreamSocket]:
        made.extend(await pair_of(lambda real: real)())
        return made[0], made[1]

    async def failing(one: Any, _other: Any) -> None:
        one.write(b"something")
        raise AssertionError("no")

    with pytest.raises(AssertionError, match="no") as caught:
        await run_check(failing, make_pair, swapped=True)
    assert caught.value.__notes__ == ["stream check failing (ends swapped)"]
    assert [end.end_reason.name for end in made] == ["ABORTED", "ABORTED"]


@pytest.mark.parametrize(
    ("suite", "checks", "pairs"),
    [
        (check_one_way_stream, ONE_WAY_CHECKS, 1),
        (check_two_way_stream, ONE_WAY_CHECKS + TWO_WAY_CHECKS, 2),
        (check_half_closeable_stream, STREAM_CHECKS, 2),
    ],
    ids=["one-way", "two-way", "half-closeable"],
)
async def test_suites_run_each_of_their_checks(suite: Any, checks: Any, pairs: int) -> None:
    made = 0

    async def make_pair() -> tuple[StreamSocket, StreamSocket]:
        nonlocal made
        made += 1
        one, other = await pair_of(lambda real: real)()
        return one, other

    await suite(make_pair)
    assert made == pairs * len(checks)


def test_checks_are_listed_once() -> None:
    parts = ONE_WAY_CHECKS + TWO_WAY_CHECKS + TRANSPORT_CHECKS + HALF_CLOSE_CHECKS
    assert len(set(STREAM_CHECKS)) == len(STREAM_CHECKS) == len(parts)
    written = {
        name
        for module in (transfer_checks, ending_checks, cancelling_checks)
        for name, value in vars(module).items()
        if asyncio.iscoroutinefunction(value) and not name.startswith("_") and value.__module__ == module.__name__
    }
    assert written == {check.__name__ for check in STREAM_CHECKS}
