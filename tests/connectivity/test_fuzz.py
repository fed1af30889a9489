"""The fuzz target of netlink messages, over its corpus and over changed pieces of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.rtnetlink import one_input
from hypothesis import given
from hypothesis import strategies as st

CORPUS = sorted((Path(__file__).parents[2] / "fuzz" / "corpus" / "rtnetlink").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_corpus_cut_anywhere(path: Path) -> None:
    data = path.read_bytes()
    for end in range(len(data) + 1):
        one_input(data[:end])


@given(st.sampled_from([path.read_bytes() for path in CORPUS]), st.integers(0, 3000), st.binary(max_size=8))
def test_changed_corpus(data: bytes, position: int, change: bytes) -> None:
    one_input(data[:position] + change + data[position:])
    one_input(data[:position] + change + data[position + len(change) :])


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    one_input(data)


def test_the_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.rtnetlink.rtnetlink.parse_messages", lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        one_input(b"")
