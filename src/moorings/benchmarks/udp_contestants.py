"""What each library does with datagrams in the benchmarks: one process, which sends over loopback and receives again.

Usage: `python udp_contestants.py KIND LOOP PART SIZE PEERS MILLISECONDS`, with the parts

* `both`: batches of BATCH datagrams to one peer, each received by an event handler before the next batch;
* `send`: the same, round over many peers that nobody reads: sending alone;
* `exchange`: one datagram there, one back, each awaited.

Prints a line of JSON: datagrams sent and received, processor time and wall clock in nanoseconds. `c/udp.c` is the same
in C. Nothing of Moorings is imported where a peer is measured.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BATCH = 500
#: Room for several batches of datagrams, which count at least a page or two each in the kernel.
BUFFER = 4 << 20
#: anyio keeps so many received datagrams, and drops the older ones.
ANYIO_QUEUE = 100
HOST = "127.0.0.1"
PATIENCE = 5.0


class Meter:
    """Counts datagrams, and time since it was made."""

    def __init__(self, milliseconds: int) -> None:
        self.sent = self.received = 0
        self._used = time.process_time_ns()
        self._start = time.monotonic_ns()
        self._end = self._start + milliseconds * 1_000_000
        self._give_up = self._end + int(PATIENCE * 1e9)

    def goes_on(self) -> bool:
        return time.monotonic_ns() < self._end

    def check(self) -> None:
        """End a contestant that waits for what was lost."""
        if time.monotonic_ns() > self._give_up:
            sys.exit(f"udp_contestants: {self.sent} sent, {self.received} received, and no more came")

    def report(self, mode: str) -> None:
        used, wall = time.process_time_ns() - self._used, time.monotonic_ns() - self._start
        print(json.dumps({"sent": self.sent, "received": self.received, "cpu": used, "wall": wall, "mode": mode}))


def bound_socket() -> socket.socket:
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    plain.bind((HOST, 0))
    plain.setblocking(False)
    return plain


def unread_peers(count: int) -> list[socket.socket]:
    """Sockets that nobody reads: the kernel drops what finds their buffers full."""
    return [bound_socket() for _ in range(count)]


# -- this library ----------------------------------------------------------------------------------------------------


async def moorings(part: str, size: int, peers: int, milliseconds: int) -> None:
    from moorings import DatagramSocket, HostName, native_mode

    native, reason = native_mode()
    data = b"m" * size
    receiver, sender = DatagramSocket(), DatagramSocket()
    receiver.control.inbound_buffer_size_in_bytes = BUFFER
    meter = Meter(0)

    def on_message(_socket: Any, _message: Any) -> None:
        meter.received += 1

    if part == "both":
        receiver.add_message_received(on_message)
    with receiver, sender:
        await receiver.bind_endpoint_async(HostName(HOST), "")
        await sender.bind_endpoint_async(HostName(HOST), "")
        port = receiver.information.local_port
        if part == "both":
            output = await sender.get_output_stream_async(HostName(HOST), port)
            meter = Meter(milliseconds)
            while meter.goes_on():
                for _ in range(BATCH):
                    output.write_async(data)
                await output.flush_async()
                meter.sent += BATCH
                while meter.received < meter.sent:
                    await asyncio.sleep(0)
                    meter.check()
        elif part == "send":
            others = unread_peers(peers)
            outputs = [
                await sender.get_output_stream_async(HostName(HOST), str(other.getsockname()[1])) for other in others
            ]
            meter = Meter(milliseconds)
            while meter.goes_on():
                for index in range(meter.sent, meter.sent + BATCH):
                    outputs[index % peers].write_async(data)
                await outputs[0].flush_async()
                meter.sent += BATCH
            for other in others:
                other.close()
        else:
            there = await sender.get_output_stream_async(HostName(HOST), port)
            back = await receiver.get_output_stream_async(HostName(HOST), sender.information.local_port)
            meter = Meter(milliseconds)
            while meter.goes_on():
                await there.write_async(data)
                await receiver.receive()
                await back.write_async(data)
                await sender.receive()
                meter.sent += 2
                meter.received += 2
    meter.report("compiled" if native else reason)


# -- peers -----------------------------------------------------------------------------------------------------------


class Counting(asyncio.DatagramProtocol):
    """Counts what comes, and wakes whoever waits for it."""

    def __init__(self, meter: list[Meter]) -> None:
        self.meter = meter
        self.waiter: asyncio.Future[None] | None = None

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ARG002 - as asyncio calls it
        self.meter[0].received += 1
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


async def endpoints(part: str, size: int, peers: int, milliseconds: int) -> None:
    """Asyncio's own endpoints, on whichever loop runs."""
    loop = asyncio.get_running_loop()
    data = b"m" * size
    box = [Meter(0)]
    receiving, receiver = await loop.create_datagram_endpoint(lambda: Counting(box), sock=bound_socket())
    sending, sender = await loop.create_datagram_endpoint(lambda: Counting(box), sock=bound_socket())
    there = receiving.get_extra_info("sockname")
    back = sending.get_extra_info("sockname")
    others = unread_peers(peers) if part == "send" else []
    addresses = [other.getsockname() for other in others]
    meter = box[0] = Meter(milliseconds)
    while meter.goes_on():
        if part == "both":
            for _ in range(BATCH):
                sending.sendto(data, there)
            meter.sent += BATCH
            while meter.received < meter.sent:
                await asyncio.sleep(0)
                meter.check()
        elif part == "send":
            for index in range(meter.sent, meter.sent + BATCH):
                sending.sendto(data, addresses[index % peers])
            meter.sent += BATCH
            await asyncio.sleep(0)
        else:
            receiver.waiter = loop.create_future()
            sending.sendto(data, there)
            await receiver.waiter
            sender.waiter = loop.create_future()
            receiving.sendto(data, back)
            await sender.waiter
            meter.sent += 2
    meter.report("endpoints")
    receiving.close()
    sending.close()
    for other in others:
        other.close()


async def plain_sockets(part: str, size: int, peers: int, milliseconds: int) -> None:
    """Python's socket module, without a loop."""
    data = b"m" * size
    receiver, sender = bound_socket(), bound_socket()
    others = unread_peers(peers) if part == "send" else []
    there, back = receiver.getsockname(), sender.getsockname()
    addresses = [other.getsockname() for other in others]
    buffer = bytearray(65536)
    for each in (receiver, sender):
        each.setblocking(True)
    meter = Meter(milliseconds)
    while meter.goes_on():
        if part == "both":
            for _ in range(BATCH):
                sender.sendto(data, there)
            for _ in range(BATCH):
                receiver.recv_into(buffer)
            meter.sent += BATCH
            meter.received += BATCH
        elif part == "send":
            for index in range(meter.sent, meter.sent + BATCH):
                sender.sendto(data, addresses[index % peers])
            meter.sent += BATCH
        else:
            sender.sendto(data, there)
            receiver.recv_into(buffer)
            receiver.sendto(data, back)
            sender.recv_into(buffer)
            meter.sent += 2
            meter.received += 2
    meter.report("sockets")
    for each in (receiver, sender, *others):
        each.close()


async def with_anyio(part: str, size: int, peers: int, milliseconds: int) -> None:
    anyio: Any = import_module("anyio")
    data = b"m" * size
    others = unread_peers(peers) if part == "send" else []
    addresses = [other.getsockname() for other in others]
    async with (
        await anyio.create_udp_socket(local_host=HOST) as receiver,
        await anyio.create_udp_socket(local_host=HOST) as sender,
    ):
        for each in (receiver, sender):
            raw = each.extra(anyio.abc.SocketAttribute.raw_socket)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        there: Any = receiver.extra(anyio.abc.SocketAttribute.local_address)
        back: Any = sender.extra(anyio.abc.SocketAttribute.local_address)
        meter = Meter(milliseconds)
        while meter.goes_on():
            if part == "both":
                for _ in range(ANYIO_QUEUE // 2):
                    await sender.sendto(data, *there)
                meter.sent += ANYIO_QUEUE // 2
                with anyio.fail_after(PATIENCE):
                    while meter.received < meter.sent:
                        await receiver.receive()
                        meter.received += 1
            elif part == "send":
                for index in range(meter.sent, meter.sent + BATCH):
                    await sender.sendto(data, *addresses[index % peers])
                meter.sent += BATCH
            else:
                await sender.sendto(data, *there)
                await receiver.receive()
                await receiver.sendto(data, *back)
                await sender.receive()
                meter.sent += 2
                meter.received += 2
        meter.report("anyio")
    for other in others:
        other.close()


KINDS: dict[str, Callable[[str, int, int, int], Awaitable[None]]] = {
    "moorings": moorings,
    "endpoints": endpoints,
    "sockets": plain_sockets,
    "anyio": with_anyio,
}


def main(kind: str, loop: str, part: str, size: str, peers: str, milliseconds: str) -> None:
    async def measure() -> None:
        await KINDS[kind](part, int(size), int(peers), int(milliseconds))

    if loop == "uvloop":
        import uvloop

        uvloop.run(measure())
    else:
        asyncio.run(measure())


if __name__ == "__main__":
    main(*sys.argv[1:])
