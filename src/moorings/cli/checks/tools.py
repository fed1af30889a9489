"""Programs for benchmarks, tests and for looking closer."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from moorings.cli.checks.model import Finding, missing, ok

if TYPE_CHECKING:
    from collections.abc import Callable

    from moorings.cli.checks.machine import Machine


def program(name: str, package: str) -> Callable[[Machine], Finding]:
    """A check for one program."""

    def probe(machine: Machine) -> Finding:
        path = machine.find_program(name)
        return missing("not found", f"apt install {package}") if path is None else ok(path)

    return probe


#: What a browser that runs without a window may be called.
BROWSERS = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome", "google-chrome-stable")


def browser(machine: Machine) -> Finding:
    """A browser that can run without a window."""
    path = next((found for name in BROWSERS if (found := machine.find_program(name))), None)
    return missing("not found", "apt install chromium-headless-shell") if path is None else ok(path)


def compiler(machine: Machine) -> Finding:
    """A C compiler, and the headers of Python."""
    path = next((found for name in ("cc", "gcc", "clang") if (found := machine.find_program(name))), None)
    if path is None:
        return missing("no C compiler", "apt install gcc libc6-dev python3-dev")
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not (machine.root / header.relative_to("/")).exists():
        return missing(f"{path}, but no Python.h", "apt install python3-dev")
    return ok(f"{path}, and Python.h")
