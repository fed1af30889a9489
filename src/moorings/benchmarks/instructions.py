"""User-space instructions for one message, by callgrind: the difference between a long and a short run.

What a run costs besides its messages (the start of Python, the imports) is the same in both, so it falls out. System
calls count as one instruction; the kernel's part is not in the figure.
"""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from moorings.benchmarks.processes import BenchmarkError, LoadGenerator, Server, ServerKind, Workshop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SHORT, LONG = 1000, 3000
START_TIMEOUT = 180.0
MESSAGE_SIZE = 64


def has_valgrind() -> bool:
    """Whether valgrind is installed."""
    return shutil.which("valgrind") is not None


def count(workshop: Workshop, server: ServerKind, messages: int) -> int:
    """The instructions of a whole run that answers `messages` messages on one connection."""
    report = workshop.path / f"callgrind.{server.name}.{messages}"
    prefix = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={report}", "--log-file=/dev/null"]
    with (
        Server(workshop, server, prefix=prefix, timeout=START_TIMEOUT) as process,
        LoadGenerator(workshop, process, MESSAGE_SIZE, calm=True) as load,
    ):
        load.open(1)
        load.run(START_TIMEOUT, messages)
    return total(report)


def total(report: Path) -> int:
    """The total of a callgrind report."""
    if report.exists():
        text = report.read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        if found:
            return int(found[1])
    raise BenchmarkError(f"callgrind left no totals in {report.name}")


def per_message(workshop: Workshop, servers: Sequence[ServerKind], progress: Callable[[str], None]) -> dict[str, float]:
    """Instructions per message of each server, by its name; two runs at a time where there are two processors."""
    runs = [(server, messages) for server in servers for messages in (SHORT, LONG)]
    counted: dict[tuple[str, int], int] = {}

    def one(run: tuple[ServerKind, int]) -> None:
        server, messages = run
        progress(f"instructions: {server.label}, {messages} messages under callgrind")
        counted[server.name, messages] = count(workshop, server, messages)

    with ThreadPoolExecutor(min(2, len(workshop.cores))) as pool:
        list(pool.map(one, runs))
    return {
        server.name: (counted[server.name, LONG] - counted[server.name, SHORT]) / (LONG - SHORT) for server in servers
    }
