"""The TCP byte stream: events, cancelling and endings, on top of the two directions.

Theory of operation
-------------------
`close` aborts reads, lets queued writes go out under a deadline (`phase` CLOSING, see `linger`), sends FIN
and releases the descriptor; `abort` releases it at once with RST. A cancelled `_async` read or write takes the
connection down; `cancel_io` and cancelled calls of the Python face do not. While user code runs inside `home.resume()`
anything may have happened to this object: state is read again afterwards. Reading and writing: `stream_reading`,
`stream_writing`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine import descriptor
from moorings.engine.hub import EDGE_BOTH, EDGE_WRITE_ONLY, Hub
from moorings.engine.interface import Detached, EndReason
from moorings.engine.linger import linger
from moorings.engine.stream_writing import WritingStream
from moorings.foundation.operation import Operation, cancelled_error

if TYPE_CHECKING:
    import cython
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import buffer_set_used

if TYPE_CHECKING:
    from socket import socket

#: Seconds that `close` lets queued writes go out.
CLOSE_TIMEOUT = 5.0

_COMPLETED = 1
_CANCELED = 2
_ERROR = 3

# Phases of a stream.
_OPEN = 0
_CLOSING = 1
_CLOSED = 2

# Up to Python 3.11, looking a member of an enumeration up costs as much as ten other look-ups.
_NOT_ENDED = EndReason.OPEN
_CLOSED_BY_US = EndReason.CLOSED_BY_US

# What an operation asks of the stream, in `Operation.options`.
_FILL = 16
_WRITE = 32
_FLUSH = 64
_CLOSE = 128

_READ_EVENTS = 0x1 | 0x2 | 0x8 | 0x10 | 0x2000
# After these a short read does not mean that the kernel has no more: the end follows, or urgent data (tcp(7)) cuts the
# stream into pieces that are read one by one.
_HANG_UP_EVENTS = 0x2 | 0x8 | 0x10 | 0x2000
_WRITE_EVENTS = 0x4 | 0x8 | 0x10

_ACTION = 0
_OPERATION = 1
_OPERATION_WITH_PROGRESS = 3


class TcpStream(WritingStream):
    """One connected TCP descriptor. Made from a connected non-blocking socket, whose descriptor it takes over."""

    __slots__ = ("close_operation", "close_timeout", "lingering", "on_release")

    def __init__(self, hub: Hub, connected: socket | int | None, label: object) -> None:
        """Take over a connected non-blocking socket, or, compiled, its descriptor; a layer over a stream has none.

        `label` names the connection in errors, by its text.
        """
        WritingStream.__init__(self, hub, label)
        self.close_timeout = CLOSE_TIMEOUT
        self.close_operation: Operation | None = None
        self.lingering: Any = None
        self.on_release: Any = None
        if connected is None:
            hub.attach(self)
            return
        hub.register(self, connected if isinstance(connected, int) else connected.fileno(), EDGE_BOTH)
        # From here on the descriptor is ours; nothing below can fail.
        if isinstance(connected, int):
            pass
        elif cython.compiled:
            connected.detach()
        else:
            self.plain_socket = connected

    def on_events(self, mask: int) -> None:
        if mask & _READ_EVENTS:
            if mask & _HANG_UP_EVENTS:
                self.hang_up = True
            if self.read_head is not None:
                self.readable = True
                self._pump_reads()
            elif self.sink is not None and not self.sink.paused:
                self.readable = True
                self._pump_sink()
            elif self.readable and self.armed and self.phase == _OPEN and not self.hang_up:
                # Nobody reads: one look is enough until somebody does.
                self.armed = False
                if self.hub is not None:
                    self.hub.change(self, EDGE_WRITE_ONLY)
            else:
                self.readable = True
        if self.write_blocked and mask & _WRITE_EVENTS:
            self.write_blocked = False
            self._send_queue()
            if self.phase == _CLOSING and self.write_head is None:
                self.lingering.proceed()

    def on_turn(self) -> None:
        if self.phase == _OPEN:
            self.on_flush()
            if self.sink is None:
                self._pump_reads()
            else:
                self._pump_sink()
        elif self.phase == _CLOSING:
            self.on_flush()
            if self.phase == _CLOSING and self.write_head is None:
                self.lingering.proceed()

    def on_drop(self) -> None:
        """In a forked child: the parent keeps the connection, our copy of the descriptor goes."""
        self.phase = _CLOSED
        self.read_head = self.read_tail = self.write_head = self.write_tail = None
        self._release()

    def cancel_operation(self, operation: Operation, by_task: bool, message: object) -> None:
        if operation.options == _CLOSE:
            operation.finish(_CANCELED, None, cancelled_error(message))
            self.abort()
            return
        if operation.options == _FLUSH or operation.face:
            self._withdraw(operation)
            operation.finish(_CANCELED, None, cancelled_error(message))
            return
        self._unlink(operation)
        if operation.options == _WRITE and operation.count > operation.done_bytes:
            self.queued_bytes -= operation.count - operation.done_bytes
            self.abort()  # it is the unsent data
        else:
            self.tear_down()
        if by_task:
            operation.finish(_CANCELED, None, cancelled_error(message))
        else:
            operation.finish(_ERROR, None, errors.aborted(f"{self.label}: the operation was cancelled"))

    def _withdraw(self, operation: Operation) -> None:
        """Take an operation out of its queue so that the stream goes on: a cancelled write stays queued."""
        if operation.options == _WRITE:
            self._replace(operation, self.stand_in(operation))
        else:
            self._unlink(operation)

    def _replace(self, operation: Operation, other: Operation | None) -> None:
        following = other if other is not None else operation.next_operation
        previous: Operation | None = None
        writes = (operation.options & (_WRITE | _FLUSH)) != 0
        current = self.write_head if writes else self.read_head
        while current is not None and current is not operation:
            previous = current
            current = current.next_operation
        if current is None:
            return
        last = other if other is not None else previous
        if previous is not None:
            previous.next_operation = following
        elif writes:
            self.write_head = following
        else:
            self.read_head = following
        if operation.next_operation is None:
            if writes:
                self.write_tail = last
            else:
                self.read_tail = last
        operation.next_operation = None

    def _unlink(self, operation: Operation) -> None:
        self._replace(operation, None)

    def cancel_io(self) -> None:
        """End all pending I/O with ERROR_OPERATION_ABORTED; keep the connection and lose no byte.

        Bytes that a pending read had taken go back. A write of which a part is sent counts as handed over: its rest
        stays queued.
        """
        operation = self.read_head
        self.read_head = self.read_tail = None
        returned = b""
        pending: list[Operation] = []
        while operation is not None:
            following = operation.next_operation
            operation.next_operation = None
            # (Who hooked into a read keeps what it got: a DataReader has the bytes of its load.)
            if operation.done_bytes > 0 and operation.options != _FILL and operation.hook is None:
                buffer_set_used(operation.buffer, operation.done_bytes)
                returned += bytes(operation.buffer)
                buffer_set_used(operation.buffer, 0)
            pending.append(operation)
            operation = following
        self.unread(returned)
        self._send_queue()
        operation = self.write_head
        self.write_head = self.write_tail = None
        while operation is not None:
            following = operation.next_operation
            operation.next_operation = None
            if operation.state == _COMPLETED:
                self.write_head = self.write_tail = operation  # the program was told that it has been written
            elif operation.done_bytes > 0 and operation.options == _WRITE:
                self._keep_rest(operation)
            else:
                self.queued_bytes -= operation.count
                pending.append(operation)
            operation = following
        for operation in pending:
            operation.finish(_ERROR, None, errors.aborted(f"{self.label}: cancel_io_async() ended the operation"))

    def _keep_rest(self, operation: Operation) -> None:
        rest = bytes(memoryview(operation.buffer)[operation.done_bytes : operation.count])
        stand_in = Operation(self.home, self, _OPERATION_WITH_PROGRESS)
        stand_in.options = _WRITE
        stand_in.face = True
        stand_in.buffer = rest
        stand_in.count = len(rest)
        self.write_head = self.write_tail = stand_in
        self.queued_bytes -= operation.count - operation.done_bytes - len(rest)
        operation.finish(_COMPLETED, operation.count - operation.overhead, None)

    def close(self) -> None:
        """Abort reads, let queued writes go out within `close_timeout` seconds, send FIN, release the descriptor.

        Returns at once. FIN is certain unless received data was left unread (then RST, after what was written has
        been acknowledged or the deadline has come). Source: WinRT StreamSocket.Close.
        """
        if self.phase != _OPEN:
            if self.phase == _CLOSING and self.home.loop.is_closed():
                self.abort()  # nobody will go on with it
            return
        self.phase = _CLOSING
        if self.end_reason is _NOT_ENDED:
            self.end_reason = _CLOSED_BY_US
        self._abort_reads()
        self._send_queue()
        if self.phase != _CLOSING:
            return
        if self.home.loop.is_closed() or not self.must_linger():
            self.finish_close()
        else:
            self.lingering = linger(self)

    def must_linger(self) -> bool:
        """True while the end has to wait: for queued writes, or, where RST is due, for acknowledgements.

        The kernel's RST throws away what the peer has not acknowledged yet.
        """
        if self.phase != _CLOSING:
            return False
        if self.write_head is not None:
            return True
        return self._has_unread() and descriptor.unacknowledged_bytes(self.fd) > 0

    def _has_unread(self) -> bool:
        if self.read_error is not None:
            return False
        return self.stash is not None or (not self.eof and descriptor.unread_bytes(self.fd) > 0)

    def finish_close(self) -> None:
        """Nothing can be waited for any more: FIN, or RST where data was left unread or could not be sent."""
        if self.phase != _CLOSING:
            return
        if self.write_head is not None or self.write_error is not None or self.has_gap():
            self.abort()  # a FIN would tell the peer that it has everything
            return
        if self._has_unread():
            descriptor.reset_when_closed(self.fd)
        elif not self.write_shut:
            self._send_fin()
        self._release()

    def flush_marker(self) -> Operation:
        """A flush behind what is queued, on a stream that takes no more writes."""
        operation = Operation(self.home, self, _OPERATION)
        operation.options = _FLUSH
        if self.write_head is None:
            operation.finish(_COMPLETED, True, None)
        else:
            assert self.write_tail is not None
            self.write_tail.next_operation = operation
            self.write_tail = operation
        return operation

    def tear_down(self) -> None:
        """End now: RST where data is unread or unsent, else FIN. What a cancelled `_async` operation does."""
        if self.phase == _CLOSED:
            return
        dirty = (
            self.stash is not None
            or self.write_head is not None
            or descriptor.unread_bytes(self.fd) > 0
            or descriptor.unacknowledged_bytes(self.fd) > 0
        )
        if dirty:
            self.abort()
        else:
            self.close()

    def abort(self) -> None:
        """Release the descriptor at once; the peer sees RST. Queued writes are lost, pending operations fail."""
        if self.phase == _CLOSED:
            return
        if self.end_reason in (EndReason.OPEN, EndReason.CLOSED_BY_US):
            self.end_reason = EndReason.ABORTED
        descriptor.reset_when_closed(self.fd)
        self._release()

    def _abort_reads(self) -> None:
        operation = self.read_head
        self.read_head = self.read_tail = None
        while operation is not None:
            following = operation.next_operation
            operation.next_operation = None
            operation.finish(_ERROR, None, errors.aborted(f"{self.label} was closed while it was reading"))
            operation = following

    def _release(self) -> None:
        """Give the descriptor back to the system and end what is still pending."""
        self._tell_owner()
        self.phase = _CLOSED
        lingering = self.lingering
        self.lingering = None
        if lingering is not None:
            lingering.stop()
        if self.hub is not None:
            self.hub.unregister(self)
        fd = self.fd
        self.fd = -1
        if self.plain_socket is not None:
            self.plain_socket.close()
            self.plain_socket = None
        elif fd >= 0:
            os.close(fd)
        self.spare = None
        self._abort_reads()
        if self.write_head is not None:
            if self.write_error is None:
                self.write_error = errors.aborted(f"{self.label} was closed before everything was sent")
            self._fail_writes()
        closing = self.close_operation
        self.close_operation = None
        while closing is not None:
            following = closing.next_operation
            closing.next_operation = None
            closing.finish(_COMPLETED, None, None)
            closing = following
        sink = self.sink
        self.sink = None
        if sink is not None:
            sink.released()

    def _tell_owner(self) -> None:
        """The descriptor is about to go: the last moment to ask it something, and to give us another label."""
        on_release = self.on_release
        self.on_release = None
        if on_release is not None:
            on_release(self)

    def wait_closed(self) -> Operation:
        """An operation that ends when the descriptor is released. Cancelling it aborts the connection."""
        operation = Operation(self.home, self, _ACTION)
        operation.options = _CLOSE
        if self.phase == _CLOSED:
            operation.finish(_COMPLETED, None, None)
        else:
            # Each caller has its own, so that cancelling one of them does not look like that to the others.
            operation.next_operation = self.close_operation
            self.close_operation = operation
        return operation

    def is_closing(self) -> bool:
        return self.phase == _CLOSING or (self.sink is not None and self.sink.is_leaving())

    def is_open(self) -> bool:
        """True until `close`, `abort` or `detach`."""
        return self.phase == _OPEN

    def is_released(self) -> bool:
        """True when the descriptor has been given back."""
        return self.phase == _CLOSED

    def busy(self) -> bool:
        """True while a read or a write is pending, or somebody is given what arrives."""
        return self.read_head is not None or self.write_head is not None or self.sink is not None

    def detach(self) -> Detached:
        """Give the descriptor away, with what was read but not taken, and what was handed over but not sent.

        Nothing else may be pending.

        Errors: E_ILLEGAL_METHOD_CALL while I/O is pending, RO_E_CLOSED after the end.
        """
        if self.phase != _OPEN:
            raise self.closed_error()
        if self.write_head is not None:
            self._send_queue()
        self.check_idle()
        return self.let_go()

    def check_idle(self) -> None:
        """E_ILLEGAL_METHOD_CALL while I/O is pending. (A write that has ended is not, even if its rest is queued.)"""
        head = self.write_head
        handed_over = head is None or (head.state == _COMPLETED and head.next_operation is None)
        if self.read_head is not None or not handed_over or self.sink is not None:
            raise errors.illegal_call(f"{self.label}: detach while I/O is pending", "await it, or cancel_io_async()")

    def let_go(self) -> Detached:
        """The last step of giving the descriptor away."""
        unsent = b""
        head: Operation | None = self.write_head
        if head is not None:
            unsent = head.buffer[head.done_bytes :]
            self.queued_bytes -= len(unsent)
            self.write_head = self.write_tail = head = None
        assert self.hub is not None
        self._tell_owner()
        self.hub.unregister(self)
        fd = self.fd
        self.fd = -1
        unread = self.take_stash(self.stash_size())
        self.phase = _CLOSED
        self.end_reason = EndReason.DETACHED
        if self.plain_socket is not None:
            self.plain_socket.detach()
            self.plain_socket = None
        return Detached(fd, unread, unsent)
