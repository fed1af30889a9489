"""Builds the hot modules from the very same sources, where that is possible.

``MOORINGS_NATIVE`` chooses: ``auto`` (default) compiles when Cython, a C compiler and ``Python.h`` are there and builds
a pure package otherwise; ``require`` fails instead; ``off`` never compiles. All hot modules are compiled, or none.
"""

from __future__ import annotations

import json
import os
import platform
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, find_namespace_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError

SOURCE = Path("src")
HOT_MODULES: tuple[str, ...] = runpy.run_path(str(SOURCE / "moorings" / "_hot_modules.py"))["HOT_MODULES"]
ALL_MUST_EXIST = False  # False: a listed module that is not written yet is passed over; True: it is an error
DIRECTIVES = {
    "language_level": 3,
    "annotation_typing": False,  # annotations are for people and type checkers; the .pxd types the fields
    "binding": True,
    "boundscheck": True,
    "wraparound": True,
    "nonecheck": True,  # without it, a None where an object is expected reads foreign memory
    "embedsignature": False,
}


def extensions() -> list[Extension]:
    """One extension per hot module; a ``.pyx`` takes the C files of the ``native`` directory beside it along."""
    found: list[Extension] = []
    for name in HOT_MODULES:
        stem = SOURCE.joinpath(*name.split("."))
        source = next((path for end in (".pyx", ".py") if (path := stem.with_suffix(end)).exists()), None)
        if source is None and ALL_MUST_EXIST:
            sys.exit(f"moorings: the hot module {name} has neither a .py nor a .pyx file")
        if source is None:
            continue
        native = stem.parent / "native"
        leaves = sorted(map(str, native.glob("*.c"))) if source.suffix == ".pyx" else []
        extension = Extension(name, [str(source), *leaves], include_dirs=[str(native)] if leaves else [])
        extension.depends = [str(path) for path in (stem.with_suffix(".pxd"), *native.glob("*.h")) if path.exists()]
        extension.define_macros = [("CYTHON_CLINE_IN_TRACEBACK", "0")]
        extension.extra_compile_args = ["-O2", "-g0"]
        found.append(extension)
    return found


def obstacle() -> str | None:
    """What keeps this machine from compiling, naming the missing tool, or None."""
    if platform.python_implementation() != "CPython":
        return "this Python is not CPython"
    try:
        import Cython  # noqa: F401, PLC0415
    except ImportError:
        return "Cython is missing (pip install 'Cython>=3.1')"
    configured = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    candidates = [configured] if os.environ.get("CC") else [configured, "cc", "gcc", "clang"]
    compiler = next((command for command in candidates if shutil.which(shlex.split(command)[0])), None)
    if compiler is None:
        return f"the C compiler is missing: no {shlex.split(configured)[0]} on PATH (Debian: apt install gcc libc6-dev)"
    if compiler != configured:
        os.environ["CC"] = compiler
    if not compiles(compiler, "#include <stdio.h>"):
        return f"the C compiler {compiler} compiles nothing, or the C library's headers are missing (Debian: libc6-dev)"
    if not compiles(compiler, "#include <Python.h>"):
        return f"Python.h is missing, sought in {sysconfig.get_path('include')} (Debian: apt install python3-dev)"
    return None


def compiles(compiler: str, text: str) -> bool:
    """Whether ``compiler`` translates a C file with this text."""
    includes = [f"-I{sysconfig.get_path(kind)}" for kind in ("include", "platinclude")]
    with tempfile.TemporaryDirectory() as directory:
        probe = Path(directory, "probe.c")
        probe.write_text(text + "\n", encoding="ascii")
        command = [*shlex.split(compiler), *includes, "-c", str(probe), "-o", str(probe.with_suffix(".o"))]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


class BuildHotModules(build_ext):
    """Compiles all hot modules or none, tells in one line which, and leaves a record in the package."""

    native = False

    def run(self) -> None:
        wanted = os.environ.get("MOORINGS_NATIVE") or "auto"
        if wanted not in {"auto", "off", "require"}:
            sys.exit(f"moorings: MOORINGS_NATIVE={wanted!r} is not known; set it to auto, off or require")
        problem = "it was built with MOORINGS_NATIVE=off" if wanted == "off" else obstacle() or self.compile_all()
        if problem is not None and wanted == "require":
            sys.exit(f"moorings: MOORINGS_NATIVE=require, but {problem}")
        self.native = problem is None
        names = [extension.name for extension in self.extensions]
        reason = problem or f"{len(names)} modules compiled"
        for root in {Path(self.build_lib), SOURCE if self.inplace else Path(self.build_lib)}:
            for name in [] if self.native else names:
                Path(root, self.get_ext_filename(name)).unlink(missing_ok=True)  # left over from an earlier build
            record = root / "moorings" / "_build_record.json"
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps({"native": self.native, "reason": reason, "modules": names}), encoding="utf-8")
        print(f"moorings: {reason}" if self.native else f"moorings: pure Python, because {reason}", file=sys.stderr)

    def compile_all(self) -> str | None:
        """Compile; what went wrong where Cython or the C compiler refuses our sources."""
        from Cython.Build import cythonize  # noqa: PLC0415
        from Cython.Compiler.Errors import CompileError  # noqa: PLC0415

        self.parallel = os.cpu_count()
        places = {"build_dir": str(Path(self.build_temp, "cython")), "include_path": [str(SOURCE)]}
        try:
            translated = cythonize(
                self.extensions, compiler_directives=DIRECTIVES, nthreads=2, force=self.force, quiet=True, **places
            )
            for extension, translation in zip(self.extensions, translated, strict=True):
                extension.sources = translation.sources
            super().run()
        except (CompileError, CCompilerError) as error:
            return f"compiling failed: {error}"
        return None


class PlatformWheel(bdist_wheel):
    """Wheels are made for one platform even when pure: those for Windows leave ``winrt`` to PyWinRT."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, machine = super().get_tag()
        native = self.get_finalized_command("build_ext").native
        return (python, abi, machine) if native else ("py3", "none", machine)


setup(
    packages=find_namespace_packages(
        str(SOURCE),
        include=["moorings*"] if sys.platform == "win32" else ["moorings*", "winrt*"],
        exclude=["*.native", "*.benchmarks.c"],  # directories of C files
    ),
    ext_modules=extensions() if sys.platform == "linux" else [],
    cmdclass={"build_ext": BuildHotModules, "bdist_wheel": PlatformWheel},
)
