"""The accepting side's TLS handshake, driven by what the hub tells: no task, no future and no timer for each.

A server may shake hands with hundreds at once, anybody can begin one, and most of its processor time is OpenSSL's: so
a step costs as much of the turn's budget as if it had moved a lot of bytes, and others get their turn between steps.
The descriptor belongs to the handshake until `give`, or its end. `shake_hands` is the same for who can wait.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine import descriptor
from moorings.engine.hub import EDGE_BOTH, Hub, Source
from moorings.engine.tls_codec import TlsFailure
from moorings.engine.tls_handshake import HANDSHAKE_RECEIVE_SIZE

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    import cython

    from moorings.engine.tls_handshake import Handshaking
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import receive_block, send_one

__all__ = ["ServerHandshake"]

#: What one step takes of a turn's budget, in bytes moved.
HANDSHAKE_STEP_COST = 32768

_STEP_COST = HANDSHAKE_STEP_COST
_RECEIVE_SIZE = HANDSHAKE_RECEIVE_SIZE
_EAGAIN = -errno.EAGAIN
_EPIPE = -errno.EPIPE
_READ_EVENTS = 0x1 | 0x2 | 0x8 | 0x10 | 0x2000
_HANG_UP_EVENTS = 0x8 | 0x10 | 0x2000


class ServerHandshake(Source):
    """One handshake on a connected non-blocking descriptor, or a socket where there is only that.

    `on_ended(handshake, error)` is called once, unless it is closed before: `error` is None, and `give` then gives the
    descriptor, behind which `session` is ready; a `TlsFailure` when TLS itself failed, after the alert has been sent as
    far as the kernel takes it; OSError when the connection broke; else a mistake of the library.
    """

    __slots__ = (
        "_connected",
        "_descriptor",
        "_done",
        "_hang_up",
        "_on_ended",
        "_owner_hub",
        "_plain_socket",
        "_readable",
        "_unsent",
        "_unsent_start",
        "address",
        "session",
    )

    def __init__(
        self,
        hub: Hub,
        connected: socket.socket | int,
        address: Any,
        session: Handshaking,
        on_ended: Callable[[ServerHandshake, Exception | None], object],
    ) -> None:
        Source.__init__(self)
        self._owner_hub = hub
        self._connected: Any = connected
        self._plain_socket: Any = None if isinstance(connected, int) else connected
        self._descriptor: int = connected if isinstance(connected, int) else connected.fileno()
        self._on_ended: Any = on_ended
        self._readable = True  # for all we know: mostly a client has spoken already
        self._hang_up = False
        self._done = False
        self._unsent: bytes | None = None
        self._unsent_start = 0
        #: The socket address of the client.
        self.address = address
        self.session: Any = session

    def start(self) -> None:
        """Begin with what has arrived."""
        self._go_on()

    def on_events(self, mask: int) -> None:
        if mask & _READ_EVENTS:
            self._readable = True
        if mask & _HANG_UP_EVENTS:
            self._hang_up = True
        # The program's handlers run from here: what they complete must not resume a task on top of them.
        home = self._owner_hub.home
        eager, home.eager = home.eager, False
        try:
            self._go_on()
        finally:
            home.eager = eager

    def on_turn(self) -> None:
        self.on_events(0)

    def _go_on(self) -> None:
        """Take as many steps as there are bytes and budget for."""
        try:
            while self._on_ended is not None and not (self._done and self._unsent is None) and self._step():
                pass
        except (TlsFailure, OSError) as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - whoever accepts reports it, and the client must not stay
            self._end(error)
        else:
            if self._done and self._unsent is None:
                self._end(None)

    def _step(self) -> bool:
        """Send what is to be sent, or take what has come; False when it has to wait, or is over."""
        hub = self._owner_hub
        home = hub.home
        if self._unsent is not None:
            return self._send()
        if not self._readable:
            self._watch()
            return False
        if not home.has_budget():
            self._watch()
            hub.defer(self)
            return False
        block = hub.block
        assert block is not None
        count = receive_block(self._descriptor, self._plain_socket, block, _RECEIVE_SIZE)
        if count == _EAGAIN:
            self._readable = self._hang_up
            return True
        if count <= 0:
            raise self._broken(-count if count else errno.ECONNRESET)
        if count < _RECEIVE_SIZE:
            self._readable = self._hang_up
        home.turn_bytes += _STEP_COST
        session = self.session
        session.feed(hub.block_view[:count])
        try:
            self._done = session.step()
        except TlsFailure:
            if session.wants_send():
                alert: bytes = session.take_ciphertext()
                send_one(self._descriptor, self._plain_socket, alert, 0, len(alert))
            raise
        if session.wants_send():
            self._unsent = session.take_ciphertext()
            self._unsent_start = 0
        return True

    def _send(self) -> bool:
        data = self._unsent
        assert data is not None
        count = send_one(self._descriptor, self._plain_socket, data, self._unsent_start, len(data))
        if count == _EAGAIN:
            self._watch()
            return False
        if count == _EPIPE:
            self._unsent = None  # why the peer has gone is for the next receive to tell
            return True
        if count < 0:
            raise self._broken(-count)
        self._unsent_start += count
        if self._unsent_start == len(data):
            self._unsent = None
        return True

    def _watch(self) -> None:
        if self.hub is None:
            self._owner_hub.register(self, self._descriptor, EDGE_BOTH)

    def _broken(self, code: int) -> OSError:
        return errors.from_errno(code, f"the TLS handshake failed: {descriptor.explain(code)}")

    def _end(self, error: Exception | None) -> None:
        self._forget()
        on_ended = self._on_ended
        self._on_ended = None
        if on_ended is not None:
            on_ended(self, error)

    def _forget(self) -> None:
        """Leave the hub."""
        if self.hub is not None:
            self.hub.unregister(self)
            self.fd = -1

    def give(self) -> Any:
        """The descriptor, or the socket, which is the caller's from now on."""
        connected = self._connected
        self._connected = self._plain_socket = None
        self._descriptor = -1
        return connected

    def close(self) -> None:
        """Give up: nobody is told, the client sees the end of the connection."""
        self._on_ended = None
        self._forget()
        connected = self.give()
        if connected is None:
            return
        if isinstance(connected, int):
            os.close(connected)
        else:
            connected.close()

    def is_closing(self) -> bool:
        """True: on a loop that will not run any more nobody can go on with it."""
        return True

    def abort(self) -> None:
        self.close()

    def on_drop(self) -> None:
        """In a forked child: the parent goes on with it."""
        self.hub = None
        self.close()

    def __del__(self) -> None:
        connected = getattr(self, "_connected", None)
        if connected is not None:
            self.give()
            if isinstance(connected, int):
                os.close(connected)
            else:
                connected.close()
