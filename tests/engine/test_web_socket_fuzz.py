"""The fuzz target of WebSockets over real connections; `make fuzz` takes more inputs."""

from __future__ import annotations

import random
from typing import Any

import pytest
from fuzz import run, web_socket_engine

CORPUS = run.corpus_of("web_socket_engine")


@pytest.mark.parametrize("data", CORPUS, ids=[f"piece {number}" for number in range(len(CORPUS))])
@pytest.mark.parametrize("cut", range(4))
def test_corpus(data: bytes, cut: int) -> None:
    """By a handler and by receives, whole and cut."""
    for how in (0, 8):
        web_socket_engine.one_input(bytes([data[0] & 7 | how | cut << 4]) + data[1:])


def test_changed_corpus() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    random_source = random.Random(seed)
    for _ in range(100):
        data = run.changed(random_source, CORPUS)
        try:
            web_socket_engine.one_input(data)
        except Exception as error:
            error.add_note(f"with {data.hex()}")
            raise


def test_the_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(web_socket_engine, "told_of", nothing)
    with pytest.raises(AssertionError):
        web_socket_engine.one_input(b"\x01\x81\x01x")
