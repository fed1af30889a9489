"""What goes on after `close`: queued writes get some seconds to go out.

Theory of operation
-------------------
A closing stream keeps its place in the hub and goes on sending as the peer lets it. `Lingering` adds the deadline, and
looks now and then where the kernel tells nobody: when the last byte is acknowledged. It is no task, so that a loop that
is closed in the meantime leaves no destroyed task behind.

The end of `asyncio.run()` must not cut short what was handed over before, nor leave a descriptor open. The one moment
at which a loop tells that it will be closed is `shutdown_asyncgens()`: it closes all asynchronous generators that were
started on it. So the first closing stream of a loop starts one whose only purpose is to be closed. It waits there for
the streams that are still closing, each of which is bound by its deadline.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import AsyncGenerator

    from moorings.engine.hub import Hub
    from moorings.foundation.home import Home
    from moorings.foundation.operation import Operation

_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05


class ClosingStream(Protocol):
    """The part of a stream that lingering needs."""

    close_timeout: float
    home: Home
    hub: Hub | None

    def has_unsent(self) -> bool: ...
    def must_linger(self) -> bool: ...
    def finish_close(self) -> None: ...
    def abort(self) -> None: ...
    def wait_closed(self) -> Operation: ...


class Lingering:
    """The rest of the life of one closing stream."""

    __slots__ = ("_deadline", "_look", "_pause", "_stream")

    def __init__(self, stream: ClosingStream) -> None:
        loop = stream.home.loop
        self._stream = stream
        self._pause = _FIRST_PAUSE
        self._look: TimerHandle | None = None
        self._deadline: TimerHandle = loop.call_later(stream.close_timeout, stream.abort)
        assert stream.hub is not None
        guard_end_of_loop(stream.hub)

    def proceed(self) -> None:
        """The queue is empty, or some time has passed: close, or look again a little later."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if not self._stream.must_linger():
            self._stream.finish_close()
            return
        if not self._stream.has_unsent():
            self._look = self._stream.home.loop.call_later(self._pause, self.proceed)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def stop(self) -> None:
        """The stream has ended."""
        self._deadline.cancel()
        if self._look is not None:
            self._look.cancel()


def linger(stream: ClosingStream) -> Lingering:
    """Let `stream` finish what is queued, within its `close_timeout`; its events call `proceed`."""
    lingering = Lingering(stream)
    lingering.proceed()
    return lingering


def guard_end_of_loop(hub: Hub) -> None:
    """A stream of this hub has begun to take its leave: let the end of the loop wait for it."""
    if hub.guard is None:
        hub.guard = _start_guard(hub)


def _start_guard(hub: Hub) -> Any:
    guard = _until_the_loop_ends(hub)
    # Asked for its first value inside the running loop, it is registered there; a loop whose generators have been shut
    # down already warns.
    with suppress(StopIteration, ResourceWarning):
        guard.asend(None).send(None)
    return guard


async def _until_the_loop_ends(hub: Hub) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        for stream in hub.closing_streams():
            await stream.wait_closed()
