"""Whether another implementation is here: without it its tests are skipped, or fail with MOORINGS_PEERS=require."""

from __future__ import annotations

import os
import shutil
from importlib import import_module
from typing import Any

import pytest

VARIABLE = "MOORINGS_PEERS"


def needs(found: object, what: str) -> pytest.MarkDecorator:
    """A mark that skips where `found` is false; CI, which has to have all of them, fails instead."""
    if not found and os.environ.get(VARIABLE) == "require":
        raise RuntimeError(f"{VARIABLE}=require, but {what} is not here")
    return pytest.mark.skipif(not found, reason=f"needs {what}")


def package(name: str) -> Any:
    """A package of pyproject's `test` extra; where it is not installed, the tests of the file are skipped."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        if os.environ.get(VARIABLE) == "require":
            raise
        pytest.skip(f"needs the package {name}", allow_module_level=True)


def program(*names: str) -> str | None:
    """The first of these programs that is here, also where only root looks for programs."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    return next((found for name in names if (found := shutil.which(name, path=path))), None)
