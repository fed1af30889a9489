"""`moorings bench tcp`: tiny runs of every part. How big a figure is is no test's business."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from moorings.benchmarks import instructions, plot, report, tcp
from moorings.benchmarks.processes import SERVERS, Sample, Workshop
from moorings.cli import app, bench

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("moorings-asyncio", "face-asyncio", "streams-asyncio")
#: One scenario of each kind that is treated in its own way, and the memory.
EVERYTHING = ("echo-64b-1", "echo-4kib-50", "receive", "connections", tcp.MEMORY)
SCENARIOS = EVERYTHING[:-1]
SVG = "{http://www.w3.org/2000/svg}"


class Silent:
    """Counts the steps."""

    def __init__(self) -> None:
        self.steps = 0

    def show(self, text: str) -> None:
        assert text

    def advance(self) -> None:
        self.steps += 1


def plan(parts: tuple[str, ...] = EVERYTHING, **more: Any) -> tcp.Plan:
    servers = tuple(SERVERS[name] for name in NAMES)
    return tcp.Plan(parts, servers, **{"pairs": 1, "seconds": 0.01, "idle_connections": 150} | more)


@pytest.fixture(scope="module")
def results() -> report.Document:
    """What one tiny run of everything found, as a program that reads the file sees it."""
    steps = Silent()
    with Workshop() as workshop:
        measured = tcp.Run(workshop, plan(), steps).everything()
    assert steps.steps == plan().steps
    # Instructions take valgrind and time: other figures stand in for them.
    measured.counted = {name: instructions.Counted(1000.0, 1001.0) for name in NAMES}
    document: report.Document = json.loads(json.dumps(report.document(plan(), measured, {"trio": "pip install trio"})))
    return document


def test_document_has_every_figure(results: report.Document) -> None:
    assert set(results) == {
        "schema",
        "benchmark",
        "machine",
        "versions",
        "pairs",
        "seconds",
        "missing",
        "servers",
        "scenarios",
        "idle_connections",
        "memory",
        "instructions",
    }
    assert results["schema"] == report.SCHEMA
    assert "moorings" in results["versions"]
    assert [server["name"] for server in results["servers"]] == list(NAMES)
    assert [scenario["name"] for scenario in results["scenarios"]] == list(SCENARIOS)
    for scenario in results["scenarios"]:
        assert set(scenario["figures"]) == set(NAMES)
        for figures in scenario["figures"].values():
            assert set(figures) == {"cpu", "rate", "mib_per_second", "p50", "p99", "busy", "rounds", "peak"}
            assert all(value > 0 for value in figures.values())
            assert figures["p50"] <= figures["p99"]
        assert [(entry["ours"], entry["peer"]) for entry in scenario["ratios"]] == [
            ("moorings-asyncio", "streams-asyncio"),
            ("face-asyncio", "streams-asyncio"),
        ]
        assert all(entry["pairs"] + entry["void"] >= 1 for entry in scenario["ratios"])
    assert set(results["memory"]) == set(NAMES)
    assert results["idle_connections"] == 150


def test_tables_have_a_row_for_each_server(results: report.Document) -> None:
    found = report.tables(results)
    assert len(found) == len(SCENARIOS) + 2
    for table in found:
        assert {row[0] for row in table.rows} == {SERVERS[name].label for name in NAMES}
        assert {len(row) for row in table.rows} == {len(table.headings)}
    assert "moorings / it" in found[0].headings
    assert "MiB/s" in next(table for table in found if table.title.startswith("Receiving")).headings
    assert "python" in report.heading(results).lower()
    assert report.notes(results)[0] == "trio is missing, so what needs it is left out (pip install trio)"


def test_picture_is_well_formed_and_inside_its_frame(results: report.Document) -> None:
    results = json.loads(json.dumps(results))
    results["servers"][0]["label"] = "<odd> & label"
    root = ElementTree.fromstring(plot.svg(results))
    assert root.tag == f"{SVG}svg"
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    bars = root.findall(f"{SVG}rect")[1:]
    assert len(bars) == len(NAMES) * (len(SCENARIOS) + 2)
    for bar in bars:
        assert 0 < float(bar.attrib["x"]) + float(bar.attrib["width"]) < width
        assert 0 < float(bar.attrib["y"]) + float(bar.attrib["height"]) < height
    texts = [text.text for text in root.findall(f"{SVG}text")]
    assert texts.count("<odd> & label") == len(SCENARIOS) + 2


def test_pairs_count_only_while_both_are_busy() -> None:
    scenario = next(scenario for scenario in tcp.SCENARIOS if scenario.keeps_busy)
    alone = next(scenario for scenario in tcp.SCENARIOS if not scenario.keeps_busy)
    busy, idle = Sample(100, 1.0, 1.0, 1.0, 0.1, 0.2), Sample(100, 1.0, 0.5, 1.0, 0.1, 0.2)
    measured = tcp.Measured()
    for one in (scenario, alone):
        measured.samples[one.name, "moorings-asyncio"] = [busy, busy, idle]
        measured.samples[one.name, "streams-asyncio"] = [busy, idle, idle]
        measured.peaks = {**measured.peaks, (one.name, "moorings-asyncio"): 1, (one.name, "streams-asyncio"): 1}
    assert measured.pairs(scenario, "moorings-asyncio", "streams-asyncio") == ([1.0], 2)
    assert measured.pairs(alone, "moorings-asyncio", "streams-asyncio") == ([1.0, 2.0, 1.0], 0)


def test_what_could_not_be_measured_is_a_failure(results: report.Document) -> None:
    results = json.loads(json.dumps(results))
    entry = results["scenarios"][0]["ratios"][0]
    entry |= {"median": None, "quartiles": None, "pairs": 0, "void": 14}
    results["instructions"]["face-asyncio"]["agree"] = False
    failures = report.failures(results)
    assert any("no pair counts" in failure for failure in failures)
    assert any("two runs differ" in failure for failure in failures)
    assert any("void (14)" in cell for row in report.tables(results)[0].rows for cell in row)


@pytest.mark.skipif(not instructions.has_valgrind() or shutil.which("cc") is None, reason="valgrind is not installed")
def test_instructions_are_the_same_twice(workshop: Workshop) -> None:
    counted = instructions.per_message(workshop, [SERVERS["c"]], lambda _text: None)["c"]
    assert counted.agree
    assert counted.mean > 0


def test_counts_that_differ_do_not_agree() -> None:
    assert instructions.Counted(100.0, 105.0).agree
    assert not instructions.Counted(100.0, 125.0).agree


def test_missing_peers_are_named_with_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "has_package", lambda name: name == "anyio")
    servers, missing = tcp.TCP.choose(tcp.LIBRARIES, has_c=False)
    assert [server.name for server in servers] == [
        "completed-asyncio",
        "moorings-asyncio",
        "face-asyncio",
        "callbacks-asyncio",
        "streams-asyncio",
        "streams-asyncio-malloc",
    ]
    assert missing == {
        "uvloop": "pip install uvloop",
        "a C compiler": "apt install gcc libc6-dev",
        "aiofastnet": "pip install aiofastnet",
        "trio": "pip install trio",
    }


def test_peers_and_pure() -> None:
    servers, missing = tcp.TCP.choose(["asyncio"], pure=True)
    assert {server.library for server in servers} == {"moorings", "asyncio"}
    assert {"pure-asyncio", "pure-uvloop"} <= {server.name for server in servers}
    assert missing == {}


QUICK = {scenario.name for scenario in tcp.SCENARIOS if scenario.quick} | {"memory"}


@pytest.mark.parametrize(
    ("quick", "only", "count", "names"),
    [
        (False, "", True, set(tcp.TCP.parts)),
        (False, "", False, set(tcp.TCP.parts) - {"instructions"}),
        (True, "", True, QUICK),
        (True, "of 4 KiB", True, {"echo-4kib-1", "echo-4kib-50"}),
        (False, "connections", True, {"connections"}),
        (False, "instructions", False, set()),
        (False, "no such thing", True, set()),
    ],
)
def test_parts(quick: bool, only: str, count: bool, names: set[str]) -> None:
    assert set(report.parts(tcp.TCP, quick=quick, only=only, count=count)) == names


# -- the command -----------------------------------------------------------------------------------------------------


def test_command_writes_table_json_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, picture = tmp_path / "tcp.json", tmp_path / "tcp.svg"
    arguments = ["--only", "batch", "--peers", "asyncio", "--pairs", "1", "--seconds", "0.01", "--no-instructions"]
    assert app.main(["bench", "tcp", *arguments, "--json", str(data), "--plot", str(picture)]) == 0
    output = capsys.readouterr()
    assert "100 writes of 100 B for each request" in output.out
    assert "moorings on asyncio" in output.out
    assert output.err.startswith("moorings bench tcp: ")
    results = json.loads(data.read_text())
    assert [scenario["name"] for scenario in results["scenarios"]] == ["batch"]
    assert results["memory"] == results["instructions"] == {}
    ElementTree.fromstring(picture.read_text())


def test_command_lists_parts_and_servers(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["bench", "tcp", "--list", "--peers", "asyncio"]) == 0
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    assert {"echo-64b-1", "memory", "moorings-asyncio", "streams-asyncio-malloc"} <= set(lines)
    assert "trio" not in lines


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--pairs", "0"], "0 is not in the range"),
        (["--seconds", "0"], "is not in the range"),
        (["--idle", "100000"], "is not in the range"),
        (["--peers", "twisted"], "twisted; choose from c,asyncio,uvloop,aiofastnet,anyio,trio"),
        (["--peers", ","], "no peer; choose from"),
        (["--only", "no such thing"], "no part has 'no such thing' in its name"),
        (["--json", "/no/such/directory/x.json"], "cannot be written"),
        (["--plot", "/"], "cannot be written"),
    ],
)
def test_command_refuses_bad_arguments(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["bench", "tcp", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("moorings bench tcp: ")
    assert output.err.count("\n") == 1
    assert complaint in output.err


def test_a_file_that_may_not_be_written_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("moorings.cli.bench.os.access", lambda _path, _mode: False)  # root may everything
    assert app.main(["bench", "tcp", "--json", str(tmp_path / "x.json")]) == 2
    assert "cannot be written: you may not" in capsys.readouterr().err


def test_a_server_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(SERVERS, "c", SERVERS["trio"].__class__("c", "odd", "no such kind", "asyncio"))
    contest = replace(tcp.TCP, peers=("c",), libraries=("no such kind",))
    monkeypatch.setitem(bench.CONTESTS, "tcp", contest)
    monkeypatch.setattr(tcp, "TCP", contest)
    assert app.main(["bench", "tcp", "--only", "batch", "--pairs", "1"]) == 1
    assert "gave no answer" in capfd.readouterr().err.splitlines()[-1]
