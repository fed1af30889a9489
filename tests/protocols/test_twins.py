"""The receiver and the sender, compiled and pure, in one process: the same of the same bytes."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocols.frames import Frame, wire

from moorings._native_switch import native_mode
from moorings.protocols.web_socket_close import WebSocketProtocolError

pytestmark = pytest.mark.skipif(not native_mode()[0], reason="there is only one twin in this process")


def pure(name: str) -> Any:
    """A hot module, loaded from its source beside the compiled one."""
    compiled = import_module(f"moorings.protocols.{name}")
    source = Path(compiled.__file__ or "").with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"pure_{name}", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FRAMES = [import_module("moorings.protocols.web_socket_frames"), pure("web_socket_frames")]
SENDING = [import_module("moorings.protocols.web_socket_sending"), pure("web_socket_sending")]


def told(module: Any, pieces: list[Any], **settings: Any) -> list[Any]:
    """What a receiver tells, which exception it raises, and where it stands at the end."""
    events: list[Any] = []

    class Noting(module.FrameReceiver):  # type: ignore[misc]
        def on_message(self, *event: Any) -> None:
            events.append(event)
            self.paused = len(events) % 3 == 0

        on_part = on_ping = on_pong = on_close = on_message

    receiver = Noting(**settings)
    for piece in pieces:
        try:
            events.append(receiver.receive_bytes(piece))
        except (WebSocketProtocolError, TypeError, ValueError) as error:
            events.append((type(error), error.args if isinstance(error, WebSocketProtocolError) else None))
        receiver.paused = False
        events.append((receiver.frame_begun(), receiver.message_begun(), receiver.unfinished_bytes()))
    try:
        events.append(tuple(receiver.detach()))
    except WebSocketProtocolError as error:
        events.append(error.args)
    return [*events, receiver.bytes_received, receiver.frames_received, receiver.payload_received]


ANY_FRAME = st.builds(
    Frame,
    st.sampled_from([0, 0, 1, 1, 2, 2, 8, 9, 10, 3]),
    st.one_of(st.binary(max_size=6), st.text(max_size=6).map(str.encode), st.integers(0, 400).map(bytes)),
    st.booleans(),
    st.sampled_from([0, 0, 0, 0, 0, 4]),
)
ROLE = st.fixed_dictionaries(
    {
        "is_client": st.booleans(),
        "partial": st.booleans(),
        "decode_text": st.booleans(),
        "frame_limit": st.sampled_from([300, 1 << 30]),
        "message_limit": st.sampled_from([500, 1 << 30]),
    }
)


@given(st.lists(ANY_FRAME, max_size=8), ROLE, st.integers(1, 60))
def test_receivers(frames: list[Frame], settings: dict[str, Any], step: int) -> None:
    data = wire(frames, masked=not settings["is_client"])
    pieces = [data[place : place + step] for place in range(0, len(data), step)]
    assert told(FRAMES[0], pieces, **settings) == told(FRAMES[1], pieces, **settings)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.binary(max_size=9).map(bytearray),
            st.none(),
            st.text(max_size=3),
            st.integers(-3, 3),
        ),
        max_size=5,
    )
)
def test_receivers_of_odd_arguments(pieces: list[Any]) -> None:
    assert told(FRAMES[0], pieces, is_client=True) == told(FRAMES[1], pieces, is_client=True)


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["message", "fragment", "fragment", "ping", "pong", "close"]),
        st.sampled_from([1, 2, 1, 2, 0, 3]),
        st.one_of(st.binary(max_size=20), st.text(max_size=20), st.integers(120, 130).map(bytes), st.none()),
        st.booleans(),
    ),
    max_size=8,
)


def made(module: Any, calls: list[Any]) -> list[Any]:
    sender = module.FrameSender(False)
    answers: list[Any] = []
    for name, kind, payload, flag in calls:
        arguments = {"message": (kind, payload), "fragment": (kind, payload, flag), "close": (900 + 100 * kind, "x")}
        try:
            answers.append(getattr(sender, name)(*arguments.get(name, (payload,))))
        except (OSError, TypeError) as error:
            answers.append((isinstance(error, TypeError), str(error) if isinstance(error, OSError) else ""))
        answers.append((sender.kind, sender.close_sent, sender.frames_sent, sender.messages_sent, sender.payload_sent))
    return answers


@given(CALLS)
def test_senders(calls: list[Any]) -> None:
    assert made(SENDING[0], calls) == made(SENDING[1], calls)
