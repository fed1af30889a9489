"""Does one busy connection starve the others? A heart that beats every 10 ms on the same event loop shows it.

A flood is a task that never pauses by itself: it reads from a peer that sends without end, or writes to one that reads
without end. Beside it the heart beats; the figure is how late its beats are. Then `asyncio.timeout(0.2)` is put around
the flood; the figure is when it fires.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from moorings.benchmarks.figures import Progress, table, verdict, write_json
from moorings.benchmarks.processes import SERVERS, BenchmarkError, ServerKind, has_uvloop, machine

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

BEAT = 0.01
LATE_BAR = 0.05
TIMEOUT, TIMEOUT_BAR = 0.2, 0.4
CHUNK = 65536
PARTIAL = 1
PEER = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
try:
    while True:
        if sys.argv[1] == "send":
            connection.sendall(bytes(262144))
        elif not connection.recv(262144):
            break
except OSError:
    pass
"""
EXAMPLE = """example:
  python -m moorings.benchmarks.fairness --seconds 5 --json fairness.json

Exit codes: 0 measured, 1 a loop was starved for good, or a figure could not be measured, 2 bad arguments. A missed bar
is told and is no failure."""


async def read_big(connection: Any) -> None:
    from moorings import Buffer  # only in the child

    buffer = Buffer(CHUNK)
    while True:
        await connection.input_stream.read_async(buffer, CHUNK, PARTIAL)


async def read_bytes(connection: Any) -> None:
    from moorings import Buffer

    buffer = Buffer(1)
    while True:
        await connection.input_stream.read_async(buffer, 1, PARTIAL)


async def read_bytes_by_face(connection: Any) -> None:
    while True:
        await connection.read(1)


async def write_big(connection: Any) -> None:
    data = bytes(CHUNK)
    while True:
        await connection.output_stream.write_async(data)


async def read_until_reset(connection: Any) -> None:
    with contextlib.suppress(ConnectionResetError):
        await read_bytes_by_face(connection)


async def write_to_ourselves(_connection: Any) -> None:
    """A flooding writer and a reader of single bytes, both on this loop."""
    import moorings

    async with (
        moorings.listen("tcp://127.0.0.1:0", read_until_reset, drain_timeout=0) as listener,
        await moorings.connect(f"tcp://127.0.0.1:{listener.port}") as ours,
    ):
        try:
            await write_big(ours)
        finally:
            ours.abort()


#: The floods, each with what its peer does.
FLOODS: dict[str, tuple[str, Callable[[Any], Awaitable[None]]]] = {
    "reads of 64 KiB": ("send", read_big),
    "reads of 1 byte": ("send", read_bytes),
    "reads of 1 byte, read(1)": ("send", read_bytes_by_face),
    "writes of 64 KiB": ("receive", write_big),
    "a writer of 64 KiB and a reader of 1 byte": ("receive", write_to_ourselves),
}


@contextlib.asynccontextmanager
async def flooded(peer: str) -> AsyncGenerator[Any]:
    """A connection to a process that sends, or receives, as fast as it can."""
    import moorings

    async with moorings.listen("tcp://127.0.0.1:0", drain_timeout=0) as listener:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", PEER, peer, str(listener.port))
        try:
            async for connection in listener:
                yield connection
                connection.abort()
                break
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def heartbeat(seconds: float) -> list[float]:
    """How late each beat was, in seconds."""
    late: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        due = time.monotonic() + BEAT
        await asyncio.sleep(BEAT)
        late.append(max(0.0, time.monotonic() - due))
    return late


async def examine(name: str, seconds: float) -> dict[str, float]:
    """Beats beside one flood, then a time limit around it."""
    peer, flood = FLOODS[name]
    async with flooded(peer) as connection:
        task = asyncio.ensure_future(flood(connection))
        late = sorted(await heartbeat(seconds))
        if task.done():
            raise BenchmarkError(f"{name}: the flood ended: {task.exception()!r}")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    async with flooded(peer) as connection:
        start = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT):
                await flood(connection)
        except TimeoutError:
            pass
        fired = time.monotonic() - start
    return {
        "p50": late[len(late) // 2],
        "p99": late[len(late) * 99 // 100],
        "max": late[-1],
        "beats": len(late),
        "timeout": fired,
    }


def child(loop: str, flood: str, seconds: float) -> None:
    if loop == "uvloop":
        import uvloop

        print(json.dumps(uvloop.run(examine(flood, seconds))))
    else:
        print(json.dumps(asyncio.run(examine(flood, seconds))))


def measure(kind: ServerKind, flood: str, seconds: float) -> dict[str, float]:
    """Run one flood in a process of its own; a loop that never comes back is noticed by time."""
    program = [sys.executable, "-m", "moorings.benchmarks.fairness"]
    command = [*program, "--child", kind.loop, flood, "--seconds", str(seconds)]
    try:
        done = subprocess.run(
            command, env=kind.environment(), stdout=subprocess.PIPE, text=True, timeout=seconds + 30, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"{kind.label}, {flood}: the loop was starved for {error.timeout:.0f} s") from error
    if done.returncode:
        raise BenchmarkError(f"{kind.label}, {flood}: ended with {done.returncode}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m moorings.benchmarks.fairness",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", default=2.0, help="length of a flood, 0.1 to 600, default 2"
    )
    parser.add_argument("--quick", action="store_true", help="0.5 s each, compiled only")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--child", nargs=2, metavar=("LOOP", "FLOOD"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.quick:
        options.seconds = 0.5
    if not 0.1 <= options.seconds <= 600:
        parser.error("--seconds must be 0.1 to 600")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.child:
        child(options.child[0], options.child[1], options.seconds)
        return 0
    names = ["moorings-uvloop", "moorings-asyncio"] + ([] if options.quick else ["pure-uvloop", "pure-asyncio"])
    kinds = [SERVERS[name] for name in names if SERVERS[name].loop != "uvloop" or has_uvloop()]
    print(f"moorings fairness benchmark: a beat each {BEAT * 1000:.0f} ms beside a flood of {options.seconds:g} s")
    progress = Progress()
    results: list[dict[str, Any]] = []
    try:
        for kind in kinds:
            for flood in FLOODS:
                progress.show(f"{kind.label}: {flood}")
                results.append({"server": kind.name, "flood": flood, **measure(kind, flood, options.seconds)})
    finally:
        progress.clear()
    rows = [
        [
            f"{SERVERS[entry['server']].label}: {entry['flood']}",
            f"{entry['p50'] * 1000:.1f}",
            f"{entry['p99'] * 1000:.1f}",
            f"{entry['max'] * 1000:.1f}",
            verdict(entry["p99"] * 1000, LATE_BAR * 1000),
            f"{entry['timeout'] * 1000:.0f}",
            verdict(entry["timeout"] * 1000, TIMEOUT_BAR * 1000),
        ]
        for entry in results
    ]
    head = ["flood", "late p50 ms", "p99 ms", "max ms", "", f"timeout({TIMEOUT:g}) after ms", ""]
    print("\n" + table(head, rows))
    if options.json:
        write_json(options.json, {"machine": machine(), "seconds": options.seconds, "floods": results})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchmarkError, OSError) as error:
        sys.exit(f"fairness: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
