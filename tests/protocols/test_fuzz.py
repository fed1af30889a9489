"""The fuzz targets of WebSockets, over their corpora, over changed pieces of them, and over anything."""

from __future__ import annotations

import random
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from fuzz import run
from hypothesis import given
from hypothesis import strategies as st

CORPORA = Path(__file__).parents[2] / "fuzz" / "corpus"
TARGETS = {
    "web_socket_frames": "WebSocketProtocolError",
    "web_socket_deflate": "WebSocketProtocolError",
    "web_socket_handshake": "parse_challenges",
}
PIECES = [(name, path) for name in TARGETS for path in sorted((CORPORA / name).iterdir())]


def target(name: str) -> Any:
    return import_module(f"fuzz.{name}")


@pytest.mark.parametrize(("name", "path"), PIECES, ids=lambda value: getattr(value, "name", value))
def test_corpus_cut(name: str, path: Path) -> None:
    one_input = target(name).one_input
    data = path.read_bytes()
    for end in range(0, len(data) + 1, 5):
        one_input(data[:end])
    one_input(data)


@pytest.mark.parametrize("name", TARGETS)
def test_changed_corpus(name: str) -> None:
    """Another thousand each time; `make fuzz` takes more."""
    seed = random.SystemRandom().randrange(1 << 32)
    random_source = random.Random(seed)
    corpus = [path.read_bytes() for path in sorted((CORPORA / name).iterdir())]
    one_input = target(name).one_input
    for _ in range(1000):
        data = run.changed(random_source, corpus)
        try:
            one_input(data)
        except Exception as error:
            error.add_note(f"with {data.hex()}")
            raise


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=200))
def test_any_octets(name: str, data: bytes) -> None:
    target(name).one_input(data)


@pytest.mark.parametrize("name", TARGETS)
def test_the_targets_can_fail(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target(name), TARGETS[name], lambda *_: 1 // 0)
    with pytest.raises((ZeroDivisionError, TypeError)):
        target(name).one_input(b"\x00\xff\xff\xff")


def test_the_runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run.main(["20", "web_socket_frames"]) == 0
    assert "web_socket_frames: 20 inputs" in capsys.readouterr().out
    monkeypatch.setattr(target("web_socket_frames"), "one_input", lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        run.main(["1", "web_socket_frames"])
    assert "failed with" in capsys.readouterr().err
