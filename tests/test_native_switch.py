"""The choice between compiled and pure modules, for each state of an installation."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES, SourceFileLoader
from pathlib import Path

import pytest

import moorings
from moorings._hot_modules import HOT_MODULES
from moorings._native_switch import BUILD_RECORD, PureFinder, choose, native_mode

MODULES = ("moorings.engine.fast", "moorings._leaf", "moorings.not_written_yet")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An installation with two hot modules, nothing compiled."""
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "fast.py").write_text("FORM = 'pure'\n")
    (tmp_path / "_leaf.pyx").touch()
    return tmp_path


def compile_module(package: Path, stem: str) -> None:
    (package / f"{stem}{EXTENSION_SUFFIXES[0]}").touch()


def test_compiled_when_all_are_compiled(package: Path) -> None:
    compile_module(package, "engine/fast")
    compile_module(package, "_leaf")
    for wanted in ("auto", "require"):
        choice = choose(wanted, package, MODULES)
        assert (choice.native, choice.reason, choice.hide_compiled) == (True, "compiled", False)


def test_off_hides_what_is_compiled(package: Path) -> None:
    compile_module(package, "engine/fast")
    compile_module(package, "_leaf")
    choice = choose("off", package, MODULES)
    assert (choice.native, choice.hide_compiled) == (False, True)
    assert choice.reason == "pure: MOORINGS_NATIVE=off at run time"


def test_half_compiled_is_pure(package: Path) -> None:
    compile_module(package, "engine/fast")
    choice = choose("auto", package, MODULES)
    assert (choice.native, choice.hide_compiled) == (False, True)
    assert "moorings._leaf is missing" in choice.reason


def test_pure_installation_tells_why(package: Path) -> None:
    assert "never built" in choose("auto", package, MODULES).reason
    (package / BUILD_RECORD).write_text(json.dumps({"reason": "no compiler here"}))
    choice = choose("auto", package, MODULES)
    assert choice.reason == "pure: no compiled modules in this installation (no compiler here)"
    assert not choice.hide_compiled


@pytest.mark.parametrize("compiled", [(), ("engine/fast",)])
def test_require_names_module_and_cure(package: Path, compiled: tuple[str, ...]) -> None:
    for stem in compiled:
        compile_module(package, stem)
    with pytest.raises(ImportError, match=r"1 hot modules|2 hot modules") as caught:
        choose("require", package, MODULES)
    assert caught.value.name == ("moorings._leaf" if compiled else "moorings.engine.fast")
    assert "apt install gcc" in str(caught.value)


def test_unknown_value(package: Path) -> None:
    with pytest.raises(ImportError, match="MOORINGS_NATIVE='yes' is not known"):
        choose("yes", package, MODULES)


def test_finder_takes_the_source(package: Path) -> None:
    compile_module(package, "engine/fast")
    spec = PureFinder(MODULES).find_spec("moorings.engine.fast", [str(package / "engine")])
    assert spec is not None
    assert isinstance(spec.loader, SourceFileLoader)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.FORM == "pure"


def test_finder_leaves_other_modules_alone(package: Path) -> None:
    assert PureFinder(MODULES).find_spec("moorings.engine.other", [str(package / "engine")]) is None


def test_finder_refuses_what_exists_only_compiled(package: Path) -> None:
    compile_module(package, "_leaf")
    with pytest.raises(ModuleNotFoundError, match="exists only compiled"):
        PureFinder(MODULES).find_spec("moorings._leaf", [str(package)])


LOADED = """
import importlib, sys
sys.modules["cython"] = sys.modules["Cython"] = None
import moorings
from moorings._native_switch import native_mode
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    assert module.__file__.endswith(".so") is native_mode()[0], module.__file__
print(native_mode())
"""


@pytest.mark.parametrize("wanted", ["as here", "off"])
def test_hot_modules_load_without_cython(wanted: str) -> None:
    package = Path(moorings.__file__).parent
    existing = [name for name in HOT_MODULES if package.joinpath(*name.split(".")[1:]).with_suffix(".py").exists()]
    environment = os.environ | ({"MOORINGS_NATIVE": "off"} if wanted == "off" else {})
    result = subprocess.run(
        [sys.executable, "-c", LOADED, *existing], env=environment, capture_output=True, text=True, check=True
    )
    expected = native_mode() if wanted == "as here" else (False, "pure: MOORINGS_NATIVE=off at run time")
    assert result.stdout.strip() == str(expected)
