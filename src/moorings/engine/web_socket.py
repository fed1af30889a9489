"""One WebSocket: its life and its endings, on top of the flow of messages.

Theory of operation
-------------------
`STEPS` is the table of what may happen when, and what is done then. The program's close sends a close frame, behind
whatever is queued, and waits `close_wait` seconds for the peer's; the peer's close frame is answered at once. Then a
server ends the connection; a client lets the server do it (RFC 6455 section 7.1.1). What breaks the protocol is told
so with a close frame, and not listened to any more. Each ending has a deadline, and in the end the stream is closed
under its own, or aborted.

`closed` is told once, and only where a close frame came or the program closed: with the peer's code, 1005 where its
close frame was empty, 1006 where none came in time. Where the connection just breaks nobody is told that it was closed:
those who wait for messages get the error, behind the last message.

One timer serves all: the close wait, or before it what `web_socket_life` does.

Sources: RFC 6455 sections 5.5 and 7; the WinRT reference of `MessageWebSocket.Closed`.
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine.interface import EndReason
from moorings.engine.linger import guard_end_of_loop
from moorings.engine.web_socket_flow import PING_LIMIT, MessageFlow
from moorings.engine.web_socket_life import FRAME_TIMEOUT, Liveness
from moorings.foundation.operation import Operation
from moorings.protocols.web_error_status import (
    INET_E_CONNECTION_ABORTED,
    INET_E_CONNECTION_RESET,
    INET_E_DISCONNECTED,
    INET_E_OPERATION_CANCELLED,
    INET_E_TIMEOUT,
    WEB_E_RESOURCE_TOO_LARGE,
    WEB_SOCKET_E_PROTOCOL,
)
from moorings.protocols.web_socket_close import CLOSE_REASON_LIMIT, CloseCode
from moorings.protocols.web_socket_frames import FRAME_LIMIT, MESSAGE_LIMIT

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Callable

    import cython

    from moorings.engine.tcp_stream import TcpStream
    from moorings.protocols.web_socket_close import WebSocketProtocolError
    from moorings.protocols.web_socket_deflate import Deflater, Inflater
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass

#: Seconds that the peer has to answer our close frame, and a server to end the connection.
CLOSE_WAIT = 10.0

_OPEN = 0
_CLOSING = 1
_CLOSED = 2
_DEAF = 3
_ENDED = 4

_COMPLETED = 1
_ERROR = 3
_OPERATION = 1
_NEXT = 2
_PING = 33

#: By stage and by what happens: what is done, and the next stage. What has no row changes nothing.
STEPS = {
    (_OPEN, "close"): ("_begin_close", _CLOSING),
    (_OPEN, "peer closes"): ("_answer_close", _CLOSED),
    (_OPEN, "violation"): ("_tell_violation", _DEAF),
    (_OPEN, "end"): ("_break", _ENDED),
    (_OPEN, "silence"): ("_give_up", _ENDED),
    (_CLOSING, "peer closes"): ("_be_answered", _CLOSED),
    (_CLOSING, "violation"): ("_end_unanswered", _ENDED),
    (_CLOSING, "end"): ("_end_unanswered", _ENDED),
    (_CLOSING, "timer"): ("_cut_off", _ENDED),
    (_CLOSED, "end"): ("_end_stream", _ENDED),
    (_CLOSED, "timer"): ("_end_stream", _ENDED),
    (_DEAF, "end"): ("_end_stream", _ENDED),
    (_DEAF, "timer"): ("_end_stream", _ENDED),
}

#: Codes of a close frame behind which nothing is wrong.
_CLEAN = frozenset((CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RECEIVED))

# What the system says when a connection breaks, in the words of the web.
_WEB_ERRORS = {
    errno.ECONNRESET: INET_E_CONNECTION_RESET,
    errno.EPIPE: INET_E_CONNECTION_RESET,
    errno.ECONNABORTED: INET_E_CONNECTION_ABORTED,
    errno.ETIMEDOUT: INET_E_TIMEOUT,
}


class WebSocketLink(MessageFlow):
    """One WebSocket over a stream on which the opening handshake is done. Call `start` when all is set up."""

    __slots__ = (
        "close_code",
        "close_reason",
        "close_wait",
        "closed_handler",
        "error",
        "failed_handler",
        "latency",
        "left",
        "life",
        "pending_violation",
        "pings_sent",
        "protocol_failures",
        "timer",
        "told_closed",
        "told_failed",
    )

    def __init__(
        self,
        stream: TcpStream,
        is_client: bool,
        *,
        partial: bool = False,
        frame_limit: int = FRAME_LIMIT,
        message_limit: int = MESSAGE_LIMIT,
        inflater: Inflater | None = None,
        deflater: Deflater | None = None,
    ) -> None:
        MessageFlow.__init__(
            self,
            stream,
            is_client,
            partial=partial,
            frame_limit=frame_limit,
            message_limit=message_limit,
            inflater=inflater,
            deflater=deflater,
        )
        self.close_wait: float = CLOSE_WAIT
        #: What `closed` tells; 0 before.
        self.close_code = 0
        self.close_reason = ""
        #: Called once with code and reason.
        self.closed_handler: Callable[[int, str], object] | None = None
        #: Called once with the error, behind the last message, where the messages go to a handler.
        self.failed_handler: Callable[[OSError], object] | None = None
        self.told_closed = False
        self.told_failed = False
        #: Whether the program has closed it.
        self.left = False
        self.error: Any = None
        self.pending_violation: WebSocketProtocolError | None = None
        self.timer: TimerHandle | None = None
        self.life: Liveness | None = None
        self.pings_sent = 0
        self.protocol_failures = 0
        #: Round trip time of the last answered ping in seconds; 0.0 before.
        self.latency = 0.0

    def start(
        self,
        rest: bytes = b"",
        *,
        pong_interval: float = 0.0,
        ping_interval: float = 0.0,
        ping_timeout: float = 0.0,
        frame_timeout: float = FRAME_TIMEOUT,
    ) -> None:
        """Begin to receive; `rest` is what came behind the opening handshake.

        Intervals are in seconds, 0 is off. `pong_interval`: an unsolicited pong each time. `ping_interval`: a ping when
        nothing was heard for so long; if then nothing is heard for `ping_timeout`, the peer is gone. So is one that
        stops in the middle of a frame, or takes nothing of what is sent, for `frame_timeout`.
        """
        if rest:
            self.stream.unread(rest)
        self.stream.give_to(self)
        if pong_interval > 0 or ping_interval > 0 or frame_timeout > 0:
            self.life = Liveness(self, pong_interval, ping_interval, ping_timeout, frame_timeout)
            self.life.start()

    # -- what happens ------------------------------------------------------------------------------------------------

    def _step(self, event: str) -> None:
        step = STEPS.get((self.stage, event))
        if step is None:
            return
        action, self.stage = step
        getattr(self, action)()

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Close with a code, or with an empty close frame. What is queued goes out before; messages are not taken
        any more. A second call does nothing. E_INVALIDARG for a code or reason that may not be sent.
        """
        if self.stage == _OPEN:
            self.pending_violation = None
            # Checked, and made, before anything changes.
            frame = self.sender.close(code, reason)
            self.left = True
            if not self.stream.has_gap():
                self._queue(frame)
            self._step("close")
        elif not self.left:
            self.left = True
            self._forget_messages()
            self.deliver()

    def abort(self) -> None:
        """End at once: the stream is reset, and nothing is waited for."""
        self.left = True
        self.stage = _ENDED
        self._stop_timer()
        self._forget_messages()
        self._over()
        self._leave_stream()
        self.stream.abort()

    def on_close(self, code: int, reason: str) -> None:
        self.close_received = True
        self.close_code = code
        self.close_reason = reason

    def peer_closed(self) -> None:
        self._step("peer closes")

    def violated(self, error: WebSocketProtocolError) -> None:
        self.protocol_failures += 1
        self.pending_violation = error
        self._step("violation")

    def ended(self) -> None:
        self._step("end")

    def released(self) -> None:
        """The stream was aborted below us: by a cancelled write, by its deadline, or by the end of the loop."""
        stage = self.stage
        if stage == _ENDED:
            return
        self.stage = _ENDED
        self._stop_timer()
        if stage == _CLOSING:
            self.close_code = int(CloseCode.ABNORMAL_CLOSURE)
        self.error = self.error or errors.aborted(f"{self.stream.label} was aborted")
        # (In a forked child whoever waits is the parent's.)
        if not self.home.dropped and not self.home.loop.is_closed():
            self._over()

    def silent(self, text: str) -> None:
        """Nothing was heard of the peer for too long; `text` has the numbers."""
        reason = f"{self.stream.label}: the peer is silent: {text}"
        self.error = errors.make(INET_E_TIMEOUT, reason, errno=errno.ETIMEDOUT)
        self._step("silence")

    def is_leaving(self) -> bool:
        return _OPEN < self.stage < _ENDED

    def explain(self, error: OSError) -> OSError:
        code = error.errno
        hresult = _WEB_ERRORS.get(code) if code is not None else None
        if hresult is None:
            return error
        return errors.make(hresult, str(error.strerror), errno=code)

    # -- what is done (whoever waits is told before the stream ends: that may resume those who wait for its end) -----

    def _begin_close(self) -> None:
        self._stop_life()
        self._arm(self.close_wait, self._on_timer)
        hub = self.stream.hub
        if hub is not None:
            guard_end_of_loop(hub)
        self._forget_messages()
        self._over()
        if self.stage == _CLOSING and self.stream.has_gap():
            self._on_timer()  # a close frame behind a gap would say that the peer has everything

    def _answer_close(self) -> None:
        self._stop_life()
        if not self.stream.has_gap():
            self._queue(self.sender.close_answer(self.close_code))
        self._over()
        self._part()

    def _be_answered(self) -> None:
        self._tell_closed()
        self._part()

    def _part(self) -> None:
        """Both close frames are out: the server ends the connection, the client waits for that."""
        if not self.sender.is_client:
            self._step("timer")
            return
        if self.timer is None:
            self._arm(self.close_wait, self._on_timer)
        hub = self.stream.hub
        if hub is not None:
            guard_end_of_loop(hub)

    def _tell_violation(self) -> None:
        error = self.pending_violation
        assert error is not None
        self.pending_violation = None
        self._stop_life()
        hresult = WEB_E_RESOURCE_TOO_LARGE if error.limit else WEB_SOCKET_E_PROTOCOL
        self.error = errors.make(hresult, f"{self.stream.label}: {error}", cause=error.again())
        stream = self.stream
        if not stream.has_gap():
            reason = error.text.encode()[:CLOSE_REASON_LIMIT].decode("utf-8", "ignore")
            self._queue(self.sender.close(int(error.close_code), reason))
        stream.shut_writing()
        self.paused = False
        self.held = None
        self._arm(self.close_wait, self._on_timer)
        hub = stream.hub
        if hub is not None:
            guard_end_of_loop(hub)
        self._over()

    def _break(self) -> None:
        stream = self.stream
        error = stream.read_error
        if error is None or stream.end_reason == EndReason.TRUNCATED:
            if stream.end_reason == EndReason.CLOSED_BY_PEER:
                stream.end_reason = EndReason.TRUNCATED
            reason = f"{stream.label}: the connection ended without a close frame"
            error = errors.make(INET_E_CONNECTION_ABORTED, reason, errno=errno.ECONNABORTED, cause=error)
        self.error = stream.read_error = error  # as reading would have told it
        self._over()
        self._end_stream()

    def _give_up(self) -> None:
        stream = self.stream
        if stream.end_reason == EndReason.OPEN:
            stream.end_reason = EndReason.TIMED_OUT
        if stream.write_error is None:
            stream.write_error = self.error
        self._over()
        self._stop_timer()
        self._leave_stream()
        stream.abort()

    def _end_unanswered(self) -> None:
        self.close_code = int(CloseCode.ABNORMAL_CLOSURE)
        self._tell_closed()
        self._end_stream()

    def _cut_off(self) -> None:
        self.close_code = int(CloseCode.ABNORMAL_CLOSURE)
        self._tell_closed()
        self._stop_timer()
        self._leave_stream()
        self.stream.abort()

    def _end_stream(self) -> None:
        self._stop_timer()
        self._leave_stream()
        self.stream.close()

    def _leave_stream(self) -> None:
        """What comes of the stream from now on is of no interest."""
        if self.stream.sink is self:
            self.stream.sink = None

    # -- telling -----------------------------------------------------------------------------------------------------

    def _forget_messages(self) -> None:
        """The program has closed: what it has not taken is gone."""
        self.messages_discarded += len(self.queue) - self.first
        self.queue.clear()
        self.first = 0
        self.queued_payload = 0

    def _over(self) -> None:
        """Nothing will come behind what is queued."""
        self.over = True
        self._end_pings()
        if self.handler is None and self.close_code and self.stage != _CLOSING:
            self._tell_closed()  # nobody says when the messages will be taken
        self.deliver()

    def told_all(self) -> None:
        operation = self.receive_head
        self.receive_head = self.receive_tail = None
        while operation is not None:
            following = operation.next_operation
            operation.next_operation = None
            operation.finish(_ERROR, None, self._pending_error(operation))
            operation = following
        if self.error is not None and not self.left and self.failed_handler is not None and not self.told_failed:
            self.told_failed = True
            self.failed_handler(self.error)
        if self.close_code and self.stage != _CLOSING:
            self._tell_closed()

    def _tell_closed(self) -> None:
        handler = self.closed_handler
        if self.told_closed:
            return
        self.told_closed = True
        if handler is not None:
            handler(self.close_code, self.close_reason)

    def _pending_error(self, operation: Operation) -> BaseException:
        if self.left and operation.options != _NEXT:
            text = f"{self.stream.label} was closed while an operation was pending"
            return errors.make(INET_E_OPERATION_CANCELLED, text, errno=errno.ECANCELED)
        return self.end_of(operation)

    def end_of(self, operation: Operation) -> BaseException:
        if operation.options == _NEXT and (self.left or (self.error is None and self.close_code in _CLEAN)):
            return StopAsyncIteration()
        return self.refusal()

    def refusal(self) -> OSError:
        if self.left:
            return errors.closed(f"{self.stream.label}")
        error = self.error
        if error is not None:
            again: OSError = error.with_traceback(None)
            return again
        said = f"{self.close_code} {self.close_reason}".rstrip()
        return errors.make(
            INET_E_DISCONNECTED, f"{self.stream.label}: the peer has closed it ({said})", errno=errno.ENOTCONN
        )

    # -- pings -------------------------------------------------------------------------------------------------------

    def ping(self, payload: bytes = b"") -> Operation:
        """Send a ping; the operation gives the seconds until its pong came. Cancelling it only ends the waiting.

        E_INVALIDARG for more than 125 bytes, and for the payload of a ping that waits; WSAENOBUFS where too many wait.
        """
        if self.stage != _OPEN:
            raise self.refusal()
        if self.pings_waiting >= PING_LIMIT:
            text = f"{self.stream.label}: {PING_LIMIT} pings wait for their pongs"
            raise errors.from_errno(errno.ENOBUFS, text)
        self.pings_sent += 1
        data = payload or self.pings_sent.to_bytes(8, "big")
        last: Operation | None = None
        waiting = self.ping_head
        while waiting is not None:
            if waiting.buffer == data:
                raise errors.invalid_argument("a ping with this payload waits already")
            last = waiting
            waiting = waiting.next_operation
        operation = Operation(self.home, self, _OPERATION)
        operation.options = _PING
        operation.face = True
        operation.buffer = data
        operation.subject = self._queue(self.sender.ping(data))
        operation.done_bytes = time.monotonic_ns()
        self.pings_waiting += 1
        if last is None:
            self.ping_head = operation
        else:
            last.next_operation = operation
        return operation

    def send_pong(self) -> None:
        """A pong that nobody asked for: it keeps what lies between alive."""
        if self.stage == _OPEN and not self.stream.has_gap() and self.stream.queued_bytes == 0:
            self._queue(self.sender.pong())

    def send_probe(self) -> None:
        """A ping whose pong nobody waits for."""
        if self.stage == _OPEN and not self.stream.has_gap():
            self._queue(self.sender.ping())

    def note_pong(self, last: Operation) -> None:
        now = time.monotonic_ns()
        self.latency = (now - last.done_bytes) / 1e9
        operation = self.ping_head
        self.ping_head = last.next_operation
        last.next_operation = None
        while operation is not None:
            following = operation.next_operation
            operation.next_operation = None
            operation.subject = None
            self.pings_waiting -= 1
            # (The parser is at work: whoever waits goes on in the next turn.)
            eager = self.home.eager
            self.home.eager = False
            operation.finish(_COMPLETED, (now - operation.done_bytes) / 1e9, None)
            self.home.eager = eager
            operation = following

    def _end_pings(self) -> None:
        operation = self.ping_head
        self.ping_head = None
        while operation is not None:
            following = operation.next_operation
            operation.next_operation = None
            operation.subject = None
            self.pings_waiting -= 1
            operation.finish(_ERROR, None, self._pending_error(operation))
            operation = following

    # -- the timer ---------------------------------------------------------------------------------------------------

    def _on_timer(self) -> None:
        self.timer = None
        self._step("timer")

    def _arm(self, seconds: float, callback: Callable[[], object]) -> None:
        self._stop_timer()
        self.timer = self.home.loop.call_later(seconds, callback)

    def _stop_timer(self) -> None:
        timer = self.timer
        self.timer = None
        if timer is not None:
            timer.cancel()
        self._stop_life()

    def _stop_life(self) -> None:
        life = self.life
        self.life = None
        if life is not None:
            life.stop()
