"""Fuzz target: any control messages of a received datagram leave it with a sane segment size, alike in both twins."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from moorings._native_switch import native_mode
from moorings._pure_datagrams import Inbox

_INBOXES: list[Any] = [Inbox()]
if native_mode()[0]:
    _INBOXES.append(import_module("moorings._native_datagrams").Inbox())

_FIELDS = ("segment", "destination", "interface", "hop_limit", "traffic_class", "timestamp_ns")
_LEVELS = (0, 1, 17, 41)
_ROOM = 256


def controls_of(data: bytes) -> list[tuple[int, int, bytes]]:
    """Octets as control messages, as many as the kernel finds room for: level, kind, length, payload."""
    found = []
    room = _ROOM
    while len(data) >= 3:
        level, kind, length = _LEVELS[data[0] % 4], data[1], data[2] % 40
        payload, data = data[3 : 3 + length], data[3 + length :]
        room -= 16 + (len(payload) + 7) // 8 * 8
        if room < 0:
            break
        found.append((level, kind, payload))
    return found


def one_input(data: bytes) -> None:
    """Take octets as the size of a message and its control messages."""
    size = int.from_bytes(data[:2])
    controls = controls_of(data[2:])
    answers = []
    for inbox in _INBOXES:
        inbox.examine(size, controls)
        if not (inbox.segment == size or 0 < inbox.segment < size):
            raise AssertionError(f"segments of {inbox.segment} bytes in a message of {size}")
        answers.append(tuple(getattr(inbox, field) for field in _FIELDS))
    if answers[1:] not in ([], answers[:1]):
        raise AssertionError(f"the twins differ: {answers}")
