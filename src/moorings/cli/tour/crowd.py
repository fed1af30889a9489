"""Many clients at the same time, with the Python names; every one checks its echoes."""

from __future__ import annotations

import asyncio
import resource
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import moorings
from moorings.cli.output import progress
from moorings.cli.tour.common import LOCALHOST, PATIENCE, DemoError

if TYPE_CHECKING:
    from moorings import StreamSocket
    from moorings.cli.console import Console
    from moorings.cli.output import Progress
    from moorings.cli.tour.common import Facts, Options

#: Descriptors that one client needs, its end and the server's, and those that the process needs besides.
PER_CLIENT, SPARE = 2, 64
AT_ONCE = 100
ROUNDS = 10
MESSAGE_SIZE = 64


def affordable_clients(wanted: int) -> tuple[int, str]:
    """How many clients fit into this process once its limit of descriptors is raised, and a note if it is fewer."""
    needed = wanted * PER_CLIENT + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted, ""
    clients = max(1, (soft - SPARE) // PER_CLIENT)
    return clients, f"only {clients} clients: this process may open {soft} descriptors (see 'ulimit -Hn')"


async def echo(connection: StreamSocket) -> None:
    """What the server does for each client."""
    with suppress(ConnectionError):  # a client that was interrupted leaves an echo unread
        while data := await connection.read():
            await connection.write(data)


async def crowd(console: Console, options: Options) -> Facts:
    """Many clients, all connected at the same time."""
    clients, note = affordable_clients(options.clients)
    if note:
        console.say("note", note)
    facts: Facts = {"clients": clients}
    async with moorings.listen(f"tcp://{LOCALHOST}:0", echo) as server:
        console.say("server", f"listening on port {server.port}")
        connections: list[StreamSocket] = []
        try:
            with progress("connecting", clients) as bar:
                facts |= await connect_all(connections, clients, f"tcp://{LOCALHOST}:{server.port}", bar)
            console.say("client", f"{clients:,} clients connected in {facts['connect_seconds']:.2f} s")
            console.say("server", f"{server.open_connections:,} connections open at the same time")
            with progress("echoing", clients * ROUNDS) as bar:
                facts |= await exchange(connections, bar)
            right, rate = facts["echoes_right"], facts["round_trips_per_second"]
            console.say(
                "client", f"{facts['messages']:,} messages of {MESSAGE_SIZE} bytes sent, {right:,} came back right"
            )
            console.say("client", f"{rate:,.0f} round trips a second, server and clients in one process")
        finally:
            for connection in connections:
                connection.close()
    report = server.report
    if report is not None:
        console.say("server", f"accepted {report.accepted:,}, cut off {report.aborted:,}")
        facts |= {"accepted": report.accepted, "cut_off": report.aborted}
    if facts["echoes_right"] != facts["messages"]:
        raise DemoError(f"{facts['messages'] - facts['echoes_right']} echoes are missing or differ")
    return facts


async def connect_all(connections: list[StreamSocket], clients: int, url: str, bar: Progress) -> Facts:
    """Fill `connections`, some at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def join() -> None:
        async with gate:
            connections.append(await moorings.connect(url, timeout=PATIENCE))
            bar.advance()

    start = time.monotonic()
    await asyncio.gather(*(join() for _ in range(clients)))
    return {"connect_seconds": time.monotonic() - start}


async def exchange(connections: list[StreamSocket], bar: Progress) -> Facts:
    """Round trips of all clients at the same time."""
    start = time.monotonic()
    right = sum(await asyncio.gather(*(converse(number, one, bar) for number, one in enumerate(connections))))
    seconds = time.monotonic() - start
    total = len(connections) * ROUNDS
    return {"messages": total, "echoes_right": right, "round_trips_per_second": total / seconds}


async def converse(number: int, connection: StreamSocket, bar: Progress) -> int:
    """Some round trips of one client; how many messages came back as they were sent."""
    right = 0
    for turn in range(ROUNDS):
        message = f"client {number}, message {turn}".encode().ljust(MESSAGE_SIZE, b".")
        await connection.write(message)
        right += await connection.read_exactly(MESSAGE_SIZE) == message
        bar.advance()
    return right
