"""The fuzz target of host names, over its corpus and over changed pieces of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.host_name import one_input
from hypothesis import given
from hypothesis import strategies as st

CORPUS = sorted((Path(__file__).parents[2] / "fuzz" / "corpus" / "host_name").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_corpus(path: Path) -> None:
    data = path.read_bytes()
    for end in range(len(data) + 1):
        one_input(data[:end])


@given(st.sampled_from([path.read_bytes() for path in CORPUS]), st.integers(0, 40), st.binary(max_size=6))
def test_changed_corpus(data: bytes, position: int, change: bytes) -> None:
    one_input(data[:position] + change + data[position:])
    one_input(data[:position] + change + data[position + len(change) :])


def test_the_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = iter(["first", "second"])
    monkeypatch.setattr("fuzz.host_name.parse_host_text", lambda _: _Parsed(next(parsed)))
    with pytest.raises(AssertionError):
        one_input(b"x")


class _Parsed:
    def __init__(self, canonical: str) -> None:
        self.canonical = canonical
        self.type = None
