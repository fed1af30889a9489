"""Control, information and arguments of a WebSocketListener."""

# pyright: reportPrivateUsage=false
# The functions below the classes make their objects; as methods they would be part of the public surface.

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Any, NamedTuple

from moorings import errors
from moorings.foundation.projection import Object, check_float, final, not_constructible
from moorings.sockets.listener_objects import ListenerControlMembers
from moorings.sockets.web_socket_origins import check_origins
from moorings.sockets.web_socket_settings import deflate_settings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from moorings.protocols.web_socket_request import RequestRefused, UpgradeRequest
    from moorings.sockets.stream_socket import StreamSocket
    from moorings.sockets.stream_socket_information import StreamSocketInformation
    from moorings.sockets.web_socket_accepting import AnyWebSocket, WebSocketAccepting
    from moorings.sockets.web_socket_settings import WebSocketCompression


@final
@not_constructible
class WebSocketListenerControl(ListenerControlMembers):
    """Settings of a WebSocketListener: those of a StreamSocketListener, and those of its WebSockets.

    The former fail with E_ILLEGAL_METHOD_CALL once a bind has started, as there. The latter may change at any time,
    and hold for requests from then on.
    """

    __slots__ = ("_core",)
    _core: WebSocketAccepting

    @property
    def max_connections(self) -> int | None:
        """Open WebSockets beyond which a request is answered with 503 and Retry-After; None (default) is no limit.

        Errors: TypeError and ValueError for what is no positive integer.
        """
        return self._core.max_connections

    @max_connections.setter
    def max_connections(self, value: int | None) -> None:
        if value is not None and index(value) < 1:
            raise ValueError("max_connections must be positive, or None")
        number = None if value is None else index(value)
        self._core.at_home(lambda: self._core.limit(number))

    @property
    def max_message_size(self) -> int:
        """Bytes of the longest message that is taken; default 64 MiB. A longer one ends its WebSocket with 1009.

        Errors: TypeError and ValueError for what is no positive integer.
        """
        return self._core.max_message_size

    @max_message_size.setter
    def max_message_size(self, value: int) -> None:
        self._core.max_message_size = check_message_size(value)

    @property
    def compression(self) -> WebSocketCompression | bool:
        """Whether, and how, messages are compressed for clients that offer it (permessage-deflate); default False.

        Errors: TypeError; E_INVALIDARG for numbers out of range.
        """
        return self._core.compression

    @compression.setter
    def compression(self, value: WebSocketCompression | bool) -> None:
        deflate_settings(value, False)
        self._core.compression = value

    @property
    def subprotocols(self) -> Sequence[str]:
        """The subprotocols that the server speaks, the best one first; the first that a client offers is agreed on.

        Errors: TypeError; E_INVALIDARG for what is no token, and for one that is there twice.
        """
        return self._core.subprotocols

    @subprotocols.setter
    def subprotocols(self, value: Iterable[str]) -> None:
        self._core.subprotocols = check_subprotocol_names(value)

    @property
    def origins(self) -> Collection[str | None] | None:
        """Pages that may connect, by their Origin header, such as "https://example.com"; others get 403.

        None (default): pages of this very server, whose Origin has the host and the port of the Host header; behind a
        proxy that changes Host, name them. A set of origins: exactly those; "*" in it: all. Who sends no Origin is no
        browser, and is let in where the value is None or has None or "*" in it. Errors: TypeError; E_INVALIDARG for
        what is no origin, as one without a scheme.
        """
        return self._core.origins

    @origins.setter
    def origins(self, value: Iterable[str | None] | None) -> None:
        self._core.origins = check_origins(value)

    @property
    def request_timeout(self) -> float:
        """Seconds in which the head of a request has to come; default 10. Who is later gets 408.

        Errors: TypeError and ValueError for what is no number above 0.
        """
        return self._core.request_timeout

    @request_timeout.setter
    def request_timeout(self, value: float) -> None:
        self._core.request_timeout = check_seconds(value, "request_timeout", least=1e-3)

    @property
    def ping_interval(self) -> float:
        """Seconds without a byte from a client after which it gets a ping; default 20, 0 is never."""
        return self._core.ping_interval

    @ping_interval.setter
    def ping_interval(self, value: float) -> None:
        self._core.ping_interval = check_seconds(value, "ping_interval")

    @property
    def ping_timeout(self) -> float:
        """Seconds in which the answer to that ping has to come; default 20. Then the client is gone."""
        return self._core.ping_timeout

    @ping_timeout.setter
    def ping_timeout(self, value: float) -> None:
        self._core.ping_timeout = check_seconds(value, "ping_timeout", least=1e-3)


def check_seconds(value: float, name: str, *, least: float = 0.0) -> float:
    """A number of seconds. Errors: TypeError and ValueError."""
    number = check_float(value, name)
    if not number >= least:
        raise ValueError(f"{name} must be a number of seconds{' above 0' if least else ' from 0'}")
    return number


def check_message_size(value: int) -> int:
    """A positive number of bytes. Errors: TypeError and ValueError."""
    if index(value) < 1:
        raise ValueError("max_message_size must be a positive number of bytes")
    return index(value)


def check_subprotocol_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names of subprotocols. Errors: TypeError; E_INVALIDARG for what is no token, and for one that is there twice."""
    from moorings.protocols.web_socket_headers import check_subprotocols  # noqa: PLC0415 (only for WebSockets)

    if isinstance(names, str):
        raise TypeError("subprotocols takes several names, not one str")
    found = tuple(names)
    check_subprotocols(found)
    return found


class WebSocketListenerCounters(NamedTuple):
    """What a WebSocketListener has done so far, as of now."""

    opened: int
    """WebSockets that were opened in all."""
    open: int
    """Those that are open, or are closing."""
    half_open: int
    """Connections whose request has not come completely."""
    evicted: int
    """Half-open ones that were cut off, the oldest first, because there were too many."""
    incomplete: int
    """Connections that ended before their request was complete."""
    answers: Mapping[int, int]
    """Requests that opened nothing, by the status that they were answered with."""


@final
@not_constructible
class WebSocketListenerInformation(Object):
    """What there is to know about a WebSocketListener."""

    __slots__ = ("_core",)
    _core: WebSocketAccepting

    @property
    def local_port(self) -> str:
        """The bound TCP port as text, "" before the bind; it stays after close."""
        return self._core.accepting.port

    @property
    def counters(self) -> WebSocketListenerCounters:
        """What it has done so far: WebSockets, and requests that opened none."""
        core = self._core
        return WebSocketListenerCounters(
            core.opened, len(core.links), len(core.half_open), core.evicted, core.incomplete, dict(core.answers)
        )


@final
@not_constructible
class WebSocketListenerConnectionReceivedEventArgs(Object):
    """A new WebSocket, open. One that no handler keeps is closed with a ResourceWarning."""

    __slots__ = ("_request", "_socket")
    _request: UpgradeRequest
    _socket: AnyWebSocket

    @property
    def socket(self) -> AnyWebSocket:
        """The WebSocket, of messages, or where the route says so of bytes; the same object each time."""
        return self._socket

    @property
    def request(self) -> UpgradeRequest:
        """The request that opened it: path, query, headers, origin, and what stood in the places of the route."""
        return self._request


def received_args(socket: Any, request: UpgradeRequest) -> WebSocketListenerConnectionReceivedEventArgs:
    """The event arguments of a new WebSocket."""
    args = object.__new__(WebSocketListenerConnectionReceivedEventArgs)
    args._socket = socket
    args._request = request
    return args


def web_socket_listener_control(core: WebSocketAccepting) -> WebSocketListenerControl:
    """The control object of a listener."""
    control = object.__new__(WebSocketListenerControl)
    control._core = core
    control._accepting = core.accepting
    control._settings = core.accepting.settings
    return control


def web_socket_listener_information(core: WebSocketAccepting) -> WebSocketListenerInformation:
    """The information object of a listener."""
    information = object.__new__(WebSocketListenerInformation)
    information._core = core
    return information


@not_constructible
class WebSocketApproval:
    """A request that `approve` decides about; nothing has been answered yet.

    The hook returns True to let the WebSocket open, or False, which is 403; or it calls `refuse` for another answer.
    """

    __slots__ = ("_connection", "headers", "refusal", "request", "subprotocol", "user")
    #: The request: path, query, cookies, headers, origin.
    request: UpgradeRequest
    #: The subprotocol to agree on: what would be chosen, or another one that the client offers, or "".
    subprotocol: str
    #: More headers for the answer, pairs of name and value, such as ("Set-Cookie", "...").
    headers: list[tuple[str, str]]
    #: Anything that the handler should know; it finds it as `web_socket.information.user`.
    user: Any
    refusal: RequestRefused | None
    _connection: StreamSocket

    @property
    def information(self) -> StreamSocketInformation:
        """The connection: addresses, and with TLS the client's certificate."""
        return self._connection.information

    def refuse(self, status: int, text: str = "", headers: Iterable[tuple[str, str]] = ()) -> None:
        """Answer with a status from 300 to 599, a text and more headers; the last call counts.

        Errors: E_INVALIDARG for another status, and for headers that the library owns.
        """
        from moorings.protocols.web_socket_request import refuse_request  # noqa: PLC0415 (loaded already)

        self.refusal = refuse_request(status, text or "The request was refused.", tuple(headers))


def approval_of(connection: StreamSocket, request: UpgradeRequest, subprotocol: str) -> WebSocketApproval:
    """The object for the hook."""
    approval = object.__new__(WebSocketApproval)
    approval._connection = connection
    approval.request = request
    approval.subprotocol = subprotocol
    approval.headers = []
    approval.user = None
    approval.refusal = None
    return approval


def verdict_of(approval: WebSocketApproval, answer: object) -> None:
    """Take what the hook returned. Errors: TypeError where it is neither True nor False; E_INVALIDARG for a subprotocol
    that the client did not offer, and for headers that the library owns.
    """
    if approval.refusal is not None:
        return
    if answer is False:
        approval.refuse(403)
    elif answer is not True:
        raise TypeError(f"approve must return True or False, or call refuse(), not return {answer!r}")
    elif approval.subprotocol and approval.subprotocol not in approval.request.subprotocols:
        raise errors.invalid_argument(f"approve chose the subprotocol {approval.subprotocol!r}, which nobody offered")
    else:
        from moorings.protocols.web_socket_headers import request_header  # noqa: PLC0415 (only for WebSockets)

        approval.headers = [request_header(name, value) for name, value in approval.headers]
