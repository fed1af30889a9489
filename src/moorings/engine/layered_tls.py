"""TLS over any other byte stream: a tunnel, a scripted stream, TLS itself.

Theory of operation
-------------------
The TLS stream with yet other leaves. Ciphertext comes out of the stash of the stream below, which is filled only while
somebody wants to read here; a run of records is one write below, and the next run is encrypted when that write has
ended, so that back-pressure reaches through. What the stream below tells only sets a mark and puts this one on the
hub's list: the work is done when the hub's callback ends, never in the middle of somebody else's.

From the handshake on the stream below belongs to this one, which ends it: after close_notify its own close begins,
under the deadline of this one; an abort aborts it. If it ends by itself this stream has ended, too. `fd` is the number
of the lowest descriptor, for looking only.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine.interface import EndReason
from moorings.engine.tls_stream import TlsStream

if TYPE_CHECKING:
    import cython

    from moorings.engine.hub import Hub
    from moorings.engine.interface import ByteStream, Detached
    from moorings.foundation.operation import Operation
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass

_OPEN = 0
_CLOSING = 1
_CLOSED = 2

_EAGAIN = -errno.EAGAIN

_OURS = frozenset((EndReason.OPEN, EndReason.CLOSED_BY_US))
_UNBROKEN = frozenset((EndReason.OPEN, EndReason.CLOSED_BY_US, EndReason.CLOSED_BY_PEER))


class LayeredTlsStream(TlsStream):
    """A byte stream over which a TLS handshake is done."""

    __slots__ = (
        "ending",
        "filling",
        "looking",
        "lower",
        "lower_eof",
        "receive_failure",
        "send_failure",
        "sending",
        "wire_sent",
    )

    def __init__(
        self, hub: Hub, lower: ByteStream, label: object, session: Any, *, expects_tickets: bool = False
    ) -> None:
        """Take over an open stream and the session that shook hands over it; else as `TlsStream`."""
        self.lower: Any = lower
        #: What is pending below: a fill of the stash, and the write of `wire`, which `wire_sent` tells to be done.
        self.receive_calls: int = 0
        self.send_calls: int = 0
        self.filling: Operation | None = None
        self.sending: Operation | None = None
        self.wire_sent = False
        self.lower_eof = False
        #: Whether it has to be known now what has arrived.
        self.looking = False
        self.receive_failure: Any = None
        self.send_failure: Any = None
        #: Whether the stream below is closing because this one did.
        self.ending = False
        TlsStream.__init__(self, hub, None, label, session, expects_tickets=expects_tickets)
        self.fd = lower.fd
        self.wire_readable = self.readable = True
        lower.wait_closed().hook = self._lower_gone

    # -- receiving ---------------------------------------------------------------------------------------------------

    def _receive_wire(self, asked: int) -> int:  # noqa: ARG002
        lower = self.lower
        if lower.stash_size() == 0:
            if self.filling is None and self.receive_failure is None and not self.lower_eof:
                self._fill()
            if self.filling is not None:
                if self.looking:
                    lower.look()
                if self.filling is not None:  # pyright: ignore[reportUnnecessaryComparison]
                    return _EAGAIN
        if lower.stash_size() == 0:
            if self.receive_failure is not None:
                return -(self.receive_failure.errno or errno.EIO)
            if self.lower_eof:
                return 0
        assert self.hub is not None
        assert self.hub.block is not None
        ciphertext: bytes = lower.take_stash(self.hub.block.size)
        self.session.feed(ciphertext)
        return len(ciphertext)

    def _fill(self) -> None:
        operation = self.lower.fill()
        self.receive_calls += 1
        if operation.done():
            self._note_fill(operation)
        else:
            operation.hook = self._filled
            self.filling = operation

    def look(self) -> None:
        self.lower.look()
        TlsStream.look(self)

    def _note_fill(self, operation: Operation) -> None:
        if operation.error is not None:
            self.receive_failure = operation.error
        elif operation.result_value == 0:
            self.lower_eof = True

    def _filled(self, operation: Operation, _state: int) -> None:
        self.filling = None
        self._note_fill(operation)
        self.wire_readable = self.readable = True
        self._go_on()

    def _go_on(self) -> None:
        if self.hub is not None and not self.home.loop.is_closed():
            self.hub.mark_dirty(self)

    # -- sending -----------------------------------------------------------------------------------------------------

    def _send_wire(self) -> int:
        if not self.wire_sent and self.send_failure is None:
            lower = self.lower
            self.send_calls += 1
            if self.home.loop.is_closed():
                # It is queued, although nobody can be told to send it: the close below, which comes next, does.
                with suppress(OSError, RuntimeError):
                    lower.write(self.wire, self.wire_size)
                return self.wire_size
            operation = lower.write(self.wire, self.wire_size)
            lower.prepare_wait(operation)
            if not operation.done():
                operation.hook = self._sent
                self.sending = operation
                return _EAGAIN
            self._note_sent(operation)
        if self.send_failure is not None:
            return -(self.send_failure.errno or errno.EIO)
        self.wire_sent = False
        return self.wire_size

    def _note_sent(self, operation: Operation) -> None:
        if operation.error is not None:
            self.send_failure = operation.error
        else:
            self.wire_sent = True

    def _sent(self, operation: Operation, _state: int) -> None:
        self.sending = None
        self._note_sent(operation)
        self.write_blocked = False
        self._go_on()

    def _broken(self, code: int, verb: str) -> OSError:
        """The stream below is broken: its own error says best why."""
        error = self.send_failure if verb == "sending" else self.receive_failure
        if error is None:
            return TlsStream._broken(self, code, verb)
        if self.write_error is None:
            self.write_error = error
        if self.end_reason in (EndReason.OPEN, EndReason.CLOSED_BY_PEER):
            reason = self.lower.end_reason
            self.end_reason = EndReason.RESET if reason in _UNBROKEN else reason
        return error  # type: ignore[no-any-return]

    def _send_fin(self) -> None:
        self.write_shut = True
        self.lower.shut_writing()

    def on_flush(self) -> None:
        """Go on with everything: something was queued here, or something has happened below."""
        TlsStream.on_flush(self)
        if self.phase == _OPEN:
            if self.read_head is not None:
                self._pump_reads()
            elif self.sink is not None:
                self._pump_sink()
        elif self.lingering is not None and not self.ending and not self.has_unsent():
            self.lingering.proceed()

    # -- ending ------------------------------------------------------------------------------------------------------

    def finish_close(self) -> None:
        """Nothing can be waited for here any more: the end of the stream below begins."""
        if self.phase != _CLOSING or self.ending:
            return
        if self.has_unsent() or self.write_error is not None or self.has_gap():
            self.abort()  # a clean end would tell the peer that it has everything
            return
        if self._has_unread():
            self._release()
            return
        self.ending = True
        self._forget_pending()  # that the stream below ends it is no failure of ours
        self._tell_owner()
        lower = self.lower
        lower.close_timeout = self.close_timeout
        lower.close()

    def _has_unread(self) -> bool:
        self.looking = True
        try:
            return TlsStream._has_unread(self)
        finally:
            self.looking = False

    def _lower_gone(self, _operation: Operation, _state: int) -> None:
        """The stream below has ended: because this one did, or because the loop or its deadline did away with it."""
        if self.phase == _CLOSED:
            return
        reason = self.lower.end_reason
        if self.end_reason in _OURS and not (self.ending and reason in _UNBROKEN):
            self.end_reason = EndReason.ABORTED if reason in _UNBROKEN else reason
        self._release()

    def _release(self) -> None:
        lower = self.lower
        if lower is not None:
            self.fd = lower.fd
            self._tell_owner()  # as long as there is somebody to ask
        self.lower = None
        self.fd = -1
        self._forget_pending()
        TlsStream._release(self)
        if lower is not None:
            lower.abort()

    def _forget_pending(self) -> None:
        if self.filling is not None:
            self.filling.hook = None
        if self.sending is not None:
            self.sending.hook = None
        self.filling = self.sending = None

    def on_drop(self) -> None:
        """In a forked child: the stream below is told by itself."""
        self.lower = None
        self.fd = -1
        TlsStream.on_drop(self)

    def detach(self) -> Detached:
        """Errors: ERROR_NOT_SUPPORTED: what lies below does not carry the keys."""
        raise errors.not_supported(f"{self.label}: giving away TLS over another stream", "TLS directly on a descriptor")
