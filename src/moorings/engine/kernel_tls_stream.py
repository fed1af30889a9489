"""A connection whose TLS is in the kernel: the TCP stream, which knows that there are other records than data.

Theory of operation
-------------------
Plain `recv` and `send` move plaintext. When the next record is no application data, `recv` fails with EIO and leaves it
there; `recvmsg` then takes it, with its type. An alert ends the stream, cleanly or not. Session tickets are passed
over. A key update is the end: the kernel may know no other keys, and we have none, since secrets do not travel. The
peer is told by an alert.

A short read does not mean here that there is no more, since it ends where the type of the record changes: so every read
goes on until the kernel says that there is nothing (`hang_up` is what makes it so).

FIN follows close_notify. The kernel may still hold back the end of a record that it has taken, and a FIN would overtake
that: close_notify waits until it fits into the send buffer as well, since it then takes everything with it.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine import descriptor, kernel_tls
from moorings.engine.stream_writing import WritingStream
from moorings.engine.tcp_stream import TcpStream
from moorings.engine.tls_codec import FailureKind, TlsFailure
from moorings.engine.tls_ending import fail, truncate
from moorings.engine.tls_keys import ALERT, APPLICATION_DATA, HANDSHAKE
from moorings.engine.tls_posthandshake import FollowUps, judge_alert
from moorings.engine.tls_stream import TLS_IDLE_LIMIT

if TYPE_CHECKING:
    import cython

    from moorings.engine.hub import Hub
    from moorings.engine.interface import Detached
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import block_bytes, receive_block

if TYPE_CHECKING:
    from socket import socket

#: Records that closing looks at to find out whether something was left unread.
LAST_RECORDS = 16
#: Seconds after which a close_notify that did not fit is tried again.
_GOODBYE_PAUSE = 0.02

_LAST_RECORDS = LAST_RECORDS
_OPEN = 0
_CLOSING = 1
_CLOSED = 2

_EIO = -errno.EIO
_EAGAIN = -errno.EAGAIN
# What the kernel says of a record that was changed on its way, or is none.
_BAD_RECORDS = frozenset((-errno.EBADMSG, -errno.EMSGSIZE, -errno.EINVAL))

_WARNING, _FATAL = 1, 2
_CLOSE_NOTIFY, _INTERNAL_ERROR, _NO_RENEGOTIATION = 0, 80, 100


class KernelTlsStream(TcpStream):
    """A TCP descriptor with TLS of the kernel in both directions."""

    __slots__ = ("follow_ups", "idle_bytes", "idle_since", "notified", "session_failed")

    def __init__(self, hub: Hub, connected: socket | int, label: object, version: str) -> None:
        """Take over a connected non-blocking socket; `version` is such as "TLSv1.3"."""
        self.follow_ups: Any = FollowUps(version)
        self.notified = False
        #: Bytes of other records since the last data, and where the data was then.
        self.idle_bytes: int = 0
        self.idle_since: int = 0
        self.session_failed = False
        TcpStream.__init__(self, hub, connected, label)
        self.hang_up = True

    # -- receiving ---------------------------------------------------------------------------------------------------

    def _nothing_received(self, count: int) -> None:
        if count == _EIO:
            self._take_record()
        elif count in _BAD_RECORDS:
            fail(self, TlsFailure(FailureKind.RECORD, "the kernel cannot decrypt it"))
        elif count == 0:
            truncate(self)
        else:
            TcpStream._nothing_received(self, count)

    def _take_record(self) -> None:
        """Take a record that is no application data."""
        try:
            kind, data = kernel_tls.receive_record(self.fd)
        except OSError as error:
            code = error.errno or errno.EIO
            if code == errno.EIO:
                self.read_error = self._broken(code, "receiving")
                self.readable = True
            else:
                self._nothing_received(-code)
            return
        self.receive_calls += 1
        self.home.turn_bytes += len(data)  # whoever sends many of them takes turns like everybody
        if self.bytes_received != self.idle_since:
            self.idle_since = self.bytes_received
            self.idle_bytes = 0
        self.idle_bytes += len(data)
        if self.idle_bytes > TLS_IDLE_LIMIT:
            fail(self, TlsFailure(FailureKind.PROTOCOL, "it sends nothing but records without data"))
        elif kind == ALERT:
            self._take_alert(data)
        elif kind == HANDSHAKE:
            self._take_handshake(data)
        elif kind != APPLICATION_DATA or data:
            fail(self, TlsFailure(FailureKind.PROTOCOL, f"a record of type {kind}"))
        else:
            truncate(self)

    def _take_alert(self, data: bytes) -> None:
        ends, failure = judge_alert(data, self.follow_ups.version)
        if failure is not None:
            fail(self, failure)
        elif ends:
            TcpStream._nothing_received(self, 0)

    def _take_handshake(self, data: bytes) -> None:
        try:
            asks = self.follow_ups.take(data)
        except TlsFailure as failure:
            self._alert(_FATAL, _INTERNAL_ERROR)
            fail(self, failure)
            return
        if asks:
            self._alert(_WARNING, _NO_RENEGOTIATION)

    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.eof or self.read_error is not None

    # -- sending -----------------------------------------------------------------------------------------------------

    def _send_queue(self) -> None:
        if self.session_failed:
            if self.write_head is not None:
                self._fail_writes()
            return
        TcpStream._send_queue(self)

    def _alert(self, level: int, number: int) -> bool:
        """Send an alert as far as the kernel takes it; False where it may be tried again."""
        try:
            kernel_tls.send_alert(self.fd, level, number)
        except BlockingIOError:
            return False
        except OSError:
            return True  # the peer has gone: it does not miss it
        return True

    def _say_goodbye(self) -> bool:
        """close_notify, once; False where it has to wait for room."""
        if not self.notified:
            if not self.session_failed and not (kernel_tls.has_room(self.fd) and self._alert(_WARNING, _CLOSE_NOTIFY)):
                return False
            self.notified = True
        return True

    def _send_fin(self) -> None:
        if self._say_goodbye() or self.phase != _OPEN:
            WritingStream._send_fin(self)
        else:
            self.home.loop.call_later(_GOODBYE_PAUSE, self.on_turn)

    # -- ending ------------------------------------------------------------------------------------------------------

    def on_turn(self) -> None:
        TcpStream.on_turn(self)
        if self.phase == _OPEN and self.shut_wanted and not self.write_shut and self.write_head is None:
            self._send_queue()

    def must_linger(self) -> bool:
        if self.phase != _CLOSING:
            return False
        if TcpStream.must_linger(self):
            return True
        if self.write_shut or self.write_error is not None or self._has_unread():
            return False
        return not self._say_goodbye()

    def _has_unread(self) -> bool:
        """Whether data that the program never read has arrived; records of other types are nothing."""
        if self.stash is not None:
            return True
        hub = self.hub
        for _ in range(_LAST_RECORDS):
            if self.has_ended() or hub is None:
                return False
            assert hub.block is not None
            count = receive_block(self.fd, self.plain_socket, hub.block, hub.block.size)
            if count > 0:
                self.bytes_received += count
                self.stash = block_bytes(hub.block, 0, count)
                return True
            self._nothing_received(count)
            if count == _EAGAIN:
                return False
        return True

    def tear_down(self) -> None:
        if self.phase == _CLOSED:
            return
        if (
            self._has_unread()
            or self.has_unsent()
            or (self.bytes_sent > 0 and descriptor.unacknowledged_bytes(self.fd) > 0)
        ):
            self.abort()
        else:
            self.close()

    def detach(self) -> Detached:
        """Give the descriptor away, as on TCP.

        Errors: as on TCP; also E_ILLEGAL_METHOD_CALL where one direction has ended; ERROR_NOT_SUPPORTED in the middle
        of a message that TLS itself sends.
        """
        if self.phase == _OPEN:
            if self.has_ended() or self.shut_wanted:
                raise errors.illegal_call(f"{self.label}: detach", "one direction of its TLS has ended already")
            if self.follow_ups.in_message:
                reason = "this TLS connection cannot move: a message of TLS has come by half"
                raise errors.make(errors.ERROR_NOT_SUPPORTED, f"{self.label}: {reason}")
        return TcpStream.detach(self)
