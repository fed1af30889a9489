"""The leaf functions of WebSocket frames: both twins, and that they give the same answers."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings._native_switch import native_mode

PURE: Any = import_module("moorings._pure_web_sockets")
TWINS: list[Any] = [PURE, import_module("moorings._native_web_sockets")] if native_mode()[0] else [PURE]
BOTH = pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__.split("_")[1])
KEY = b"\x01\x82\xf3\x7f"


def slowly(data: bytes, key: bytes, phase: int) -> bytes:
    return bytes(byte ^ key[(phase + n) % 4] for n, byte in enumerate(data))


@BOTH
@given(st.binary(max_size=200), st.binary(min_size=4, max_size=4), st.integers(0, 2**40))
def test_masking(twin: Any, data: bytes, key: bytes, phase: int) -> None:
    expected = slowly(data, key, phase)
    assert twin.mask(data, key, phase) == twin.mask(memoryview(data), key, phase) == expected
    changed = bytearray(data)
    twin.mask_in_place(changed, key, phase)
    assert changed == expected


@BOTH
def test_masking_of_what_is_no_key_or_cannot_be_written(twin: Any) -> None:
    with pytest.raises(ValueError, match="four bytes"):
        twin.mask(b"abc", b"abc")
    with pytest.raises(BufferError):
        twin.mask_in_place(b"abc", KEY)
    for odd in (None, "text", 1.5, [1]):
        with pytest.raises(TypeError):
            twin.mask(odd, KEY)
        with pytest.raises((TypeError, BufferError)):
            twin.make_frame(0x82, odd if odd != "text" else 7, False)


def begins_a_text(data: bytes) -> bool:
    """Whether some text begins with these bytes, the long way: every way on is tried."""
    rests = (b"", *(a + b"\x80" * n for n in range(3) for a in (b"\x80", b"\x90", b"\xa0")))
    for rest in rests:
        try:
            (data + rest).decode()
        except UnicodeDecodeError:
            continue
        return True
    return False


TEXTS = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=60).map(str.encode),
    st.tuples(st.text(max_size=40), st.binary(max_size=4), st.text(max_size=40)).map(
        lambda parts: parts[0].encode() + parts[1] + parts[2].encode()
    ),
)


@BOTH
@given(TEXTS, st.integers(0, 100))
def test_utf8_in_pieces(twin: Any, data: bytes, place: int) -> None:
    whole = twin.check_utf8(data, 0)
    assert (whole >= 0) == begins_a_text(data)
    assert (whole == 0) == (data.decode("utf-8", "replace").encode() == data)
    first = twin.check_utf8(data[:place], 0)
    assert (first if first < 0 else twin.check_utf8(data[place:], first)) == whole
    assert whole == PURE.check_utf8(data, 0)


@BOTH
def test_utf8_of_every_two_bytes(twin: Any) -> None:
    """Every lead byte with every second byte, in all states: the state is the pure twin's, proved above."""
    for first in range(256):
        for second in range(256):
            pair = bytes((first, second))
            assert twin.check_utf8(pair, 0) == PURE.check_utf8(pair, 0)
    for state in range(8):
        for byte in range(256):
            assert twin.check_utf8(bytes((byte,)), state) == PURE.check_utf8(bytes((byte,)), state)
    for state in (-1, 8):
        with pytest.raises(ValueError, match="0 to 7"):
            twin.check_utf8(b"", state)


@BOTH
@given(st.integers(0, 70), st.binary(min_size=1, max_size=3), st.integers(0, 70))
def test_utf8_at_every_place_of_a_word(twin: Any, before: int, middle: bytes, after: int) -> None:
    data = b"a" * before + middle + b"b" * after
    assert (twin.check_utf8(data, 0) >= 0) == begins_a_text(data)


@BOTH
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_frames(twin: Any, size: int) -> None:
    payload = os.urandom(size)
    head = twin.make_head(0x82, size)
    assert twin.make_frame(0x82, payload, False) == head + payload
    assert twin.make_frame(0x82, memoryview(payload), False) == head + payload
    frame = twin.make_frame(0x82, bytearray(payload), True)
    assert frame[0] == head[0]
    assert frame[1] == head[1] | 0x80
    assert frame[2 : len(head)] == head[2:]
    key = frame[len(head) : len(head) + 4]
    assert twin.mask(frame[len(head) + 4 :], key) == payload
    expected = {
        0: b"\x00",
        1: b"\x01",
        125: b"\x7d",
        126: b"\x7e\x00\x7e",
        127: b"\x7e\x00\x7f",
        65535: b"\x7e\xff\xff",
    }
    assert head[1:] == expected.get(size, b"\x7f" + size.to_bytes(8, "big"))


@BOTH
@pytest.mark.parametrize("text", ["", "abc", "hällo", "日本語", "\U0001f600", "\x00"])
def test_frames_of_text(twin: Any, text: str) -> None:
    assert twin.make_frame(0x81, text, False) == twin.make_frame(0x81, text.encode(), False)


@BOTH
def test_frames_of_what_is_no_payload(twin: Any) -> None:
    with pytest.raises(UnicodeEncodeError):
        twin.make_frame(0x81, "\ud800", False)
    with pytest.raises(BufferError):
        twin.make_frame(0x82, memoryview(b"abcd")[::2], False)
    with pytest.raises(ValueError, match="negative"):
        twin.make_head(0x82, -1)


@BOTH
def test_keys_are_never_given_twice(twin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bytes] = []

    def counting(size: int) -> bytes:
        drawn.append(bytes(n % 256 for n in range(size)) if not drawn else os.getrandom(size))
        return drawn[-1]

    twin.forget_mask_keys()
    monkeypatch.setattr(os, "urandom", counting)
    keys = [twin.fresh_key() for _ in range(1025)]
    assert b"".join(keys) == drawn[0] + drawn[1][:4]
    twin.forget_mask_keys()
    assert twin.fresh_key() == drawn[2][:4]
    twin.forget_mask_keys()


@BOTH
def test_a_forked_child_draws_its_own_keys(twin: Any) -> None:
    twin.fresh_key()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, twin.fresh_key())
        os._exit(0)
    os.close(writing)
    ours = twin.fresh_key()
    theirs = os.read(reading, 4)
    os.close(reading)
    assert os.waitpid(child, 0)[1] == 0
    assert len(theirs) == 4
    assert theirs != ours


PIECES = st.lists(st.one_of(st.binary(max_size=9), st.integers(1, 30000).map(bytes)), max_size=12)


@BOTH
@given(PIECES, st.booleans())
def test_message_memory(twin: Any, pieces: list[bytes], announces: bool) -> None:
    memory = twin.MessageMemory()
    for round_ in range(2):
        for piece in pieces:
            memory.add_bytes(piece, len(piece) if announces else 1 << 40)
            assert memory.check_last(len(piece), 0) == twin.check_utf8(piece, 0)
        whole = b"".join(pieces)
        assert memory.size == len(whole)
        assert memory.check_last(len(whole), 0) == twin.check_utf8(whole, 0)
        if round_ or twin.check_utf8(whole, 0) != 0:
            assert memory.take() == whole
        else:
            assert memory.take_text() == whole.decode()
        assert memory.size == 0
    assert memory.take() == b""
    assert memory.take_text() == ""


@BOTH
def test_message_memory_of_wrong_numbers(twin: Any) -> None:
    memory = twin.MessageMemory()
    memory.add_bytes(b"abc", 3)
    for count, state in ((4, 0), (-1, 0), (1, 8), (1, -1)):
        with pytest.raises(ValueError, match="not so many"):
            memory.check_last(count, state)
    with pytest.raises(TypeError):
        memory.add_bytes(None, 3)
