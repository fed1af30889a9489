"""The doctor tells what it found, what to do about it, and whether the library works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import moorings
from moorings.cli import app, doctor
from moorings.cli.checks.model import Check, Finding, State, broken, missing, off, ok
from moorings.cli.checks.table import CHECKS

PATIENCE = 50.0


def made_of(monkeypatch: pytest.MonkeyPatch, *checks: Check) -> None:
    monkeypatch.setattr(doctor, "CHECKS", checks)


def check(name: str, finding: Finding, *, core: bool = False, used: bool = True) -> Check:
    return Check(name, f"the purpose of {name}", lambda _machine: finding, core=core, used=used)


def test_real_run() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(moorings.__file__).parents[1])}
    environment["https_proxy"] = "http://me:secret@proxy.example:3128"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "moorings", "doctor"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for one in CHECKS:
        assert f"\n{one.name} " in done.stdout
    assert "https_proxy is http://proxy.example:3128 (with credentials)" in done.stdout
    assert "secret" not in done.stdout


def test_real_run_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["moorings"]) == (True, moorings.__version__)
    assert [one["name"] for one in found["checks"]] == [one.name for one in CHECKS]
    assert {one["state"] for one in found["checks"]} <= {state.value for state in State}
    modules = next(one for one in found["checks"] if one["name"] == "hot modules")
    assert (modules["state"] == "ok") == moorings.native_mode()[0]
    assert moorings.native_mode()[1] in modules["found"]


def test_what_it_shows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made_of(
        monkeypatch,
        check("Python", ok("3.11"), core=True),
        check("loop", missing("none", "pip install x")),
        check("radio", off("asleep", "systemctl start radio"), used=False),
    )
    assert app.main(["doctor"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.splitlines() == [
        f"moorings {moorings.__version__}",
        "",
        "check   state    found",
        "Python  ok       3.11",
        "loop    missing  none",
        "radio   off      asleep",
        "",
        "to have  do this                it is for",
        "loop     pip install x          the purpose of loop",
        "radio    systemctl start radio  the purpose of radio (not used yet)",
    ]


def test_nothing_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made_of(monkeypatch, check("Python", ok("3.11"), core=True), check("proxy", off("no proxy is set", "")))
    assert app.main(["doctor"]) == 0
    assert "do this" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "finding", [broken("no echo", "ip link set lo up"), Finding(State.UNKNOWN, "no answer in time")]
)
@pytest.mark.parametrize("option", [[], ["--json"]], ids=str)
def test_what_the_library_needs_is_broken(
    finding: Finding, option: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made_of(monkeypatch, check("TCP", finding, core=True), check("Python", ok("3.11"), core=True))
    assert app.main(["doctor", *option]) == 1
    output = capsys.readouterr()
    assert output.err == "moorings: what the library needs does not work: TCP\n"
    assert finding.found in output.out
    if option:
        assert json.loads(output.out)["ok"] is False


def test_what_is_not_needed_may_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    made_of(monkeypatch, check("ss", Finding(State.UNKNOWN, "the check failed")), check("IPv6", missing("none", "x")))
    assert app.main(["doctor"]) == 0


def test_states_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["doctor", "--help"]) == 0
    text = capsys.readouterr().out
    for state in State:
        assert f"    {state.value} " in text
        assert doctor.STYLES[state.value]
