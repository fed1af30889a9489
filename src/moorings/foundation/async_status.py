"""The states of an asynchronous operation."""

from __future__ import annotations

from moorings.errors import OpenEnum


class AsyncStatus(OpenEnum):
    """STARTED until an operation has ended in one of the other three. Source: WinRT AsyncStatus."""

    STARTED = 0
    COMPLETED = 1
    CANCELED = 2
    ERROR = 3
