"""A WebSocket as a stream of bytes, like any other: both directions, endings, and the closing handshake behind them.

Theory of operation
-------------------
The TCP stream with yet other leaves, as `layered_tls` is. What its kernel is to the TCP stream, `incoming` is to this
one: bytes of messages that have come and that nobody has asked for. The WebSocket below puts them there while its
parser works, in parts, as they come; boundaries of messages are forgotten. It receives although nobody reads, since
pings want answers, and a close frame wants to be told; but from some size on it waits, and the peer with it. A read
takes all of `incoming` at once, the rest of it into the stash, and lets the WebSocket go on.

Each write is one binary message (none where it is empty). Writes that are queued together go below as one, big ones
alone and, unmasked, uncopied; the next ones when that has been sent, so that back-pressure reaches through.

The end of the WebSocket is the end of this stream: behind the peer's close frame reads give no bytes, and writes fail;
a failure is told behind what came before it. The close of this stream sends what is queued, within `close_timeout`,
then the WebSocket closes with its own deadlines. `shut_writing` sends the close frame, too, for there is no other half
close, but goes on reading until the peer's comes.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine import descriptor
from moorings.engine.interface import BROKEN, EndReason
from moorings.engine.stream_reading import STASH_FILL_SIZE
from moorings.engine.tcp_stream import TcpStream
from moorings.engine.web_socket import WebSocketLink
from moorings.engine.web_socket_flow import RECEIVE_QUEUE_BYTES_LIMIT, MessageFlow
from moorings.foundation.operation import Operation  # noqa: TC001 - Cython knows it from the .pxd
from moorings.protocols.web_error_status import INET_E_OPERATION_CANCELLED
from moorings.protocols.web_socket_close import CloseCode, check_close
from moorings.protocols.web_socket_frames import UNLIMITED
from moorings.protocols.web_socket_sending import SEPARATE_PAYLOAD_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    import cython

    from moorings.engine.hub import Hub
    from moorings.engine.interface import Detached
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import stash_to_buffer

#: Bytes of small writes that go out as one.
RUN_SIZE = 65536

_RUN_SIZE = RUN_SIZE
_INCOMING_LIMIT = RECEIVE_QUEUE_BYTES_LIMIT
_SEPARATE = SEPARATE_PAYLOAD_SIZE
_VECTOR = 256
_BINARY = 2
_TEXT = 1

_OPEN = 0
_CLOSING = 1
_CLOSED = 2

_COMPLETED = 1
_ERROR = 3
_FILL = 16
_EAGAIN = -errno.EAGAIN

_OURS = frozenset((EndReason.OPEN, EndReason.CLOSED_BY_US))


class StreamLink(WebSocketLink):
    """The WebSocket below a stream of bytes. Messages have no limit here: no more is kept of them than is read."""

    __slots__ = ("owner",)

    def __init__(self, lower: TcpStream, is_client: bool, owner: WebSocketStream) -> None:
        WebSocketLink.__init__(self, lower, is_client, partial=True, frame_limit=UNLIMITED, message_limit=UNLIMITED)
        self.owner: WebSocketStream | None = owner
        # Bigger pieces come in memory that the system has to find anew each time.
        self.piece = STASH_FILL_SIZE

    def on_part(self, kind: int, payload: bytes, is_final: bool) -> None:
        if kind == _TEXT:
            self.fail(CloseCode.UNSUPPORTED_DATA, "a text message on a stream of bytes")
        owner = self.owner
        if owner is None or owner.phase != _OPEN:
            self.messages_discarded += is_final
        elif len(payload):
            owner.keep(payload)

    def _taken(self) -> None:
        """The parser has returned: whoever reads is served before the peer's close frame is seen to."""
        owner = self.owner
        if owner is not None:
            owner.serve()  # which may end everything, and be the last to hold it
        MessageFlow._taken(self)


class WebSocketStream(TcpStream):
    """The bytes of a WebSocket whose opening handshake is done. Call `start` when all is set up."""

    __slots__ = (
        "close_code_sent",
        "close_reason_sent",
        "closed_handler",
        "ending",
        "failure",
        "incoming",
        "link",
        "lower",
        "peer_closed",
        "run_bytes",
        "run_open",
        "sending",
    )

    def __init__(self, hub: Hub, lower: TcpStream, label: object, is_client: bool) -> None:
        """Take over an open stream, which this one ends from now on."""
        self.lower: TcpStream | None = lower
        self.link: StreamLink = StreamLink(lower, is_client, self)
        self.link.closed_handler = self._link_closed
        self.link.failed_handler = self._link_failed
        #: What has come and nobody has asked for.
        self.incoming: Any = None
        self.peer_closed = False
        self.failure: Any = None
        #: The write below, and the bytes of ours in it, unless their operations have ended already.
        self.sending: Operation | None = None
        self.run_bytes: int = 0
        self.run_open = False
        #: Whether the closing handshake has begun, and what our close frame says.
        self.ending = False
        self.close_code_sent: Any = None
        self.close_reason_sent = ""
        #: Called once with the code and the reason with which the WebSocket was closed.
        self.closed_handler: Callable[[int, str], object] | None = None
        TcpStream.__init__(self, hub, None, label)
        self.fd = lower.fd
        lower.wait_closed().hook = self._lower_gone

    def start(self, rest: bytes = b"", **intervals: float) -> None:
        """Begin to receive; as `WebSocketLink.start`."""
        self.link.start(rest, **intervals)

    # -- receiving ---------------------------------------------------------------------------------------------------

    def keep(self, payload: bytes) -> None:
        """The next bytes of a message, while the parser is at work."""
        if self.incoming is None:
            self.incoming = payload
            self.readable = True
            return
        if isinstance(self.incoming, bytes):
            self.incoming = bytearray(self.incoming)
        self.incoming += payload

    def serve(self) -> None:
        """Give what has come to whoever waits for it; let the peer wait where that is nobody."""
        if self.incoming is not None and self.phase == _OPEN:
            self._pump_fresh()
        if self.incoming is not None and len(self.incoming) >= _INCOMING_LIMIT and not self.link.paused:
            self.link.paused = True
            self.link.times_paused += 1

    def _take_incoming(self) -> Any:
        """All that has come; None where nothing has, and the end or the failure behind it is told from now on."""
        data = self.incoming
        self.incoming = None
        if data is None:
            if self.failure is not None:
                self.read_error = self.failure
            elif self.peer_closed:
                self.eof = True
            self.readable = self.failure is not None or self.peer_closed
            return None
        self.receive_calls += 1
        self.bytes_received += len(data)
        self.readable = self.failure is not None or self.peer_closed
        link = self.link
        if link.paused and self.lower is not None:
            link.paused = False
            if not link.receiving:
                self.lower.resume_sink()
        return data

    def submit_read(self, operation: Operation) -> None:
        """Errors: E_ILLEGAL_METHOD_CALL while another read is pending."""
        if self.read_head is not None and self.phase == _OPEN:
            error = errors.illegal_call(f"{self.label}: a read while another one is pending", "await that first")
            operation.finish(_ERROR, None, error)
            return
        TcpStream.submit_read(self, operation)

    def _receive_waiting(self) -> None:
        """The short cut of the TCP stream; the longer way behind it does the same."""

    def _receive(self, operation: Operation) -> int:
        """What has come, for `operation`; the number of bytes, 0 at the end, negative where there was nothing."""
        data = self._take_incoming()
        if data is None:
            return 0 if self.eof else _EAGAIN
        count = len(data)
        taken = 0
        if operation.options == _FILL:
            operation.done_bytes = count
        else:
            taken = operation.count - operation.done_bytes
            if taken > count:
                taken = count
            stash_to_buffer(data, 0, taken, operation.buffer, operation.done_bytes)
            operation.done_bytes += taken
        if taken < count:
            if self.stash is None:
                self.stash = data
                self.stash_start = taken
            else:
                if isinstance(self.stash, bytes):
                    self.stash = bytearray(self.stash)
                self.stash += data if taken == 0 else memoryview(data)[taken:]
        if operation.progress_handler is not None:
            operation.report_progress(operation.done_bytes)
        return count

    def _fetch(self, asked: int) -> int:  # noqa: ARG002
        """Whoever is given what arrives gets it from the stash."""
        self.stash = self._take_incoming()
        return _EAGAIN

    def _pump_fresh(self) -> None:
        if self.sink is not None:
            self._pump_sink()
        elif self.read_head is not None:
            self._pump_reads()

    def look(self) -> None:
        if self.lower is not None:
            self.lower.look()
        TcpStream.look(self)

    # -- sending -----------------------------------------------------------------------------------------------------

    def _send_only(self, operation: Operation) -> bool:  # noqa: ARG002
        """The short cut of the TCP stream does not fit."""
        return False

    def _send_queue(self) -> None:
        """Make messages of what is queued, and send them until the stream below takes no more."""
        if not self.write_blocked:
            self._run_sent()
        while self.write_head is not None and not self.write_blocked and self.lower is not None:
            self._send_run()
            if (
                self.write_head is not None  # type: ignore[redundant-expr]  # pyright: ignore[reportUnnecessaryComparison]
                and (self.phase == _OPEN or self.home.in_callback)
                and not self.home.has_budget()
            ):
                assert self.hub is not None
                self.hub.defer(self)  # the peer takes it as fast as it comes: let others run
                return
        if not self.has_unsent() and self.shut_wanted and not self.write_shut and self.lower is not None:
            self._send_fin()

    def _send_run(self) -> None:
        """Send the head of the queue: one big write, or some small ones as one."""
        lower = self.lower
        assert lower is not None
        size = 0
        number = 0
        frame: Any = None
        frames: list[Any] = []
        operation: Operation | None = self.write_head
        while operation is not None and size < _RUN_SIZE and number < _VECTOR:
            count = operation.count
            if count > 0:
                if count >= _SEPARATE and number > 0:
                    break
                if number > 0:
                    frames.append(frame)
                data = operation.buffer
                if len(data) != count:
                    data = memoryview(data)[:count]
                frame = self.link.sender.message(_BINARY, data)
                size += count
                number += 1
                if count >= _SEPARATE:
                    break
            operation = operation.next_operation
        operation = None
        if size == 0:
            self._account(0)  # flush markers and empty writes
            return
        if number > 1:
            frames.append(frame)
            frame = b"".join(frames)
        self.send_calls += 1
        self.run_bytes = size
        self.run_open = True
        self.write_blocked = True
        below = self.link.submit(frame, size, True)
        lower.prepare_wait(below)
        if not below.done():
            below.hook = self._sent
            self.sending = below
            return
        self.write_blocked = False
        if below.error is not None:
            self._broke(below.error)
        else:
            self.home.turn_bytes -= size  # the stream below has counted them for this turn
            self._end_run()

    def _sent(self, operation: Operation, state: int) -> None:
        """The write below has ended: go on when the hub's callback ends, not in the middle of somebody else's work."""
        self.sending = None
        self.write_blocked = False
        if state != _COMPLETED and self.failure is None:
            self.failure = operation.error
        if self.hub is not None and not self.home.loop.is_closed():
            self.hub.mark_dirty(self)

    def _run_sent(self) -> None:
        """The write below that was waited for, if any, has ended: tell its operations, before anything else is sent."""
        if self.failure is not None and self.write_error is None:
            self._broke(self.failure)
        self._end_run()

    def _end_run(self) -> None:
        """The writes of the run have been handed over."""
        if self.run_open:
            count = self.run_bytes
            self.run_open = False
            self.run_bytes = 0
            if self.write_head is not None:
                self._account(count)

    def _fail_writes(self) -> None:
        self.run_open = False
        self.run_bytes = 0
        TcpStream._fail_writes(self)

    def _send_fin(self) -> None:
        """Nothing may follow a close frame."""
        self.write_shut = True
        self.link.close(self.close_code_sent, self.close_reason_sent)

    def on_flush(self) -> None:
        """Go on: something was queued here, or was sent below."""
        self._send_queue()
        if self.phase == _CLOSING and self.lingering is not None and not self.has_unsent():
            self.lingering.proceed()

    def on_turn(self) -> None:
        self.on_flush()
        if self.phase == _OPEN:
            self._pump_fresh()

    def has_unsent(self) -> bool:
        return self.write_head is not None or self.sending is not None

    # -- what the WebSocket tells ------------------------------------------------------------------------------------

    def _link_closed(self, code: int, reason: str) -> None:
        handler = self.closed_handler
        self.closed_handler = None
        if handler is not None:
            handler(code, reason)
        if self.phase != _OPEN or self.peer_closed:
            return
        self.peer_closed = True
        if self.end_reason == EndReason.OPEN:
            self.end_reason = EndReason.CLOSED_BY_PEER
        self._stop_writes(self.link.refusal())

    def _link_failed(self, error: OSError) -> None:
        self._broke(error)

    def _broke(self, error: OSError) -> None:
        """It broke, or the peer broke the protocol: told behind what came before."""
        if self.phase == _CLOSED:
            return
        self.failure = error
        if self.end_reason == EndReason.OPEN:
            reason = EndReason.OPEN if self.lower is None else self.lower.end_reason
            self.end_reason = reason if reason in BROKEN else EndReason.ABORTED
        self._stop_writes(error)

    def _stop_writes(self, error: OSError) -> None:
        """No write can be done any more, and reading has an end."""
        if self.write_error is None:
            self.write_error = error
        self._fail_writes()
        if self.phase == _OPEN:
            self.readable = True
            self._pump_fresh()

    def _lower_gone(self, _operation: Operation, _state: int) -> None:
        """The stream below has ended. What it brought can still be read."""
        lower = self.lower
        self.fd = -1
        if lower is None or self.phase == _CLOSED or self.home.dropped:
            return
        self.lower = None
        if self.phase == _CLOSING:
            self._note_end(lower)
            self._release()
        elif not self.peer_closed and self.failure is None:
            self._note_end(lower)
            self._broke(errors.aborted(f"{self.label} was aborted"))

    def _note_end(self, lower: TcpStream) -> None:
        """Where it did not end as it should, the stream below knows why."""
        reason = lower.end_reason
        if self.end_reason in _OURS and self.link.close_code in {0, CloseCode.ABNORMAL_CLOSURE}:
            if reason in BROKEN or reason == EndReason.ABORTED:
                self.end_reason = reason
            elif self.end_reason == EndReason.OPEN:
                self.end_reason = EndReason.ABORTED

    # -- ending ------------------------------------------------------------------------------------------------------

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Fail reads, let queued writes go out within `close_timeout` seconds, close the WebSocket; returns at once.

        The close frame has the code and the reason, or is empty. Errors: E_INVALIDARG for those that may not be sent;
        nothing is closed then.
        """
        if code is not None:
            check_close(code, reason)
        if self.phase == _OPEN and not self.shut_wanted:
            self.close_code_sent = code
            self.close_reason_sent = reason
        if self.home.loop.is_closed():
            self.abort()  # nobody can wait for the peer's answer
        else:
            TcpStream.close(self)

    def must_linger(self) -> bool:
        return self.phase == _CLOSING and self.has_unsent()

    def finish_close(self) -> None:
        """Nothing is to be sent any more: the closing handshake, which has its own deadline."""
        if self.phase != _CLOSING or self.ending:
            return
        if self.has_unsent() or self.has_gap():
            self.abort()  # a clean end would tell the peer that it has everything
            return
        self.ending = True
        lingering = self.lingering
        self.lingering = None
        if lingering is not None:
            lingering.stop()
        self.incoming = self.stash = None
        if self.lower is None:
            self._release()
        elif not self.write_shut:
            self._send_fin()

    def cancel_io(self) -> None:
        """End all pending I/O; the run that is being sent counts as handed over, so that its messages stay whole."""
        if self.phase == _OPEN:
            self._send_queue()
            self._end_run()
        blocked = self.write_blocked
        self.write_blocked = True  # nothing new is begun while the queue is taken apart
        TcpStream.cancel_io(self)
        self.write_blocked = blocked
        if not blocked and self.hub is not None and self.has_unsent():
            self.hub.defer(self)

    def tear_down(self) -> None:
        if self.phase == _CLOSED:
            return
        if (
            self.stash is not None
            or self.incoming is not None
            or self.has_unsent()
            or (self.bytes_sent > 0 and self.fd >= 0 and descriptor.unacknowledged_bytes(self.fd) > 0)
        ):
            self.abort()
        else:
            self.close()

    def abort(self) -> None:
        """End at once, without a close frame; the peer sees RST."""
        if self.phase == _CLOSED:
            return
        if self.end_reason in _OURS:
            self.end_reason = EndReason.ABORTED
        self._release()

    def _abort_reads(self) -> None:
        operation = self.read_head
        self.read_head = self.read_tail = None
        while operation is not None:
            following = operation.next_operation
            operation.next_operation = None
            operation.finish(_ERROR, None, self._closed_meanwhile())
            operation = following

    def _closed_meanwhile(self) -> OSError:
        text = f"{self.label} was closed while an operation was pending"
        return errors.make(INET_E_OPERATION_CANCELLED, text, errno=errno.ECANCELED)

    def _release(self) -> None:
        lower = self.lower
        if lower is not None:
            self._tell_owner()  # as long as there is somebody to ask
        self.lower = None
        self.fd = -1
        self.incoming = self.stash = None
        if self.sending is not None:
            self.sending.hook = None
            self.sending = None
        if self.write_head is not None and self.write_error is None:
            self.write_error = self._closed_meanwhile()
        TcpStream._release(self)
        link = self.link
        if lower is not None:
            link.abort()
        # What refers to each other stays until the garbage collector comes.
        link.owner = link.closed_handler = link.failed_handler = None

    def on_drop(self) -> None:
        """In a forked child: the stream below is told by itself."""
        self.lower = None
        self.fd = -1
        TcpStream.on_drop(self)

    def detach(self) -> Detached:
        """Errors: ERROR_NOT_SUPPORTED: nobody else could go on with the WebSocket."""
        raise errors.not_supported(f"{self.label}: giving away a WebSocket", "its stream before the opening handshake")
