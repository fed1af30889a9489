"""The server's half of the opening handshake: the request, its judgement, and the answers.

`ServerHandshake` reads the head from bytes. Who has read it already (an HTTP server before us) calls `judge_request`.
Either gives an `UpgradeRequest`, which the program accepts or refuses by path, origin and headers, or a
`RequestRefused`, whose answer only has to be sent. Time is the caller's.

Sources: RFC 6455 section 4.2; RFC 9110 sections 7.8 and 15; RFC 9112.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import h11

from moorings import errors
from moorings.protocols.http_answers import RequestHead, encode_answer
from moorings.protocols.web_socket_deflate import (
    DeflateParameters,
    DeflateSettings,
    ExtensionOffer,
    accept_offer,
    parse_extensions,
)
from moorings.protocols.web_socket_headers import (
    HANDSHAKE_HEAD_LIMIT,
    HANDSHAKE_HEADERS_LIMIT,
    Header,
    accept_key,
    as_text,
    header_tokens,
    header_values,
    is_key,
    request_header,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Acceptance",
    "RequestRefused",
    "ServerHandshake",
    "UpgradeRequest",
    "choose_subprotocol",
    "judge_request",
    "make_answer",
    "refuse_request",
]

_VERSION: Final = ("Sec-WebSocket-Version", "13")
_UPGRADE: Final = (("Upgrade", "websocket"), ("Connection", "Upgrade"))


class Acceptance(NamedTuple):
    """The answer 101, and what it agrees on."""

    answer: bytes
    subprotocol: str
    deflate: DeflateParameters | None


class RequestRefused(NamedTuple):
    """A request that is no WebSocket handshake, with the answer to it."""

    status: int
    text: str
    answer: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeRequest:
    """A request for a WebSocket that keeps all the rules."""

    resource: str
    """Path and query."""
    host: str
    origin: str | None
    """The Origin header, which browsers send: compare it with the origins that may connect."""
    subprotocols: tuple[str, ...]
    """What the client offers, in its order."""
    extensions: tuple[ExtensionOffer, ...]
    headers: tuple[Header, ...] = field(repr=False)
    """All headers, names in lower case."""
    key: str = field(repr=False)
    rest: bytes = b""
    """What came behind the head."""
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    """What stood in the places of a listener's route: `room` of ``/chat/{room}``, percent-decoded."""

    @property
    def path(self) -> str:
        """The resource without its query, as it came."""
        return self.resource.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """The fields of the query, decoded; of those with one name the first. Empty where it has over 100."""
        try:
            fields = parse_qsl(
                self.resource.partition("?")[2], keep_blank_values=True, max_num_fields=HANDSHAKE_HEADERS_LIMIT
            )
        except ValueError:
            return {}
        return dict(reversed(fields))

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that came, as they are; of those with one name the first (RFC 6265 section 5.4)."""
        pairs = [pair.partition("=") for value in header_values(self.headers, "cookie") for pair in value.split(";")]
        return {name.strip(): text.strip().strip('"') for name, equals, text in reversed(pairs) if equals}

    @property
    def is_same_origin(self) -> bool:
        """Whether no Origin is given (no browser), or it has the host and the port that the Host header has."""
        if self.origin is None:
            return True
        return bool(self.host) and self.origin.lower().partition("://")[2] == self.host.lower()

    def header(self, name: str) -> str | None:
        """The value of a header, several joined with commas; None where there is none."""
        values = header_values(self.headers, name.lower())
        return ", ".join(values) if values else None

    def accept(
        self, *, subprotocol: str = "", deflate: DeflateSettings | None = None, headers: Sequence[Header] = ()
    ) -> Acceptance:
        """The answer that opens the WebSocket, with more headers if wanted.

        E_INVALIDARG for a subprotocol that the client did not offer, and for headers that the library owns.
        """
        if subprotocol and subprotocol not in self.subprotocols:
            raise errors.invalid_argument(f"the client did not offer the subprotocol {subprotocol!r}")
        wanted: list[Header] = [*_UPGRADE, ("Sec-WebSocket-Accept", accept_key(self.key))]
        if subprotocol:
            wanted.append(("Sec-WebSocket-Protocol", subprotocol))
        agreed = accept_offer(deflate.check(), self.extensions) if deflate is not None else None
        if agreed is not None:
            wanted.append(("Sec-WebSocket-Extensions", agreed[1]))
        wanted += [request_header(name, value) for name, value in headers]
        lines = [f"{name}: {value}" for name, value in wanted]
        answer = "\r\n".join(("HTTP/1.1 101 Switching Protocols", *lines, "", "")).encode()
        return Acceptance(answer, subprotocol, agreed[0] if agreed is not None else None)


def make_answer(status: int, text: str = "", headers: Sequence[Header] = ()) -> bytes:
    """An HTTP answer that refuses, with a text as its body; the connection ends behind it.

    E_INVALIDARG for a status that refuses nothing (below 300), and for headers that the library owns.
    """
    if not 300 <= status <= 599:
        raise errors.invalid_argument(f"{status} refuses nothing: 300 to 599 do")
    return encode_answer(
        status, text.encode("utf-8", "replace"), [request_header(name, value) for name, value in headers]
    )


def refuse_request(status: int, text: str, headers: Sequence[Header] = ()) -> RequestRefused:
    """Refuse a request with a status, a line of text and more headers. Errors: as `make_answer`."""
    return RequestRefused(status, text, make_answer(status, text + "\n", headers))


def _refusal(status: int, text: str, headers: Sequence[Header] = ()) -> RequestRefused:
    return RequestRefused(status, text, encode_answer(status, (text + "\n").encode("utf-8", "replace"), headers))


def choose_subprotocol(offered: Sequence[str], supported: Sequence[str]) -> str:
    """The first of the server's subprotocols that the client offers; "" where there is none."""
    return next((name for name in supported if name in offered), "")


def judge_request(
    method: str, target: str, http_version: str, headers: Sequence[Header], rest: bytes = b""
) -> UpgradeRequest | RequestRefused:
    """Judge a request head that somebody has read. The names of the headers are in lower case."""
    refusal = _judge_http(method, http_version, headers)
    if refusal is not None:
        return refusal
    resource = _resource(target)
    if resource is None:
        return _refusal(400, "The target of the request is no path.")
    keys = header_values(headers, "sec-websocket-key")
    versions = header_values(headers, "sec-websocket-version")
    if not versions:
        return _refusal(400, "The Sec-WebSocket-Version header is missing.", [_VERSION])
    if versions != ["13"]:
        return _refusal(426, "This server speaks version 13 of the WebSocket protocol.", [*_UPGRADE, _VERSION])
    if len(keys) != 1 or not is_key(keys[0]):
        return _refusal(400, "The Sec-WebSocket-Key header is not one key of 16 bytes in base64.")
    origins = header_values(headers, "origin")
    if len(origins) > 1:
        return _refusal(400, "There is more than one Origin header.")
    subprotocols = header_tokens(headers, "sec-websocket-protocol")
    if subprotocols is None or len(set(subprotocols)) != len(subprotocols):
        return _refusal(400, "The Sec-WebSocket-Protocol header is no list of different tokens.")
    extensions: list[ExtensionOffer] = []
    for value in header_values(headers, "sec-websocket-extensions"):
        try:
            extensions += parse_extensions(value)
        except ValueError:
            return _refusal(400, "The Sec-WebSocket-Extensions header is malformed.")
    return UpgradeRequest(
        resource=resource,
        host=header_values(headers, "host")[0],
        origin=origins[0] if origins else None,
        subprotocols=tuple(subprotocols),
        extensions=tuple(extensions),
        headers=tuple(headers),
        key=keys[0],
        rest=rest,
    )


def _judge_http(method: str, http_version: str, headers: Sequence[Header]) -> RequestRefused | None:
    """The rules of HTTP, and whether a WebSocket is wanted at all."""
    if len(headers) > HANDSHAKE_HEADERS_LIMIT:
        return _refusal(431, "There are too many headers.")
    if http_version != "1.1":
        return _refusal(505, "WebSockets need HTTP/1.1.")
    if method != "GET":
        return _refusal(405, "WebSockets begin with GET.", [("Allow", "GET")])
    if len(header_values(headers, "host")) != 1:
        return _refusal(400, "There has to be one Host header.")
    lengths = header_values(headers, "content-length")
    if header_values(headers, "transfer-encoding") or any(value != "0" for value in lengths):
        return _refusal(400, "A request for a WebSocket has no body.")
    upgrade = header_tokens(headers, "upgrade")
    connection = header_tokens(headers, "connection")
    if upgrade is None or connection is None:
        # Other protocols may have a version, as in "h2c/1".
        upgrade = [name.strip() for value in header_values(headers, "upgrade") for name in value.split(",")]
        connection = connection or []
    if "websocket" not in [name.lower() for name in upgrade] or "upgrade" not in [name.lower() for name in connection]:
        return _refusal(426, "This is a WebSocket server.", [*_UPGRADE, _VERSION])
    return None


def _resource(target: str) -> str | None:
    """Path and query of a request target in origin form or absolute form."""
    if target.startswith("/"):
        return target
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    if parts.scheme.lower() not in {"http", "https", "ws", "wss"} or not parts.netloc or "#" in target:
        return None
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class ServerHandshake:
    """Reads one request head: `receive` until it gives something."""

    def __init__(self) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HANDSHAKE_HEAD_LIMIT)
        self._head_bytes = 0
        self._outcome: UpgradeRequest | RequestRefused | None = None
        #: The head as it came, once it has come and is well-formed HTTP.
        self.head: RequestHead | None = None

    @property
    def head_bytes(self) -> int:
        """Bytes that have come so far."""
        return self._head_bytes

    def receive(self, data: bytes) -> UpgradeRequest | RequestRefused | None:
        """The next bytes; what the request is, or None where more must come."""
        if self._outcome is not None or not data:
            return self._outcome
        taken = data[: HANDSHAKE_HEAD_LIMIT - self._head_bytes]
        rest = data[len(taken) :]
        self._head_bytes += len(taken)
        try:
            if taken:
                self._connection.receive_data(taken)
            event = self._connection.next_event()
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            self._outcome = _refusal(status if status in {431, 501} else 400, f"The request is malformed: {error}.")
            return self._outcome
        if isinstance(event, h11.Request):
            behind = self._connection.trailing_data[0] + rest
            self.head = RequestHead(
                event.method.decode("ascii"),
                event.target.decode("ascii"),
                event.http_version.decode("ascii"),
                as_text(event.headers),
            )
            self._outcome = judge_request(*self.head, behind)
        elif rest or self._head_bytes >= HANDSHAKE_HEAD_LIMIT:
            self._outcome = _refusal(431, "The head of the request is too long.")
        return self._outcome
