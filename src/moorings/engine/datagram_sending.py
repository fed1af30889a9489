"""The sending side of a datagram port: a queue that goes out in batches.

Theory of operation
-------------------
As on a stream, awaiting any write sends the whole queue at once; otherwise it goes out when the hub's callback or the
loop turn ends, or at a mark of bytes or datagrams. A flush is a marker in the same queue.

The leaf's `Outbox` makes one system call of as much of the queue as it can: datagrams of one size for one target become
segmented ones (GSO), all of them one `sendmmsg`. The kernel takes a prefix of the groups; those datagrams are done, and
the rest is tried again. A segmented group that it refuses is sent in smaller form, once for that group (`plain_left`),
and from then on for that target where the reason lasts (`Target.segment_limit`); other targets go on as before. So
each datagram is sent once, or its operation tells why not. The error of a write that nobody has seen makes the next
flush False. A kernel that does not know UDP_SEGMENT would ignore it and send one long datagram: whether it does is
asked once per socket (`can_segment`).

A send on a socket may return the error of an earlier datagram (an ICMP message came meanwhile, udp(7)): it is told to
the readers as an event, by way of the error queue, and this datagram is tried again.

Completing a write may resume a task, and telling an error calls a handler; both may write, cancel or close. So what the
kernel took leaves the queue before anybody is told, and afterwards the state is read again.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine import descriptor
from moorings.engine.datagram_mtu import too_big
from moorings.engine.hub import Hub, Source
from moorings.foundation.home import IMMEDIATE_LIMIT, TURN_BYTES_LIMIT
from moorings.foundation.operation import Operation

if TYPE_CHECKING:
    import cython
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import REFERENCES_OF_ONE, BufferBase, getrefcount, is_sole, thread_ident
    from moorings._pure_datagrams import SEGMENTED_BYTES, SEGMENTS, Outbox, Target, send_group

#: Un-awaited writes are sent at once when this many bytes, or datagrams, are queued.
DATAGRAM_FLUSH_MARK = 65536
DATAGRAM_FLUSH_COUNT = 1024
#: A write that would make the queue longer than this many bytes fails with WSAENOBUFS.
DATAGRAM_QUEUE_LIMIT = 16777216

_FLUSH_MARK = DATAGRAM_FLUSH_MARK
_FLUSH_COUNT = DATAGRAM_FLUSH_COUNT
_QUEUE_LIMIT = DATAGRAM_QUEUE_LIMIT
_IMMEDIATE_LIMIT = IMMEDIATE_LIMIT
_TURN_BYTES_LIMIT = TURN_BYTES_LIMIT
#: What an empty datagram, or a short one, counts in the queue: its operation and the kernel's share.
_OVERHEAD = 256

#: Operations that a port keeps for re-use.
_FREE_LIMIT = 1024
#: Failed writes whose errors nobody has seen yet, that a port remembers for the next flush.
UNSEEN_FAILURES_LIMIT = 64
_UNSEEN_LIMIT = UNSEEN_FAILURES_LIMIT
#: Reports about earlier datagrams that may come between one datagram and the kernel, before it fails itself.
REPORT_RETRIES = 16
_RETRY_LIMIT = REPORT_RETRIES

_STARTED = 0
_COMPLETED = 1
_ERROR = 3

_OPEN = 0

_WRITE = 32
_FLUSH = 64
#: `done_bytes` of a write that the kernel has taken, until it has ended.
_TAKEN = 1

_OPERATION = 1
_OPERATION_WITH_PROGRESS = 3

# What a segmented send is refused with, for good: the segments do not fit the way's MTU, or the device cannot do it.
_TOO_BIG = (errno.EINVAL, errno.EMSGSIZE)
_NOT_ABLE = (errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT, errno.ENODEV)
# What a send may return on behalf of an earlier datagram.
_REPORTED = (
    errno.ECONNREFUSED,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.ENETDOWN,
    errno.ENONET,
    errno.EPROTO,
    errno.EACCES,
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
    errno.EMSGSIZE,
)


class SendingPort(Source):
    """State that both directions share, and the sending side."""

    __slots__ = (
        "batches_refused",
        "bytes_sent",
        "can_segment",
        "datagrams_sent",
        "failed_writes",
        "free_count",
        "free_list",
        "free_operations",
        "home",
        "label",
        "outbox",
        "phase",
        "plain_left",
        "plain_socket",
        "queue_limit",
        "queued_bytes",
        "queued_count",
        "reading",
        "retries",
        "segmented_sent",
        "send_calls",
        "unseen_failure",
        "write_blocked",
        "write_head",
        "write_tail",
        "writes_failed",
        "writes_refused",
    )

    def __init__(self, hub: Hub, label: object) -> None:
        Source.__init__(self)
        self.home = hub.home
        self.label = label
        self.plain_socket: Any = None
        self.phase = _OPEN
        self.reading = False
        self.outbox: Outbox | None = None
        self.write_head: Operation | None = None
        self.write_tail: Operation | None = None
        self.write_blocked = False
        self.plain_left = 0
        self.can_segment = False
        self.retries = 0
        self.queued_bytes = 0
        self.queued_count = 0
        self.queue_limit = _QUEUE_LIMIT
        self.failed_writes: Any = None
        self.unseen_failure = False
        self.free_operations: Operation | None = None
        self.free_count = 0
        self.free_list: list[Operation] = []
        self.bytes_sent = 0
        self.datagrams_sent = 0
        self.segmented_sent = 0
        self.send_calls = 0
        self.batches_refused = 0
        self.writes_failed = 0
        self.writes_refused = 0

    def write(self, data: Any, count: int, target: Target) -> Operation:
        """Queue a datagram of `count` bytes, which must not change until the operation has ended. Home thread only."""
        operation = self.free_operations
        if operation is not None:
            self.free_operations = operation.next_operation
            operation.next_operation = None
            self.free_count -= 1
        elif self.spare is not None:
            operation = self.spare
            self.spare = None
            operation.owner = self
            operation.kind = _OPERATION_WITH_PROGRESS
        else:
            operation = Operation(self.home, self, _OPERATION_WITH_PROGRESS)
        operation.buffer = data
        operation.count = count
        operation.subject = target
        operation.options = _WRITE
        self.submit_write(operation)
        return operation

    def usable_here(self) -> bool:
        """True where calls work at once: on the home thread, and open."""
        home = self.home
        return self.phase == _OPEN and not home.dropped and thread_ident() == home.thread_id

    def flush(self) -> Operation:
        """An operation that ends when all writes so far have: True, or False when one failed and nobody has seen it."""
        operation = Operation(self.home, self, _OPERATION)
        operation.options = _FLUSH
        self.submit_write(operation)
        return operation

    def submit_write(self, operation: Operation) -> None:
        """Queue a datagram or a flush marker."""
        if operation.state != _STARTED:
            return  # cancelled on its way here
        if self.phase != _OPEN:
            operation.finish(_ERROR, None, self.closed_error())
            return
        count = operation.count
        if operation.options == _WRITE:
            if self.queued_bytes + count > self.queue_limit and self.queued_count > 0:
                self.writes_refused += 1
                reason = (
                    f"{self.label}: {self.queued_bytes} bytes are queued, the limit is {self.queue_limit}; await writes"
                )
                self._fail(operation, errors.from_errno(errno.ENOBUFS, reason))
                return
            self.queued_bytes += count + _OVERHEAD
            self.queued_count += 1
        if self.write_head is None:
            self.write_head = operation
        else:
            assert self.write_tail is not None
            self.write_tail.next_operation = operation
        self.write_tail = operation
        if self.write_blocked:
            return
        if self.queued_count >= _FLUSH_COUNT or self.queued_bytes - self.queued_count * _OVERHEAD >= _FLUSH_MARK:
            self._mark_reached()
        elif not self.dirty and self.hub is not None:
            self.hub.mark_dirty(self)

    def _mark_reached(self) -> None:
        if self.home.turn_bytes < _TURN_BYTES_LIMIT:
            self._send_queue()
        elif self.hub is not None:
            self.hub.defer(self)

    def enter_write(self, operation: Operation) -> None:
        """`submit_write` as a callback."""
        self.submit_write(operation)

    def prepare_wait(self, operation: Operation) -> None:
        """Waiting on any queued write sends all of them, within the loop turn's budget."""
        if operation.options < _WRITE or self.write_head is None or self.write_blocked:
            return
        home = self.home
        if home.immediate < _IMMEDIATE_LIMIT and home.turn_bytes < _TURN_BYTES_LIMIT:
            home.immediate += 1
            self._send_queue()
        elif self.hub is not None:
            self.hub.defer(self)

    def _send_queue(self) -> None:
        """Send what is queued until the kernel takes no more."""
        outbox = self.outbox
        if outbox is None:
            outbox = self.outbox = Outbox()
        while self.write_head is not None and not self.write_blocked:
            if self.write_head.options == _FLUSH:
                self._end_flush()
                continue
            if cython.compiled or not _send_run(self):
                if not self._fill(outbox):
                    continue
                sent = outbox.send(self.fd, self.plain_socket)
                self.send_calls += 1
                if sent <= 0:
                    self._refused(-sent, outbox.first_count())
                    continue
                self.segmented_sent += outbox.segmented
                self._account(sent)
            if (
                self.write_head is not None  # type: ignore[redundant-expr]  # pyright: ignore[reportUnnecessaryComparison]
                and self.phase == _OPEN
                and not self.home.has_budget()
            ):
                assert self.hub is not None
                self.hub.defer(self)
                return

    def _fill(self, outbox: Outbox) -> bool:
        """Put as much of the queue into the outbox as it takes; False when the first datagram failed instead."""
        outbox.clear()
        count = 0
        operation: Operation | None = self.write_head
        try:
            while operation is not None and operation.options == _WRITE:
                plain = not self.can_segment or count < self.plain_left
                if not outbox.add(operation.buffer, operation.count, operation.subject, plain):
                    break
                count += 1
                operation = operation.next_operation
        except (BufferError, TypeError, ValueError) as error:
            # Its data is not what it was when it was queued. What stands before it goes out first.
            if count == 0:
                assert operation is not None
                self._unqueue(operation)
                self._fail(operation, error.with_traceback(None))
                return False
        return True

    def _account(self, sent: int) -> None:
        """The kernel took the first `sent` datagrams: end their operations, once all of them are accounted for."""
        self.datagrams_sent += sent
        self.retries = 0
        if self.plain_left > 0:
            self.plain_left = self.plain_left - sent if self.plain_left > sent else 0
        done = self.write_head
        operation = done
        last: Operation | None = None
        size = 0
        self.queued_count -= sent
        self.queued_bytes -= sent * _OVERHEAD
        while sent > 0:
            assert operation is not None
            size += operation.count
            operation.done_bytes = _TAKEN
            last = operation
            operation = operation.next_operation
            sent -= 1
        assert last is not None
        last.next_operation = None
        last = None
        self.write_head = operation
        if operation is None:
            self.write_tail = None
        operation = None
        self.queued_bytes -= size
        self.bytes_sent += size
        self.home.turn_bytes += size
        while done is not None:
            following = done.next_operation
            done.next_operation = None
            resume = done.settle(_COMPLETED, done.count, None)
            if not resume and done.bare and is_sole(done) and self.free_count < _FREE_LIMIT:
                self._recycle(done)
            done = following
            following = None
            if resume:
                self.home.resume()

    def _recycle(self, operation: Operation) -> None:
        """Nobody holds it: make it as new, for the next write."""
        operation.state = _STARTED
        operation.result_value = None
        operation.done_bytes = 0
        operation.blocking = operation.task_waits = operation.face = False
        operation.next_operation = self.free_operations
        self.free_operations = operation
        self.free_count += 1

    def _unqueue(self, operation: Operation) -> None:
        """Take the first operation, a write, out of the queue."""
        self.write_head = operation.next_operation
        operation.next_operation = None
        if self.write_head is None:
            self.write_tail = None
        self.queued_bytes -= operation.count + _OVERHEAD
        self.queued_count -= 1

    def forget_queued(self, operation: Operation) -> None:
        """A queued write was taken out without being sent."""
        self.queued_bytes -= operation.count + _OVERHEAD
        self.queued_count -= 1

    def _end_flush(self) -> None:
        marker = self.write_head
        assert marker is not None
        self.write_head = marker.next_operation
        marker.next_operation = None
        if self.write_head is None:
            self.write_tail = None
        marker.finish(_COMPLETED, not self._take_unseen(), None)

    def _take_unseen(self) -> bool:
        """Whether a write failed since the last flush, and nobody has seen its error."""
        unseen = self.unseen_failure
        self.unseen_failure = False
        if self.failed_writes is not None:
            for operation in self.failed_writes:
                if not operation.error_seen:
                    unseen = True
            self.failed_writes = None
        return unseen

    def _refused(self, code: int, group: int) -> None:
        """The kernel did not take the first group, of `group` datagrams."""
        head = self.write_head
        assert head is not None
        if code in {0, errno.EAGAIN}:
            self.write_blocked = True
            self.update_events()
            return
        if code in _REPORTED and self.retries < _RETRY_LIMIT and self.take_reports(code) > 0:
            self.retries += 1
            return  # (Handlers have run: the head may be another one now.)
        if group > 1:
            self.batches_refused += 1
            self.plain_left = group
            if code in _TOO_BIG:
                head.subject.segment_limit = head.count - 1
            elif code in _NOT_ABLE:
                head.subject.segment_limit = 0
            return
        self.retries = 0
        if self.plain_left > 0:
            self.plain_left -= 1
        self._unqueue(head)
        if code == errno.EMSGSIZE:
            self._fail(head, too_big(self.label, self.plain_socket, head.count, head.subject.name))
            return
        self._fail(head, errors.from_errno(code, f"{self.label}: sending failed: {descriptor.explain(code)}"))

    def _fail(self, operation: Operation, error: Any) -> None:
        self.writes_failed += 1
        if operation.callback is None and operation.event is None and operation.completed_handler is None:
            # Nobody waits for it: the next flush tells, unless somebody looks at it before.
            self._remember(operation)
        operation.finish(_ERROR, None, error)

    def _remember(self, operation: Operation) -> None:
        if self.failed_writes is None:
            self.failed_writes = []
        elif len(self.failed_writes) >= _UNSEEN_LIMIT:
            self.failed_writes = [failed for failed in self.failed_writes if not failed.error_seen]
            if len(self.failed_writes) >= _UNSEEN_LIMIT:
                self.unseen_failure = True
                return
        self.failed_writes.append(operation)

    def _fail_writes(self, error: Any) -> None:
        """Fail everything queued."""
        operation = self.write_head
        self.write_head = self.write_tail = None
        self.queued_bytes = self.queued_count = self.plain_left = self.retries = 0
        while operation is not None:
            following = operation.next_operation
            operation.next_operation = None
            if operation.options == _FLUSH:
                operation.finish(_COMPLETED, False, None)
            else:
                operation.finish(_ERROR, None, error.with_traceback(None))
            operation = following

    def on_flush(self) -> None:
        if self.write_head is not None and not self.write_blocked:
            self._send_queue()

    def has_unsent(self) -> bool:
        return self.write_head is not None

    def update_events(self) -> None:
        """Watch for what is wanted now."""

    def take_reports(self, code: int) -> int:  # noqa: ARG002
        """A call returned `code`, perhaps about an earlier datagram: tell the readers; the number of reports."""
        return 0

    def closed_error(self) -> OSError:
        """What a call gets that comes too late."""
        if self.home.dropped:
            return errors.closed(f"{self.label}", "it belongs to the parent process")
        return errors.closed(f"{self.label}")


if not cython.compiled:

    def _write(self: SendingPort, data: Any, count: int, target: Target) -> Operation:
        """`write` and `submit_write` in one step: a call costs what it does."""
        free = self.free_list
        if free:
            operation = free.pop()
        elif self.spare is not None:
            operation = self.spare
            self.spare = None
            operation.owner = self
            operation.kind = _OPERATION_WITH_PROGRESS
            operation.options = _WRITE
        else:
            operation = Operation(self.home, self, _OPERATION_WITH_PROGRESS)
            operation.options = _WRITE
        operation.buffer = data
        operation.count = count
        operation.subject = target
        queued = self.queued_bytes + count
        if self.phase != _OPEN or queued > self.queue_limit:
            self.submit_write(operation)
            return operation
        self.queued_bytes = queued = queued + _OVERHEAD
        self.queued_count = number = self.queued_count + 1
        if self.write_head is None:
            self.write_head = operation
        else:
            self.write_tail.next_operation = operation  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
        self.write_tail = operation
        if self.write_blocked:
            return operation
        if number >= _FLUSH_COUNT or queued - number * _OVERHEAD >= _FLUSH_MARK:
            self._mark_reached()  # pyright: ignore[reportPrivateUsage]
        elif not self.dirty and self.hub is not None:
            self.hub.mark_dirty(self)
        return operation

    SendingPort.write = _write  # type: ignore[method-assign]

    def _send_run(self: SendingPort) -> bool:
        """Send the first datagrams of the queue segmented, in one step; False when they do not suit."""
        head = self.write_head
        assert head is not None
        size, target = head.count, head.subject
        data: Any = head.buffer
        kind: Any = type(data)  # pyright: ignore[reportUnknownVariableType]
        if (
            not 0 < size <= target.segment_limit
            or self.plain_left
            or not self.can_segment
            or (kind is not bytes and not issubclass(kind, BufferBase))
        ):
            return False
        pieces: list[Any] = []
        operation: Operation | None = head
        for _ in range(min(SEGMENTS, SEGMENTED_BYTES // size)):
            if operation is None or operation.count != size or operation.subject is not target:
                break
            data = operation.buffer
            if type(data) is not kind or len(data) != size or operation.options != _WRITE:
                break
            pieces.append(data)
            operation = operation.next_operation
        total = len(pieces) * size
        if operation is not None and 0 < operation.count < size and operation.subject is target:
            # The last one may be shorter.
            data, total = operation.buffer, total + operation.count
            suits = type(data) is kind and len(data) == operation.count and operation.options == _WRITE
            if suits and len(pieces) < SEGMENTS and total <= SEGMENTED_BYTES:
                pieces.append(data)
                operation = operation.next_operation
            else:
                total -= operation.count
        count = len(pieces)
        if count < 2:
            return False
        self.send_calls += 1
        code = send_group(self.plain_socket, pieces, size, target.name)
        if code < 0:
            self._refused(-code, count)  # pyright: ignore[reportPrivateUsage]
            return True
        self.write_head = operation
        if operation is None:
            self.write_tail = None
        self.retries = 0
        self.datagrams_sent += count
        self.segmented_sent += count
        self.bytes_sent += total
        self.home.turn_bytes += total
        self.queued_count -= count
        self.queued_bytes -= total + count * _OVERHEAD
        operation = head
        del head
        _end_run(self, operation, count)
        return True

    def _end_run(self: SendingPort, done: Operation, count: int) -> None:
        """End the writes that were sent, those that somebody waits for last; what nobody holds is used again."""
        waited: list[Operation] = []
        free = self.free_list
        for _ in range(count):
            following: Any = done.next_operation
            done.next_operation = None
            if done.callback is None and done.bare and done.hook is None:
                done.buffer = None
                if getrefcount(done) <= REFERENCES_OF_ONE:
                    done.face = False
                    free.append(done)
                else:
                    done.state = _COMPLETED
                    done.result_value = done.count
            else:
                done.done_bytes = _TAKEN
                waited.append(done)
            done = following
        del free[_FREE_LIMIT:]
        for operation in waited:
            if operation.settle(_COMPLETED, operation.count, None):
                self.home.resume()
