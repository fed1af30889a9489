"""What holds for all documents: links lead somewhere, and commands and fragments work."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from tests.docs.documents import DOCUMENTS, ROOT, Block, all_blocks, prose

if TYPE_CHECKING:
    from pathlib import Path

BLOCKS = all_blocks()
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in BLOCKS
    if block.language == "sh"
    for line in block.text.splitlines()
    if line.strip() and not line.startswith("#")
]
PRELUDE = "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """The headings as GitHub and MkDocs make links of them."""
    titles = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_documents_were_found() -> None:
    assert {name(path) for path in DOCUMENTS} >= {
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docs/threads.md",
        "docs/cancellation.md",
        "docs/differences.md",
        "docs/errors.md",
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    broken: list[str] = []
    for link in re.findall(r"\]\(([^)]+)\)", prose(path)):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_tables_are_whole(path: Path) -> None:
    rows = [line for line in prose(path).splitlines() if line.startswith("|")]
    assert all(row.endswith("|") for row in rows)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language], ids=str)
def test_every_block_is_of_a_kind_that_is_tested(block: Block) -> None:
    assert block.language in {"python", "sh", "text"}
    if block.language == "python" and not block.title:
        fragment = PRELUDE + block.text
        exec(compile(fragment, str(block), "exec"), {"__name__": "fragment"})


def test_no_block_is_of_no_kind() -> None:
    assert [str(block) for block in BLOCKS if not block.language] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str, tmp_path: Path) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        # -n: print what it would do; make complains about a target that it does not know.
        subprocess.run([*words, "-n"], cwd=ROOT, check=True, capture_output=True)
    elif words[:2] == ["pip", "install"]:
        extras = re.findall(r"\[([\w,]+)\]", command)
        project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert set(extras) <= set(project["optional-dependencies"])
    elif words[0] == "python":
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        result = subprocess.run(
            [sys.executable, *words[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert re.fullmatch(r"\((True|False), '.+'\)\n", result.stdout)
    else:
        pytest.fail(f"nothing tests {command}")
