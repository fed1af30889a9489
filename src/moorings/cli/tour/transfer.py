"""A transfer, and what the kernel then knows about round trip times and bandwidth."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import moorings
from moorings import InputStreamOptions
from moorings.cli.output import progress
from moorings.cli.tour.common import LOCALHOST, PATIENCE, DemoError

if TYPE_CHECKING:
    from moorings import StreamSocket
    from moorings.cli.console import Console
    from moorings.cli.output import Progress
    from moorings.cli.tour.common import Facts, Options

MEBIBYTE = 1 << 20
BLOCK_SIZE = 256 * 1024
#: Seconds between two looks at the statistics of a running transfer.
SAMPLE_INTERVAL = 0.05


async def transfer(console: Console, options: Options) -> Facts:
    """Some megabytes from client to server, with the statistics meanwhile and those of both ends afterwards."""
    size = options.megabytes * MEBIBYTE
    arrived: asyncio.Future[tuple[StreamSocket, int, Facts]] = asyncio.get_running_loop().create_future()

    async def swallow(connection: StreamSocket) -> None:
        count = await count_bytes(connection)
        arrived.set_result((connection, count, statistics(connection)))

    async with (
        moorings.listen(f"tcp://{LOCALHOST}:0", swallow) as server,
        await moorings.connect(f"tcp://{LOCALHOST}:{server.port}", timeout=PATIENCE) as client,
    ):
        start = time.monotonic()
        with progress("sending", size, unit="bytes", keep=True) as bar:
            await send(client, size, bar)
            connection, count, server_facts = await arrived
        seconds = time.monotonic() - start
        client_facts = statistics(client)
    console.say(
        "client", f"{count / MEBIBYTE:.0f} MiB sent in {seconds * 1000:.0f} ms, {count / seconds / 1e9:.2f} GB/s"
    )
    for who, facts, end in (("client", client_facts, client), ("server", server_facts, connection)):
        facts["end_reason"] = end.end_reason.name
        show(console, who, facts)
    if count != size:
        raise DemoError(f"{count} of {size} bytes arrived")
    return {
        "bytes": count,
        "seconds": seconds,
        "bytes_per_second": count / seconds,
        "client": client_facts,
        "server": server_facts,
    }


async def count_bytes(connection: StreamSocket) -> int:
    """How much arrives until the end of the stream."""
    buffer = moorings.Buffer(BLOCK_SIZE)
    count = 0
    while True:
        await connection.input_stream.read_async(buffer, buffer.capacity, InputStreamOptions.PARTIAL)
        if not buffer.length:
            return count
        count += buffer.length


async def send(client: StreamSocket, size: int, bar: Progress) -> None:
    """Send `size` bytes, and tell the progress bar what the kernel measures meanwhile."""
    block = bytes(BLOCK_SIZE)
    due = 0.0
    for _ in range(size // len(block)):
        await client.write(block)
        bar.advance(len(block))
        now = time.monotonic()
        if now >= due:
            due = now + SAMPLE_INTERVAL
            bar.note(now_line(client))
    client.end_writing()
    bar.note(now_line(client))


def now_line(client: StreamSocket) -> str:
    """What the kernel says at this moment."""
    facts = statistics(client)
    return (
        f"round trip time {facts['round_trip_us']['smoothed']} µs, "
        f"bandwidth {megabits(facts['outbound_bits_per_second'])} out"
    )


def statistics(connection: StreamSocket) -> Facts:
    """What the kernel measured (TCP_INFO), and what the library counted."""
    times = connection.information.round_trip_time_statistics
    width = connection.information.bandwidth_statistics
    counters = connection.counters
    return {
        "round_trip_us": {
            "smoothed": times.sum,
            "lowest": times.min,
            "highest": times.max,
            "variance": times.variance,
        },
        "outbound_bits_per_second": width.outbound_bits_per_second,
        "inbound_bits_per_second": width.inbound_bits_per_second,
        "bytes_sent": counters.bytes_sent,
        "send_calls": counters.send_calls,
        "bytes_received": counters.bytes_received,
        "receive_calls": counters.receive_calls,
    }


def show(console: Console, who: str, facts: Facts) -> None:
    """The statistics of one end."""
    times = facts["round_trip_us"]
    console.say(
        who,
        f"RTT {times['smoothed']} µs smoothed, {times['lowest']} µs lowest, "
        f"{times['highest']} µs highest, {times['variance']} µs variance",
    )
    console.say(
        who,
        f"bandwidth: {megabits(facts['outbound_bits_per_second'])} out, "
        f"{megabits(facts['inbound_bits_per_second'])} in",
    )
    console.say(
        who,
        f"{facts['bytes_sent']:,} bytes sent in {facts['send_calls']:,} calls, "
        f"{facts['bytes_received']:,} received in {facts['receive_calls']:,}",
    )
    console.say(who, f"end reason {facts['end_reason']}")


def megabits(bits: int) -> str:
    """A rate in Mbit/s; the kernel says nothing about a direction that carried nothing."""
    return f"{bits / 1e6:,.0f} Mbit/s" if bits else "unknown"
