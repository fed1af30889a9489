"""The fuzz target of certificates, over its corpus and over changed pieces of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.certificates import one_input
from hypothesis import given
from hypothesis import strategies as st

CORPUS = sorted((Path(__file__).parents[2] / "fuzz" / "corpus" / "certificates").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_corpus_cut(path: Path) -> None:
    data = path.read_bytes()
    for end in range(0, len(data) + 1, 11):
        one_input(data[:end])
    one_input(data)


@given(st.sampled_from([path.read_bytes() for path in CORPUS]), st.integers(0, 900), st.binary(max_size=4))
def test_changed_corpus(data: bytes, position: int, change: bytes) -> None:
    one_input(data[:position] + change + data[position:])
    one_input(data[:position] + change + data[position + len(change) :])


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    one_input(data)


def test_the_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.certificates.find_errors", lambda *_args, **_named: (2, 1))
    with pytest.raises(AssertionError):
        one_input(b"")
