"""`StreamSocketListener`: accepts TCP connections.

Beside WinRT's members it has a life cycle: iterate over connections, limit them, stop accepting, drain with a deadline,
abort the rest, report counts. Handler tasks belong to the listener. What the event loop knows of it is in `accepting`.
"""

# pyright: reportPrivateUsage=false
# The iterator below the class belongs to it.

from __future__ import annotations

import math
import warnings
from operator import index
from typing import TYPE_CHECKING, Any, Self, overload

from moorings import errors
from moorings.connectivity.network_adapter import NetworkAdapter
from moorings.foundation.at_home import run_at_home
from moorings.foundation.closable import IClosable
from moorings.foundation.events import EventRegistrationToken, EventSource
from moorings.foundation.home import Home, current_home
from moorings.foundation.projection import (
    arities,
    check_object,
    check_optional,
    deprecated_alias,
    final,
    invalid_parameter_count,
)
from moorings.foundation.task_operation import Kind, completed_operation, start_operation
from moorings.names.host_name import HostName
from moorings.sockets.accepting import Accepting, DrainReport
from moorings.sockets.binding import Binding, check_local
from moorings.sockets.connection import State, creation_place, first_use, post, require, start
from moorings.sockets.enums import SocketProtectionLevel
from moorings.sockets.listener_objects import (
    StreamSocketListenerConnectionReceivedEventArgs,
    StreamSocketListenerControl,
    StreamSocketListenerInformation,
    listener_control,
    listener_information,
    make_secure,
)
from moorings.sockets.opening import check_protection_level, refuse_bluetooth
from moorings.sockets.ownership import ListenerBrokerMembers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from moorings.foundation.async_info import IAsyncAction
    from moorings.foundation.operation import Operation
    from moorings.sockets.stream_socket import StreamSocket

#: Seconds that leaving `async with listener` waits for connections to end.
DRAIN_TIMEOUT = 10.0

_NEW = frozenset((State.NEW,))
_OPEN = frozenset((State.OPEN,))
_ALIVE = frozenset((State.NEW, State.BUSY, State.OPEN))
_ALWAYS = frozenset(State)

#: In which states each member may be used. In CLOSED the others fail with RO_E_CLOSED, else with E_ILLEGAL_METHOD_CALL.
RULES = {
    "bind_endpoint_async": _NEW,
    "bind_service_name_async": _NEW,
    "add_connection_received": _ALIVE,
    "remove_connection_received": _ALWAYS,
    "control": _ALWAYS,
    "information": _ALWAYS,
    "cancel_io_async": _ALIVE,
    "close": _ALWAYS,
    "enable_transfer_ownership": _NEW,
    "transfer_ownership": _OPEN,
    "async for": _OPEN,
    "stop_accepting": _OPEN,
    "drain": _ALWAYS,
    "max_connections": _ALWAYS,
    "open_connections": _ALWAYS,
    "handshakes_failed": _ALWAYS,
}

HINTS = {
    State.NEW: "bind it first",
    State.BUSY: "await the bind first",
    State.OPEN: "it is bound already; make a new listener",
}

Args = StreamSocketListenerConnectionReceivedEventArgs


@final
class StreamSocketListener(ListenerBrokerMembers, IClosable):
    """Accepts TCP connections: make it, set `control`, add a handler, bind; or bind and iterate.

    `connection_received` handlers get `(listener, args)` with the connected socket in `args.socket`. On an asyncio loop
    plain functions run inline and `async def` handlers in tasks that the listener owns; in a plain script handlers run
    on worker threads, at most 64 at once. A handler that raises is reported once and hurts no other connection.
    Accepting starts with the first handler or with `async for connection in listener`; both at once is
    E_ILLEGAL_METHOD_CALL. A listener that is dropped while it is bound gives its port back with a ResourceWarning that
    names the place where it was made. Source: WinRT StreamSocketListener.
    """

    __slots__ = ("__weakref__", "_accepting", "_bind_operation", "_control", "_event", "_information")
    _winrt_name_ = "Windows.Networking.Sockets.StreamSocketListener"

    def __init__(self) -> None:
        self._accepting = Accepting(self, creation_place())
        self._event: EventSource[StreamSocketListener, Args] = EventSource()
        self._bind_operation: Operation | None = None
        self._control: StreamSocketListenerControl | None = None
        self._information: StreamSocketListenerInformation | None = None

    def _require(self, member: str) -> None:
        accepting = self._accepting
        if accepting.home is not None and accepting.home.dropped:
            raise errors.closed(str(accepting), "it belongs to the parent process; make a new one after fork()")
        require(accepting.state, RULES, member, accepting, HINTS)

    # -- binding -----------------------------------------------------------------------------------------------------

    def bind_endpoint_async(self, local_host_name: HostName | None, local_service_name: str, /) -> IAsyncAction:
        """Listen on one address (None: all) and port ("": the system picks one).

        Errors: E_INVALIDARG for a bad port; RO_E_CLOSED after `close()`, else E_ILLEGAL_METHOD_CALL unless new. Through
        the action: WSAEADDRINUSE 0x80072740, WSAEADDRNOTAVAIL, WSAEACCES, WSATYPE_NOT_FOUND for an unknown service,
        those of name look-up; the listener then is new again. Cancellation: *nothing happened*, *retry safe*.
        Source: WinRT StreamSocketListener.BindEndpointAsync.
        """
        host = check_optional(local_host_name, HostName, "bind_endpoint_async: local host")
        return self._bind(host, local_service_name, None, "bind_endpoint_async")

    @overload
    def bind_service_name_async(self, local_service_name: str, /) -> IAsyncAction: ...
    @overload
    def bind_service_name_async(
        self, local_service_name: str, protection_level: SocketProtectionLevel, /
    ) -> IAsyncAction: ...
    @overload
    def bind_service_name_async(
        self, local_service_name: str, protection_level: SocketProtectionLevel, adapter: NetworkAdapter, /
    ) -> IAsyncAction: ...
    @arities(1, 2, 3)
    def bind_service_name_async(self, *arguments: Any) -> IAsyncAction:
        """Listen on all addresses, IPv4 and IPv6, or on those of one adapter; port "" lets the system pick.

        The only protection level for TCP is PLAIN_SOCKET (E_INVALIDARG otherwise), and the adapter may not be None.
        Else as `bind_endpoint_async`. Source: WinRT StreamSocketListener.BindServiceNameAsync.
        """
        member = "bind_service_name_async"
        if len(arguments) not in {1, 2, 3}:
            raise invalid_parameter_count()
        if len(arguments) >= 2 and check_protection_level(arguments[1], member) != SocketProtectionLevel.PLAIN_SOCKET:
            raise errors.invalid_argument(f"{member}: TCP listens with PLAIN_SOCKET only")
        adapter = check_object(arguments[2], NetworkAdapter, "adapter") if len(arguments) == 3 else None
        return self._bind(None, next(iter(arguments)), adapter, member)

    bind_service_name_with_protection_level_async = deprecated_alias("bind_service_name_async")
    bind_service_name_with_protection_level_and_adapter_async = deprecated_alias("bind_service_name_async")

    def _bind(self, host: HostName | None, service: Any, adapter: NetworkAdapter | None, member: str) -> IAsyncAction:
        check_local(service, member)
        self._require(member)
        refuse_bluetooth(host, member)
        accepting = self._accepting
        certificate = accepting.tls.certificate
        accepting.secure = None if certificate is None else make_secure(accepting.tls, certificate)
        home = accepting.home or current_home()
        home.usable(member)
        start(accepting, lambda: self._require(member))
        accepting.home = home
        binding = Binding(accepting.settings, host, service, adapter)
        operation = start_operation(home, self._listen(home, binding), Kind.ACTION, undo=self._undo_bind)
        self._bind_operation = operation
        if accepting.state != State.BUSY:
            self._bind_operation = None  # another thread has ended it meanwhile
        return operation

    async def _listen(self, home: Home, binding: Binding) -> None:
        accepting = self._accepting
        listening = await binding.open()
        try:
            if accepting.state != State.BUSY:
                raise errors.aborted(f"{accepting} was closed while it was binding")
            accepting.start(home, listening)
        except BaseException:
            listening.close()
            raise
        self._bind_operation = None

    def _undo_bind(self) -> None:
        self._bind_operation = None
        self._accepting.undo_start()

    # -- accepting ---------------------------------------------------------------------------------------------------

    def add_connection_received(
        self, handler: Callable[[StreamSocketListener, Args], object], /
    ) -> EventRegistrationToken:
        """Add a handler for new connections and return the token that removes it.

        Errors: TypeError for something not callable; E_ILLEGAL_METHOD_CALL while `async for` takes the connections;
        RO_E_CLOSED after `close()`. Source: WinRT StreamSocketListener.ConnectionReceived.
        """
        self._require("add_connection_received")
        if self._accepting.iterating:
            raise errors.illegal_call(f"{self._accepting}: a handler beside 'async for'", "use one of the two")
        token = self._event.add(handler)
        self._at_home(self._accepting.update)
        return token

    def remove_connection_received(self, token: EventRegistrationToken, /) -> None:
        """Remove a handler; without any, new connections wait in the kernel's backlog."""
        self._event.remove(token)
        self._at_home(self._accepting.update)

    def _at_home(self, function: Callable[[], object]) -> None:
        """Let the home loop call `function`; where that loop is closed, nobody can be in the way."""
        home = self._accepting.home
        if home is None or home.dropped:
            return
        if home.on_home_thread() or not post(home, function):
            function()

    def __aiter__(self) -> AsyncIterator[StreamSocket]:
        """Iterate over new connections; at most 64 wait to be taken. Ends when the listener stops or closes.

        Errors: E_ILLEGAL_METHOD_CALL before the bind, beside a `connection_received` handler, or twice at once.
        """
        self._require("async for")
        if self._event or self._accepting.iterating:
            what = f"{self._accepting}: 'async for' beside a handler or twice"
            raise errors.illegal_call(what, "use one of the two")
        self._accepting.iterating = True
        self._at_home(self._accepting.update)
        return _Connections(self)

    # -- control, information, limits --------------------------------------------------------------------------------

    @property
    def control(self) -> StreamSocketListenerControl:
        """Settings that every accepted socket gets; to be made before binding; the same object each time."""
        with first_use.lock:
            if self._control is None:
                self._control = listener_control(self._accepting)
            return self._control

    @property
    def information(self) -> StreamSocketListenerInformation:
        """The bound port; readable in any state; the same object each time."""
        with first_use.lock:
            if self._information is None:
                self._information = listener_information(self._accepting)
            return self._information

    @property
    def max_connections(self) -> int | None:
        """Open connections beyond which accepting pauses (new ones wait in the backlog); None (default) is no limit.

        It may be changed at any time. Errors: TypeError and ValueError for what is no positive integer.
        """
        return self._accepting.max_connections

    @max_connections.setter
    def max_connections(self, value: int | None) -> None:
        if value is not None and index(value) < 1:
            raise ValueError("max_connections must be positive, or None")
        self._accepting.max_connections = None if value is None else index(value)
        self._at_home(self._accepting.update)

    @property
    def open_connections(self) -> int:
        """Accepted connections that have not ended."""
        return len(self._accepting.open)

    @property
    def handshakes_failed(self) -> int:
        """Connections whose TLS handshake failed, or took longer than `control.handshake_timeout`. Not in WinRT."""
        return self._accepting.handshakes_failed

    # -- ending ------------------------------------------------------------------------------------------------------

    def cancel_io_async(self) -> IAsyncAction:
        """Stop accepting; the port and the connections stay. Source: WinRT StreamSocketListener.CancelIOAsync."""
        self._require("cancel_io_async")
        accepting = self._accepting
        if accepting.home is None or accepting.state != State.OPEN:
            return completed_operation(accepting.home or current_home(), Kind.ACTION)

        async def stop() -> None:
            accepting.stop()

        return start_operation(accepting.home, stop(), Kind.ACTION)

    def stop_accepting(self) -> None:
        """Give the port back at once; open connections and their handlers go on. Connections nobody took are reset."""
        self._require("stop_accepting")
        self._accepting.stopped = self._accepting.ending = True
        self._at_home(self._accepting.release_port)

    async def drain(self, timeout: float | None = DRAIN_TIMEOUT) -> DrainReport:
        """Stop accepting, wait up to `timeout` seconds for connections and handlers to end, abort the rest, close.

        None waits for ever. Returns the counts. Handler tasks that are left are cancelled; handlers on worker threads
        are waited for, and left alone at the deadline. Errors: ValueError for a timeout that is no number.
        Cancellation: *object now broken*: the rest is aborted at once.
        """
        if timeout is not None and math.isnan(timeout):
            raise ValueError("timeout must be a number of seconds, or None")
        accepting = self._accepting
        self._require("drain")
        home = accepting.home
        try:
            if home is None:
                return DrainReport(0, 0, 0)
            return await run_at_home(home, lambda: accepting.drain(timeout))
        finally:
            self.close()

    def close(self) -> None:
        """Stop listening and free the port. Sockets that were handed out live on; a second call does nothing.

        A bind under way ends CANCELED; connections that nobody took are reset. Source: WinRT
        StreamSocketListener.Close.
        """
        accepting = self._accepting
        state, accepting.state = accepting.state, State.CLOSED
        operation, self._bind_operation = self._bind_operation, None
        if state == State.BUSY and operation is not None:
            operation.cancel()
        accepting.stopped = accepting.ending = True
        self._at_home(accepting.release_port)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.drain(0 if kind is not None else DRAIN_TIMEOUT)

    def __del__(self) -> None:
        accepting = getattr(self, "_accepting", None)
        # `ending`: called from another thread, the home loop may not have got to it yet.
        if accepting is None or accepting.acceptor is None or accepting.ending:
            return
        if accepting.home is None or accepting.home.dropped:
            return
        file, line = accepting.place
        message = f"unclosed {accepting}, made at {file}:{line}; close() it or use 'async with'"
        try:
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)
        finally:
            accepting.state = State.CLOSED
            self._at_home(accepting.release_port)

    def __repr__(self) -> str:
        return f"<{self._accepting} {self._accepting.state.name.lower()}>"


class _Connections:
    """The iterator of `async for connection in listener`. It ends the iteration when it goes."""

    __slots__ = ("_listener",)

    def __init__(self, listener: StreamSocketListener) -> None:
        self._listener = listener

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamSocket:
        accepting = self._listener._accepting
        assert accepting.home is not None
        connection = await run_at_home(accepting.home, accepting.next_connection, accepting.put_back)
        if connection is None:
            raise StopAsyncIteration
        return connection

    def __del__(self) -> None:
        self._listener._at_home(self._listener._accepting.end_iteration)
