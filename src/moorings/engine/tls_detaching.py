"""Giving a TLS connection away: the kernel gets its keys, the caller its descriptor. What `TlsStream.detach` does.

Not hot: it happens once in the life of a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moorings import errors
from moorings.engine import kernel_tls
from moorings.engine.descriptor import borrowed
from moorings.engine.tls_moving import MovableSession, MoveRefused

if TYPE_CHECKING:
    from moorings.engine.interface import Detached
    from moorings.engine.tls_moving import KernelKeys
    from moorings.engine.tls_stream import TlsStream

__all__ = ["detach_tls", "settle"]


def detach_tls(stream: TlsStream) -> Detached:
    """Let the kernel go on with TLS, and give the descriptor away: any process can use it like plain TCP then.

    What has come is decrypted here; the rest of a record that came by half is taken if it is there.

    Errors: as on TCP; also E_ILLEGAL_METHOD_CALL where one direction has ended; ERROR_NOT_SUPPORTED with the reason
    where the connection has to stay in this process. It goes on then.
    """
    if not stream.is_open():
        raise stream.closed_error()
    session = stream.session
    if not isinstance(session, MovableSession):
        raise _stays(stream, "that has to be asked for before its handshake, with `transferable`")
    stream.on_flush()
    if stream.wire is not None:
        raise errors.illegal_call(f"{stream.label}: detach while a record is half sent", "await flush() first")
    stream.check_idle()
    stream.keep_buffered()
    _take_half_record(stream, session)
    if stream.has_ended() or stream.shut_wanted or stream.session_failed:
        raise errors.illegal_call(f"{stream.label}: detach", "one direction of its TLS has ended already")
    keys = _kernel_keys(stream, session)
    try:
        kernel_tls.install(stream.fd, keys.sending, keys.receiving)
    except OSError as error:
        stream.abort()  # nobody knows which of the two would go on with it
        raise _stays(stream, f"the kernel refused the keys ({error.strerror}), and it was closed") from error
    finally:
        keys.wipe()
    given = stream.let_go()  # (nothing is encrypted with the old keys any more)
    session.wipe()
    stream.session = stream.codec = None
    return given


def settle(stream: TlsStream) -> int:
    """Of a stream that may move: get on with the record that is half sent, or half received.

    1 = wait until the descriptor is writable, -1 = until it is readable, 0 = nothing is half done.
    """
    session = stream.session
    if not stream.is_open() or not isinstance(session, MovableSession):
        return 0
    if stream.write_blocked and stream.wire is not None:
        return 1
    if not stream.reading() and not stream.has_ended():
        stream.keep_buffered()
        if _take_half_record(stream, session):
            return -1
    return 0


def _stays(stream: TlsStream, reason: str) -> OSError:
    return errors.make(errors.ERROR_NOT_SUPPORTED, f"{stream.label}: this TLS connection cannot move: {reason}")


def _take_half_record(stream: TlsStream, session: MovableSession) -> bool:
    """Receive the rest of a record, and nothing behind it, as far as it is there; whether it is to be waited for."""
    with borrowed(stream.fd) as plain_socket:
        while session.incoming.missing and not stream.has_ended():
            try:
                data = plain_socket.recv(session.incoming.missing)
            except BlockingIOError:
                return True
            except OSError:
                data = b""
            if not data:
                stream.wire_readable = stream.readable = True  # the end, or an error, is for a read to tell
                return False
            stream.receive_calls += 1
            session.feed(data)
            stream.keep_buffered()
    return False


def _kernel_keys(stream: TlsStream, session: MovableSession) -> KernelKeys:
    try:
        keys = session.kernel_keys()
    except MoveRefused as refusal:
        raise _stays(stream, str(refusal)) from refusal
    obstacle = kernel_tls.find_obstacle(keys.suite)
    reason = kernel_tls.attach(stream.fd) if obstacle is None else f"{obstacle.found} ({obstacle.cure})"
    if reason:
        keys.wipe()
        raise _stays(stream, reason)
    return keys
