"""The pure twin of `_native_web_sockets.pyx`: the same names, for installations without compiled modules.

A mask key is `bytes` here; none, or four zeros, is no mask.

States of the UTF-8 check (RFC 3629 section 4): 0 a character has ended; 1, 2, 3 so many more bytes follow; 4 to 7
behind a lead byte that narrows the next one: E0, ED, F0, F4.
"""

from __future__ import annotations

import codecs
import os
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MessageMemory",
    "check_utf8",
    "forget_mask_keys",
    "fresh_key",
    "key_at",
    "key_bytes",
    "key_of",
    "make_frame",
    "make_head",
    "mask",
    "mask_in_place",
    "unmask",
    "unmask_text",
    "utf8_state",
]

_POOL = 4096
_CHUNK = 16384
# What the next byte must lie between in each state, and where it leads.
_NEXT = (
    (0, 0, 0),
    (0x80, 0xBF, 0),
    (0x80, 0xBF, 1),
    (0x80, 0xBF, 2),
    (0xA0, 0xBF, 1),
    (0x80, 0x9F, 1),
    (0x90, 0xBF, 2),
    (0x80, 0x8F, 2),
)
_NO_KEY = bytes(4)


class _Keys:
    """Random bytes that were drawn and not used yet."""

    __slots__ = ("drawn",)

    def __init__(self) -> None:
        self.drawn: Iterator[tuple[bytes]] = iter(())


_keys = _Keys()


def forget_mask_keys() -> None:
    """Throw the drawn random bytes away: the parent process goes on with them."""
    _keys.drawn = iter(())


os.register_at_fork(after_in_child=forget_mask_keys)


def fresh_key() -> bytes:
    """A mask key: four bytes of the system's random source, which nobody gets again."""
    for key in _keys.drawn:  # one step of an iterator, which no other thread can take as well
        return key[0]
    drawn = struct.iter_unpack("4s", os.urandom(_POOL))
    key = next(drawn)
    _keys.drawn = drawn
    return key[0]


def key_at(data: Any, position: int) -> bytes:
    """The mask key that stands at a position."""
    return bytes(data[position : position + 4])


def key_of(key: bytes) -> bytes:
    """The key of four bytes, or of none."""
    if key and len(key) != 4:
        raise ValueError("a mask key has four bytes")
    return key or _NO_KEY


def key_bytes(key: bytes) -> bytes:
    """A mask key as bytes."""
    return key or _NO_KEY


def _masked(data: Any, key: bytes, phase: int) -> bytes:
    count = len(data)
    turned = key[phase & 3 :] + key[: phase & 3]
    pattern = int.from_bytes(turned, "little")
    if count > 4:
        pattern = int.from_bytes(turned * ((count + 3) // 4), "little")
    number = int.from_bytes(data, "little") ^ pattern
    return number.to_bytes(count + 4, "little")[:count]


def unmask(data: Any, start: int, count: int, key: bytes, phase: int) -> bytes:
    """A copy of part of the data with the mask off."""
    piece = data[start : start + count]
    if not key or key == _NO_KEY:
        return bytes(piece)
    return _masked(piece, key, phase)


def unmask_text(data: Any, start: int, count: int, key: bytes) -> str | None:
    """The same as text; None where it is not UTF-8."""
    try:
        return str(unmask(data, start, count, key, 0), "utf-8")
    except UnicodeDecodeError:
        return None


def _lead(byte: int) -> int:
    if byte < 0x80:
        return 0
    if byte < 0xC2 or byte > 0xF4:
        return -1
    if byte < 0xE0:
        return 1
    if byte < 0xF0:
        return {0xE0: 4, 0xED: 5}.get(byte, 2)
    return {0xF0: 6, 0xF4: 7}.get(byte, 3)


def _step(byte: int, state: int) -> int:
    if state == 0:
        return _lead(byte)
    low, high, following = _NEXT[state]
    return following if low <= byte <= high else -1


def check_utf8(data: Any, state: int) -> int:
    """The UTF-8 state behind a bytes-like object that begins in `state` (0..7); -1 where no text begins like this."""
    if not 0 <= state <= 7:
        raise ValueError("a UTF-8 state is a number from 0 to 7")
    view = memoryview(data).cast("B") if len(data) else b""
    place = 0
    while state and place < len(view):
        state = _step(view[place], state)
        if state < 0:
            return -1
        place += 1
    if place == len(view):
        return state
    try:
        _, used = codecs.utf_8_decode(view[place:], "strict", False)
    except UnicodeDecodeError:
        return -1
    for byte in view[place + used :]:
        state = _step(byte, state)
        if state < 0:
            return -1
    return state


def utf8_state(data: Any, start: int, count: int, state: int) -> int:
    """The UTF-8 state behind part of the data."""
    return check_utf8(data[start : start + count], state)


def mask(data: Any, key: bytes, phase: int = 0) -> bytes:
    """A masked or unmasked copy of a bytes-like object that begins at byte `phase` of a payload."""
    view = memoryview(data).cast("B") if len(data) else b""
    return unmask(view, 0, len(view), key_of(key), phase)


def mask_in_place(data: Any, key: bytes, phase: int = 0) -> None:
    """The same on the writable object itself."""
    view = memoryview(data)
    if view.readonly:
        raise BufferError("the object is read-only")
    if view.nbytes:
        view.cast("B")[:] = mask(view, key, phase)


def make_head(first: int, length: int) -> bytes:
    """The head of an unmasked frame whose first byte is `first`."""
    if length < 0:
        raise ValueError("a length is not negative")
    return _head(first, length, 0)


def _head(first: int, length: int, mask_bit: int) -> bytes:
    if length < 126:
        return bytes((first, mask_bit | length))
    if length < 65536:
        return struct.pack("!BBH", first, mask_bit | 126, length)
    return struct.pack("!BBQ", first, mask_bit | 127, length)


def make_frame(first: int, payload: Any, masked: bool) -> bytes:
    """Head and payload (bytes-like, or str as UTF-8) in one object; masked with a fresh key if wanted."""
    data = payload.encode() if isinstance(payload, str) else _octets(payload)
    if not masked:
        return _head(first, len(data), 0) + data
    key = fresh_key()
    return _head(first, len(data), 0x80) + key + _masked(data, key, 0)


def _octets(payload: Any) -> bytes:
    if isinstance(payload, bytes):
        return payload
    view = memoryview(payload)
    if not view.c_contiguous:
        raise BufferError("the payload does not lie in one piece")
    return bytes(view)


class MessageMemory:
    """A message that comes in pieces: memory grows with what has come."""

    __slots__ = ("chunks", "last", "size")

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.last = bytearray()
        self.size = 0

    def add(self, data: Any, start: int, count: int, key: bytes, phase: int, announced: int) -> int:
        """Append part of the data with the mask off; `announced` bytes, these among them, are the most to come."""
        return self.add_bytes(unmask(data, start, count, key, phase), announced)

    def add_bytes(self, data: bytes, announced: int) -> int:
        """Append; `announced` as the caller knows it."""
        del announced
        self.size += len(data)
        if len(data) >= 4096 and not self.last:
            self.chunks.append(data)
            return 0
        # Small pieces are gathered, since an object for each would cost a multiple of its bytes.
        self.last += data
        if len(self.last) >= _CHUNK:
            self.chunks.append(bytes(self.last))
            self.last = bytearray()
        return 0

    def check_last(self, count: int, state: int) -> int:
        """The UTF-8 state behind the last `count` bytes, which begin in `state`."""
        if not 0 <= count <= self.size or not 0 <= state <= 7:
            raise ValueError("there are not so many bytes, or no such state")
        tail: list[bytes] = []
        left = count
        for chunk in (bytes(self.last), *reversed(self.chunks)):
            if not left:
                break
            tail.append(chunk[-left:])
            left -= len(tail[-1])
        return check_utf8(b"".join(reversed(tail)), state)

    def take(self) -> bytes:
        """All bytes; the memory is empty then."""
        chunks = self.chunks
        chunks.append(bytes(self.last))
        data = b"".join(chunks)
        self.chunks = []
        self.last = bytearray()
        self.size = 0
        return data

    def take_text(self) -> str:
        """The same as str; the bytes have been checked."""
        return self.take().decode()
