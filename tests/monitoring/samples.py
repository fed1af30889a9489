"""Reports to start from, and a way to ask a program as a stranger would."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import moorings
from moorings import DatagramReport, ListenerReport, ProgramSnapshot, StreamReport
from moorings.monitoring import lister

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from moorings import Monitor, StreamSocket

STREAM = StreamReport(
    "7.1",
    "asyncio",
    "open",
    "OPEN",
    local_address="127.0.0.1",
    local_port=40000,
    remote_address="127.0.0.1",
    remote_port=1337,
    write_queue_limit_bytes=67108864,
    close_timeout_s=5.0,
)
LISTENER = ListenerReport("6.2", "asyncio", "accepting", local_address="::1", local_port=1337)
DATAGRAM = DatagramReport(
    "8.3",
    "asyncio",
    "receiving",
    local_address="::",
    local_port=1338,
    write_queue_limit_bytes=16777216,
    receive_queue_limit_datagrams=1024,
)
PROGRAM = ProgramSnapshot(4711, "sample", "0.1.0", 1.5, (STREAM, LISTENER, DATAGRAM))


async def only_program(monitor: Monitor, limit: int | None = None) -> ProgramSnapshot:
    """What the one program in a monitor's directory tells over its socket."""
    listing = await lister.ask_all([monitor.path.parent], limit=limit)
    assert listing.unanswered == ()
    (program,) = listing.programs
    return program


def short(path: Path) -> str:
    """A path for the address of a socket, which has room for 108 bytes."""
    return os.path.relpath(path)


@asynccontextmanager
async def raw_client(path: Path) -> AsyncIterator[socket.socket]:
    """A connection to a monitor, without manners."""
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        client.connect(short(path))
        yield client


async def everything(client: socket.socket) -> bytes:
    """What comes until the other end hangs up."""
    data = b""
    while True:
        try:
            piece = await asyncio.get_running_loop().sock_recv(client, 65536)
        except ConnectionResetError:
            return data
        if not piece:
            return data
        data += piece


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[StreamSocket, StreamSocket]]:
    """A client and what the listener accepted of it."""
    async with (
        moorings.listen("tcp://127.0.0.1:0", drain_timeout=0) as listener,
        await moorings.connect(f"tcp://127.0.0.1:{listener.port}") as client,
    ):
        server = await anext(aiter(listener))
        async with server:
            yield client, server
