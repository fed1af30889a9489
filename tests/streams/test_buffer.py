from __future__ import annotations

import sys
from typing import Any

import pytest
from tests.streams.scripted import fails

from moorings import errors
from moorings.foundation.memory_buffer import MemoryBuffer
from moorings.streams.buffer import Buffer, copy_of, fill, wrap
from moorings.streams.interfaces import IBuffer


def test_capacity_and_length() -> None:
    buffer = Buffer(4)
    assert (buffer.capacity, buffer.length, len(buffer), bytes(buffer)) == (4, 0, 0, b"")
    buffer.length = 3
    assert (buffer.length, len(buffer), bytes(buffer)) == (3, 3, b"\0\0\0")
    with fails(errors.E_INVALIDARG):
        buffer.length = 5
    with pytest.raises(ValueError, match="negative"):
        buffer.length = -1
    with pytest.raises(OverflowError):
        buffer.length = 2**32
    assert buffer.length == 3


@pytest.mark.parametrize(
    ("capacity", "kind"), [(-1, ValueError), (2**32, OverflowError), ("1", TypeError), (None, TypeError)]
)
def test_bad_capacities(capacity: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        Buffer(capacity)


def test_memory_is_allocated_when_data_arrives() -> None:
    assert sys.getsizeof(Buffer(0xFFFFFFFF)) < 1000
    assert Buffer(0xFFFFFFFF)._storage_size() == 0


def test_exports_its_valid_bytes_writable() -> None:
    buffer = copy_of(b"abc")
    with memoryview(buffer) as view:
        assert not view.readonly
        view[0] = ord("X")
    assert bytes(buffer) == b"Xbc"
    buffer.length = 1
    assert bytes(buffer) == b"X"
    buffer.length = 3
    assert bytes(buffer) == b"Xbc"


def test_equality_is_identity() -> None:
    first, second = copy_of(b"a"), copy_of(b"a")
    assert first == first
    assert first != second
    assert first != b"a"
    assert len({first, second}) == 2


def test_it_says_what_it_is() -> None:
    buffer = copy_of(b"ab")
    assert repr(buffer) == str(buffer) == "<Buffer length=2 capacity=2>"
    assert isinstance(buffer, IBuffer)
    assert not isinstance(b"ab", IBuffer)
    with pytest.raises(TypeError):
        type("Sub", (Buffer,), {})


def test_wrap_shares_the_memory_of_its_object() -> None:
    memory = bytearray(b"....")
    buffer = wrap(memory)
    assert (buffer.capacity, buffer.length) == (4, 0)
    fill(buffer, b"ab")
    assert (bytes(buffer), bytes(memory)) == (b"ab", b"ab..")
    with pytest.raises(TypeError):
        wrap(b"read-only")
    with pytest.raises(BufferError):
        fill(buffer, b"abcde")


def test_copy_from_a_memory_buffer() -> None:
    memory = MemoryBuffer(3)
    memory.__buffer__(0)[:] = b"abc"
    buffer = Buffer.create_copy_from_memory_buffer(memory)
    memory.__buffer__(0)[0] = 0
    assert (type(buffer), bytes(buffer), buffer.capacity) == (Buffer, b"abc", 3)
    memory.close()
    with fails(errors.RO_E_CLOSED):
        Buffer.create_copy_from_memory_buffer(memory)
    with fails(errors.E_INVALIDARG):
        Buffer.create_copy_from_memory_buffer(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Buffer.create_copy_from_memory_buffer(b"abc")  # type: ignore[arg-type]


def test_memory_buffer_over_a_buffer() -> None:
    for source in (copy_of(b"abc"), bytearray(b"abc")):
        memory = Buffer.create_memory_buffer_over_ibuffer(source)
        assert isinstance(memory, MemoryBuffer)
        memory.__buffer__(0)[1] = ord("X")
        assert bytes(source) == b"aXc"
        memory.close()
        assert bytes(source) == b"aXc"
    with pytest.raises(TypeError):
        Buffer.create_memory_buffer_over_ibuffer(b"abc")
    with fails(errors.E_INVALIDARG):
        Buffer.create_memory_buffer_over_ibuffer(None)  # type: ignore[arg-type]
