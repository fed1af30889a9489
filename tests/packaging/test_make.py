"""What ``make`` says where a tool is missing: one line, which names the package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make_environment(tmp_path: Path, python: str) -> str:
    result = subprocess.run(
        ["make", f"PYTHON={python}", f"VENV={tmp_path}/venv", f"{tmp_path}/venv/bin/python"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert not (tmp_path / "venv").exists()
    lines = [line for line in (result.stdout + result.stderr).splitlines() if not line.startswith("make")]
    assert len(lines) == 1
    return lines[0]


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_no_python(tmp_path: Path) -> None:
    assert "apt install python3)" in make_environment(tmp_path, "no-such-python")


def test_old_python(tmp_path: Path) -> None:
    python = script(tmp_path, 'case "$1" in -V) echo Python 3.9.2 ;; *) exit 1 ;; esac')
    assert make_environment(tmp_path, python) == f"moorings: Python 3.11 or newer is needed, {python} is Python 3.9.2"


def test_no_venv_module(tmp_path: Path) -> None:
    (tmp_path / "ensurepip.py").write_text("raise ImportError\n")
    python = script(tmp_path, f'PYTHONPATH={tmp_path} exec {sys.executable} "$@"')
    assert "apt install python3-venv)" in make_environment(tmp_path, python)
