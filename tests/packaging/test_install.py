"""``pip install .`` in fresh environments: with compiler and headers, without headers, without compiler.

The sources that are installed come out of the source distribution, so that a file missing there shows here. The three
environments are made two at a time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.install, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
COMPILERS = {"cc", "gcc", "clang", Path((sysconfig.get_config_var("CC") or "cc").split()[0]).name}
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*.so", "_build_record.json")
REPORT = """
import importlib, importlib.metadata, json, sys
sys.modules["cython"] = sys.modules["Cython"] = None
import moorings
from moorings._hot_modules import HOT_MODULES
from moorings._native_switch import native_mode
wheel = importlib.metadata.distribution("moorings").read_text("WHEEL")
forms = {}
for name in HOT_MODULES:
    try:
        forms[name] = importlib.import_module(name).__file__.rpartition(".")[2]
    except ModuleNotFoundError as error:
        assert error.name == name, error
print(json.dumps({"mode": native_mode(), "forms": forms, "tag": wheel.partition("Tag: ")[2].split()[0]}))
"""
NO_HEADERS = """#!/bin/sh
# The real compiler, on a machine where no directory with Python.h can be found.
for argument do
    shift
    case $argument in -I*python*) ;; *) set -- "$@" "$argument" ;; esac
done
exec {compiler} "$@"
"""


@dataclass
class Environment:
    """A fresh virtual environment, a copy of the sources, and the variables that pip runs with."""

    directory: Path
    variables: dict[str, str]

    @property
    def python(self) -> str:
        return str(self.directory / "venv" / "bin" / "python")

    @property
    def packages(self) -> Path:
        return next((self.directory / "venv" / "lib").glob("python3*")) / "site-packages"

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.directory / "source",
            env=self.variables | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def install(self, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.python, "-m", "pip", "install", *options, ".", **variables)

    def report(self, **variables: str) -> dict[str, Any]:
        result = self.run(self.python, "-P", "-c", REPORT, **variables)
        assert result.returncode == 0, result.stdout
        return json.loads(result.stdout)


@dataclass
class Outcome:
    environment: Environment
    installed: subprocess.CompletedProcess[str]
    refused: subprocess.CompletedProcess[str] | None = None
    without_cython: subprocess.CompletedProcess[str] | None = None


def last_own_line(output: str) -> str:
    return [line.strip() for line in output.splitlines() if line.strip().startswith("moorings:")][-1]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    directory = tmp_path_factory.mktemp("sdist")
    tree = directory / "tree"
    shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
    command = "from setuptools import build_meta; build_meta.build_sdist('..')"
    subprocess.run([sys.executable, "-c", command], cwd=tree, capture_output=True, check=True)
    with tarfile.open(next(directory.glob("*.tar.gz"))) as archive:
        # (Python 3.11 has filters from 3.11.4 on; the archive is our own.)
        archive.extractall(directory, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return next(directory.glob("moorings-*/"))


def make_environment(directory: Path, sources: Path, path: str) -> Environment:
    kept = {name: value for name, value in os.environ.items() if name not in {"CC", "CFLAGS", "PYTHONPATH"}}
    kept.pop("MOORINGS_NATIVE", None)
    shutil.copytree(sources, directory / "source")
    subprocess.run([sys.executable, "-m", "venv", str(directory / "venv")], check=True)
    return Environment(directory, kept | {"PATH": path})


def with_compiler(directory: Path, sources: Path) -> Outcome:
    environment = make_environment(directory, sources, os.environ["PATH"])
    return Outcome(environment, environment.install(MOORINGS_NATIVE="require"))


def without_headers(directory: Path, sources: Path) -> Outcome:
    compiler = shutil.which("gcc") or shutil.which("cc")
    tools = directory / "tools"
    tools.mkdir()
    for name in COMPILERS:
        (tools / name).write_text(NO_HEADERS.format(compiler=compiler))
        (tools / name).chmod(0o755)
    environment = make_environment(directory, sources, f"{tools}:{os.environ['PATH']}")
    refused = environment.install(MOORINGS_NATIVE="require")
    return Outcome(environment, environment.install(), refused)


def without_compiler(directory: Path, sources: Path) -> Outcome:
    (directory / "tools").mkdir()
    environment = make_environment(directory, sources, str(directory / "tools"))
    refused = environment.install(MOORINGS_NATIVE="require")
    installed = environment.install()
    environment.run(environment.python, "-m", "pip", "install", "setuptools>=77")
    options = ("--no-build-isolation", "--no-deps", "--force-reinstall", "--verbose")
    return Outcome(environment, installed, refused, environment.install(*options, PATH=os.environ["PATH"]))


@pytest.fixture(scope="module")
def outcomes(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    makers: list[Callable[[Path, Path], Outcome]] = [without_compiler]
    if shutil.which("gcc") or shutil.which("cc"):
        makers.insert(0, without_headers)
        if Path(sysconfig.get_path("include"), "Python.h").exists():
            makers.insert(0, with_compiler)
    names = [maker.__name__ for maker in makers]
    with ThreadPoolExecutor(2) as threads:
        results = threads.map(lambda make: make(tmp_path_factory.mktemp(make.__name__), sources), makers)
        return dict(zip(names, results, strict=True))


def test_with_compiler_and_headers(outcomes: dict[str, Outcome]) -> None:
    if "with_compiler" not in outcomes:
        pytest.skip("this machine has no C compiler or no Python.h")
    outcome = outcomes["with_compiler"]
    assert outcome.installed.returncode == 0, outcome.installed.stdout
    report = outcome.environment.report()
    assert report["mode"] == [True, "compiled"]
    assert set(report["forms"].values()) == {"so"}
    assert report["tag"].startswith(f"cp3{sys.version_info.minor}-")
    assert outcome.environment.report(MOORINGS_NATIVE="require") == report


def test_compiled_installation_runs_pure_on_request(outcomes: dict[str, Outcome]) -> None:
    if "with_compiler" not in outcomes:
        pytest.skip("this machine has no C compiler or no Python.h")
    report = outcomes["with_compiler"].environment.report(MOORINGS_NATIVE="off")
    assert report["mode"] == [False, "pure: MOORINGS_NATIVE=off at run time"]
    assert set(report["forms"].values()) == {"py"}
    assert "moorings._native" not in report["forms"]


@pytest.mark.parametrize(
    ("name", "missing"), [("without_headers", "Python.h is missing"), ("without_compiler", "C compiler is missing")]
)
def test_pure_where_a_tool_is_missing(outcomes: dict[str, Outcome], name: str, missing: str) -> None:
    if name not in outcomes:
        pytest.skip("this machine has no C compiler")
    outcome = outcomes[name]
    assert outcome.refused is not None
    assert outcome.refused.returncode != 0
    assert missing in last_own_line(outcome.refused.stdout)
    assert "MOORINGS_NATIVE=require" in last_own_line(outcome.refused.stdout)
    assert outcome.installed.returncode == 0, outcome.installed.stdout
    report = outcome.environment.report()
    assert not report["mode"][0]
    if name == "without_headers":
        assert missing in report["mode"][1]
    assert set(report["forms"].values()) == {"py"}
    assert report["tag"].startswith("py3-none-linux")
    required = outcome.environment.run(outcome.environment.python, "-c", "import moorings", MOORINGS_NATIVE="require")
    assert required.returncode != 0
    assert "apt install gcc" in required.stdout


def test_pure_without_cython_and_build_isolation(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["without_compiler"]
    assert outcome.without_cython is not None
    assert outcome.without_cython.returncode == 0, outcome.without_cython.stdout
    assert "Cython is missing" in last_own_line(outcome.without_cython.stdout)
    assert "Cython is missing" in outcome.environment.report()["mode"][1]


def test_what_is_installed(outcomes: dict[str, Outcome]) -> None:
    environment = outcomes["without_compiler"].environment
    assert (environment.packages / "moorings" / "py.typed").exists()
    kinds = {path.suffix for path in (environment.packages / "moorings").rglob("*") if path.is_file()}
    assert kinds <= {".c", ".py", ".pyc", ".pyi", ".json", ".typed"}
    own = {path.parent.relative_to(environment.packages) for path in (environment.packages / "moorings").rglob("*.c")}
    assert own == {Path("moorings/benchmarks/c")}, "sources of the hot modules are not installed"
    assert not any(kind.endswith(tuple(EXTENSION_SUFFIXES)) for kind in kinds)
    own = {path.relative_to(environment.packages) for path in (environment.packages / "moorings").rglob("*.py")}
    written = {path.relative_to(ROOT / "src") for path in (ROOT / "src" / "moorings").rglob("*.py")}
    assert own == written


@pytest.mark.parametrize("name", ["with_compiler", "without_headers", "without_compiler"])
def test_the_command_is_installed(outcomes: dict[str, Outcome], name: str) -> None:
    if name not in outcomes:
        pytest.skip("this machine has no C compiler or no Python.h")
    environment = outcomes[name].environment
    result = environment.run(str(environment.directory / "venv" / "bin" / "moorings"), "doctor", "--json")
    assert result.returncode == 0, result.stdout
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["hot modules"]["state"] == ("ok" if name == "with_compiler" else "missing")
    assert checks["event loop"]["state"] == "missing"
    assert checks["event loop"]["install"] == "pip install 'moorings[uvloop]'"
