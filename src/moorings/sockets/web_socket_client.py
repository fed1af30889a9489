"""What the client classes of WebSockets share: settings, connecting, and the time before and after.

Theory of operation
-------------------
The public object has a `WebSocketConnection`, as a StreamSocket has a `Connection`: state, settings, endpoints, TLS,
statistics. Connecting moves it from new to busy, opens with `WebSocketOpening`, and then lets the class begin
(`_begin`). A connect that failed or was cancelled makes it new again, also in the very turn in which it succeeded
(`_forget`).

Where there is no link yet stands a `NoLink`: whatever needs one fails there, and says why.
"""

# pyright: reportPrivateUsage=false
# What hangs on one connection knows it.

from __future__ import annotations

from asyncio import get_running_loop
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from moorings import errors
from moorings.foundation.at_home import run_at_home
from moorings.foundation.home import current_home
from moorings.foundation.projection import (
    Object,
    arities,
    check_object,
    check_str,
    deprecated_alias,
    final,
    not_constructible,
)
from moorings.foundation.task_operation import Kind, start_operation
from moorings.foundation.uri import Uri
from moorings.sockets.connection import Connection, Lifeline, Settings, State, post, require, start
from moorings.sockets.connection_facts import ConnectionFacts
from moorings.sockets.server_validation import (
    ServerValidationEvent,
    ServerValidationMembers,
    Validation,
    decide,
    validation_event_of,
)
from moorings.sockets.web_socket_face import WebSocketFace, close_arguments
from moorings.sockets.web_socket_opening import CONNECT_TIMEOUT, WebSocketOpening, WebSocketRequest
from moorings.sockets.web_socket_settings import deflate_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from moorings.certificates.credentials import PasswordCredential
    from moorings.foundation.async_info import IAsyncAction
    from moorings.foundation.events import EventRegistrationToken
    from moorings.foundation.home import Home
    from moorings.foundation.operation import Operation
    from moorings.foundation.vectors import Vector
    from moorings.protocols.web_socket_headers import Header
    from moorings.sockets.web_socket_opening import Opened, Tunnel
    from moorings.sockets.web_socket_settings import WebSocketCompression

__all__ = [
    "CLIENT_RULES",
    "PONG_INTERVAL",
    "PONG_INTERVAL_FLOOR",
    "NoLink",
    "WebSocketClient",
    "WebSocketClientFacts",
    "WebSocketConnection",
    "WebSocketServerCustomValidationRequestedEventArgs",
]

#: Seconds between two pongs that nobody asked for, and the fewest. Source: the keep-alive interval of WinHTTP.
PONG_INTERVAL: Final = 30.0
PONG_INTERVAL_FLOOR: Final = 15.0

_NEW = State.NEW
_BUSY = State.BUSY
_OPEN = State.OPEN
_CLOSED = State.CLOSED

#: In which states the members that both client classes have may be used.
CLIENT_RULES = {
    "connect_async": frozenset((_NEW,)),
    "set_request_header": frozenset((_NEW,)),
    "add_server_custom_validation_requested": frozenset((_NEW,)),
    "ping": frozenset((_OPEN,)),
    **dict.fromkeys(
        (
            "remove_server_custom_validation_requested",
            "add_closed",
            "remove_closed",
            "control",
            "information",
            "close",
            "aclose",
            "abort",
            "close_code",
            "close_reason",
            "latency",
        ),
        frozenset(State),
    ),
}

HINTS = {
    State.NEW: "connect it first",
    State.BUSY: "await the connect first",
    State.OPEN: "it is connected already; make a new one",
}


class WebSocketConnection(Connection):
    """State, settings, endpoints and statistics of one WebSocket that connects."""

    __slots__ = (
        "compression",
        "connect_operation",
        "connect_timeout",
        "headers",
        "kind",
        "ping_interval",
        "ping_timeout",
        "place",
        "pong_interval",
        "pong_interval_in_use",
        "protocol",
        "proxy_credential",
        "response_headers",
        "server_credential",
        "supported_protocols",
        "tunnel",
    )

    def __init__(self, kind: str, place: tuple[str, int]) -> None:
        """`place` is where the program made the public object."""
        super().__init__(Settings())
        self.kind = kind
        self.place = place
        self.connect_operation: Operation | None = None
        self.headers: list[Header] = []
        self.supported_protocols: Vector[str] | None = None
        self.server_credential: PasswordCredential | None = None
        self.proxy_credential: PasswordCredential | None = None
        self.compression: WebSocketCompression | bool = False
        self.pong_interval = timedelta(seconds=PONG_INTERVAL)
        self.pong_interval_in_use = timedelta()
        self.ping_interval = 0.0
        self.ping_timeout = 0.0
        #: Seconds for each address.
        self.connect_timeout = CONNECT_TIMEOUT
        #: The way to the server where it is not TCP.
        self.tunnel: Tunnel | None = None
        self.protocol = ""
        self.response_headers: tuple[Header, ...] = ()

    def request(self) -> WebSocketRequest:
        """What goes into the request, as of now."""
        credential = self.server_credential
        return WebSocketRequest(
            tuple(self.headers),
            tuple(self.supported_protocols or ()),
            deflate_settings(self.compression, True),
            None if credential is None else (credential.user_name, credential.password),
        )

    def intervals(self) -> dict[str, float]:
        """What the link is to be started with."""
        return {
            "pong_interval": self.pong_seconds(),
            "ping_interval": self.ping_interval,
            "ping_timeout": self.ping_timeout or self.ping_interval,
        }

    def pong_seconds(self) -> float:
        """The interval of unsolicited pongs as it will be; 0 is off."""
        wanted = self.pong_interval.total_seconds()
        return max(wanted, PONG_INTERVAL_FLOOR) if wanted > 0 else 0.0


@final
@not_constructible
class WebSocketServerCustomValidationRequestedEventArgs(ServerValidationMembers, Object):
    """A server whose certificate has passed, for the program to have the last word on.

    Source: WinRT WebSocketServerCustomValidationRequestedEventArgs.
    """

    __slots__ = ("__weakref__", "_validation")


Args = WebSocketServerCustomValidationRequestedEventArgs


def _make_args(validation: Validation) -> Args:
    args: Args = object.__new__(WebSocketServerCustomValidationRequestedEventArgs)
    args._validation = validation
    return args


class NoLink:
    """Stands for the link of a WebSocket that has none."""

    __slots__ = ("_connection",)

    close_code = 0
    close_reason = ""
    latency = 0.0

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise self.refusal()

    def refusal(self) -> OSError:
        """Why not."""
        connection = self._connection
        if connection.state == State.CLOSED:
            return errors.closed(str(connection))
        state = connection.state
        return errors.illegal_call(f"{connection}: used while it is {state.name.lower()}", HINTS[state])


class WebSocketClientFacts(ConnectionFacts):
    """What the information objects of both client classes have."""

    __slots__ = ()
    _connection: WebSocketConnection  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def protocol(self) -> str:
        """The subprotocol that the server chose; "" before, and where it chose none."""
        return self._connection.protocol

    @property
    def response_headers(self) -> Sequence[Header]:
        """The headers of the server's answer, names in lower case; empty before it. Not in WinRT."""
        return self._connection.response_headers


class WebSocketClient(ServerValidationEvent, WebSocketFace):
    """Mixed into the client classes. The link is theirs."""

    __slots__ = ()

    _connection: WebSocketConnection
    _rules: Mapping[str, frozenset[State]]

    def _begin(self, opened: Opened, lifeline: Lifeline) -> None:
        """The connection is open: make the link, let it begin, and keep `lifeline` for whoever uses it."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Be as before `_begin`."""
        raise NotImplementedError

    def _require(self, member: str) -> None:
        connection = self._connection
        if connection.home is not None and connection.home.dropped:
            raise errors.closed(str(connection), "it belongs to the parent process; make a new one after fork()")
        require(connection.state, self._rules, member, connection, HINTS)

    # -- before connecting -------------------------------------------------------------------------------------------

    def set_request_header(self, header_name: str, header_value: str, /) -> None:
        """Add a header to the request; the same name again adds another one.

        Errors: TypeError; E_INVALIDARG for what the handshake says itself (Host, Upgrade, Connection, everything that
        begins with Sec-WebSocket-), for what is no name of a header and for control characters; RO_E_CLOSED after
        `close()`, else E_ILLEGAL_METHOD_CALL once a connect has started. Source: WinRT
        MessageWebSocket.SetRequestHeader.
        """
        from moorings.protocols.web_socket_headers import request_header  # noqa: PLC0415 (only who uses it pays)

        header = request_header(check_str(header_name, "header_name"), check_str(header_value, "header_value"))
        self._require("set_request_header")
        self._connection.headers.append(header)

    def add_server_custom_validation_requested(
        self, handler: Callable[[Any, Any], object], /
    ) -> EventRegistrationToken:
        """Add a handler that has the last word on the certificate of a wss server.

        It is called with `(socket, WebSocketServerCustomValidationRequestedEventArgs)` after the usual checks have let
        the certificate pass and before anything is sent to that server, the request and a certificate of ours included.
        It may refuse, by `args.reject()` or by raising; it cannot accept what was refused. Connecting waits for
        `async def` handlers and for deferrals, and the 60 s of the connect do not run meanwhile.

        Errors: TypeError for something not callable; RO_E_CLOSED after `close()`, else E_ILLEGAL_METHOD_CALL once a
        connect has started. Source: WinRT MessageWebSocket.ServerCustomValidationRequested.
        """
        return super().add_server_custom_validation_requested(handler)

    # -- connecting --------------------------------------------------------------------------------------------------

    def connect_async(self, uri: Uri, /) -> IAsyncAction:
        """Connect to a ws or wss URI: TCP, with wss TLS, and the opening handshake (RFC 6455).

        Up to 5 addresses of the host are tried, staggered by 250 ms (RFC 8305), each for at most 60 s, the server's
        answer included. A failed or cancelled connect leaves the socket new: it may be configured and connected again.
        Redirects are not followed. A 401 is answered once where `control.server_credential` is set.

        Errors: TypeError for what is no Uri; E_INVALIDARG for another scheme, for user information and for a fragment,
        for subprotocols that are no tokens or there twice, and for certificate errors that cannot be ignored;
        RO_E_CLOSED after `close()`, else E_ILLEGAL_METHOD_CALL unless new. Through the action, with codes for
        `WebSocketError.get_status`: 0x80072EE7 (`socket.gaierror`) where the name is not found, 0x80072EFD
        (ConnectionRefusedError where it was that), 0x80072EE2 (TimeoutError), 0x80072EFE and 0x80072EFF
        (ConnectionAbortedError, ConnectionResetError), 0x80072F7D where TLS fails, 0x80072F05 and its like for the
        server's certificate, and `HandshakeRefusedError` for an answer that opens no WebSocket. Cancellation:
        *nothing happened*, *retry safe*. Source: WinRT MessageWebSocket.ConnectAsync.
        """
        member = "connect_async"
        check_object(uri, Uri, "uri")
        self._require(member)
        connection = self._connection
        opening = WebSocketOpening(
            connection, uri, connection.request(), member, tunnel=connection.tunnel, timeout=connection.connect_timeout
        )
        home = connection.home or current_home()
        home.usable(member)
        start(connection, lambda: self._require(member))
        connection.tls = None
        connection.home = home
        connection.host_name = opening.host
        connection.service_name = opening.service
        connection.protocol = ""
        connection.response_headers = ()
        operation = start_operation(home, self._open(home, opening), Kind.ACTION, undo=self._undo_connect)
        connection.connect_operation = operation
        if connection.state != _BUSY:
            connection.connect_operation = None  # another thread has ended it meanwhile
        return operation

    async def _open(self, home: Home, opening: WebSocketOpening) -> None:
        connection = self._connection
        event = validation_event_of(self)
        ask = partial(decide, home, event, self, make_args=_make_args) if event else None
        opened = await opening.open(home, ask)
        if connection.state != _BUSY:
            opened.stream.abort()
            raise errors.aborted(f"{connection} was closed while it was connecting")
        connection.opened(opened.stream, opened.remote)
        connection.protocol = opened.accepted.subprotocol
        connection.response_headers = opened.accepted.headers
        seconds = connection.pong_seconds()
        connection.pong_interval_in_use = timedelta(seconds=seconds)
        self._begin(opened, Lifeline(opened.stream, connection.place))
        connection.connect_operation = None

    def _undo_connect(self) -> None:
        """Be new again: the connect failed or was cancelled, perhaps in the very turn in which it succeeded."""
        connection = self._connection
        connection.connect_operation = None
        if connection.state == _OPEN:
            if connection.stream is not None:
                connection.stream.on_release = None  # it does not close what is to be new again
            self._forget()
        connection.pong_interval_in_use = timedelta()
        connection.back_to_new()

    # -- ending ------------------------------------------------------------------------------------------------------

    @arities(0, 2)
    def close(self, *arguments: Any) -> None:
        """Close with an empty close frame, or with a code and a reason; returns at once, a second call does nothing.

        What is queued goes out before. The server has 10 s to answer; then the connection is cut off, and `closed`
        tells 1006. `aclose()` waits for all that. A connect under way is cancelled.

        Errors: E_INVALIDARG for other codes than 1000 to 1003, 1007 to 1011 and 3000 to 4999, and for a reason of more
        than 123 bytes. Source: WinRT MessageWebSocket.Close.
        """
        close_arguments(arguments)
        if isinstance(self._link, NoLink):
            self._end_unopened()
            return
        super().close(*arguments)
        self._connection.state = State.CLOSED

    close_with_status = deprecated_alias("close")

    async def aclose(self) -> None:
        """`close()` and wait until it is done, the deadlines included.

        Cancellation: *object now broken*: the connection is aborted.
        """
        if isinstance(self._link, NoLink):
            await self._until_unopened()
        else:
            await super().aclose()

    def abort(self) -> None:
        """End at once: the server sees a reset, what was queued is lost. Never waits; may be called twice."""
        if isinstance(self._link, NoLink):
            self._end_unopened()
            return
        super().abort()
        self._connection.state = State.CLOSED

    def _end_unopened(self) -> None:
        """`close()` where nothing is open: a connect under way is cancelled."""
        connection = self._connection
        state: Any = connection.state
        connection.state = _CLOSED
        operation, connection.connect_operation = connection.connect_operation, None
        if operation is not None and state is _BUSY:
            operation.cancel()
        home = connection.home
        if home is not None and not home.dropped and not home.on_home_thread():
            post(home, self._end_late)

    def _end_late(self) -> None:
        """It was closed from another thread, perhaps in the very moment in which it opened."""
        if not isinstance(self._link, NoLink):
            self.abort()
        self._connection.state = _CLOSED

    async def _until_unopened(self) -> None:
        """Wait until a cancelled connect has let go of everything."""
        connection = self._connection
        home = connection.home
        operation = connection.connect_operation
        self._end_unopened()
        if operation is None or home is None or home.dropped or home.loop.is_closed():
            return
        if get_running_loop() is home.loop:
            await _ended(operation)
        else:
            await run_at_home(home, lambda: _ended(operation))

    def __repr__(self) -> str:
        return f"<{self._connection} {self._connection.state.name.lower()}>"

    def __str__(self) -> str:
        return f"{self._connection}"


async def _ended(operation: Operation) -> None:
    """Wait until an operation has ended, however it has."""
    waiter = get_running_loop().create_future()
    if not operation.done():
        operation.add_done_callback(lambda _operation: None if waiter.done() else waiter.set_result(None))
        await waiter
