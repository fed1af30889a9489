"""The datagram benchmark: every contestant takes part, and the figures come out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from moorings.benchmarks import udp
from moorings.benchmarks.processes import BenchmarkError, Workshop
from moorings.cli.app import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 0.02


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    with Workshop() as made:
        udp.compile_c(made)
        yield made


@pytest.mark.parametrize("part", udp.PARTS, ids=lambda part: part.name)
def test_ours_and_the_socket_module_take_part(workshop: Workshop, part: udp.Part) -> None:
    wanted = {"moorings-uvloop", "sockets", "c-plain"}
    for entry in udp.choose(part, has_c=workshop.has_c):
        if entry.name in wanted:
            sample = udp.turn(workshop, entry, part, SECONDS)
            assert sample.cpu > 0
            assert sample.rate > 0


@pytest.mark.parametrize("name", ["endpoints-uvloop", "endpoints-asyncio", "anyio-uvloop", "pure-uvloop", "c-gso"])
def test_the_others_send_and_receive_batches(workshop: Workshop, name: str) -> None:
    part = udp.PARTS[0]
    entry = next((entry for entry in udp.choose(part, has_c=workshop.has_c) if entry.name == name), None)
    if entry is None:
        pytest.skip(f"{name} is not installed")
    assert udp.turn(workshop, entry, part, SECONDS).cpu > 0


def test_a_contestant_that_fails_is_named(workshop: Workshop) -> None:
    with pytest.raises(BenchmarkError, match="nobody"):
        udp.turn(workshop, udp.Contestant("nobody", "nobody", "nobody"), udp.PARTS[0], SECONDS)


def test_the_document_has_figures_and_ratios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "udp.json"
    assert main(["bench", "udp", "--only", "exchange", "--pairs", "1", "--seconds", "0.02", "--json", str(target)]) == 0
    (part,) = json.loads(target.read_text())["parts"]
    assert {"moorings-asyncio", "sockets"} <= set(part["figures"])
    assert all(ratio["median"] > 0 and ratio["pairs"] == 1 for ratio in part["ratios"])
    assert "moorings on asyncio" in capsys.readouterr().out


def test_list_and_wrong_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "udp", "--list"]) == 0
    assert "batch-1200b" in capsys.readouterr().out
    assert main(["bench", "udp", "--only", "nothing"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
