"""`accept_asgi`: a ServerMessageWebSocket over the connection of an ASGI server."""

# pyright: reportPrivateUsage=false
# It makes the object that `accept_web_socket` makes.

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from moorings import errors
from moorings.engine.asgi_stream import AsgiLink, AsgiStream
from moorings.foundation.home import current_home
from moorings.names.endpoints import endpoint_text
from moorings.names.host_name import HostName
from moorings.protocols.web_error_status import hresult_of_http_status
from moorings.protocols.web_socket_frames import MESSAGE_LIMIT
from moorings.protocols.web_socket_headers import as_text, header_values, request_header
from moorings.sockets.connection import Lifeline, creation_place
from moorings.sockets.server_message_web_socket import ServerMessageWebSocket, opened_web_socket
from moorings.sockets.statistics import BandwidthStatistics
from moorings.sockets.web_socket_answering import REQUEST_TIMEOUT
from moorings.sockets.web_socket_origins import check_origins, may_connect
from moorings.sockets.web_socket_settings import WebSocketSizes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from moorings.protocols.web_socket_request import UpgradeRequest


class _Place:
    """What there is to know of the connection, and whoever drops the WebSocket drops this."""

    def __init__(self, stream: AsgiStream, scope: Mapping[str, Any]) -> None:
        self._connection = stream.label
        self._lifeline = Lifeline(stream, creation_place())
        self.bandwidth_statistics = BandwidthStatistics()
        server = scope.get("server")
        self.local_address = None if not server or server[1] is None else HostName(server[0])

    @property
    def information(self) -> _Place:
        """Itself."""
        return self


async def accept_asgi(
    scope: Mapping[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
    *,
    subprotocols: Sequence[str] = (),
    origins: Iterable[str | None] | None = None,
    max_message_size: int = MESSAGE_LIMIT,
    headers: Sequence[tuple[str, str]] = (),
) -> ServerMessageWebSocket:
    """Accept the WebSocket of an ASGI application: the same object as `accept_web_socket` gives.

    It lives over `receive` and `send`; ``async for``, `send`, `close` with code and reason, events and broadcasts are
    as ever, and `information.request` is the request. The server does what lies below: pings (`ping()` fails with
    ERROR_NOT_SUPPORTED), compression, the closing handshake. It belongs to the application's task: close it before
    that returns, and catch its errors there, or the server logs them. The first of `subprotocols` that the client
    offers is agreed on. `origins`: the pages that may connect, as for `accept_web_socket`; others get 403, and so does
    the caller, as 0x80190193. `headers` are added to the answer. A longer message than `max_message_size` bytes ends it
    with 1009.

    Errors: E_INVALIDARG for a scope that is no WebSocket; TimeoutError where no event of the server comes within 10 s;
    those of the server. Cancellation: *object now broken*: the server ends the connection.
    """
    if scope.get("type") != "websocket":
        raise errors.invalid_argument(f"accept_asgi needs the scope of a WebSocket, and this is {scope.get('type')!r}")
    sizes = WebSocketSizes(max_message_size).check()
    added = [request_header(name, value) for name, value in headers]
    allowed = check_origins(origins)
    request = _request(scope)
    async with asyncio.timeout(REQUEST_TIMEOUT):
        event = await receive()
    if event["type"] != "websocket.connect":
        raise errors.aborted("the client went before its WebSocket was accepted")
    if not may_connect(request, allowed):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})  # before it is accepted: 403
        raise errors.make(hresult_of_http_status(403), f"the origin {request.origin} may not connect")
    chosen = next((name for name in subprotocols if name in request.subprotocols), "")
    answer: dict[str, Any] = {"type": "websocket.accept", "subprotocol": chosen or None}
    if added:
        answer["headers"] = [(name.lower().encode(), value.encode()) for name, value in added]
    await send(answer)
    client = scope.get("client")
    peer = endpoint_text(str(client[0]), str(client[1])) if client else "a client"
    stream = AsgiStream(current_home(), receive, send, f"WebSocket of an ASGI server <- {peer}")
    place: Any = _Place(stream, scope)
    return opened_web_socket(place, AsgiLink(stream, sizes.max_message_size), request, chosen)


def _request(scope: Mapping[str, Any]) -> UpgradeRequest:
    from moorings.protocols.web_socket_request import UpgradeRequest  # noqa: PLC0415 (only who uses WebSockets pays)

    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else quote(str(scope["path"]), safe="/%!$&'()*+,;=:@~-._")
    query = scope.get("query_string", b"").decode("latin-1")
    headers = as_text(scope.get("headers", ()))
    hosts, origins = header_values(headers, "host"), header_values(headers, "origin")
    return UpgradeRequest(
        resource=path.partition("?")[0] + (f"?{query}" if query else ""),
        host=hosts[0] if hosts else "",
        origin=origins[0] if origins else None,
        subprotocols=tuple(scope.get("subprotocols", ())),
        extensions=(),
        headers=headers,
        key="",
    )
