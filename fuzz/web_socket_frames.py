"""Fuzz target: any octets are frames, told the same however they are cut, or refused with a close code.

The first octet says how: role, parts, stops, and where the rest is cut.
"""

from __future__ import annotations

from typing import Any

from moorings.protocols.web_socket_close import WebSocketProtocolError, may_be_received
from moorings.protocols.web_socket_frames import FrameReceiver

LIMIT = 4096


class Listener(FrameReceiver):
    """Notes what it is told, parts joined, and checks that each call keeps the promises of its name."""

    def __init__(self, is_client: bool, partial: bool, stops: bool) -> None:
        super().__init__(is_client, partial=partial, frame_limit=LIMIT, message_limit=LIMIT)
        self.told: list[tuple[Any, ...]] = []
        self.parts = b""
        self.stops = stops

    def on_message(self, kind: int, payload: Any) -> None:
        assert isinstance(payload, str if kind == 1 else bytes)
        assert len(payload) <= LIMIT
        self.note("message", kind, payload)

    def on_part(self, kind: int, payload: bytes, is_final: bool) -> None:
        assert payload or is_final
        self.parts += payload
        assert len(self.parts) <= LIMIT
        if is_final:
            self.note("message", kind, self.parts.decode() if kind == 1 else self.parts)
            self.parts = b""

    def on_ping(self, payload: bytes) -> None:
        assert len(payload) <= 125
        self.note("ping", payload)

    def on_pong(self, payload: bytes) -> None:
        assert len(payload) <= 125
        self.note("pong", payload)

    def on_close(self, code: int, reason: str) -> None:
        assert code == 1005 or may_be_received(code)
        assert len(reason.encode()) <= 123
        self.note("close", code, reason)

    def note(self, *event: Any) -> None:
        self.told.append(event)
        self.paused = self.stops


def told_of(pieces: list[bytes], listener: Listener) -> list[tuple[Any, ...]]:
    """What is told of pieces; a violation is the last event."""
    try:
        for piece in pieces:
            start = 0
            while True:
                before = listener.bytes_received
                taken = listener.receive_bytes(piece, start)
                assert listener.bytes_received == before + taken
                start += taken
                assert listener.unfinished_bytes() <= LIMIT + 139
                if not listener.paused:
                    assert start == len(piece)
                    break
                listener.paused = False
    except WebSocketProtocolError as error:
        assert error.close_code in {1002, 1007, 1009}
        listener.told.append(("fail", int(error.close_code)))
    return listener.told


def one_input(data: bytes) -> None:
    """Take octets whole and in two ways cut."""
    how, stream = (data[0] if data else 0), data[1:]
    is_client, partial, stops = bool(how & 1), bool(how & 2), bool(how & 4)
    whole = told_of([stream], Listener(is_client, False, False))
    place = (how >> 3) % (len(stream) + 1)
    cut = told_of([stream[:place], stream[place:]], Listener(is_client, partial, stops))
    slow = told_of([stream[n : n + 1] for n in range(len(stream))], Listener(is_client, partial, stops))
    assert whole == cut == slow
