"""The figures of `docs/comparison.md` and the picture `docs/comparison.svg`, made from those of two benchmark runs.

    python tools/comparison.py                    make them again
    python tools/comparison.py --check            say whether they are what it would make; exit code 1 if not
    python tools/comparison.py --from tcp.json    first take the figures that `moorings bench tcp --json tcp.json` wrote
    python tools/comparison.py --from udp.json    or those of `moorings bench udp --json udp.json`

The runs are kept in `docs/comparison.json` (TCP) and `docs/comparison-udp.json`. On the page it replaces only what
stands between each two marks.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moorings.benchmarks import plot, report, udp
from moorings.benchmarks.figures import Spread

if TYPE_CHECKING:
    from collections.abc import Sequence

DOCS = Path(__file__).resolve().parents[1] / "docs"
#: For each benchmark the file that keeps its run, and the marks on the page.
RUNS = {
    "tcp": ("comparison.json", "<!-- figures: made by tools/comparison.py -->", "<!-- end of the figures -->"),
    "udp": ("comparison-udp.json", "<!-- datagrams: made by tools/comparison.py -->", "<!-- end of the datagrams -->"),
}
SCHEMAS = {"tcp": report.SCHEMA, "udp": udp.SCHEMA}
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


def measured(results: report.Document, each: str) -> str:
    """When and where, and for how long."""
    place = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    return (
        f"Measured on {place['time'][:10]}: {place['processor']}, {place['processors']} processors, "
        f"Linux {place['kernel']}, Python {place['python']}, {versions}. {results['pairs']} rounds of "
        f"{results['seconds']:g} s for each {each}; load of the machine {place['load_average']:.1f}."
    )


def datagrams(results: report.Document) -> str:
    """Everything between the marks for UDP."""
    lines = [measured(results, "program and part"), ""]
    for part in results["parts"]:
        lines += [f"### UDP: {part['title']}", "", *markdown_table(udp.HEADINGS, udp.rows(part)), ""]
    return "\n".join(lines)


def figures(results: report.Document) -> str:
    """Everything between the marks for TCP."""
    lines = [
        measured(results, "server and scenario"),
        "",
        *(f"{note[:1].upper()}{note[1:]}.\n" for note in report.notes(results)),
        "![Bars of the figures below](comparison.svg)",
        "",
        *summary(results),
    ]
    for title, headings, rows in report.tables(results):
        lines += [f"### {title}", "", *markdown_table(headings, rows), ""]
    return "\n".join(lines)


def page_with(page: str, benchmark: str, text: str) -> str:
    """The page with other figures of a benchmark between its marks."""
    _, first, last = RUNS[benchmark]
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        sys.exit(f"comparison.py: the page has no marks {first} and {last}")
    return f"{before}{first}\n\n{text}\n{last}{after}"


def products(docs: Path) -> dict[Path, str]:
    """The files that are made, with their texts."""
    tcp_run = load(docs / RUNS["tcp"][0])
    path = docs / "comparison.md"
    page = page_with(path.read_text(encoding="utf-8"), "tcp", figures(tcp_run))
    return {
        path: page_with(page, "udp", datagrams(load(docs / RUNS["udp"][0]))),
        docs / "comparison.svg": plot.svg(tcp_run),
    }


def load(path: Path) -> report.Document:
    """The document of a benchmark run."""
    try:
        results: report.Document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"comparison.py: {path}: {error}")
    benchmark = results.get("benchmark")
    if benchmark not in SCHEMAS or results.get("schema") != SCHEMAS[benchmark]:
        sys.exit(f"comparison.py: {path} is not what this version of 'moorings bench tcp|udp --json' writes")
    return results


def main(arguments: Sequence[str] | None = None, docs: Path = DOCS) -> int:
    """Make the files, or compare them; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if something would change")
    parser.add_argument("--from", dest="source", metavar="FILE", help="the figures of a new run")
    options = parser.parse_args(arguments)
    if options.source:
        results = load(Path(options.source))
        kept = docs / RUNS[results["benchmark"]][0]
        kept.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    code = 0
    for path, text in products(docs).items():
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if old != text and options.check:
            print(f"comparison.py: {path.name} is not made from the runs beside it; run python tools/comparison.py")
            code = 1
        elif old != text:
            path.write_text(text, encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
