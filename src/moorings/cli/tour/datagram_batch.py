"""Many datagrams in batches: how fast, with how few system calls, and how many were lost.

UDP has nobody who slows a sender down. Here the receiver's counter does: no more than `WINDOW` datagrams are on their
way, which even a small receive buffer holds. So none is lost, unless somebody else fills the memory of the kernel.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from moorings import DatagramSocket, HostName
from moorings.cli.output import progress
from moorings.cli.tour.common import LOCALHOST, DemoError

if TYPE_CHECKING:
    from moorings.cli.console import Console
    from moorings.cli.output import Progress
    from moorings.cli.tour.common import Facts, Options

PACKET_SIZE = 1200
#: Datagrams on their way: two segmented ones of 64 KiB. One by one they cost the kernel 2.3 KiB each.
WINDOW = 108
#: Bytes to ask for; the kernel gives net.core.rmem_max at the most.
RECEIVE_BUFFER = 1 << 20
#: Seconds after which what has not come is lost: on the loopback interface everything has come when it is sent.
LOSS_PATIENCE = 0.5
#: Seconds between two looks at the rate.
SAMPLE_INTERVAL = 0.05


class Receiver:
    """Counts what comes, and wakes up who waits for a certain number."""

    def __init__(self) -> None:
        self.count = 0
        self.wrong = 0
        self._goal = 0
        self._reached: asyncio.Future[None] | None = None

    def take(self, _socket: DatagramSocket, message: object) -> None:
        """A datagram has come."""
        self.count += 1
        if getattr(message, "size", 0) != PACKET_SIZE:
            self.wrong += 1
        if self.count >= self._goal and self._reached is not None and not self._reached.done():
            self._reached.set_result(None)

    async def until(self, goal: int) -> None:
        """Wait for so many in all. TimeoutError when nothing more comes."""
        if self.count >= goal:
            return
        self._goal = goal
        self._reached = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(LOSS_PATIENCE):
            await self._reached


async def datagram_batch(console: Console, options: Options) -> Facts:
    """Datagrams from one socket to another as fast as the receiver takes them."""
    receiver = Receiver()
    with DatagramSocket() as server, DatagramSocket() as client:
        server.control.inbound_buffer_size_in_bytes = RECEIVE_BUFFER
        server.add_message_received(receiver.take)
        await server.bind_endpoint_async(HostName(LOCALHOST), "")
        await client.connect_async(HostName(LOCALHOST), server.information.local_port)
        start = time.monotonic()
        with progress("sending datagrams", options.packets, keep=True) as bar:
            await send(client, receiver, options.packets, bar)
        seconds = time.monotonic() - start
        sent, received = client.counters, server.counters
    facts: Facts = {
        "packets": sent.datagrams_sent,
        "packet_size": PACKET_SIZE,
        "received": receiver.count,
        "lost": sent.datagrams_sent - receiver.count,
        "seconds": seconds,
        "packets_per_second": receiver.count / seconds,
        "bytes_per_second": receiver.count * PACKET_SIZE / seconds,
        "send_calls": sent.send_calls,
        "receive_calls": received.receive_calls,
        "calls_per_packet": (sent.send_calls + received.receive_calls) / max(sent.datagrams_sent, 1),
    }
    tell(console, facts)
    if receiver.wrong or facts["lost"] < 0:
        raise DemoError(f"{receiver.wrong} datagrams have another size, {facts['lost']} are lost")
    return facts


async def send(client: DatagramSocket, receiver: Receiver, packets: int, bar: Progress) -> None:
    """Send so many datagrams, a window at a time."""
    stream, packet = client.output_stream, bytes(PACKET_SIZE)
    lost = 0
    start = due = time.monotonic()
    for begin in range(0, packets, WINDOW):
        count = min(WINDOW, packets - begin)
        for _ in range(count):
            stream.write_async(packet)
        await stream.flush_async()
        with suppress(TimeoutError):
            await receiver.until(begin + count - lost)
        lost = begin + count - receiver.count
        bar.advance(count)
        now = time.monotonic()
        if now >= due:
            due = now + SAMPLE_INTERVAL
            bar.note(f"{receiver.count / max(now - start, 1e-9):,.0f} packets/s, {lost:,} lost")


def tell(console: Console, facts: Facts) -> None:
    """What both ends counted."""
    console.say(
        "client",
        f"{facts['packets']:,} datagrams of {PACKET_SIZE:,} bytes sent in {facts['seconds'] * 1000:.0f} ms "
        f"with {facts['send_calls']:,} system calls",
    )
    console.say(
        "server",
        f"{facts['received']:,} received with {facts['receive_calls']:,} system calls, {facts['lost']:,} lost",
    )
    console.say(
        "",
        f"{facts['packets_per_second']:,.0f} packets/s, {facts['bytes_per_second'] / 1e6:,.0f} MB/s, "
        f"{facts['calls_per_packet']:.3f} system calls per packet",
    )
