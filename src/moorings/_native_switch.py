"""Chooses, once per process, between the compiled and the pure form of the hot modules.

An installation may hold both forms of a module side by side, for example ``poller.py`` and
``poller.cpython-311-x86_64-linux-gnu.so``. Python prefers the compiled one. The environment variable
``MOORINGS_NATIVE``, read when ``moorings`` is first imported, changes that:

``auto`` (default)
    Compiled if every hot module is compiled, else pure.
``off``
    Pure, whatever is installed.
``require``
    Compiled, or ``import moorings`` raises :exc:`ImportError` with the cure.

It is all or nothing. Compiled modules reach into each other's fields and cannot do that with a pure one, so a half
compiled set is treated as pure. Pure mode with compiled files present is one finder at the head of ``sys.meta_path``
that knows the hot modules only and loads their ``.py`` source.

This module imports the standard library only and is the first import of ``moorings/__init__.py``.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING

from moorings._hot_modules import HOT_MODULES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

__all__ = ["native_mode"]

VARIABLE = "MOORINGS_NATIVE"
BUILD_RECORD = "_build_record.json"
"""Written by ``setup.py`` into the package: whether it compiled, and if not, why."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What this process does with the hot modules."""

    native: bool
    reason: str
    hide_compiled: bool
    """Compiled files are present and must not be loaded."""


def choose(wanted: str, package: Path, modules: Sequence[str]) -> Choice:
    """Decide for the installation in the directory ``package``; ``wanted`` is the value of the variable.

    Raises ImportError for an unknown value, and for ``require`` where a module is not compiled.
    """
    if wanted not in {"auto", "off", "require"}:
        msg = f"{VARIABLE}={wanted!r} is not known; set it to auto, off or require"
        raise ImportError(msg)
    present = [name for name in modules if _exists(package, name, EXTENSION_SUFFIXES)]
    missing = [name for name in modules if name not in present and _exists(package, name, [*SOURCE_SUFFIXES, ".pyx"])]
    if wanted == "off":
        return Choice(native=False, reason=f"pure: {VARIABLE}=off at run time", hide_compiled=bool(present))
    if present and not missing:
        return Choice(native=True, reason="compiled", hide_compiled=False)
    if present:
        reason = f"pure: the compiled set is incomplete, {missing[0]} is missing; install again"
    else:
        reason = f"pure: no compiled modules in this installation ({_build_reason(package)})"
    if wanted == "require" and missing:
        msg = (
            f"{VARIABLE}=require, but {len(missing)} hot modules are not compiled, {missing[0]} for one "
            f"({_build_reason(package)}). Install what is missing (Debian: apt install gcc libc6-dev python3-dev), "
            f"then install moorings again"
        )
        raise ImportError(msg, name=missing[0])
    return Choice(native=False, reason=reason, hide_compiled=bool(present))


def _exists(package: Path, module: str, suffixes: Sequence[str]) -> bool:
    stem = package.joinpath(*module.split(".")[1:])
    return any(Path(f"{stem}{suffix}").exists() for suffix in suffixes)


def _build_reason(package: Path) -> str:
    try:
        record = json.loads(package.joinpath(BUILD_RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "a source tree that was never built"
    return str(record["reason"])


class PureFinder:
    """Finds the hot modules as ``.py`` source, passing over compiled files; leaves all other modules alone."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = frozenset(modules)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._modules:
            return None
        for entry in path or ():
            spec = FileFinder(entry, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(fullname)
            if spec is not None:
                return spec
        msg = f"{fullname} exists only compiled, and this process runs the pure modules"
        raise ModuleNotFoundError(msg, name=fullname)


def native_mode() -> tuple[bool, str]:
    """Whether this process runs the compiled modules, and why: ``(True, "compiled")``, ``(False, "pure: ...")``."""
    return _choice.native, _choice.reason


_choice = choose(os.environ.get(VARIABLE) or "auto", Path(__file__).parent, HOT_MODULES)
if _choice.hide_compiled:
    sys.meta_path.insert(0, PureFinder(HOT_MODULES))
