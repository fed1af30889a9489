"""What both ends of the opening handshake share: headers, lists of tokens, the key and its answer.

Sources: RFC 6455 sections 1.3, 4 and 9.1; RFC 9110 sections 5.5 and 5.6.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Final

from moorings import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "HANDSHAKE_HEADERS_LIMIT",
    "HANDSHAKE_HEAD_LIMIT",
    "Header",
    "accept_key",
    "as_text",
    "check_subprotocols",
    "header_tokens",
    "header_values",
    "is_key",
    "is_token",
    "request_header",
]

#: Bytes of the head of a request or an answer, with interim answers before it.
HANDSHAKE_HEAD_LIMIT = 16384
#: Headers that it may have.
HANDSHAKE_HEADERS_LIMIT = 100

#: A header: its name and its value.
Header = tuple[str, str]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Beside those that begin with Sec-WebSocket-: what the handshake itself says, and what would give it a body.
_OWNED: Final = frozenset(("host", "upgrade", "connection", "content-length", "transfer-encoding", "te", "trailer"))


def is_token(text: str) -> bool:
    """Whether this is a token of RFC 9110."""
    return _TOKEN.fullmatch(text) is not None


def request_header(name: str, value: str) -> Header:
    """A header that the program adds. E_INVALIDARG for what the library owns, and for what would be another header."""
    if not is_token(name):
        raise errors.invalid_argument(f"{name!r} is no name of a header")
    if name.lower() in _OWNED or name.lower().startswith("sec-websocket-"):
        raise errors.invalid_argument(f"the header {name} is the library's own")
    if _CONTROL.search(value):
        raise errors.invalid_argument(f"the value of the header {name} has control characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise errors.invalid_argument(f"the value of the header {name} is no text that UTF-8 can carry") from None
    return name, value.strip(" \t")


def check_subprotocols(names: Sequence[str]) -> None:
    """E_INVALIDARG for what is no token, and for one that stands there twice."""
    for name in names:
        if not is_token(name):
            raise errors.invalid_argument(f"{name!r} is no name of a subprotocol")
    if len(set(names)) != len(names):
        raise errors.invalid_argument("a subprotocol is there twice")


def as_text(headers: Iterable[tuple[bytes, bytes]]) -> tuple[Header, ...]:
    """Headers as text, names in lower case; octets that are no UTF-8 as Latin-1."""
    found: list[Header] = []
    for name, value in headers:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = value.decode("latin-1")
        found.append((name.decode("ascii").lower(), text))
    return tuple(found)


def header_values(headers: Iterable[Header], name: str) -> list[str]:
    """The values of all headers with this name, which is in lower case."""
    return [value for key, value in headers if key == name]


def header_tokens(headers: Iterable[Header], name: str) -> list[str] | None:
    """The tokens of all these headers, in order; None where one is no list of tokens."""
    found: list[str] = []
    for value in header_values(headers, name):
        for item in value.split(","):
            text = item.strip(" \t")
            if not text:
                continue  # empty elements are allowed (RFC 9110 section 5.6.1)
            if not is_token(text):
                return None
            found.append(text)
    return found


def is_key(text: str) -> bool:
    """Whether this is a Sec-WebSocket-Key: 16 bytes in base64."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(key) == 16 and base64.b64encode(key).decode() == text


def accept_key(key: str) -> str:
    """The Sec-WebSocket-Accept for a key."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
