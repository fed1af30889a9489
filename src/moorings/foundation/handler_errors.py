"""Where the exception of an event handler goes when its object has no home loop.

Objects with a home loop report there. The few others (collections, memory buffers) are used on whatever thread the
program likes, so their handlers' exceptions go to the running loop's exception handler, else to `sys.excepthook`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["report_handler_error"]


def report_handler_error(error: BaseException, handler: Callable[..., object]) -> None:
    """Report *error*, which left *handler*, once."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        sys.excepthook(type(error), error, error.__traceback__)
        return
    loop.call_exception_handler({"message": f"event handler {handler!r} raised", "exception": error})
