"""Medians, tables, verdicts."""

from __future__ import annotations

from moorings.benchmarks.figures import Spread, bars, spread, table, verdict


def test_spread_has_median_and_quartiles() -> None:
    assert spread([5, 1, 3, 2, 4]) == Spread(3, 2, 4, 5)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0, 1)
    assert str(Spread(1.234, 1.0, 2.0, 3)) == "1.23 [1.00, 2.00]"


def test_table_aligns_columns() -> None:
    assert table(["what", "n"], [["a", "1"], ["long name", "23"]]) == (
        "what        n\n---------  --\na           1\nlong name  23"
    )


def test_bars_are_in_proportion() -> None:
    assert bars([("a", 1.0), ("bb", 4.0)], "µs", width=8) == "a   ## 1.00 µs\nbb  ######## 4.00 µs"


def test_verdict_says_how_a_figure_stands_to_its_bar() -> None:
    assert verdict(1.0, 1.0) == "met (bar 1)"
    assert verdict(1.1, 1.0) == "MISSED (bar 1)"
    assert not verdict(9.0, None)
