"""Asking for TLS in other protocols: what servers say before, whom we believe, and whom not."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.cli.cert_show.test_server import PATIENCE, wish_for
from tests.sockets.tls_servers import server_context

from moorings.cli.cert import STARTTLS
from moorings.cli.cert_show.server import look
from moorings.cli.cert_show.starttls import ANSWER_LINE_LIMIT, ANSWER_LINES_LIMIT, PROTOCOLS
from moorings.cli.exit_codes import CommandError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

POSTGRES = bytes.fromhex("0000000804d2162f")
#: What the server says, and what it then waits for; "" is the end of the talk.
Talk = list[tuple[bytes, bytes]]
GOOD: dict[str, Talk] = {
    "smtp": [
        (b"220-mail\r\n220 ready\r\n", b"EHLO [127.0.0.1]\r\n"),
        (b"250-mail\r\n250-PIPELINING\r\n250 STARTTLS\r\n", b"STARTTLS\r\n"),
        (b"220 go ahead\r\n", b""),
    ],
    "imap": [(b"* OK ready\r\n", b"a1 STARTTLS\r\n"), (b"* CAPABILITY IMAP4rev2\r\na1 OK begin\r\n", b"")],
    "pop3": [(b"+OK ready\r\n", b"STLS\r\n"), (b"+OK begin\r\n", b"")],
    "ftp": [(b"220 ready\r\n", b"AUTH TLS\r\n"), (b"234 begin\r\n", b"")],
    "postgres": [(b"", POSTGRES), (b"S", b"")],
}
BAD: list[tuple[str, Talk, str]] = [
    ("smtp", [(b"554 no\r\n", b"")], "it said '554 no'"),
    (
        "smtp",
        [(b"220 x\r\n", b"EHLO [127.0.0.1]\r\n"), (b"250 x\r\n", b"STARTTLS\r\n"), (b"502 no\r\n", b"")],
        "502 no",
    ),
    ("smtp", [(b"220-x\r\n" * (ANSWER_LINES_LIMIT + 1), b"")], "does not come to the end"),
    ("smtp", [(b"2" * (ANSWER_LINE_LIMIT + 1), b"")], "sends no lines"),
    ("smtp", [(b"220", b"")], "ended the connection before TLS was started"),
    ("imap", [(b"* BYE\r\n", b"")], "it said '\\* BYE'"),
    ("imap", [(b"* OK\r\n", b"a1 STARTTLS\r\n"), (b"a1 NO\r\n", b"")], "it said 'a1 NO'"),
    ("imap", [(b"* OK\r\n", b"a1 STARTTLS\r\n"), (b"* x\r\n" * (ANSWER_LINES_LIMIT + 1), b"")], "does not come to the"),
    ("pop3", [(b"-ERR\r\n", b"")], "it said '-ERR'"),
    ("ftp", [(b"220 x\r\n", b"AUTH TLS\r\n"), (b"500 \x1b[31m\r\n", b"")], r"500 \\x1b\[31m"),
    ("postgres", [(b"", POSTGRES), (b"N", b"")], "it said 'N'"),
    ("postgres", [(b"", POSTGRES)], "ended the connection before TLS was started"),
]


@asynccontextmanager
async def talking(talk: Talk, *, with_tls: bool) -> AsyncIterator[str]:
    """A server of one client: what it says and hears, then TLS; its port."""

    def serve(listening: socket.socket) -> None:
        peer, _ = listening.accept()
        peer.settimeout(PATIENCE)
        for says, waits in talk:
            peer.sendall(says)
            assert not waits or peer.recv(len(waits), socket.MSG_WAITALL) == waits
        if with_tls:
            peer = server_context().wrap_socket(peer, server_side=True)
            assert peer.recv(1) == b""
        peer.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE)
        serving = asyncio.create_task(asyncio.to_thread(serve, listening))
        try:
            yield str(listening.getsockname()[1])
        finally:
            await serving


def test_all_are_on_the_command_line() -> None:
    assert tuple(PROTOCOLS) == STARTTLS
    assert set(GOOD) == set(PROTOCOLS)


@pytest.mark.parametrize("protocol", GOOD)
async def test_a_server_that_agrees(protocol: str) -> None:
    async with talking(GOOD[protocol], with_tls=True) as port:
        seen = await look(wish_for(port, "127.0.0.1", starttls=protocol))
    assert (len(seen.chain), seen.protocol, seen.failure) == (1, "TLSv1.3", "")


@pytest.mark.parametrize(("protocol", "talk", "told"), BAD)
async def test_a_server_that_does_not(protocol: str, talk: Talk, told: str) -> None:
    async with talking(talk, with_tls=False) as port:
        with pytest.raises(CommandError, match=told):
            await look(wish_for(port, "127.0.0.1", starttls=protocol))
