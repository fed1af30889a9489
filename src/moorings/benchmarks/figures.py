"""Medians, quartiles, tables and progress."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Spread(NamedTuple):
    """Median and quartiles."""

    median: float
    low: float
    high: float
    size: int

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles of at least one value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high, len(values))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain columns: the first one to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines: list[str] = []
    for row in [head, ["-" * width for width in widths], *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def bars(rows: Sequence[tuple[str, float]], unit: str, width: int = 48) -> str:
    """A plot in characters: one bar for each row."""
    longest = max(value for _, value in rows)
    indent = max(len(label) for label, _ in rows)
    return "\n".join(
        f"{label.ljust(indent)}  {'#' * max(1, round(width * value / longest))} {value:.2f} {unit}"
        for label, value in rows
    )


def verdict(value: float, bar: float | None) -> str:
    """How a figure stands to its bar."""
    if bar is None:
        return ""
    return f"{'met' if value <= bar else 'MISSED'} (bar {bar:g})"


class Shows(Protocol):
    """Something that tells what is being measured."""

    def show(self, text: str) -> None: ...


class Progress:
    """One line on standard error that tells what is measured: rewritten on a terminal, else only now and then."""

    def __init__(self, quiet: bool = False) -> None:
        self._terminal = sys.stderr.isatty()
        self._quiet = quiet
        self._shown_at = 0.0
        self._started = time.monotonic()

    def show(self, text: str) -> None:
        now = time.monotonic()
        if self._quiet or (not self._terminal and now - self._shown_at < 5.0):
            return
        self._shown_at = now
        line = f"{now - self._started:6.1f} s  {text}"
        if self._terminal:
            print(f"\r\x1b[K{line[:110]}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._terminal and not self._quiet:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def write_json(path: str, results: dict[str, Any]) -> None:
    """The results as a file."""
    Path(path).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
