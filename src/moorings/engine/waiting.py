"""Waiting for a descriptor that no hub watches: while it connects, and while it shakes hands."""

from __future__ import annotations

import asyncio

__all__ = ["until_readable", "until_writable"]


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
