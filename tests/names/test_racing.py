"""Connection racing: who starts when, who wins, and that nothing that was made is lost."""

from __future__ import annotations

import asyncio
import errno
import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.names.virtual_time import run_virtual

from moorings import errors
from moorings.names.racing import Attempt, attempts_of, race, total_failure

NEVER = 10_000.0


def refused() -> OSError:
    return errors.from_errno(errno.ECONNREFUSED, "refused")


@dataclass
class Script:
    """What the attempt for one candidate does: `after` seconds, then succeed or raise."""

    after: float = 0.0
    error: BaseException | None = None
    #: Seconds the attempt goes on after it was cancelled; None ends at once, as it should.
    stubborn: float | None = None
    #: A stubborn attempt that succeeds in the end.
    succeeds: bool = False


@dataclass
class Track:
    """Runs scripts and keeps the books about what they make."""

    scripts: dict[str, Script]
    started: list[tuple[str, float]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)

    async def attempt(self, name: str) -> str:
        script = self.scripts[name]
        self.started.append((name, asyncio.get_running_loop().time()))
        try:
            if script.after:
                await asyncio.sleep(script.after)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            if script.stubborn is None:
                raise
            await asyncio.sleep(script.stubborn)
            if not script.succeeds:
                raise
        if script.error is not None:
            raise script.error
        self.made.append(name)
        return name

    async def race(self, **options: object) -> str:
        return await race(list(self.scripts), self.attempt, discard=self.discarded.append, **options)  # type: ignore[arg-type]

    def run(self, **options: object) -> str:
        winner = run_virtual(self.race(**options))
        assert sorted([winner, *self.discarded]) == sorted(self.made)
        return winner

    def fail(self, **options: object) -> OSError:
        with pytest.raises(OSError) as caught:
            run_virtual(self.race(**options))
        assert sorted(self.discarded) == sorted(self.made)
        return caught.value


def test_the_only_candidate_wins() -> None:
    track = Track({"a": Script(after=0.1)})
    assert track.run() == "a"
    assert track.started == [("a", 0.0)]
    assert track.discarded == []


def test_no_further_attempt_starts_after_a_quick_success() -> None:
    track = Track({"a": Script(after=0.2), "b": Script()})
    assert track.run() == "a"
    assert track.started == [("a", 0.0)]


def test_a_failure_starts_the_next_at_once() -> None:
    track = Track({"a": Script(error=refused()), "b": Script(after=0.01, error=refused()), "c": Script()})
    assert track.run() == "c"
    assert track.started == [("a", 0.0), ("b", 0.0), ("c", 0.01)]


def test_a_silent_candidate_holds_the_next_back_for_the_stagger_only() -> None:
    track = Track({"a": Script(after=NEVER), "b": Script(after=0.05)})
    assert track.run() == "b"
    assert track.started == [("a", 0.0), ("b", 0.25)]
    assert track.cancelled == ["a"]


def test_the_first_may_still_win_after_the_second_started() -> None:
    track = Track({"a": Script(after=0.3), "b": Script(after=0.2)})
    assert track.run() == "a"
    assert track.cancelled == ["b"]


def test_every_failure_starts_one_more() -> None:
    scripts = {
        "a": Script(after=0.3, error=refused()),
        "b": Script(after=0.05, error=refused()),
        "c": Script(after=NEVER),
        "d": Script(),
    }
    track = Track(scripts)
    assert track.run() == "d"
    assert [name for name, _ in track.started] == ["a", "b", "c", "d"]
    assert [start for _, start in track.started] == pytest.approx([0.0, 0.25, 0.3, 0.3])


def test_stagger_can_be_chosen() -> None:
    track = Track({"a": Script(after=NEVER), "b": Script(after=NEVER), "c": Script()})
    assert track.run(stagger=1.5) == "c"
    assert track.started == [("a", 0.0), ("b", 1.5), ("c", 3.0)]


def test_serialized_attempts_never_overlap() -> None:
    track = Track({"a": Script(after=100.0, error=refused()), "b": Script(after=NEVER), "c": Script()})
    assert track.run(serialize=True) == "c"
    assert track.started == [("a", 0.0), ("b", 100.0), ("c", 280.0)]
    assert track.cancelled == ["b"]


def test_an_attempt_times_out_by_itself() -> None:
    error = Track({"a": Script(after=NEVER)}).fail(attempt_timeout=2.0)
    assert isinstance(error, TimeoutError)
    assert error.winerror == errors.WSAETIMEDOUT
    assert "no answer within 2 s" in error.reason
    assert attempts_of(error)[0].elapsed == 2.0


def test_without_a_limit_an_attempt_may_take_long() -> None:
    assert Track({"a": Script(after=NEVER)}).run(attempt_timeout=None) == "a"


def test_two_successes_in_one_turn() -> None:
    track = Track({"a": Script(after=0.5), "b": Script(after=0.25)})
    assert track.run() in "ab"
    assert len(track.made) == len(track.discarded) + 1


def test_a_cancelled_loser_that_succeeds_is_discarded() -> None:
    track = Track({"a": Script(after=NEVER, stubborn=3.0, succeeds=True), "b": Script()})
    assert track.run() == "b"
    assert track.discarded == ["a"]


def test_a_timed_out_attempt_that_succeeds_still_counts() -> None:
    track = Track({"a": Script(after=NEVER, stubborn=0.5, succeeds=True)})
    assert track.run(attempt_timeout=1.0) == "a"


def test_losers_have_ended_when_the_race_returns() -> None:
    track = Track({"a": Script(after=NEVER, stubborn=3.0), "b": Script()})
    ended: list[float] = []

    async def main() -> None:
        await track.race()
        ended.append(asyncio.get_running_loop().time())

    run_virtual(main())
    assert ended == [3.25]


def test_results_may_be_anything() -> None:
    async def main() -> None:
        async def attempt(_: str) -> None:
            return None

        assert await race(["a"], attempt, discard=pytest.fail) is None

    run_virtual(main())


def test_one_failure_tells_about_all() -> None:
    error = Track(
        {
            "192.0.2.1:80": Script(after=0.1, error=errors.from_errno(errno.ENETUNREACH, "no route")),
            "192.0.2.2:80": Script(after=0.2, error=refused()),
            "192.0.2.3:80": Script(after=0.3, error=OSError(errno.EHOSTUNREACH, "from a system call")),
        }
    ).fail(what="StreamSocket to example.com:80")
    assert isinstance(error, ConnectionRefusedError)
    assert error.winerror == errors.WSAECONNREFUSED
    assert error.errno == errno.ECONNREFUSED
    attempts = attempts_of(error)
    assert [attempt.address for attempt in attempts] == ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"]
    assert [attempt.elapsed for attempt in attempts] == pytest.approx([0.1, 0.2, 0.3])
    assert [attempt.error.winerror for attempt in attempts] == [
        errors.WSAENETUNREACH,
        errors.WSAECONNREFUSED,
        errors.WSAEHOSTUNREACH,
    ]
    assert error.__cause__ is attempts[1].error
    assert error.reason.startswith(
        "StreamSocket to example.com:80: all 3 addresses failed: 192.0.2.1:80: no route (after 0.1"
    )
    assert error.reason.endswith("192.0.2.3:80: [Errno 113] from a system call (after 0.300 s)")


def test_an_address_is_named_once() -> None:
    reason = str(Attempt("192.0.2.1:80", 0.5, errors.from_errno(errno.EIO, "connecting to 192.0.2.1:80: odd")))
    assert reason == "connecting to 192.0.2.1:80: odd (after 0.500 s)"
    attempt = Attempt("192.0.2.1:80", 0.5, errors.from_errno(errno.EIO, "connecting to 192.0.2.1:80: odd"))
    assert reason_of_one(attempt, "connecting to 192.0.2.1:80") == reason
    assert reason_of_one(attempt, "connecting to example.com:80") == f"connecting to example.com:80: {reason}"


def reason_of_one(attempt: Attempt, what: str) -> str:
    reason: str = total_failure([attempt], what).reason  # type: ignore[attr-defined]
    return reason


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((errno.ECONNREFUSED, errno.ECONNREFUSED), ConnectionRefusedError),
        ((errno.ETIMEDOUT, errno.ECONNREFUSED), ConnectionRefusedError),
        ((errno.ENETUNREACH, errno.ETIMEDOUT), TimeoutError),
        ((errno.ENETUNREACH, errno.EACCES), PermissionError),
        ((errno.ECONNRESET, errno.ETIMEDOUT), ConnectionResetError),
    ],
)
def test_the_most_telling_failure_gives_the_class(codes: tuple[int, int], expected: type[OSError]) -> None:
    for order in itertools.permutations(codes):
        attempts = [Attempt("x", 0.0, errors.from_errno(code, "reason")) for code in order]
        assert isinstance(total_failure(attempts, "connect"), expected)


def test_unlisted_failures_stand_in_the_middle() -> None:
    strange = Attempt("x", 0.0, errors.from_errno(errno.EIO, "strange"))
    silent = Attempt("y", 0.0, errors.from_errno(errno.ETIMEDOUT, "silent"))
    assert total_failure([silent, strange], "connect").errno == errno.EIO
    assert total_failure([strange, Attempt("z", 0.0, refused())], "connect").errno == errno.ECONNREFUSED
    bare = Attempt("x", 0.0, OSError("no number at all"))
    assert total_failure([bare], "connect").winerror == errors.E_FAIL


def test_nothing_to_try() -> None:
    error = Track({}).fail()
    assert error.winerror == errors.ERROR_NO_DATA
    assert attempts_of(error) == ()


def test_other_exceptions_have_no_attempts() -> None:
    assert attempts_of(ValueError()) == ()


def test_a_mistake_in_an_attempt_ends_the_race() -> None:
    track = Track({"a": Script(after=NEVER), "b": Script(after=0.1, error=ZeroDivisionError()), "c": Script()})
    with pytest.raises(ZeroDivisionError):
        run_virtual(track.race())
    assert track.cancelled == ["a"]
    assert [name for name, _ in track.started] == ["a", "b"]


def test_a_mistake_beside_a_winner_discards_it() -> None:
    class Disobedient(Track):
        async def attempt(self, name: str) -> str:
            try:
                return await super().attempt(name)
            except asyncio.CancelledError:
                raise ZeroDivisionError from None

    track = Disobedient({"a": Script(after=NEVER), "b": Script()})
    with pytest.raises(ZeroDivisionError):
        run_virtual(track.race())
    assert track.discarded == ["b"]


def test_an_attempt_that_somebody_cancels_counts_as_failed() -> None:
    track = Track({"a": Script(error=asyncio.CancelledError()), "b": Script()})
    assert track.run() == "b"
    error = Track({"a": Script(error=asyncio.CancelledError())}).fail()
    assert error.winerror == errors.ERROR_OPERATION_ABORTED


async def cancel_after_turns(track: Track, turns: int) -> bool:
    """Cancel the race after so many loop turns (timers fire between them); True where it had not ended before."""
    task = asyncio.create_task(track.race())
    for _ in range(turns):
        await asyncio.sleep(0)
    cancelled = task.cancel()
    try:
        winner = await task
    except asyncio.CancelledError:
        assert sorted(track.discarded) == sorted(track.made)
        return True
    assert sorted([winner, *track.discarded]) == sorted(track.made)
    return cancelled


def test_cancel_at_every_turn() -> None:
    async def yielding(track: Track, name: str) -> str:
        track.started.append((name, 0.0))
        for _ in range(4 + int(name)):
            await asyncio.sleep(0)
        track.made.append(name)
        return name

    class Quick(Track):
        async def attempt(self, name: str) -> str:
            return await yielding(self, name)

        async def race(self, **options: object) -> str:
            return await race(list(self.scripts), self.attempt, discard=self.discarded.append, stagger=0.0)

    outcomes = set()
    for turns in range(40):
        track = Quick({str(number): Script() for number in range(3)})
        outcomes.add((run_virtual(cancel_after_turns(track, turns)), bool(track.made)))
    # The cancellation met the race before anything was made, with something made, and after its end.
    assert outcomes >= {(True, False), (True, True), (False, True)}


def test_cancel_cancels_all_attempts_and_waits_for_them() -> None:
    track = Track({"a": Script(after=NEVER, stubborn=1.0), "b": Script(after=NEVER, stubborn=2.0, succeeds=True)})

    async def main() -> None:
        task = asyncio.create_task(track.race())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() == 2.5

    run_virtual(main())
    assert track.cancelled == ["a", "b"]
    assert track.discarded == ["b"] == track.made


def test_a_second_cancel_stops_the_waiting_but_loses_nothing() -> None:
    track = Track({"a": Script(after=NEVER, stubborn=5.0, succeeds=True)})

    async def main() -> None:
        task = asyncio.create_task(track.race())
        for _ in range(2):
            await asyncio.sleep(0.1)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() == pytest.approx(0.2)
        assert track.discarded == []
        await asyncio.sleep(10)

    run_virtual(main())
    assert track.discarded == ["a"] == track.made


def test_cancel_while_a_winner_waits_for_its_losers() -> None:
    track = Track({"a": Script(after=NEVER, stubborn=5.0), "b": Script()})

    async def main() -> None:
        task = asyncio.create_task(track.race())
        await asyncio.sleep(1.0)
        assert track.made == ["b"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert track.discarded == ["b"]
        assert asyncio.get_running_loop().time() == 5.25

    run_virtual(main())


def test_two_cancels_while_a_winner_waits_for_its_losers() -> None:
    track = Track({"a": Script(after=NEVER, stubborn=5.0, succeeds=True), "b": Script()})

    async def main() -> None:
        task = asyncio.create_task(track.race())
        for _ in range(2):
            await asyncio.sleep(1.0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert track.discarded == ["b"]
        assert asyncio.get_running_loop().time() == 2.0
        await asyncio.sleep(10)

    run_virtual(main())
    assert track.discarded == ["b", "a"]


def test_the_callers_own_timeout() -> None:
    track = Track({"a": Script(after=NEVER), "b": Script(after=NEVER)})

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await track.race()

    run_virtual(main())
    assert track.cancelled == ["a", "b"]


SCRIPTS = st.lists(
    st.builds(
        Script,
        after=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0, NEVER]),
        error=st.sampled_from([None, refused()]),
        stubborn=st.sampled_from([None, 0.0, 0.25]),
        succeeds=st.booleans(),
    ),
    max_size=6,
)


@given(SCRIPTS, st.booleans(), st.sampled_from([None, 0.0, 0.1, 0.25, 0.3, 2.0]))
def test_nothing_is_ever_lost(scripts: list[Script], serialize: bool, cancel_after: float | None) -> None:
    track = Track({str(number): script for number, script in enumerate(scripts)})
    kept: list[str] = []

    async def main() -> None:
        task = asyncio.create_task(track.race(serialize=serialize, attempt_timeout=5.0))
        if cancel_after is not None:
            await asyncio.sleep(cancel_after)
            task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            assert cancel_after is not None
        elif (error := task.exception()) is not None:
            assert len(attempts_of(error)) == len(scripts)
        else:
            kept.append(task.result())

    run_virtual(main())
    assert sorted(kept + track.discarded) == sorted(track.made)
    starts = [start for _, start in track.started]
    assert starts == sorted(starts)
    assert [name for name, _ in track.started] == [str(number) for number in range(len(starts))]
    if cancel_after is None and any(script.error is None and script.after < 5.0 for script in scripts):
        assert kept
