"""The seam between sockets and engine: what every byte stream offers. One page.

Everything here runs on the stream's home thread. Operations are `moorings.foundation.operation.Operation`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from moorings._pure import BufferBase
    from moorings.foundation.operation import Operation


class EndReason(IntEnum):
    """Why a connection ended; the reason that came first. Its text is its name."""

    OPEN = 0
    """It has not ended."""
    CLOSED_BY_US = 1
    """By `close()`, `aclose()` or the end of an `async with`."""
    CLOSED_BY_PEER = 2
    """The peer ended the stream; everything it sent has been read."""
    TRUNCATED = 3
    """The stream ended before the protocol on it did; TCP by itself never says this."""
    RESET = 4
    """The peer, or something between, reset the connection."""
    TIMED_OUT = 5
    """The peer stopped answering."""
    ABORTED = 6
    """Cut off from our side: by `abort()`, a cancelled `_async` call, a deadline, or the system."""
    DETACHED = 7
    """The descriptor was given away."""

    def __str__(self) -> str:
        return self.name

    def __format__(self, format_spec: str) -> str:
        """The name in f-strings, too, where an IntEnum is a number."""
        return format(self.name, format_spec)


#: The reasons for which neither side asked: the connection broke.
BROKEN = frozenset((EndReason.TRUNCATED, EndReason.RESET, EndReason.TIMED_OUT))


class Detached(NamedTuple):
    """A connection without its stream object: enough to go on elsewhere, with `moorings.adopt`."""

    fd: int
    """The descriptor; whoever has it must close it."""
    unread: bytes
    """Bytes that were received, and that nobody has read."""
    unsent: bytes
    """Bytes to send before anything else: the rest of a write that has ended."""
    tls: bytes = b""
    """What is known of its TLS, which the kernel carries from now on; b"" without TLS."""


class ByteStream(Protocol):
    """An ordered stream of bytes in both directions."""

    label: Any
    fd: int  # whom to ask about the connection, -1 where there is nobody; it belongs to the lowest stream
    close_timeout: float
    end_reason: EndReason
    queued_bytes: int
    bytes_received: int
    bytes_sent: int

    # Reading: `read` fills a buffer; `fill` grows the stash, from which the rest takes.
    def read(self, target: BufferBase, count: int, options: int) -> Operation: ...
    def fill(self) -> Operation: ...
    def stash_size(self) -> int: ...
    def take_stash(self, count: int) -> bytes: ...
    def find_in_stash(self, separator: bytes, start: int) -> int: ...
    def unread(self, data: bytes) -> None: ...
    def look(self) -> None: ...  # for what has come without an event's having told it yet

    # Writing: queued, sent by waiting; `shut_writing` half-closes behind the queue.
    def write(self, data: Any, count: int) -> Operation: ...
    def prepare_wait(self, operation: Operation) -> None: ...
    def flush(self) -> Operation: ...
    def shut_writing(self) -> None: ...

    # Ending: gracefully, at once, as a cancelled operation does, or by giving the descriptor away.
    def cancel_io(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def tear_down(self) -> None: ...
    def wait_closed(self) -> Operation: ...
    def detach(self) -> Detached: ...
    def is_open(self) -> bool: ...
    def busy(self) -> bool: ...
