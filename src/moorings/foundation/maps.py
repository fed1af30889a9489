"""`Map`, `MapView` and the observable maps `PropertySet`, `ValueSet` and `StringMap`."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from moorings.foundation.collections import (
    CollectionChange,
    IKeyValuePair,
    IMap,
    IMapChangedEventArgs,
    IMapView,
    IObservableMap,
    IPropertySet,
    MapChangedEventHandler,
)
from moorings.foundation.events import EventRegistrationToken, EventSource
from moorings.foundation.handler_errors import report_handler_error
from moorings.foundation.projection import Object, check_str, final
from moorings.foundation.property_value import IPropertyValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["KeyValuePair", "Map", "MapChangedEventArgs", "MapView", "PropertySet", "StringMap", "ValueSet"]

K = TypeVar("K")
V = TypeVar("V")


class KeyValuePair(IKeyValuePair[K, V]):
    """One entry of a map, as it was when it was read."""

    __slots__ = ("_key", "_value")

    def __init__(self, key: K, value: V) -> None:
        self._key = key
        self._value = value

    @property
    def key(self) -> K:
        """The key."""
        return self._key

    @property
    def value(self) -> V:
        """The value."""
        return self._value

    def __repr__(self) -> str:
        return f"KeyValuePair({self._key!r}, {self._value!r})"


class MapView(IMapView[K, V]):
    """A read-only view of a mapping; it shows later changes of that mapping."""

    __slots__ = ("__weakref__", "_entries")

    def __init__(self, entries: Mapping[K, V]) -> None:
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def __getitem__(self, key: K) -> V:
        return self._entries[key]

    def __repr__(self) -> str:
        return f"MapView({dict(self._entries)!r})"


class Map(IMap[K, V]):
    """A dict with the WinRT names."""

    __slots__ = ("__weakref__", "_entries")

    def __init__(self, entries: Mapping[K, V] | Iterable[tuple[K, V]] = ()) -> None:
        self._entries: dict[K, V] = dict(entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def __getitem__(self, key: K) -> V:
        return self._entries[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._entries[key] = value

    def __delitem__(self, key: K) -> None:
        del self._entries[key]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._entries!r})"


@final
class MapChangedEventArgs(IMapChangedEventArgs[str]):
    """What a handler of `map_changed` gets."""

    __slots__ = ("_change", "_key")

    def __init__(self, change: CollectionChange, key: str) -> None:
        self._change = change
        self._key = key

    @property
    def collection_change(self) -> CollectionChange:
        """The kind of change."""
        return self._change

    @property
    def key(self) -> str:
        """The key of the entry that changed; `""` for RESET."""
        return self._key


class _ObservableMap(IObservableMap[str, V], Generic[V]):
    """A dict with text keys that raises `map_changed`.

    Handlers run inline on the thread that makes the change, after it. An exception of a handler goes to the exception
    handler of the running loop, else to `sys.excepthook`. `async def` handlers are a TypeError: nobody could run them.
    """

    __slots__ = ("__weakref__", "_changed", "_entries")

    def __init__(self) -> None:
        self._entries: dict[str, V] = {}
        self._changed: EventSource[IObservableMap[str, V], IMapChangedEventArgs[str]] = EventSource()

    def _check_value(self, value: Any) -> V:
        raise NotImplementedError

    def add_map_changed(self, handler: MapChangedEventHandler[str, V], /) -> EventRegistrationToken:
        """Call *handler* (map, IMapChangedEventArgs) after each change, inline."""
        if iscoroutinefunction(handler):
            raise TypeError("a map_changed handler must not be an async function")
        return self._changed.add(handler)

    def remove_map_changed(self, token: EventRegistrationToken, /) -> None:
        """Remove the handler that *token* stands for; an unknown token does nothing."""
        self._changed.remove(token)

    def _notify(self, change: CollectionChange, key: str) -> None:
        self._changed.fire(self, MapChangedEventArgs(change, key), report_handler_error)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __getitem__(self, key: str) -> V:
        return self._entries[key]

    def __setitem__(self, key: str, value: V) -> None:
        check_str(key, "key")
        change = CollectionChange.ITEM_CHANGED if key in self._entries else CollectionChange.ITEM_INSERTED
        self._entries[key] = self._check_value(value)
        self._notify(change, key)

    def __delitem__(self, key: str) -> None:
        del self._entries[key]
        self._notify(CollectionChange.ITEM_REMOVED, key)

    def clear(self) -> None:
        """Remove all entries; one event with RESET tells so."""
        self._entries.clear()
        self._notify(CollectionChange.RESET, "")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._entries!r}>"


@final
class PropertySet(_ObservableMap[Object | None], IPropertySet):
    """A map from names to objects. Values are WinRT objects or None; box plain values with `box_string` and others."""

    __slots__ = ()
    _winrt_name_ = "Windows.Foundation.Collections.PropertySet"

    def _check_value(self, value: Any) -> Object | None:
        if value is None or isinstance(value, Object):
            return value
        raise TypeError(f"value must be a WinRT object, not {type(value).__name__}; box it first")


@final
class ValueSet(_ObservableMap[Object | None], IPropertySet):
    """A map from names to boxed values, which can be sent to other processes. TypeError for other objects."""

    __slots__ = ()
    _winrt_name_ = "Windows.Foundation.Collections.ValueSet"

    def _check_value(self, value: Any) -> Object | None:
        if value is None or isinstance(value, IPropertyValue | ValueSet):
            return value
        raise TypeError(f"value must be a boxed value, not {type(value).__name__}")


@final
class StringMap(_ObservableMap[str]):
    """A map from text to text."""

    __slots__ = ()
    _winrt_name_ = "Windows.Foundation.Collections.StringMap"

    def _check_value(self, value: Any) -> str:
        return check_str(value, "value")
