"""Asking a server to start TLS, in its own protocol, up to its answer that says yes.

Each function gets a connection on which nothing was said yet. What a server says is bounded in lines and bytes.
"""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from typing import TYPE_CHECKING

from moorings.cli.exit_codes import CommandError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from moorings import StreamSocket

#: Bytes of a line of an answer, its end included. RFC 5321 section 4.5.3.1.5 has 512, others are longer.
ANSWER_LINE_LIMIT = 8192
#: Lines that a server may say before it comes to the point.
ANSWER_LINES_LIMIT = 100
#: What PostgreSQL takes for a wish for TLS: its length, and a number that is no version.
_POSTGRES_REQUEST = struct.pack("!II", 8, 80877103)


async def _line(connection: StreamSocket) -> str:
    try:
        line = await connection.read_until(b"\n", limit=ANSWER_LINE_LIMIT)
    except asyncio.IncompleteReadError as error:
        raise CommandError("the server ended the connection before TLS was started; is it the right port?") from error
    except asyncio.LimitOverrunError as error:
        raise CommandError("the server sends no lines; is it the right port?") from error
    return line.decode("latin-1").rstrip()


def _refused(answer: str) -> CommandError:
    return CommandError(f"the server does not start TLS; it said {answer[:200]!r}")


async def _numbered(connection: StreamSocket, expected: str) -> None:
    """An answer in the way of SMTP and FTP: 250-..., 250-..., 250 ..."""
    for _ in range(ANSWER_LINES_LIMIT):
        line = await _line(connection)
        if line[3:4] != "-":
            if not line.startswith(expected):
                raise _refused(line)
            return
    raise CommandError("the server does not come to the end of its answer")


async def _smtp(connection: StreamSocket) -> None:
    """RFC 3207."""
    await _numbered(connection, "220")
    local = connection.information.local_address
    address = ipaddress.ip_address(local.canonical_name.partition("%")[0]) if local is not None else None
    literal = f"IPv6:{address}" if address is not None and address.version == 6 else str(address)
    await connection.write(f"EHLO [{literal}]\r\n".encode())
    await _numbered(connection, "250")
    await connection.write(b"STARTTLS\r\n")
    await _numbered(connection, "220")


async def _imap(connection: StreamSocket) -> None:
    """RFC 9051 section 6.2.1."""
    greeting = await _line(connection)
    if not greeting.upper().startswith("* OK"):
        raise _refused(greeting)
    await connection.write(b"a1 STARTTLS\r\n")
    for _ in range(ANSWER_LINES_LIMIT):
        line = await _line(connection)
        if not line.startswith("* "):
            if not line.upper().startswith("A1 OK"):
                raise _refused(line)
            return
    raise CommandError("the server does not come to the end of its answer")


async def _pop3(connection: StreamSocket) -> None:
    """RFC 2595 section 4."""
    for request in (b"", b"STLS\r\n"):
        if request:
            await connection.write(request)
        answer = await _line(connection)
        if not answer.upper().startswith("+OK"):
            raise _refused(answer)


async def _ftp(connection: StreamSocket) -> None:
    """RFC 4217."""
    await _numbered(connection, "220")
    await connection.write(b"AUTH TLS\r\n")
    await _numbered(connection, "234")


async def _postgres(connection: StreamSocket) -> None:
    """PostgreSQL, "Message Flow", SSL session encryption."""
    await connection.write(_POSTGRES_REQUEST)
    try:
        answer = await connection.read_exactly(1)
    except asyncio.IncompleteReadError as error:
        raise CommandError("the server ended the connection before TLS was started; is it the right port?") from error
    if answer != b"S":
        raise _refused(answer.decode("latin-1"))


#: What to call it on the command line, and what does it.
PROTOCOLS: dict[str, Callable[[StreamSocket], Awaitable[None]]] = {
    "smtp": _smtp,
    "imap": _imap,
    "pop3": _pop3,
    "ftp": _ftp,
    "postgres": _postgres,
}
