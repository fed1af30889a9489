"""What the build decides without building."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = """
import runpy, sys, setuptools.command.bdist_wheel, setuptools.command.build_ext
sys.platform = sys.argv[1]
setuptools.setup = lambda **settings: print(*settings["packages"], *(e.name for e in settings["ext_modules"]))
runpy.run_path("setup.py")
"""


def names(platform: str) -> list[str]:
    command = [sys.executable, "-c", PACKAGES, platform]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_packages_for_linux() -> None:
    found = names("linux")
    assert "moorings.foundation" in found
    assert "moorings.foundation.operation" in found
    assert ("winrt" in found) is (ROOT / "src" / "winrt").exists()


def test_packages_for_windows_leave_winrt_to_pywinrt() -> None:
    found = names("win32")
    assert "moorings.foundation" in found
    assert "moorings.foundation.operation" not in found
    assert not [name for name in found if name.startswith("winrt")]


def test_unknown_request(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(tmp_path)],
        cwd=ROOT,
        env={"MOORINGS_NATIVE": "yes"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert (
        result.stderr.splitlines()[-1] == "moorings: MOORINGS_NATIVE='yes' is not known; set it to auto, off or require"
    )


def test_each_hot_python_module_has_its_pxd() -> None:
    from moorings._hot_modules import HOT_MODULES

    for name in HOT_MODULES:
        stem = ROOT.joinpath("src", *name.split("."))
        if stem.with_suffix(".py").exists():
            assert stem.with_suffix(".pxd").exists(), name


@pytest.mark.parametrize("kind", ["pxd", "pyx"])
def test_each_compiled_source_is_listed(kind: str) -> None:
    from moorings._hot_modules import HOT_MODULES

    found = (ROOT / "src").rglob(f"*.{kind}")
    assert {".".join(path.relative_to(ROOT / "src").with_suffix("").parts) for path in found} <= set(HOT_MODULES)
