"""What `moorings.listen("ws://...")` gives: a WebSocketListener on the Python face."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from moorings import errors
from moorings.sockets.listening import ListeningMembers
from moorings.sockets.stream_socket_listener import DRAIN_TIMEOUT
from moorings.sockets.tls_settings import as_anchors, as_certificate
from moorings.sockets.web_socket_accepting import AnyWebSocket, WebSocketDrainReport
from moorings.sockets.web_socket_listener import GOING_AWAY, WebSocketListener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from moorings.protocols.http_answers import RequestHead
    from moorings.sockets.web_socket_listener_objects import WebSocketApproval
    from moorings.sockets.web_socket_settings import WebSocketCompression


class WebSocketListenOptions(TypedDict, total=False):
    """What `moorings.listen` takes for `ws://` and `wss://` only: see WebSocketListener and its control."""

    stream: bool
    routes: Mapping[str, Callable[[Any], object]]
    subprotocols: Iterable[str]
    origins: Iterable[str | None] | None
    approve: Callable[[WebSocketApproval], object] | None
    http: Callable[[RequestHead], object] | None
    max_message_size: int
    compression: WebSocketCompression | bool
    request_timeout: float
    ping_interval: float
    ping_timeout: float


_HOOKS = ("approve", "http")
_OPTIONS = frozenset(WebSocketListenOptions.__annotations__)


class ListeningWebSockets(ListeningMembers[AnyWebSocket, WebSocketDrainReport]):
    """A listener as `moorings.listen("ws://...")` gives it: use it with `async with`, or await it and close it later.

    It can also be iterated over. `listener` is the WebSocketListener behind it.
    """

    listener: WebSocketListener

    def __init__(
        self,
        place: tuple[str, str],
        path: str,
        handler: Callable[[Any], object] | None,
        drain_timeout: float | None,
        options: WebSocketListenOptions,
    ) -> None:
        listener = WebSocketListener()
        super().__init__(listener, *place, drain_timeout)
        given: dict[str, Any] = dict(options)
        routes: Mapping[str, Callable[[Any], object]] = given.pop("routes", {})
        stream = bool(given.pop("stream", False))
        for name, value in given.items():
            if name not in _OPTIONS:
                raise TypeError(f"listen() got an unexpected keyword argument {name!r}")
            setattr(listener if name in _HOOKS else listener.control, name, value)
        if path not in {"", "/"}:
            listener.add_route(path, handler, stream=stream)
        elif handler is not None:
            if routes:
                raise errors.invalid_argument("a handler beside routes needs a path in the URL: 'ws://host:port/path'")
            listener.add_handler(handler, stream=stream)
        elif stream:
            raise errors.invalid_argument("stream needs a handler or a path in the URL; routes have their own")
        for route, each in routes.items():
            listener.add_route(route, each)

    def secure(self, certificate: Any, client_ca: Any, key_log: Any) -> None:
        """Speak TLS."""
        if certificate is None:
            raise errors.invalid_argument("wss://: certificate is needed, such as certificate=('cert.pem', 'key.pem')")
        control = self.listener.control
        control.server_certificate = as_certificate(certificate, "certificate")
        control.client_trust_anchors = as_anchors(client_ca, "client_ca")
        control.alpn_protocols = ("http/1.1",)
        control.key_log = key_log

    async def drain(
        self, timeout: float | None = DRAIN_TIMEOUT, *, code: int = GOING_AWAY, reason: str = ""
    ) -> WebSocketDrainReport:
        """Stop accepting, tell all WebSockets (1001), wait up to `timeout` seconds for them to end, abort the rest.

        As `WebSocketListener.drain`. Errors: ValueError for a timeout that is no number; E_INVALIDARG for a code or
        reason that may not be sent. Cancellation: *object now broken*: the rest is aborted at once.
        """
        self._report = await self.listener.drain(timeout, code=code, reason=reason)
        return self._report

    async def _leave(self, timeout: float | None) -> None:
        await self.drain(timeout)
