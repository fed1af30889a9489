from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings import errors
from moorings.foundation.collections import IIterable, IIterator, IVector, IVectorView
from moorings.foundation.projection import check_str
from moorings.foundation.scalars import UInt8
from moorings.foundation.vectors import SequenceIterator, Vector, VectorView
from moorings.foundation.winrt_array import Array

if TYPE_CHECKING:
    from collections.abc import Callable


def _winerror(call: Any, *args: Any) -> int:
    with pytest.raises(OSError) as caught:
        call(*args)
    assert isinstance(caught.value, errors.CodedError)
    return caught.value.winerror


def test_winrt_members() -> None:
    vector = Vector(["a", "b"])
    assert isinstance(vector, IVector)
    assert not isinstance(vector, IVectorView)
    assert vector.size == 2
    assert vector.get_at(1) == "b"
    vector.set_at(1, "B")
    vector.insert_at(2, "c")
    vector.insert_at(0, "z")
    vector.append("d")
    assert list(vector) == ["z", "a", "B", "c", "d"]
    vector.remove_at(0)
    vector.remove_at_end()
    assert list(vector) == ["a", "B", "c"]
    assert vector.index_of("B") == (True, 1)
    assert vector.index_of("x") == (False, 0)
    vector.replace_all(Array(str, ["x", "y"]))
    assert list(vector) == ["x", "y"]
    vector.clear()
    assert vector.size == 0


def test_bounds_are_oserror_in_winrt_and_indexerror_in_python() -> None:
    vector = Vector([1])
    for call, args in (
        (vector.get_at, (1,)),
        (vector.set_at, (1, 5)),
        (vector.insert_at, (2, 5)),
        (vector.remove_at, (1,)),
        (Vector[int]().remove_at_end, ()),
        (vector.get_many, (2, bytearray(1))),
    ):
        assert _winerror(call, *args) == errors.E_BOUNDS
    for index in (1, -2):
        with pytest.raises(IndexError):
            vector[index]
    with pytest.raises(ValueError, match="negative"):
        vector.get_at(-1)
    with pytest.raises(TypeError):
        vector.get_at("0")  # type: ignore[arg-type]


def test_get_many() -> None:
    vector = Vector([1, 2, 3])
    room = Array[int](UInt8, 2)
    assert vector.get_many(1, room) == 2
    assert list(room) == [2, 3]
    assert vector.get_many(3, room) == 0
    data = bytearray(5)
    assert vector.get_many(0, data) == 3
    assert data == b"\1\2\3\0\0"
    with pytest.raises(TypeError):
        vector.get_many(0, [0, 0])  # type: ignore[arg-type]


def test_replace_all_takes_arrays_and_buffers_but_no_lists() -> None:
    vector = Vector([1])
    vector.replace_all(b"\5\6")
    assert list(vector) == [5, 6]
    with pytest.raises(TypeError):
        vector.replace_all([1])  # type: ignore[arg-type]
    assert list(vector) == [5, 6]


def test_slices() -> None:
    vector = Vector("abcde")
    assert isinstance(vector[1:3], Array)
    assert list(vector[1:3]) == ["b", "c"]
    vector[1:3] = "XYZ"
    assert list(vector) == list("aXYZde")
    del vector[1:4]
    assert list(vector) == list("ade")
    uses: list[Callable[[], Any]] = [
        lambda: vector[::2],
        lambda: vector.__setitem__(slice(0, 2, 2), "x"),
        lambda: vector.__delitem__(slice(None, None, -1)),
    ]
    for use in uses:
        with pytest.raises(NotImplementedError):
            use()


def test_check_refuses_bad_elements_where_they_come_in() -> None:
    def check(value: Any) -> str:
        return check_str(value, "value")

    with pytest.raises(TypeError):
        Vector[Any](["a", 1], check)
    vector = Vector[Any](["a"], check)
    uses: list[Callable[[], Any]] = [
        lambda: vector.append(1),
        lambda: vector.set_at(0, 1),
        lambda: vector.__setitem__(slice(0, 1), [1]),
        lambda: vector.extend([1]),
    ]
    for use in uses:
        with pytest.raises(TypeError, match="value must be str"):
            use()
    assert list(vector) == ["a"]


def test_view_shows_later_changes_and_cannot_be_changed() -> None:
    vector = Vector([1, 2])
    view = vector.get_view()
    assert isinstance(view, IVectorView)
    vector.append(3)
    assert list(view) == [1, 2, 3]
    assert list(view[1:]) == [2, 3]
    assert (view.size, view.get_at(2), view.index_of(3)) == (3, 3, (True, 2))
    assert not hasattr(view, "append")
    assert repr(view) == "VectorView([1, 2, 3])"
    assert repr(vector) == "Vector([1, 2, 3])"


def test_identity_equality() -> None:
    vector = Vector([1])
    assert vector != Vector([1])
    assert len({vector, Vector([1])}) == 2
    assert VectorView([1]) != VectorView([1])


def test_iterators() -> None:
    vector = Vector([1, 2, 3])
    iterator = vector.first()
    assert isinstance(iterator, IIterator)
    assert (iterator.has_current, iterator.current) == (True, 1)
    assert iterator.move_next()
    room = Array[int](UInt8, 5)
    assert iterator.get_many(room) == 2
    assert list(room) == [2, 3, 0, 0, 0]
    assert not iterator.has_current
    assert _winerror(lambda: iterator.current) == errors.E_BOUNDS
    assert _winerror(iterator.move_next) == errors.E_BOUNDS
    assert list(iterator) == []
    assert list(SequenceIterator("ab")) == ["a", "b"]


def test_a_changed_vector_stops_its_iterators() -> None:
    vector = Vector([1, 2, 3])
    iterator = vector.first()
    vector.append(4)
    assert _winerror(lambda: iterator.current) == errors.E_CHANGED_STATE
    assert _winerror(iterator.move_next) == errors.E_CHANGED_STATE
    assert list(vector.first()) == [1, 2, 3, 4]


def test_a_python_class_may_implement_the_interfaces() -> None:
    class Countdown(IVectorView[int]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: Any) -> Any:
            if not 0 <= index < 3:
                raise IndexError
            return 3 - index

    countdown = Countdown()
    assert list(countdown) == list(countdown.first()) == [3, 2, 1]
    assert countdown.get_at(2) == 1
    assert isinstance(countdown, IIterable)

    class Plain(IVector[int]):
        def __init__(self) -> None:
            self.items = [1]

        def __len__(self) -> int:
            return len(self.items)

        def __getitem__(self, index: Any) -> Any:
            return self.items[index]

        def __setitem__(self, index: Any, value: Any) -> None:
            self.items[index] = value

        def __delitem__(self, index: Any) -> None:
            del self.items[index]

        def insert(self, index: Any, value: int, /) -> None:
            self.items.insert(index, value)

    plain = Plain()
    plain.append(2)
    assert plain.items == [1, 2]
    plain.clear()
    assert plain.items == []


@given(st.lists(st.tuples(st.sampled_from(["append", "insert", "pop", "set", "del", "clear"]), st.integers(-5, 5))))
def test_behaves_like_a_list(steps: list[tuple[str, int]]) -> None:
    vector: Vector[int] = Vector()
    model: list[int] = []
    for step, number in steps:
        outcomes: list[object] = []
        for target in (vector, model):
            try:
                match step:
                    case "append":
                        target.append(number)
                    case "insert":
                        target.insert(number, number)
                    case "pop":
                        outcomes.append(target.pop(number))
                    case "set":
                        target[number] = number
                    case "del":
                        del target[number]
                    case _:
                        target.clear()
            except IndexError:
                outcomes.append(IndexError)
        assert len(outcomes) in (0, 2)
        assert outcomes[:1] == outcomes[1:]
        assert list(vector) == model
