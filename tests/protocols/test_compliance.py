"""Every case of the Autobahn list that frames decide, in both roles, however the bytes are cut."""

from __future__ import annotations

import pytest
from tests.protocols.compliance_cases import CASES, NOT_TEXT, TEXTS, Case, fragments, is_utf8, message
from tests.protocols.frames import BINARY, EVERYTHING, MESSAGES, TEXT, Frame, Recorder, cuts, feed, wire

from moorings.protocols.web_socket_frames import UNLIMITED
from moorings.protocols.web_socket_sending import FrameSender

ROLES = pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])


def test_the_list_is_whole() -> None:
    """The numbers of cases of each section that the published list has (6 without the repetitions by octets)."""
    numbers = [case.number for case in CASES]
    assert len(numbers) == len(set(numbers))
    counts = {s: sum(n.startswith(f"{s}.") for n in numbers) for s in (1, 2, 3, 4, 5, 7, 10)}
    assert counts == {1: 16, 2: 11, 3: 7, 4: 10, 5: 20, 7: 37, 10: 1}
    assert {group: len(texts) for group, texts in TEXTS.items() if group in {"6.12", "6.21", "6.22"}} == {
        "6.12": 9,
        "6.21": 8,
        "6.22": 34,
    }


@ROLES
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
def test_case(case: Case, is_client: bool) -> None:
    data = wire(case.frames, masked=not is_client)
    for pieces in cuts(data):
        assert feed(Recorder(is_client), pieces) == case.events
        # Told as bytes, with a stop behind every call.
        stopping = Recorder(is_client, pauses=1000, decode_text=False)
        assert feed(stopping, pieces) == [
            ("message", TEXT, event[2].encode()) if event[:2] == ("message", TEXT) else event for event in case.events
        ]


@ROLES
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
def test_case_in_parts(case: Case, is_client: bool) -> None:
    for pieces in cuts(wire(case.frames, masked=not is_client)):
        told = feed(Recorder(is_client, partial=True), pieces)
        joined: list[tuple[object, ...]] = []
        parts = b""
        for event in told:
            if event[0] != "part":
                joined.append(event)
                continue
            parts += event[2]
            if event[3]:
                joined.append(message(event[1], parts))
                parts = b""
        assert joined == case.events


@ROLES
@pytest.mark.parametrize(
    "text", [text for texts in TEXTS.values() for text in texts if not is_utf8(text)], ids=lambda text: text.hex()
)
def test_bad_text_fails_at_its_first_bad_byte(text: bytes, is_client: bool) -> None:
    """What makes it wrong is known from CPython: the first prefix that no text begins with."""
    first = next((n for n in range(1, len(text) + 1) if not any(begins(text[:n], rest) for rest in RESTS)), len(text))
    data = Frame(TEXT, text).encode(not is_client)
    head = len(data) - len(text)
    receiver = Recorder(is_client)
    for place in range(len(data)):
        if feed(receiver, [data[place : place + 1]]):
            assert place + 1 - head == first
            break
    assert receiver.events == [NOT_TEXT]


RESTS = (b"", *(a + b"\x80" * n for n in range(3) for a in (b"\x80", b"\x90", b"\xa0")))


def begins(start: bytes, rest: bytes) -> bool:
    return is_utf8(start + rest)


@ROLES
@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("size", [65536, 262144, 1048576, *([4194304, 8388608, 16777216] if EVERYTHING else [])])
def test_section_9_sizes(kind: int, size: int, is_client: bool) -> None:
    """9.1 to 9.6: big messages, whole, fragmented and chopped; the biggest are for `make compliance`."""
    payload = (b"*" if kind == TEXT else b"\xfe") * size
    expected = [message(kind, payload)]
    for fragment in (64, 1024, 65536, size):
        if size // fragment > (65536 if EVERYTHING else 4096):
            continue
        frames = fragments(kind, *(payload[n : n + fragment] for n in range(0, size, fragment)))
        assert feed(Recorder(is_client), [wire(frames, not is_client)]) == expected
    data = Frame(kind, payload).encode(not is_client)
    for chop in (1024, 4096, 65536):
        assert feed(Recorder(is_client), [data[n : n + chop] for n in range(0, len(data), chop)]) == expected


@ROLES
@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024, 4096])
def test_section_9_many(kind: int, size: int, is_client: bool) -> None:
    """9.7 and 9.8: many messages in a row, made by the sender of the other end; 1,000 with `make compliance`."""
    sender = FrameSender(not is_client)
    payload = b"*" * size
    frames = [sender.message(kind, payload) for _ in range(MESSAGES)]
    data = b"".join(frame if isinstance(frame, bytes) else frame[0] + frame[1] for frame in frames)
    receiver = Recorder(is_client, frame_limit=UNLIMITED, message_limit=UNLIMITED)
    assert feed(receiver, [data]) == [message(kind, payload)] * MESSAGES
    assert receiver.messages_received == sender.messages_sent == receiver.frames_received == MESSAGES
    assert receiver.payload_received == sender.payload_sent == MESSAGES * size
    assert receiver.bytes_received == len(data)
