"""The reading side of a TCP stream: pulled, from the stash first, then from the kernel.

Theory of operation
-------------------
Nothing is read unless somebody asked. The descriptor is watched edge-triggered, so `readable` remembers that the kernel
may hold more: set by an event, cleared by a short read. A read is answered from the *stash* (bytes taken from the
kernel but not by the program) and then from the kernel, through the loop's shared block while messages are small,
straight into the caller's buffer when they are big. A hang-up keeps `readable` set until the end of the stream, or the
error, has been read, since no further edge will tell.

The Python face never hands a read's bytes to an operation: it asks for the stash to be *filled* and takes its bytes in
the same step in which the waiting coroutine resumes. So a cancelled read has taken nothing.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine import descriptor
from moorings.engine.hub import EDGE_BOTH, Hub, Source
from moorings.engine.interface import EndReason
from moorings.foundation.home import IMMEDIATE_LIMIT, TURN_BYTES_LIMIT
from moorings.foundation.operation import Operation

if TYPE_CHECKING:
    import cython

    from moorings.protocols.sink import Sink
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import (
        Block,
        BufferBase,
        block_bytes,
        block_fills_buffer,
        block_to_buffer,
        block_to_stash,
        buffer_set_used,
        receive_block,
        receive_buffer,
        stash_to_buffer,
    )

#: Bytes that one fill of the stash asks the kernel for.
STASH_FILL_SIZE = 65536
#: A receive of at least this size makes the next one go straight into the caller's buffer.
BULK_SIZE = 16384

#: Bytes that such a receive asks for at most: a peer that announces much and sends little costs no more memory.
DIRECT_SIZE = 1048576

_DIRECT_SIZE = DIRECT_SIZE
_FILL_SIZE = STASH_FILL_SIZE
_BULK_SIZE = BULK_SIZE

_COMPLETED = 1
_ERROR = 3

# Phases of a stream.
_OPEN = 0

# Up to Python 3.11, looking a member of an enumeration up costs as much as ten other look-ups.
_NOT_ENDED = EndReason.OPEN
_CLOSED_BY_PEER = EndReason.CLOSED_BY_PEER

# What a read asks for, in `Operation.options`: InputStreamOptions, or filling the stash.
_PARTIAL = 1
_READ_AHEAD = 2
_FILL = 16

_EAGAIN = -errno.EAGAIN
_IMMEDIATE_LIMIT = IMMEDIATE_LIMIT
_TURN_BYTES_LIMIT = TURN_BYTES_LIMIT

_OPERATION = 1
_OPERATION_WITH_PROGRESS = 3

# Failures of a send behind which the peer's data still ends with its FIN: the peer had sent that already, or the system
# was only short of memory.
STILL_RECEIVING = frozenset((errno.EPIPE, errno.ENOBUFS, errno.ENOMEM))
_END_REASONS = {
    errno.ETIMEDOUT: EndReason.TIMED_OUT,
    errno.ENOBUFS: EndReason.ABORTED,
    errno.ENOMEM: EndReason.ABORTED,
}


class ReadingStream(Source):
    """State that both directions share, and the reading side."""

    __slots__ = (
        "armed",
        "bulk",
        "bytes_received",
        "end_reason",
        "eof",
        "hang_up",
        "home",
        "label",
        "phase",
        "plain_socket",
        "read_error",
        "read_head",
        "read_tail",
        "readable",
        "receive_calls",
        "shut_wanted",
        "sink",
        "stash",
        "stash_start",
        "write_error",
    )

    def __init__(self, hub: Hub, label: object) -> None:
        Source.__init__(self)
        self.home = hub.home
        self.label = label
        self.plain_socket: Any = None
        self.phase = _OPEN
        self.end_reason = _NOT_ENDED
        self.read_head: Operation | None = None
        self.read_tail: Operation | None = None
        self.readable = False
        self.hang_up = False
        self.armed = True
        self.eof = False
        self.bulk = False
        self.read_error: Any = None
        self.write_error: Any = None
        self.shut_wanted = False
        self.stash: bytes | bytearray | None = None
        self.stash_start = 0
        self.sink: Sink | None = None
        self.bytes_received = 0
        self.receive_calls = 0

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
        if self.sink is not None:
            error = errors.illegal_call(f"{self.label}: a read", "what arrives is given to somebody who takes it all")
            operation.finish(_ERROR, None, error)
            return
        can_go_on = self.readable or self.stash is not None or operation.count == 0
        if can_go_on and self.read_head is None:
            home = self.home
            if home.immediate < _IMMEDIATE_LIMIT and home.turn_bytes < _TURN_BYTES_LIMIT:
                outcome = self._serve(operation)
                if outcome != 0:
                    home.immediate += 1
                    self._end_read(operation, outcome)
                    return
                can_go_on = self.readable or self.stash is not None
        if self.read_head is None:
            self.read_head = operation
        else:
            assert self.read_tail is not None
            self.read_tail.next_operation = operation
        self.read_tail = operation
        self._arm()
        if can_go_on and self.hub is not None:
            self.hub.defer(self)

    def _arm(self) -> None:
        """Hear of what arrives again."""
        if not self.armed:
            self.armed = True
            if self.hub is not None:
                self.hub.change(self, EDGE_BOTH)

    def give_to(self, sink: Sink | None) -> None:
        """Give what arrives to `sink` from the next loop turn on, first of all what nobody has read; None ends that.

        Errors: E_ILLEGAL_METHOD_CALL while a read is pending.
        """
        if self.read_head is not None:
            raise errors.illegal_call(f"{self.label}: giving to a sink while a read is pending", "await it first")
        self.sink = sink
        if sink is not None:
            self.resume_sink()

    def resume_sink(self) -> None:
        """Go on giving: the sink is not paused any more."""
        self._arm()
        if self.hub is not None:
            self.hub.defer(self)

    def _pump_sink(self) -> None:
        """Give the sink what has arrived, as far as it and the budget go."""
        while True:
            # Whoever was given something may have changed everything.
            sink = self.sink
            hub = self.hub
            if sink is None or hub is None or sink.paused or self.phase != _OPEN:
                return
            if self.stash is not None:
                sink.take_bytes(self.take_stash(len(self.stash)))
                continue
            if not self.readable:
                return
            if self.eof or self.read_error is not None:
                self.sink = None
                sink.ended()
                return
            if not self.home.has_budget():
                hub.defer(self)
                return
            block = hub.block
            assert block is not None
            count = block.size
            if count > sink.piece:
                count = sink.piece
            count = self._fetch(count)
            if count > 0:
                self.bytes_received += count
                self.home.turn_bytes += count
                sink.take(block, count)

    def _fetch(self, asked: int) -> int:
        """Receive into the loop's block: the number of bytes, 0 at the end, negative when there was nothing."""
        hub = self.hub
        assert hub is not None
        assert hub.block is not None
        count = receive_block(self.fd, self.plain_socket, hub.block, asked)
        self.receive_calls += 1
        if count <= 0:
            self._nothing_received(count)
        elif count < asked and not self.hang_up:
            self.readable = False
        return count

    def enter_read(self, operation: Operation) -> None:
        """`submit_read` as a callback."""
        self.submit_read(operation)

    def _serve(self, operation: Operation) -> int:
        """Move bytes to a read operation: 0 = it has to wait, 1 = it has what it wants, 2 = it failed."""
        if self.stash is not None and operation.options != _FILL:
            self._serve_from_stash(operation)
            if operation.done_bytes >= operation.count or operation.options & _PARTIAL:
                return 1
        if operation.count == 0:
            return 1  # asking the kernel for nothing would look like the end of the stream
        home = self.home
        while self.readable:
            if self.eof:
                return 1
            if self.read_error is not None:
                # What arrived before the error is delivered first; the next read raises.
                return 1 if operation.done_bytes > 0 else 2
            if home.immediate >= _IMMEDIATE_LIMIT or home.turn_bytes >= _TURN_BYTES_LIMIT:
                return 0
            if self._receive(operation) > 0 and (
                operation.done_bytes >= operation.count or operation.options & (_PARTIAL | _FILL)
            ):
                return 1
        return 0

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
        elif self.stash_start >= _FILL_SIZE and isinstance(self.stash, bytearray):
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
            if asked > _DIRECT_SIZE:
                asked = _DIRECT_SIZE
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
        if direct:
            operation.done_bytes += count
        else:
            self._deliver(operation, hub.block, count, wanted)
        if operation.progress_handler is not None:
            operation.report_progress(operation.done_bytes)
        return count

    def _deliver(self, operation: Operation, block: Block, count: int, wanted: int) -> None:
        """Hand `count` bytes of the block to a read; what it does not want goes to the stash."""
        taken = 0
        if operation.options == _FILL:
            operation.done_bytes = count
        else:
            taken = count if count < wanted else wanted
            if cython.compiled:
                block_to_buffer(block, taken, operation.buffer, operation.done_bytes)
            else:
                operation.buffer._put(operation.done_bytes, block.view[:taken])
            operation.done_bytes += taken
        if taken < count:
            if self.stash is None:
                # Mostly all of it is taken at once: then these bytes are what the reader gets, without another copy.
                self.stash = block_bytes(block, taken, count - taken)
            else:
                if isinstance(self.stash, bytes):
                    self.stash = bytearray(self.stash)
                block_to_stash(block, taken, count - taken, self.stash)

    def _nothing_received(self, count: int) -> None:
        if count == _EAGAIN:
            self.readable = False
        elif count == 0:
            if self.write_error is not None and self.write_error.errno not in STILL_RECEIVING:
                # The kernel told a send why the connection broke, and tells a cause only once.
                self.read_error = self.write_error
                self.readable = True
                return
            self.eof = True
            self.readable = True  # reads are served with the end from now on
            if self.end_reason is _NOT_ENDED:
                self.end_reason = _CLOSED_BY_PEER
        else:
            self.read_error = self._broken(-count, "receiving")
            self.readable = True

    def _broken(self, code: int, verb: str) -> OSError:
        """The connection is gone; remember why for every later write. What had arrived can still be read."""
        error: OSError = errors.from_errno(code, f"{self.label}: {verb} failed: {descriptor.explain(code)}")
        if self.sink is not None:
            error = self.sink.explain(error)
        if self.write_error is None:
            self.write_error = error
        if self.end_reason in (EndReason.OPEN, EndReason.CLOSED_BY_PEER):
            self.end_reason = _END_REASONS.get(code, EndReason.RESET)
        return error

    def _end_read(self, operation: Operation, outcome: int) -> bool:
        if outcome == 2:
            # Raised once more: each time would add to the traceback.
            return operation.settle(_ERROR, None, self.read_error.with_traceback(None))
        if operation.options == _FILL:
            return operation.settle(_COMPLETED, operation.done_bytes, None)
        target = operation.buffer
        if cython.compiled:
            buffer_set_used(target, operation.done_bytes)
        else:
            try:
                target._set_used(operation.done_bytes)
            except BufferError as error:  # up to Python 3.11: somebody views the buffer
                self.unread(target._stored(operation.done_bytes))
                return operation.settle(_ERROR, None, error)
        return operation.settle(_COMPLETED, target, None)

    def _pump_reads(self) -> None:
        """Serve queued reads as far as the bytes and the budget go."""
        operation = self.read_head
        if (
            operation is not None
            and operation.options == _PARTIAL
            and operation.next_operation is None
            and operation.progress_handler is None
            and self.readable
            and self.stash is None
            and not self.bulk
            and not self.eof
            and self.read_error is None
            and operation.count > 0
        ):
            # By far the most common case, in one step: one read waits for whatever comes.
            operation = None  # the awaiting task may give it back for re-use
            self._receive_waiting()
            if self.phase != _OPEN or (not self.readable and self.stash is None):
                return
        operation = None
        while self.read_head is not None:
            operation = self.read_head
            if not self.readable and self.stash is None and operation.count != 0:
                return
            outcome = self._serve(operation)
            if outcome == 0:
                # Unread bytes are no reason: a read would have taken them, and a fill waits for more.
                if self.readable and self.hub is not None:
                    self.hub.defer(self)
                return
            self.read_head = operation.next_operation
            operation.next_operation = None
            if self.read_head is None:
                self.read_tail = None
            resume = self._end_read(operation, outcome)
            operation = None  # the awaiting task may then give it back for re-use
            if resume:
                self.home.resume()
            if self.phase != _OPEN:
                return

    def _receive_waiting(self) -> None:
        """`_serve`, `_receive` and `_end_read` in one, for the only queued read, which wants at least one byte."""
        operation = self.read_head
        assert operation is not None
        hub = self.hub
        home = self.home
        if hub is None or home.turn_bytes >= _TURN_BYTES_LIMIT:
            return
        block = hub.block
        assert block is not None
        asked = operation.count
        if asked > block.size:
            asked = block.size
        if cython.compiled:
            count = receive_block(self.fd, self.plain_socket, block, asked)
        else:
            try:  # `receive_block`, without the call
                count = self.plain_socket.recv_into(block.view, asked)
            except OSError as error:
                count = -(error.errno or errno.EIO)
        self.receive_calls += 1
        if count <= 0:
            self._nothing_received(count)
            return
        if count < asked and not self.hang_up:
            self.readable = False
        self.bulk = count >= _BULK_SIZE
        self.bytes_received += count
        home.turn_bytes += count
        operation.done_bytes = count
        target = operation.buffer
        if cython.compiled:
            block_fills_buffer(block, count, target)
        else:
            target._fill(block.view[:count])
        self.read_head = self.read_tail = None
        if (
            cython.compiled
            or not home.eager
            or not operation.task_waits
            or not operation.bare
            or operation.hook
            or len(target) != count  # it could not grow
        ):
            resume = self._end_read(operation, 1)
        else:  # `settle`, without the call
            resume = True
            operation.result_value = target
            operation.buffer = None
            operation.state = _COMPLETED
            home.next_callback = operation.callback
            home.next_context = operation.context
            home.next_argument = home.done_future
            operation.callback = operation.context = None
        operation = target = None
        if resume:
            home.resume()

    def look(self) -> None:
        """Serve what is pending with what has arrived, although no event has told so yet."""
        self.readable = True
        if self.sink is None:
            self._pump_reads()
        else:
            self._pump_sink()

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
        stash = self.stash
        if stash is None:
            return b""
        start = self.stash_start
        if start == 0 and count >= len(stash) and isinstance(stash, bytes):
            self.stash = None
            return stash
        data = (
            stash[start : start + count]
            if isinstance(stash, bytes)
            else bytes(memoryview(stash)[start : start + count])
        )
        self.skip_stash(len(data))
        return data

    def unread(self, data: bytes) -> None:
        """Put bytes in front of everything unread."""
        if data:
            rest = b"" if self.stash is None else bytes(memoryview(self.stash)[self.stash_start :])
            self.stash = data + rest
            self.stash_start = 0

    def closed_error(self) -> OSError:
        """What a call gets that comes too late."""
        if self.phase == _OPEN and self.shut_wanted:
            return errors.closed(f"the sending side of {self.label}", "writing was shut down")
        if self.home.dropped:
            return errors.closed(f"{self.label}", "it belongs to the parent process")
        return errors.closed(f"{self.label}")

    def reading(self) -> bool:
        """True while a read is pending."""
        return self.read_head is not None
