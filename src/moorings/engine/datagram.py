"""One received datagram, as handlers see it.

Theory of operation
-------------------
A datagram arrives in the loop's shared memory (the *inbox*) and is handed out before anything else is received. Most
handlers are done with it when they return, and then it has cost no memory at all: the very same object serves for the
next datagram. Bytes are copied out when somebody asks for them; what a handler keeps is detached from the shared memory
after the handler: copied when it is short, otherwise its slab is *pinned*, that is, left to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cython
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure_datagrams import Inbox  # noqa: TC001 - Cython takes the name from the .pxd

#: What a handler keeps is copied up to this many bytes; of something longer the memory is left to it.
KEPT_COPY_LIMIT = 4096

_KEPT_COPY_LIMIT = KEPT_COPY_LIMIT
_CONGESTION_BITS = 3


class Datagram:
    """A datagram and what is known about it. `error` is set where it stands for a failure that was reported."""

    __slots__ = (
        "__weakref__",
        "destination",
        "error",
        "hop_limit",
        "inbox",
        "index",
        "interface",
        "kept",
        "name",
        "offset",
        "reader",
        "size",
        "socket_name",
        "timestamp_ns",
        "traffic_class",
        "truncated",
    )

    def __init__(self) -> None:
        self.inbox: Inbox | None = None
        self.index = 0
        self.offset = 0
        self.size = 0
        self.truncated = False
        self.kept: Any = None
        self.error: Any = None
        self.name: Any = None
        self.destination: Any = None
        self.socket_name: Any = None
        self.interface = 0
        self.hop_limit = -1
        self.traffic_class = -1
        self.timestamp_ns = 0
        self.reader: Any = None

    @property
    def data(self) -> Any:
        """Its bytes; a read-only view where it is long. Raises `error` where there is one."""
        return self.payload()

    def payload(self) -> Any:
        """Its bytes; a read-only view where it is long. Raises `error` where there is one."""
        if self.error is not None:
            raise self.error.with_traceback(None)
        if self.kept is None:
            self.keep()
        return self.kept

    def keep(self) -> None:
        """Become independent of the shared memory."""
        inbox = self.inbox
        if inbox is None or self.kept is not None:
            return
        if self.size <= _KEPT_COPY_LIMIT:
            self.kept = inbox.copy(self.index, self.offset, self.size)
        else:
            self.kept = inbox.view(self.index, self.offset, self.size)
        self.inbox = None

    def clear(self) -> None:
        """Forget everything, to serve again."""
        self.inbox = None
        self.kept = None
        self.error = None
        self.reader = None
