"""Who is given what a stream receives, in the moment in which it arrives, instead of reading it: the push side.

A codec that knows itself where its messages end works straight from the memory into which the loop receives, without
an operation, a copy or a resumed task for each piece. The stream asks the kernel for more only while `paused` is False:
that is the back-pressure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorings.foundation.operation import OperationOwner

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["ANY_SIZE", "MessageTaker", "Sink"]

ANY_SIZE = 0x7FFFFFFFFFFFFFFF


class Sink(OperationOwner):
    """Base of what a stream can be told to `give_to`. All calls come on the stream's home thread.

    It may have operations of its own, which wait for what it is given.
    """

    __slots__ = ("paused", "piece")

    def __init__(self) -> None:
        OperationOwner.__init__(self)
        #: Set to stop receiving; afterwards `resume_sink` of the stream goes on.
        self.paused = False
        #: Bytes that it is given at once at most; as much as the block takes, if that is less.
        self.piece = ANY_SIZE

    def take(self, block: Any, count: int) -> None:
        """The first `count` bytes of `block`, the loop's own, arrived. They are gone as soon as anybody else runs."""
        raise NotImplementedError

    def take_bytes(self, data: bytes) -> None:
        """`data` had arrived before anybody was there to take it."""
        raise NotImplementedError

    def ended(self) -> None:
        """Nothing more will come; the stream's `eof` and `read_error` tell why. Called once."""
        raise NotImplementedError

    def released(self) -> None:
        """The stream was ended from our side, and its descriptor is given back. Called once, if `ended` was not."""

    def is_leaving(self) -> bool:
        """Whether its protocol is taking leave of the peer: the end of the loop waits for that, too."""
        return False

    def explain(self, error: OSError) -> OSError:
        """The error with which the connection broke, in the words of the protocol on it."""
        return error


class MessageTaker:
    """Who is given messages as a `handler` is, without the cost of a call of Python's; see `taker` of its flow."""

    __slots__ = ()

    def take_message(self, payload: Any) -> Coroutine[Any, Any, object] | None:
        """Take a message; what is returned, if anything, is awaited before the next one."""
        raise NotImplementedError

    def __call__(self, payload: Any) -> Coroutine[Any, Any, object] | None:
        """`take_message`, for who knows callables only."""
        return self.take_message(payload)
