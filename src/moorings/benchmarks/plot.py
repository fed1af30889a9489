"""A picture of the figures: one panel of bars for each table, as an SVG file that needs nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = 2
WIDTH, MARGIN, GAP = 560, 24, 36
LABELS, VALUES = 250, 70
BAR, PITCH, TITLE = 14, 20, 34
HEADER = 64
OURS, PEERS, INK, FAINT, PAPER = "#1f6fb2", "#b4bcc6", "#1c2733", "#5c6977", "#ffffff"


class Row(NamedTuple):
    """A bar."""

    label: str
    value: float
    text: str
    ours: bool


class Panel(NamedTuple):
    """A title and its bars."""

    title: str
    rows: list[Row]

    @property
    def height(self) -> int:
        return TITLE + PITCH * len(self.rows)


def panels(results: dict[str, Any]) -> list[Panel]:
    """What is drawn: smaller is better everywhere."""
    servers = {server["name"]: server for server in results["servers"]}

    def panel(title: str, values: dict[str, float], form: str) -> Panel:
        rows = [
            Row(servers[name]["label"], value, form.format(value), servers[name]["ours"])
            for name, value in values.items()
        ]
        return Panel(title, sorted(rows, key=lambda row: row.value))

    found = [
        panel(
            f"{scenario['title']}: µs of CPU per {scenario['message']}",
            {name: figures["cpu"] for name, figures in scenario["figures"].items()},
            "{:,.1f}",
        )
        for scenario in results["scenarios"]
    ]
    memory = {name: max(0.0, growth["rss"] / 1024) for name, growth in results["memory"].items()}
    found.append(panel(f"Memory for each of {results['idle_connections']:,} idle connections: KiB", memory, "{:,.2f}"))
    counted = {name: counted["mean"] for name, counted in results["instructions"].items()}
    found.append(panel("Echo of 64 B: user-space instructions", counted, "{:,.0f}"))
    return [panel for panel in found if panel.rows]


def svg(results: dict[str, Any]) -> str:
    """The picture."""
    columns: list[list[Panel]] = [[] for _ in range(COLUMNS)]
    heights = [0] * COLUMNS
    for panel in panels(results):
        shortest = heights.index(min(heights))
        columns[shortest].append(panel)
        heights[shortest] += panel.height + GAP
    width, height = 2 * MARGIN + COLUMNS * WIDTH + (COLUMNS - 1) * GAP, HEADER + max(heights) + MARGIN
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    title = f"Moorings and its peers over {results['benchmark'].upper()}: less is better"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica, Arial, DejaVu Sans, sans-serif">',
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        _text(MARGIN, 28, title, size=18, bold=True),
        _text(MARGIN, 48, _subtitle(results), fill=FAINT),
    ]
    for number, column in enumerate(columns):
        lines += _column(MARGIN + number * (WIDTH + GAP), column)
    return "\n".join([*lines, "</svg>", ""])


def _subtitle(results: dict[str, Any]) -> str:
    place = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    return f"{place['time'][:10]}, {place['processor']}, Linux {place['kernel']}, Python {place['python']}, {versions}"


def _column(left: int, column: Sequence[Panel]) -> list[str]:
    lines: list[str] = []
    top = HEADER
    for panel in column:
        lines.append(_text(left, top + 16, panel.title, size=13, bold=True))
        longest = max(row.value for row in panel.rows) or 1.0
        for number, row in enumerate(panel.rows):
            y = top + TITLE + number * PITCH
            length = max(1.0, (WIDTH - LABELS - VALUES) * row.value / longest)
            lines.append(_text(left + LABELS - 8, y + 11, row.label, anchor="end", bold=row.ours))
            fill = OURS if row.ours else PEERS
            lines.append(f'<rect x="{left + LABELS}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{fill}"/>')
            lines.append(_text(left + LABELS + length + 6, y + 11, row.text))
        top += panel.height + GAP
    return lines


def _text(
    x: float, y: float, text: str, *, size: int = 12, fill: str = INK, anchor: str = "start", bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}"{weight}>'
        f"{escape(text)}</text>"
    )
