"""A demonstration: an echo server and its clients, with every step printed on both sides.

1. One server and one client as in Microsoft's "Sockets" guide, with the WinRT names: a program for Windows reads the
   same.
2. Many clients at once, with the Python names; every one checks its echoes.
3. A small transfer, and what the kernel then knows about round trip times and bandwidth.
4. What a refused connection and a bad host name say.

Everything stays on the loopback interface, takes a few seconds and ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import resource
import socket
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

import moorings
from moorings import (
    DataReader,
    DataWriter,
    HostName,
    InputStreamOptions,
    SocketError,
    StreamSocket,
    StreamSocketListener,
)
from moorings.cli.console import Console

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from typing import Any

LOCALHOST = "127.0.0.1"
#: Descriptors that one client needs, its end and the server's, and those that the process needs besides.
PER_CLIENT, SPARE = 2, 64
AT_ONCE = 100
ROUNDS = 10
MESSAGE_SIZE = 64
PATIENCE = 120.0
LOOK_UP_PATIENCE = 10.0
MEBIBYTE = 1 << 20
EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
EPILOG = """examples:
  python -m moorings.cli.demo
  python -m moorings.cli.demo --clients 100 --loop asyncio

Exit codes: 0 all went well, 1 a step failed, 2 bad arguments."""


class DemoError(Exception):
    """A step did not do what it should."""


class Options(NamedTuple):
    """What the command line says."""

    clients: int
    megabytes: int
    loop: str


# -- 1: one server, one client, WinRT names --------------------------------------------------------------------------


async def receive_text(reader: DataReader) -> str:
    """A string that comes behind its length in bytes; "" at the end of the stream."""
    if await reader.load_async(4) < 4:
        return ""
    size = reader.read_uint32()
    await reader.load_async(size)
    return reader.read_string(size)


async def send_text(writer: DataWriter, text: str) -> None:
    """A string, behind its length in bytes."""
    writer.write_uint32(writer.measure_string(text))
    writer.write_string(text)
    await writer.store_async()


async def guide(console: Console, _options: Options) -> None:
    """The echo of the guide: "Hello, World!" there and back."""
    served = asyncio.Event()

    async def on_connection(_listener: StreamSocketListener, args: Any) -> None:
        with args.socket as connection:
            remote = connection.information
            console.say("server", f"connection received from {remote.remote_address} port {remote.remote_port}")
            with DataReader(connection.input_stream) as reader, DataWriter(connection.output_stream) as writer:
                request = await receive_text(reader)
                console.say("server", f'read "{request}"')
                await send_text(writer, request)
                console.say("server", f'sent back "{request}"')
        console.say("server", "closed its socket")
        served.set()

    with StreamSocketListener() as listener:
        listener.add_connection_received(on_connection)
        console.say("server", f"binding to {LOCALHOST}, the system picks the port")
        await listener.bind_endpoint_async(HostName(LOCALHOST), "")
        port = listener.information.local_port
        console.say("server", f"listening on port {port}")
        await talk(console, port)
        await served.wait()
    console.say("server", "stopped listening")


async def talk(console: Console, port: str) -> None:
    """The client of the guide."""
    with StreamSocket() as client:
        console.say("client", f"connecting to {LOCALHOST} port {port}")
        await client.connect_async(HostName(LOCALHOST), port)
        console.say("client", f"connected from port {client.information.local_port}")
        request = "Hello, World!"
        with DataReader(client.input_stream) as reader, DataWriter(client.output_stream) as writer:
            await send_text(writer, request)
            console.say("client", f'sent "{request}"')
            response = await receive_text(reader)
            console.say("client", f'received "{response}"')
        if response != request:
            raise DemoError(f"the echo differs: {response!r}")
    console.say("client", "closed its socket")


# -- 2: many clients, Python names -----------------------------------------------------------------------------------


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


async def crowd(console: Console, options: Options) -> None:
    """Many clients, all connected at the same time."""
    clients, note = affordable_clients(options.clients)
    if note:
        console.say("note", note)
    async with moorings.listen(f"tcp://{LOCALHOST}:0", echo) as server:
        console.say("server", f"listening on port {server.port}")
        connections: list[StreamSocket] = []
        try:
            await connect_all(connections, clients, f"tcp://{LOCALHOST}:{server.port}", console)
            console.say("server", f"{server.open_connections:,} connections open at the same time")
            await exchange(connections, console)
        finally:
            for connection in connections:
                connection.close()
    report = server.report
    if report is not None:
        console.say("server", f"accepted {report.accepted:,}, cut off {report.aborted:,}")


async def connect_all(connections: list[StreamSocket], clients: int, url: str, console: Console) -> None:
    """Fill `connections`, some at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def join() -> None:
        async with gate:
            connections.append(await moorings.connect(url, timeout=PATIENCE))

    start = time.monotonic()
    await asyncio.gather(*(join() for _ in range(clients)))
    console.say("client", f"{len(connections):,} clients connected in {time.monotonic() - start:.2f} s")


async def exchange(connections: list[StreamSocket], console: Console) -> None:
    """Round trips of all clients at the same time."""
    start = time.monotonic()
    right = sum(await asyncio.gather(*(converse(*numbered) for numbered in enumerate(connections))))
    seconds = time.monotonic() - start
    total = len(connections) * ROUNDS
    console.say("client", f"{total:,} messages of {MESSAGE_SIZE} bytes sent, {right:,} came back right")
    console.say("client", f"{total / seconds:,.0f} round trips a second, server and clients in one process")
    if right != total:
        raise DemoError(f"{total - right} echoes are missing or differ")


async def converse(number: int, connection: StreamSocket) -> int:
    """Some round trips of one client; how many messages came back as they were sent."""
    right = 0
    for turn in range(ROUNDS):
        message = f"client {number}, message {turn}".encode().ljust(MESSAGE_SIZE, b".")
        await connection.write(message)
        right += await connection.read_exactly(MESSAGE_SIZE) == message
    return right


# -- 3: a transfer, and the statistics -------------------------------------------------------------------------------


async def transfer(console: Console, options: Options) -> None:
    """Some megabytes from client to server; then the statistics of both ends."""
    size = options.megabytes * MEBIBYTE
    received: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def swallow(connection: StreamSocket) -> None:
        buffer = moorings.Buffer(256 * 1024)
        count = 0
        while True:
            await connection.input_stream.read_async(buffer, buffer.capacity, InputStreamOptions.PARTIAL)
            if not buffer.length:
                break
            count += buffer.length
        show_statistics(console, "server", connection)
        received.set_result(count)

    async with (
        moorings.listen(f"tcp://{LOCALHOST}:0", swallow) as server,
        await moorings.connect(f"tcp://{LOCALHOST}:{server.port}", timeout=PATIENCE) as client,
    ):
        block = bytes(256 * 1024)
        start = time.monotonic()
        for _ in range(size // len(block)):
            await client.write(block)
        client.end_writing()
        count = await received
        seconds = time.monotonic() - start
        rate = count / seconds / 1e9
        console.say("client", f"{count / MEBIBYTE:.0f} MiB sent in {seconds * 1000:.0f} ms, {rate:.2f} GB/s")
        show_statistics(console, "client", client)
    if count != size:
        raise DemoError(f"{count} of {size} bytes arrived")


def show_statistics(console: Console, who: str, connection: StreamSocket) -> None:
    """What the kernel measured (TCP_INFO), and what the library counted."""
    times = connection.information.round_trip_time_statistics
    width = connection.information.bandwidth_statistics
    counters = connection.counters
    console.say(
        who,
        f"round trip time: {times.sum} µs smoothed, {times.min} µs lowest, {times.max} µs highest, "
        f"{times.variance} µs variance",
    )
    console.say(
        who,
        f"bandwidth: {megabits(width.outbound_bits_per_second)} out, {megabits(width.inbound_bits_per_second)} in",
    )
    console.say(
        who,
        f"{counters.bytes_sent:,} bytes sent in {counters.send_calls:,} calls, "
        f"{counters.bytes_received:,} received in {counters.receive_calls:,}",
    )


def megabits(bits: int) -> str:
    """A rate in Mbit/s; the kernel says nothing about a direction that carried nothing."""
    return f"{bits / 1e6:,.0f} Mbit/s" if bits else "unknown"


# -- 4: failures -----------------------------------------------------------------------------------------------------


async def failures(console: Console, _options: Options) -> None:
    """A port where nobody listens, a name that does not exist, a name that cannot exist."""
    with socket.socket() as reserved:
        reserved.bind((LOCALHOST, 0))  # nobody listens, and nobody else gets the port
        closed = f"tcp://{LOCALHOST}:{reserved.getsockname()[1]}"
        await expect_failure(console, f"connecting to {closed}, where nobody listens", lambda: moorings.connect(closed))
    unknown = "tcp://no-such-host.invalid:80"
    what = f"connecting to {unknown}; no name ends in .invalid (RFC 6761)"
    await expect_failure(console, what, lambda: moorings.connect(unknown, timeout=LOOK_UP_PATIENCE))

    async def name() -> HostName:
        return HostName("not a host name")

    await expect_failure(console, "HostName('not a host name')", name)


async def expect_failure(console: Console, what: str, action: Callable[[], Awaitable[object]]) -> None:
    """Do what must fail, and show everything that the exception carries."""
    console.say("client", what)
    try:
        await action()
    except OSError as error:
        winerror = getattr(error, "winerror", None)
        if winerror is None:
            raise DemoError(f"{error!r} carries no winerror") from error
        console.say("", f"class    {class_name(error)}")
        console.say("", f"winerror {winerror} (0x{winerror & 0xFFFFFFFF:08X})")
        console.say("", f"status   {SocketError.get_status(winerror).name}")
        console.say("", f"reason   {getattr(error, 'reason', error)}")
        return
    raise DemoError(f"{what}: it did not fail")


def class_name(error: OSError) -> str:
    """The class of the standard library to catch it by."""
    kind = next(kind for kind in type(error).__mro__ if kind.__module__ in {"builtins", "socket"})
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


# -- the program -----------------------------------------------------------------------------------------------------

PARTS: tuple[tuple[str, Callable[[Console, Options], Awaitable[None]]], ...] = (
    ("An echo, as in the Sockets guide", guide),
    ("Many clients at once", crowd),
    ("A transfer and its statistics", transfer),
    ("What failures say", failures),
)


async def run(console: Console, options: Options) -> int:
    """All parts; the exit code."""
    code = EXIT_OK
    for title, part in PARTS:
        if console.gone:
            return code
        console.title(title)
        try:
            async with asyncio.timeout(PATIENCE):
                await part(console, options)
        except (OSError, DemoError, asyncio.IncompleteReadError, TimeoutError) as error:
            console.say("FAILED", f"{type(error).__name__}: {error}")
            code = EXIT_FAILED
    console.line()
    console.line("all steps went well" if code == EXIT_OK else "a step failed")
    return code


def runner_of(name: str) -> tuple[Callable[[Coroutine[Any, Any, int]], int], str]:
    """What runs the demonstration, and its name; "auto" is uvloop where it is installed. Errors: ImportError."""
    if name != "asyncio":
        try:
            import uvloop  # noqa: PLC0415 - an extra
        except ImportError:
            if name == "uvloop":
                raise
        else:
            return uvloop.run, f"uvloop {version('uvloop')}"
    return asyncio.run, "asyncio's own loop"


def first_line(loop: str) -> str:
    """Version, native or pure and why, loop."""
    native, reason = moorings.native_mode()
    mode = "native (compiled)" if native else reason
    return f"moorings {moorings.__version__}, {mode}, on {loop}, Python {platform.python_version()}"


def parse(arguments: Sequence[str] | None) -> Options:
    """The command line; leaves with exit code 2 when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m moorings.cli.demo",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--clients", type=int, default=1000, metavar="N", help="clients at once, 1 to 10000, default 1000"
    )
    parser.add_argument("--megabytes", type=int, default=64, metavar="N", help="MiB to transfer; default 64")
    parser.add_argument(
        "--loop",
        choices=("auto", "asyncio", "uvloop"),
        default="auto",
        help="event loop; auto (default) takes uvloop if it is installed",
    )
    chosen = parser.parse_args(arguments)
    if not 1 <= chosen.clients <= 10_000:
        parser.error("--clients must be 1 to 10000")
    if not 1 <= chosen.megabytes <= 4096:
        parser.error("--megabytes must be 1 to 4096")
    return Options(chosen.clients, chosen.megabytes, chosen.loop)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; the exit code."""
    options = parse(arguments)
    try:
        runner, loop = runner_of(options.loop)
    except ImportError:
        print("demo: uvloop is not installed (pip install 'moorings[uvloop]')", file=sys.stderr)
        return EXIT_FAILED
    try:
        console = Console()
        console.line(first_line(loop))
        return runner(run(console, options))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
