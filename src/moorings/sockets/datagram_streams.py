"""The output streams of a DatagramSocket (WinRT IOutputStream): one for each peer, every write is one datagram.

Hot: each call checks its arguments and hands over to the engine's port. What has to be looked at more closely (another
thread, an unbound socket, a broadcast, a refusal) goes the long way through the *link*, until `port` is set.
"""

# pyright: reportPrivateUsage=false
# The memory class of the leaf module has private names only.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.operation import OPERATION, OPERATION_WITH_PROGRESS, Operation
from moorings.streams.interfaces import IOutputStream

if TYPE_CHECKING:
    import cython

    from moorings.engine.datagram_port import DatagramPort
    from moorings.foundation.async_info import IAsyncOperation, IAsyncOperationWithProgress
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import BufferBase, thread_ident
    from moorings._pure_datagrams import Target

_OPERATION = OPERATION
_OPERATION_WITH_PROGRESS = OPERATION_WITH_PROGRESS
_WRITE = 32
_FLUSH = 64
_OPEN = 0


class DatagramOutputStream:
    """Sends datagrams to one peer. Writes may overlap; they go out in call order."""

    __slots__ = ("__weakref__", "closed", "home", "lifeline", "link", "port", "sockaddr", "target")

    def __init__(self, link: Any, lifeline: object, sockaddr: Any) -> None:
        """`sockaddr` is the peer's address, None for the peer of a connected socket."""
        self.link = link
        self.lifeline = lifeline
        self.sockaddr = sockaddr
        self.home = link.home
        self.port: DatagramPort | None = None
        self.target: Target | None = None
        self.closed = False

    def write_async(self, buffer: Any, /) -> IAsyncOperationWithProgress[int, int]:
        """Queue the bytes of `buffer` (a Buffer or any bytes-like object) as one datagram; gives their number.

        Awaiting it sends everything queued at once, usually without suspending. Without `await` it is sent at the end
        of the loop turn, at `flush_async`, or when 64 KiB or 1024 datagrams are queued; datagrams of one size for one
        peer then leave in one system call. The caller must not change the buffer before the operation has ended. No
        bytes are an empty datagram.

        Errors: RO_E_CLOSED 0x80000013 after the end; E_ILLEGAL_METHOD_CALL 0x8000000E on the `output_stream` of a
        socket that is not connected, and for unicast with `control.multicast_only`. Through the operation: WSAEMSGSIZE
        0x80072738, whose `max_size` is what fits, for what no datagram holds, or with `control.dont_fragment` the way;
        WSAENOBUFS 0x80072747 when the queue is full; those of the network.
        Cancellation: a datagram that is still queued is not sent; the socket lives on.
        Source: WinRT IOutputStream.WriteAsync.
        """
        data: Any
        if type(buffer) is bytes or isinstance(buffer, BufferBase):
            data = buffer
            count = len(buffer)
        else:
            data = memoryview(buffer).cast("B")
            count = data.nbytes
        port = self.port
        if port is None or self.closed or port.phase != _OPEN or thread_ident() != self.home.thread_id:
            return self._start_write(data, count, None, _OPERATION_WITH_PROGRESS)
        assert self.target is not None
        return port.write(data, count, self.target)

    def _start_write(self, data: Any, count: int, hook: Any, kind: int) -> Operation:
        """`write_async` for a DataWriter: `hook(operation, state)` runs before anybody sees the end."""
        if self.closed:
            raise errors.closed(f"output stream of {self.link}")
        self.link.check_write(self.sockaddr)
        self.home = self.link.home
        operation = Operation(self.home, self.port, kind)
        # A DataWriter hands over its bytearray; the engine takes it as a view, so that it cannot change its size.
        operation.buffer = memoryview(data) if type(data) is bytearray else data
        operation.count = count
        operation.options = _WRITE
        operation.hook = hook
        self.home.call(self._enter_write, operation)
        return operation

    def _enter_write(self, operation: Operation) -> None:
        """A write that goes the long way (home thread)."""
        self.link.enter_write(operation, self.sockaddr, self)

    def _ready(self, port: DatagramPort, target: Target) -> None:
        """From now on writes need not be looked at."""
        self.target = target
        self.port = port

    def flush_async(self) -> IAsyncOperation[bool]:
        """Send what is queued; ends after all writes of the socket issued so far: True, or False when one failed.

        Errors: RO_E_CLOSED 0x80000013 after the end. Cancellation: *retry safe*: the writes stay queued.
        Source: WinRT IOutputStream.FlushAsync.
        """
        if self.closed:
            raise errors.closed(f"output stream of {self.link}")
        port = self.port
        if port is not None and port.phase == _OPEN and thread_ident() == self.home.thread_id:
            return port.flush()
        self.link.check_write(self.sockaddr)
        self.home = self.link.home
        operation = Operation(self.home, None, _OPERATION)
        operation.options = _FLUSH
        self.home.call(self.link.enter_flush, operation)
        return operation

    def _is_open(self) -> bool:
        """Whether a write can still be made; a dropped DataWriter asks."""
        return not self.closed and self.link.is_open()

    def close(self) -> None:
        """Later writes fail with RO_E_CLOSED; the socket goes on, nothing is sent. Source: WinRT IClosable.Close."""
        self.closed = True

    def as_(self, type_: Any, /) -> Any:
        """This object as a `type_` (query interface); OSError with E_NOINTERFACE when it is none."""
        if not isinstance(self, type_):
            raise errors.make(errors.E_NOINTERFACE, f"a socket's output stream is no {type_.__name__}")
        return self

    def __enter__(self) -> DatagramOutputStream:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<IOutputStream of {self.link}>"


def make_target(sockaddr: Any) -> Target:
    """Where datagrams go, as the engine has it."""
    return Target(sockaddr)


# A compiled class cannot inherit from the interfaces, which are ordinary ones.
IOutputStream.register(DatagramOutputStream)
