"""The writing side of a TCP stream: a queue of the caller's buffers, sent by waiting.

Theory of operation
-------------------
Awaiting any write sends the whole queue at once, in one system call where possible; otherwise it is sent when the hub's
callback or the loop turn ends, or at the byte mark. A flush is a marker in the same queue. A failed write fails all
that follow; `write_error` keeps the reason. A write that the full queue refused leaves a gap in what the program meant
to send: until the program has seen that error, `refused_write` refuses what follows, too. While a resumed task runs
anything may have happened to this object: what the kernel took is accounted for completely before anybody is resumed,
and state is read again afterwards.
"""

from __future__ import annotations

import errno
from socket import MSG_NOSIGNAL
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine.stream_reading import ReadingStream
from moorings.foundation.home import IMMEDIATE_LIMIT, TURN_BYTES_LIMIT
from moorings.foundation.operation import Operation

if TYPE_CHECKING:
    import cython

    from moorings.engine.hub import Hub
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import getrefcount as reference_count
    from moorings._pure import send_many, send_one, shut_down_writing, thread_ident

#: Un-awaited writes are sent at once when this many bytes are queued.
WRITE_FLUSH_MARK = 65536
#: One big write of up to this many bytes may end before the kernel has them, when the turn's budget is used up.
HANDED_OVER_LIMIT = 1048576
#: A write that would make the queue longer than this fails with WSAENOBUFS.
WRITE_QUEUE_LIMIT = 67108864

_FLUSH_MARK = WRITE_FLUSH_MARK
_QUEUE_LIMIT = WRITE_QUEUE_LIMIT
_HANDED_OVER_LIMIT = HANDED_OVER_LIMIT
_VECTOR = 256
_IMMEDIATE_LIMIT = IMMEDIATE_LIMIT
_TURN_BYTES_LIMIT = TURN_BYTES_LIMIT

_COMPLETED = 1
_ERROR = 3

_OPEN = 0

# What a queued operation is, in `Operation.options`.
_WRITE = 32
_FLUSH = 64
_FLUSH_FAILED = 65

_OPERATION = 1
_OPERATION_WITH_PROGRESS = 3


class WritingStream(ReadingStream):
    """The writing side on top of the reading side."""

    __slots__ = (
        "bytes_sent",
        "queue_limit",
        "queued_bytes",
        "refused_write",
        "send_calls",
        "write_blocked",
        "write_head",
        "write_shut",
        "write_tail",
        "writes_refused",
    )

    def __init__(self, hub: Hub, label: object) -> None:
        ReadingStream.__init__(self, hub, label)
        self.write_head: Operation | None = None
        self.write_tail: Operation | None = None
        self.write_blocked = False
        self.write_shut = False
        self.queued_bytes: int = 0
        self.queue_limit = _QUEUE_LIMIT
        self.bytes_sent = 0
        self.send_calls = 0
        self.writes_refused = 0
        self.refused_write: Operation | None = None

    def write(self, data: Any, count: int) -> Operation:
        """Queue `count` bytes of `data`, which must not change until the operation has ended. Home thread only."""
        operation = self.new_operation(_OPERATION_WITH_PROGRESS)
        operation.buffer = data
        operation.count = count
        operation.options = _WRITE
        self.submit_write(operation)
        return operation

    def write_copied(self, data: Any) -> Operation:
        """`write` for the Python face: any thread, any bytes-like object, which may change at once.

        What is known at the call is raised here, on the home thread: who does not await the operation would never know
        that these bytes are missing.
        """
        if self.shut_wanted:
            raise self.closed_error()
        payload = data if type(data) is bytes else memoryview(data).tobytes()
        here = thread_ident() == self.home.thread_id
        operation = (
            self.new_operation(_OPERATION_WITH_PROGRESS)
            if here
            else Operation(self.home, self, _OPERATION_WITH_PROGRESS)
        )
        operation.face = True
        operation.options = _WRITE
        operation.buffer = payload
        operation.count = len(payload)
        if here:
            self.submit_write(operation)
            if operation.state == _ERROR:
                operation.outcome()
        else:
            self.home.call(self.enter_write, operation)
        return operation

    def flush(self) -> Operation:
        """An operation that ends when all writes so far have: True, or False when one failed or was refused."""
        operation = self.new_operation(_OPERATION)
        operation.options = _FLUSH
        self.submit_write(operation)
        return operation

    def submit_write(self, operation: Operation) -> None:
        """Queue a write or a flush marker."""
        if self.phase != _OPEN or self.shut_wanted:
            operation.finish(_ERROR, None, self.closed_error())
            return
        if (self.write_error is not None or self.refused_write is not None) and self._fail_early(operation):
            return
        count = operation.count
        if self.queued_bytes + count > self.queue_limit and self._has_waiting():
            reason = (
                f"{self.label}: {self.queued_bytes} bytes are queued, the limit is {self.queue_limit}; await writes"
            )
            self._refuse(operation, errors.from_errno(errno.ENOBUFS, reason))
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
            # Beyond the budget it waits for the next turn, so that a loop of big writes lets others run.
            if self.home.turn_bytes < _TURN_BYTES_LIMIT:
                self._send_queue()
            elif self.hub is not None:
                self.hub.defer(self)
        elif not self.dirty and self.hub is not None:
            hub = self.hub
            if self.home.in_callback:
                self.dirty = True
                self.next_dirty = hub.dirty_head
                hub.dirty_head = self
            else:
                hub.mark_dirty(self)

    def _has_waiting(self) -> bool:
        """Whether bytes are queued that the program knows to be: not those of a write that has ended."""
        head = self.write_head
        return self.queued_bytes > 0 and (
            head is None or head.state != _COMPLETED or self.queued_bytes > head.count - head.done_bytes
        )

    def enter_write(self, operation: Operation) -> None:
        """`submit_write` as a callback."""
        self.submit_write(operation)

    def _fail_early(self, operation: Operation) -> bool:
        """Whether something behind us fails this write, too; a flush will tell instead."""
        if self.write_error is not None:
            self._fail_write(operation)
            return True
        if not self.has_gap():
            return False
        assert self.refused_write is not None
        if operation.options == _WRITE:
            self._refuse(operation, self.refused_write.error)
            return True
        self.refused_write = None
        operation.options = _FLUSH_FAILED
        return False

    def _refuse(self, operation: Operation, error: Any) -> None:
        self.writes_refused += 1
        self.refused_write = operation
        operation.finish(_ERROR, None, error.with_traceback(None))

    def has_gap(self) -> bool:
        """Whether a write was refused and nobody knows yet."""
        if self.refused_write is not None and self.refused_write.error_seen:
            self.refused_write = None
        return self.refused_write is not None

    def take_refusal(self) -> Any:
        """The error of a refused write that nobody has seen, or None; the caller will raise it."""
        if not self.has_gap():
            return None
        assert self.refused_write is not None
        error = self.refused_write.error
        self.refused_write = None
        return error

    def _fail_write(self, operation: Operation) -> None:
        if operation.options == _WRITE:
            operation.finish(_ERROR, None, self.write_error.with_traceback(None))
        else:
            operation.finish(_COMPLETED, False, None)

    def prepare_wait(self, operation: Operation) -> None:
        """Waiting on any queued write sends all of them, within the loop turn's budget."""
        if self.write_head is None or self.write_blocked:
            return
        home = self.home
        if home.immediate < _IMMEDIATE_LIMIT and home.turn_bytes < _TURN_BYTES_LIMIT:
            home.immediate += 1
            if cython.compiled or not self._send_only(operation):
                self._send_queue()
            hub = self.hub
            unsent: Operation | None = self.write_head
            if unsent is None and self.dirty and hub is not None and hub.dirty_head is self:  # pyright: ignore[reportUnnecessaryComparison]
                # Nothing is left to flush when the callback ends.
                hub.dirty_head = self.next_dirty
                self.next_dirty = None
                self.dirty = False
        elif self.hub is not None:
            self.hub.defer(self)
            if (
                self.write_head is operation
                and home.turn_bytes >= _TURN_BYTES_LIMIT
                and operation.bare
                and operation.options == _WRITE
                and operation.done_bytes == 0
                and _FLUSH_MARK <= operation.count <= _HANDED_OVER_LIMIT
                and type(operation.buffer) is bytes
            ):
                self._hand_over(operation)

    def _hand_over(self, operation: Operation) -> None:
        """End a big write whose bytes, which cannot change, wait for the next turn, as if the kernel had them.

        Whoever writes much then has the next piece ready when that turn comes, and two pieces in one system call cost
        less than in two. The write behind this one waits.
        """
        stand_in = self.stand_in(operation)
        stand_in.state = _COMPLETED  # `cancel_io` and the queue's limit tell it by that
        self.write_head = stand_in
        if operation.next_operation is None:
            self.write_tail = stand_in
        operation.next_operation = None
        operation.finish(_COMPLETED, operation.count - operation.overhead, None)

    def stand_in(self, operation: Operation) -> Operation:
        """An operation for a write that stays queued after its own has ended."""
        stand_in = Operation(self.home, self, _OPERATION_WITH_PROGRESS)
        stand_in.face = True
        stand_in.options = _WRITE
        stand_in.buffer = operation.buffer
        stand_in.count = operation.count
        stand_in.done_bytes = operation.done_bytes
        stand_in.next_operation = operation.next_operation
        return stand_in

    def _send_only(self, operation: Operation) -> bool:
        """`_send_queue` in one step for the pure mode, where a call costs what it does; False when it is no such case.

        By far the most common case: one write is queued, nobody waits for it yet, and the kernel takes all of it.
        """
        data = operation.buffer
        count = operation.count
        if (
            self.write_head is not operation
            or operation.next_operation is not None
            or not operation.bare
            or operation.options != _WRITE
            or operation.callback is not None
            or operation.hook is not None
            or operation.done_bytes != 0
            or count != len(data)
            or count == 0
        ):
            return False
        self.send_calls += 1
        try:
            sent = self.plain_socket.send(data, MSG_NOSIGNAL)
        except OSError as error:
            self._send_failed(error.errno or errno.EIO)
            return True
        if sent != count:
            self._account(sent)
            return False
        self.bytes_sent += count
        self.queued_bytes -= count
        self.home.turn_bytes += count
        self.write_head = self.write_tail = None
        operation.done_bytes = count
        operation.result_value = count - operation.overhead
        operation.buffer = None
        operation.state = _COMPLETED
        return not self.shut_wanted

    def _send_failed(self, code: int) -> None:
        if code == errno.EAGAIN:
            self.write_blocked = True
        else:
            self._broken(code, "sending")
            self._fail_writes()

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
                self._send_failed(-count)
                return
            self._account(count)
            if (
                self.write_head is not None  # type: ignore[redundant-expr]  # pyright: ignore[reportUnnecessaryComparison]
                and (self.phase == _OPEN or self.home.in_callback)
                and not self.home.has_budget()
            ):
                assert self.hub is not None
                self.hub.defer(self)  # the peer takes it as fast as it comes: let others run
                return
        if self.write_head is None and self.shut_wanted and not self.write_shut and self.fd >= 0:
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
        assert operation is not None
        if (
            operation.next_operation is None
            and operation.options == _WRITE
            and operation.count - operation.done_bytes == count
        ):
            # By far the most common case: one write was queued, and the kernel took all of it.
            operation.done_bytes = operation.count
            self.write_head = self.write_tail = None
            resume = operation.settle(_COMPLETED, operation.count - operation.overhead, None)
            if cython.compiled and reference_count(operation) == 2:  # `done` and `operation`: nobody else holds it
                operation.reuse()
            operation = done = None
            if resume:
                self.home.resume()
            return
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
            if done.options == _WRITE:
                resume = done.settle(_COMPLETED, done.count - done.overhead, None)
            else:
                resume = done.settle(_COMPLETED, done.options == _FLUSH, None)
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

    def on_flush(self) -> None:
        if self.write_head is not None and not self.write_blocked:
            self._send_queue()

    def has_unsent(self) -> bool:
        return self.write_head is not None
