"""The TCP byte stream: pull-based reading, queued writes, endings.

Theory of operation
-------------------
*Reading* is pulled: nothing is read unless somebody asked. The descriptor is watched edge-triggered, so `readable`
remembers that the kernel may hold more: set by an event, cleared by a short read. A read is answered from the *stash*
(bytes taken from the kernel but not by the program) and then from the kernel, through the loop's shared block while
messages are small, straight into the caller's buffer when they are big. A hang-up keeps `readable` set until the end
of the stream, or the error, has been read, since no further edge will tell.

The Python face never hands a read's bytes to an operation: it asks for the stash to be *filled* and takes its bytes in
the same step in which the waiting coroutine resumes. So a cancelled read has taken nothing.

*Writing* queues the caller's buffers. Awaiting any write sends the whole queue at once, in one system call where
possible; otherwise it is sent when the hub's callback or the loop turn ends, or at the byte mark. A flush is a marker
in the same queue. A failed write fails all that follow; `write_error` keeps the reason.

*Ending*: `close` aborts reads, lets queued writes go out under a deadline (`phase` CLOSING), sends FIN and releases the
descriptor; `abort` releases it at once with RST. While user code runs inside `home.resume()` anything may have
happened to this object: state is read again afterwards.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine import descriptor
from moorings.engine.hub import EDGE_BOTH, EDGE_WRITE_ONLY, Hub, Source
from moorings.engine.interface import Detached, EndReason
from moorings.foundation.operation import Operation, cancelled_error

if TYPE_CHECKING:
    import cython
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import (
        BufferBase,
        block_to_buffer,
        block_to_stash,
        buffer_set_used,
        receive_block,
        receive_buffer,
        send_many,
        send_one,
        shut_down_writing,
        stash_to_buffer,
    )

if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket

#: Un-awaited writes are sent at once when this many bytes are queued.
WRITE_FLUSH_MARK = 65536
#: A write that would make the queue longer than this fails with WSAENOBUFS.
WRITE_QUEUE_LIMIT = 67108864
#: Bytes that one fill of the stash asks the kernel for.
STASH_FILL_SIZE = 65536
#: A receive of at least this size makes the next one go straight into the caller's buffer.
BULK_SIZE = 16384
#: Seconds that `close` lets queued writes go out.
CLOSE_TIMEOUT = 5.0

_FLUSH_MARK = WRITE_FLUSH_MARK
_QUEUE_LIMIT = WRITE_QUEUE_LIMIT
_FILL_SIZE = STASH_FILL_SIZE
_BULK_SIZE = BULK_SIZE
_VECTOR = 256

_COMPLETED = 1
_CANCELED = 2
_ERROR = 3

# Phases of a stream.
_OPEN = 0
_CLOSING = 1
_CLOSED = 2

# What an operation asks of the stream, in `Operation.options`: InputStreamOptions, or one of these.
_PARTIAL = 1
_READ_AHEAD = 2
_FILL = 16
_WRITE = 32
_FLUSH = 64
_CLOSE = 128

_EAGAIN = -errno.EAGAIN
_READ_EVENTS = 0x1 | 0x8 | 0x10 | 0x2000
_HANG_UP_EVENTS = 0x8 | 0x10 | 0x2000
_WRITE_EVENTS = 0x4 | 0x8 | 0x10

_ACTION = 0
_OPERATION = 1
_OPERATION_WITH_PROGRESS = 3


class TcpStream(Source):
    """One connected TCP descriptor. Made from a connected non-blocking socket, whose descriptor it takes over."""

    __slots__ = (
        "armed",
        "bulk",
        "bytes_received",
        "bytes_sent",
        "close_operation",
        "close_timeout",
        "deadline",
        "end_reason",
        "eof",
        "hang_up",
        "home",
        "label",
        "on_closed",
        "phase",
        "plain_socket",
        "queue_limit",
        "queued_bytes",
        "read_error",
        "read_head",
        "read_tail",
        "readable",
        "receive_calls",
        "send_calls",
        "shut_wanted",
        "stash",
        "stash_start",
        "write_blocked",
        "write_error",
        "write_head",
        "write_shut",
        "write_tail",
        "writes_refused",
    )

    def __init__(self, hub: Hub, plain_socket: socket, label: str) -> None:
        Source.__init__(self)
        self.home = hub.home
        self.label = label
        self.plain_socket: Any = None
        self.phase = _OPEN
        self.end_reason = EndReason.OPEN
        self.read_head: Operation | None = None
        self.read_tail: Operation | None = None
        self.write_head: Operation | None = None
        self.write_tail: Operation | None = None
        self.readable = False
        self.hang_up = False
        self.armed = True
        self.eof = False
        self.bulk = False
        self.read_error: Any = None
        self.stash: bytearray | None = None
        self.stash_start = 0
        self.write_blocked = False
        self.write_error: Any = None
        self.write_shut = False
        self.shut_wanted = False
        self.queued_bytes = 0
        self.queue_limit = _QUEUE_LIMIT
        self.bytes_received = 0
        self.bytes_sent = 0
        self.receive_calls = 0
        self.send_calls = 0
        self.writes_refused = 0
        self.close_timeout = CLOSE_TIMEOUT
        self.close_operation: Operation | None = None
        self.deadline: Any = None
        self.on_closed: Any = None
        hub.register(self, plain_socket.fileno(), EDGE_BOTH)
        # From here on the descriptor is ours; nothing below can fail.
        if cython.compiled:
            plain_socket.detach()
        else:
            self.plain_socket = plain_socket

    # -- reading -----------------------------------------------------------------------------------------------------

    def new_operation(self, kind: int) -> Operation:
        """A fresh operation of this stream; the last one again, where nobody else holds it."""
        operation = self.spare
        if operation is None:
            return Operation(self.home, self, kind)
        self.spare = None
        operation.owner = self
        operation.kind = kind
        return operation

    def read(self, target: BufferBase, count: int, options: int) -> Operation:
        """Start reading `count` bytes into `target`; the operation gives `target`. Home thread only."""
        operation = self.new_operation(_OPERATION_WITH_PROGRESS)
        operation.buffer = target
        operation.count = count
        operation.options = options
        self.submit_read(operation)
        return operation

    def fill(self) -> Operation:
        """Start waiting until the stash has grown, or the stream has ended; the operation gives the new bytes' number.

        Cancelling it takes nothing from the stream.
        """
        operation = self.new_operation(_OPERATION)
        operation.face = True
        operation.options = _FILL
        operation.count = 1
        self.submit_read(operation)
        return operation

    def submit_read(self, operation: Operation) -> None:
        """Serve a read operation now if possible, else queue it."""
        if self.phase != _OPEN:
            operation.finish(_ERROR, None, self.closed_error())
            return
        home = self.home
        if self.read_head is None and home.has_budget():
            outcome = self._serve(operation)
            if outcome != 0:
                home.immediate += 1
                self._end_read(operation, outcome)
                return
        if self.read_head is None:
            self.read_head = operation
        else:
            assert self.read_tail is not None
            self.read_tail.next_operation = operation
        self.read_tail = operation
        if not self.armed:
            self.armed = True
            if self.hub is not None:
                self.hub.change(self, EDGE_BOTH)
        if (self.readable or self.stash is not None or self.eof or self.read_error is not None) and (
            self.hub is not None
        ):
            self.hub.defer(self)

    def _serve(self, operation: Operation) -> int:
        """Move bytes to a read operation: 0 = it has to wait, 1 = it has what it wants, 2 = it failed."""
        if self.stash is not None and operation.options != _FILL:
            self._serve_from_stash(operation)
            if self._satisfied(operation):
                return 1
        while self.readable and not self.eof and self.read_error is None:
            if not self.home.has_budget():
                return 0
            if self._receive(operation) > 0 and self._satisfied(operation):
                return 1
        if self.eof:
            return 1
        if self.read_error is not None:
            # What arrived before the error is delivered first; the next read raises.
            return 1 if operation.done_bytes > 0 else 2
        return 1 if operation.count == 0 else 0

    def _satisfied(self, operation: Operation) -> bool:
        if operation.done_bytes >= operation.count:
            return True
        return operation.done_bytes > 0 and (operation.options & (_PARTIAL | _FILL)) != 0

    def _serve_from_stash(self, operation: Operation) -> None:
        stash = self.stash
        assert stash is not None
        count = len(stash) - self.stash_start
        wanted = operation.count - operation.done_bytes
        if count > wanted:
            count = wanted
        stash_to_buffer(stash, self.stash_start, count, operation.buffer, operation.done_bytes)
        operation.done_bytes += count
        self.home.turn_bytes += count
        self.skip_stash(count)

    def skip_stash(self, count: int) -> None:
        """Forget the first `count` bytes of the stash."""
        assert self.stash is not None
        self.stash_start += count
        if self.stash_start == len(self.stash):
            self.stash = None
            self.stash_start = 0
        elif self.stash_start >= _FILL_SIZE:
            del self.stash[: self.stash_start]
            self.stash_start = 0

    def _receive(self, operation: Operation) -> int:
        """One receive call for `operation`; the number of bytes, 0 at the end, negative when there was nothing."""
        hub = self.hub
        assert hub is not None
        assert hub.block is not None
        options = operation.options
        wanted = operation.count - operation.done_bytes
        direct = False
        if options == _FILL:
            asked = _FILL_SIZE
        elif options & _READ_AHEAD:
            asked = wanted if wanted > _FILL_SIZE else _FILL_SIZE
        else:
            asked = wanted
            direct = self.bulk and wanted >= _BULK_SIZE
        if direct:
            count = receive_buffer(self.fd, self.plain_socket, operation.buffer, operation.done_bytes, asked)
        else:
            if asked > hub.block.size:
                asked = hub.block.size
            count = receive_block(self.fd, self.plain_socket, hub.block, asked)
        self.receive_calls += 1
        if count <= 0:
            self._nothing_received(count)
            return count
        if count < asked and not self.hang_up:
            self.readable = False
        self.bulk = count >= _BULK_SIZE
        self.bytes_received += count
        self.home.turn_bytes += count
        if options == _FILL:
            if self.stash is None:
                self.stash = bytearray()
            block_to_stash(hub.block, 0, count, self.stash)
            operation.done_bytes = count
        elif direct:
            operation.done_bytes += count
        else:
            taken = count if count < wanted else wanted
            block_to_buffer(hub.block, taken, operation.buffer, operation.done_bytes)
            operation.done_bytes += taken
            if taken < count:
                if self.stash is None:
                    self.stash = bytearray()
                block_to_stash(hub.block, taken, count - taken, self.stash)
        if operation.progress_handler is not None:
            operation.report_progress(operation.done_bytes)
        return count

    def _nothing_received(self, count: int) -> None:
        if count == _EAGAIN:
            self.readable = False
        elif count == 0:
            self.eof = True
            if self.end_reason == EndReason.OPEN:
                self.end_reason = EndReason.CLOSED_BY_PEER
        else:
            self._broken(-count, "receiving")

    def _broken(self, code: int, verb: str) -> None:
        """The connection is gone; remember why for every later read and write."""
        error = errors.from_errno(code, f"{self.label}: {verb} failed")
        if self.read_error is None:
            self.read_error = error
        if self.write_error is None:
            self.write_error = error
        if self.end_reason in (EndReason.OPEN, EndReason.CLOSED_BY_PEER):
            self.end_reason = EndReason.TIMED_OUT if code == errno.ETIMEDOUT else EndReason.RESET

    def _end_read(self, operation: Operation, outcome: int) -> bool:
        if outcome == 2:
            return operation.settle(_ERROR, None, self.read_error)
        if operation.options == _FILL:
            return operation.settle(_COMPLETED, operation.done_bytes, None)
        target = operation.buffer
        buffer_set_used(target, operation.done_bytes)
        return operation.settle(_COMPLETED, target, None)

    def _pump_reads(self) -> None:
        """Serve queued reads as far as the bytes and the budget go."""
        while self.read_head is not None:
            operation = self.read_head
            outcome = self._serve(operation)
            if outcome == 0:
                if (self.readable or self.stash is not None) and self.hub is not None:
                    self.hub.defer(self)
                return
            self.read_head = operation.next_operation
            operation.next_operation = None
            if self.read_head is None:
                self.read_tail = None
            resume = self._end_read(operation, outcome)
            operation = None  # type: ignore[assignment]  # the awaiting task may then give it back for re-use
            if resume:
                self.home.resume()
            if self.phase != _OPEN:
                return

    def stash_size(self) -> int:
        """Bytes taken from the kernel that nobody has read yet."""
        return 0 if self.stash is None else len(self.stash) - self.stash_start

    def find_in_stash(self, separator: bytes, start: int) -> int:
        """Where `separator` begins at or behind `start` in the unread bytes; -1 when it is not there."""
        if self.stash is None:
            return -1
        found = self.stash.find(separator, self.stash_start + start)
        return found - self.stash_start if found >= 0 else -1

    def take_stash(self, count: int) -> bytes:
        """Take up to `count` unread bytes."""
        if self.stash is None:
            return b""
        stop = self.stash_start + count
        data = bytes(memoryview(self.stash)[self.stash_start : stop])
        self.skip_stash(len(data))
        return data

    def unread(self, data: bytes) -> None:
        """Put bytes in front of everything unread."""
        if data:
            rest = b"" if self.stash is None else bytes(memoryview(self.stash)[self.stash_start :])
            self.stash = bytearray(data) + rest
            self.stash_start = 0

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, data: Any, count: int) -> Operation:
        """Queue `count` bytes of `data`, which must not change until the operation has ended. Home thread only."""
        operation = self.new_operation(_OPERATION_WITH_PROGRESS)
        operation.buffer = data
        operation.count = count
        operation.options = _WRITE
        self.submit_write(operation)
        return operation

    def flush(self) -> Operation:
        """An operation that ends when all writes queued so far have: True, or False when one of them failed."""
        operation = self.new_operation(_OPERATION)
        operation.options = _FLUSH
        self.submit_write(operation)
        return operation

    def submit_write(self, operation: Operation) -> None:
        """Queue a write or a flush marker."""
        if self.phase != _OPEN or self.shut_wanted:
            operation.finish(_ERROR, None, self.closed_error())
            return
        if self.write_error is not None:
            self._fail_write(operation)
            return
        count = operation.count
        if self.queued_bytes + count > self.queue_limit and self.queued_bytes > 0:
            self.writes_refused += 1
            reason = f"{self.label}: {self.queued_bytes} bytes are queued, the limit is {self.queue_limit}; await writes"
            operation.finish(_ERROR, None, errors.from_errno(errno.ENOBUFS, reason))
            return
        if self.write_head is None:
            self.write_head = operation
        else:
            assert self.write_tail is not None
            self.write_tail.next_operation = operation
        self.write_tail = operation
        self.queued_bytes += count
        if self.write_blocked:
            return
        if self.queued_bytes >= _FLUSH_MARK:
            self._send_queue()
        elif not self.dirty and self.hub is not None:
            self.hub.mark_dirty(self)

    def _fail_write(self, operation: Operation) -> None:
        if operation.options == _FLUSH:
            operation.finish(_COMPLETED, False, None)
        else:
            operation.finish(_ERROR, None, self.write_error)

    def prepare_wait(self, operation: Operation) -> None:
        """Waiting on any queued write sends all of them, within the loop turn's budget."""
        if self.write_head is None or self.write_blocked:
            return
        home = self.home
        if home.immediate < 64 and home.turn_bytes < 262144:
            home.immediate += 1
            self._send_queue()
        elif self.hub is not None:
            self.hub.defer(self)

    def _send_queue(self) -> None:
        """Send what is queued until the kernel takes no more."""
        while self.write_head is not None and not self.write_blocked:
            head = self.write_head
            if head.next_operation is None:
                if head.count > head.done_bytes:
                    count = send_one(self.fd, self.plain_socket, head.buffer, head.done_bytes, head.count)
                    self.send_calls += 1
                else:
                    count = 0
            else:
                count = self._send_several(head)
            head = None  # type: ignore[assignment]
            if count < 0:
                if count == _EAGAIN:
                    self.write_blocked = True
                else:
                    self._broken(-count, "sending")
                    self._fail_writes()
                return
            self._account(count)
        if self.write_head is None and self.shut_wanted and not self.write_shut:
            self._send_fin()

    def _send_several(self, head: Operation) -> int:
        pieces: list[Any] = []
        offset = head.done_bytes
        operation: Operation | None = head
        while operation is not None and len(pieces) < _VECTOR:
            if operation.count > operation.done_bytes:
                pieces.append(operation.buffer)
            elif not pieces:
                offset = 0 if operation.next_operation is None else operation.next_operation.done_bytes
            operation = operation.next_operation
        if not pieces:
            return 0
        self.send_calls += 1
        return send_many(self.fd, self.plain_socket, pieces, offset)

    def _account(self, count: int) -> None:
        """The kernel took `count` bytes: end the operations that are sent completely."""
        self.bytes_sent += count
        self.queued_bytes -= count
        self.home.turn_bytes += count
        done: Operation | None = self.write_head
        last: Operation | None = None
        operation = self.write_head
        while operation is not None:
            left = operation.count - operation.done_bytes
            if left > count:
                operation.done_bytes += count
                if count > 0 and operation.progress_handler is not None:
                    operation.report_progress(operation.done_bytes)
                break
            count -= left
            operation.done_bytes = operation.count
            last = operation
            operation = operation.next_operation
        self.write_head = operation
        if operation is None:
            self.write_tail = None
        operation = None
        if last is None:
            return
        last.next_operation = None
        last = None
        while done is not None:
            following = done.next_operation
            done.next_operation = None
            if done.options == _FLUSH:
                resume = done.settle(_COMPLETED, True, None)
            else:
                resume = done.settle(_COMPLETED, done.count, None)
            done = following
            following = None
            if resume:
                self.home.resume()

    def _fail_writes(self) -> None:
        """Fail everything queued with `write_error`."""
        operation = self.write_head
        self.write_head = None
        self.write_tail = None
        self.queued_bytes = 0
        while operation is not None:
            following = operation.next_operation
            operation.next_operation = None
            self._fail_write(operation)
            operation = following

    def _send_fin(self) -> None:
        self.write_shut = True
        shut_down_writing(self.fd, self.plain_socket)

    def shut_writing(self) -> None:
        """Half-close: FIN goes out behind the queued writes; later writes fail with RO_E_CLOSED."""
        if self.phase != _OPEN or self.shut_wanted:
            return
        self.shut_wanted = True
        self._send_queue()

    # -- events ------------------------------------------------------------------------------------------------------

    def on_events(self, mask: int) -> None:
        if mask & _READ_EVENTS:
            if mask & _HANG_UP_EVENTS:
                self.hang_up = True
            if self.read_head is not None:
                self.readable = True
                self._pump_reads()
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
                self._finish_close()

    def on_flush(self) -> None:
        if self.write_head is not None and not self.write_blocked:
            self._send_queue()

    def on_turn(self) -> None:
        if self.phase == _OPEN:
            self.on_flush()
            self._pump_reads()

    def on_drop(self) -> None:
        """In a forked child: the parent keeps the connection, our copy of the descriptor goes."""
        self.phase = _CLOSED
        self.read_head = self.read_tail = self.write_head = self.write_tail = None
        self._release()

    # -- cancelling --------------------------------------------------------------------------------------------------

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
        self.tear_down()
        if by_task:
            operation.finish(_CANCELED, None, cancelled_error(message))
        else:
            operation.finish(_ERROR, None, errors.aborted(f"{self.label}: the operation was cancelled"))

    def _withdraw(self, operation: Operation) -> None:
        """Take an operation out of its queue so that the stream goes on: a cancelled write stays queued."""
        if operation.options == _WRITE:
            stand_in = Operation(self.home, self, _OPERATION_WITH_PROGRESS)
            stand_in.face = True
            stand_in.options = _WRITE
            stand_in.buffer = operation.buffer
            stand_in.count = operation.count
            stand_in.done_bytes = operation.done_bytes
            stand_in.next_operation = operation.next_operation
            self._replace(operation, stand_in)
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
            if operation.done_bytes > 0 and operation.options != _FILL:
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
            if operation.done_bytes > 0 and operation.options == _WRITE:
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
        operation.finish(_COMPLETED, operation.count, None)

    # -- ending ------------------------------------------------------------------------------------------------------

    def closed_error(self) -> OSError:
        """What a call gets that comes too late."""
        if self.phase == _OPEN and self.shut_wanted:
            return errors.closed(f"{self.label}: writing was shut down")
        if self.home.dropped:
            return errors.closed(f"{self.label}: belongs to the parent process")
        return errors.closed(self.label)

    def close(self) -> None:
        """Abort reads, let queued writes go out within `close_timeout` seconds, send FIN, release the descriptor.

        Returns at once. FIN is certain unless received data was left unread (then RST, after what was written has
        been acknowledged or the deadline has come). Source: WinRT StreamSocket.Close.
        """
        if self.phase != _OPEN:
            return
        self.phase = _CLOSING
        if self.end_reason == EndReason.OPEN:
            self.end_reason = EndReason.CLOSED_BY_US
        self._abort_reads()
        if self.home.loop.is_closed():
            self._send_queue()
            self._release()
            return
        self._send_queue()
        if self.phase == _CLOSING:
            if self.write_head is None:
                self._finish_close()
            else:
                self._linger(self._deadline_passed, self.close_timeout)

    def _linger(self, callback: Callable[[], object], seconds: float) -> None:
        if self.deadline is None:
            self.deadline = self.home.loop.call_later(seconds, callback)

    def _deadline_passed(self) -> None:
        self.deadline = None
        if self.phase == _CLOSING:
            self.abort()

    def _finish_close(self) -> None:
        """Everything queued is in the kernel: FIN, or RST where data was left unread."""
        unread = self.stash is not None or (not self.eof and descriptor.unread_bytes(self.fd) > 0)
        if self.read_error is None and not self.write_shut:
            self._send_fin()
        if unread and self.read_error is None:
            # The kernel's RST would throw away what the peer has not acknowledged yet: give that some time.
            if descriptor.unacknowledged_bytes(self.fd) > 0 and not self.home.loop.is_closed():
                if self.deadline is None:
                    self._linger(self._deadline_passed, self.close_timeout)
                self.home.loop.call_later(0.005, self._poll_acknowledged)
                return
            descriptor.reset_when_closed(self.fd)
        self._release()

    def _poll_acknowledged(self) -> None:
        if self.phase == _CLOSING:
            self._finish_close()

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
        self.phase = _CLOSED
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
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
        if closing is not None:
            closing.finish(_COMPLETED, None, None)
        on_closed = self.on_closed
        self.on_closed = None
        if on_closed is not None:
            on_closed()

    def wait_closed(self) -> Operation:
        """An operation that ends when the descriptor is released. Cancelling it aborts the connection."""
        if self.close_operation is not None:
            return self.close_operation
        operation = Operation(self.home, self, _ACTION)
        operation.options = _CLOSE
        if self.phase == _CLOSED:
            operation.finish(_COMPLETED, None, None)
        else:
            self.close_operation = operation
        return operation

    def is_open(self) -> bool:
        """True until `close`, `abort` or `detach`."""
        return self.phase == _OPEN

    def is_released(self) -> bool:
        """True when the descriptor has been given back."""
        return self.phase == _CLOSED

    def busy(self) -> bool:
        """True while a read or a write is pending."""
        return self.read_head is not None or self.write_head is not None

    def reading(self) -> bool:
        """True while a read is pending."""
        return self.read_head is not None

    def detach(self) -> Detached:
        """Give the descriptor away, with the bytes that were read but not taken. Nothing may be pending.

        Errors: E_ILLEGAL_METHOD_CALL while I/O is pending, RO_E_CLOSED after the end.
        """
        if self.phase != _OPEN:
            raise self.closed_error()
        if self.write_head is not None:
            self._send_queue()
        if self.busy():
            raise errors.illegal_call(f"{self.label}: detach while I/O is pending", "await it, or cancel_io_async()")
        assert self.hub is not None
        self.hub.unregister(self)
        fd = self.fd
        self.fd = -1
        unread = self.take_stash(self.stash_size())
        self.phase = _CLOSED
        self.end_reason = EndReason.DETACHED
        if self.plain_socket is not None:
            self.plain_socket.detach()
            self.plain_socket = None
        on_closed = self.on_closed
        self.on_closed = None
        if on_closed is not None:
            on_closed()
        return Detached(fd, unread, b"")
