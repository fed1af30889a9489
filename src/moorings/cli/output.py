"""What commands print: tables, progress, JSON, live views.

On a terminal they are drawn with rich; into a pipe or a file go plain lines, without colours, cut or padding to a
terminal's width. Results go to standard output, progress to standard error. Colours follow https://no-color.org.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from rich.console import Console, RenderableType
    from rich.live import Live

#: Without a terminal, progress that lasts is told in lines this many seconds apart.
PLAIN_PROGRESS_INTERVAL = 5.0
#: Wide enough that nothing is folded where no terminal sets a width.
_PLAIN_WIDTH = 10_000


class Progress(Protocol):
    """How far something is."""

    def advance(self, amount: float = 1) -> None:
        """So much more is done."""

    def describe(self, text: str) -> None:
        """What is being done now."""


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def console(*, error: bool = False) -> Console:
    """Rich's console on standard output (or error), plain where that is no terminal."""
    from rich.console import Console as RichConsole  # noqa: PLC0415 - takes longer to import than most commands need

    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else _PLAIN_WIDTH
    return RichConsole(stderr=error, width=width, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """`value` as JSON, for programs that read the output."""
    print(json.dumps(value, indent=2))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """A table: drawn on a terminal, columns of plain text elsewhere."""
    if not on_terminal():
        if title:
            print(title)
        widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
        for row in (headings, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=title or None, title_justify="left")
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*row)
    console().print(table)


@contextmanager
def live(first: RenderableType = "") -> Generator[Live]:
    """A view that is drawn anew with `view.update(...)`; only for a terminal."""
    from rich.live import Live as RichLive  # noqa: PLC0415

    with RichLive(first, console=console(), auto_refresh=False, transient=False) as view:
        yield view


@contextmanager
def progress(text: str, total: float | None = None, *, unit: str = "") -> Generator[Progress]:
    """Progress on standard error: a bar on a terminal, else a line every few seconds.

    `unit="bytes"` shows amounts as such, with their rate. With `total` None the amount is unknown.
    """
    if not sys.stderr.isatty():
        yield _PlainProgress(text, total)
        return
    from rich import progress as bars  # noqa: PLC0415

    columns: list[bars.ProgressColumn] = [bars.TextColumn("{task.description}"), bars.BarColumn()]
    if unit == "bytes":
        columns += [bars.DownloadColumn(binary_units=True), bars.TransferSpeedColumn()]
    elif total is not None:
        columns += [bars.MofNCompleteColumn()]
    columns.append(bars.TimeElapsedColumn())
    with bars.Progress(*columns, console=console(error=True), transient=True) as view:
        task = view.add_task(text, total=total)

        class _Bar:
            def advance(self, amount: float = 1) -> None:
                view.advance(task, amount)

            def describe(self, text: str) -> None:
                view.update(task, description=text)

        yield _Bar()


class _PlainProgress:
    """Lines instead of a bar."""

    def __init__(self, text: str, total: float | None) -> None:
        self._text = text
        self._total = total
        self._done = 0.0
        self._next = time.monotonic() + PLAIN_PROGRESS_INTERVAL

    def advance(self, amount: float = 1) -> None:
        self._done += amount
        self._tell()

    def describe(self, text: str) -> None:
        self._text = text
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PLAIN_PROGRESS_INTERVAL
        share = f" {self._done / self._total:.0%}" if self._total else ""
        print(f"{self._text}{share}", file=sys.stderr, flush=True)


def describe_error(error: BaseException) -> str:
    """An exception in a line: its reason where it carries one."""
    reason: Any = getattr(error, "reason", None)
    return str(reason) if reason else str(error) or type(error).__name__
