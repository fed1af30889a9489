"""Who is given what a stream receives, in the moment in which it arrives, instead of reading it: the push side.

A codec that knows itself where its messages end works straight from the memory into which the loop receives, without
an operation, a copy or a resumed task for each piece. The stream asks the kernel for more only while `paused` is False:
that is the back-pressure.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Sink"]


class Sink:
    """Base of what a stream can be told to `give_to`. All calls come on the stream's home thread."""

    __slots__ = ("paused",)

    def __init__(self) -> None:
        #: Set to stop receiving; afterwards `resume_sink` of the stream goes on.
        self.paused = False

    def take(self, block: Any, count: int) -> None:
        """The first `count` bytes of `block`, the loop's own, arrived. They are gone as soon as anybody else runs."""
        raise NotImplementedError

    def take_bytes(self, data: bytes) -> None:
        """`data` had arrived before anybody was there to take it."""
        raise NotImplementedError

    def ended(self) -> None:
        """Nothing more will come; the stream's `eof` and `read_error` tell why. Called once."""
        raise NotImplementedError
