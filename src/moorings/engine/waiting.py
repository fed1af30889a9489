"""Waiting for a descriptor that no stream has yet: while it connects, and while it shakes hands."""

from __future__ import annotations

import asyncio

from moorings.engine.hub import EDGE_BOTH, Source, current_hub

__all__ = ["Readiness", "until_readable", "until_writable"]

_READ_EVENTS = 0x1 | 0x2 | 0x8 | 0x10 | 0x2000
# Behind these no further event will come: the end, or an error.
_HANG_UP_EVENTS = 0x8 | 0x10 | 0x2000
_WRITE_EVENTS = 0x4 | 0x8 | 0x10


async def until_writable(descriptor: int) -> None:
    """Wait until something can be sent, or a connect that was started is decided."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(descriptor, _tell, ready)
    try:
        await ready
    finally:
        # Before anybody closes the descriptor: its number may be another file's at once.
        loop.remove_writer(descriptor)


async def until_readable(descriptor: int) -> None:
    """Wait until something can be received, or the stream has ended."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _tell, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _tell(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


class Readiness(Source):
    """A descriptor in the hub of the running loop, for a coroutine that may wait for it several times.

    The loop's own reader callbacks cost several system calls for each wait. The hub watches it from the first wait on,
    edge-triggered. Home thread only.
    """

    __slots__ = ("_descriptor", "_hang_up", "_readable", "_waiter", "_writable")

    def __init__(self, descriptor: int) -> None:
        Source.__init__(self)
        self._descriptor = descriptor
        self._readable = True  # for all we know
        self._writable = False
        self._hang_up = False
        self._waiter: asyncio.Future[None] | None = None

    def on_events(self, mask: int) -> None:
        if mask & _READ_EVENTS:
            self._readable = True
        if mask & _HANG_UP_EVENTS:
            self._hang_up = True
        if mask & _WRITE_EVENTS:
            self._writable = True
        waiter = self._waiter
        if waiter is not None:
            _tell(waiter)

    def drained(self) -> None:
        """A receive call has shown that the kernel has no more for now."""
        self._readable = self._hang_up

    async def until_readable(self) -> None:
        """Wait until something can perhaps be received, or the stream has ended. Errors: OSError."""
        while not self._readable:
            await self._event()

    async def until_writable(self) -> None:
        """Wait until something can be sent again. Errors: OSError."""
        self._writable = False
        while not self._writable:
            await self._event()

    async def _event(self) -> None:
        if self.hub is None:
            current_hub().register(self, self._descriptor, EDGE_BOTH)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def stop(self) -> None:
        """Before anybody closes the descriptor, or gives it to somebody else."""
        if self.hub is not None:
            self.hub.unregister(self)
            self.fd = -1
