"""The receiver of frames: strictness, limits, back-pressure, memory, giving the position away."""

from __future__ import annotations

import pickle
import tracemalloc
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocols.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    Recorder,
    cuts,
    feed,
    wire,
)

from moorings import errors
from moorings._native_switch import native_mode
from moorings.protocols.web_socket_close import CloseCode, WebSocketProtocolError, may_be_received
from moorings.protocols.web_socket_frames import FRAME_LIMIT, MESSAGE_LIMIT, UNLIMITED, FrameReceiver

NATIVE: Any = import_module("moorings._native" if native_mode()[0] else "moorings._pure")
HELLO = Frame(TEXT, b"hello")
SAID = ("message", TEXT, "hello")
BROKEN = ("fail", 1002)


def block_of(data: bytes, size: int = 4096) -> Any:
    block = NATIVE.Block(size)
    (block.view if hasattr(block, "view") else memoryview(block).cast("B"))[: len(data)] = data
    return block


# -- feeding ---------------------------------------------------------------------------------------------------------


def test_from_a_block() -> None:
    data = wire([HELLO, Frame(PING, b"?"), Frame(BINARY, b"\x00" * 300)], masked=True)
    block = block_of(b"junk" + data)
    receiver = Recorder(is_client=False)
    assert receiver.receive_block(block, 4, 7) == 7
    assert receiver.receive_block(block, 11, len(data) - 7) == len(data) - 7
    assert receiver.events == [SAID, ("ping", b"?"), ("message", BINARY, b"\x00" * 300)]
    for start, count in ((-1, 2), (0, -1), (4090, 7), (5000, 1)):
        with pytest.raises(ValueError, match="no such part"):
            receiver.receive_block(block, start, count)
    with pytest.raises((TypeError, AttributeError)):
        receiver.receive_block(None, 0, 1)  # type: ignore[arg-type]


def test_from_bytes_like_objects() -> None:
    data = wire([HELLO], masked=True)
    receiver = Recorder(is_client=False)
    receiver.receive_bytes(bytearray(data))
    receiver.receive_bytes(memoryview(data))  # type: ignore[arg-type]
    assert receiver.receive_bytes(b"xx" + data + b"yy", 2, len(data)) == len(data)
    assert receiver.events == [SAID] * 3
    for start, count in ((-1, 1), (0, 12), (12, 1), (13, -1)):
        with pytest.raises(ValueError, match="no such part"):
            receiver.receive_bytes(data, start, count) if count != -1 else receiver.receive_bytes(data, start)
    with pytest.raises(TypeError):
        receiver.receive_bytes("text")  # type: ignore[arg-type]


def test_what_is_handed_out_lives_on() -> None:
    data = wire([Frame(BINARY, b"abcdefgh" * 8)], masked=True)
    block = block_of(data)
    receiver = Recorder(is_client=False)
    receiver.receive_block(block, 0, len(data))
    (block.view if hasattr(block, "view") else memoryview(block).cast("B"))[:100] = bytes(100)
    assert receiver.events == [("message", BINARY, b"abcdefgh" * 8)]


def test_stops_where_a_method_paused() -> None:
    data = wire([HELLO, Frame(PING), HELLO], masked=True)
    receiver = Recorder(is_client=False, pauses=2)
    assert receiver.receive_bytes(data) == 11
    assert receiver.receive_bytes(data, 11) == 0  # paused still
    receiver.paused = False
    assert receiver.receive_bytes(data, 11) == 6
    receiver.paused = False
    assert receiver.receive_bytes(data, 17) == 11
    assert receiver.events == [SAID, ("ping", b""), SAID]
    assert receiver.bytes_received == len(data)


def test_an_error_of_a_method_loses_nothing() -> None:
    class Failing(Recorder):
        def on_ping(self, payload: bytes) -> None:
            raise ZeroDivisionError

    data = wire([HELLO, Frame(PING), HELLO], masked=True)
    receiver = Failing(is_client=False)
    with pytest.raises(ZeroDivisionError):
        receiver.receive_bytes(data)
    assert receiver.position == 17
    receiver.receive_bytes(data, receiver.position)
    assert receiver.events == [SAID, SAID]


def test_feeding_from_inside_is_refused() -> None:
    class Eager(Recorder):
        def on_ping(self, payload: bytes) -> None:
            with pytest.raises(RuntimeError, match="already taking bytes"):
                self.receive_bytes(b"")
            with pytest.raises(OSError, match="one of its methods is running"):
                self.detach()
            super().on_ping(payload)

    assert feed(Eager(is_client=False), [wire([Frame(PING), HELLO], masked=True)]) == [("ping", b""), SAID]


def test_the_methods_of_the_base_do_nothing() -> None:
    receiver = FrameReceiver(is_client=True)
    frames = [HELLO, Frame(PING), Frame(PONG), Frame(CLOSE)]
    receiver.receive_bytes(wire(frames, masked=False))
    assert receiver.frames_received == 4
    partial = FrameReceiver(is_client=True, partial=True)
    partial.receive_bytes(wire([HELLO], masked=False))
    assert partial.messages_received == 1


# -- strictness ------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[str, int]] = {
    "16 bits for 125": ("82fe007d", 1002),
    "64 bits for 65535": ("82ff000000000000ffff", 1002),
    "64 bits for 5": ("82ff0000000000000005", 1002),
    "64-bit length": ("82ff80", 1002),
    "63-bit length": ("82ff7fffffffffffffff", 1009),
    "long ping": ("89fe", 1002),
    "very long pong": ("8aff", 1002),
    "fragmented close": ("08", 1002),
    "not masked": ("8205", 1002),
    "opcode alone": ("83", 1002),
    "reserved bit alone": ("a2", 1002),
    "compressed without an agreement": ("c2", 1002),
    "continuation alone": ("80", 1002),
    "close with half a code": ("8881", 1002),
}


@pytest.mark.parametrize("name", WRONG)
def test_fails_at_the_first_wrong_byte(name: str) -> None:
    text, code = WRONG[name]
    data = bytes.fromhex(text)
    for pieces in ([data], [data[n : n + 1] for n in range(len(data))]):
        receiver = Recorder(is_client=False)
        assert feed(receiver, pieces) == [("fail", code)]
        with pytest.raises(WebSocketProtocolError):
            receiver.receive_bytes(b"")  # and at each later call
    if len(data) > 1:
        assert feed(Recorder(is_client=False), [data[:-1]]) == []


@pytest.mark.parametrize("is_client", [False, True])
def test_masks(is_client: bool) -> None:
    assert feed(Recorder(is_client), [HELLO.encode(not is_client)]) == [SAID]
    assert feed(Recorder(is_client), [HELLO.encode(is_client)]) == [BROKEN]
    zeros = HELLO.encode(True, bytes(4))
    assert feed(Recorder(is_client=False), [zeros]) == [SAID]


def test_every_first_byte() -> None:
    """Outside of a message, without an extension: exactly seven values may begin a frame."""
    fine = {first for first in range(256) if feed(Recorder(is_client=False), [bytes((first,))]) == []}
    assert fine == {0x01, 0x02, 0x81, 0x82, 0x88, 0x89, 0x8A}


def test_every_close_code() -> None:
    fine = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
    assert {code for code in range(65536) if may_be_received(code)} == fine


def test_violations_say_what_and_why() -> None:
    receiver = Recorder(is_client=False, frame_limit=3)
    with pytest.raises(WebSocketProtocolError) as caught:
        receiver.receive_bytes(HELLO.encode(True))
    error = caught.value
    assert (error.close_code, error.limit) == (CloseCode.MESSAGE_TOO_BIG, "frame")
    assert str(error) == "a frame has 5 bytes, and 3 are allowed (close code 1009)"
    assert receiver.failure is not None
    assert receiver.failure.args == error.args
    assert receiver.failure.__traceback__ is None
    assert pickle.loads(pickle.dumps(error)).text == error.text


def test_nothing_is_looked_at_behind_a_close_frame() -> None:
    receiver = Recorder(is_client=False)
    data = wire([Frame(CLOSE, b"\x03\xe8bye")], masked=True)
    assert receiver.receive_bytes(data + b"\xff" * 50) == len(data) + 50
    assert receiver.receive_bytes(b"\xff" * 50) == 50
    assert receiver.events == [("close", 1000, "bye")]
    assert receiver.frames_received == 1


# -- limits ----------------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    receiver = FrameReceiver(is_client=True)
    assert (receiver.frame_limit, receiver.message_limit) == (FRAME_LIMIT, MESSAGE_LIMIT)


@pytest.mark.parametrize("partial", [False, True])
def test_limits(partial: bool) -> None:
    frames = [Frame(BINARY, bytes(10), False), Frame(CONTINUATION, bytes(10), False), Frame(CONTINUATION, bytes(10))]
    data = wire([*frames, *frames], masked=True)

    def outcome(**limits: int) -> tuple[int, str] | None:
        receiver = Recorder(is_client=False, partial=partial, **limits)
        feed(receiver, [data])
        return receiver.failure and (receiver.failure.close_code, receiver.failure.limit)

    assert outcome(frame_limit=10, message_limit=30) is None
    assert outcome(frame_limit=9) == (1009, "frame")
    assert outcome(message_limit=29) == (1009, "message")
    assert outcome(message_limit=UNLIMITED, frame_limit=UNLIMITED) is None


def test_control_frames_are_no_part_of_a_message() -> None:
    frames = [Frame(BINARY, bytes(10), False), Frame(PING, bytes(125)), Frame(CONTINUATION)]
    events = feed(Recorder(is_client=False, frame_limit=10, message_limit=10), [wire(frames, masked=True)])
    assert events == [("ping", bytes(125)), ("message", BINARY, bytes(10))]


def test_a_head_alone_takes_no_memory() -> None:
    head = bytes((0x82, 0xFF)) + (1 << 40).to_bytes(8, "big") + KEY
    receiver = Recorder(is_client=False, frame_limit=UNLIMITED, message_limit=UNLIMITED)
    tracemalloc.start()
    try:
        receiver.receive_bytes(head + b"x")
        assert tracemalloc.get_traced_memory()[1] < 65536
        for _ in range(100):
            receiver.receive_bytes(bytes(1000))
        assert tracemalloc.get_traced_memory()[1] < 3 * 100_000
    finally:
        tracemalloc.stop()
    assert receiver.unfinished_bytes() == 100_001


def test_many_small_fragments_take_little_memory() -> None:
    data = wire([Frame(CONTINUATION, b"x", False)] * 10_000, masked=True)
    receiver = Recorder(is_client=False)
    receiver.receive_bytes(wire([Frame(BINARY, b"x", False)], masked=True))
    tracemalloc.start()
    try:
        for place in range(0, len(data), 700):
            receiver.receive_bytes(data[place : place + 700])
        assert tracemalloc.get_traced_memory()[1] < 65536
    finally:
        tracemalloc.stop()
    assert receiver.unfinished_bytes() == 10_001


# -- parts and progress ----------------------------------------------------------------------------------------------


def test_parts_are_told_as_they_come() -> None:
    receiver = Recorder(is_client=False, partial=True)
    frames = [Frame(BINARY, b"abc", False), Frame(PING, b"!"), Frame(CONTINUATION, b"defg"), Frame(TEXT)]
    data = wire(frames, masked=True)
    receiver.receive_bytes(data[:8])
    receiver.receive_bytes(data[8:])
    assert receiver.events == [
        ("part", BINARY, b"ab", False),
        ("part", BINARY, b"c", False),
        ("ping", b"!"),
        ("part", BINARY, b"defg", True),
        ("part", TEXT, b"", True),
    ]


def test_a_frame_without_end_takes_constant_memory() -> None:
    head = bytes((0x82, 0xFF)) + (1 << 40).to_bytes(8, "big") + KEY
    receiver = FrameReceiver(is_client=False, partial=True, frame_limit=UNLIMITED, message_limit=UNLIMITED)
    receiver.receive_bytes(head)
    piece = bytes(65536)
    tracemalloc.start()
    try:
        for _ in range(500):
            receiver.receive_bytes(piece)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(piece)
    finally:
        tracemalloc.stop()
    assert receiver.payload_received == 500 * len(piece)


def test_half_a_character_between_parts() -> None:
    receiver = Recorder(is_client=False, partial=True)
    frames = [Frame(TEXT, b"\xc3", False), Frame(CONTINUATION, b"\xa4")]
    assert feed(receiver, [wire(frames, masked=True)]) == [
        ("part", TEXT, b"\xc3", False),
        ("part", TEXT, b"\xa4", True),
    ]
    cut_off = [Frame(TEXT, b"\xc3", False), Frame(CONTINUATION)]
    for partial in (False, True):
        events = feed(Recorder(is_client=False, partial=partial), [wire(cut_off, masked=True)])
        assert events[-1] == ("fail", 1007)


def test_progress_can_be_seen() -> None:
    data = wire([Frame(TEXT, b"ab", False), Frame(CONTINUATION, b"c")], masked=True)
    receiver = Recorder(is_client=False)
    seen = []
    for place in range(len(data)):
        receiver.receive_bytes(data[place : place + 1])
        seen.append((receiver.frame_begun(), receiver.message_begun(), receiver.frames_received))
    assert seen == [
        *[(True, 0, 0)] * 5,
        *[(True, TEXT, 1)] * 2,
        (False, TEXT, 1),
        *[(True, TEXT, 1)] * 5,
        (True, TEXT, 2),
        (False, 0, 2),
    ]
    assert receiver.bytes_received == len(data)
    assert (receiver.messages_received, receiver.payload_received, receiver.unfinished_bytes()) == (1, 3, 0)


# -- giving the position away ----------------------------------------------------------------------------------------

MIXED = [
    Frame(TEXT, "grüße".encode()[:3], False),
    Frame(PING, b"ping"),
    Frame(CONTINUATION, "grüße".encode()[3:]),
    Frame(BINARY, bytes(range(200))),
    Frame(CLOSE, b"\x03\xe8"),
]


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("is_client", [False, True])
def test_another_receiver_goes_on_at_any_byte(is_client: bool, partial: bool) -> None:
    data = wire(MIXED, masked=not is_client)
    whole = feed(Recorder(is_client), [data])
    for place in range(len(data) + 1):
        first = Recorder(is_client, partial=partial)
        first.receive_bytes(data[:place])
        position = pickle.loads(pickle.dumps(first.detach()))
        second = Recorder(is_client, partial=partial)
        second.adopt(position)
        second.receive_bytes(data[place:])
        events = first.events + second.events
        if partial:
            assert b"".join(event[2] for event in events if event[0] == "part") == "grüße".encode() + bytes(range(200))
        else:
            assert events == whole
        assert first.receive_bytes(b"\xff" * 9) == 9  # it takes nothing more


def test_a_position_is_given_once_and_taken_before_the_first_byte() -> None:
    receiver = Recorder(is_client=False)
    receiver.receive_bytes(b"\x81")
    with pytest.raises(OSError, match="already received") as caught:
        receiver.adopt(Recorder(is_client=False).detach())
    assert getattr(caught.value, "winerror", None) == errors.E_ILLEGAL_METHOD_CALL
    failed = Recorder(is_client=False)
    feed(failed, [b"\xff"])
    with pytest.raises(WebSocketProtocolError):
        failed.detach()


# -- anything at all -------------------------------------------------------------------------------------------------


@given(st.binary(max_size=60), st.booleans(), st.integers(0, 3))
def test_cutting_changes_nothing(data: bytes, partial: bool, pauses: int) -> None:
    def told(pieces: list[bytes]) -> list[Any]:
        events = feed(Recorder(is_client=True, partial=partial, pauses=pauses), pieces)
        return [event for event in events if event[0] != "part"]

    first, *others = cuts(data)
    expected = told(first)
    for pieces in others[:8]:
        assert told(pieces) == expected
