"""Which handler of a WebSocket listener a path belongs to.

A route is a path whose segments are text, ``{name}`` for any one segment, or, at the end, ``{name:path}`` for all that
is left. Text wins over a name, and a name over a rest. Paths are compared as they came; what stands in the place of a
name is percent-decoded. A segment ``.`` or ``..`` fits nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from moorings import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from moorings.foundation.events import EventSource
    from moorings.sockets.web_socket_listener_objects import WebSocketApproval

_NAME: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")
_TEXT: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%-]*")
_DOTS: Final = frozenset((".", "..", "%2e", "%2e%2e", ".%2e", "%2e."))
_LITERAL: Final = 0
_ONE: Final = 1
_REST: Final = 2


class Route:
    """One path, and what is said about the WebSockets that ask for it; None is what the listener says."""

    __slots__ = (
        "approve",
        "event",
        "is_stream",
        "kinds",
        "max_message_size",
        "names",
        "origins",
        "path",
        "subprotocols",
    )

    def __init__(
        self,
        path: str,
        *,
        subprotocols: Sequence[str] | None = None,
        origins: Collection[str | None] | None = None,
        approve: Callable[[WebSocketApproval], object] | None = None,
        max_message_size: int | None = None,
        is_stream: bool = False,
    ) -> None:
        self.path = path
        #: Of each segment: its kind, and its text or name.
        self.kinds, self.names = _parse(path)
        self.event: EventSource[Any, Any] | None = None
        self.subprotocols = subprotocols
        self.origins = origins
        self.approve = approve
        self.max_message_size = max_message_size
        self.is_stream = is_stream

    def fit(self, segments: list[str]) -> dict[str, str] | None:
        """What stands in the places of the names; None where these segments are not of this route."""
        count = len(self.kinds)
        if len(segments) != count and (self.kinds[-1] != _REST or len(segments) < count):
            return None
        found: dict[str, str] = {}
        for index, (kind, name) in enumerate(zip(self.kinds, self.names, strict=True)):
            if kind == _LITERAL:
                if segments[index] != name:
                    return None
                continue
            raw = segments[index] if kind == _ONE else "/".join(segments[index:])
            if not raw:
                return None
            try:
                found[name] = unquote(raw, errors="strict")
            except UnicodeDecodeError:
                return None
        return found


def _parse(path: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    if not path.startswith("/"):
        raise errors.invalid_argument(f"{path!r} is no path of a route: it begins with '/'")
    kinds: list[int] = []
    names: list[str] = []
    segments = path[1:].split("/")
    for index, segment in enumerate(segments):
        name = _NAME.fullmatch(segment)
        if name is None and not _TEXT.fullmatch(segment):
            hint = "a segment is text (percent-encoded where needed), {name}, or {name:path} at the end"
            raise errors.invalid_argument(f"{path!r} is no path of a route: {segment!r}; {hint}")
        if name is not None and name[2] and index < len(segments) - 1:
            raise errors.invalid_argument(f"{path!r} is no path of a route: {segment!r} can only be the last segment")
        kinds.append(_LITERAL if name is None else _REST if name[2] else _ONE)
        names.append(segment if name is None else name[1])
    given = [name for kind, name in zip(kinds, names, strict=True) if kind != _LITERAL]
    if len(set(given)) != len(given):
        raise errors.invalid_argument(f"{path!r} is no path of a route: a name is there twice")
    return tuple(kinds), tuple(names)


class Routes:
    """The routes of a listener, those that fit best first."""

    __slots__ = ("_routes",)

    def __init__(self) -> None:
        self._routes: list[Route] = []

    def __len__(self) -> int:
        return len(self._routes)

    def add(self, route: Route) -> None:
        """Add one. E_INVALIDARG where another one fits the same paths."""
        shape = _shape(route)
        if any(_shape(other) == shape for other in self._routes):
            raise errors.invalid_argument(f"there is a route for {route.path!r} already")
        # A new list: another thread may be looking through the old one.
        self._routes = sorted([*self._routes, route], key=lambda each: each.kinds)

    def find(self, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route of a path, and what stands in the places of its names."""
        segments = path[1:].split("/")
        if any(segment.lower() in _DOTS for segment in segments):
            return None
        for route in self._routes:
            found = route.fit(segments)
            if found is not None:
                return route, found
        return None

    def handled(self) -> bool:
        """Whether one of them has a handler."""
        return any(route.event is not None for route in self._routes)


def _shape(route: Route) -> list[tuple[int, str]]:
    pairs = zip(route.kinds, route.names, strict=True)
    return [(kind, name if kind == _LITERAL else "") for kind, name in pairs]
