"""Tells whether the suite runs compiled or pure, and never runs compiled modules that are older than their sources."""

from __future__ import annotations

import os
import runpy
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
HOT_MODULES: tuple[str, ...] = runpy.run_path(str(SOURCE / "moorings" / "_hot_modules.py"))["HOT_MODULES"]
VARIABLE = "MOORINGS_NATIVE"


def stale_module(source: Path, modules: tuple[str, ...]) -> str | None:
    """The first hot module whose compiled form under ``source`` is older than its sources."""
    for name in modules:
        stem = str(source.joinpath(*name.split(".")))
        built = [path for suffix in EXTENSION_SUFFIXES if (path := Path(stem + suffix)).exists()]
        written = [path for suffix in (".py", ".pyx", ".pxd") if (path := Path(stem + suffix)).exists()]
        if built and written and built[0].stat().st_mtime < max(path.stat().st_mtime for path in written):
            return name
    return None


def pytest_configure(config: pytest.Config) -> None:
    stale = stale_module(SOURCE, HOT_MODULES)
    if stale is None or os.environ.get(VARIABLE) == "off":
        return
    if os.environ.get(VARIABLE) == "require":
        pytest.exit(f"{VARIABLE}=require, but {stale} is older than its source; run `make native`", returncode=4)
    os.environ[VARIABLE] = "off"


def pytest_report_header() -> str:
    from moorings._native_switch import native_mode

    return f"moorings: {native_mode()[1]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(pytest_report_header())
