"""The TLS handshake on a connected descriptor, or over another stream: a coroutine, behind which the session is ready.

At every moment the descriptor has one owner: the caller. The handshake has no deadline of its own; who wants one
cancels it. What the peer sent behind its part of the handshake stays in the session.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from socket import MSG_NOSIGNAL
from typing import TYPE_CHECKING, Any, Protocol

from moorings import errors
from moorings.engine import descriptor
from moorings.engine.tls_codec import TlsFailure
from moorings.engine.tls_keys import ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HEADER_SIZE
from moorings.engine.waiting import Readiness

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from moorings.engine.interface import ByteStream

__all__ = ["HANDSHAKE_RECEIVE_SIZE", "Handshaking", "VerdictGate", "shake_hands", "shake_hands_over"]

#: Bytes that one receive call of a handshake asks for.
HANDSHAKE_RECEIVE_SIZE = 16384
# Bytes of an alert in TLS 1.3: level, number, type and tag (RFC 8446 section 5.2). No handshake message is as short.
_ENCRYPTED_ALERT = 19


class Handshaking(Protocol):
    """What a handshake needs of a session."""

    def step(self) -> bool: ...
    def feed(self, ciphertext: Any) -> None: ...
    def wants_send(self) -> int: ...
    def take_ciphertext(self) -> bytes: ...
    def peer_chain(self) -> list[bytes]: ...


class VerdictGate:
    """Holds back what a session wants to send behind the peer's certificate until somebody has accepted it.

    The flight that answers the peer's certificate is the first that has a certificate of ours in it, and in TLS 1.3 the
    last. What goes out before (a ClientHello, perhaps a second one) tells nothing. A session that tries to resume an
    earlier one shows the chain of that one until the peer has agreed; where it does not, `verdict` is asked again.
    """

    __slots__ = ("_decided", "_fed", "_verdict")

    def __init__(self, verdict: Callable[[], Awaitable[None]]) -> None:
        """`verdict` raises to refuse; it looks at the session itself."""
        self._verdict = verdict
        self._fed = False
        self._decided: list[bytes] | None = None

    def lets_out(self, session: Handshaking, last_words: bytes) -> bool:
        """Whether what a session that has failed wants to send may go: it may have answered the certificate before.

        (A peer can send its certificate and something wrong in one go. An alert says nothing of ours.)
        """
        chain = session.peer_chain()
        return not chain or chain == self._decided or _has_alerts_only(last_words)

    async def pass_on(self, session: Handshaking, *, done: bool) -> None:
        """To be called after each step, before anything is sent. Raises what the verdict raises."""
        if (done or session.wants_send()) and self._fed:
            chain = session.peer_chain()
            if (chain or done) and chain != self._decided:
                await self._verdict()
                self._decided = chain
        self._fed = True  # the first flight apart, each answers something


def _has_alerts_only(records: bytes) -> bool:
    """Whether there are alerts, encrypted or not, and ChangeCipherSpec, which TLS 1.3 sends before them."""
    place = 0
    while place < len(records):
        kind = records[place]
        size = int.from_bytes(records[place + 3 : place + HEADER_SIZE], "big")
        if kind not in {ALERT, CHANGE_CIPHER_SPEC} and (kind != APPLICATION_DATA or size > _ENCRYPTED_ALERT):
            return False
        place += HEADER_SIZE + size
    return True


async def shake_hands(
    plain_socket: socket.socket,
    session: Handshaking,
    what: str,
    *,
    first: bytes = b"",
    verdict: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Do the handshake of `session` on a connected non-blocking socket; `what` names the connection in errors.

    `first` is plaintext that still has to go out before. `verdict` is awaited once the peer's certificate is there, and
    may raise to refuse it; what the session wants to send behind it stays here until then.

    Raises `TlsFailure` when TLS itself fails, after the alert has been sent as far as the kernel takes it; OSError with
    a WinRT code when the connection breaks. Cancelling: *object now broken*: the peer is left in mid-handshake.
    """
    ready = Readiness(plain_socket.fileno())

    async def send(data: bytes) -> None:
        await _send(plain_socket, ready, data, what)

    def tell(alert: bytes) -> None:
        with suppress(OSError):
            plain_socket.send(alert, MSG_NOSIGNAL)

    try:
        if first:
            await send(first)
        await _drive(session, send, lambda: _receive(plain_socket, ready, what), tell, verdict)
    finally:
        ready.stop()


async def shake_hands_over(
    stream: ByteStream, session: Handshaking, what: str, *, verdict: Callable[[], Awaitable[None]] | None = None
) -> None:
    """The same over any open byte stream, on its home loop: what a `LayeredTlsStream` is made of then.

    What is unread in it belongs to the handshake. It stays open when TLS fails, with the alert on its way, so that
    closing it sends that.
    """

    async def send(data: bytes) -> None:
        await stream.write(data, len(data))

    async def receive() -> bytes:
        if stream.stash_size() == 0 and await stream.fill() == 0:
            raise _ended(what)
        return stream.take_stash(HANDSHAKE_RECEIVE_SIZE)

    await _drive(session, send, receive, lambda alert: stream.prepare_wait(stream.write(alert, len(alert))), verdict)


async def _drive(
    session: Handshaking,
    send: Callable[[bytes], Awaitable[None]],
    receive: Callable[[], Awaitable[bytes]],
    tell: Callable[[bytes], object],
    verdict: Callable[[], Awaitable[None]] | None,
) -> None:
    """Go through the handshake; `tell` sends an alert without waiting."""
    gate = None if verdict is None else VerdictGate(verdict)
    while True:
        try:
            done = session.step()
        except TlsFailure:
            last_words = session.take_ciphertext() if session.wants_send() else b""
            if last_words and (gate is None or gate.lets_out(session, last_words)):
                tell(last_words)
            raise
        if gate is not None:
            await gate.pass_on(session, done=done)
        if session.wants_send():
            await send(session.take_ciphertext())
        if done:
            return
        session.feed(await receive())


async def _send(plain_socket: socket.socket, ready: Readiness, data: bytes, what: str) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[plain_socket.send(rest, MSG_NOSIGNAL) :]
        except BlockingIOError:
            await ready.until_writable()
        except OSError as error:
            if error.errno == errno.EPIPE:
                return  # why the peer has gone is for the next receive to tell
            raise _broken(error, what) from error


async def _receive(plain_socket: socket.socket, ready: Readiness, what: str) -> bytes:
    while True:
        await ready.until_readable()
        try:
            data = plain_socket.recv(HANDSHAKE_RECEIVE_SIZE)
        except BlockingIOError:
            ready.drained()
            continue
        except OSError as error:
            raise _broken(error, what) from error
        if not data:
            raise _ended(what)
        if len(data) < HANDSHAKE_RECEIVE_SIZE:
            ready.drained()
        return data


def _ended(what: str) -> errors.CodedError:
    reason = f"{what}: the peer ended the connection in the TLS handshake; does it speak TLS on that port?"
    return errors.make(errors.WSAECONNRESET, reason)


def _broken(error: OSError, what: str) -> errors.CodedError:
    code = error.errno or errno.EIO
    return errors.from_errno(code, f"{what}: the TLS handshake failed: {descriptor.explain(code)}")
