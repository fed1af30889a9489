"""User-space instructions for one message, by callgrind: the difference between a long and a short run.

Both runs are of one process, each between two dumps of callgrind's counters, so the start of Python, the imports and
the dumps fall out. It is done twice; the figures of the two must agree, since they do not depend on the time. System
calls count as one instruction; the kernel's part is not in the figure.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from moorings.benchmarks.processes import BenchmarkError, LoadGenerator, Server, ServerKind, Workshop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

WARM_UP, SHORT, LONG = 200, 200, 600
#: Two measurements of one server may differ by this share.
AGREEMENT = 0.1
START_TIMEOUT = 180.0
DUMP_TIMEOUT = 60.0
MESSAGE_SIZE = 64


class Counted(NamedTuple):
    """Instructions for one message, measured twice."""

    first: float
    second: float

    @property
    def mean(self) -> float:
        return (self.first + self.second) / 2

    @property
    def agree(self) -> bool:
        """Whether the two measurements are the same but for what cannot be helped."""
        return abs(self.first - self.second) <= AGREEMENT * self.mean


def has_valgrind() -> bool:
    """Whether valgrind is installed, with the program that asks callgrind for a dump."""
    return all(shutil.which(name) for name in ("valgrind", "callgrind_control"))


def count(workshop: Workshop, server: ServerKind, *, tls: str = "") -> Counted:
    """The instructions that one server needs for one message on one connection."""
    report = workshop.path / f"callgrind.{server.name}"
    prefix = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={report}", "--log-file=/dev/null"]
    with (
        Server(workshop, server, tls=bool(tls), prefix=prefix, timeout=START_TIMEOUT) as process,
        LoadGenerator(workshop, process, MESSAGE_SIZE, tls=tls, calm=True) as load,
    ):
        load.open(1)
        for messages in (WARM_UP, SHORT, LONG, SHORT, LONG):
            load.run(START_TIMEOUT, messages)
            dump(process.pid)
    short, long, second_short, second_long = (total(report.with_name(f"{report.name}.{part}")) for part in range(2, 6))
    return Counted(*(difference / (LONG - SHORT) for difference in (long - short, second_long - second_short)))


def dump(pid: int) -> None:
    """Let callgrind write down what it has counted since the last time."""
    command = ["callgrind_control", "--dump", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DUMP_TIMEOUT, check=False)
    if done.returncode:
        raise BenchmarkError(f"callgrind_control failed: {(done.stderr or done.stdout).strip()}")


def total(report: Path) -> int:
    """The total of a callgrind report."""
    if report.exists():
        text = report.read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        if found:
            return int(found[1])
    raise BenchmarkError(f"callgrind left no totals in {report.name}")


def per_message(
    workshop: Workshop, servers: Sequence[ServerKind], progress: Callable[[str], None], *, tls: str = ""
) -> dict[str, Counted]:
    """Instructions per message of each server, by its name; two servers at a time where there are two processors."""
    counted: dict[str, Counted] = {}

    def one(server: ServerKind) -> None:
        progress(f"instructions: {server.label} under callgrind")
        counted[server.name] = count(workshop, server, tls=tls)

    with ThreadPoolExecutor(min(2, len(workshop.cores))) as pool:
        list(pool.map(one, servers))
    return counted
