"""`moorings bench udp`."""

from __future__ import annotations

import click

from moorings.benchmarks import udp
from moorings.benchmarks.figures import write_json
from moorings.benchmarks.processes import BenchmarkError, Workshop
from moorings.cli import output
from moorings.cli.bench import OURS, command, writable
from moorings.cli.exit_codes import EXIT_OK, CommandError

EPILOG = """\b
Examples:
  moorings bench udp --quick
  moorings bench udp --only echo
  moorings bench udp --json udp.json

\b
Measured are, with 64 B and with 1,200 B:
  batch     datagrams to one peer, sent, and received through the event
  exchange  request and reply, each awaited (64 B only)
  send      sending only: one peer, and 1,000 peers in turn that read nothing
  receive   receiving only: from one peer, and from 1,000 peers in turn
  echo      each datagram goes back to its peer, one or 1,000
For receive and echo another process is at the other end, which sends one by
one; its time does not count.

\b
CPU is the processor time, user and system, of the contestant's one process
for each datagram: sent, received, or in batch and echo both. The last
columns are ours divided by the row: median and quartiles over the rounds;
below 1 we need less.

\b
Exit codes: 0 measured, 1 a figure could not be measured, 2 wrong arguments,
130 Ctrl-C, 141 the reader of the output has gone."""
QUICK_PAIRS, PAIRS = 3, 9
QUICK_SECONDS, SECONDS = 0.1, 0.2


class _Steps:
    """Says what is measured, on standard error."""

    def __init__(self, progress: output.Progress) -> None:
        self._progress = progress

    def show(self, text: str) -> None:
        self._progress.describe(text)
        self._progress.advance()


@command.command("udp", epilog=EPILOG, short_help="Compare with C, asyncio, uvloop and others over UDP.")
@click.option("--quick", is_flag=True, help="Under a minute: fewer and shorter rounds, and without --only a few parts.")
@click.option("--only", metavar="TEXT", default="", help="The parts with TEXT in their names or titles; see --list.")
@click.option("--list", "list_", is_flag=True, help="Name the parts and the contestants, and end.")
@click.option("--pairs", type=click.IntRange(1, 1000), help=f"Rounds for each part (default {PAIRS}).")
@click.option("--seconds", type=click.FloatRange(0.01, 60), help=f"Time of each turn (default {SECONDS:g}).")
@click.option("--json", "json_", metavar="FILE", callback=writable, help="Write all figures there.")
def bench_udp(
    *, quick: bool, only: str, list_: bool, pairs: int | None, seconds: float | None, json_: str | None
) -> int:
    """Compare with C, Python's sockets, asyncio, uvloop, aiofastnet and anyio over UDP.

    What a datagram costs when it is sent, received, or echoed: one peer and 1,000 peers, short and long. Everything
    stays on the loopback interface and ends by itself; all parts take about ten minutes.
    """
    parts = [part for part in udp.PARTS if only.lower() in f"{part.name} {part.title}".lower()]
    if quick and not only:
        parts = [part for part in parts if part.name in udp.QUICK]
    if not parts:
        raise click.UsageError(f"no part has {only!r} in its name; --list names them")
    if list_:
        output.print_table(["part", "what"], [[part.name, part.title] for part in parts])
        click.echo()
        output.print_table(["contestant", "what"], [[entry.name, entry.label] for entry in udp.ALL])
        return EXIT_OK
    rounds = pairs or (QUICK_PAIRS if quick else PAIRS)
    length = seconds or (QUICK_SECONDS if quick else SECONDS)
    with Workshop() as workshop:
        total = rounds * sum(len(udp.choose(part, has_c=workshop.has_c)) for part in parts)
        with output.progress("moorings bench udp", total) as progress:
            try:
                measured = udp.run(workshop, parts, rounds, length, _Steps(progress))
            except BenchmarkError as error:
                raise CommandError(str(error)) from error
    results = udp.document(measured, parts, rounds, length)
    if json_:
        write_json(json_, results)
    for name, cure in results["missing"].items():
        click.echo(f"note: left out: {name} ({cure})")
    ours = {entry.label: OURS for entry in udp.ALL if entry.ours}
    for part in results["parts"]:
        click.echo()
        output.print_table(list(udp.HEADINGS), udp.rows(part), title=part["title"], styles=ours)
    return EXIT_OK
