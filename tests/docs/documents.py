"""The documents, cut into what can be checked: code blocks, tables, links, sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"))
    if path.name not in {"CHANGELOG.md", "CODE_OF_CONDUCT.md"}
)

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>.*)$")
_TITLE = re.compile(r'title="(?P<title>[^"]+)"')


@dataclass(frozen=True)
class Block:
    """A fenced code block."""

    document: str
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return self.title or f"{self.document}:{self.line}"


def read(document: str) -> str:
    return ROOT.joinpath(document).read_text(encoding="utf-8")


@cache
def blocks(path: Path) -> list[Block]:
    found: list[Block] = []
    opened: tuple[int, str, str] | None = None
    inside: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.match(line)
        if fence is None:
            inside.append(line)
        elif opened is None:
            opened, inside = (number, fence["indent"], fence["info"]), []
        else:
            start, indent, info = opened
            title = _TITLE.search(info)
            text = "".join(f"{kept.removeprefix(indent)}\n" for kept in inside)
            name = str(path.relative_to(ROOT))
            found.append(Block(name, start, info.split(" ")[0], title["title"] if title else "", text))
            opened = None
    assert opened is None, f"{path}: the code block of line {opened[0]} has no end"
    return found


def blocks_of(document: str) -> list[Block]:
    return blocks(ROOT / document)


def all_blocks() -> list[Block]:
    return [block for path in DOCUMENTS for block in blocks(path)]


def prose(path: Path) -> str:
    """The text outside code blocks."""
    lines: list[str] = []
    outside = True
    for line in path.read_text(encoding="utf-8").splitlines():
        if _FENCE.match(line):
            outside = not outside
        elif outside:
            lines.append(line)
    return "\n".join(lines)


def tables(document: str) -> list[list[dict[str, str]]]:
    """All tables of a document: a list of rows each, by the headings of the columns."""
    found: list[list[dict[str, str]]] = []
    headings: list[str] | None = None
    for line in read(document).splitlines():
        if not line.startswith("|"):
            headings = None
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if headings is None:
            headings = cells
            found.append([])
        elif not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            assert len(cells) == len(headings), f"{document}: {line}"
            found[-1].append(dict(zip(headings, cells, strict=True)))
    return found


def table(document: str, *headings: str) -> list[dict[str, str]]:
    """The one table of a document that has these headings, among others."""
    fitting = [rows for rows in tables(document) if rows and set(headings) <= set(rows[0])]
    assert len(fitting) == 1, f"{document} has {len(fitting)} tables with {headings}"
    return fitting[0]


def code_words(cell: str) -> list[str]:
    """What stands between back-quotes."""
    return re.findall(r"`([^`]+)`", cell)
