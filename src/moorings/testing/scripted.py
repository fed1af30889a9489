r"""A byte stream that plays a script: no network, no descriptor, nothing but the loop.

For tests of whatever stands on a `ByteStream`: parsers, protocols, TLS, readers and writers. What "the network" brings
is a list of byte strings, failures and ends, one for each receive call; what is written is kept, one entry for each
send call, and may be made to stop, to be short or to fail.

    stream = ScriptedStream([b"GET / HT", b"TP/1.1\r\n\r\n", END])
    stream = ScriptedStream([b"half a mess", ConnectionResetError(...)], sends=[3, None])

A script that is used up is silence, until `feed` brings more.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from moorings import errors
from moorings.engine.interface import Detached, EndReason
from moorings.foundation.home import Home, current_home
from moorings.foundation.operation import (
    ACTION,
    OPERATION,
    OPERATION_WITH_PROGRESS,
    Operation,
    OperationOwner,
    cancelled_error,
)
from moorings.streams.buffer import Buffer, wrap

if TYPE_CHECKING:
    from collections.abc import Iterable


class _End:
    """The type of `END`."""

    def __repr__(self) -> str:
        return "END"


#: In a script: the peer ends its direction.
END: Final = _End()

Received = bytes | OSError | _End
Sent = int | OSError | None

_COMPLETED, _CANCELED, _ERROR = 1, 2, 3
_OPEN, _CLOSING, _CLOSED = 0, 1, 2
_PARTIAL = 1
_READ_AHEAD = 2
_FILL, _WRITE, _FLUSH, _CLOSE = 16, 32, 64, 128


class ScriptedStream(OperationOwner):
    """A `moorings.engine.interface.ByteStream` that plays a script. Made inside a running loop, or in a plain script.

    `received` lists what receive calls bring: bytes, `END`, or an OSError, which stays. `sends` lists what send calls
    do: a number of bytes that are taken at most, an OSError, which stays, or None: nothing is taken until
    `let_send` is called. When it is used up everything is taken. `sent` is what was taken, `send_log` the pieces.

    With `suspend` every read and every awaited write takes at least one loop turn, as over a network.
    """

    def __init__(
        self,
        received: Iterable[Received] = (),
        *,
        sends: Iterable[Sent] = (),
        suspend: bool = False,
        label: str = "scripted stream",
        home: Home | None = None,
    ) -> None:
        OperationOwner.__init__(self)
        self.home: Home = home if home is not None else current_home()
        self.label = label
        self.fd = -1
        self.close_timeout = 5.0
        self.phase = _OPEN
        self.end_reason = EndReason.OPEN
        self.bytes_received = 0
        self.bytes_sent = 0
        self.queued_bytes = 0
        self.receive_calls = 0
        self.send_log: list[bytes] = []
        self.write_error: OSError | None = None
        self.shut_wanted = False
        #: True once the end of our direction has been "sent".
        self.ended_writing = False
        self._script: deque[Received] = deque(received)
        self._sends: deque[Sent] = deque(sends)
        self._suspend = suspend
        self._stash = bytearray()
        self._reads: deque[Operation] = deque()
        self._writes: deque[Operation] = deque()
        self._closing: list[Operation] = []
        self._turn_wanted = False

    # -- the test's side ---------------------------------------------------------------------------------------------

    def feed(self, *received: Received) -> None:
        """Let the network bring more."""
        self._script.extend(received)
        self._serve_reads()

    def let_send(self, *sends: Sent) -> None:
        """Go on sending where the script said None; `sends` come next."""
        if self._sends and self._sends[0] is None:
            self._sends.popleft()
        self._sends.extendleft(reversed(sends))
        self._send_queue()

    @property
    def sent(self) -> bytes:
        """Everything that was taken so far."""
        return b"".join(self.send_log)

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, target: Any, count: int, options: int) -> Operation:
        """Start reading `count` bytes into `target`, a Buffer or writable bytes-like object; the operation gives it."""
        operation = Operation(self.home, self, OPERATION_WITH_PROGRESS)
        operation.buffer = target if isinstance(target, Buffer) else wrap(target)
        operation.count = count
        operation.options = options
        return self._submit_read(operation)

    def fill(self) -> Operation:
        """Start waiting until the stash has grown; the operation gives the number of new bytes, 0 at the end."""
        operation = Operation(self.home, self, OPERATION)
        operation.face = True
        operation.options = _FILL
        operation.count = 1
        return self._submit_read(operation)

    def _submit_read(self, operation: Operation) -> Operation:
        if self.phase != _OPEN:
            operation.finish(_ERROR, None, self.closed_error())
            return operation
        self._reads.append(operation)
        if self._suspend:
            self._want_turn()
        else:
            self._serve_reads()
        return operation

    def _serve_reads(self) -> None:
        while self._reads and self.phase == _OPEN and self._serve(self._reads[0]):
            self._reads.popleft()

    def _serve(self, operation: Operation) -> bool:
        """True when the operation has ended."""
        fills = operation.options == _FILL
        while True:
            if not fills:
                self._take_into(operation)
                done = operation.done_bytes >= operation.count
                if done or (operation.done_bytes and operation.options & _PARTIAL):
                    break
            if not self._script:
                return False
            step = self._script[0]
            if isinstance(step, _End):
                if self.end_reason == EndReason.OPEN:
                    self.end_reason = EndReason.CLOSED_BY_PEER
                break
            if isinstance(step, OSError):
                self.end_reason = EndReason.RESET
                if operation.done_bytes:
                    break
                operation.finish(_ERROR, None, errors.from_os_error(step, f"{self.label}: receiving failed"))
                return True
            self._receive(operation)
            if fills:
                break
        if fills:
            operation.finish(_COMPLETED, operation.done_bytes, None)
        else:
            buffer = operation.buffer
            buffer.length = operation.done_bytes
            operation.finish(_COMPLETED, buffer, None)
        return True

    def _receive(self, operation: Operation) -> None:
        """One receive call: the next byte string, or as much of it as was asked for."""
        piece = self._script.popleft()
        assert isinstance(piece, bytes)
        self.receive_calls += 1
        ahead = operation.options == _FILL or operation.options & _READ_AHEAD
        wanted = len(piece) if ahead else operation.count - operation.done_bytes
        if wanted < len(piece):
            self._script.appendleft(piece[wanted:])
            piece = piece[:wanted]
        self.bytes_received += len(piece)
        self._stash += piece
        if operation.options == _FILL:
            operation.done_bytes = len(piece)

    def _take_into(self, operation: Operation) -> None:
        piece = self.take_stash(operation.count - operation.done_bytes)
        if piece:
            operation.buffer._put(operation.done_bytes, piece)
            operation.done_bytes += len(piece)
            operation.report_progress(operation.done_bytes)

    def stash_size(self) -> int:
        """Bytes that were received and not read."""
        return len(self._stash)

    def take_stash(self, count: int) -> bytes:
        """Take up to `count` of them."""
        data = bytes(self._stash[:count])
        del self._stash[:count]
        return data

    def find_in_stash(self, separator: bytes, start: int) -> int:
        """Where `separator` begins at or behind `start` in them; -1 when it is not there."""
        return self._stash.find(separator, start)

    def unread(self, data: bytes) -> None:
        """Put bytes in front of everything unread."""
        self._stash[:0] = data

    def look(self) -> None:
        """Nothing has come that is not known."""

    def reading(self) -> bool:
        """True while a read is pending."""
        return bool(self._reads)

    # -- writing -----------------------------------------------------------------------------------------------------

    def write(self, data: Any, count: int) -> Operation:
        """Queue `count` bytes of `data`."""
        operation = Operation(self.home, self, OPERATION_WITH_PROGRESS)
        operation.buffer = bytes(data)[:count]
        operation.count = count
        operation.options = _WRITE
        self.submit_write(operation)
        return operation

    def write_copied(self, data: Any) -> Operation:
        """`write` for the Python face."""
        if self.shut_wanted:
            raise self.closed_error()
        payload = bytes(data)
        operation = Operation(self.home, self, OPERATION_WITH_PROGRESS)
        operation.face = True
        operation.buffer = payload
        operation.count = len(payload)
        operation.options = _WRITE
        self.home.call(self.submit_write, operation)
        if operation.state == _ERROR:
            operation.outcome()
        return operation

    def flush(self) -> Operation:
        """An operation that ends when all writes queued so far have: True, or False when one of them failed."""
        operation = Operation(self.home, self, OPERATION)
        operation.options = _FLUSH
        self.submit_write(operation)
        return operation

    def submit_write(self, operation: Operation) -> None:
        """Queue a write or a flush; it is sent when somebody waits for it, or at the end of the loop turn."""
        if self.phase != _OPEN or self.shut_wanted:
            operation.finish(_ERROR, None, self.closed_error())
        elif self.write_error is not None:
            self._fail_write(operation)
        else:
            self.queued_bytes += operation.count
            self._writes.append(operation)
            self._want_turn()

    enter_write = submit_write

    def take_refusal(self) -> None:
        """The error of a refused write that nobody has seen: its queue has no limit, so there is none."""

    def prepare_wait(self, operation: Operation) -> None:
        """Somebody is about to wait."""
        if operation.options >= _WRITE and not self._suspend:
            self._send_queue()

    def _send_queue(self) -> None:
        while self._writes and self.write_error is None:
            operation = self._writes[0]
            left = operation.count - operation.done_bytes
            limit: Sent = left
            if left and self._sends:
                if self._sends[0] is None:
                    return
                limit = self._sends[0]
                if not isinstance(limit, OSError):
                    self._sends.popleft()
            if isinstance(limit, OSError):
                self._break_writing(limit)
                return
            assert limit is not None
            self._send(operation, min(left, limit))
        if self.shut_wanted and not self._writes:
            self.ended_writing = True

    def _send(self, operation: Operation, taken: int) -> None:
        if taken:
            self.send_log.append(operation.buffer[operation.done_bytes : operation.done_bytes + taken])
        operation.done_bytes += taken
        self.bytes_sent += taken
        self.queued_bytes -= taken
        if operation.done_bytes == operation.count:
            self._writes.popleft()
            result = True if operation.options == _FLUSH else operation.count
            operation.finish(_COMPLETED, result, None)
        else:
            operation.report_progress(operation.done_bytes)

    def _break_writing(self, error: OSError) -> None:
        self.write_error = errors.from_os_error(error, f"{self.label}: sending failed")
        self.end_reason = EndReason.RESET
        self._fail_writes()

    def _fail_writes(self) -> None:
        self.queued_bytes = 0
        while self._writes:
            self._fail_write(self._writes.popleft())

    def _fail_write(self, operation: Operation) -> None:
        if operation.options == _FLUSH:
            operation.finish(_COMPLETED, False, None)
        else:
            operation.finish(_ERROR, None, self.write_error)

    def shut_writing(self) -> None:
        """End our direction behind what is queued."""
        if self.phase == _OPEN and not self.shut_wanted:
            self.shut_wanted = True
            self._send_queue()

    # -- the loop ----------------------------------------------------------------------------------------------------

    def _want_turn(self) -> None:
        if not self._turn_wanted:
            self._turn_wanted = True
            self.home.loop.call_soon(self._on_turn)

    def _on_turn(self) -> None:
        self._turn_wanted = False
        if self.phase != _CLOSED:
            self._send_queue()
            self._serve_reads()

    # -- cancelling and ending ---------------------------------------------------------------------------------------

    def cancel_operation(self, operation: Operation, by_task: bool, message: object) -> None:
        """As a TCP stream does: the Python face withdraws, a WinRT read or write takes the connection down."""
        if operation.options == _CLOSE:
            self._closing.remove(operation)
            operation.finish(_CANCELED, None, cancelled_error(message))
            self.abort()
            return
        for queue in (self._reads, self._writes):
            if operation in queue:
                if operation.face and operation.options == _WRITE:
                    self._keep_writing(operation)
                else:
                    queue.remove(operation)
        if operation.options == _FLUSH or operation.face:
            operation.finish(_CANCELED, None, cancelled_error(message))
            return
        self.tear_down()
        if by_task:
            operation.finish(_CANCELED, None, cancelled_error(message))
        else:
            operation.finish(_ERROR, None, errors.aborted(f"{self.label}: the operation was cancelled"))

    def _keep_writing(self, operation: Operation) -> None:
        stand_in = Operation(self.home, self, OPERATION_WITH_PROGRESS)
        stand_in.face = True
        stand_in.options = _WRITE
        stand_in.buffer = operation.buffer
        stand_in.count = operation.count
        stand_in.done_bytes = operation.done_bytes
        self._writes[self._writes.index(operation)] = stand_in

    def cancel_io(self) -> None:
        """End what is pending with ERROR_OPERATION_ABORTED; bytes that a read had taken go back."""
        pending = [*self._reads, *self._writes]
        taken = b""
        for operation in self._reads:
            if operation.done_bytes and operation.options != _FILL:
                buffer = operation.buffer
                buffer.length = operation.done_bytes
                taken += bytes(buffer)
                buffer.length = 0
        self._reads.clear()
        self._writes.clear()
        self.queued_bytes = 0
        self.unread(taken)
        for operation in pending:
            operation.finish(_ERROR, None, errors.aborted(f"{self.label}: cancel_io_async() ended the operation"))

    def close(self) -> None:
        """Send what is queued, as far as the script lets it, end our direction, and end."""
        if self.phase != _OPEN:
            return
        if self.end_reason == EndReason.OPEN:
            self.end_reason = EndReason.CLOSED_BY_US
        self.phase = _CLOSING
        self._send_queue()
        self._end("was closed")

    def abort(self) -> None:
        """End at once."""
        if self.phase != _CLOSED:
            if self.end_reason in {EndReason.OPEN, EndReason.CLOSED_BY_US}:
                self.end_reason = EndReason.ABORTED
            self._end("was aborted")

    def tear_down(self) -> None:
        """End as a cancelled WinRT operation does."""
        if self._writes or self._stash:
            self.abort()
        else:
            self.close()

    def _end(self, how: str) -> None:
        self.phase = _CLOSED
        while self._reads:
            self._reads.popleft().finish(_ERROR, None, errors.aborted(f"{self.label} {how} while it was reading"))
        if self._writes:
            self.end_reason = EndReason.ABORTED
            self.write_error = errors.aborted(f"{self.label} {how} before everything was sent")
            self._fail_writes()
        elif self.end_reason != EndReason.ABORTED:
            self.ended_writing = True
        closing, self._closing = self._closing, []
        for operation in closing:
            operation.finish(_COMPLETED, None, None)

    def wait_closed(self) -> Operation:
        """An operation that ends when the stream has."""
        operation = Operation(self.home, self, ACTION)
        operation.options = _CLOSE
        if self.phase == _CLOSED:
            operation.finish(_COMPLETED, None, None)
        else:
            self._closing.append(operation)
        return operation

    def detach(self) -> Detached:
        """Give away what there is: no descriptor (-1), the unread and the unsent bytes."""
        if self.phase != _OPEN:
            raise self.closed_error()
        if self.busy():
            raise errors.illegal_call(f"{self.label}: detach while I/O is pending", "await it, or cancel_io_async()")
        self.phase = _CLOSED
        self.end_reason = EndReason.DETACHED
        return Detached(-1, self.take_stash(len(self._stash)), b"")

    def is_open(self) -> bool:
        """True until `close`, `abort` or `detach`."""
        return self.phase == _OPEN

    def is_released(self) -> bool:
        """True when the stream has ended."""
        return self.phase == _CLOSED

    def busy(self) -> bool:
        """True while a read or a write is pending."""
        return bool(self._reads or self._writes)

    def closed_error(self) -> OSError:
        """What a call gets that comes too late."""
        if self.phase == _OPEN and self.shut_wanted:
            return errors.closed(f"the sending side of {self.label}", "writing was shut down")
        return errors.closed(self.label)

    def __repr__(self) -> str:
        return f"<ScriptedStream {self.label!r}, {len(self._script)} steps left>"
