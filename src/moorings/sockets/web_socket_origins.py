"""Which pages may open a WebSocket: browsers name them in the Origin header, and send the user's cookies to any.

Source: RFC 6455 section 10.2; RFC 6454.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from moorings import errors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from moorings.protocols.web_socket_request import UpgradeRequest


# "null" is what browsers say for pages that are not to be told apart. Files have no host.
_ORIGIN: Final = re.compile(r"\*|null|file://|[a-z][a-z0-9+.-]*://[^\s/?#@,]+")
# Browsers leave these out (RFC 6454 section 6.1).
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def check_origins(origins: Iterable[str | None] | None) -> frozenset[str | None] | None:
    """Origins that may connect. Errors: TypeError; E_INVALIDARG for what no browser says of a page."""
    if origins is None:
        return None
    if isinstance(origins, str):
        origins = [origins]
    found = frozenset(origins)
    for origin in found:
        if origin is not None and not isinstance(origin, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"an origin is a str such as 'https://example.com', or None, not {type(origin).__name__}")
    return frozenset(None if origin is None else _checked(origin) for origin in found)


def _checked(origin: str) -> str:
    plain = origin.lower()
    if not plain.endswith("://"):
        plain = plain.removesuffix("/")
    if not _ORIGIN.fullmatch(plain):
        raise errors.invalid_argument(
            f"{origin!r} is no origin; write scheme and host, and the port where it is not the scheme's own, as in "
            "'https://example.com' or 'http://localhost:8000'"
        )
    return _as_browsers_say(plain)


def _as_browsers_say(origin: str) -> str:
    """An origin in lower case, without the port that its scheme has anyway."""
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition("://")[0], ""))


def may_connect(request: UpgradeRequest, origins: Collection[str | None] | None) -> bool:
    """Whether the page that the request comes from may connect."""
    if origins is None:
        return request.is_same_origin
    return "*" in origins or (None if request.origin is None else _as_browsers_say(request.origin.lower())) in origins
