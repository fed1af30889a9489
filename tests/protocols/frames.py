"""Frames written by hand, and a receiver that notes what it is told."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from moorings.protocols.web_socket_close import WebSocketProtocolError
from moorings.protocols.web_socket_frames import FrameReceiver

#: A twentieth of the published number of messages; all of them, and the biggest ones, with `make compliance`.
EVERYTHING = os.environ.get("MOORINGS_COMPLIANCE") == "all"
MESSAGES = 1000 if EVERYTHING else 50

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = b"\x37\xfa\x21\x3d"


class Frame(NamedTuple):
    """A frame as it should, or should not, be."""

    opcode: int
    payload: bytes = b""
    final: bool = True
    rsv: int = 0

    def encode(self, masked: bool, key: bytes = KEY) -> bytes:
        first = self.final << 7 | self.rsv << 4 | self.opcode
        size = len(self.payload)
        bit = masked << 7
        if size < 126:
            head = bytes((first, bit | size))
        elif size < 65536:
            head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
        if not masked:
            return head + self.payload
        pattern = (key * (size // 4 + 1))[:size]
        number = int.from_bytes(self.payload, "big") ^ int.from_bytes(pattern, "big")
        return head + key + number.to_bytes(size, "big")


def wire(frames: list[Frame], masked: bool) -> bytes:
    return b"".join(frame.encode(masked) for frame in frames)


class Recorder(FrameReceiver):
    """Notes what it is told; stops behind each of the first ``pauses`` calls."""

    def __init__(self, is_client: bool, *, pauses: int = 0, **settings: Any) -> None:
        super().__init__(is_client, **settings)
        self.events: list[tuple[Any, ...]] = []
        self.pauses = pauses

    def note(self, *event: Any) -> None:
        self.events.append(event)
        if self.pauses:
            self.pauses -= 1
            self.paused = True

    def on_message(self, kind: int, payload: Any) -> None:
        self.note("message", kind, payload)

    def on_part(self, kind: int, payload: bytes, is_final: bool) -> None:
        assert payload or is_final
        self.note("part", kind, payload, is_final)

    def on_ping(self, payload: bytes) -> None:
        self.note("ping", payload)

    def on_pong(self, payload: bytes) -> None:
        self.note("pong", payload)

    def on_close(self, code: int, reason: str) -> None:
        self.note("close", code, reason)


def feed(receiver: Recorder, pieces: list[bytes]) -> list[tuple[Any, ...]]:
    """What the receiver tells of these pieces; the last event is the violation, if there is one."""
    try:
        for piece in pieces:
            start = 0
            while True:
                start += receiver.receive_bytes(piece, start)
                if not receiver.paused:
                    break
                receiver.paused = False
            assert start == len(piece)
    except WebSocketProtocolError as error:
        receiver.events.append(("fail", error.close_code))
    return receiver.events


def cuts(data: bytes) -> list[list[bytes]]:
    """The data whole, byte by byte, and, where it is short, cut in two at every place."""
    found = [[data], [data[place : place + 1] for place in range(len(data))]]
    if len(data) < 300:
        found += [[data[:place], data[place:]] for place in range(1, len(data))]
    elif len(data) > 100_000:
        found[1] = [data[place : place + 997] for place in range(0, len(data), 997)]
    return found
