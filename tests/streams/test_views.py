from __future__ import annotations

import array
from typing import Any

import pytest
from tests.streams.scripted import fails

from moorings import errors
from moorings.foundation.memory_buffer import MemoryBuffer
from moorings.foundation.scalars import UInt16
from moorings.foundation.winrt_array import Array
from moorings.streams.buffer import Buffer, copy_of
from moorings.streams.interfaces import IBuffer
from moorings.streams.views import bytes_view, fillable_buffer, fillable_view


class OwnBuffer(IBuffer):
    """An IBuffer written in Python."""

    def __init__(self) -> None:
        self.memory = bytearray(b"abcd")
        self.used = 2

    @property
    def capacity(self) -> int:
        return 4

    @property
    def length(self) -> int:
        return self.used

    @length.setter
    def length(self, value: int) -> None:
        self.used = value

    def __buffer__(self, flags: int, /) -> memoryview:
        return memoryview(self.memory)[: self.used]


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"ab", b"ab"),
        (bytearray(b"ab"), b"ab"),
        (copy_of(b"ab"), b"ab"),
        (OwnBuffer(), b"ab"),
        (MemoryBuffer(2), b"\0\0"),
        (array.array("H", [1, 2]), array.array("H", [1, 2]).tobytes()),
        (Array(UInt16, [1]), array.array("H", [1]).tobytes()),
        (memoryview(b"abcd")[::-2], b"db"),
        (memoryview(bytearray(8)).cast("H", (2, 2)), bytes(8)),
        (memoryview(b"").cast("B"), b""),
        (array.array("I"), b""),
        (Buffer(3), b""),
    ],
)
def test_readable_memory(data: Any, content: bytes) -> None:
    view = bytes_view(data, "data")
    assert (bytes(view), view.format, view.ndim, len(view)) == (content, "B", 1, len(content))


@pytest.mark.parametrize("data", [bytearray(4), OwnBuffer(), array.array("H", [0, 0]), memoryview(bytearray(3))])
def test_fillable_memory_is_shared(data: Any) -> None:
    view = fillable_view(data, "data")
    view[0] = 7
    assert bytes_view(data, "data")[0] == 7


def test_fillable_buffers() -> None:
    buffer = Buffer(3)
    assert fillable_buffer(buffer, "buffer") is buffer
    wrapped = fillable_buffer(bytearray(3), "buffer")
    assert (wrapped.capacity, wrapped.length) == (3, 0)


@pytest.mark.parametrize("function", [bytes_view, fillable_view, fillable_buffer])
def test_what_has_no_memory_is_refused(function: Any) -> None:
    for bad in ("text", [1, 2], 3, object()):
        with pytest.raises(TypeError, match="name"):
            function(bad, "name")
    with fails(errors.E_INVALIDARG):
        function(None, "name")
    if function is not bytes_view:
        with pytest.raises(TypeError):
            function(b"read-only", "name")
        with pytest.raises(TypeError):
            function(memoryview(bytearray(8))[::2], "name")
