"""`WebSocketListener`: accepts WebSockets, each on its path. Not in WinRT, in the manner of StreamSocketListener.

A StreamSocketListener inside does what is TCP and TLS; what the event loop knows of the rest is in
`web_socket_accepting`.
"""

# pyright: reportPrivateUsage=false
# The iterator below the class belongs to it.

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

from moorings import errors
from moorings.foundation.at_home import run_at_home
from moorings.foundation.closable import IClosable
from moorings.foundation.events import EventRegistrationToken, EventSource
from moorings.foundation.projection import final
from moorings.sockets.connection import State, first_use, require
from moorings.sockets.stream_socket_listener import DRAIN_TIMEOUT, HINTS, StreamSocketListener
from moorings.sockets.web_socket_accepting import (
    WebSocketAccepting,
    WebSocketDrainReport,
    check_drain,
    drained_nothing,
    serving,
)
from moorings.sockets.web_socket_listener_objects import (
    WebSocketListenerConnectionReceivedEventArgs,
    WebSocketListenerControl,
    WebSocketListenerInformation,
    check_message_size,
    check_subprotocol_names,
    web_socket_listener_control,
    web_socket_listener_information,
)
from moorings.sockets.web_socket_origins import check_origins
from moorings.sockets.web_socket_routes import Route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from types import TracebackType

    from moorings.foundation.async_info import IAsyncAction
    from moorings.names.host_name import HostName
    from moorings.protocols.http_answers import RequestHead
    from moorings.sockets.accepting import Accepting
    from moorings.sockets.web_socket_accepting import AnyWebSocket
    from moorings.sockets.web_socket_listener_objects import WebSocketApproval

#: What clients are told when a listener drains: the server goes away (RFC 6455 section 7.4.1).
GOING_AWAY = 1001

_NEW = frozenset((State.NEW,))
_OPEN = frozenset((State.OPEN,))
_ALIVE = frozenset((State.NEW, State.BUSY, State.OPEN))
_ALWAYS = frozenset(State)

#: In which states each member may be used. In CLOSED the others fail with RO_E_CLOSED, else with E_ILLEGAL_METHOD_CALL.
RULES = {
    "bind_endpoint_async": _NEW,
    "bind_service_name_async": _NEW,
    "add_route": _ALIVE,
    "add_handler": _ALIVE,
    "add_connection_received": _ALIVE,
    "remove_connection_received": _ALWAYS,
    "async for": _OPEN,
    "approve": _ALWAYS,
    "http": _ALWAYS,
    "control": _ALWAYS,
    "information": _ALWAYS,
    "open_connections": _ALWAYS,
    "stop_accepting": _OPEN,
    "drain": _ALWAYS,
    "close": _ALWAYS,
}

Args = WebSocketListenerConnectionReceivedEventArgs


@final
class WebSocketListener(IClosable):
    """Accepts WebSockets: make it, set `control`, add routes or a handler, bind; or bind and iterate. Not in WinRT.

    A route's handler gets the open WebSocket, which ends with it: 1000 when it returns, 1011 when it raises, which is
    reported once unless it only says that the WebSocket has ended. `connection_received` handlers get
    `(listener, args)`, with the WebSocket in `args.socket`, for routes without a handler and where there are no routes.
    Handlers run as those of a StreamSocketListener. What is no request for a WebSocket here is answered as HTTP says,
    and counted in `information.counters`.
    """

    __slots__ = ("__weakref__", "_control", "_core", "_information", "_listener")

    def __init__(self) -> None:
        self._listener = StreamSocketListener()
        self._core = WebSocketAccepting(self, self._listener)
        self._control: WebSocketListenerControl | None = None
        self._information: WebSocketListenerInformation | None = None

    @property
    def _accepting(self) -> Accepting:
        return self._core.accepting

    @property
    def _event(self) -> EventSource[WebSocketListener, Args]:
        return self._core.event

    # -- binding -----------------------------------------------------------------------------------------------------

    def bind_endpoint_async(self, local_host_name: HostName | None, local_service_name: str, /) -> IAsyncAction:
        """Listen on one address (None: all) and port ("": the system picks one).

        Errors and cancellation: as `StreamSocketListener.bind_endpoint_async`. Cancellation: *nothing happened*,
        *retry safe*.
        """
        return self._listener.bind_endpoint_async(local_host_name, local_service_name)

    def bind_service_name_async(self, local_service_name: str, /) -> IAsyncAction:
        """Listen on all addresses, IPv4 and IPv6; port "" lets the system pick. Else as `bind_endpoint_async`."""
        return self._listener.bind_service_name_async(local_service_name)

    # -- who gets the WebSockets -------------------------------------------------------------------------------------

    def add_route(
        self,
        path: str,
        handler: Callable[[Any], object] | None = None,
        *,
        subprotocols: Iterable[str] | None = None,
        origins: Iterable[str | None] | None = None,
        approve: Callable[[WebSocketApproval], object] | None = None,
        max_message_size: int | None = None,
        stream: bool = False,
    ) -> None:
        """Serve a path; with the first route all paths without one get 404. May be called at any time.

        A segment of the path is text, ``{name}`` for any one segment, or at the end ``{name:path}`` for the rest; the
        handler finds them in `web_socket.information.request.parameters`. Text fits better than a name. `handler` gets
        the WebSocket, with `stream` one of bytes, a ServerStreamWebSocket; without a handler it goes to
        `connection_received` or ``async for``. The rest stands in place of what `control` and `approve` of the listener
        say; see there.

        Errors: E_INVALIDARG for a malformed path, and for one that is served already; those of the settings.
        """
        self._require("add_route")
        if handler is not None and not callable(handler):
            raise TypeError("handler must be callable")
        route = Route(
            path,
            subprotocols=None if subprotocols is None else check_subprotocol_names(subprotocols),
            origins=check_origins(origins),
            approve=check_hook(approve, "approve"),
            max_message_size=None if max_message_size is None else check_message_size(max_message_size),
            is_stream=stream,
        )
        if handler is not None:
            route.event = EventSource()
            route.event.add(serving(self._core, handler))
        self._core.routes.add(route)
        self._core.at_home(self._core.update)

    def add_handler(self, handler: Callable[[Any], object], *, stream: bool = False) -> None:
        """Serve what has no other handler, all paths where there are no routes: as the handler of a route.

        With `stream` all WebSockets outside of routes are of bytes.
        """
        self._require("add_handler")
        if not callable(handler):
            raise TypeError("handler must be callable")
        self._core.default_route.is_stream = stream
        self.add_connection_received(serving(self._core, handler))

    def add_connection_received(
        self, handler: Callable[[WebSocketListener, Args], object], /
    ) -> EventRegistrationToken:
        """Add a handler for new WebSockets and return the token that removes it.

        Errors: TypeError for something not callable; E_ILLEGAL_METHOD_CALL while ``async for`` takes them; RO_E_CLOSED
        after `close()`.
        """
        self._require("add_connection_received")
        if self._core.iterating:
            raise errors.illegal_call(f"{self._accepting}: a handler beside 'async for'", "use one of the two")
        token = self._core.event.add(handler)
        self._core.at_home(self._core.update)
        return token

    def remove_connection_received(self, token: EventRegistrationToken, /) -> None:
        """Remove a handler; where nobody is left for them, new connections wait in the kernel's backlog."""
        self._core.event.remove(token)
        self._core.at_home(self._core.update)

    def __aiter__(self) -> AsyncIterator[AnyWebSocket]:
        """Iterate over new WebSockets; 64 wait to be taken, further requests get 503. Ends when the listener stops.

        Errors: E_ILLEGAL_METHOD_CALL before the bind, beside a `connection_received` handler, or twice at once.
        """
        self._require("async for")
        if self._core.event or self._core.iterating:
            what = f"{self._accepting}: 'async for' beside a handler or twice"
            raise errors.illegal_call(what, "use one of the two")
        self._core.iterating = True
        self._core.at_home(self._core.update)
        return _WebSockets(self)

    # -- settings ----------------------------------------------------------------------------------------------------

    @property
    def approve(self) -> Callable[[WebSocketApproval], object] | None:
        """The program's word on each request, before the answer: a function, `async` or not, of a WebSocketApproval.

        It returns True, or False for 403, or calls `refuse()` for another answer; it may choose the subprotocol and add
        headers to the answer. It has 30 s; what it raises is reported once, and the client gets 500.
        """
        return self._core.approve

    @approve.setter
    def approve(self, value: Callable[[WebSocketApproval], object] | None) -> None:
        self._core.approve = check_hook(value, "approve")

    @property
    def http(self) -> Callable[[RequestHead], object] | None:
        """What answers plain GET and HEAD requests, a health check or a page: a function, `async` or not.

        It gets the RequestHead (`path`, `headers`), and returns an HttpAnswer, str, bytes, or None for the answer 426
        that they get without it. The connection ends behind the answer.
        """
        return self._core.http

    @http.setter
    def http(self, value: Callable[[RequestHead], object] | None) -> None:
        self._core.http = check_hook(value, "http")

    @property
    def control(self) -> WebSocketListenerControl:
        """Settings of the connections and of their WebSockets; the same object each time."""
        with first_use.lock:
            if self._control is None:
                self._control = web_socket_listener_control(self._core)
            return self._control

    @property
    def information(self) -> WebSocketListenerInformation:
        """The bound port and the counters; readable in any state; the same object each time."""
        with first_use.lock:
            if self._information is None:
                self._information = web_socket_listener_information(self._core)
            return self._information

    @property
    def open_connections(self) -> int:
        """WebSockets that have not ended."""
        return len(self._core.links)

    def _require(self, member: str) -> None:
        accepting = self._accepting
        if accepting.home is not None and accepting.home.dropped:
            raise errors.closed(str(accepting), "it belongs to the parent process; make a new one after fork()")
        require(accepting.state, RULES, member, accepting, HINTS)

    # -- ending ------------------------------------------------------------------------------------------------------

    def stop_accepting(self) -> None:
        """Give the port back at once; open WebSockets and their handlers go on. Those nobody took are closed, 1001."""
        self._listener.stop_accepting()
        self._core.at_home(self._core.release_port)

    async def drain(
        self, timeout: float | None = DRAIN_TIMEOUT, *, code: int = GOING_AWAY, reason: str = ""
    ) -> WebSocketDrainReport:
        """Stop accepting, close all WebSockets with `code` (1001), wait up to `timeout` seconds, abort the rest.

        It waits for the clients' answers, which have 10 s, and for the handlers: their ``async for`` ends, and what
        they have not taken yet is gone. None waits for ever. Returns the counts. Handler tasks that are left are
        cancelled; handlers on worker threads are left alone. Errors: ValueError for a timeout that is no number;
        E_INVALIDARG for a code or reason that may not be sent. Cancellation: *object now broken*: the rest is aborted
        at once.
        """
        if timeout is not None and math.isnan(timeout):
            raise ValueError("timeout must be a number of seconds, or None")
        check_drain(code, reason)
        core = self._core
        home = core.accepting.home
        try:
            if home is None:
                return drained_nothing()
            return await run_at_home(home, lambda: core.drain(timeout, code, reason))
        finally:
            self.close()

    def close(self) -> None:
        """Stop listening and free the port. WebSockets that were handed out live on; a second call does nothing.

        A bind under way ends CANCELED; WebSockets that nobody took are closed with 1001.
        """
        self._listener.close()
        if self._accepting.home is not None:
            self._core.at_home(self._core.release_port)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.drain(0 if kind is not None else DRAIN_TIMEOUT)

    def __repr__(self) -> str:
        return f"<{self._accepting} {self._accepting.state.name.lower()}>"


def check_hook(hook: Any, name: str) -> Any:
    """A function of the program, or None. Errors: TypeError."""
    if hook is not None and not callable(hook):
        raise TypeError(f"{name} must be callable, or None")
    return hook


class _WebSockets:
    """The iterator of `async for web_socket in listener`. It ends the iteration when it goes."""

    __slots__ = ("_listener",)

    def __init__(self, listener: WebSocketListener) -> None:
        self._listener = listener

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AnyWebSocket:
        core = self._listener._core
        web_socket = await run_at_home(core.home, core.next_web_socket, core.put_back)
        if web_socket is None:
            raise StopAsyncIteration
        return web_socket

    def __del__(self) -> None:
        self._listener._core.at_home(self._listener._core.end_iteration)
