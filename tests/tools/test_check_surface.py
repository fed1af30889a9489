"""The checker finds each kind of difference; without this the conformance test could pass for nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum, IntFlag
from typing import Any, Generic, TypeVar

import pytest
from tools.check_surface import all_findings, check_type, lookup, read_not_yet
from tools.generate_facade import load_surface

from moorings.errors import OpenEnum
from moorings.foundation.geometry import Point
from moorings.foundation.projection import Object, arities, deprecated_alias, final, not_constructible

T = TypeVar("T")


def _differences(value: Any, details: dict[str, Any]) -> list[str]:
    return [
        f"{'!' if finding.wrong else ''}{finding.path}" for finding in check_type(value, "Thing", details, "m.Thing")
    ]


def _method(name: str, *counts: int, **more: Any) -> dict[str, Any]:
    overloads = [{"params": [["p", "int"]] * count} for count in counts]
    return {"kind": "method", "name": name, "overloads": overloads, **more}


def _class(*members: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "class", "constructible": True, "members": list(members), **more}


class _Closed(IntEnum):
    ZERO = 0
    ONE = 1


class _Open(OpenEnum):
    ZERO = 0
    ONE = 1


class _Bits(IntFlag):
    ZERO = 0


@pytest.mark.parametrize(
    ("value", "kind", "values", "expected"),
    [
        (_Open, "enum", {"ZERO": 0, "ONE": 1}, []),
        (_Bits, "flags", {"ZERO": 0}, []),
        (_Closed, "enum", {"ZERO": 0}, ["m.Thing/open"]),
        (_Open, "enum", {"ONE": 2}, ["!m.Thing.ONE"]),
        (_Open, "enum", {"TWO": 2}, ["m.Thing.TWO"]),
        (_Open, "flags", {}, ["!m.Thing"]),
        (int, "enum", {}, ["!m.Thing"]),
    ],
)
def test_enums(value: Any, kind: str, values: dict[str, int], expected: list[str]) -> None:
    assert _differences(value, {"kind": kind, "values": values}) == expected


def test_constants_functions_delegates_and_metaclasses() -> None:
    assert _differences(5, {"kind": "constant", "value": 5}) == []
    assert _differences(5, {"kind": "constant", "value": 6}) == ["!m.Thing"]
    function = {"kind": "function", "overloads": ["(value: int) -> Object"]}
    assert _differences(lambda value, /: value, function) == []
    assert _differences(lambda value: value, function) == ["!m.Thing"]
    assert _differences(lambda: None, function) == ["m.Thing/1"]
    assert _differences(5, function) == ["!m.Thing"]
    assert _differences(Callable[[T], object], {"kind": "delegate", "type_params": ["T"]}) == []
    assert _differences(Callable[[T], object], {"kind": "delegate", "type_params": []}) == ["!m.Thing"]
    assert _differences(type, {"kind": "metaclass"}) == []
    assert _differences(int, {"kind": "metaclass"}) == ["!m.Thing"]
    assert _differences(object(), {"kind": "alias"}) == []
    assert _differences(object(), _class()) == ["!m.Thing"]


class _Methods:
    def connect(self, first: int, second: int = 0, /) -> None: ...

    def keyword(self, first: int) -> None: ...

    @staticmethod
    def find(first: int, /) -> None: ...

    @arities(0, 2)
    def dispatch(self, *args: int) -> None: ...

    @arities(1, 2)
    def half(self, first: int, *more: int) -> None: ...

    def undeclared(self, *args: int) -> None: ...

    old = deprecated_alias("connect")

    def silent(self, first: int, /) -> None: ...

    @property
    def reads(self) -> int:
        return 0

    @property
    def writes(self) -> int:
        return 0

    @writes.setter
    def writes(self, value: int) -> None: ...

    def add_x(self, handler: object, /) -> None: ...

    def remove_x(self) -> None: ...


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (_method("connect", 1, 2), []),
        (_method("connect", 2), []),
        (_method("connect", 1), ["!m.Thing.connect"]),
        (_method("connect", 0, 2, 3), ["m.Thing.connect/0", "m.Thing.connect/3"]),
        (_method("keyword", 1), ["!m.Thing.keyword"]),
        (_method("nothing", 1), ["m.Thing.nothing"]),
        (_method("find", 1, static=True), []),
        (_method("find", 1), ["!m.Thing.find"]),
        (_method("connect", 2, static=True), ["!m.Thing.connect"]),
        (_method("dispatch", 0, 2), []),
        (_method("dispatch", 0, 1, 2), ["m.Thing.dispatch/1"]),
        (_method("dispatch", 2), ["!m.Thing.dispatch"]),
        (_method("half", 1, 2), ["!m.Thing.half"]),
        (_method("undeclared", 0, 2), ["!m.Thing.undeclared"]),
        (_method("old", 2, deprecated_alias_of="connect"), []),
        (_method("old", 2, deprecated_alias_of="find"), ["!m.Thing.old"]),
        (_method("silent", 1, deprecated_alias_of="connect"), ["!m.Thing.silent"]),
        ({"kind": "property", "name": "reads", "get": True, "set": False}, []),
        ({"kind": "property", "name": "reads", "get": True, "set": True}, ["!m.Thing.reads"]),
        ({"kind": "property", "name": "writes", "get": True, "set": False}, ["!m.Thing.writes"]),
        ({"kind": "property", "name": "nothing", "get": True, "set": False}, ["m.Thing.nothing"]),
        ({"kind": "event", "name": "x", "add": "add_x", "remove": "remove_x"}, ["m.Thing.remove_x/1"]),
        ({"kind": "event", "name": "y", "add": "add_y", "remove": "remove_y"}, ["m.Thing.add_y", "m.Thing.remove_y"]),
    ],
)
def test_members(member: dict[str, Any], expected: list[str]) -> None:
    assert _differences(_Methods, _class(member)) == expected


def test_constructors() -> None:
    class Made:
        def __init__(self, first: int, second: int = 0, /) -> None: ...

    def constructor(*counts: int) -> dict[str, Any]:
        return {**_method("Thing", *counts), "kind": "constructor"}

    assert _differences(Made, _class(constructor(1, 2))) == []
    assert _differences(Made, _class(constructor(0, 2))) == ["m.Thing.Thing/0"]
    assert _differences(Made, _class(constructor(1))) == ["!m.Thing.Thing"]


def test_traits() -> None:
    @final
    @not_constructible
    class Leaf(Object):
        pass

    class Open:
        pass

    base = "winrt.system.Object"
    assert _differences(Leaf, _class(bases=[base], final=True, constructible=False)) == []
    assert _differences(Open, _class(bases=[base], final=True, constructible=False)) == [
        "m.Thing/Object",
        "!m.Thing",
        "m.Thing/final",
    ]
    assert _differences(Open, _class(bases=["int"])) == ["m.Thing/int"]
    protocols = ["len", "sequence", "iterable", "str", "buffer", "awaitable", "context_manager", "mapping", "mutable"]
    assert _differences(Open, _class(protocols=protocols)) == [f"m.Thing/{name}" for name in protocols]

    class Listed(Sequence[int], Generic[T]):
        pass

    assert _differences(Listed, _class(protocols=["len", "sequence", "iterable"], type_params=["T"])) == []
    assert _differences(Open, _class(type_params=["T"])) == ["m.Thing/type_params"]


def test_structs() -> None:
    details = {"kind": "struct", "fields": [["x", "float"], ["y", "float"]]}
    assert _differences(Point, details) == []
    assert _differences(Point, {"kind": "struct", "fields": [["x", "float"]]})[0] == "!m.Thing"
    assert _differences(Point, {"kind": "interface", "fields": [["z", "float"]]}) == ["m.Thing.z"]


def test_lookup_sees_the_metaclass_and_runs_nothing() -> None:
    class Meta(type):
        @property
        def everything(cls) -> int:
            raise AssertionError

    class Static(metaclass=Meta):
        pass

    assert isinstance(lookup(Static, "everything"), property)


def test_the_whole_surface_is_looked_at() -> None:
    assert all_findings().keys() == load_surface().keys()
    assert all(path.startswith("winrt.") for path in read_not_yet())
