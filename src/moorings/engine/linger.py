"""What goes on after `close`: queued writes get some seconds to go out.

A task of the loop, so that the end of `asyncio.run` cancels it and the descriptor is released all the same.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from moorings.foundation.operation import Operation

_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05


class Lingering(Protocol):
    """The part of a stream that lingering needs."""

    close_timeout: float

    def flush_marker(self) -> Operation: ...
    def must_linger(self) -> bool: ...
    def finish_close(self) -> None: ...
    def abort(self) -> None: ...


async def linger(stream: Lingering) -> None:
    """Wait until everything written is in the kernel, and acknowledged where RST is due; abort at the deadline."""
    pause = _FIRST_PAUSE
    try:
        async with asyncio.timeout(stream.close_timeout):
            await stream.flush_marker()
            # The kernel tells nobody when the last byte is acknowledged.
            while stream.must_linger():
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
    except TimeoutError:
        stream.abort()
    except BaseException:
        stream.abort()
        raise
    else:
        stream.finish_close()
