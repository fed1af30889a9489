"""Awaiting an operation from a loop, or a thread, that is not its home."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moorings.foundation.operation import Operation


_LOOK_AFTER_HOME = 1.0


async def bridge(operation: Operation) -> Any:
    """Wait on the running loop for an operation that lives on another one, and return its outcome.

    Cancelling the waiting task cancels the operation exactly as if the task ran at home.

    Errors: those of the operation; RO_E_CLOSED 0x80000013 when its home loop is closed.
    """
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    def ended(_operation: Any) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(wake)

    def arrive() -> None:
        if operation.state == 0 and operation.owner is not None:
            operation.owner.prepare_wait(operation)
        operation.add_done_callback(ended)

    operation.home.call(arrive)
    try:
        # Waking now and then notices a home loop that died without ending its operations.
        while not waiter.done():
            await asyncio.wait((waiter,), timeout=_LOOK_AFTER_HOME)
            if not operation.done():
                operation.home.usable("await")
    except asyncio.CancelledError as error:
        with suppress(OSError, RuntimeError):  # the home loop is closed: nothing is left to cancel
            operation.home.call(operation.cancel, error.args[0] if error.args else None)
        raise
    return operation.outcome()
