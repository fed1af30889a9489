"""The fuzz target of a monitor's requests and answers, over its corpus and over changed pieces of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.monitor_wire import one_input
from hypothesis import given, settings
from hypothesis import strategies as st

CORPUS = sorted((Path(__file__).parents[2] / "fuzz" / "corpus" / "monitor_wire").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_corpus(path: Path) -> None:
    data = path.read_bytes()
    for end in range(len(data) + 1):
        one_input(data[:end])


@settings(max_examples=100)
@given(st.sampled_from([path.read_bytes() for path in CORPUS]), st.integers(0, 1500), st.binary(max_size=6))
def test_changed_corpus(data: bytes, position: int, change: bytes) -> None:
    one_input(data[:position] + change + data[position:])
    one_input(data[:position] + change + data[position + len(change) :])


def test_the_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.monitor_wire.wire.parse_request", lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        one_input(b"x")
