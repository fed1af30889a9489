"""Connection racing (RFC 8305, "Happy Eyeballs"), for any kind of connection.

Theory of operation
-------------------
`race` tries candidates one after the other, each in a task of its own. The next attempt starts when the previous one
has failed, or `stagger` seconds after it started, whichever is first; with `serialize` only when it has failed. The
first success ends the race.

What an attempt returns is owned, normally a connected socket, and must never get lost. Attempts are cancelled when
somebody else has won or the caller gives up, but a cancelled task may still succeed, and two may succeed in the same
loop turn. So a task hands its success over before it ends, with no `await` in between: to the race if that is still
open, else to `discard`. `race` waits for its losers to end before it returns or raises; if it is cancelled while it
waits for them, it discards the winner. Cancelled twice it no longer waits; what the tasks make later is discarded too.

Where every attempt fails, one exception tells about all of them: its class is that of the most telling failure, and
`attempts` lists each address with its time and its error.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from moorings import errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

C = TypeVar("C")
R = TypeVar("R")

#: Seconds between the starts of two attempts ("Connection Attempt Delay", RFC 8305 section 5).
STAGGER = 0.25
#: Seconds that one attempt may take. Source: timeouts on socket operations, Windows documentation.
ATTEMPT_TIMEOUT = 180.0

#: What tells most about why nothing worked comes first: own limits and refusals, then an answer of the other side,
#: then silence, then no way there. Codes that are not listed stand where None is.
_INFORMATIVE: tuple[int | None, ...] = (
    errors.WSAEMFILE,
    errors.WSAENOBUFS,
    errors.WSAEACCES,
    errors.WSAEADDRINUSE,
    errors.WSAECONNREFUSED,
    errors.WSAECONNRESET,
    errors.WSAECONNABORTED,
    None,
    errors.WSAETIMEDOUT,
    errors.WSAEHOSTUNREACH,
    errors.WSAEHOSTDOWN,
    errors.WSAENETUNREACH,
    errors.WSAENETDOWN,
    errors.WSAEADDRNOTAVAIL,
    errors.WSAEAFNOSUPPORT,
    errors.ERROR_OPERATION_ABORTED,
)
_RANK = {code: rank for rank, code in enumerate(_INFORMATIVE)}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that failed."""

    #: The candidate as text, such as "192.0.2.1:80".
    address: str
    #: Seconds from its start to its failure.
    elapsed: float
    error: OSError

    def __str__(self) -> str:
        reason: str = getattr(self.error, "reason", "") or str(self.error)
        where = "" if self.address in reason else f"{self.address}: "
        return f"{where}{reason} (after {self.elapsed:.3f} s)"


def attempts_of(error: BaseException) -> tuple[Attempt, ...]:
    """The attempts behind an exception that `race` raised; empty for any other exception."""
    attempts: tuple[Attempt, ...] = getattr(error, "attempts", ())
    return attempts


def total_failure(attempts: Sequence[Attempt], what: str) -> OSError:
    """One exception for a race that nobody won. It has `attempts`, a tuple of `Attempt`. `what` begins the reason.

    Its class and code are those of the most telling failure. Without attempts it is ERROR_NO_DATA (0x800700E8).
    """
    if not attempts:
        return errors.make(errors.ERROR_NO_DATA, f"{what}: there is no address to try")
    best = min(attempts, key=_rank)
    error = errors.make(_code(best.error), _failure_reason(attempts, what), errno=best.error.errno, cause=best.error)
    error.attempts = tuple(attempts)  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
    return error


def _failure_reason(attempts: Sequence[Attempt], what: str) -> str:
    if len(attempts) == 1:
        only = str(attempts[0])
        return only if only.startswith(f"{what}: ") else f"{what}: {only}"
    return f"{what}: all {len(attempts)} addresses failed: {'; '.join(map(str, attempts))}"


def _code(error: OSError) -> int:
    code: int | None = getattr(error, "winerror", None)
    return errors.E_FAIL if code is None else code


def _rank(attempt: Attempt) -> int:
    return _RANK.get(_code(attempt.error), _RANK[None])


async def race(
    candidates: Sequence[C],
    attempt: Callable[[C], Awaitable[R]],
    *,
    discard: Callable[[R], object],
    what: str = "connect",
    describe: Callable[[C], str] = str,
    stagger: float = STAGGER,
    attempt_timeout: float | None = ATTEMPT_TIMEOUT,
    serialize: bool = False,
) -> R:
    """Try candidates until one succeeds, and return what its attempt returned. The caller then owns it.

    `attempt` makes one connection; `discard` disposes of one that is not wanted, and must not wait. Candidates are
    tried in the given order, so interleave families before (`endpoint_candidates` does). `stagger` and
    `attempt_timeout` are in seconds; None is no limit.

    Raises one OSError where all attempts failed: see `total_failure`. Any other exception of an attempt ends the race
    at once. Cancelling: *nothing happened*, *retry safe*: all attempts are cancelled, and what they made is discarded.
    """
    pause = None if serialize else stagger
    return await _Race(attempt, discard, describe, pause, attempt_timeout).run(candidates, what)


class _Race(Generic[C, R]):
    """One race. See the theory of operation above."""

    def __init__(
        self,
        attempt: Callable[[C], Awaitable[R]],
        discard: Callable[[R], object],
        describe: Callable[[C], str],
        stagger: float | None,
        attempt_timeout: float | None,
    ) -> None:
        self.attempt = attempt
        self.discard = discard
        self.describe = describe
        self.stagger = stagger
        self.attempt_timeout = attempt_timeout
        self.running: dict[asyncio.Task[None], None] = {}  # in the order of their starts
        self.failures: dict[int, Attempt] = {}
        self.winner: list[R] = []  # none or one; what attempts return may be anything, None included
        self.broken: Exception | None = None
        self.over = False
        self.changed = asyncio.Event()

    async def run(self, candidates: Sequence[C], what: str) -> R:
        try:
            try:
                await self._start_in_turn(candidates)
                await self._end_running()
            except BaseException:
                await self._end_running()  # cancelled again here, it stops waiting
                raise
            if self.broken is not None:
                raise self.broken
        except BaseException:
            while self.winner:
                self.discard(self.winner.pop())
            raise
        if not self.winner:
            raise total_failure([self.failures[index] for index in sorted(self.failures)], what)
        return self.winner.pop()

    async def _start_in_turn(self, candidates: Sequence[C]) -> None:
        answered = 0  # failures that have started the next attempt already
        for index, candidate in enumerate(candidates):
            task = asyncio.create_task(self._try(index, candidate))
            self.running[task] = None
            task.add_done_callback(self.running.pop)
            if index == len(candidates) - 1:
                break
            await self._wait_for_failures(answered + 1, self.stagger)
            if self.over:
                return
            answered = min(answered + 1, len(self.failures))
        await self._wait_for_failures(len(candidates), None)

    async def _wait_for_failures(self, number: int, timeout: float | None) -> None:
        try:
            async with asyncio.timeout(timeout):
                while not self.over and len(self.failures) < number:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            return

    async def _try(self, index: int, candidate: C) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        limit = asyncio.timeout(self.attempt_timeout)
        try:
            async with limit:
                result = await self.attempt(candidate)
            self._hand_over(result)
        except OSError as error:
            reason = f"no answer within {self.attempt_timeout:g} s" if limit.expired() else str(error)
            self._fail(index, candidate, loop.time() - started, errors.from_os_error(error, reason))
        except asyncio.CancelledError:
            if not self.over:  # somebody else cancelled this one
                self._fail(index, candidate, loop.time() - started, errors.aborted("the attempt was cancelled"))
            raise
        except Exception as error:  # noqa: BLE001 - a mistake in the attempt; `run` raises it
            self.broken = error
            self.over = True
        finally:
            self.changed.set()

    def _hand_over(self, result: R) -> None:
        if self.over:
            self.discard(result)
        else:
            self.winner.append(result)
            self.over = True

    def _fail(self, index: int, candidate: C, elapsed: float, error: OSError) -> None:
        self.failures[index] = Attempt(self.describe(candidate), elapsed, error)

    async def _end_running(self) -> None:
        self.over = True
        for task in self.running:
            if not task.cancelling():
                task.cancel()
        while self.running:
            await asyncio.wait(tuple(self.running))
