"""The library's own loop thread and worker threads, for programs without a running asyncio loop.

Theory of operation
-------------------
In a plain script there is no loop to live on. The first operation then starts one daemon thread that runs a loop for
the rest of the process; every such object has it as its home. Calls hop there, `get()` blocks the caller.

Handlers of the program must not run on that thread: they may block, and they may call `get()`. They run on worker
threads: those of one object one after the other in order (`submit`), those that may overlap side by side
(`submit_concurrently`, for `connection_received`). The two kinds have threads of their own, so that handlers that block
until another kind of handler has run do not wait for ever. At interpreter exit the loop gets up to a second to finish
what was handed over. After fork the child has neither the thread nor its objects; a new one starts on demand.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections import deque
from contextlib import suppress
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from moorings.foundation.home import Home, registry

if TYPE_CHECKING:
    from collections.abc import Callable

#: Threads for handlers that are called in order, at most; objects beyond that wait their turn.
WORKER_LIMIT = 64
#: Seconds that the loop may go on at interpreter exit.
EXIT_DRAIN_SECONDS = 1.0
#: Seconds that tasks of the loop get at interpreter exit to end, once they are cancelled.
EXIT_CANCEL_SECONDS = 0.5
#: Seconds after which an idle worker thread ends.
WORKER_IDLE_SECONDS = 10.0


class BackgroundLoop:
    """The one loop thread of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._home: Home | None = None
        self._thread: threading.Thread | None = None
        self._inherited: list[Home] = []

    def home(self) -> Home:
        """The background home; started on first use."""
        home = self._home
        if home is not None and not home.dropped and not home.loop.is_closed():
            return home
        with self._lock:
            if self._home is None or self._home.dropped or self._home.loop.is_closed():
                self._start()
            assert self._home is not None
            return self._home

    def _start(self) -> None:
        loop = asyncio.new_event_loop()
        ready = threading.Event()

        def run() -> None:
            asyncio.set_event_loop(loop)
            loop.call_soon(ready.set)
            try:
                loop.run_forever()
                _end_tasks(loop)
            finally:
                loop.close()

        thread = threading.Thread(target=run, name="moorings-home", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            loop.close()
            raise
        ready.wait()
        assert thread.ident is not None
        self._thread = thread
        self._home = registry.add_background(loop, thread.ident)

    def forget(self) -> None:
        """In a forked child: the thread does not exist here."""
        self._lock = threading.Lock()
        if self._home is not None:
            # Kept, because closing the loop here would take the parent's descriptors out of the epoll set they share.
            self._inherited.append(self._home)
        self._home = None
        self._thread = None

    def shut_down(self) -> None:
        """Let queued data go out for a moment, then stop (interpreter exit)."""
        home, thread = self._home, self._thread
        if home is None or thread is None or home.loop.is_closed():
            return
        drained = threading.Event()

        def look(rounds: int) -> None:
            engine = home.engine
            if engine is None or rounds <= 0 or not engine.has_unsent():
                drained.set()
            else:
                home.loop.call_later(EXIT_DRAIN_SECONDS / 50, look, rounds - 1)

        home.loop.call_soon_threadsafe(look, 50)
        drained.wait(EXIT_DRAIN_SECONDS * 1.5)
        home.loop.call_soon_threadsafe(_abandon, home)
        thread.join(EXIT_DRAIN_SECONDS)


def _abandon(home: Home) -> None:
    """What could not be sent is lost: the peer sees a reset, not an end."""
    try:
        if home.engine is not None:
            home.engine.abandon()
    finally:
        home.loop.stop()


def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left on a loop that is about to be closed, and let it clean up."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=EXIT_CANCEL_SECONDS))


class _Pool:
    """Daemon threads that run jobs, as many as are needed at the same time, up to a limit."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.reset()

    def reset(self) -> None:
        """Start anew, without threads."""
        self._condition = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._idle = 0
        self._threads = 0

    def add(self, job: Callable[[], None]) -> None:
        """Run `job` on a thread. RuntimeError when the system gives none and none is there."""
        with self._condition:
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._condition.notify()
                return
            if self._limit is not None and self._threads >= self._limit:
                return
            self._threads += 1
        try:
            threading.Thread(target=self._work, name="moorings-worker", daemon=True).start()
        except RuntimeError:
            with self._condition:
                self._threads -= 1
                if self._threads == 0 and job in self._jobs:
                    self._jobs.remove(job)
                    raise

    def _work(self) -> None:
        try:
            while True:
                job = self._next()
                if job is None:
                    return
                job()
                del job  # what it holds may wait for its finaliser
        finally:
            with self._condition:
                self._threads -= 1

    def _next(self) -> Callable[[], None] | None:
        with self._condition:
            while not self._jobs:
                self._idle += 1
                told = self._condition.wait(WORKER_IDLE_SECONDS)
                self._idle -= 1
                if not told and not self._jobs:
                    return None
            return self._jobs.popleft()


class _Queue:
    """Handlers of one object, to be called in order."""

    def __init__(self) -> None:
        self.calls: deque[Callable[[], None]] = deque()
        self.running = False


class Workers:
    """Worker threads that run the program's handlers."""

    def __init__(self) -> None:
        self._in_order = _Pool(WORKER_LIMIT)
        # Whoever submits concurrently has a limit of his own, and pauses what brings the work.
        self._side_by_side = _Pool(None)
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._queues: weakref.WeakKeyDictionary[Any, _Queue] = weakref.WeakKeyDictionary()

    def submit(self, home: Home, handler: Callable[..., object], sender: object, *arguments: object) -> None:
        """Call `handler(sender, *arguments)` on a worker; handlers of one sender run one after the other."""

        def call() -> None:
            try:
                result = handler(sender, *arguments)
            except BaseException as error:  # noqa: BLE001 - the program's handler may raise anything; reported once
                report_from_worker(home, f"{handler!r} failed", error)
                return
            if iscoroutine(result):
                with suppress(RuntimeError):
                    home.loop.call_soon_threadsafe(home.run, result)

        self.submit_in_order(sender, call)

    def submit_in_order(self, sender: object, job: Callable[[], None]) -> None:
        """Run `job` on a worker, after the jobs of the same sender. It reports its own failures."""
        with self._lock:
            queue = self._queues.get(sender)
            if queue is None:
                queue = self._queues[sender] = _Queue()
            queue.calls.append(job)
            if queue.running:
                return
            queue.running = True
        self._in_order.add(lambda: self._run_queue(queue))

    def submit_concurrently(self, job: Callable[[], None]) -> None:
        """Run `job` on a worker, beside others. It reports its own failures."""
        self._side_by_side.add(job)

    def _run_queue(self, queue: _Queue) -> None:
        while True:
            with self._lock:
                if not queue.calls:
                    queue.running = False
                    return
                job = queue.calls.popleft()
            job()
            del job

    def forget(self) -> None:
        """In a forked child: the threads do not exist here."""
        self._reset()
        self._in_order.reset()
        self._side_by_side.reset()


def report_from_worker(home: Home, message: str, error: BaseException) -> None:
    """Report a handler's failure through the home loop's exception handler, once."""
    with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
        home.loop.call_soon_threadsafe(home.report, message, error)


background_loop = BackgroundLoop()
workers = Workers()
atexit.register(background_loop.shut_down)
os.register_at_fork(after_in_child=background_loop.forget)
os.register_at_fork(after_in_child=workers.forget)


def background_home() -> Home:
    """The home of objects that a plain script makes."""
    return background_loop.home()
