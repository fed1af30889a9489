"""`moorings bench`: this library and its peers, measured in one run."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from moorings.benchmarks import instructions, plot, report, tcp, tls, ws
from moorings.benchmarks.figures import write_json
from moorings.benchmarks.processes import BenchmarkError, Workshop, c_compiler
from moorings.cli import output
from moorings.cli.exit_codes import EXIT_FAILED, EXIT_OK, CommandError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from moorings.benchmarks.processes import ServerKind

EPILOG = """\b
Examples:
  moorings bench tcp --quick
  moorings bench tcp --json tcp.json --plot tcp.svg
  moorings bench tls --quick
  moorings bench udp --quick
  moorings bench ws --quick

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
TLS_EPILOG = """\b
Examples:
  moorings bench tls
  moorings bench tls --quick --peers uvloop,aiofastnet
  moorings bench tls --only handshake --pairs 21 --no-instructions
  moorings bench tls --json tls.json --plot tls.svg

\b
CPU is the processor time, user and system, of the server. The last two
columns are ours divided by the server of the row: median and quartiles of
pairs that were measured directly one after the other; below 1 we need less.
A handshake is a whole short connection: accepting it, the handshake, an echo
of 64 B, and the end.

\b
It needs the extra tls; run it on a quiet machine with two processors or more.
A C compiler and OpenSSL's headers make the load generator in C; valgrind
counts instructions. Everything stays on the loopback interface and ends by
itself.

\b
Exit codes: 0 measured, 1 a figure could not be measured, 2 wrong arguments,
130 Ctrl-C, 141 the reader of the output has gone."""
WS_EPILOG = """\b
Examples:
  moorings bench ws --quick
  moorings bench ws --only echo-64b-binary-50 --pairs 21
  moorings bench ws --only tls --peers picows
  moorings bench ws --json ws.json --plot ws.svg

\b
CPU is the processor time, user and system, of the server. The last columns
are ours divided by the server of the row: median and quartiles of pairs that
were measured directly one after the other; below 1 we need less. All servers
check text and limit sizes; the one in C checks nothing. The peers keep their
own settings else: ours and websockets send keep-alive pings, for example.

\b
Run it on a quiet machine with two processors or more; it needs a C compiler.
Everything stays on the loopback interface and ends by itself.

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


def libraries(context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """The libraries that `--peers` names."""
    known = CONTESTS[str(context.info_name)].libraries
    if value is None:
        return known
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise click.BadParameter(f"{', '.join(unknown) or 'no peer'}; choose from {','.join(known)}")
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


def options_of(contest: tcp.Contest, idle: int) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """The options of a command that runs a contest, with `idle` idle connections."""
    names = ", ".join(contest.libraries)
    found = [
        click.option("--quick", is_flag=True, help="About a minute: fewer scenarios, fewer pairs, no instructions."),
        click.option(
            "--only", metavar="TEXT", default="", help="The parts with TEXT in their names or titles; see --list."
        ),
        click.option("--list", "list_", is_flag=True, help="Name the parts and the servers, and end."),
        click.option("--pairs", type=click.IntRange(1, 1000), help=f"Rounds for each scenario (default {PAIRS})."),
        click.option(
            "--seconds", type=click.FloatRange(0.01, 60), help=f"Time of a server in a round (default {SECONDS:g})."
        ),
        click.option(
            "--idle", type=click.IntRange(1, 40_000), help=f"Idle connections for the memory (default {idle:,})."
        ),
        click.option("--no-instructions", is_flag=True, help="Leave out counting instructions with valgrind."),
        click.option("--pure", is_flag=True, help="Measure this library in pure Python, too."),
        click.option("--peers", metavar="A,B", callback=libraries, help=f"Only these: {names} (default: all)."),
        click.option("--json", "json_", metavar="FILE", callback=writable, help="Write all figures there."),
        click.option("--plot", "plot_", metavar="FILE.svg", callback=writable, help="Draw the figures there."),
    ]

    def add(function: Callable[..., int]) -> Callable[..., int]:
        for option in reversed(found):
            function = option(function)
        return function

    return add


@command.command("tcp", epilog=TCP_EPILOG)
@options_of(tcp.TCP, IDLE)
def bench_tcp(**options: Any) -> int:
    """Compare with C, asyncio, uvloop, aiofastnet, anyio and trio over TCP.

    Echoes of 64 B, 4 KiB and 64 KiB on 1 and 50 connections, bulk transfer in both directions, short connections,
    batches of small writes, memory of idle connections, instructions. All in one run of under five minutes.
    """
    return compete(tcp.TCP, idle=options.pop("idle") or (QUICK_IDLE if options["quick"] else IDLE), **options)


@command.command("tls", epilog=TLS_EPILOG)
@options_of(tls.TLS, tls.IDLE)
def bench_tls(**options: Any) -> int:
    """Compare with asyncio, uvloop, aiofastnet, anyio and trio over TLS.

    Full and resumed handshakes, echoes of 64 B and 16 KiB on 1 and 50 connections, bulk transfer in both directions,
    memory of idle connections, instructions. TLS 1.3, P-256, the same for all, in one run of under five minutes.
    """
    idle = options.pop("idle") or (tls.QUICK_IDLE if options["quick"] else tls.IDLE)
    return compete(tls.TLS, idle=idle, **options)


@command.command("ws", epilog=WS_EPILOG)
@click.option("--all", "extra", is_flag=True, help="Everything that --list names, in more than half an hour.")
@options_of(ws.WS, IDLE)
def bench_ws(**options: Any) -> int:
    """Compare with C, picows, aiohttp and websockets over WebSocket.

    Echoes of 64 B to 1 MiB, text and binary, on 1 and 50 connections, with compression and TLS, broadcast to 1,000,
    memory of idle connections, and what clients that never read do to the others. A choice of it takes under five
    minutes; `--only` and `--all` measure the rest.
    """
    return compete(ws.WS, idle=options.pop("idle") or (QUICK_IDLE if options["quick"] else IDLE), **options)


CONTESTS = {contest.name: contest for contest in (tcp.TCP, tls.TLS, ws.WS)}


def compete(
    contest: tcp.Contest,
    *,
    quick: bool,
    only: str,
    list_: bool,
    pairs: int | None,
    seconds: float | None,
    idle: int,
    no_instructions: bool,
    pure: bool,
    peers: Sequence[str],
    json_: str | None,
    plot_: str | None,
    extra: bool = False,
) -> int:
    """Run what was asked for, and show it; the exit code."""
    count = not no_instructions and instructions.has_valgrind()
    names = report.parts(contest, quick=quick, only=only, count=count, extra=extra or list_)
    if not names:
        raise click.UsageError(f"no part has {only!r} in its name; --list names them")
    if list_:
        return list_parts(contest, names, *contest.choose(peers, pure=pure, has_c=c_compiler() is not None))
    with Workshop() as workshop:
        servers, missing = contest.choose(peers, pure=pure, has_c=workshop.has_c)
        if not count and not no_instructions and not quick:
            missing["valgrind"] = "apt install valgrind"
        if contest.tls and not workshop.has_c_tls:
            missing[report.GENERATOR] = "apt install gcc libc6-dev libssl-dev"
        plan = tcp.Plan(
            parts=names,
            servers=tuple(servers),
            pairs=pairs or (QUICK_PAIRS if quick else PAIRS),
            seconds=seconds or SECONDS,
            idle_connections=idle,
            contest=contest,
        )
        click.echo(f"moorings bench {contest.name}: {len(servers)} servers, {len(names)} parts", err=True)
        with output.progress(f"moorings bench {contest.name}", plan.steps) as progress:
            try:
                measured = contest.run(workshop, plan, _Steps(progress))
            except BenchmarkError as error:
                raise CommandError(str(error)) from error
    return show(report.document(plan, measured, missing), json_, plot_)


def list_parts(
    contest: tcp.Contest, names: Sequence[str], servers: Sequence[ServerKind], missing: Mapping[str, str]
) -> int:
    """What a run would measure."""
    output.print_table(["part", "what"], [[name, contest.parts[name]] for name in names])
    click.echo()
    rows = [[server.name, server.label] for server in servers]
    output.print_table(["server", "what"], rows, styles={server.label: OURS for server in servers if server.ours})
    for name, remedy in missing.items():
        click.echo(f"missing: {name} ({remedy})", err=True)
    return EXIT_OK


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
