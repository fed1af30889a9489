"""The figures of `docs/comparison.md` and the picture `docs/comparison.svg`, made from `docs/comparison.json`.

    python tools/comparison.py                    make them again
    python tools/comparison.py --check            say whether they are what it would make; exit code 1 if not
    python tools/comparison.py --from tcp.json    first take the figures that `moorings bench tcp --json tcp.json` wrote

On the page it replaces only what stands between the two marks.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moorings.benchmarks import plot, report
from moorings.benchmarks.figures import Spread

if TYPE_CHECKING:
    from collections.abc import Sequence

DOCS = Path(__file__).resolve().parents[1] / "docs"
BEGIN, END = "<!-- figures: made by tools/comparison.py -->", "<!-- end of the figures -->"
#: Of ours, the two ways to write a program, each with a word for it.
OURS = {"moorings-uvloop": "WinRT names", "face-uvloop": "`read`/`write`"}


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right."""
    marks = ["---", *["---:"] * (len(headings) - 1)]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in (headings, marks, *rows)]


def summary(results: report.Document) -> list[str]:
    """For each of our two ways: the ratio to each peer in each scenario."""
    labels = {server["name"]: server["label"] for server in results["servers"]}
    peers = [server["name"] for server in results["servers"] if not server["ours"]]
    lines: list[str] = []
    for ours, word in OURS.items():
        if ours not in labels:
            continue
        rows: list[list[str]] = []
        for scenario in results["scenarios"]:
            found = {entry["peer"]: entry for entry in scenario["ratios"] if entry["ours"] == ours}
            rows.append([scenario["title"], *(ratio_cell(found[peer]) for peer in peers)])
        lines += [f"### Ratios: {word} on uvloop, divided by the peer", ""]
        lines += [*markdown_table(["processor time", *(labels[peer] for peer in peers)], rows), ""]
    return lines


def ratio_cell(entry: dict[str, Any]) -> str:
    """Median and quartiles; bold where we need less in three quarters of the pairs."""
    if entry["median"] is None:
        return "void"
    low, high = entry["quartiles"]
    text = str(Spread(entry["median"], low, high, entry["pairs"]))
    return f"**{text}**" if high < 1 else text


def figures(results: report.Document) -> str:
    """Everything between the marks."""
    place = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    measured = (
        f"Measured on {place['time'][:10]}: {place['processor']}, {place['processors']} processors, "
        f"Linux {place['kernel']}, Python {place['python']}, {versions}. {results['pairs']} rounds of "
        f"{results['seconds']:g} s for each server and scenario; load of the machine {place['load_average']:.1f}."
    )
    lines = [
        measured,
        "",
        *(f"{note[:1].upper()}{note[1:]}.\n" for note in report.notes(results)),
        "![Bars of the figures below](comparison.svg)",
        "",
        *summary(results),
    ]
    for title, headings, rows in report.tables(results):
        lines += [f"### {title}", "", *markdown_table(headings, rows), ""]
    return "\n".join(lines)


def page_with(page: str, text: str) -> str:
    """The page with other figures between its marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"comparison.py: the page has no marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def products(docs: Path) -> dict[Path, str]:
    """The files that are made, with their texts."""
    results = load(docs / "comparison.json")
    page = docs / "comparison.md"
    return {
        page: page_with(page.read_text(encoding="utf-8"), figures(results)),
        docs / "comparison.svg": plot.svg(results),
    }


def load(path: Path) -> report.Document:
    """The document of a benchmark run."""
    try:
        results: report.Document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"comparison.py: {path}: {error}")
    if results.get("schema") != report.SCHEMA or results.get("benchmark") != "tcp":
        sys.exit(f"comparison.py: {path} is not what this version of 'moorings bench tcp --json' writes")
    return results


def main(arguments: Sequence[str] | None = None, docs: Path = DOCS) -> int:
    """Make the files, or compare them; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if something would change")
    parser.add_argument("--from", dest="source", metavar="FILE", help="the figures of a new run")
    options = parser.parse_args(arguments)
    if options.source:
        results = load(Path(options.source))
        (docs / "comparison.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    code = 0
    for path, text in products(docs).items():
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if old != text and options.check:
            print(f"comparison.py: {path.name} is not made from comparison.json; run python tools/comparison.py")
            code = 1
        elif old != text:
            path.write_text(text, encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
