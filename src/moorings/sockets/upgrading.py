"""Starting TLS on a connection that is open already (STARTTLS)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from moorings import errors
from moorings.engine import descriptor

if TYPE_CHECKING:
    from moorings.engine.tcp_stream import TcpStream
    from moorings.sockets.connection import Connection
    from moorings.sockets.tls_client import ClientHandshake

__all__ = ["check_upgradable", "injected", "upgrade"]


def check_upgradable(connection: Connection, stream: TcpStream, member: str) -> None:
    """Errors: E_ILLEGAL_METHOD_CALL for a connection on which TLS cannot be started, or not now."""
    what = f"{connection}: {member}"
    if connection.accepted:
        raise errors.illegal_call(what, "the accepting side cannot upgrade")
    if connection.tls is not None:
        raise errors.illegal_call(what, "TLS has been started already")
    if stream.busy():
        raise errors.illegal_call(f"{what} while I/O is pending", "await it first")
    if stream.shut_wanted:
        raise errors.illegal_call(what, "writing was ended; TLS needs both directions")


def injected(connection: Connection, unread: int) -> OSError:
    """The error for bytes that came before a handshake and that nobody has read."""
    reason = (
        f"{connection}: {unread} bytes had arrived unencrypted before TLS was started and were not read; they may "
        "have been put in by somebody else, so the connection was closed. Read the server's whole answer first"
    )
    return errors.make(errors.SEC_E_ILLEGAL_MESSAGE, reason)


async def upgrade(connection: Connection, stream: TcpStream, handshake: ClientHandshake) -> TcpStream:
    """Take the descriptor from `stream` and shake hands on it; the stream that goes on.

    A client speaks first in TLS. What has arrived by now is therefore no part of it: a server that announced TLS says
    nothing more, and what was put in behind its announcement by somebody on the way must not be taken for something
    that came through TLS, nor be dropped as if it had not been there (CVE-2011-0411, CVE-2021-33515).
    """
    check_upgradable(connection, stream, "upgrade_to_ssl_async")
    unread = stream.stash_size() + descriptor.unread_bytes(stream.fd)
    if unread:
        stream.on_release = None
        connection.local_address_of(stream.fd)
        stream.abort()
        raise injected(connection, unread)
    connection.local_address_of(stream.fd)
    on_release, stream.on_release = stream.on_release, None
    try:
        given = stream.detach()
    except OSError:
        stream.on_release = on_release
        raise
    plain_socket = socket.socket(fileno=given.fd)
    try:
        upgraded = await handshake.run(plain_socket, unsent=given.unsent)
    except BaseException:
        plain_socket.close()
        raise
    upgraded.queue_limit = stream.queue_limit
    upgraded.close_timeout = stream.close_timeout
    upgraded.bytes_received = stream.bytes_received
    upgraded.bytes_sent = stream.bytes_sent
    upgraded.receive_calls += stream.receive_calls
    upgraded.send_calls += stream.send_calls
    upgraded.writes_refused = stream.writes_refused
    return upgraded
