"""The sans-I/O protocol of the websockets library says the same of the same bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.protocols.compliance_cases import CASES
from tests.protocols.frames import BINARY, CLOSE, PING, PONG, TEXT, Frame, Recorder, feed, wire
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side, State

from moorings.protocols.web_socket_sending import FrameSender


def judged(data: bytes, is_client: bool) -> tuple[list[tuple[Any, ...]], int | None]:
    """What websockets makes of the bytes: messages and control frames, and the close code of a violation."""
    protocol = Protocol(Side.CLIENT if is_client else Side.SERVER, state=State.OPEN, max_size=None)
    protocol.receive_data(data)
    events: list[tuple[Any, ...]] = []
    kind, parts = 0, b""
    for frame in protocol.events_received():
        if frame.opcode in {Opcode.PING, Opcode.PONG}:
            events.append((frame.opcode.name.lower(), bytes(frame.data)))
        elif frame.opcode is Opcode.CLOSE:
            assert protocol.close_rcvd is not None
            events.append(("close", int(protocol.close_rcvd.code), protocol.close_rcvd.reason))
        else:
            kind = int(frame.opcode) or kind
            parts += frame.data
            if frame.fin:
                try:
                    events.append(("message", kind, parts.decode() if kind == TEXT else parts))
                except UnicodeDecodeError:
                    return [*events, ("fail", 1007)], 1007
                parts = b""
    error = protocol.parser_exc
    if error is not None:
        return events, int(protocol.close_sent.code) if protocol.close_sent else 1002
    return events, None


@pytest.mark.parametrize("is_client", [False, True])
@pytest.mark.parametrize("case", [case for case in CASES if case.number != "7.1.5"], ids=lambda case: case.number)
def test_cases(case: Any, is_client: bool) -> None:
    data = wire(case.frames, masked=not is_client)
    told, code = judged(data, is_client)
    ours = feed(Recorder(is_client), [data])
    assert [event for event in told if event[0] != "fail"] == [event for event in ours if event[0] != "fail"]
    assert (code is not None) == (ours[-1][0] == "fail")
    assert code is None or ours[-1][1] in {code, 1002}


FRAMES = st.lists(
    st.builds(
        Frame,
        st.sampled_from([0, TEXT, BINARY, 3, CLOSE, PING, PONG, 11]),
        st.one_of(st.binary(max_size=6), st.text(max_size=6).map(str.encode), st.just(b"\x03\xe8")),
        st.booleans(),
        st.sampled_from([0, 0, 0, 0, 1]),
    ),
    max_size=6,
)


@given(FRAMES, st.booleans(), st.integers(0, 40))
def test_any_frames(frames: list[Frame], is_client: bool, missing: int) -> None:
    """The same messages and control frames, and the same verdict.

    Not compared: UTF-8, which websockets leaves to its user; heads that are cut off, which we judge earlier; a close
    frame in the middle of a message (7.1.5), which websockets refuses and RFC 6455 section 5.4 allows.
    """
    data = wire(frames, masked=not is_client)
    data = data[: max(len(data) - missing, 0)]
    told, code = judged(data, is_client)
    receiver = Recorder(is_client)
    ours = feed(receiver, [data])
    assume(not (receiver.closed and receiver.message_begun()))
    fine = [event for event in ours if event[0] != "fail"]
    if ours and ours[-1] == ("fail", 1007):
        assert told[: len(fine)] == fine
    else:
        assert told == fine
        failed = bool(ours) and ours[-1][0] == "fail"
        assert (code is not None) == failed or (failed and missing > 0)


@given(st.lists(st.one_of(st.binary(max_size=200), st.text(max_size=200)), max_size=4), st.booleans())
def test_what_we_send(payloads: list[bytes | str], is_client: bool) -> None:
    sender = FrameSender(is_client)
    frames = [sender.message(TEXT if isinstance(payload, str) else BINARY, payload) for payload in payloads]
    data = b"".join(frame if isinstance(frame, bytes) else frame[0] + frame[1] for frame in frames)
    expected = [("message", TEXT if isinstance(payload, str) else BINARY, payload) for payload in payloads]
    assert judged(data + sender.ping(b"p") + sender.close(4000, "r"), not is_client) == (
        [*expected, ("ping", b"p"), ("close", 4000, "r")],
        None,
    )
