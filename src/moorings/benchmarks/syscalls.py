"""How many send system calls 100 writes of 100 bytes take, in the three batching forms of Microsoft's "Sockets" guide.

* one await per write: each write is sent at once;
* gathered: all writes are started, then all are awaited together;
* flush_async: no write is awaited, then one flush.

With strace installed the calls are counted from outside; else by the connection's own counter.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moorings.benchmarks.figures import table, verdict, write_json
from moorings.benchmarks.processes import SERVERS, BenchmarkError, ServerKind, has_uvloop, machine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

WRITES, SIZE = 100, 100
FLUSH_BAR = 3
TRACED = "sendto,sendmsg,sendmmsg,write,writev"
EXAMPLE = """example:
  python -m moorings.benchmarks.syscalls --json syscalls.json

Exit codes: 0 counted, 1 it could not be counted, 2 bad arguments. A missed bar is told and is no failure."""


async def one_await_per_write(output: Any) -> None:
    for _ in range(WRITES):
        await output.write_async(b"w" * SIZE)


async def gathered(output: Any) -> None:
    await asyncio.gather(*[output.write_async(b"w" * SIZE) for _ in range(WRITES)])


async def flushed(output: Any) -> None:
    for _ in range(WRITES):
        output.write_async(b"w" * SIZE)
    if not await output.flush_async():
        raise BenchmarkError("flush_async gave False")


FORMS: dict[str, tuple[str, Callable[[Any], Awaitable[None]]]] = {
    "await": ("one await per write", one_await_per_write),
    "gather": ("gathered operations", gathered),
    "flush": ("un-awaited, then flush_async", flushed),
}


def swallow(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        while connection.recv(65536):
            pass


async def act(form: str, port: int) -> int:
    """Do one form over a new connection; its own count of send calls."""
    from moorings import HostName, StreamSocket  # only in the child

    with StreamSocket() as connection:
        await connection.connect_async(HostName("127.0.0.1"), str(port))
        await FORMS[form][1](connection.output_stream)
        counters = connection.counters
        if counters.bytes_sent != WRITES * SIZE:
            raise BenchmarkError(f"{counters.bytes_sent} bytes were sent instead of {WRITES * SIZE}")
        return counters.send_calls


def child(form: str, loop: str, port: int) -> None:
    """What the traced process does."""
    if loop == "uvloop":
        import uvloop

        run: Callable[[Any], int] = uvloop.run
    else:
        run = asyncio.run
    print(json.dumps(run(act(form, port))))


def sends_in(trace: str) -> int:
    """The calls in a trace that sent something of ours: the loop's wake-ups go through the same calls."""
    return sum('"www' in line and "= -1" not in line for line in trace.splitlines())


def count(kind: ServerKind, form: str, trace: Path | None) -> int:
    """The send calls of one form on one loop, from outside when `trace` names a file."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader = threading.Thread(target=swallow, args=(listener,), daemon=True)
        reader.start()
        port = str(listener.getsockname()[1])
        command = [sys.executable, "-m", "moorings.benchmarks.syscalls", "--child", form, kind.loop, port]
        if trace is not None:
            command = ["strace", "-f", "-qq", "-s", "8", "-e", f"trace={TRACED}", "-o", str(trace), *command]
        done = subprocess.run(command, env=kind.environment(), stdout=subprocess.PIPE, timeout=60, check=False)
        if done.returncode:
            raise BenchmarkError(f"{' '.join(command[:4])} ended with {done.returncode}")
        reader.join(10.0)
    return int(json.loads(done.stdout)) if trace is None else sends_in(trace.read_text(encoding="utf-8"))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m moorings.benchmarks.syscalls",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--no-strace", action="store_true", help="count with the connection's own counter")
    parser.add_argument("--child", nargs=3, metavar=("FORM", "LOOP", "PORT"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def kinds() -> list[ServerKind]:
    """Ours, compiled and pure, on the loops that are here."""
    names = ("moorings-uvloop", "moorings-asyncio", "pure-uvloop", "pure-asyncio")
    return [SERVERS[name] for name in names if SERVERS[name].loop != "uvloop" or has_uvloop()]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.child:
        child(options.child[0], options.child[1], int(options.child[2]))
        return 0
    by_strace = shutil.which("strace") is not None and not options.no_strace
    how = "strace" if by_strace else "the connection's own counter"
    print(f"moorings send call benchmark: {WRITES} writes of {SIZE} bytes each, counted by {how}")
    figures: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory(prefix="moorings-bench-") as directory:
        trace = Path(directory, "trace") if by_strace else None
        for kind in kinds():
            figures[kind.name] = {form: count(kind, form, trace) for form in FORMS}
    rows = [
        [SERVERS[name].label, *(str(counts[form]) for form in FORMS), verdict(counts["flush"], FLUSH_BAR)]
        for name, counts in figures.items()
    ]
    print("\n" + table(["send calls", *(label for label, _ in FORMS.values()), ""], rows))
    if options.json:
        write_json(options.json, {"machine": machine(), "counted_by": how, "send_calls": figures})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchmarkError, OSError, subprocess.TimeoutExpired) as error:
        sys.exit(f"syscalls: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
