"""Which pages may open a WebSocket: browsers name them in the Origin header, and send the user's cookies to any.

Source: RFC 6455 section 10.2; RFC 6454.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from moorings.protocols.web_socket_request import UpgradeRequest


def check_origins(origins: Iterable[str | None] | None) -> frozenset[str | None] | None:
    """Origins that may connect. Errors: TypeError."""
    if origins is None:
        return None
    if isinstance(origins, str):
        origins = [origins]
    found = frozenset(origins)
    for origin in found:
        if origin is not None and not isinstance(origin, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"an origin is a str such as 'https://example.com', or None, not {type(origin).__name__}")
    return frozenset(None if origin is None else origin.lower().removesuffix("/") for origin in found)


def may_connect(request: UpgradeRequest, origins: Collection[str | None] | None) -> bool:
    """Whether the page that the request comes from may connect."""
    if origins is None:
        return request.is_same_origin
    return "*" in origins or (None if request.origin is None else request.origin.lower()) in origins
