"""Compare the façade packages with `tools/surface.json`.

`findings(module)` yields what differs. A finding that is *missing* may be excused by a line of
`tests/conformance/not_yet.txt`, which names a path:

    module                    no type of the module is there
    module.Type               the type is not there
    module.Type.member        the member is not there
    module.Type.member/2      the member does not take 2 arguments yet
    module.Type/trait         the type lacks a trait: a base class, `final`, a protocol such as `len`, ...

What is there and *wrong* (another number, a keyword where none is allowed, ...) is never excused.
"""

from __future__ import annotations

import collections.abc
import importlib
import inspect
import sys
import warnings
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any, Final

from tools.generate_facade import NOT_YET, SERVED_BY_GETATTR, load_surface

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ABSENT: Final = object()
# PyWinRT refuses `Object()`. Here it is an ordinary base class: a `__new__` that refuses would slow down every object.
_CONSTRUCTIBLE_HERE: Final = frozenset({"winrt.system.Object"})
#: A number that no enumeration has.
_UNKNOWN_VALUE: Final = 1_000_003

_PROTOCOLS: Final[dict[str, Callable[[Any], bool]]] = {
    "context_manager": lambda cls: hasattr(cls, "__enter__") and hasattr(cls, "__exit__"),
    "awaitable": lambda cls: hasattr(cls, "__await__"),
    # Before Python 3.12 `__buffer__` means nothing to the interpreter, but classes have it all the same.
    "buffer": lambda cls: hasattr(cls, "__buffer__") or issubclass(cls, bytes | bytearray) or _exports_memory(cls),
    "len": lambda cls: hasattr(cls, "__len__"),
    "iterable": lambda cls: hasattr(cls, "__iter__"),
    "sequence": lambda cls: issubclass(cls, collections.abc.Sequence),
    "mapping": lambda cls: issubclass(cls, collections.abc.Mapping),
    "mutable": lambda cls: issubclass(cls, collections.abc.MutableSequence | collections.abc.MutableMapping),
    "str": lambda cls: cls.__str__ is not object.__str__,
    "class_getitem": lambda cls: hasattr(cls, "__class_getitem__"),
}


@dataclass(frozen=True)
class Finding:
    """One difference between the surface and the library."""

    path: str
    what: str
    wrong: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def lookup(cls: Any, name: str) -> Any:
    """Return the attribute *name* of *cls* or of its metaclass without running properties; `_ABSENT` when none."""
    for base in (*cls.__mro__, *type(cls).__mro__):
        if name in vars(base):
            return vars(base)[name]
    return _ABSENT


def findings(module: str) -> Iterator[Finding]:
    """Yield what is missing or wrong in the façade *module*."""
    surface = load_surface()[module]
    package = importlib.import_module(module)
    served = SERVED_BY_GETATTR.get(module, frozenset())
    listed = set(package.__all__)
    if not listed and surface["types"]:
        yield Finding(module, "no type of the module is there")
        return
    for name, details in surface["types"].items():
        path = f"{module}.{name}"
        if name in served:
            yield from _check_served(package, name, path)
        elif name not in listed:
            yield Finding(path, "the type is not there")
        else:
            yield from check_type(getattr(package, name), name, details, path)
    for extra in sorted(listed - surface["types"].keys()):
        yield Finding(f"{module}.{extra}", "is not in the surface", wrong=True)


def _check_served(package: Any, name: str, path: str) -> Iterator[Finding]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = getattr(package, name, _ABSENT)
    if value is _ABSENT:
        yield Finding(path, "the name is not there")
    elif not any(issubclass(warning.category, DeprecationWarning) for warning in caught):
        yield Finding(path, "reading the name does not warn", wrong=True)


def check_type(value: Any, name: str, details: dict[str, Any], path: str) -> Iterator[Finding]:
    """Yield how *value* differs from the type *details* of the surface; *path* is `module.Type`, *name* its `Type`."""
    kind = details["kind"]
    if kind == "constant":
        if value != details["value"]:
            yield Finding(path, f"is {value}, not {details['value']}", wrong=True)
    elif kind in ("enum", "flags"):
        yield from _check_enum(value, kind, details, path)
    elif kind == "function":
        yield from _check_arities(value, {1} if "(value" in details["overloads"][0] else None, 0, path)
    elif kind == "delegate":
        parameters = getattr(value, "__parameters__", None)
        if parameters is None or len(parameters) != len(details["type_params"]):
            yield Finding(path, f"has not the type parameters {details['type_params']}", wrong=True)
    elif kind == "metaclass":
        if not (isinstance(value, type) and issubclass(value, type)):
            yield Finding(path, "is no metaclass", wrong=True)
    elif kind != "alias":
        yield from _check_class(value, name, details, path)


def _check_enum(value: Any, kind: str, details: dict[str, Any], path: str) -> Iterator[Finding]:
    if not (isinstance(value, type) and issubclass(value, IntFlag if kind == "flags" else IntEnum)):
        yield Finding(path, f"is no {kind}", wrong=True)
        return
    for name, number in details["values"].items():
        if getattr(value, name, None) is None:
            yield Finding(f"{path}.{name}", "the value is not there")
        elif getattr(value, name) != number:
            yield Finding(f"{path}.{name}", f"is {getattr(value, name)!r}, not {number}", wrong=True)
    try:
        value(_UNKNOWN_VALUE)
    except ValueError:
        yield Finding(f"{path}/open", "an unknown number is refused")


def _check_class(cls: Any, name: str, details: dict[str, Any], path: str) -> Iterator[Finding]:
    if not isinstance(cls, type):
        yield Finding(path, "is no class", wrong=True)
        return
    for field, _ in details.get("fields", ()):
        if lookup(cls, field) is _ABSENT:
            yield Finding(f"{path}.{field}", "the field is not there")
    if details["kind"] == "struct":
        yield from _check_struct(cls, details, path)
    yield from _check_traits(cls, details, path)
    for member in details.get("members", ()):
        yield from _check_member(cls, name, member, path)


def _check_struct(cls: Any, details: dict[str, Any], path: str) -> Iterator[Finding]:
    names = [field for field, _ in details["fields"]]
    zero = cls()
    if zero != zero.unpack() or hash(zero) != hash(zero.unpack()) or any(zero.unpack()):
        yield Finding(path, "does not equal the tuple of its zero fields", wrong=True)
    if cls.__match_args__ != tuple(names):
        yield Finding(path, f"__match_args__ is {cls.__match_args__}", wrong=True)
    if cls(*zero.unpack()) != cls(**dict.fromkeys(names, 0)):
        yield Finding(path, "differs between positional and keyword construction", wrong=True)


def _check_traits(cls: Any, details: dict[str, Any], path: str) -> Iterator[Finding]:
    for base in details.get("bases", ()):
        problem = _base_problem(cls, base)
        if problem:
            yield Finding(f"{path}/{problem}", f"{base} is no base class")
    for protocol in details.get("protocols", ()):
        if not _PROTOCOLS[protocol](cls):
            yield Finding(f"{path}/{protocol}", "the protocol is not there")
    if details.get("type_params") and not hasattr(cls, "__class_getitem__"):
        yield Finding(f"{path}/type_params", "takes no type parameters")
    refuses = details["kind"] == "static_class" or (details["kind"] == "class" and not details["constructible"])
    if refuses and path not in _CONSTRUCTIBLE_HERE:
        try:
            cls()
        except TypeError:
            pass
        else:
            yield Finding(path, "can be constructed", wrong=True)
    if details.get("final") and _can_be_subclassed(cls):
        yield Finding(f"{path}/final", "can be subclassed")


def _base_problem(cls: Any, base: str) -> str:
    """Return the name of the base class *base* when *cls* does not derive from it, else `""`."""
    module, _, name = base.partition("[")[0].rpartition(".")
    if not module.startswith("winrt."):
        # collections.abc bases are checked as protocols.
        return "" if module else "" if issubclass(cls, {"int": int, "str": str}.get(name, object)) else name
    target = getattr(importlib.import_module(module), name, None)
    if not isinstance(target, type):
        return name
    try:
        return "" if issubclass(cls, target) else name
    except TypeError:
        # A protocol class with properties: it is inherited, or it is not there.
        return "" if target in cls.__mro__ else name


def _can_be_subclassed(cls: Any) -> bool:
    try:
        type(cls)("Subclass", (cls,), {})
    except TypeError:
        return False
    return True


def _check_member(cls: Any, type_name: str, member: dict[str, Any], path: str) -> Iterator[Finding]:
    kind = member["kind"]
    if kind == "constructor":
        arities = {len(overload["params"]) for overload in member["overloads"]}
        yield from _check_arities(cls, arities, 0, f"{path}.{type_name}")
        return
    names = (member["add"], member["remove"]) if kind == "event" else (member["name"],)
    for name in names:
        here = f"{path}.{name}"
        attribute = lookup(cls, name)
        if attribute is _ABSENT:
            yield Finding(here, "the member is not there")
        elif kind == "property":
            yield from _check_property(attribute, member, here)
        elif kind == "event":
            yield from _check_method(cls, name, attribute, {1}, member, here)
        elif "deprecated_alias_of" in member:
            yield from _check_alias(cls, name, member["deprecated_alias_of"], here)
        else:
            arities = {len(overload["params"]) for overload in member["overloads"]}
            yield from _check_method(cls, name, attribute, arities, member, here)


def _check_property(attribute: Any, member: dict[str, Any], path: str) -> Iterator[Finding]:
    if not isinstance(attribute, property):
        # Compiled classes have other descriptors; static properties may be plain class attributes.
        return
    if member["set"] and attribute.fset is None:
        yield Finding(path, "the property has no setter", wrong=True)
    if not member["set"] and attribute.fset is not None:
        yield Finding(path, "the property must not have a setter", wrong=True)


def _check_method(
    cls: Any, name: str, attribute: Any, arities: set[int], member: dict[str, Any], path: str
) -> Iterator[Finding]:
    static = isinstance(attribute, staticmethod | classmethod) or lookup(type(cls), name) is attribute
    if static != bool(member.get("static")):
        yield Finding(path, "is static and should not be" if static else "is not static", wrong=True)
        return
    yield from _check_arities(getattr(cls, name), arities, 0 if static else 1, path)


def _check_arities(call: Any, arities: set[int] | None, receiver: int, path: str) -> Iterator[Finding]:
    """Check that *call* takes each number of arguments, no more than the largest, and no keywords."""
    if not callable(call):
        yield Finding(path, "is not callable", wrong=True)
        return
    declared: collections.abc.Set[int] | None = getattr(call, "__arities__", None)
    try:
        signature = inspect.signature(call)
    except (ValueError, TypeError):
        # Built without a signature: only what it declares can be compared.
        signature = inspect.Signature()
        declared = arities if declared is None else declared
    parameters = list(signature.parameters.values())[receiver:]
    variable = inspect.Parameter.VAR_POSITIONAL if declared is not None else inspect.Parameter.POSITIONAL_ONLY
    if any(parameter.kind not in (parameter.POSITIONAL_ONLY, variable) for parameter in parameters):
        yield Finding(path, f"has parameters that are not positional-only: {signature}", wrong=True)
        return
    if arities is None:
        return
    if declared is not None:
        yield from (Finding(f"{path}/{n}", f"does not take {n} arguments") for n in sorted(arities - declared))
        if declared - arities:
            yield Finding(path, f"takes {sorted(declared - arities)} arguments, too", wrong=True)
        return
    required = sum(1 for parameter in parameters if parameter.default is parameter.empty)
    for count in sorted(arities):
        if not required <= count <= len(parameters):
            yield Finding(f"{path}/{count}", f"does not take {count} arguments: {signature}")
    if len(parameters) > max(arities):
        yield Finding(path, f"takes more than {max(arities)} arguments: {signature}", wrong=True)


def _check_alias(cls: Any, name: str, new_name: str, path: str) -> Iterator[Finding]:
    """A 3.x name warns when it is called. Called without arguments it cannot do more: all targets need some."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            getattr(cls, name)()
        except TypeError:
            pass
        else:
            yield Finding(path, "the alias of a method that needs arguments took none", wrong=True)
    texts = [str(w.message) for w in caught if issubclass(w.category, DeprecationWarning)]
    if not any(new_name in text for text in texts):
        yield Finding(path, f"does not warn and name {new_name}", wrong=True)


def all_findings() -> dict[str, list[Finding]]:
    """Return the findings of every module of the surface."""
    return {module: list(findings(module)) for module in load_surface()}


def read_not_yet() -> list[str]:
    """Return the paths of `not_yet.txt`, without comments and empty lines."""
    lines = NOT_YET.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def not_yet_text() -> str:
    """Return what `not_yet.txt` should say; what is wrong is printed and left out."""
    lines = [
        "# What the surface (tools/surface.json) has and the library has not, one path a line; see",
        "# tools/check_surface.py for the forms. Rewrite it with: python tools/generate_facade.py --write-not-yet",
    ]
    for found in all_findings().values():
        for finding in found:
            if finding.wrong:
                print(f"wrong: {finding}", file=sys.stderr)
            else:
                lines.append(finding.path)
    return "\n".join(lines) + "\n"


def _exports_memory(cls: Any) -> bool:
    """Whether instances export their memory. Before 3.12 a compiled class shows no attribute for that."""
    try:
        memoryview(cls(1)).release()
    except TypeError:
        return False
    return True
