"""What each library does with datagrams in the benchmarks: one process, which uses the loopback interface.

Usage: `python udp_contestants.py KIND LOOP PART SIZE PEERS MILLISECONDS [DESCRIPTOR]`, with the parts

* `both`: batches of BATCH datagrams to one peer, or as many as its receive buffer holds, each batch received by an
  event handler before the next one;
* `send`: the same, round over peers that nobody reads: sending alone;
* `receive`: batches that come from other sockets, one after the other: receiving alone;
* `echo`: the same, and each goes back to where it came from;
* `exchange`: one datagram there, one back, each awaited.

`receive` and `echo` have a process at the other end (`udp_driver.py`), which is asked over the descriptor; that time is
not counted. Prints a line of JSON: datagrams sent and received, processor time and wall clock in nanoseconds. `c/udp.c`
is the same in C. Nothing of Moorings is imported where a peer is measured.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BATCH = 500
#: Room for several batches of datagrams, which count at least a page or two each in the kernel.
BUFFER = 4 << 20
#: What a datagram costs in a receive buffer beside its bytes, at most.
OVERHEAD = 1200
#: What lies in a receive buffer of the size that kernels allow by default, with 1,200 B each.
DRIVEN_BATCH = 150
#: anyio keeps so many received datagrams, and drops the older ones.
ANYIO_QUEUE = 100
#: Parts with a process at the other end.
DRIVEN = ("receive", "echo")
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
        self._rest = (0, 0)

    def goes_on(self) -> bool:
        return time.monotonic_ns() < self._end

    def check(self) -> None:
        """End a contestant that waits for what was lost."""
        if time.monotonic_ns() > self._give_up:
            sys.exit(f"udp_contestants: {self.sent} sent, {self.received} received, and no more came")

    def rest(self) -> None:
        """What follows is somebody else's time."""
        self._rest = time.process_time_ns(), time.monotonic_ns()

    def go_on(self) -> None:
        used, start = self._rest
        self._used += time.process_time_ns() - used
        self._start += time.monotonic_ns() - start

    def report(self, mode: str) -> None:
        used, wall = time.process_time_ns() - self._used, time.monotonic_ns() - self._start
        print(json.dumps({"sent": self.sent, "received": self.received, "cpu": used, "wall": wall, "mode": mode}))


def fitting(size: int) -> int:
    """The length of a batch of which nothing is lost: the kernel counts more than the bytes, and may give less room."""
    with bound_socket() as probe:
        return min(BATCH, probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // (size + OVERHEAD))


class Driver:
    """The process at the other end of `receive` and `echo`."""

    def __init__(self, port: int, batch: int) -> None:
        self._stream = socket.socket(fileno=int(sys.argv[7]))
        self._stream.settimeout(PATIENCE)
        self._stream.sendall(struct.pack("!HI", port, batch))
        self.batch = batch

    def fill(self, meter: Meter) -> None:
        """Let a batch come into the receive buffer."""
        meter.rest()
        self._stream.sendall(b"g")
        if not self._stream.recv(1):
            sys.exit("the other end has given up: an echo did not come, or was wrong")
        meter.sent += self.batch
        meter.go_on()

    def close(self) -> None:
        self._stream.close()


class Arrivals:
    """Counts datagrams, and can be waited for."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._waiter: asyncio.Future[None] | None = None

    def one(self) -> None:
        meter = self.meter
        meter.received += 1
        if meter.received == meter.sent and self._waiter is not None:
            self._waiter.set_result(None)

    async def all(self) -> None:
        """Wait until everything that was sent has come."""
        self._waiter = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(PATIENCE):
            await self._waiter


def bound_socket() -> socket.socket:
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    plain.bind((HOST, 0))
    plain.setblocking(False)
    return plain


def unread_peers(count: int) -> list[socket.socket]:
    """Sockets that nobody reads: the kernel drops what finds their buffers full.

    They are as small as can be. Else what is measured is the memory that the kernel finds for gigabytes of datagrams.
    """
    peers = [bound_socket() for _ in range(count)]
    for peer in peers:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    return peers


# -- this library ----------------------------------------------------------------------------------------------------


async def driven_moorings(part: str, milliseconds: int) -> None:
    from moorings import DatagramSocket, HostName, native_mode

    native, reason = native_mode()
    arrivals = Arrivals(Meter(0))

    def count(_socket: Any, _message: Any) -> None:
        arrivals.one()

    def echo(_socket: Any, message: Any) -> None:
        message.reply(message.data)
        arrivals.one()

    ours = DatagramSocket()
    ours.control.inbound_buffer_size_in_bytes = BUFFER
    ours.add_message_received(echo if part == "echo" else count)
    with ours:
        await ours.bind_endpoint_async(HostName(HOST), "")
        driver = Driver(int(ours.information.local_port), DRIVEN_BATCH)
        meter = arrivals.meter = Meter(milliseconds)
        while meter.goes_on():
            driver.fill(meter)
            await arrivals.all()
            if part == "echo":
                await ours.flush()
        meter.report("compiled" if native else reason)
        driver.close()


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
            batch = fitting(size)
            output = await sender.get_output_stream_async(HostName(HOST), port)
            meter = Meter(milliseconds)
            while meter.goes_on():
                for _ in range(batch):
                    output.write_async(data)
                await output.flush_async()
                meter.sent += batch
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


class Driven(asyncio.DatagramProtocol):
    """Counts what comes, and may send it back."""

    def __init__(self, arrivals: Arrivals, echo: bool) -> None:
        self.arrivals = arrivals
        self.echo = echo
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.echo:
            self.transport.sendto(data, addr)
        self.arrivals.one()


async def driven_endpoints(part: str, milliseconds: int, mode: str = "endpoints") -> None:
    loop = asyncio.get_running_loop()
    arrivals = Arrivals(Meter(0))
    transport, _ = await loop.create_datagram_endpoint(lambda: Driven(arrivals, part == "echo"), sock=bound_socket())
    driver = Driver(transport.get_extra_info("sockname")[1], DRIVEN_BATCH)
    meter = arrivals.meter = Meter(milliseconds)
    while meter.goes_on():
        driver.fill(meter)
        await arrivals.all()
    meter.report(mode)
    transport.close()
    driver.close()


async def aiofastnet_endpoints(part: str, size: int, peers: int, milliseconds: int) -> None:
    """Aiofastnet's endpoints under the same protocols."""
    with_aiofastnet()
    await endpoints(part, size, peers, milliseconds, "aiofastnet")


def with_aiofastnet() -> None:
    package = import_module("aiofastnet")
    if not hasattr(package, "create_datagram_endpoint"):
        sys.exit("this version of aiofastnet has no datagram endpoints: pip install --upgrade aiofastnet")
    package.patch_loop()


async def driven_aiofastnet(part: str, milliseconds: int) -> None:
    with_aiofastnet()
    await driven_endpoints(part, milliseconds, "aiofastnet")


async def endpoints(part: str, size: int, peers: int, milliseconds: int, mode: str = "endpoints") -> None:
    """Asyncio's own endpoints, on whichever loop runs."""
    loop = asyncio.get_running_loop()
    data = b"m" * size
    batch = fitting(size)
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
            for _ in range(batch):
                sending.sendto(data, there)
            meter.sent += batch
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
    meter.report(mode)
    receiving.close()
    sending.close()
    for other in others:
        other.close()


def make_patient(plain: socket.socket) -> None:
    """Let it block, and not for ever; a timeout of Python's own would cost a poll for each datagram."""
    plain.setblocking(True)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(PATIENCE), 0))


async def driven_sockets(part: str, milliseconds: int) -> None:
    buffer = bytearray(65536)
    view = memoryview(buffer)
    with bound_socket() as ours:
        make_patient(ours)
        driver = Driver(ours.getsockname()[1], DRIVEN_BATCH)
        meter = Meter(milliseconds)
        while meter.goes_on():
            driver.fill(meter)
            for _ in range(DRIVEN_BATCH):
                if part == "echo":
                    count, peer = ours.recvfrom_into(buffer)
                    ours.sendto(view[:count], peer)
                else:
                    ours.recv_into(buffer)
            meter.received += DRIVEN_BATCH
        meter.report("sockets")
        driver.close()


async def plain_sockets(part: str, size: int, peers: int, milliseconds: int) -> None:
    """Python's socket module, without a loop."""
    data = b"m" * size
    batch = fitting(size)
    receiver, sender = bound_socket(), bound_socket()
    others = unread_peers(peers) if part == "send" else []
    there, back = receiver.getsockname(), sender.getsockname()
    addresses = [other.getsockname() for other in others]
    buffer = bytearray(65536)
    for each in (receiver, sender):
        make_patient(each)
    meter = Meter(milliseconds)
    while meter.goes_on():
        if part == "both":
            for _ in range(batch):
                sender.sendto(data, there)
            for _ in range(batch):
                receiver.recv_into(buffer)
            meter.sent += batch
            meter.received += batch
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


async def driven_anyio(part: str, milliseconds: int) -> None:
    anyio: Any = import_module("anyio")
    async with await anyio.create_udp_socket(local_host=HOST) as ours:
        ours.extra(anyio.abc.SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        driver = Driver(ours.extra(anyio.abc.SocketAttribute.local_port), ANYIO_QUEUE // 2)
        meter = Meter(milliseconds)
        while meter.goes_on():
            driver.fill(meter)
            with anyio.fail_after(PATIENCE):
                while meter.received < meter.sent:
                    data, peer = await ours.receive()
                    if part == "echo":
                        await ours.sendto(data, *peer)
                    meter.received += 1
        meter.report("anyio")
        driver.close()


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
    "aiofastnet": aiofastnet_endpoints,
    "sockets": plain_sockets,
    "anyio": with_anyio,
}
DRIVEN_KINDS: dict[str, Callable[[str, int], Awaitable[None]]] = {
    "moorings": driven_moorings,
    "endpoints": driven_endpoints,
    "aiofastnet": driven_aiofastnet,
    "sockets": driven_sockets,
    "anyio": driven_anyio,
}


def main(kind: str, loop: str, part: str, size: str, peers: str, milliseconds: str, *_descriptor: str) -> None:
    async def measure() -> None:
        if part in DRIVEN:
            await DRIVEN_KINDS[kind](part, int(milliseconds))
        else:
            await KINDS[kind](part, int(size), int(peers), int(milliseconds))

    if loop == "uvloop":
        import uvloop

        uvloop.run(measure())
    else:
        asyncio.run(measure())


if __name__ == "__main__":
    main(*sys.argv[1:])
