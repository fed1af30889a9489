"""The reference names everything that is public, once, and nothing that is not there."""

from __future__ import annotations

import importlib
import re
from collections import Counter

import pytest
from tests.docs.documents import ROOT, read

import moorings
from moorings import testing

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/reference/*.md"))
NAMED = [name for page in PAGES for name in re.findall(r"^::: ([\w.]+)$", read(page), re.MULTILINE)]


def resolve(path: str) -> object:
    """The object behind a dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_every_public_name_has_a_place() -> None:
    missing = [name for name in moorings.__all__ if f"moorings.{name}" not in NAMED]
    if missing:
        lines = "\n".join(f"::: moorings.{name}" for name in missing)
        pytest.fail(f"Add to the page of docs/reference where they belong:\n{lines}", pytrace=False)


def test_the_test_kit_has_a_place() -> None:
    callables = [
        name for name in testing.__all__ if getattr(getattr(testing, name), "__module__", "").startswith("moor")
    ]
    callables.remove("END")  # a constant, named in the text
    assert [name for name in callables if f"moorings.testing.{name}" not in NAMED] == []


def test_nothing_has_two_places() -> None:
    assert [name for name, count in Counter(NAMED).items() if count > 1] == []


@pytest.mark.parametrize("name", NAMED)
def test_names_exist_and_are_described(name: str) -> None:
    described = resolve(name)
    assert (getattr(described, "__doc__", None) or "").strip()
