"""The benchmarks run and tell figures that can be true. How big the figures are is no test's business."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from moorings.benchmarks import echo, fairness, instructions, memory, syscalls
from moorings.benchmarks.figures import Progress
from moorings.benchmarks.processes import SERVERS, BenchmarkError, LoadGenerator, Server, ServerKind, Workshop

if TYPE_CHECKING:
    from pathlib import Path

QUIET = Progress(quiet=True)


@pytest.mark.parametrize("name", ["moorings-asyncio", "face-uvloop", "callbacks-uvloop", "streams-asyncio-malloc"])
def test_servers_echo(workshop: Workshop, name: str) -> None:
    with Server(workshop, SERVERS[name]) as server, LoadGenerator(workshop, server, 64) as load:
        load.open(3)
        sample = load.run(10.0, 30)
        assert sample.messages == 30
        assert sample.server > 0
        assert 0 < sample.p50 <= sample.p99 <= sample.wall
        assert server.memory()["Peak"] >= server.memory()["Rss"] > 0


def test_pure_server_is_pure(workshop: Workshop) -> None:
    with Server(workshop, SERVERS["pure-asyncio"]) as server:
        assert server.mode.startswith("pure")


def test_generators_count_and_stop(generator: Workshop) -> None:
    with Server(generator, SERVERS["callbacks-uvloop"]) as server, LoadGenerator(generator, server, 1000) as load:
        load.open(2)
        assert load.run(10.0, 1).messages == 1
        load.open(5)
        assert load.run(10.0, 17).messages == 17
        sample = load.run(0.05, 10_000_000)
        assert sample.messages >= 5
        assert 0.05 <= sample.wall < 10.0


def test_generator_tells_when_the_server_goes(generator: Workshop, capfd: pytest.CaptureFixture[str]) -> None:
    with Server(generator, SERVERS["callbacks-uvloop"]) as server, LoadGenerator(generator, server, 64) as load:
        load.open(1)
        server.process.terminate()
        server.process.wait(10)
        with pytest.raises(BenchmarkError):
            load.run(0.1, 10)
    assert capfd.readouterr().err


def test_c_server_echoes(workshop: Workshop) -> None:
    if not workshop.has_c:
        pytest.skip("no C compiler")
    with Server(workshop, SERVERS["c"]) as server, LoadGenerator(workshop, server, 64) as load:
        load.open(50)
        assert load.run(10.0, 500).messages == 500


def test_server_that_fails_is_told(workshop: Workshop, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BenchmarkError, match="gave no answer"):
        Server(workshop, ServerKind("odd", "odd", "no such kind", "asyncio"))
    assert "KeyError" in capfd.readouterr().err


def test_echo_writes_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "echo.json"
    arguments = ["--pairs", "1", "--seconds", "0.02", "--connections", "1", "--no-instructions", "--json", str(target)]
    assert echo.main([*arguments, "--only", "pure-asyncio / streams-asyncio"]) == 0
    output = capsys.readouterr().out
    assert re.search(r"moorings on asyncio, pure / asyncio streams +1 +\d+\.\d\d \[", output)
    results = json.loads(target.read_text())
    assert [entry["peer"] for entry in results["ratios"]] == ["streams-asyncio", "streams-asyncio-malloc"]
    assert all(entry["median"] > 0 for entry in results["ratios"])
    assert {entry["server"] for entry in results["servers"]} == {
        "pure-asyncio",
        "streams-asyncio",
        "streams-asyncio-malloc",
    }


def test_pairs_of_servers_that_were_not_busy_are_void() -> None:
    class Idle(echo.Bench):
        def _some_pairs(self, result: echo.Result, number: int) -> int:
            result.void += number
            return number

    bench = Idle(None, echo.Effort(3, 0.1), QUIET)  # type: ignore[arg-type]
    result = bench.compare(echo.COMPARISONS[0], 50)
    assert (result.ratios, result.void, result.spread()) == ([], 9, None)
    assert "void" in echo.ratio_table([result])


@pytest.mark.parametrize("arguments", [["--pairs", "-1"], ["--seconds", "0.001"], ["--connections", "5000"]])
def test_echo_refuses_bad_arguments(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        echo.main(arguments)
    assert caught.value.code == 2


def test_echo_lists_comparisons(capsys: pytest.CaptureFixture[str]) -> None:
    assert echo.main(["--list"]) == 0
    assert "moorings-uvloop / callbacks-uvloop" in capsys.readouterr().out.splitlines()
    assert echo.main(["--only", "no such thing"]) == 2


def test_memory_measures_growth(workshop: Workshop) -> None:
    growth, mode = memory.measure(workshop, SERVERS["moorings-asyncio"], 300, QUIET)
    assert growth.rss > 0
    assert mode


def test_memory_takes_fewer_connections_where_the_limit_stands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "raise_descriptor_limit", lambda wanted: min(wanted, 1000))
    assert memory.fit(500) == 500
    assert memory.fit(5000) == 1000 - memory.WARM_UP - memory.SPARE_DESCRIPTORS
    assert "descriptors" in capsys.readouterr().out
    monkeypatch.setattr(memory, "raise_descriptor_limit", lambda _wanted: 100)
    with pytest.raises(BenchmarkError):
        memory.fit(500)


@pytest.mark.parametrize("flood", fairness.FLOODS)
def test_fairness_measures_a_flood(flood: str) -> None:
    figures = fairness.measure(SERVERS["moorings-asyncio"], flood, 0.1)
    assert figures["beats"] >= 1
    assert 0 <= figures["p50"] <= figures["p99"] <= figures["max"]
    assert figures["timeout"] >= fairness.TIMEOUT


@pytest.mark.parametrize(("form", "most"), [("await", 100), ("gather", 3), ("flush", 3)])
def test_send_calls_of_the_batching_forms(form: str, most: int) -> None:
    assert 1 <= syscalls.count(SERVERS["moorings-asyncio"], form, None) <= most


def test_sends_are_counted_in_a_trace() -> None:
    trace = """\
12 sendto(7, "wwwwwwww"..., 100, MSG_NOSIGNAL, NULL, 0) = 100
12 sendmsg(7, {msg_name=NULL, msg_iov=[{iov_base="wwwwwwww"..., iov_len=100}], msg_flags=0}, MSG_NOSIGNAL) = 9900
12 sendto(7, "wwwwwwww"..., 100, MSG_NOSIGNAL, NULL, 0) = -1 EAGAIN (Resource temporarily unavailable)
12 write(1, "2\\n", 2) = 2
"""
    assert syscalls.sends_in(trace) == 2


def test_totals_of_a_callgrind_report(tmp_path: Path) -> None:
    report = tmp_path / "callgrind.out"
    with pytest.raises(BenchmarkError):
        instructions.total(report)
    report.write_text("events: Ir\nfn=(1) main\n1 10\ntotals: 4711\n")
    assert instructions.total(report) == 4711
