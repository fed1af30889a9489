from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import pytest

from moorings import errors
from moorings.foundation.boxing import box_int32, box_string
from moorings.foundation.collections import (
    CollectionChange,
    IKeyValuePair,
    IMap,
    IMapChangedEventArgs,
    IMapView,
    IObservableMap,
    IPropertySet,
)
from moorings.foundation.maps import KeyValuePair, Map, MapView, PropertySet, StringMap, ValueSet
from moorings.foundation.uri import Uri


def _winerror(call: Any, *args: Any) -> int:
    with pytest.raises(OSError) as caught:
        call(*args)
    assert isinstance(caught.value, errors.CodedError)
    return caught.value.winerror


def test_winrt_members() -> None:
    entries = Map({"a": 1})
    assert isinstance(entries, IMap)
    assert not isinstance(entries, IMapView)
    assert isinstance(entries, MutableMapping)
    assert entries.insert("b", 2) is False
    assert entries.insert("b", 3) is True
    assert (entries.size, entries.lookup("b"), entries.has_key("c")) == (2, 3, False)
    entries.remove("a")
    assert dict(entries) == {"b": 3}
    assert _winerror(entries.lookup, "a") == errors.E_BOUNDS
    assert _winerror(entries.remove, "a") == errors.E_BOUNDS
    with pytest.raises(KeyError):
        entries["a"]
    assert repr(entries) == "Map({'b': 3})"
    entries.clear()
    assert entries.size == 0


def test_python_iterates_keys_and_first_gives_pairs() -> None:
    entries = Map([("a", 1), ("b", 2)])
    assert list(entries) == ["a", "b"]
    pairs = list(entries.first())
    assert all(isinstance(pair, IKeyValuePair) for pair in pairs)
    assert [(pair.key, pair.value) for pair in pairs] == [("a", 1), ("b", 2)]
    assert repr(KeyValuePair("a", 1)) == "KeyValuePair('a', 1)"


def test_view_and_split() -> None:
    entries = Map({"a": 1})
    view = entries.get_view()
    assert isinstance(view, IMapView)
    assert view.split() == (None, None)
    entries.insert("b", 2)
    entries.insert("c", 3)
    assert dict(view) == {"a": 1, "b": 2, "c": 3}
    first, second = view.split()
    assert isinstance(first, Mapping)
    assert isinstance(second, Mapping)
    assert {**first, **second} == dict(view)
    assert len(first) == 1
    assert not hasattr(view, "insert")
    assert repr(MapView({"a": 1})) == "MapView({'a': 1})"


def test_identity_equality() -> None:
    assert Map({"a": 1}) != Map({"a": 1})
    assert len({StringMap(), StringMap()}) == 2


@pytest.mark.parametrize("kind", [PropertySet, ValueSet, StringMap])
def test_observable_maps(kind: Any) -> None:
    entries = kind()
    value = "v" if kind is StringMap else box_int32(1)
    assert isinstance(entries, IObservableMap)
    assert isinstance(entries, IPropertySet) is (kind is not StringMap)
    events: list[tuple[object, CollectionChange, str]] = []

    def handler(sender: object, args: IMapChangedEventArgs[str]) -> None:
        events.append((sender, args.collection_change, args.key))

    token = entries.add_map_changed(handler)
    entries["a"] = value
    entries.insert("a", value)
    entries.remove("a")
    entries.clear()
    entries.remove_map_changed(token)
    entries["b"] = value
    assert [(change, key) for _, change, key in events] == [
        (CollectionChange.ITEM_INSERTED, "a"),
        (CollectionChange.ITEM_CHANGED, "a"),
        (CollectionChange.ITEM_REMOVED, "a"),
        (CollectionChange.RESET, ""),
    ]
    assert all(sender is entries for sender, _, _ in events)
    assert entries.lookup("b") is value
    assert "b" in repr(entries)
    with pytest.raises(TypeError, match="key must be str"):
        entries[5] = value
    with pytest.raises(KeyError):
        del entries["nothing"]
    with pytest.raises(TypeError, match="subclassed"):
        type("Sub", (kind,), {})


def test_values_are_checked() -> None:
    uri = Uri("http://h/")
    properties = PropertySet()
    properties["uri"] = uri
    properties["none"] = None
    with pytest.raises(TypeError, match="box it first"):
        properties["plain"] = "text"  # type: ignore[assignment]
    values = ValueSet()
    values["text"] = box_string("x")
    values["inner"] = ValueSet()
    with pytest.raises(TypeError, match="boxed value, not Uri"):
        values["uri"] = uri
    with pytest.raises(TypeError, match="value must be str"):
        StringMap()["a"] = 1  # type: ignore[assignment]
    assert "plain" not in properties


def test_async_handlers_are_refused() -> None:
    async def handler(sender: object, args: object) -> None: ...

    with pytest.raises(TypeError, match="async function"):
        StringMap().add_map_changed(handler)


def _failing(sender: object, args: object) -> None:
    raise ValueError("from a handler")


def test_failing_handler_is_reported_to_excepthook(monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[object] = []
    monkeypatch.setattr(sys, "excepthook", lambda *details: reports.append(details[0]))
    entries = StringMap()
    entries.add_map_changed(_failing)
    entries["a"] = "b"
    assert reports == [ValueError]
    assert entries["a"] == "b"


async def test_failing_handler_is_reported_to_the_running_loop() -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda *details: reports.append(details[1]))
    entries = StringMap()
    entries.add_map_changed(_failing)
    entries["a"] = "b"
    assert len(reports) == 1
    assert "_failing" in reports[0]["message"]
    assert isinstance(reports[0]["exception"], ValueError)
