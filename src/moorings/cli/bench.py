"""`moorings bench`: this library and its peers, measured in one run."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from moorings.benchmarks import instructions, plot, report, tcp
from moorings.benchmarks.figures import write_json
from moorings.benchmarks.processes import BenchmarkError, Workshop, c_compiler
from moorings.cli import output
from moorings.cli.exit_codes import EXIT_FAILED, EXIT_OK, CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

EPILOG = """\b
Examples:
  moorings bench tcp --quick
  moorings bench tcp --json tcp.json --plot tcp.svg
  moorings bench udp --quick

\b
Exit codes: 0 measured, 1 a figure could not be measured, 2 wrong arguments,
130 Ctrl-C, 141 the reader of the output has gone. How good a figure is does
not change the exit code."""
TCP_EPILOG = """\b
Examples:
  moorings bench tcp
  moorings bench tcp --quick --peers c,uvloop
  moorings bench tcp --only 'echo of 64 B' --pairs 21 --no-instructions
  moorings bench tcp --json tcp.json --plot tcp.svg

\b
CPU is the processor time, user and system, of the server. The last two
columns are ours divided by the server of the row: median and quartiles of
pairs that were measured directly one after the other; below 1 we need less.

\b
Run it on a quiet machine with two processors or more. A C compiler makes the
load generator and the server in C; valgrind counts instructions. Everything
stays on the loopback interface and ends by itself.

\b
Exit codes: 0 measured, 1 a figure could not be measured, 2 wrong arguments,
130 Ctrl-C, 141 the reader of the output has gone."""
QUICK_PAIRS, PAIRS = 5, 9
SECONDS = 0.08
#: The style of this library's own rows.
OURS = "cyan"
QUICK_IDLE, IDLE = 2_000, 10_000


@click.group("bench", epilog=EPILOG)
def command() -> None:
    """Measure this library against its peers on this machine."""


class _Steps:
    """Says what is measured, on standard error."""

    def __init__(self, progress: output.Progress) -> None:
        self._progress = progress

    def show(self, text: str) -> None:
        self._progress.describe(text)

    def advance(self) -> None:
        self._progress.advance()


def libraries(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """The libraries that `--peers` names."""
    if value is None:
        return tcp.LIBRARIES
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    unknown = [name for name in names if name not in tcp.LIBRARIES]
    if unknown or not names:
        raise click.BadParameter(f"{', '.join(unknown) or 'no peer'}; choose from {','.join(tcp.LIBRARIES)}")
    return names


def writable(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """A file that can be written: this must not come out after minutes."""
    if value is not None:
        path = Path(value)
        if path.is_dir() or not path.parent.is_dir():
            raise click.BadParameter(f"{value} cannot be written: its directory is missing, or it is one")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise click.BadParameter(f"{value} cannot be written: you may not")
    return value


@command.command("tcp", epilog=TCP_EPILOG)
@click.option("--quick", is_flag=True, help="About a minute: fewer scenarios, fewer pairs, no instructions.")
@click.option("--only", metavar="TEXT", default="", help="The parts with TEXT in their names or titles; see --list.")
@click.option("--list", "list_", is_flag=True, help="Name the parts and the servers, and end.")
@click.option("--pairs", type=click.IntRange(1, 1000), help=f"Rounds for each scenario (default {PAIRS}).")
@click.option("--seconds", type=click.FloatRange(0.01, 60), help=f"Time of a server in a round (default {SECONDS:g}).")
@click.option("--idle", type=click.IntRange(1, 40_000), help=f"Idle connections for the memory (default {IDLE:,}).")
@click.option("--no-instructions", is_flag=True, help="Leave out counting instructions with valgrind.")
@click.option("--pure", is_flag=True, help="Measure this library in pure Python, too.")
@click.option(
    "--peers", metavar="A,B", callback=libraries, help=f"Only these: {', '.join(tcp.LIBRARIES)} (default: all)."
)
@click.option("--json", "json_", metavar="FILE", callback=writable, help="Write all figures there.")
@click.option("--plot", "plot_", metavar="FILE.svg", callback=writable, help="Draw the figures there.")
def bench_tcp(
    *,
    quick: bool,
    only: str,
    list_: bool,
    pairs: int | None,
    seconds: float | None,
    idle: int | None,
    no_instructions: bool,
    pure: bool,
    peers: Sequence[str],
    json_: str | None,
    plot_: str | None,
) -> int:
    """Compare with C, asyncio, uvloop, aiofastnet, anyio and trio over TCP.

    Echoes of 64 B, 4 KiB and 64 KiB on 1 and 50 connections, bulk transfer in both directions, short connections,
    batches of small writes, memory of idle connections, instructions. All in one run of under five minutes.
    """
    count = not no_instructions and instructions.has_valgrind()
    names = report.parts(quick=quick, only=only, count=count)
    if not names:
        raise click.UsageError(f"no part has {only!r} in its name; --list names them")
    if list_:
        servers, missing = tcp.choose(peers, pure=pure, has_c=c_compiler() is not None)
        output.print_table(["part", "what"], [[name, tcp.PARTS[name]] for name in names])
        click.echo()
        rows = [[server.name, server.label] for server in servers]
        output.print_table(["server", "what"], rows, styles={server.label: OURS for server in servers if server.ours})
        for name, remedy in missing.items():
            click.echo(f"missing: {name} ({remedy})", err=True)
        return EXIT_OK
    with Workshop() as workshop:
        servers, missing = tcp.choose(peers, pure=pure, has_c=workshop.has_c)
        if not count and not no_instructions and not quick:
            missing["valgrind"] = "apt install valgrind"
        plan = tcp.Plan(
            parts=names,
            servers=tuple(servers),
            pairs=pairs or (QUICK_PAIRS if quick else PAIRS),
            seconds=seconds or SECONDS,
            idle_connections=idle or (QUICK_IDLE if quick else IDLE),
        )
        click.echo(f"moorings bench tcp: {len(servers)} servers, {len(names)} parts", err=True)
        with output.progress("moorings bench tcp", plan.steps) as progress:
            try:
                measured = tcp.Run(workshop, plan, _Steps(progress)).everything()
            except BenchmarkError as error:
                raise CommandError(str(error)) from error
    return show(report.document(plan, measured, missing), json_, plot_)


def show(results: report.Document, json_: str | None, plot_: str | None) -> int:
    """Files, tables and notes; the exit code."""
    failures = report.failures(results)
    # A disk that is full by now must not cost the tables, too.
    try:
        if json_:
            write_json(json_, results)
        if plot_:
            Path(plot_).write_text(plot.svg(results), encoding="utf-8")
    except OSError as error:
        failures = [*failures, output.describe_error(error)]
    click.echo(report.heading(results))
    for note in report.notes(results):
        click.echo(f"note: {note}")
    ours = {server["label"]: OURS for server in results["servers"] if server["ours"]}
    for title, headings, rows in report.tables(results):
        click.echo()
        output.print_table(headings, rows, title=title, styles=ours)
    for failure in failures:
        click.echo(f"moorings: {failure}", err=True)
    return EXIT_FAILED if failures else EXIT_OK


# The others belong to the same group.
import_module("moorings.cli.bench_udp")
