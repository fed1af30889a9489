"""Making frames: what the receiver of the other end, and the websockets library, make of them."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocols.frames import BINARY, TEXT, Frame, Recorder, feed, wire

from moorings import DataWriter, errors
from moorings.protocols.web_socket_close import CLOSE_REASON_LIMIT, check_close
from moorings.protocols.web_socket_sending import (
    CONTROL_PAYLOAD_LIMIT,
    SEPARATE_PAYLOAD_SIZE,
    FrameSender,
    encode_message,
)

ROLES = pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])


def joined(frame: bytes | tuple[bytes, Any]) -> bytes:
    return frame if isinstance(frame, bytes) else frame[0] + bytes(frame[1])


def code_of(caught: pytest.ExceptionInfo[OSError]) -> int:
    return getattr(caught.value, "winerror", 0)


@ROLES
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_messages(is_client: bool, size: int) -> None:
    sender = FrameSender(is_client)
    binary, text = b"\xfe" * size, "ü" * size
    data = joined(sender.message(BINARY, binary)) + joined(sender.message(TEXT, text))
    assert feed(Recorder(not is_client), [data]) == [("message", BINARY, binary), ("message", TEXT, text)]
    if not is_client:
        assert data == wire([Frame(BINARY, binary), Frame(TEXT, text.encode())], masked=False)


def buffer_of(data: bytes) -> Any:
    writer = DataWriter()
    writer.write_bytes(data)
    return writer.detach_buffer()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, buffer_of])
def test_bytes_like_payloads(kind: Any) -> None:
    data = joined(FrameSender(is_client=True).message(BINARY, kind(b"payload")))
    assert feed(Recorder(is_client=False), [data]) == [("message", BINARY, b"payload")]


@pytest.mark.parametrize("count", [0, 1, 31, 5000])
@ROLES
def test_views_of_bigger_items(is_client: bool, count: int) -> None:
    items = array("I", range(count))
    shaped = memoryview(items).cast("B").cast("I", [count]) if count else memoryview(items)
    sender = FrameSender(is_client)
    for payload in (items, shaped, memoryview(bytearray(items.tobytes() * 2))[::2] if count > 1 else b""):
        if isinstance(payload, memoryview) and not payload.c_contiguous:
            for call in (sender.message, lambda kind, data: sender.fragment(kind, data, True)):
                with pytest.raises(BufferError):
                    call(BINARY, payload)
            continue
        data = joined(sender.message(BINARY, payload)) + joined(sender.fragment(BINARY, payload, True))
        assert feed(Recorder(not is_client), [data]) == [("message", BINARY, bytes(payload))] * 2
        if len(bytes(payload)) <= CONTROL_PAYLOAD_LIMIT:
            assert feed(Recorder(not is_client), [sender.ping(payload)]) == [("ping", bytes(payload))]
        else:
            with pytest.raises(OSError, match="125 fit"):
                sender.ping(payload)


def test_much_is_not_copied_by_servers() -> None:
    payload = bytearray(SEPARATE_PAYLOAD_SIZE)
    frame = FrameSender(is_client=False).message(BINARY, payload)
    assert isinstance(frame, tuple)
    assert frame[1] is payload
    text = FrameSender(is_client=False).message(TEXT, "ü" * SEPARATE_PAYLOAD_SIZE)
    assert joined(text) == Frame(TEXT, "ü".encode() * SEPARATE_PAYLOAD_SIZE).encode(False)
    assert isinstance(FrameSender(is_client=False).message(BINARY, payload[1:]), bytes)
    assert isinstance(FrameSender(is_client=True).message(BINARY, payload), bytes)
    assert encode_message(BINARY, payload) == joined(frame)


def test_every_frame_has_a_key_of_its_own() -> None:
    sender = FrameSender(is_client=True)
    frames = [
        joined(sender.message(BINARY, b"")),
        sender.ping(),
        sender.pong(),
        joined(sender.fragment(TEXT, "", True)),
    ]
    frames += [joined(sender.message(BINARY, b"")) for _ in range(2000)]
    assert len({frame[2:6] for frame in frames}) > 1990
    assert all(frame[1] == 0x80 for frame in frames)


@ROLES
def test_fragments_with_control_frames_between(is_client: bool) -> None:
    sender = FrameSender(is_client)
    parts = [
        sender.fragment(TEXT, "grü".encode()[:3], False),
        sender.ping(b"1"),
        sender.fragment(BINARY, "grü".encode()[3:], False),  # the kind counts for the first only
        sender.pong(b"2"),
        sender.fragment(TEXT, "ße", True),
        sender.message(BINARY, b"next"),
        sender.close(1000, "bye"),
    ]
    events = feed(Recorder(not is_client), [b"".join(map(joined, parts))])
    assert events == [
        ("ping", b"1"),
        ("pong", b"2"),
        ("message", TEXT, "grüße"),
        ("message", BINARY, b"next"),
        ("close", 1000, "bye"),
    ]
    assert sender.messages_sent == 2
    assert sender.frames_sent == 7


def test_text_that_is_not_utf8_is_not_sent() -> None:
    sender = FrameSender(is_client=True)
    for payload in (b"\xff", b"\xc3", "\ud800", "a" * SEPARATE_PAYLOAD_SIZE + "\ud800"):
        for call in (sender.message, lambda kind, data: sender.fragment(kind, data, True)):
            with pytest.raises(OSError, match="has to be UTF-8") as caught:
                call(TEXT, payload)
            assert code_of(caught) == errors.E_INVALIDARG
    assert (sender.frames_sent, sender.messages_sent, sender.payload_sent, sender.kind) == (0, 0, 0, 0)
    first = sender.fragment(TEXT, b"\xc3", False)
    for payload, final in ((b"x", False), (b"", True)):
        with pytest.raises(OSError, match="has to be UTF-8"):
            sender.fragment(TEXT, payload, final)
    last = sender.fragment(TEXT, b"\xa4", True)
    assert feed(Recorder(is_client=False), [joined(first) + joined(last)]) == [("message", TEXT, "ä")]


def test_wrong_calls() -> None:
    sender = FrameSender(is_client=False)
    for kind in (0, 3, 8, -1):
        for call in (sender.message, lambda kind, data: sender.fragment(kind, data, True)):
            with pytest.raises(OSError, match="no kind of message") as caught:
                call(kind, b"")
            assert code_of(caught) == errors.E_INVALIDARG
    with pytest.raises(TypeError):
        sender.message(BINARY, None)
    sender.fragment(BINARY, b"", False)
    with pytest.raises(OSError, match="end the fragmented message first") as caught:
        sender.message(BINARY, b"")
    assert code_of(caught) == errors.E_ILLEGAL_METHOD_CALL
    sender.close()
    for late in (
        sender.ping,
        sender.pong,
        sender.close,
        lambda: sender.fragment(BINARY, b"", True),
        lambda: sender.close_answer(1000),
    ):
        with pytest.raises(OSError, match="nothing may follow") as caught:
            late()
        assert code_of(caught) == errors.E_ILLEGAL_METHOD_CALL
    closed = FrameSender(is_client=False)
    closed.close()
    with pytest.raises(OSError, match="nothing may follow"):
        closed.message(BINARY, b"")


@ROLES
def test_control_frames(is_client: bool) -> None:
    sender = FrameSender(is_client)
    longest = bytes(CONTROL_PAYLOAD_LIMIT)
    data = sender.ping(longest) + sender.pong("ü") + sender.ping()
    assert feed(Recorder(not is_client), [data]) == [("ping", longest), ("pong", "ü".encode()), ("ping", b"")]
    for call in (sender.ping, sender.pong):
        with pytest.raises(OSError, match="125 fit") as caught:
            call(longest + b"x")
        assert code_of(caught) == errors.E_INVALIDARG


def test_close_codes_and_reasons() -> None:
    fine = {*range(1000, 1004), *range(1007, 1012), *range(3000, 5000)}
    for code in range(-1, 70000, 1):
        if code in fine:
            assert check_close(code, "ü") == code.to_bytes(2, "big") + "ü".encode()
        elif code < 6000 or code > 65500:
            with pytest.raises(OSError, match="no close code to send") as caught:
                check_close(code, "")
            assert code_of(caught) == errors.E_INVALIDARG
    assert len(check_close(1000, "x" * CLOSE_REASON_LIMIT)) == 125
    for reason, why in (("x" * 124, "123 fit"), ("ü" * 62, "123 fit"), ("\ud800", "UTF-8 can carry")):
        with pytest.raises(OSError, match=why) as caught:
            check_close(1000, reason)
        assert code_of(caught) == errors.E_INVALIDARG
    sender = FrameSender(is_client=False)
    with pytest.raises(OSError, match="needs a close code"):
        sender.close(None, "why")
    with pytest.raises(OSError, match="no close code"):
        sender.close(1005)
    assert not sender.close_sent
    assert sender.close() == b"\x88\x00"
    assert FrameSender(is_client=False).close_answer(1005) == b"\x88\x00"
    assert FrameSender(is_client=False).close_answer(1012) == b"\x88\x02\x03\xf4"


@given(st.lists(st.one_of(st.binary(max_size=300), st.text(max_size=300)), max_size=5), st.booleans(), st.booleans())
def test_anything_arrives(payloads: list[bytes | str], is_client: bool, fragmented: bool) -> None:
    sender = FrameSender(is_client)
    data = b""
    for payload in payloads:
        kind = TEXT if isinstance(payload, str) else BINARY
        if fragmented:
            data += joined(sender.fragment(kind, payload[:7], False)) + joined(sender.fragment(0, payload[7:], True))
        else:
            data += joined(sender.message(kind, payload))
    expected = [("message", TEXT if isinstance(payload, str) else BINARY, payload) for payload in payloads]
    assert feed(Recorder(not is_client), [data]) == expected
