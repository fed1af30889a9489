"""The client's half of the opening handshake: the request, and what the answer means.

Feed `ClientHandshake.receive` with what comes until it gives an outcome. Bytes behind a 101 belong to the connection
and come back untouched. Of any other answer the beginning of the body is kept, which mostly says what is wrong. Time is
the caller's: `end` gives the outcome of an answer that stopped coming.

Sources: RFC 6455 section 4.1; RFC 9110 section 10.2.3; RFC 9112.
"""

from __future__ import annotations

import base64
import os
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

import h11

from moorings import errors
from moorings.protocols.web_error_status import (
    INET_E_CONNECTION_ABORTED,
    WEB_SOCKET_E_UNSUPPORTED_EXTENSION,
    WEB_SOCKET_E_UNSUPPORTED_SUBPROTOCOL,
    WEB_SOCKET_E_UNSUPPORTED_VERSION,
    WebErrorStatus,
    get_web_status,
    hresult_of_http_status,
)
from moorings.protocols.web_socket_deflate import (
    DeflateParameters,
    DeflateSettings,
    accept_answer,
    make_offer,
    parse_extensions,
)
from moorings.protocols.web_socket_headers import (
    HANDSHAKE_HEAD_LIMIT,
    HANDSHAKE_HEADERS_LIMIT,
    Header,
    accept_key,
    as_text,
    check_subprotocols,
    header_tokens,
    header_values,
    request_header,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from moorings.foundation.uri import Uri

__all__ = ["REFUSAL_BODY_LIMIT", "Accepted", "ClientHandshake", "Refused", "WebSocketTarget", "target_of"]

#: Bytes that are kept of the body of an answer that refuses.
REFUSAL_BODY_LIMIT = 4096
#: Characters of the path that texts show.
_SHOWN_PATH = 100


class WebSocketTarget(NamedTuple):
    """Where a ws or wss URI leads."""

    secure: bool
    host: str
    """The name or address to connect to, without brackets, in ASCII."""
    port: int
    authority: str
    """What the Host header says: the port only where it is not the scheme's own."""
    resource: str
    """Path and query."""


def target_of(uri: Uri) -> WebSocketTarget:
    """Where a URI leads. E_INVALIDARG for other schemes than ws and wss, for user information and for a fragment."""
    scheme = uri.scheme_name
    if scheme not in {"ws", "wss"}:
        raise errors.invalid_argument(f"the scheme of {uri.display_uri} is {scheme}, and WebSockets have ws and wss")
    if uri.fragment:
        raise errors.invalid_argument(f"{uri.display_uri} has a fragment, which no WebSocket URI has")
    authority, slash, rest = uri.absolute_canonical_uri.partition("://")[2].partition("/")
    if "@" in authority:
        raise errors.invalid_argument(f"{uri.display_uri} has user information: use control.server_credential")
    authority, mark, query = authority.partition("?")
    host = re.sub(r":\d+$", "", authority).strip("[]")
    return WebSocketTarget(scheme == "wss", host, uri.port, authority, (slash or "/") + mark + query + rest)


class Accepted(NamedTuple):
    """The server speaks WebSocket."""

    subprotocol: str
    """The one that the server chose, or ""."""
    deflate: DeflateParameters | None
    headers: tuple[Header, ...]
    rest: bytes
    """What came behind the head."""


class Refused(NamedTuple):
    """It does not."""

    hresult: int
    text: str
    """What is wrong. The server's own words are in it as they came."""
    http_status: int = 0
    """The status of the answer; 0 where no answer could be read."""
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    """Its beginning."""

    @property
    def status(self) -> WebErrorStatus:
        """The web status that belongs to the HRESULT."""
        return get_web_status(self.hresult)

    @property
    def retry_after(self) -> int | datetime | None:
        """When to try again, as the server has it: seconds, or a moment; None where it does not say."""
        values = header_values(self.headers, "retry-after")
        if len(values) != 1:
            return None
        if re.fullmatch(r"[0-9]{1,9}", values[0]):
            return int(values[0])
        try:
            return parsedate_to_datetime(values[0])
        except (OverflowError, ValueError):
            return None


class ClientHandshake:
    """One request and its answer.

    ``headers`` are the program's own, checked by `request_header`; ``authorization`` is the value of that header, from
    `moorings.protocols.http_authentication`. E_INVALIDARG for subprotocols that are no tokens or are there twice.
    """

    def __init__(
        self,
        target: WebSocketTarget,
        *,
        headers: Sequence[Header] = (),
        subprotocols: Sequence[str] = (),
        deflate: DeflateSettings | None = None,
        authorization: str | None = None,
    ) -> None:
        check_subprotocols(subprotocols)
        self._path = target.resource.partition("?")[0]  # what is behind it may be a secret
        self._subprotocols = tuple(subprotocols)
        self._deflate = deflate
        self._key = base64.b64encode(os.urandom(16)).decode()
        wanted: list[Header] = [
            ("Host", target.authority),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", self._key),
            ("Sec-WebSocket-Version", "13"),
        ]
        if subprotocols:
            wanted.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
        if deflate is not None:
            wanted.append(("Sec-WebSocket-Extensions", make_offer(deflate.check())))
        wanted += [request_header(name, value) for name, value in headers]
        if authorization is not None:
            wanted.append(request_header("Authorization", authorization))
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HANDSHAKE_HEAD_LIMIT)
        request = h11.Request(
            method="GET", target=target.resource, headers=[(name.encode(), value.encode()) for name, value in wanted]
        )
        #: The request, to be sent.
        self.request: bytes = self._connection.send(request) or b""
        self._connection.send(h11.EndOfMessage())
        self._head_bytes = 0
        self._response: h11.Response | None = None
        self._body = b""
        self._outcome: Accepted | Refused | None = None

    @property
    def refusal_begun(self) -> bool:
        """Whether an answer that refuses has come, and the rest of its body is awaited. It need not be."""
        return self._response is not None

    def receive(self, data: bytes) -> Accepted | Refused | None:
        """The next bytes of the answer; the outcome, or None where more must come. Not for the end: see `end`."""
        rest = data
        while rest and self._outcome is None:
            room = len(rest) if self._response is not None else HANDSHAKE_HEAD_LIMIT - self._head_bytes
            if room <= 0:
                return self._not_http("the head of the answer is too long")
            self._head_bytes += len(rest[:room])
            self._connection.receive_data(rest[:room])
            rest = rest[room:]
            self._read_events(rest)
        return self._outcome

    def end(self) -> Accepted | Refused:
        """The connection ended, or nobody waits any longer: what the answer means as far as it came."""
        if self._outcome is None and self._response is None:
            self._outcome = Refused(INET_E_CONNECTION_ABORTED, "the connection ended before the server had answered")
        return self._outcome or self._refuse()

    def _read_events(self, rest: bytes) -> None:
        try:
            while self._outcome is None:
                event = self._connection.next_event()
                if isinstance(event, h11.InformationalResponse):
                    if event.status_code == 101:
                        self._outcome = self._judge(event, self._connection.trailing_data[0] + rest)
                elif isinstance(event, h11.Response):
                    self._response = event
                elif isinstance(event, h11.Data):
                    self._body += event.data[: REFUSAL_BODY_LIMIT - len(self._body)]
                    if len(self._body) >= REFUSAL_BODY_LIMIT:
                        self._refuse()
                elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                    self._refuse()
                else:
                    return
        except h11.RemoteProtocolError as error:
            if self._response is None:
                self._not_http(str(error))
            else:
                self._refuse()

    def _not_http(self, why: str, status: int = 0, headers: tuple[Header, ...] = ()) -> Refused:
        text = f"the server's answer is no answer of a WebSocket server: {why}"
        self._outcome = refused = Refused(errors.ERROR_HTTP_INVALID_SERVER_RESPONSE, text, status, headers)
        return refused

    def _refuse(self) -> Refused:
        assert self._response is not None
        status = self._response.status_code
        headers = as_text(self._response.headers)
        hresult = hresult_of_http_status(status)
        path = self._path if len(self._path) <= _SHOWN_PATH else f"{self._path[:_SHOWN_PATH]}..."
        text = f"the server answered GET {path} with {status} {self._response.reason.decode('latin-1')}".rstrip()
        versions = header_values(headers, "sec-websocket-version")
        if status in {400, 426} and "13" in (header_tokens(headers, "sec-websocket-version") or ()):
            text += ": it speaks our version, but got another request; a proxy may have dropped Upgrade and Connection"
        elif status in {400, 426} and versions:
            hresult = WEB_SOCKET_E_UNSUPPORTED_VERSION
            text += f": it speaks version {', '.join(versions)} only"
        self._outcome = refused = Refused(hresult, text, status, headers, self._body)
        return refused

    def _judge(self, event: h11.InformationalResponse, rest: bytes) -> Accepted | Refused:
        headers = as_text(event.headers)
        if len(headers) > HANDSHAKE_HEADERS_LIMIT:
            return self._not_http("it has too many headers", 101, headers)
        upgrade = header_tokens(headers, "upgrade")
        if upgrade is None or [name.lower() for name in upgrade] != ["websocket"]:
            return self._not_http("its Upgrade header is not websocket", 101, headers)
        if "upgrade" not in [name.lower() for name in header_tokens(headers, "connection") or ()]:
            return self._not_http("its Connection header does not say Upgrade", 101, headers)
        if header_values(headers, "sec-websocket-accept") != [accept_key(self._key)]:
            return self._not_http("its Sec-WebSocket-Accept is not that of our key", 101, headers)
        chosen = header_values(headers, "sec-websocket-protocol")
        if chosen and (len(chosen) > 1 or chosen[0] not in self._subprotocols):
            text = f"the server chose the subprotocol {', '.join(chosen)}, which was not offered"
            return Refused(WEB_SOCKET_E_UNSUPPORTED_SUBPROTOCOL, text, 101, headers)
        named = header_values(headers, "sec-websocket-extensions")
        deflate: DeflateParameters | None = None
        if named:
            try:
                answers = parse_extensions(",".join(named))
            except ValueError as error:
                return self._not_http(str(error), 101, headers)
            if self._deflate is not None and len(answers) == 1:
                deflate = accept_answer(self._deflate, answers[0])
            if deflate is None:
                text = f"the server answered with the extension {', '.join(named)}, which was not offered like this"
                return Refused(WEB_SOCKET_E_UNSUPPORTED_EXTENSION, text, 101, headers)
        return Accepted(chosen[0] if chosen else "", deflate, headers, rest)
