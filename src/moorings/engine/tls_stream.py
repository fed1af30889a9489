"""TLS directly on a TCP descriptor: the TCP stream, with other leaves.

Theory of operation
-------------------
Queues, budgets, cancelling and lingering are the TCP stream's. Three things differ. *Receiving* takes ciphertext into
the loop's block, feeds it to the session, and decrypts into the same block; what the session holds already counts as
readable (`wire_readable` is what `readable` is for TCP). *Sending* encrypts the queued pieces as one run of records, up
to 64 KiB, and keeps what the kernel does not take (`wire`): no record is ever left half sent. The writes of a run are
accounted for when the run has been sent completely, so that an awaited write means what it means on TCP. *Ending* says
close_notify behind the queue, before FIN. An end without it is TRUNCATED, and the read that meets it raises.

A close does not wait for the peer's close_notify: it would tell nothing that matters, and a silent peer could hold us.
It waits only where the kernel's answer to something that nobody will read, an unread message or the session tickets
that a server sends late, would be an RST that overtakes what the peer has not acknowledged. Tickets and key updates
alone do not count as unread.

What the session has to answer is sent when the hub's callback ends, never in the middle of a read. Records without
data cost a peer little and us much: they count as bytes of the loop turn, and too many in a row, or too many answers
that the peer does not take, end the session. While little comes, little is asked for at once.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from moorings.engine import descriptor
from moorings.engine.stream_reading import BULK_SIZE, STILL_RECEIVING
from moorings.engine.tcp_stream import TcpStream
from moorings.engine.tls_codec import FailureKind, TlsFailure
from moorings.engine.tls_detaching import detach_tls
from moorings.engine.tls_ending import fail, truncate
from moorings.foundation.home import TURN_BYTES_LIMIT

if TYPE_CHECKING:
    import cython

    from moorings.engine.hub import Hub
    from moorings.engine.interface import Detached
    from moorings.foundation.operation import Operation
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import block_bytes, block_to_stash, receive_block, send_one
    from moorings.engine._pure_records import FAILED, records_of

if TYPE_CHECKING:
    from socket import socket

#: Plaintext bytes that are encrypted and sent in one go.
TLS_RUN_SIZE = 65536
#: Receive calls that closing makes to find out whether something was left unread.
LAST_LOOKS = 16

#: Bytes of records without data (key updates, session tickets, requests to renegotiate) that a peer may send in a row.
TLS_IDLE_LIMIT = 32768
#: Bytes of answers to such records that wait for a peer that takes none.
TLS_ANSWERS_LIMIT = 65536

_RUN_SIZE = TLS_RUN_SIZE
_IDLE_LIMIT = TLS_IDLE_LIMIT
_ANSWERS_LIMIT = TLS_ANSWERS_LIMIT
_BULK_SIZE = BULK_SIZE
_LAST_LOOKS = LAST_LOOKS
_VECTOR = 256
_FILL_SIZE = 65536
_TURN_BYTES_LIMIT = TURN_BYTES_LIMIT
_READ_AHEAD = 2
_FILL = 16

_OPEN = 0
_CLOSING = 1
_CLOSED = 2

_READ_EVENTS = 0x1 | 0x2 | 0x8 | 0x10 | 0x2000
_EAGAIN = -errno.EAGAIN


class TlsStream(TcpStream):
    """A TCP descriptor whose TLS handshake is done."""

    __slots__ = (
        "codec",
        "expects_tickets",
        "idle_bytes",
        "notified",
        "overhead",
        "records",
        "run_bytes",
        "run_open",
        "send_error",
        "session",
        "session_failed",
        "wire",
        "wire_readable",
        "wire_size",
        "wire_start",
    )

    def __init__(
        self, hub: Hub, connected: socket | int | None, label: object, session: Any, *, expects_tickets: bool = False
    ) -> None:
        """Take over a connected non-blocking socket and its session; `expects_tickets` on the client's side of TLS 1.3.

        `label` names the connection in errors, by its text.
        """
        self.session: Any = session
        #: The session's records by OpenSSL's own calls, where that works; what moves its bytes, this or that.
        self.records: Any = None
        self.codec: Any = session
        self.expects_tickets = expects_tickets
        self.wire_readable = False
        self.wire: Any = None
        self.wire_start: int = 0
        self.wire_size: int = 0
        #: Plaintext bytes of the run in `wire`, and whether there is a run in it.
        self.run_bytes: int = 0
        self.run_open = False
        #: The errno of a send whose bytes are in `wire` now.
        self.send_error = 0
        self.notified = False
        self.session_failed = False
        #: Ciphertext since the last plaintext, and what of it the loop turn's budget has not been charged with.
        self.idle_bytes: int = 0
        self.overhead: int = 0
        TcpStream.__init__(self, hub, connected, label)
        if connected is not None:
            self.records = records_of(session)
        if self.records is not None:
            self.codec = self.records
            if self.records.wants_send():
                hub.mark_dirty(self)
        self.readable = self.codec.has_buffered()  # what came together with the end of the handshake

    # -- receiving ---------------------------------------------------------------------------------------------------

    def on_events(self, mask: int) -> None:
        if mask & _READ_EVENTS:
            self.wire_readable = True
        TcpStream.on_events(self, mask)

    def _receive_waiting(self) -> None:
        """The short cut of the TCP stream; without `records` the longer way behind it does the same."""
        operation = self.read_head
        home = self.home
        assert operation is not None
        if self.records is None or home.turn_bytes >= _TURN_BYTES_LIMIT:
            return
        count = self._decrypt(operation, operation.count)
        if count <= 0:
            return
        self.bytes_received += count
        home.turn_bytes += count
        operation.done_bytes = count
        self.read_head = self.read_tail = None
        resume = self._end_read(operation, 1)
        operation = None
        if resume:
            home.resume()

    def _receive(self, operation: Operation) -> int:
        """Plaintext for `operation`; the number of bytes, 0 at the end, negative when there was nothing."""
        hub = self.hub
        assert hub is not None
        assert hub.block is not None
        options = operation.options
        wanted = operation.count - operation.done_bytes
        asked = _FILL_SIZE if options == _FILL else wanted
        if options & _READ_AHEAD and asked < _FILL_SIZE:
            asked = _FILL_SIZE
        records: Any = self.records
        direct = records is not None and (self.stash is None if options == _FILL else options < _READ_AHEAD)
        if direct:
            count = self._decrypt(operation, asked)
        else:
            if asked > hub.block.size:
                asked = hub.block.size
            count = self._decrypt(None, asked)
        if count <= 0:
            return count
        self.bytes_received += count
        self.home.turn_bytes += count
        if not direct:
            self._deliver(operation, hub.block, count, wanted)
        elif records is not None and options == _FILL:
            operation.done_bytes = count
            self.stash = records.found
            records.found = None
        else:
            operation.done_bytes += count
        if operation.progress_handler is not None:
            operation.report_progress(operation.done_bytes)
        return count

    def _fetch(self, asked: int) -> int:
        return self._decrypt(None, asked)

    def _decrypt(self, operation: Operation | None, asked: int) -> int:
        """Up to `asked` bytes of plaintext: their number, 0 at the end, else negative.

        They go to the loop's block; with an operation, which needs `records`, to where that wants them.
        """
        records = self.records
        while True:
            if self.session.has_buffered() if records is None else records.has_buffered():
                count = self._read_session(operation, asked)
                if count == FAILED:
                    return _EAGAIN
                answers = self.session.wants_send() if records is None else records.wants_send()
                if not self._keep_bounds(answers, count):
                    return _EAGAIN
                if count > 0:
                    buffered = self.session.has_buffered() if records is None else records.has_buffered()
                    self.readable = self.wire_readable or buffered
                    return count
                if count == 0:
                    self._nothing_received(0)
                    return 0
            if not self.wire_readable:
                self.readable = False
                return _EAGAIN
            if not self._charge():
                return _EAGAIN
            count = self._receive_wire(asked)
            if count <= 0:
                self._no_wire(count)
                return _EAGAIN
            self.idle_bytes += count
            self.overhead = count

    def _read_session(self, operation: Operation | None, asked: int) -> int:
        """One step of the session: bytes, 0 at the end, -1 or so for nothing yet, FAILED."""
        hub = self.hub
        records = self.records
        assert hub is not None
        if records is None:
            try:
                return self.session.read_into(hub.block_view, asked)  # type: ignore[no-any-return]
            except TlsFailure as failure:
                self._failed(failure)
                return FAILED
        if operation is None:
            count: int = records.decrypt(hub.block, asked)
        elif operation.options == _FILL:
            count = records.decrypt_new(asked)
        else:
            count = records.decrypt_to(operation.buffer, operation.done_bytes, asked)
        if count == FAILED:
            self._failed(records.failure())
        return count

    def _receive_wire(self, asked: int) -> int:
        """Feed the session with what has arrived: the number of bytes, 0 at the end, a negative errno."""
        hub = self.hub
        records = self.records
        assert hub is not None
        block = hub.block
        assert block is not None
        if records is not None:
            count: int = records.receive(self.fd, block, asked if self.bulk or asked < _IDLE_LIMIT else _IDLE_LIMIT)
            self.receive_calls += 1
            if records.drained and not self.hang_up:
                self.wire_readable = False
            return count
        asked = block.size if self.bulk else _IDLE_LIMIT
        count = receive_block(self.fd, self.plain_socket, block, asked)
        self.receive_calls += 1
        if count > 0:
            if count < asked and not self.hang_up:
                self.wire_readable = False
            self.session.feed(hub.block_view[:count])
        return count

    def _keep_bounds(self, answers: int, count: int) -> bool:
        """After a step of the session that gave `count` bytes: False when the peer has gone too far, and it has failed.

        `answers` is what there is to send now: of a key update, or of a refusal to renegotiate.
        """
        if count > 0:
            self.expects_tickets = False  # they come before anything else
            self.bulk = count >= _BULK_SIZE
            self.idle_bytes = 0
            self.overhead -= count
        if answers:
            if self.hub is not None:
                self.hub.mark_dirty(self)
            if answers > _ANSWERS_LIMIT:
                self._failed(TlsFailure(FailureKind.PROTOCOL, "it does not take the answers that it asks for"))
                return False
        if count < 0 and self.idle_bytes > _IDLE_LIMIT:
            self._failed(TlsFailure(FailureKind.PROTOCOL, "it sends nothing but records without data"))
            return False
        return True

    def _charge(self) -> bool:
        """Count what carried no data for the loop turn; False when the rest has to wait for the next one."""
        if self.overhead <= 0:
            return True
        self.home.turn_bytes += self.overhead
        self.overhead = 0
        return self.home.turn_bytes < _TURN_BYTES_LIMIT

    def look(self) -> None:
        self.wire_readable = True
        TcpStream.look(self)

    def _no_wire(self, count: int) -> None:
        """Nothing was received: the end, or an errno."""
        if count == 0 and (self.write_error is None or self.write_error.errno in STILL_RECEIVING):
            self._truncated()
        else:  # (the kernel tells only once why a connection broke: perhaps it told a send)
            self.wire_readable = count != _EAGAIN
            self._nothing_received(count)

    def _truncated(self) -> None:
        """FIN without close_notify."""
        truncate(self)

    def _failed(self, failure: TlsFailure) -> None:
        """The session cannot go on; the peer gets an alert."""
        fail(self, failure)

    # -- sending -----------------------------------------------------------------------------------------------------

    def _send_only(self, operation: Operation) -> bool:  # noqa: ARG002
        """The short cut of the TCP stream does not fit."""
        return False

    def _send_queue(self) -> None:
        """Encrypt and send what is queued until the kernel takes no more."""
        while not self.write_blocked and self.hub is not None:
            if self.wire is None and not self._fill_wire():
                return
            if self.wire is not None:
                count = self._send_wire()
                if count < 0:
                    self._send_failed(-count)
                    return
                self.wire_start += count
                if self.wire_start < self.wire_size:
                    continue
                self.wire = None
            elif not self.run_open:
                continue
            self._end_run()
            if (
                self.write_head is not None
                and (self.phase == _OPEN or self.home.in_callback)
                and not self.home.has_budget()
            ):
                assert self.hub is not None
                self.hub.defer(self)  # the peer takes it as fast as it comes: let others run
                return

    def _send_wire(self) -> int:
        """Send what is in `wire`: the number of bytes that were taken, or a negative errno."""
        if self.send_error != 0:
            code = self.send_error
            self.send_error = 0
            return -code
        self.send_calls += 1
        return send_one(self.fd, self.plain_socket, self.wire, self.wire_start, self.wire_size)

    def _end_run(self) -> None:
        """The writes of the run have been handed over."""
        if self.run_open:
            count = self.run_bytes
            self.run_open = False
            self.run_bytes = 0
            if self.write_head is not None:
                self._account(count)

    def _fill_wire(self) -> bool:
        """Find something to send; False when there is nothing. (True with nothing in `wire` means: look again.)"""
        codec = self.codec
        if codec.wants_send():
            self._send_next(codec.take_ciphertext())
            return True
        if self.session_failed:
            if self.write_head is not None:
                self._fail_writes()
            return False
        if self.write_head is not None:
            self._encrypt_run()
            return True
        if self.write_shut or not (self.shut_wanted or self.phase == _CLOSING):
            return False
        if not self.notified:
            if self.phase == _CLOSING and self._has_unread():
                return False  # the end will be an RST, which close_notify must not hide
            self.notified = True
            self.keep_buffered()
            codec.close_notify()
            return True
        if self.shut_wanted:
            self._send_fin()
        return False

    def _send_next(self, ciphertext: bytes) -> None:
        self.wire = ciphertext
        self.wire_start = 0
        self.wire_size = len(ciphertext)

    def _encrypt_run(self) -> None:
        """Encrypt the head of the queue, up to a run's size, into `wire`."""
        head = self.write_head
        assert head is not None
        size = 0
        number = 0
        start = 0
        first: Any = None
        pieces: list[Any] = []
        operation: Operation | None = head
        while operation is not None and size < _RUN_SIZE and number < _VECTOR:
            left = operation.count - operation.done_bytes
            if left > 0:
                if left > _RUN_SIZE - size:
                    left = _RUN_SIZE - size
                if number == 0:
                    start = operation.done_bytes
                    first = operation.buffer
                else:
                    if number == 1:
                        pieces.append(memoryview(first)[start : start + size])
                    pieces.append(memoryview(operation.buffer)[operation.done_bytes : operation.done_bytes + left])
                size += left
                number += 1
            operation = operation.next_operation
        head = operation = None
        if size == 0:
            self._account(0)  # flush markers and empty writes
            return
        if number > 1:
            first = b"".join(pieces)
            start = 0
        if self.records is not None:
            self._send_records(first, start, size)
            return
        session = self.session
        data: Any = memoryview(first)[start : start + size]
        try:
            taken: int = session.write(data)
            while taken < size:
                taken += session.write(data[taken:])
        except TlsFailure as failure:
            self._failed(failure)
            return
        self._send_next(session.take_ciphertext())
        self.run_bytes = size
        self.run_open = True

    def _send_records(self, data: Any, start: int, size: int) -> None:
        """Encrypt and send a run by OpenSSL's own calls; what the kernel does not take goes to `wire`."""
        records = self.records
        count: int = records.encrypt_and_send(self.fd, data, start, size)
        self.send_calls += 1
        if count == FAILED:
            self._failed(records.failure())
            return
        self.run_bytes = size
        self.run_open = True
        if count < 0:
            self.send_error = -count
        if records.wants_send():
            self._send_next(records.take_ciphertext())

    def _send_failed(self, code: int) -> None:
        if code != errno.EAGAIN and self.notified and self.write_head is None and not self.run_open:
            # Only our close_notify is left, and the peer has gone already: it does not miss it.
            self.wire = None
            self.write_shut = True
            return
        TcpStream._send_failed(self, code)

    def _fail_writes(self) -> None:
        self.wire = None
        self.run_open = False
        self.run_bytes = 0
        TcpStream._fail_writes(self)

    def on_flush(self) -> None:
        if not self.write_blocked:
            self._send_queue()

    def has_unsent(self) -> bool:
        return self.write_head is not None or self.wire is not None

    # -- ending ------------------------------------------------------------------------------------------------------

    def cancel_io(self) -> None:
        """End all pending I/O; the run that is being sent counts as handed over, so that its records stay whole."""
        if self.phase == _OPEN:
            self._send_queue()
            self._end_run()
        blocked = self.write_blocked
        self.write_blocked = True  # nothing new is encrypted while the queue is taken apart
        TcpStream.cancel_io(self)
        self.write_blocked = blocked
        if not blocked and self.hub is not None and self.has_unsent():
            self.hub.defer(self)

    def must_linger(self) -> bool:
        if self.phase != _CLOSING:
            return False
        if self.write_head is not None or self.wire is not None:
            return True
        if not self._has_unread() and (self.has_ended() or not self.expects_tickets):
            return False  # (what a peer that has gone does not acknowledge, it never will)
        return descriptor.unacknowledged_bytes(self.fd) > 0

    def _has_unread(self) -> bool:
        """Whether something that the program never read has arrived; session tickets and key updates are nothing."""
        if self.stash is not None:
            return True
        if self.has_ended() or self.hub is None:
            return False
        assert self.hub.block is not None
        self.wire_readable = True
        for _ in range(_LAST_LOOKS):
            if not self.wire_readable and not self.codec.has_buffered():
                return False
            count = self._decrypt(None, self.hub.block.size)
            if count > 0:
                self.bytes_received += count
                self.stash = block_bytes(self.hub.block, 0, count)
                return True
            if self.has_ended():
                return False
        return True

    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.eof or self.read_error is not None

    def keep_buffered(self) -> None:
        """Decrypt what the session holds already: once it has said goodbye it would take that for a mistake."""
        hub = self.hub
        assert hub is not None
        assert hub.block is not None
        wire_readable = self.wire_readable
        self.wire_readable = False
        while self.codec.has_buffered() and not self.has_ended():
            count = self._decrypt(None, hub.block.size)
            if count <= 0:
                break
            self.bytes_received += count
            if self.stash is None:
                self.stash = block_bytes(hub.block, 0, count)
            else:
                if isinstance(self.stash, bytes):
                    self.stash = bytearray(self.stash)
                block_to_stash(hub.block, 0, count, self.stash)
        self.wire_readable = wire_readable
        if wire_readable:
            self.readable = True

    def finish_close(self) -> None:
        if self.phase == _CLOSING and self.wire is not None:
            self.abort()
            return
        TcpStream.finish_close(self)

    def tear_down(self) -> None:
        if self.phase == _CLOSED:
            return
        if (
            self._has_unread()
            or self.has_unsent()
            # (Without a byte of the program's it is the handshake, or tickets, that nobody misses.)
            or (self.bytes_sent > 0 and descriptor.unacknowledged_bytes(self.fd) > 0)
        ):
            self.abort()
        else:
            self.close()

    def _release(self) -> None:
        self.wire = None
        self.run_open = False
        self.run_bytes = 0
        TcpStream._release(self)
        self.session = self.codec = self.records = None

    def detach(self) -> Detached:
        """Let the kernel go on with TLS, and give the descriptor away: see `tls_detaching`."""
        return detach_tls(self)
