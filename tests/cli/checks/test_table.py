"""Every check is bounded, and none takes the others down."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from moorings.cli.checks import table
from moorings.cli.checks.machine import Machine
from moorings.cli.checks.model import Check, Finding, State, ok

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_checks_are_complete_and_named_once() -> None:
    names = [check.name for check in table.CHECKS]
    assert len(names) == len(set(names))
    assert all(check.purpose for check in table.CHECKS)
    assert {check.name for check in table.CHECKS if check.core} == {"Python", "TCP"}


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """What a probe waits for, until the test has ended."""
    released = threading.Event()
    yield released
    released.set()


def test_one_that_fails_and_one_that_hangs(monkeypatch: pytest.MonkeyPatch, hanging: threading.Event) -> None:
    def fails(_machine: Machine) -> Finding:
        raise FileNotFoundError(2, "No such file or directory", "/proc/x")

    def hangs(_machine: Machine) -> Finding:
        hanging.wait()
        return ok("too late")

    monkeypatch.setattr(table, "DEADLINE", 0.2)
    checks = [
        Check("hangs", "x", hangs),
        Check("fails", "x", fails),
        Check("works", "x", lambda _machine: ok("fine")),
    ]
    assert [finding for _, finding in table.run_checks(checks, Machine())] == [
        Finding(State.UNKNOWN, "no answer in time"),
        Finding(
            State.UNKNOWN,
            "the check failed: FileNotFoundError: /proc/x: No such file or directory",
        ),
        ok("fine"),
    ]


def test_all_on_this_machine() -> None:
    findings = dict(table.run_checks(table.CHECKS, Machine()))
    assert len(findings) == len(table.CHECKS)
    for check, finding in findings.items():
        assert finding.found, check.name
        assert "the check failed" not in finding.found, check.name
        if check.core:
            assert finding.state is State.OK
        if finding.state in {State.MISSING, State.BROKEN}:
            assert finding.install, check.name
