"""What commands print: tables, progress, JSON, live views.

On a terminal they are drawn with rich; into a pipe or a file go plain lines, without colours, cut or padding to a
terminal's width. Results go to standard output, progress to standard error. Colours follow https://no-color.org.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from moorings.foundation.printing import printable as printable  # noqa: PLC0414 (commands have it from here)

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from typing import TextIO

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

    def note(self, text: str) -> None:
        """What is measured meanwhile."""


def on_terminal(stream: TextIO | None = None) -> bool:
    """Whether `stream` (default: standard output) is a terminal that can be drawn on."""
    return (sys.stdout if stream is None else stream).isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}


def drop(stream: TextIO) -> None:
    """Let what still goes to `stream` go nowhere: what Python flushes at its end must not find its failure again."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def console(*, error: bool = False) -> Console:
    """Rich's console on standard output (or error), plain where that is no terminal."""
    from rich.console import Console as RichConsole  # noqa: PLC0415 - takes longer to import than most commands need

    stream = sys.stderr if error else sys.stdout
    drawing = on_terminal(stream)
    # FORCE_COLOR and the like must not bring escape sequences into a pipe or a file.
    return RichConsole(
        stderr=error,
        force_terminal=drawing,
        width=None if drawing else _PLAIN_WIDTH,
        highlight=False,
        soft_wrap=True,
    )


def print_json(value: object) -> None:
    """`value` as JSON, for programs that read the output."""
    print(json.dumps(value, indent=2))


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    styles: Mapping[str, str] | None = None,
    fold: bool = False,
) -> None:
    """A table: drawn on a terminal, columns of plain text elsewhere.

    The cells are text, never markup; `styles` has rich's styles for cells with a certain text. `fold` breaks long words
    of cells where a terminal is narrow, instead of cutting them.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    if not on_terminal():
        if title:
            print(title)
        widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
        for row in (headings, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title or None, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold" if fold else "ellipsis")
    for row in rows:
        table.add_row(*(Text(cell, style=(styles or {}).get(cell, "")) for cell in row))
    console().print(table)


@contextmanager
def live(first: RenderableType = "") -> Generator[Live]:
    """A view that is drawn anew with `view.update(...)`; only for a terminal."""
    from rich.live import Live as RichLive  # noqa: PLC0415

    view = RichLive(first, console=console(), auto_refresh=False, transient=False)
    try:  # not `with view`: Ctrl-C while it starts would leave the cursor hidden
        view.start()
        yield view
    finally:
        view.stop()


@contextmanager
def progress(text: str, total: float | None = None, *, unit: str = "", keep: bool = False) -> Generator[Progress]:
    """Progress on standard error: a bar on a terminal, else a line every few seconds.

    `unit="bytes"` shows amounts as such, with their rate. With `total` None the amount is unknown. `keep` leaves the
    bar where it was when all is done.
    """
    if not on_terminal(sys.stderr):
        yield _PlainProgress(text, total, unit)
        return
    from moorings.cli.bars import bar  # noqa: PLC0415 - imports rich

    with bar(text, total, unit=unit, keep=keep) as drawn:
        yield drawn


class _PlainProgress:
    """Lines instead of a bar."""

    def __init__(self, text: str, total: float | None, unit: str) -> None:
        self._text = text
        self._note = ""
        self._total = total
        self._unit = unit
        self._done = 0.0
        self._next = time.monotonic() + PLAIN_PROGRESS_INTERVAL

    def advance(self, amount: float = 1) -> None:
        self._done += amount
        self._tell()

    def describe(self, text: str) -> None:
        self._text = text
        self._tell()

    def note(self, text: str) -> None:
        self._note = text
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PLAIN_PROGRESS_INTERVAL
        amount = f" {self._done / self._total:.0%}" if self._total else self._amount()
        note = f", {self._note}" if self._note else ""
        print(f"{self._text}{amount}{note}", file=sys.stderr, flush=True)

    def _amount(self) -> str:
        if not self._done:
            return ""
        return f" {self._done / 2**20:,.1f} MiB" if self._unit == "bytes" else f" {self._done:,.0f}"


def describe_error(error: BaseException) -> str:
    """An exception in a line: its reason where it carries one."""
    reason: Any = getattr(error, "reason", None)
    if reason is None and isinstance(error, OSError) and error.strerror:
        # Not "[Errno 28] ...": the number tells nobody anything.
        reason = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return " ".join(str(reason or error).split()) or type(error).__name__
