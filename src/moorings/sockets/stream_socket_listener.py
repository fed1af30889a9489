"""`StreamSocketListener`: accepts TCP connections.

Beside WinRT's members it has a life cycle: iterate over connections, limit them, stop accepting, drain with a deadline,
abort the rest, report counts. Handler tasks belong to the listener.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Self, overload

from moorings import errors
from moorings.connectivity.network_adapter import NetworkAdapter
from moorings.engine.hub import hub_of
from moorings.engine.listener import Acceptor
from moorings.engine.tcp_stream import TcpStream
from moorings.foundation.background import report_from_worker, workers
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
from moorings.sockets.binding import Binding, check_local
from moorings.sockets.connection import Connection, Settings, State, creation_place, require
from moorings.sockets.listener_objects import (
    StreamSocketListenerConnectionReceivedEventArgs,
    StreamSocketListenerControl,
    StreamSocketListenerInformation,
    event_args,
    listener_control,
    listener_information,
    remember_port,
)
from moorings.sockets.opening import check_protection_level, refuse_bluetooth
from moorings.sockets.ownership import ListenerBrokerMembers
from moorings.sockets.stream_socket import StreamSocket, accepted_socket

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator
    from types import TracebackType

    from moorings.foundation.async_info import IAsyncAction
    from moorings.foundation.operation import Operation
    from moorings.sockets.enums import SocketProtectionLevel

#: Handlers of a plain script that run at the same time; accepting pauses beyond it.
CONCURRENT_HANDLERS = 64
#: Accepted connections that wait for `async for` to take them; accepting pauses beyond it.
ITERATION_QUEUE = 64

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
}

HINTS = {
    State.NEW: "bind it first",
    State.BUSY: "await the bind first",
    State.OPEN: "it is bound already; make a new StreamSocketListener",
}

Args = StreamSocketListenerConnectionReceivedEventArgs


class Serving:
    """What a handler of the Python face returns: a coroutine, and the connection that ends with it."""

    __slots__ = ("connection", "coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, object], connection: StreamSocket) -> None:
        self.coroutine = coroutine
        self.connection = connection

    def __await__(self) -> Generator[Any, None, object]:
        return self.coroutine.__await__()


async def _finish(awaitable: Any) -> None:
    await awaitable


class DrainReport(NamedTuple):
    """How the connections of a listener ended."""

    #: Connections accepted in all.
    accepted: int
    #: Connections that ended by themselves while draining.
    finished: int
    #: Connections that were aborted when the deadline came.
    aborted: int


@final
class StreamSocketListener(ListenerBrokerMembers, IClosable):
    """Accepts TCP connections: make it, set `control`, add a handler, bind; or bind and iterate.

    `connection_received` handlers get `(listener, args)` with the connected socket in `args.socket`. On an asyncio loop
    plain functions run inline and `async def` handlers in tasks that the listener owns; in a plain script handlers run
    on worker threads, at most 64 at once. A handler that raises is reported once and hurts no other connection.
    Accepting starts with the first handler or with `async for connection in listener`; both at once is
    E_ILLEGAL_METHOD_CALL. Source: WinRT StreamSocketListener.
    """

    __slots__ = (
        "__weakref__",
        "_acceptor",
        "_bind_operation",
        "_control",
        "_event",
        "_home",
        "_information",
        "_iterating",
        "_max_connections",
        "_open",
        "_place",
        "_running",
        "_settings",
        "_state",
        "_stopped",
        "_taken",
        "_tasks",
        "_waiting",
        "_watcher",
    )
    _winrt_name_ = "Windows.Networking.Sockets.StreamSocketListener"

    def __init__(self) -> None:
        self._settings = Settings()
        self._state = State.NEW
        self._place = creation_place(1)
        self._event: EventSource[StreamSocketListener, Args] = EventSource()
        self._home: Home | None = None
        self._acceptor: Acceptor | None = None
        self._bind_operation: Operation | None = None
        self._control: StreamSocketListenerControl | None = None
        self._information: StreamSocketListenerInformation | None = None
        self._max_connections: int | None = None
        self._open: set[Connection] = set()
        self._tasks: dict[asyncio.Task[Any], StreamSocket | None] = {}
        self._running = 0
        self._taken: deque[StreamSocket] = deque()
        self._waiting: asyncio.Event | None = None
        self._watcher: asyncio.Event | None = None
        self._iterating = False
        self._stopped = False

    def _require(self, member: str) -> None:
        if self._home is not None and self._home.dropped:
            raise errors.closed(f"{self._name()}: belongs to the parent process; make a new one after fork()")
        require(self._state, RULES, member, self._name(), HINTS)

    def _name(self) -> str:
        port = self.information.local_port
        return f"StreamSocketListener on port {port}" if port else "StreamSocketListener"

    # -- binding -----------------------------------------------------------------------------------------------------

    def bind_endpoint_async(self, local_host_name: HostName | None, local_service_name: str, /) -> IAsyncAction:
        """Listen on one address (None: all) and port ("": the system picks one).

        Errors: E_INVALIDARG for a bad port; E_ILLEGAL_METHOD_CALL unless new. Through the action:
        WSAEADDRINUSE 0x80072740, WSAEADDRNOTAVAIL, WSAEACCES, those of name look-up; the listener then is new again.
        Cancellation: *nothing happened*, *retry safe*. Source: WinRT StreamSocketListener.BindEndpointAsync.
        """
        host = check_optional(local_host_name, HostName, "bind_endpoint_async: local host")
        refuse_bluetooth(host, "bind_endpoint_async")
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

        The only protection level for TCP is PLAIN_SOCKET (E_INVALIDARG otherwise). Else as `bind_endpoint_async`.
        Source: WinRT StreamSocketListener.BindServiceNameAsync.
        """
        if len(arguments) not in {1, 2, 3}:
            raise invalid_parameter_count()
        if len(arguments) >= 2:
            try:
                check_protection_level(arguments[1], "bind_service_name_async")
            except OSError as error:
                raise errors.invalid_argument("bind_service_name_async: TCP listens with PLAIN_SOCKET only") from error
        adapter = check_object(arguments[2], NetworkAdapter, "adapter") if len(arguments) == 3 else None
        return self._bind(None, next(iter(arguments)), adapter, "bind_service_name_async")

    bind_service_name_with_protection_level_async = deprecated_alias("bind_service_name_async")
    bind_service_name_with_protection_level_and_adapter_async = deprecated_alias("bind_service_name_async")

    def _bind(self, host: HostName | None, service: str, adapter: Any, member: str) -> IAsyncAction:
        check_local(service, member)
        self._require(member)
        home = current_home()
        home.usable(member)
        self._state = State.BUSY
        self._home = home
        binding = Binding(self._settings, host, service, adapter)
        operation = start_operation(home, self._listen(home, binding), Kind.ACTION, discard=self._undo_bind)
        self._bind_operation = operation
        return operation

    async def _listen(self, home: Home, binding: Binding) -> None:
        try:
            listening = await binding.open()
        except BaseException:
            if self._state == State.BUSY:
                self._state = State.NEW
            self._bind_operation = None
            raise
        self._bind_operation = None
        if self._state != State.BUSY:
            listening.close()
            raise errors.aborted(f"{self._name()} was closed while it was binding")
        self._start(home, listening)

    def _start(self, home: Home, listening: socket.socket) -> None:
        self._home = home
        self._stopped = False
        self._acceptor = Acceptor(hub_of(home), listening, self._accepted, self._accept_failed)
        self._state = State.OPEN
        self._update()

    def _undo_bind(self, _nothing: object) -> None:
        """The bind was cancelled in the very turn in which it succeeded."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.close()
        self._state = State.NEW

    # -- accepting ---------------------------------------------------------------------------------------------------

    def add_connection_received(
        self, handler: Callable[[StreamSocketListener, Args], object], /
    ) -> EventRegistrationToken:
        """Add a handler for new connections and return the token that removes it.

        Errors: TypeError for something not callable; E_ILLEGAL_METHOD_CALL while `async for` takes the connections;
        RO_E_CLOSED after `close()`. Source: WinRT StreamSocketListener.ConnectionReceived.
        """
        self._require("add_connection_received")
        if self._iterating:
            raise errors.illegal_call(f"{self._name()}: a handler beside 'async for'", "use one of the two")
        token = self._event.add(handler)
        self._hop(self._update)
        return token

    def remove_connection_received(self, token: EventRegistrationToken, /) -> None:
        """Remove a handler; without any, new connections wait in the kernel's backlog."""
        self._event.remove(token)
        self._hop(self._update)

    def _hop(self, function: Callable[[], None]) -> None:
        home = self._home
        if home is not None and self._acceptor is not None and not home.loop.is_closed() and not home.dropped:
            home.call(function)

    def _update(self) -> None:
        """Accept or pause, as handlers, limits and queues allow."""
        acceptor = self._acceptor
        if acceptor is None:
            return
        full = self._max_connections is not None and len(self._open) >= self._max_connections
        if self._iterating:
            wanted = len(self._taken) < ITERATION_QUEUE
        else:
            wanted = bool(self._event) and self._running < CONCURRENT_HANDLERS
        if wanted and not full and not self._stopped:
            acceptor.resume()
        else:
            acceptor.pause()

    def _accepted(self, plain_socket: socket.socket, address: Any) -> None:
        home = self._home
        assert home is not None
        connection = Connection(self._settings)
        connection.accepted = True
        try:
            stream = TcpStream(hub_of(home), plain_socket, connection)
        except OSError as error:
            plain_socket.close()
            home.report(f"{self._name()}: a connection could not be taken over", error, self)
            return
        connection.opened(stream, address)
        connection.on_finished = self._finished
        self._open.add(connection)
        if self._max_connections is not None or home.background:
            self._update()
        if self._iterating:
            self._taken.append(accepted_socket(connection, self._place))
            if self._waiting is not None:
                self._waiting.set()
            self._update()
        elif home.background:
            self._running += 1
            self._update()
            args = event_args(connection, self._place)
            workers.submit_concurrently(lambda: self._run_on_worker(args))
        else:
            self._fire(event_args(connection, self._place))

    def _finished(self, connection: Connection) -> None:
        self._open.discard(connection)
        if self._max_connections is not None:
            self._update()
        if self._watcher is not None and not self._open:
            self._watcher.set()

    def _fire(self, args: Args) -> None:
        home = self._home
        assert home is not None

        def report(error: BaseException, handler: object) -> None:
            home.report(f"{self._name()}: connection_received handler {handler!r} failed", error, self)

        for _, awaitable in self._event.fire(self, args, report):
            self._own_task(awaitable)

    def _own_task(self, awaitable: Any) -> None:
        """Run what a handler returned as a task of the listener. (No coroutine of ours around it: it would cost every
        idle connection memory, and every message time.)
        """
        assert self._home is not None
        connection: StreamSocket | None = None
        if isinstance(awaitable, Serving):
            connection = awaitable.connection
            awaitable = awaitable.coroutine
        coroutine = awaitable if inspect.iscoroutine(awaitable) else _finish(awaitable)
        task: asyncio.Task[Any] = self._home.loop.create_task(coroutine)
        self._tasks[task] = connection
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        connection = self._tasks.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if connection is not None:
            if error is None and not task.cancelled():
                connection.close()
            else:
                connection.abort()
        if error is not None:
            assert self._home is not None
            handler = task.get_coro()
            self._home.report(f"{self._name()}: connection_received handler {handler!r} failed", error, self)

    def _run_on_worker(self, args: Args) -> None:
        home = self._home
        assert home is not None

        def report(error: BaseException, handler: object) -> None:
            report_from_worker(home, f"{self._name()}: connection_received handler {handler!r} failed", error)

        try:
            for _, awaitable in self._event.fire(self, args, report):
                home.loop.call_soon_threadsafe(self._own_task, awaitable)
        finally:
            if not home.loop.is_closed():
                home.loop.call_soon_threadsafe(self._worker_done)

    def _worker_done(self) -> None:
        self._running -= 1
        self._update()

    def _accept_failed(self, error: OSError) -> None:
        assert self._home is not None
        failure = errors.from_os_error(error, f"{self._name()}: accepting failed for good")
        self._home.report(str(failure), failure, self)
        self.close()

    def __aiter__(self) -> AsyncIterator[StreamSocket]:
        """Iterate over new connections; at most 64 wait to be taken. Ends when the listener stops or closes.

        Errors: E_ILLEGAL_METHOD_CALL beside a `connection_received` handler, or twice at once.
        """
        self._require("async for")
        if self._event or self._iterating:
            raise errors.illegal_call(f"{self._name()}: 'async for' beside a handler or twice", "use one of the two")
        self._iterating = True
        self._waiting = asyncio.Event()
        self._update()
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[StreamSocket]:
        try:
            while True:
                while self._taken:
                    connection = self._taken.popleft()
                    self._update()
                    yield connection
                if self._stopped or self._state != State.OPEN:
                    return
                assert self._waiting is not None
                self._waiting.clear()
                await self._waiting.wait()
        finally:
            self._iterating = False
            self._update()

    # -- control, information, limits --------------------------------------------------------------------------------

    @property
    def control(self) -> StreamSocketListenerControl:
        """Settings that every accepted socket gets; to be made before binding."""
        if self._control is None:
            self._control = listener_control(self._settings, lambda: self._state)
        return self._control

    @property
    def information(self) -> StreamSocketListenerInformation:
        """The bound port; readable in any state."""
        if self._information is None:
            self._information = listener_information()
        if self._acceptor is not None:
            remember_port(self._information, self._acceptor.sockname())
        return self._information

    @property
    def max_connections(self) -> int | None:
        """Open connections beyond which accepting pauses (new ones wait in the backlog); None (default) is no limit."""
        return self._max_connections

    @max_connections.setter
    def max_connections(self, value: int | None) -> None:
        if value is not None and value < 1:
            raise ValueError("max_connections must be positive, or None")
        self._max_connections = value
        self._hop(self._update)

    @property
    def open_connections(self) -> int:
        """Accepted connections that have not ended."""
        return len(self._open)

    # -- ending ------------------------------------------------------------------------------------------------------

    def cancel_io_async(self) -> IAsyncAction:
        """Stop accepting; the port and the connections stay. Source: WinRT StreamSocketListener.CancelIOAsync."""
        self._require("cancel_io_async")
        if self._state == State.OPEN:
            self._hop(self._stop)
        return completed_operation(self._home or current_home(), Kind.ACTION)

    def _stop(self) -> None:
        self._stopped = True
        self._update()
        if self._waiting is not None:
            self._waiting.set()

    def stop_accepting(self) -> None:
        """Give the port back at once; open connections and their handlers go on."""
        self._require("stop_accepting")
        self._stopped = True
        self._hop(self._release_port)

    def _release_port(self) -> None:
        _ = self.information  # remembers the port
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is not None:
            acceptor.close()
        if self._waiting is not None:
            self._waiting.set()
        while self._taken:
            self._taken.popleft().abort()

    async def drain(self, timeout: float | None = 10.0) -> DrainReport:
        """Stop accepting, wait up to `timeout` seconds for connections and handlers to end, abort the rest.

        None waits for ever. Returns the counts. Cancellation: the rest is aborted at once.
        """
        accepted = 0 if self._acceptor is None else self._acceptor.accepted
        if self._state == State.OPEN:
            self.stop_accepting()
        before = len(self._open)
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        try:
            try:
                async with asyncio.timeout_at(deadline):
                    await self._wait_until_empty()
            except TimeoutError:
                pass
        finally:
            left = list(self._open)
            for connection in left:
                if connection.stream is not None:
                    connection.stream.abort()
            await self._cancel_tasks()
            self.close()
        return DrainReport(accepted, before - len(left), len(left))

    async def _wait_until_empty(self) -> None:
        while self._open:
            self._watcher = asyncio.Event()
            await self._watcher.wait()
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        if tasks:
            await asyncio.wait(tasks)

    async def _cancel_tasks(self) -> None:
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def close(self) -> None:
        """Stop listening and free the port. Sockets that were handed out live on; a second call does nothing.

        A bind under way ends CANCELED. Source: WinRT StreamSocketListener.Close.
        """
        state, self._state = self._state, State.CLOSED
        operation, self._bind_operation = self._bind_operation, None
        if state == State.BUSY and operation is not None:
            operation.cancel()
        self._stopped = True
        home = self._home
        if home is None or home.dropped or self._acceptor is None:
            return
        if home.loop.is_closed():
            self._release_port()
        else:
            home.call(self._release_port)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.drain(0 if kind is not None else 10.0)

    def __repr__(self) -> str:
        return f"<{self._name()} {self._state.name.lower()}>"
