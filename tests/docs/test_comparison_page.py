"""docs/comparison.md: its figures are those of the committed run, and what it says of libraries can be looked up."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest
from tests.docs.documents import ROOT, code_words, table

import moorings
from moorings.benchmarks import udp
from moorings.sockets.limits import StreamLimits
from tools import comparison

PAGE = "docs/comparison.md"
FEATURES = table(PAGE, "Moorings", "asyncio", "uvloop", "anyio", "trio")


def test_page_and_picture_are_made_from_the_committed_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert comparison.main(["--check"]) == 0, capsys.readouterr().out


def test_the_run_measured_everything() -> None:
    results = comparison.load(ROOT / "docs" / "comparison.json")
    assert results["missing"] == {}
    assert {server["library"] for server in results["servers"]} == {
        "moorings",
        "c",
        "asyncio",
        "uvloop",
        "aiofastnet",
        "anyio",
        "trio",
    }
    assert {server["mode"] for server in results["servers"] if server["ours"]} == {"compiled"}
    assert all(entry["pairs"] for scenario in results["scenarios"] for entry in scenario["ratios"])
    assert (
        results["memory"].keys() == results["instructions"].keys() == {server["name"] for server in results["servers"]}
    )


def test_the_run_of_datagrams_measured_everything() -> None:
    results = comparison.load(ROOT / "docs" / "comparison-udp.json")
    assert results["missing"] == {}
    assert [part["name"] for part in results["parts"]] == [part.name for part in udp.PARTS]
    assert all(entry["pairs"] >= 3 for part in results["parts"] for entry in part["ratios"])
    modes = {part["figures"]["moorings-uvloop"]["mode"] for part in results["parts"]}
    assert modes == {"compiled"}


def test_every_cell_says_something() -> None:
    assert len(FEATURES) > 20
    assert [row for row in FEATURES if not all(row.values())] == []


@pytest.mark.parametrize("row", FEATURES, ids=lambda row: row[""])
def test_our_names_exist(row: dict[str, str]) -> None:
    places = [moorings.StreamSocket, moorings.StreamSocketListener, moorings.Listening, StreamLimits]
    for word in code_words(row["Moorings"]):
        name = re.sub(r"\W+", " ", word).split()[-1]
        known = any(hasattr(place, name) for place in places) or name in {"await", "get"}
        assert known or name in inspect.signature(moorings.listen).parameters, word


@pytest.mark.parametrize(
    ("package", "path", "option"),
    [
        ("asyncio", "base_events.BaseEventLoop.create_connection", "happy_eyeballs_delay"),
        ("uvloop", "Loop.create_connection", ""),
        ("anyio", "connect_tcp", "happy_eyeballs_delay"),
        ("trio", "open_tcp_stream", "happy_eyeballs_delay"),
    ],
)
def test_who_tries_several_addresses(package: str, path: str, option: str) -> None:
    value = importlib.import_module(package)
    for name in path.split("."):
        value = getattr(value, name)
    parameters = inspect.signature(value).parameters  # type: ignore[arg-type]
    assert option in parameters if option else "happy_eyeballs_delay" not in parameters
