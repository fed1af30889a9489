"""The input and output streams of a StreamSocket (WinRT IInputStream, IOutputStream).

Hot: each call checks its arguments and hands over to the engine. The objects keep the connection alive through the
*lifeline* (`moorings.sockets.connection.Lifeline`), so a program may keep a stream and drop the socket.
"""

# pyright: reportPrivateUsage=false
# The memory class of the leaf module has private names only.

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.operation import OPERATION, OPERATION_WITH_PROGRESS, Operation
from moorings.streams.buffer import Buffer, wrap
from moorings.streams.interfaces import IInputStream, IOutputStream

if TYPE_CHECKING:
    import cython

    from moorings.engine.tcp_stream import TcpStream
    from moorings.foundation.async_info import IAsyncOperation, IAsyncOperationWithProgress
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import BufferBase, thread_ident

_OPERATION = OPERATION
_OPERATION_WITH_PROGRESS = OPERATION_WITH_PROGRESS
_UINT32_MAX = 0xFFFFFFFF
_KNOWN_OPTIONS = 3
_WRITE = 32
_FLUSH = 64
_OPEN = 0


class SocketInputStream:
    """Received bytes of a StreamSocket, in order. Reads may overlap; they are served in call order."""

    __slots__ = ("__weakref__", "closed", "home", "lifeline", "stream")

    def __init__(self, stream: TcpStream, lifeline: object) -> None:
        self.stream = stream
        self.home = stream.home
        self.lifeline = lifeline
        self.closed = False

    def read_async(self, buffer: Any, count: int, options: int, /) -> IAsyncOperationWithProgress[Buffer, int]:
        """Read up to `count` bytes into `buffer`; gives `buffer` with its `length` set, at most `count`.

        With `InputStreamOptions.NONE` it waits for all `count` bytes or the end of the stream, with PARTIAL for at
        least one; READ_AHEAD may fetch more for the next read. Length 0 is the end of the stream. A plain writable
        bytes-like object works too; the result is then a Buffer over its memory. Progress: bytes so far.

        Errors: E_INVALIDARG 0x80070057 for a `count` beyond the capacity or unknown options; RO_E_CLOSED 0x80000013
        after `close()`; those of the connection through the operation. Cancellation: *object now broken*: the
        connection is taken down, as on Windows. Source: WinRT IInputStream.ReadAsync.
        """
        target = buffer if isinstance(buffer, BufferBase) else wrap(buffer)
        # The plus turns a member of an enumeration into a plain number, with which everything is quicker.
        number = count if cython.compiled else index(count)
        flags = options if cython.compiled else +index(options)
        if number < 0:
            raise ValueError("count must not be negative")
        if number > target._limit():
            if number > _UINT32_MAX:
                raise OverflowError("count does not fit into 32 bits")
            raise errors.invalid_argument(f"read_async: count {number} is larger than the capacity {target._limit()}")
        if flags < 0 or flags > _KNOWN_OPTIONS:
            raise errors.invalid_argument(f"read_async: unknown InputStreamOptions {flags}")
        stream = self.stream
        if self.closed:
            raise errors.closed(f"input stream of {stream.label}")
        if stream.phase != _OPEN:
            raise stream.closed_error()
        if thread_ident() == self.home.thread_id:
            operation = stream.spare
            if operation is None:
                operation = Operation(self.home, stream, _OPERATION_WITH_PROGRESS)
            else:
                stream.spare = None
                operation.owner = stream
                operation.kind = _OPERATION_WITH_PROGRESS
            operation.buffer = target
            operation.count = number
            operation.options = flags
            stream.submit_read(operation)
            return operation
        return self._start_elsewhere(target, number, flags, None, _OPERATION_WITH_PROGRESS)

    def _start_read(self, target: BufferBase, count: int, options: int, hook: Any, kind: int) -> Operation:
        """`read_async` for a DataReader: `hook(operation, state)` runs before anybody sees the end."""
        stream = self.stream
        if self.closed:
            raise errors.closed(f"input stream of {stream.label}")
        if stream.phase != _OPEN:
            raise stream.closed_error()
        if thread_ident() != self.home.thread_id:
            return self._start_elsewhere(target, count, options, hook, kind)
        operation = stream.new_operation(kind)
        operation.buffer = target
        operation.count = count
        operation.options = options
        operation.hook = hook
        stream.submit_read(operation)
        return operation

    def _start_elsewhere(self, target: BufferBase, count: int, options: int, hook: Any, kind: int) -> Operation:
        """The call came from another thread: hop to the home loop."""
        operation = Operation(self.home, self.stream, kind)
        operation.buffer = target
        operation.count = count
        operation.options = options
        operation.hook = hook
        self.home.call(self.stream.enter_read, operation)
        return operation

    def _is_open(self) -> bool:
        """Whether a read can still be made; a dropped DataReader asks."""
        return not self.closed and self.stream.is_open()

    def close(self) -> None:
        """Later reads fail with RO_E_CLOSED; the connection and its output go on. Source: WinRT IClosable.Close."""
        self.closed = True

    def as_(self, type_: Any, /) -> Any:
        """This object as a `type_` (query interface); OSError with E_NOINTERFACE when it is none."""
        if not isinstance(self, type_):
            raise errors.make(errors.E_NOINTERFACE, f"a socket's input stream is no {type_.__name__}")
        return self

    def __enter__(self) -> SocketInputStream:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<IInputStream of {self.stream.label}>"


class SocketOutputStream:
    """Bytes to send through a StreamSocket. Writes may overlap; they go out in call order."""

    __slots__ = ("__weakref__", "home", "lifeline", "stream")

    def __init__(self, stream: TcpStream, lifeline: object) -> None:
        self.stream = stream
        self.home = stream.home
        self.lifeline = lifeline

    def write_async(self, buffer: Any, /) -> IAsyncOperationWithProgress[int, int]:
        """Queue the bytes of `buffer` (a Buffer or any bytes-like object); gives their number once the kernel has all.

        Awaiting it sends everything queued at once, usually without suspending. Without `await` it is sent at the end
        of the loop turn, at `flush_async`, or when 64 KiB are queued: a loop of writes becomes one system call. The
        caller must not change the buffer before the operation has ended. Progress: bytes so far. (In the middle of
        bulk transfer one big `bytes` object may still wait in the queue when its operation ends: see `flush_async`.)

        Errors: RO_E_CLOSED 0x80000013 after the end; WSAENOBUFS 0x80072747 when the queue is full; those of the
        connection through the operation. Cancellation: *object now broken*: the connection is taken down, as on
        Windows. Source: WinRT IOutputStream.WriteAsync.
        """
        data: Any
        if isinstance(buffer, (BufferBase, bytes)):
            data = buffer
            count = len(buffer)
        else:
            data = memoryview(buffer).cast("B")
            count = data.nbytes
        stream = self.stream
        if stream.phase != _OPEN or stream.shut_wanted or thread_ident() != self.home.thread_id:
            return self._start_write(data, count, None, _OPERATION_WITH_PROGRESS)
        operation = stream.spare
        if operation is None:
            operation = Operation(self.home, stream, _OPERATION_WITH_PROGRESS)
        else:
            stream.spare = None
            operation.owner = stream
            operation.kind = _OPERATION_WITH_PROGRESS
        operation.buffer = data
        operation.count = count
        operation.options = _WRITE
        stream.submit_write(operation)
        return operation

    def _start_write(self, data: Any, count: int, hook: Any, kind: int) -> Operation:
        """`write_async` for a DataWriter: `hook(operation, state)` runs before anybody sees the end."""
        stream = self.stream
        if stream.phase != _OPEN or stream.shut_wanted:
            raise stream.closed_error()
        here = thread_ident() == self.home.thread_id
        operation = stream.new_operation(kind) if here else Operation(self.home, stream, kind)
        operation.buffer = data
        operation.count = count
        operation.options = _WRITE
        operation.hook = hook
        if here:
            stream.submit_write(operation)
        else:
            self.home.call(stream.enter_write, operation)
        return operation

    def flush_async(self) -> IAsyncOperation[bool]:
        """Send what is queued; ends after all writes issued so far: True, or False when one of them failed.

        Errors: RO_E_CLOSED 0x80000013 after the end. Cancellation: *retry safe*: the writes stay queued.
        Source: WinRT IOutputStream.FlushAsync.
        """
        stream = self.stream
        if stream.phase != _OPEN or stream.shut_wanted:
            raise stream.closed_error()
        if thread_ident() == self.home.thread_id:
            return stream.flush()
        operation = Operation(self.home, stream, _OPERATION)
        operation.options = _FLUSH
        self.home.call(stream.enter_write, operation)
        return operation

    def _is_open(self) -> bool:
        """Whether a write can still be made; a dropped DataWriter asks."""
        return self.stream.is_open() and not self.stream.shut_wanted

    def close(self) -> None:
        """Half-close: FIN goes out behind the queued writes; reading goes on. Source: WinRT IClosable.Close."""
        if self.stream.is_open():
            self.home.call(self.stream.shut_writing)

    def as_(self, type_: Any, /) -> Any:
        """This object as a `type_` (query interface); OSError with E_NOINTERFACE when it is none."""
        if not isinstance(self, type_):
            raise errors.make(errors.E_NOINTERFACE, f"a socket's output stream is no {type_.__name__}")
        return self

    def __enter__(self) -> SocketOutputStream:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<IOutputStream of {self.stream.label}>"


# A compiled class cannot inherit from the interfaces, which are ordinary ones.
IInputStream.register(SocketInputStream)
IOutputStream.register(SocketOutputStream)
