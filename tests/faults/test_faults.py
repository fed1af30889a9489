"""Runs the cases of failing system calls: by the plan of pure mode, and by a library in LD_PRELOAD, compiled here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.shim import shim_environment

ROOT = Path(__file__).parents[2]
CASES = ("tests/faults/cases.py", "tests/faults/datagram_cases.py")


def run_cases(variables: dict[str, str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *CASES]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if result.returncode != 0:
        pytest.fail(result.stdout, pytrace=False)


def test_cases_in_pure_mode_by_plan() -> None:
    run_cases({"MOORINGS_NATIVE": "off"})


def test_cases_in_this_mode_by_a_preloaded_library(tmp_path: Path) -> None:
    try:
        variables = shim_environment(tmp_path)
    except FileNotFoundError:
        pytest.skip("there is no gcc")
    run_cases(dict(variables))
