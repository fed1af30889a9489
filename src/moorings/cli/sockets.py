"""`moorings sockets`: the sockets of all programs of this user that called `moorings.monitor()`.

On a terminal a view that is drawn anew until `q` or Ctrl-C, with measured rates; elsewhere one table, JSON or
OpenMetrics. What programs tell about themselves is hostile: it is checked where it arrives, and printed as text only.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import termios
import tty
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from moorings.cli import output
from moorings.cli.exit_codes import EXIT_OK
from moorings.cli.socket_table import (
    SORTS,
    Column,
    Meter,
    Row,
    columns,
    estimates,
    fitting,
    has_datagrams,
    has_messages,
    in_order,
)
from moorings.cli.stopping import until_terminated
from moorings.monitoring import lister
from moorings.monitoring.open_metrics import open_metrics
from moorings.monitoring.reports import ProgramSnapshot, kind_of

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from rich.console import RenderableType

    from moorings.monitoring.lister import Listing, Unanswered

#: Seconds after which it is told that something is being waited for.
_PATIENCE = 1.0
#: Lines of the live view that are no sockets: two for the heading, one for the end.
_FRAME = 3
HOW = "nothing to show: no program of yours has called moorings.monitor()"
EPILOG = """\b
Examples:
  moorings sockets
  moorings sockets --once --why --sort queued
  moorings sockets --json --pid 4711
  moorings sockets --open-metrics

A program is shown once it has called moorings.monitor(). That none is found is no failure.

\b
Exit codes: 0 it went well, also when there is nothing to show, or somebody
did not answer, 1 it failed, 2 wrong arguments, 130 Ctrl-C, 141 the reader of
the output has gone, 143 SIGTERM."""


class Options(NamedTuple):
    """What the command line says."""

    interval: float
    pids: tuple[int, ...]
    sort: str | None
    limit: int | None
    why: bool
    directories: tuple[Path, ...]

    def selected(self, rows: list[Row]) -> list[Row]:
        """The rows that are wanted, in the order in which they are."""
        return in_order(rows, self.sort)[: self.limit]

    def columns(self, rows: list[Row], *, measured: bool) -> list[Column]:
        """The columns that those rows need."""
        return columns(
            measured=measured,
            why=self.why,
            sort=self.sort,
            datagrams=has_datagrams(rows),
            messages=has_messages(rows),
        )

    async def ask(self) -> Listing:
        """Ask all programs."""
        return await lister.ask_all(self.directories or None, pids=self.pids)


def _real(_ctx: click.Context, _parameter: click.Parameter, value: float) -> float:
    if math.isnan(value):
        raise click.BadParameter("nan is no number of seconds")
    return value


@click.command("sockets", epilog=EPILOG)
@click.option("--once", is_flag=True, help="One table, also on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Everything that is known, for scripts.")
@click.option("--open-metrics", "as_metrics", is_flag=True, help="The figures in the OpenMetrics text format.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    callback=_real,
    metavar="SECONDS",
    help="Seconds between two looks of the live view.",
)
@click.option("--pid", "pids", type=click.IntRange(1), multiple=True, metavar="PID", help="Only this program.")
@click.option("--sort", type=click.Choice(SORTS), help="Sockets with the most of it first.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Show at most so many sockets.")
@click.option("--why", is_flag=True, help="Say of each socket what makes it slow.")
@click.option(
    "--directory",
    "directories",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    multiple=True,
    help="Look here, where programs called monitor(directory=...).",
)
def command(
    once: bool,
    as_json: bool,
    as_metrics: bool,
    interval: float,
    pids: tuple[int, ...],
    sort: str | None,
    limit: int | None,
    why: bool,
    directories: tuple[Path, ...],
) -> int:
    """Show the sockets of running programs that called moorings.monitor(), live.

    Connections, listeners and DatagramSockets. On a terminal the view is drawn anew until q or Ctrl-C; elsewhere one
    table is printed. Bandwidth and datagrams per second (dg/s) are measured in the live view; a single table has the
    kernel's estimate of what each connection could carry, and the datagrams so far. Drops are datagrams that the kernel
    or a full queue threw away. A dash is a figure that is not known.
    """
    if as_json and as_metrics:
        raise click.UsageError("--json and --open-metrics exclude each other")
    options = Options(interval, pids, sort, limit, why, directories)
    if as_json or as_metrics or once or not output.on_terminal():
        listing = asyncio.run(_ask_patiently(options))
        tell = _print_json if as_json else _print_metrics if as_metrics else _print_table
        tell(listing, options)
    else:
        # (A loop with a signal handler is woken by every signal; a bare one may fall asleep in the face of Ctrl-C.)
        return asyncio.run(until_terminated(_watch(options)))
    return EXIT_OK


async def _ask_patiently(options: Options) -> Listing:
    """Ask all programs, and say so when that takes long."""
    asking = asyncio.ensure_future(options.ask())
    try:
        done, _ = await asyncio.wait([asking], timeout=_PATIENCE)
        if not done:
            with output.progress("waiting for programs that do not answer"):
                await asyncio.wait([asking])
    finally:
        asking.cancel()
    return asking.result()


# -- once ------------------------------------------------------------------------------------------------------------


def _regrouped(listing: Listing, rows: Sequence[Row]) -> list[ProgramSnapshot]:
    """The programs with those sockets alone, in that order."""
    chosen: dict[int, list[Any]] = {id(program): [] for program in listing.programs}
    for row in rows:
        chosen[id(row.program)].append(row.report)
    return [
        program._replace(
            sockets=tuple(chosen[id(program)]),
            truncated=program.truncated + len(program.sockets) - len(chosen[id(program)]),
        )
        for program in listing.programs
    ]


def _print_json(listing: Listing, options: Options) -> None:
    programs: list[dict[str, object]] = []
    for program in _regrouped(listing, options.selected(estimates(listing.programs))):
        sockets: list[dict[str, object]] = []
        for report in program.sockets:
            socket: dict[str, object] = {"kind": kind_of(report), **report._asdict()}
            if options.why:
                socket["why_slow"] = report.why_slow
            sockets.append(socket)
        programs.append({**program._asdict(), "sockets": sockets})
    unanswered = [missing._asdict() for missing in listing.unanswered]
    output.print_json({"programs": programs, "unanswered": unanswered})


def _print_metrics(listing: Listing, options: Options) -> None:
    text = open_metrics(_regrouped(listing, options.selected(estimates(listing.programs))))
    if sys.stdout.isatty():  # a collector gets names as they are, a terminal nothing that it might obey
        text = "".join(f"{output.printable(line)}\n" for line in text.split("\n")[:-1])
    sys.stdout.write(text)
    _complain(listing)


def _print_table(listing: Listing, options: Options) -> None:
    rows = estimates(listing.programs)
    chosen = options.selected(rows)
    if chosen:
        shown = options.columns(chosen, measured=False)
        if output.on_terminal():
            console = output.console()
            console.print(_drawn(fitting(shown, chosen, console.width), chosen))
        else:
            output.print_table(
                [column.heading for column in shown], [[column.cell(row) for column in shown] for row in chosen]
            )
    for line in _remarks(listing, len(rows) - len(chosen), options.pids):
        print(output.printable(line))
    _complain(listing)


def _remarks(listing: Listing, hidden: int, pids: Sequence[int]) -> list[str]:
    """What there is to say below the table."""
    lines: list[str] = []
    left_out = hidden + sum(program.truncated for program in listing.programs)
    if left_out:
        lines.append(f"not shown: {left_out:,} more sockets")
    lines.extend(
        f"{program.name} ({program.pid}): {program.silent_loops} of its event loops did not answer"
        for program in listing.programs
        if program.silent_loops
    )
    idle = [f"{program.name} ({program.pid})" for program in listing.programs if not program.sockets]
    if idle and not hidden:
        lines.append(f"no sockets are open in {', '.join(idle)}")
    if not listing.programs:
        lines.append(_nobody(pids) if pids else HOW)
    return lines


def _nobody(pids: Sequence[int]) -> str:
    """What there is to say where programs were named that cannot be shown."""
    who = ", ".join(map(str, pids))
    return f"no program of yours with the process id {who} has called moorings.monitor()"


def _complaint(missing: Unanswered) -> str:
    who = "" if missing.pid is None else f"process {missing.pid}: "
    return output.printable(f"{who}{missing.reason}")


def _complain(listing: Listing) -> None:
    for missing in listing.unanswered:
        print(f"moorings sockets: {_complaint(missing)}", file=sys.stderr)


# -- live ------------------------------------------------------------------------------------------------------------


def _drawn(shown: Sequence[Column], rows: Sequence[Row]) -> RenderableType:
    from rich import box  # noqa: PLC0415 - only on a terminal
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in shown:
        folds = column.heading == "why slow"
        table.add_column(
            column.heading,
            justify="right" if column.number else "left",
            no_wrap=not folds,
            overflow="fold" if folds else "ellipsis",
        )
    for row in rows:
        table.add_row(*(Text(output.printable(column.cell(row))) for column in shown))
    return table


def _view(listing: Listing, rows: list[Row], options: Options, room: tuple[int, int]) -> RenderableType:
    """What the screen shows; `room` is its width and height."""
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    width, height = room
    complaints = [_complaint(missing) for missing in listing.unanswered]
    lines_for_rows = max(1, height - _FRAME - len(complaints) - len(_remarks(listing, 1, options.pids)))
    if options.why:
        lines_for_rows = max(1, lines_for_rows // 2)  # they fold
    chosen = options.selected(rows)[:lines_for_rows]
    parts: list[RenderableType] = []
    if chosen:
        parts.append(_drawn(fitting(options.columns(chosen, measured=True), chosen, width), chosen))
    lines = [output.printable(line) for line in _remarks(listing, len(rows) - len(chosen), options.pids)]
    parts += [Text(line, no_wrap=True, overflow="ellipsis") for line in (*lines, *complaints)]
    count = f"sockets: {len(rows):,}, programs: {len(listing.programs):,}"
    parts.append(Text(f"{count}; q ends", style="dim", no_wrap=True, overflow="ellipsis"))
    return Group(*parts)


async def _watch(options: Options) -> int:
    """Draw the view anew until somebody has enough of it; the exit code."""
    meter = Meter()
    loop = asyncio.get_running_loop()
    with output.live() as view, _keys() as ended:
        while True:
            due = loop.time() + options.interval
            asking = asyncio.ensure_future(options.ask())
            if await _first(ended, asking):
                return EXIT_OK
            listing = asking.result()
            room = view.console.width, view.console.height
            view.update(_view(listing, meter.rows(listing.programs), options, room), refresh=True)
            if await _first(ended, asyncio.ensure_future(asyncio.sleep(max(0.0, due - loop.time())))):
                return EXIT_OK


async def _first(ended: asyncio.Future[None], other: asyncio.Future[Any]) -> bool:
    """Wait for one of two; True, and the other is cancelled, when it is the end."""
    try:
        await asyncio.wait([ended, other], return_when=asyncio.FIRST_COMPLETED)
        return ended.done()
    finally:
        other.cancel()


@contextmanager
def _keys() -> Generator[asyncio.Future[None]]:
    """A future that is done when `q` is pressed; where standard input is no terminal, never."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    if not sys.stdin.isatty():
        yield ended
        return
    descriptor = sys.stdin.fileno()

    def look() -> None:
        keys = os.read(descriptor, 1024)
        if not keys:  # the terminal has gone
            loop.remove_reader(descriptor)
        if (not keys or b"q" in keys.lower()) and not ended.done():
            ended.set_result(None)

    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, look)
    try:
        yield ended
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
