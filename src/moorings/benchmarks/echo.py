"""What one 64-byte echo costs a server: ours, C's, and those of the asyncio ways.

Each comparison is a series of pairs: ours, the peer, ours, the peer, and so on, each under full load from a generator
of its own for a moment; both processes are new every few pairs. The figure of a pair is the ratio of the processor
time, user and system, that the two servers used for one message. A pair counts only when both servers were busy: used
95 % of a processor. The result is the median of the pairs, with its quartiles. At one connection a server waits for the
generator most of the time, so there that rule is off, and the figure includes going to sleep and waking up.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moorings.benchmarks import instructions
from moorings.benchmarks.figures import Progress, Spread, bars, spread, table, verdict, write_json
from moorings.benchmarks.processes import (
    SERVERS,
    BenchmarkError,
    LoadGenerator,
    Sample,
    Server,
    ServerKind,
    Workshop,
    has_uvloop,
    machine,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

MESSAGE_SIZE = 64
BUSY = 0.95
LIMIT = 10_000_000
WARM_UP = 0.1
EXAMPLE = """example:
  python -m moorings.benchmarks.echo --connections 50 --pairs 15 --json echo.json
  python -m moorings.benchmarks.echo --quick --no-instructions

Run it on a quiet machine with two processors or more. Exit codes: 0 measured, 1 a figure could not be measured, 2 bad
arguments. A missed bar is told and is no failure."""


@dataclass(frozen=True)
class Comparison:
    """Ours against a peer, with the ratio that we want to keep (`bar`) and that we aim at."""

    ours: str
    peer: str
    bar: float | None = None
    aim: float | None = None


COMPARISONS = (
    Comparison("moorings-uvloop", "callbacks-uvloop", 1.35, 1.1),
    Comparison("moorings-uvloop", "streams-uvloop", 0.85, 0.75),
    Comparison("moorings-asyncio", "streams-asyncio-malloc", 0.75),
    Comparison("moorings-asyncio", "streams-asyncio"),
    Comparison("pure-asyncio", "streams-asyncio", 1.0),
    Comparison("pure-asyncio", "streams-asyncio-malloc"),
    Comparison("pure-uvloop", "streams-uvloop", 1.25),
    Comparison("face-uvloop", "callbacks-uvloop"),
    Comparison("face-uvloop", "streams-uvloop"),
    Comparison("face-asyncio", "streams-asyncio-malloc"),
    Comparison("moorings-uvloop", "c"),
)
#: Instructions for one message: the bar and the aim of ours on uvloop.
INSTRUCTION_BAR, INSTRUCTION_AIM = 9000, 7000
INSTRUCTION_SERVERS = (
    "callbacks-uvloop",
    "moorings-uvloop",
    "moorings-asyncio",
    "face-uvloop",
    "streams-uvloop",
    "streams-asyncio",
    "pure-uvloop",
)


@dataclass
class Result:
    """The pairs of one comparison at one number of connections."""

    comparison: Comparison
    connections: int
    ratios: list[float] = field(default_factory=list[float])
    void: int = 0

    def spread(self) -> Spread | None:
        return spread(self.ratios) if self.ratios else None


@dataclass
class Effort:
    """How long to measure."""

    pairs: int
    seconds: float
    pairs_per_process: int = 3

    @property
    def attempts(self) -> int:
        """Pairs to try at most while some are void."""
        return 3 * self.pairs


class Bench:
    """Measures, and collects the samples of each server."""

    def __init__(self, workshop: Workshop, effort: Effort, progress: Progress) -> None:
        self.workshop = workshop
        self.effort = effort
        self.progress = progress
        self.samples: dict[tuple[str, int], list[Sample]] = {}
        self.peaks: dict[str, int] = {}
        self.modes: dict[str, str] = {}

    def compare(self, comparison: Comparison, connections: int) -> Result:
        """Pairs until enough of them count, or until the attempts are used up."""
        result = Result(comparison, connections)
        attempts = 0
        while len(result.ratios) < self.effort.pairs and attempts < self.effort.attempts:
            attempts += self._some_pairs(result, min(self.effort.pairs_per_process, self.effort.attempts - attempts))
        return result

    def _some_pairs(self, result: Result, number: int) -> int:
        """`number` pairs with two new server processes."""
        ours, peer = SERVERS[result.comparison.ours], SERVERS[result.comparison.peer]
        with (
            Server(self.workshop, ours) as our_server,
            Server(self.workshop, peer) as peer_server,
            LoadGenerator(self.workshop, our_server, MESSAGE_SIZE) as our_load,
            LoadGenerator(self.workshop, peer_server, MESSAGE_SIZE) as peer_load,
        ):
            for load in (our_load, peer_load):
                load.open(result.connections)
                load.run(WARM_UP, LIMIT)
            self.modes[ours.name], self.modes[peer.name] = our_server.mode, peer_server.mode
            for index in range(number):
                self.progress.show(
                    f"{result.connections} connections: {ours.label} / {peer.label}: "
                    f"{len(result.ratios)} of {self.effort.pairs} pairs, {result.void} void"
                )
                mine, theirs = (load.run(self.effort.seconds, LIMIT) for load in (our_load, peer_load))
                if result.connections > 1 and min(mine.busy, theirs.busy) < BUSY:
                    result.void += 1
                    continue
                result.ratios.append(mine.cpu / theirs.cpu)
                self.samples.setdefault((ours.name, result.connections), []).append(mine)
                self.samples.setdefault((peer.name, result.connections), []).append(theirs)
                if len(result.ratios) == self.effort.pairs:
                    number = index + 1
                    break
            for server in (our_server, peer_server):
                self.peaks[server.kind.name] = max(self.peaks.get(server.kind.name, 0), server.memory()["Peak"])
        return number


def available(comparisons: Sequence[Comparison], workshop: Workshop) -> tuple[list[Comparison], list[str]]:
    """The comparisons that this machine can make, and what is missing for the others."""
    missing: list[str] = []
    if not has_uvloop():
        missing.append("uvloop is not installed: nothing on uvloop (pip install uvloop)")
    if not workshop.has_c:
        missing.append("no C compiler: no C server, and Python makes the load, which may be too slow (apt install gcc)")

    def possible(server: ServerKind) -> bool:
        return (server.loop != "uvloop" or has_uvloop()) and (server.kind != "c" or workshop.has_c)

    kept = [entry for entry in comparisons if possible(SERVERS[entry.ours]) and possible(SERVERS[entry.peer])]
    return kept, missing


def ratio_table(results: Sequence[Result]) -> str:
    rows: list[list[str]] = []
    for result in results:
        ratio = result.spread()
        rows.append(
            [
                f"{SERVERS[result.comparison.ours].label} / {SERVERS[result.comparison.peer].label}",
                str(result.connections),
                "void" if ratio is None else str(ratio),
                f"{len(result.ratios)} ({result.void})",
                "" if ratio is None or result.connections == 1 else verdict(ratio.median, result.comparison.bar),
            ]
        )
    head = ["processor time for one message, ratio", "connections", "median [quartiles]", "pairs (void)", ""]
    return table(head, rows)


def server_figures(bench: Bench, counted: dict[str, float]) -> list[dict[str, Any]]:
    """For each server and number of connections: medians of what it showed in all its pairs."""
    figures: list[dict[str, Any]] = []
    for (name, connections), samples in sorted(bench.samples.items(), key=lambda item: (item[0][1], item[0][0])):
        figures.append(
            {
                "server": name,
                "label": SERVERS[name].label,
                "mode": bench.modes[name],
                "connections": connections,
                "cpu_us": spread([sample.cpu * 1e6 for sample in samples]).median,
                "messages_per_second": spread([sample.rate for sample in samples]).median,
                "p50_us": spread([sample.p50 * 1e6 for sample in samples]).median,
                "p99_us": spread([sample.p99 * 1e6 for sample in samples]).median,
                "busy": spread([sample.busy for sample in samples]).median,
                "peak_memory_bytes": bench.peaks[name],
                "instructions": counted.get(name),
                "samples": len(samples),
            }
        )
    return figures


def server_table(figures: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            entry["label"],
            str(entry["connections"]),
            f"{entry['cpu_us']:.2f}",
            f"{entry['messages_per_second']:,.0f}",
            f"{entry['p50_us']:.0f}",
            f"{entry['p99_us']:.0f}",
            f"{entry['busy']:.0%}",
            f"{entry['peak_memory_bytes'] / 2**20:.1f}",
            "" if entry["instructions"] is None else f"{entry['instructions']:,.0f}",
        ]
        for entry in figures
    ]
    head = ["server", "connections", "CPU µs", "messages/s", "p50 µs", "p99 µs", "busy", "peak MiB", "instructions"]
    return table(head, rows)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m moorings.benchmarks.echo",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="under a minute: fewer, shorter pairs, no side figures")
    parser.add_argument("--pairs", type=int, metavar="N", help="pairs for each comparison (default 11, quick 5)")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of half a pair (default 0.25, quick 0.12)")
    parser.add_argument("--connections", type=int, action="append", metavar="N", help="default: 50 and 1; quick: 50")
    parser.add_argument("--only", metavar="TEXT", help="comparisons whose names hold TEXT, such as 'pure'; see --list")
    parser.add_argument("--no-instructions", action="store_true", help="leave out counting instructions with valgrind")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--list", action="store_true", help="name the comparisons and end")
    options = parser.parse_args(arguments)
    options.pairs = options.pairs or (5 if options.quick else 11)
    options.seconds = options.seconds or (0.12 if options.quick else 0.25)
    options.connections = options.connections or ([50] if options.quick else [50, 1])
    if options.pairs < 1 or not 0.01 <= options.seconds <= 60 or not all(1 <= n <= 1000 for n in options.connections):
        parser.error("--pairs must be at least 1, --seconds 0.01 to 60, --connections 1 to 1000")
    return options


def chosen(options: argparse.Namespace) -> list[Comparison]:
    comparisons = [entry for entry in COMPARISONS if not options.quick or entry.bar is not None]
    if options.only:
        comparisons = [entry for entry in COMPARISONS if options.only in f"{entry.ours} / {entry.peer}"]
    return comparisons


def count_instructions(bench: Bench, comparisons: Sequence[Comparison], quick: bool) -> dict[str, float]:
    wanted = {name for entry in comparisons for name in (entry.ours, entry.peer)}
    names = INSTRUCTION_SERVERS[:2] if quick else INSTRUCTION_SERVERS
    servers = [SERVERS[name] for name in names if name in wanted]
    counted = instructions.per_message(bench.workshop, servers, bench.progress.show)
    return {name: result.mean for name, result in counted.items()}


def report(bench: Bench, results: Sequence[Result], counted: dict[str, float]) -> list[dict[str, Any]]:
    figures = server_figures(bench, counted)
    print("\n" + ratio_table(results))
    print("\n" + server_table(figures))
    most = max((entry["connections"] for entry in figures), default=0)
    plotted = [(entry["label"], entry["cpu_us"]) for entry in figures if entry["connections"] == most]
    if plotted:
        print(f"\nprocessor time for one message, {most} connections")
        print(bars(sorted(plotted, key=lambda row: row[1]), "µs"))
    ours = counted.get("moorings-uvloop")
    if ours is not None:
        print(
            f"\ninstructions for one message, ours on uvloop: {ours:,.0f}: {verdict(ours, INSTRUCTION_BAR)}, "
            f"aim {INSTRUCTION_AIM:,}"
        )
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    comparisons = chosen(options)
    if options.list or not comparisons:
        print("\n".join(f"{entry.ours} / {entry.peer}" for entry in comparisons or COMPARISONS))
        return 0 if options.list else 2
    with Workshop() as workshop:
        comparisons, missing = available(comparisons, workshop)
        if instructions.has_valgrind() is False and not options.no_instructions:
            missing.append("valgrind is not installed: no instruction counts (apt install valgrind)")
        if len(workshop.cores) < 2:
            missing.append("one processor only: server and generator share it, and no pair can count")
        surroundings = machine()
        print(f"moorings echo benchmark: {MESSAGE_SIZE}-byte messages over loopback, {options.pairs} pairs each")
        print(", ".join(f"{name} {value}" for name, value in surroundings.items()))
        for line in missing:
            print(f"note: {line}")
        bench = Bench(workshop, Effort(options.pairs, options.seconds), Progress())
        results: list[Result] = []
        counted: dict[str, float] = {}
        try:
            for connections in options.connections:
                results += [bench.compare(entry, connections) for entry in comparisons]
            if instructions.has_valgrind() and not options.no_instructions:
                counted = count_instructions(bench, comparisons, options.quick)
        finally:
            bench.progress.clear()
        figures = report(bench, results, counted)
    for name, mode in bench.modes.items():
        if SERVERS[name].ours and not SERVERS[name].pure and mode != "compiled":
            print(f"note: {SERVERS[name].label} ran pure ({mode}); 'make bench-echo' compiles it first")
            break
    if options.json:
        write_json(options.json, as_json(surroundings, results, figures, bench))
    lost = [result for result in results if not result.ratios]
    if lost:
        print("\nno pair counts, since a server was not busy; is the machine doing something else?", file=sys.stderr)
    return 1 if lost else 0


def as_json(
    surroundings: dict[str, Any], results: Sequence[Result], figures: Sequence[dict[str, Any]], bench: Bench
) -> dict[str, Any]:
    return {
        "machine": surroundings,
        "message_size": MESSAGE_SIZE,
        "modes": bench.modes,
        "ratios": [
            {
                "ours": result.comparison.ours,
                "peer": result.comparison.peer,
                "connections": result.connections,
                "bar": result.comparison.bar,
                "aim": result.comparison.aim,
                "median": None if (ratio := result.spread()) is None else ratio.median,
                "quartiles": None if ratio is None else [ratio.low, ratio.high],
                "ratios": result.ratios,
                "void": result.void,
            }
            for result in results
        ],
        "servers": list(figures),
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkError as error:
        sys.exit(f"echo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
