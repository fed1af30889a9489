"""Every program of the documents runs, and prints what the document says. README.md's have tests of their own."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest
from tests.docs.claims import EXAMPLE, HELD_BY, PROGRAMS, README, Program, first_line, output_of
from tests.docs.documents import Block, all_blocks
from tests.docs.programs import Programs, interrupt, own_port

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

BLOCKS = [
    block
    for block in all_blocks()
    if block.language == "python"
    and block.title
    and block.document != README
    and (block.document, first_line(block)) not in HELD_BY
]


def without_numbers(text: str) -> str:
    """For what differs from run to run: numbers, and the blanks that put them below each other."""
    return re.sub(r" +", " ", re.sub(r"\d[\d,.]*\d|\d", "#", text))


def check_output(block: Block, port: int, result: subprocess.CompletedProcess[str], how: Program) -> None:
    expected = output_of(block)
    if how.fails:
        assert (result.returncode, result.stdout) == (1, "")
        printed = result.stderr
    else:
        assert (result.returncode, result.stderr) == (0, "")
        printed = result.stdout
    if how.prints:
        assert re.fullmatch(how.prints, printed)
    elif expected is None:
        assert printed == "", "show in a text block behind the program what it prints"
    elif expected.title == EXAMPLE:
        assert without_numbers(printed) == without_numbers(expected.text)
    else:
        assert printed == expected.text.replace("1337", str(port))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.document}-{block.title}")
def test_program(block: Block, tmp_path: Path) -> None:
    how = PROGRAMS.get((block.document, block.title), Program())
    with own_port() as port:
        programs = Programs(block.document, tmp_path, port)
        if how.serves:
            with programs.server(block.title) as process:
                check_end(process)
        elif how.server:
            with programs.server(how.server) as process:
                check_output(block, port, programs.run(block.title), how)
                check_end(process)
        else:
            check_output(block, port, programs.run(block.title), how)


def check_end(process: subprocess.Popen[str]) -> None:
    """A server ends with Ctrl-C, without complaints."""
    code, complaints = interrupt(process)
    assert complaints == ""
    assert code in {0, 130, -signal.SIGINT}
