"""The façade against the surface of PyWinRT 4: every module, type, member, number of arguments, value and alias."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import Any

import pytest

from tools import check_surface, generate_facade

MODULES = list(generate_facade.load_surface())


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_wrong_and_what_is_missing_is_listed(module: str) -> None:
    excused = set(check_surface.read_not_yet())
    found = check_surface.findings(module)
    assert [str(finding) for finding in found if finding.wrong or finding.path not in excused] == []


def test_not_yet_list_is_not_stale() -> None:
    missing = {
        finding.path for findings in check_surface.all_findings().values() for finding in findings if not finding.wrong
    }
    listed = check_surface.read_not_yet()
    assert [path for path in listed if path not in missing] == []
    assert len(listed) == len(set(listed))


def test_facade_is_fresh() -> None:
    result = subprocess.run(
        [sys.executable, generate_facade.ROOT / "tools" / "generate_facade.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


@pytest.mark.parametrize("module", MODULES)
def test_star_import_gives_the_listed_names(module: str) -> None:
    package = importlib.import_module(module)
    assert package.__all__ == sorted(package.__all__)
    assert all(getattr(package, name) is not None for name in package.__all__)


def test_winrt_and_the_levels_without_types_are_namespace_packages() -> None:
    for name in ("winrt", "winrt.windows", "winrt.windows.security", "winrt.windows.storage"):
        assert importlib.import_module(name).__file__ is None


def test_facade_is_cheap_to_import() -> None:
    """What a program pays that imports all façades must not include parsers, codecs and the like it may never need."""
    heavy = ["dns", "ssl", "http", "email", "unittest", "sqlite3", "multiprocessing"]
    code = f"import json, sys\nfor name in {MODULES!r}: __import__(name)\n"
    code += f"print(json.dumps([name for name in {heavy!r} if name in sys.modules]))"
    bare = "import json, sys, asyncio\n" + code.splitlines()[-1]

    def loaded(source: str) -> Any:
        result = subprocess.run(
            [sys.executable, "-c", source],
            env={"PYTHONPATH": str(generate_facade.SOURCE)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return json.loads(result.stdout)

    # asyncio itself brings some of them along.
    assert set(loaded(code)) <= set(loaded(bare))
