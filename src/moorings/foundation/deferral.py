"""Deferrals: a handler asks for time, and whoever raised the event waits until all deferrals are complete.

Source: WinRT `Deferral`, `DeferralCompletedHandler`.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from typing import TYPE_CHECKING

from moorings import errors
from moorings.foundation.closable import IClosable
from moorings.foundation.projection import final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["Deferral", "DeferralSource"]


@final
class Deferral(IClosable):
    """A promise to call `complete()`. Also a context manager: the end of the block completes it.

    *handler* is called without arguments, once, on the thread that completes the deferral; what it raises comes out
    of `complete()` or `close()`. A deferral that is dropped without either is completed by its finaliser, with a
    ResourceWarning, so that nobody waits for ever.
    """

    __slots__ = ("__weakref__", "_on_failure", "_pending")
    _winrt_name_ = "Windows.Foundation.Deferral"

    def __init__(self, handler: Callable[[], object], /) -> None:
        if not callable(handler):
            raise TypeError(f"handler must be callable, not {type(handler).__name__}")
        # A list as `pop` is atomic: exactly one caller gets the handler, on whichever thread.
        self._pending = [handler]
        self._on_failure: Callable[[BaseException | None], object] | None = None

    def complete(self) -> None:
        """Call the handler and drop it. A second call is an OSError with E_ILLEGAL_METHOD_CALL, as on Windows."""
        if not self._finish():
            raise errors.illegal_call("Deferral.complete", "the deferral is already complete")

    def close(self) -> None:
        """Like `complete()`, but a second call does nothing."""
        self._finish()

    def _finish(self) -> bool:
        try:
            handler = self._pending.pop()
        except IndexError:
            return False
        handler()
        return True

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if value is not None and self._on_failure is not None:
            self._on_failure(value)
        self._finish()

    def __del__(self) -> None:
        if getattr(self, "_pending", None):
            try:
                warnings.warn("a Deferral was dropped without complete()", ResourceWarning, source=self, stacklevel=2)
            finally:
                if self._on_failure is not None:
                    self._on_failure(None)
                self._finish()


class DeferralSource:
    """Collects the deferrals of one event args object; `await wait()` ends when all of them are complete.

    `get_deferral()` and completing work on any thread; `wait()` belongs to one task of one loop. `on_failure` is
    called before a deferral counts as complete that was dropped (with None), or whose `with` block raised (with the
    exception).
    """

    __slots__ = ("_closed", "_count", "_lock", "_loop", "_on_failure", "_waiter")

    def __init__(self, on_failure: Callable[[BaseException | None], object] | None = None) -> None:
        self._lock = threading.Lock()
        self._on_failure = on_failure
        self._count = 0
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def pending(self) -> int:
        """How many deferrals are not complete yet; with 0 there is no need to `wait()`."""
        return self._count

    def get_deferral(self) -> Deferral:
        """Return a new deferral. E_ILLEGAL_METHOD_CALL once `wait()` or `close()` has ended the collecting."""
        with self._lock:
            if self._closed:
                raise errors.illegal_call("get_deferral", "take the deferral before the event handler returns")
            self._count += 1
        made = Deferral(self._completed)
        made._on_failure = self._on_failure  # pyright: ignore[reportPrivateUsage]
        return made

    def close(self) -> None:
        """No further deferrals; those handed out may still complete."""
        with self._lock:
            self._closed = True

    async def wait(self) -> None:
        """Wait until every deferral is complete; deferrals taken meanwhile count too. Then no more can be taken.

        Cancelled: *nothing happened*; the deferrals stay and `wait()` may be called again.
        """
        while True:
            with self._lock:
                if not self._count:
                    self._closed = True
                    return
                self._loop = asyncio.get_running_loop()
                self._waiter = waiter = self._loop.create_future()
            try:
                await waiter
            finally:
                self._waiter = None

    def _completed(self) -> None:
        with self._lock:
            self._count -= 1
            loop, waiter = self._loop, self._waiter
            if self._count or loop is None or waiter is None:
                return
        try:
            loop.call_soon_threadsafe(_wake, waiter)
        except RuntimeError:
            # The loop is closed, and so nobody waits any more.
            return


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
