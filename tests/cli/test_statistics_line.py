"""The line that is drawn again and again: what of it a terminal shows."""

from __future__ import annotations

import io

import pytest

from moorings.cli.statistics_line import Reporter, fitting

LINE = "2.0 s: RTT 0.1 ms; 5 B/s out, 6 B/s in; queue 0 B; sent 9 B, received 9 B"


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (len(LINE), LINE),
        (len(LINE) - 1, LINE.removesuffix(", received 9 B")),
        (len(LINE) - len(", received 9 B"), LINE.removesuffix(", received 9 B")),
        (len(LINE) - len(", received 9 B") - 1, LINE.removesuffix("; sent 9 B, received 9 B")),
        (30, "2.0 s: RTT 0.1 ms; 5 B/s out"),
        (10, LINE[:10]),
        (0, ""),
        (-1, ""),
    ],
)
def test_no_part_is_cut_in_the_middle(width: int, text: str) -> None:
    assert fitting(LINE, width) == text


def test_a_terminal_shows_whole_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    reporter = Reporter(stream, as_json=False)
    reporter.redraws = True
    reporter.draw("statistics", LINE)
    assert stream.getvalue() == "\r2.0 s: RTT 0.1 ms; 5 B/s out, 6 B/s in\x1b[K"
