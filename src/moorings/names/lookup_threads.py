"""Blocking look-ups on threads that cannot hold anybody up.

Theory of operation
-------------------
`getaddrinfo` has no deadline and cannot be cancelled: a name service that hangs keeps its thread. So look-ups run on
threads of their own, never on the event loop's default executor, and

* callers that ask for the same key share one look-up, so that one bad name occupies one thread only;
* at most `limit` look-ups run that somebody waits for; the others queue;
* a look-up whose callers have all gone (deadline or cancellation) is *abandoned*: it no longer counts, so the queue
  moves on, and its thread is used again when the call returns at last. Abandoned ones are bounded too; where every
  thread is lost to one, new look-ups fail at once instead of waiting for nothing;
* threads are daemons: a stuck one does not hold back the end of the program. Idle ones end by themselves.

One instance serves any number of event loops. All state is guarded by one lock, which is never held during a look-up.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")

#: Look-ups that run at the same time while somebody waits for them.
LOOKUP_LIMIT = 16
#: All threads, those of abandoned look-ups included.
THREAD_LIMIT = 80
#: Look-ups that may wait for a thread.
QUEUE_LIMIT = 1024
#: Seconds after which a thread without work ends.
IDLE_SECONDS = 10.0
#: How the threads are called, in front of a number.
THREAD_NAME = "moorings-resolver"


class LookupTimeoutError(Exception):
    """The deadline of a look-up has passed."""


class LookupsBusyError(Exception):
    """No thread can be had: the text says why."""


class _Job(Generic[T]):
    __slots__ = ("abandoned", "function", "key", "running", "waiters")

    def __init__(self, key: Hashable, function: Callable[[], T]) -> None:
        self.key = key
        self.function = function
        self.waiters: dict[asyncio.Future[T], asyncio.AbstractEventLoop] = {}
        self.running = False
        self.abandoned = False


class LookupThreads:
    """A bounded set of daemon threads for blocking look-ups."""

    def __init__(
        self,
        *,
        limit: int = LOOKUP_LIMIT,
        thread_limit: int = THREAD_LIMIT,
        queue_limit: int = QUEUE_LIMIT,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.limit = limit
        self.thread_limit = thread_limit
        self.queue_limit = queue_limit
        self.idle_seconds = idle_seconds
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._jobs: dict[Hashable, _Job[Any]] = {}
        self._queue: deque[_Job[Any]] = deque()
        self._threads = 0
        self._idle = 0
        self._running = 0
        self._abandoned = 0
        self._started = 0

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of threads, running, queued and abandoned look-ups, for diagnosis."""
        with self._lock:
            return {
                "threads": self._threads,
                "running": self._running,
                "queued": len(self._queue),
                "abandoned": self._abandoned,
            }

    async def run(self, key: Hashable, function: Callable[[], T], deadline: float) -> T:
        """Run `function` on a thread, or join the look-up that already runs for `key`, and return its result.

        Raises what the function raises, LookupTimeoutError after `deadline` seconds, LookupsBusyError where no thread
        can be had. Cancelling: *nothing happened*; the look-up may go on unseen.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        job = self._join(key, function, loop, future)
        timeout = asyncio.timeout(deadline)
        try:
            async with timeout:
                return await future
        except TimeoutError:
            if timeout.expired():
                raise LookupTimeoutError from None
            raise
        finally:
            self._leave(job, future)

    def _join(
        self, key: Hashable, function: Callable[[], T], loop: asyncio.AbstractEventLoop, future: asyncio.Future[T]
    ) -> _Job[T]:
        if self._process != os.getpid():
            self._reset()  # a forked child has neither the threads nor the callers
        with self._lock:
            job = cast("_Job[T] | None", self._jobs.get(key))
            if job is None:
                job = _Job(key, function)
                self._enqueue(job)
            job.waiters[future] = loop
            return job

    def _enqueue(self, job: _Job[Any]) -> None:
        if self._threads == self._abandoned == self.thread_limit:
            raise LookupsBusyError(f"all {self.thread_limit} look-up threads are stuck in the system's name service")
        if len(self._queue) >= self.queue_limit:
            raise LookupsBusyError(f"{len(self._queue)} look-ups are already waiting")
        self._queue.append(job)
        self._attend_queue()
        if self._threads == self._abandoned:
            self._queue.pop()
            raise LookupsBusyError("the system starts no more threads")
        self._jobs[job.key] = job

    def _attend_queue(self) -> None:
        """Wake or start a thread where a look-up may run; else the end of a running one starts the next."""
        if not self._queue or self._running >= self.limit:
            return
        if self._idle:
            self._changed.notify()
        elif self._threads - self._abandoned < self.limit and self._threads < self.thread_limit:
            self._started += 1
            try:
                threading.Thread(target=self._work, name=f"{THREAD_NAME}-{self._started}", daemon=True).start()
            except RuntimeError:
                return  # the system refuses more threads; those that run serve the queue
            self._threads += 1

    def _leave(self, job: _Job[Any], future: asyncio.Future[Any]) -> None:
        with self._lock:
            if job.waiters.pop(future, None) is None or job.waiters or self._jobs.get(job.key) is not job:
                return
            if not job.running:
                self._queue.remove(job)
                del self._jobs[job.key]
            elif not job.abandoned:
                job.abandoned = True
                self._running -= 1
                self._abandoned += 1
                self._attend_queue()

    def _work(self) -> None:
        while (job := self._take()) is not None:
            result: Any = None
            error: Exception | None = None
            try:
                result = job.function()
            except Exception as caught:  # noqa: BLE001 - whatever it is, it belongs to the callers
                error = caught
            self._finish(job, result, error)
            del job, result, error

    def _take(self) -> _Job[Any] | None:
        with self._lock:
            while not self._queue or self._running >= self.limit:
                self._idle += 1
                notified = self._changed.wait(self.idle_seconds)
                self._idle -= 1
                if not notified and not (self._queue and self._running < self.limit):
                    self._threads -= 1
                    return None
            job = self._queue.popleft()
            job.running = True
            self._running += 1
            self._attend_queue()
            return job

    def _finish(self, job: _Job[T], result: T, error: Exception | None) -> None:
        with self._lock:
            if job.abandoned:
                self._abandoned -= 1
            else:
                self._running -= 1
            del self._jobs[job.key]
            waiters = list(job.waiters.items())
            job.waiters.clear()
        for future, loop in waiters:
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:
                continue  # that loop has been closed; nobody waits there any more


def _settle(future: asyncio.Future[T], result: T, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
