"""Limits and counters of one connection, by name."""

from __future__ import annotations

import math
import sys
from operator import index
from typing import TYPE_CHECKING, NamedTuple

from moorings.foundation.projection import check_float

if TYPE_CHECKING:
    from moorings.engine.tcp_stream import TcpStream


class StreamCounters(NamedTuple):
    """What a connection has done and holds at this moment."""

    bytes_received: int
    """Bytes received from the kernel."""
    bytes_sent: int
    """Bytes handed to the kernel."""
    receive_calls: int
    """System calls that received."""
    send_calls: int
    """System calls that sent."""
    queued_bytes: int
    """Bytes of writes that the kernel has not taken yet; bounded by `limits.write_queue_limit`."""
    unread_bytes: int
    """Bytes taken from the kernel that nobody has read; bounded by what a read asked for plus 64 KiB."""
    writes_refused: int
    """Writes refused with WSAENOBUFS because the queue was full."""


def check_bytes(value: int, name: str, lowest: int = 0, highest: int = sys.maxsize) -> int:
    """A number of bytes; TypeError and ValueError for anything else."""
    number = index(value)
    if not lowest <= number <= highest:
        raise ValueError(f"{name} must be a number of bytes from {lowest}")
    return number


class StreamLimits:
    """Limits of one connection; each may be changed at any time.

    Errors of the setters: TypeError and ValueError for what is no number, or out of range.
    """

    __slots__ = ("_stream",)

    def __init__(self, stream: TcpStream) -> None:
        self._stream = stream

    @property
    def write_queue_limit(self) -> int:
        """Bytes that un-awaited writes may hold before a further one fails with WSAENOBUFS; default 64 MiB."""
        return self._stream.queue_limit

    @write_queue_limit.setter
    def write_queue_limit(self, value: int) -> None:
        self._stream.queue_limit = check_bytes(value, "write_queue_limit")

    @property
    def close_timeout(self) -> float:
        """Seconds that `close()` lets queued writes go out before it aborts; default 5."""
        return self._stream.close_timeout

    @close_timeout.setter
    def close_timeout(self, value: float) -> None:
        seconds = check_float(value, "close_timeout")
        if not 0 <= seconds < math.inf:
            raise ValueError("close_timeout must be a finite number of seconds from 0: every ending is bounded")
        self._stream.close_timeout = seconds


def counters_of(stream: TcpStream | None) -> StreamCounters:
    """The counters of a stream; zeros before there is one."""
    if stream is None:
        return StreamCounters(0, 0, 0, 0, 0, 0, 0)
    return StreamCounters(
        stream.bytes_received,
        stream.bytes_sent,
        stream.receive_calls,
        stream.send_calls,
        stream.queued_bytes,
        stream.stash_size(),
        stream.writes_refused,
    )
