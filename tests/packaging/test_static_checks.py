"""The type checkers and linters as tests, so that one summary tells about everything (``make check``)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKS = {
    "mypy": ["-m", "mypy"],
    "pyright": ["-m", "pyright", "--project", "pyproject.toml", "--pythonpath", sys.executable],
    "ruff-check": ["-m", "ruff", "check"],
    "ruff-format": ["-m", "ruff", "format", "--check"],
    "import-linter": ["-c", "from importlinter.cli import lint_imports_command as run; run()"],
}


@pytest.mark.static
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CHECKS)
def test_static_check(name: str) -> None:
    command = [sys.executable, *CHECKS[name]]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        pytest.fail(result.stdout, pytrace=False)
