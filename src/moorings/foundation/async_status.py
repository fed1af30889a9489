"""The states of an asynchronous operation."""

from __future__ import annotations

from enum import IntEnum


class AsyncStatus(IntEnum):
    """STARTED until an operation has ended in one of the other three. Source: WinRT AsyncStatus."""

    STARTED = 0
    COMPLETED = 1
    CANCELED = 2
    ERROR = 3
