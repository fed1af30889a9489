"""Where a receiver of WebSocket frames stands, in a form that can travel."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["ReceivePosition"]


class ReceivePosition(NamedTuple):
    """Where a receiver stands between two bytes: plain values, which another process can take up."""

    head: bytes
    in_frame: bool
    opcode: int
    is_final: bool
    remaining: int
    taken: int
    key: bytes
    kind: int
    message_size: int
    state: int
    memory: bytes
    control: bytes
    closed: bool
