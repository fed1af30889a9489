"""Running a coroutine on the home loop of an object, from a task of another loop.

Theory of operation
-------------------
The coroutine becomes a task of the home loop. Its outcome, result or exception of any kind, comes back to the waiting
task. Cancelling that one cancels the task at home. The two may cross: a result that nobody takes any more is given to
`undo`, on the home loop, so that what it stands for (bytes taken from a stream, a connection taken from a queue) is put
back and not lost. Who is first is decided under a lock, since the two loops run on two threads.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from moorings.foundation.home import Home

T = TypeVar("T")


async def run_at_home(
    home: Home, make: Callable[[], Coroutine[Any, Any, T]], undo: Callable[[T], object] | None = None
) -> T:
    """Run the coroutine that `make` makes on the home loop, and return its result; here and now if this is that loop.

    Errors: those of the coroutine; RO_E_CLOSED 0x80000013 when the home loop is closed; RuntimeError when this thread
    is the one that would have to run it.
    """
    loop = asyncio.get_running_loop()
    if loop is home.loop:
        return await make()
    home.usable("a call from another event loop")
    if home.on_home_thread():
        raise RuntimeError(
            "the object lives on another event loop of this thread, which cannot run while this one does; "
            "make and use the object inside one asyncio.run()"
        )
    errand: _Errand[T] = _Errand(home, loop, undo)
    home.call(errand.start, make)
    return await errand.outcome()


class _Errand(Generic[T]):
    """One coroutine that runs on another loop than the one that waits for it."""

    def __init__(self, home: Home, loop: asyncio.AbstractEventLoop, undo: Callable[[T], object] | None) -> None:
        self.home = home
        self.loop = loop
        self.undo = undo
        self.lock = threading.Lock()
        self.given_up = False
        self.task: asyncio.Task[T] | None = None
        self.ended: asyncio.Task[T] | None = None
        self.arrived: asyncio.Future[None] = loop.create_future()

    def start(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        """Start the coroutine (home thread)."""
        if not self.given_up:
            task: asyncio.Task[T] = self.home.loop.create_task(make())
            self.task = task
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[T]) -> None:
        with self.lock:
            self.ended = task
            given_up = self.given_up
        if given_up:
            self._put_back()
        else:
            # The waiting loop may be closed by now: then nobody waits.
            with suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._arrive)

    def _arrive(self) -> None:
        if not self.arrived.done():
            self.arrived.set_result(None)

    def _put_back(self) -> None:
        task = self.ended
        assert task is not None
        if not task.cancelled() and task.exception() is None and self.undo is not None:
            self.undo(task.result())

    async def outcome(self) -> T:
        """Wait for the end, and give what came of it."""
        try:
            await self.arrived
        except BaseException:
            with self.lock:
                ended, self.given_up = self.ended, True
            # Ended before it was given up: nobody has seen the result, and nobody else will put it back.
            with suppress(OSError, RuntimeError):  # the home loop is closed: nothing is left to put back
                self.home.call(self._put_back if ended is not None else self._cancel_running)
            raise
        assert self.ended is not None
        return self.ended.result()

    def _cancel_running(self) -> None:
        if self.ended is None and self.task is not None:
            self.task.cancel()
