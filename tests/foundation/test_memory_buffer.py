from __future__ import annotations

import pytest

from moorings import errors
from moorings.foundation.memory_buffer import IMemoryBuffer, IMemoryBufferReference, MemoryBuffer


def _reference(buffer: MemoryBuffer) -> IMemoryBufferReference:
    with pytest.warns(DeprecationWarning, match="create_reference"):
        return buffer.create_reference()


def test_references_share_the_memory() -> None:
    with MemoryBuffer(4) as buffer:
        assert isinstance(buffer, IMemoryBuffer)
        first, second = _reference(buffer), _reference(buffer)
        assert (first.capacity, len(first)) == (4, 4)
        first.__buffer__(0)[1] = 7
        assert bytes(second.__buffer__(0)) == bytes(buffer.__buffer__(0)) == b"\0\7\0\0"


def test_closing_the_buffer_leaves_references_alone() -> None:
    buffer = MemoryBuffer(2)
    reference = _reference(buffer)
    buffer.close()
    buffer.close()
    assert reference.capacity == 2
    with (
        pytest.raises(OSError, match="MemoryBuffer is closed") as caught,
        pytest.warns(DeprecationWarning, match="use the buffer"),
    ):
        buffer.create_reference()
    assert isinstance(caught.value, errors.CodedError)
    assert caught.value.winerror == errors.RO_E_CLOSED


def test_closed_event() -> None:
    reference = _reference(MemoryBuffer(2))
    events: list[tuple[object, object]] = []
    removed: list[object] = []
    reference.add_closed(lambda sender, args: events.append((sender, args)))
    token = reference.add_closed(lambda *event: removed.append(event))
    reference.remove_closed(token)
    reference.close()
    reference.close()
    assert events == [(reference, None)]
    assert removed == []
    assert reference.capacity == 0
    with pytest.raises(OSError, match="closed"):
        reference.__buffer__(0)


def test_capacity_is_checked() -> None:
    with pytest.raises(ValueError, match="negative"):
        MemoryBuffer(-1)
    with pytest.raises(TypeError):
        MemoryBuffer("4")  # type: ignore[arg-type]
