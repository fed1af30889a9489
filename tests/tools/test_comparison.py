"""The script that fills the comparison page: it changes what is between the marks, and nothing else."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tools import comparison

if TYPE_CHECKING:
    from pathlib import Path

BEFORE, BETWEEN, AFTER = "# Title\n\nwords\n\n", "\n\nother words\n\n", "\n\nmore words\n"
TCP_BEGIN, TCP_END = comparison.RUNS["tcp"][1:]
UDP_BEGIN, UDP_END = comparison.RUNS["udp"][1:]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A directory with a page and the figures of the real one."""
    for kept, _, _ in comparison.RUNS.values():
        shutil.copy(comparison.DOCS / kept, tmp_path)
    (tmp_path / "comparison.md").write_text(
        f"{BEFORE}{TCP_BEGIN}\nold\n{TCP_END}{BETWEEN}{UDP_BEGIN}\nold\n{UDP_END}{AFTER}", encoding="utf-8"
    )
    return tmp_path


def changed(path: Path) -> dict[str, Any]:
    """Other figures."""
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    results["machine"]["processor"] = "Abacus 3000"
    return results


def test_only_what_is_between_the_marks_is_replaced(docs: Path) -> None:
    assert comparison.main([], docs) == 0
    page = (docs / "comparison.md").read_text(encoding="utf-8")
    assert page.startswith(BEFORE + TCP_BEGIN)
    assert TCP_END + BETWEEN + UDP_BEGIN in page
    assert page.endswith(UDP_END + AFTER)
    assert "\nold\n" not in page
    assert "### UDP: Request and reply of 64 B, each awaited" in page
    assert "### Ratios: WinRT names on uvloop, divided by the peer" in page
    assert (docs / "comparison.svg").read_text(encoding="utf-8").startswith("<svg ")
    assert comparison.main(["--check"], docs) == 0


def test_check_writes_nothing(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in docs.iterdir()}
    assert comparison.main(["--check"], docs) == 1
    assert {path.name: path.read_bytes() for path in docs.iterdir()} == before
    assert "comparison.md is not made from the runs beside it" in capsys.readouterr().out


@pytest.mark.parametrize("benchmark", comparison.RUNS)
def test_figures_of_a_new_run(docs: Path, tmp_path: Path, benchmark: str) -> None:
    kept = docs / comparison.RUNS[benchmark][0]
    source = tmp_path / f"{benchmark}.json"
    source.write_text(json.dumps(changed(kept)), encoding="utf-8")
    assert comparison.main(["--from", str(source)], docs) == 0
    assert (docs / "comparison.md").read_text(encoding="utf-8").count("Abacus 3000") == 1
    assert json.loads(kept.read_text(encoding="utf-8"))["machine"]["processor"] == "Abacus 3000"


@pytest.mark.parametrize("text", ["{}", "no json", '{"schema": 99, "benchmark": "tcp"}', '{"benchmark": "udp"}'])
def test_other_files_are_refused(docs: Path, tmp_path: Path, text: str) -> None:
    before = (docs / "comparison.json").read_bytes()
    source = tmp_path / "other.json"
    source.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"other\.json"):
        comparison.main(["--from", str(source)], docs)
    assert (docs / "comparison.json").read_bytes() == before


def test_a_page_without_marks_is_refused(docs: Path) -> None:
    (docs / "comparison.md").write_text("# Title\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="no marks"):
        comparison.main([], docs)


def test_cells() -> None:
    entry = {"median": 0.8, "quartiles": [0.7, 0.9], "pairs": 9}
    assert comparison.ratio_cell(entry) == "**0.80 [0.70, 0.90]**"
    assert comparison.ratio_cell(entry | {"quartiles": [0.7, 1.1]}) == "0.80 [0.70, 1.10]"
    assert comparison.ratio_cell({"median": None}) == "void"
    assert comparison.markdown_table(["a", "b"], [["x|y", "1"]]) == ["| a | b |", "| --- | ---: |", "| x/y | 1 |"]
