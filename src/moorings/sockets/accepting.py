"""The part of a listener that the event loop knows.

Theory of operation
-------------------
The loop refers to the `Accepting`, through the engine's acceptor; the `Accepting` refers to the public listener only
weakly. So a listener that the program drops is noticed, warns, and gives its port back. Everything here runs on the
home thread of the listener.

With a server certificate each connection first shakes hands, bounded in time and number; handlers and iterators get it
afterwards. A handshake that fails is counted and told to nobody: anybody can make one fail.

Accepting goes on while somebody takes the connections (handlers, or one iterator) and no limit is reached; otherwise
new connections wait in the kernel's backlog. `update` compares the two and is called whenever one of them may have
changed. Tasks of handlers belong to the listener: `drain` waits for them and cancels what is left.
"""

# pyright: reportPrivateUsage=false
# This is the other half of StreamSocketListener, which keeps the handlers.

from __future__ import annotations

import asyncio
import inspect
import os
import weakref
from collections import deque
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from moorings import errors
from moorings.engine.hub import hub_of
from moorings.engine.interface import BROKEN
from moorings.engine.listener import Acceptor
from moorings.engine.server_handshake import ServerHandshake
from moorings.engine.tcp_stream import TcpStream
from moorings.engine.tls_codec import TlsFailure, TlsSession
from moorings.engine.tls_moving import movable
from moorings.engine.tls_stream import TlsStream
from moorings.foundation.background import report_from_worker, workers
from moorings.names.endpoints import ANYWHERE
from moorings.sockets.connection import Connection, Settings, State, post
from moorings.sockets.listener_objects import event_args
from moorings.sockets.stream_socket import StreamSocket, accepted_socket
from moorings.sockets.tls_settings import ServerTlsSettings, facts_of

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Coroutine, Generator

    from moorings.foundation.events import EventSource
    from moorings.foundation.home import Home
    from moorings.sockets.listener_objects import StreamSocketListenerConnectionReceivedEventArgs
    from moorings.sockets.stream_socket_listener import StreamSocketListener

#: Handlers that run on worker threads at the same time; accepting pauses beyond it.
CONCURRENT_HANDLERS = 64
#: Accepted connections that wait for `async for` to take them; accepting pauses beyond it.
ITERATION_QUEUE = 64
#: TLS handshakes at the same time; accepting pauses beyond it.
HANDSHAKES_LIMIT = 256
#: Seconds that `drain` gives cancelled handler tasks to clean up.
CANCEL_TIMEOUT = 5.0


class DrainReport(NamedTuple):
    """How the connections of a listener ended."""

    accepted: int
    """Connections accepted in all."""
    finished: int
    """Connections that ended by themselves while draining."""
    aborted: int
    """Connections that were aborted: at the deadline, or because nobody had taken them yet."""
    broken: int = 0
    """Of all accepted ones, those that broke: the peer reset them, or was heard of no more. Their handlers' exceptions
    that say only this are not reported."""


class Served(Protocol):
    """What ends with its handler, where that is no StreamSocket."""

    def served(self, error: BaseException | None, *, cancelled: bool) -> bool:
        """End, well or not; False where `error` has to be reported."""
        ...


class Serving:
    """What a handler of the Python face returns: an awaitable, and the connection that ends with it."""

    __slots__ = ("awaitable", "connection")

    def __init__(self, awaitable: Awaitable[object], connection: StreamSocket | Served) -> None:
        self.awaitable = awaitable
        self.connection = connection

    def __await__(self) -> Generator[Any, None, object]:
        return self.awaitable.__await__()


async def _finish(awaitable: Awaitable[object]) -> None:
    await awaitable


def runs_on_worker(handler: object) -> bool:
    """Whether `moorings.blocking` made this handler: it then counts as one that runs on a worker thread."""
    return getattr(handler, "_moorings_runs_on_worker_", False) is True


def mark_as_worker(handler: object) -> None:
    """Let `runs_on_worker` say yes."""
    handler._moorings_runs_on_worker_ = True  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def _close(connected: socket.socket | int) -> None:
    if isinstance(connected, int):
        os.close(connected)
    else:
        connected.close()


class Accepting:
    """Acceptor, connections, tasks, limits and counts of one listener."""

    __slots__ = (
        "__weakref__",
        "_deadlines",
        "_finished_callback",
        "_waiters",
        "accepted",
        "acceptor",
        "broken",
        "ending",
        "handshakes",
        "handshakes_failed",
        "home",
        "iterating",
        "kind",
        "local_sockaddr",
        "max_connections",
        "open",
        "owner",
        "place",
        "port",
        "running",
        "secure",
        "settings",
        "slack",
        "state",
        "stopped",
        "taken",
        "tasks",
        "tls",
        "untaken",
    )

    def __init__(self, owner: StreamSocketListener, place: tuple[str, int]) -> None:
        self.owner = weakref.ref(owner)
        self.place = place
        #: Which class it is that listens, as errors name it.
        self.kind = "StreamSocketListener"
        self.settings = Settings()
        self.tls = ServerTlsSettings()
        #: The context that new handshakes use; None for plain TCP.
        self.secure: ssl.SSLContext | None = None
        #: The handshakes under way, each with its deadline in the loop's time.
        self.handshakes: dict[ServerHandshake, float] = {}
        self._deadlines: asyncio.TimerHandle | None = None
        self.handshakes_failed = 0
        self.state = State.NEW
        self.home: Home | None = None
        self.acceptor: Acceptor | None = None
        self.port = ""
        #: That of each connection, too, unless it is a wildcard: then None.
        self.local_sockaddr: Any = None
        self.accepted = 0
        self.broken = 0
        self.untaken = 0
        self.open: set[Connection] = set()
        self.tasks: dict[asyncio.Task[Any], StreamSocket | Served | None] = {}
        self.running = 0
        self.taken: deque[StreamSocket] = deque()
        self.iterating = False
        self.stopped = False
        self.ending = False
        self.max_connections: int | None = None
        #: Connections beyond that which are accepted all the same, to be answered.
        self.slack = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._finished_callback = self._finished

    def __str__(self) -> str:
        return f"{self.kind} on port {self.port}" if self.port else self.kind

    # -- starting and stopping ---------------------------------------------------------------------------------------

    def start(self, home: Home, listening: socket.socket) -> None:
        """Take over a listening socket. OSError when the loop cannot watch it; the caller then still owns it."""
        self.acceptor = Acceptor(hub_of(home), listening, self._accept, self._accept_failed)
        self.acceptor.label = self
        local = listening.getsockname()
        self.port = str(local[1])
        self.local_sockaddr = None if local[0] in ANYWHERE else local
        self.state = State.OPEN
        self.update()

    def update(self) -> None:
        """Accept or pause, as handlers, limits and queues allow."""
        acceptor = self.acceptor
        if acceptor is None:
            return
        if self.iterating:
            wanted = len(self.taken) < ITERATION_QUEUE
        else:
            owner = self.owner()
            handled = owner is not None and bool(owner._event)
            while handled and self.taken and self.running < CONCURRENT_HANDLERS:
                left_over = self.taken.popleft()
                self._deliver(event_args(left_over._connection, self.place, left_over))
            wanted = handled and self.running < CONCURRENT_HANDLERS
        busy = len(self.handshakes)
        full = busy >= HANDSHAKES_LIMIT or (
            self.max_connections is not None and len(self.open) + busy >= self.max_connections + self.slack
        )
        if wanted and not full and not self.stopped:
            acceptor.resume()
        else:
            acceptor.pause()

    def stop(self) -> None:
        """Accept no more, but keep the port."""
        self.stopped = True
        self.update()
        self._changed()

    def release_port(self) -> None:
        """Give the port back. Connections that nobody took are reset."""
        self.stopped = True
        acceptor, self.acceptor = self.acceptor, None
        if acceptor is not None:
            acceptor.close()
        self._end_handshakes()
        self.untaken += len(self.taken)
        while self.taken:
            self.taken.popleft().abort()
        self._changed()

    def undo_start(self) -> None:
        """Be new again: the bind failed or was cancelled, perhaps in the very turn in which it succeeded."""
        if self.state == State.OPEN:
            self.release_port()
            self.stopped = False
            self.port = ""
        if self.state != State.CLOSED:
            self.state = State.NEW

    # -- connections -------------------------------------------------------------------------------------------------

    def _accept(self, connected: socket.socket | int, address: Any) -> None:
        if self.secure is None:
            self._take(connected, address, None)
            return
        home = self.home
        assert home is not None
        try:
            session = movable(TlsSession(self.secure, server_side=True), self.secure, server_side=True)
        except OSError:
            self.handshakes_failed += 1
            _close(connected)
            return
        handshake = ServerHandshake(hub_of(home), connected, address, session, self._handshake_ended)
        deadline = home.loop.time() + self.tls.handshake_timeout
        self.handshakes[handshake] = deadline
        if self._deadlines is None or deadline < self._deadlines.when():
            self._watch_deadlines(deadline)
        self.update()
        handshake.start()

    def _watch_deadlines(self, first: float) -> None:
        """One timer for all handshakes; it may come when the one that it was set for is done."""
        assert self.home is not None
        if self._deadlines is not None:
            self._deadlines.cancel()
        self._deadlines = self.home.loop.call_at(first, self._end_late_ones)

    def _end_late_ones(self) -> None:
        assert self.home is not None
        self._deadlines = None
        now = self.home.loop.time()
        for handshake in [each for each, deadline in self.handshakes.items() if deadline <= now]:
            del self.handshakes[handshake]
            handshake.close()
            self.handshakes_failed += 1
        if self.handshakes:
            self._watch_deadlines(min(self.handshakes.values()))
        self.update()
        self._changed()

    def _handshake_ended(self, handshake: ServerHandshake, error: Exception | None) -> None:
        del self.handshakes[handshake]
        if error is None:
            self._take(handshake.give(), handshake.address, handshake.session)
        else:
            handshake.close()
            self.handshakes_failed += 1
            if not isinstance(error, (TlsFailure, OSError)):
                self._report(error, self)  # a mistake in the library
        self.update()
        self._changed()

    def _end_handshakes(self) -> None:
        if self._deadlines is not None:
            self._deadlines.cancel()
            self._deadlines = None
        while self.handshakes:
            self.handshakes.popitem()[0].close()

    def _take(self, connected: socket.socket | int, address: Any, session: TlsSession | None) -> None:
        """Make a connection of a descriptor, and hand it on."""
        home = self.home
        assert home is not None
        connection = Connection(self.settings)
        connection.accepted = True
        stream: TcpStream | None = None
        try:
            self.settings.apply_to_accepted(connected)
            if session is None:
                stream = TcpStream(hub_of(home), connected, connection)
            else:
                stream = TlsStream(hub_of(home), connected, connection, session)
                connection.tls = facts_of(session, asked_for_certificate=self.tls.client_anchors is not None)
        except Exception as error:  # noqa: BLE001 - be it a mistake of the library, the client must not wait for ever
            if stream is None:
                _close(connected)
            else:
                stream.abort()
            home.report(f"{self}: a connection could not be taken over", error, self.owner())
            return
        connection.opened(stream, address, self.local_sockaddr)
        connection.on_finished = self._finished_callback
        self.open.add(connection)
        self.accepted += 1
        if self.iterating:
            self.taken.append(accepted_socket(connection, self.place))
            self._changed()
            self.update()
        else:
            if self.max_connections is not None:
                self.update()
            self._deliver(event_args(connection, self.place))

    def _finished(self, connection: Connection) -> None:
        self.open.discard(connection)
        stream = connection.stream
        if stream is not None and stream.end_reason in BROKEN:
            self.broken += 1
        if self.max_connections is not None:
            self.update()
        self._changed()

    def _accept_failed(self, error: OSError) -> None:
        assert self.home is not None
        failure = errors.from_os_error(error, f"{self}: accepting failed for good: {error.strerror}")
        self.home.report(str(failure), failure, self.owner())
        self.state = State.CLOSED
        self.release_port()

    def _deliver(self, args: StreamSocketListenerConnectionReceivedEventArgs) -> None:
        owner = self.owner()
        if owner is not None:  # else dropped by the program; the arguments close the connection
            self.fire(owner._event, owner, args)

    def fire(self, event: EventSource[Any, Any], owner: object, args: object) -> None:
        """Call the handlers: inline on an asyncio loop, on a worker thread for a plain script."""
        home = self.home
        assert home is not None
        if not home.background:
            event.fire(owner, args, self._report, self._own_task)
            return
        self.running += 1
        self.update()
        try:
            workers.submit_concurrently(partial(self._run_handlers, event, owner, args))
        except RuntimeError as error:  # the system gives no thread
            self._worker_done()
            home.report(f"{self}: no thread for the connection_received handlers", error, owner)

    def _run_handlers(self, event: EventSource[Any, Any], owner: object, args: object) -> None:
        """Call the handlers on a worker thread; what is `async def` goes on on the home loop."""
        home = self.home
        assert home is not None

        def report(error: BaseException, handler: object) -> None:
            report_from_worker(home, self._failure(handler), error)

        def start(handler: object, awaitable: Awaitable[Any]) -> None:
            if not post(home, partial(self._own_task, handler, awaitable)) and inspect.iscoroutine(awaitable):
                awaitable.close()  # the end of the program

        try:
            event.fire(owner, args, report, start)
        except BaseException as error:  # noqa: BLE001 - SystemExit and its like end neither the thread nor the program
            report(error, event)
        finally:
            post(home, self._worker_done)

    def _worker_done(self) -> None:
        self.running -= 1
        self.update()
        self._changed()

    def _failure(self, handler: object) -> str:
        return f"{self}: connection_received handler {handler!r} failed"

    def _report(self, error: BaseException, handler: object) -> None:
        assert self.home is not None
        self.home.report(self._failure(handler), error, self.owner())

    def _own_task(self, handler: object, awaitable: Awaitable[Any]) -> None:
        """Run what a handler returned as a task of the listener. (No coroutine of ours around it: it would cost every
        idle connection memory, and every message time.)
        """
        assert self.home is not None
        connection: StreamSocket | Served | None = None
        if isinstance(awaitable, Serving):
            connection = awaitable.connection
            awaitable = awaitable.awaitable
        # The type first: the general question costs a tenth of what a short connection does.
        given: Any = awaitable
        ready = type(given) is CoroutineType or inspect.iscoroutine(given)
        coroutine: Coroutine[Any, Any, Any] = given if ready else _finish(awaitable)  # pyright: ignore[reportUnknownVariableType]
        task: asyncio.Task[Any] = self.home.loop.create_task(coroutine)
        self.tasks[task] = connection
        task.add_done_callback(self._task_ended)
        if runs_on_worker(handler):
            self.running += 1
            task.add_done_callback(lambda _task: self._worker_done())
            self.update()

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        connection = self.tasks.pop(task, None)
        error = None if task.cancelled() else task.exception()
        # That the peer has gone is no failure of the handler: `end_reason` and `DrainReport.broken` tell it.
        quiet = error is None
        if connection is not None and type(connection) is not StreamSocket:
            quiet = connection.served(error, cancelled=task.cancelled())
        elif connection is not None:
            quiet = error is None or connection._connection.broke_with(error)
            if error is None and not task.cancelled():
                connection.close()
            else:
                connection.abort()
        if error is not None and not quiet:
            self._report(error, task.get_coro())
        self._changed()

    # -- waiting -----------------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        for waiter in self._waiters:
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_result(None)

    async def _change(self) -> None:
        assert self.home is not None
        waiter = self.home.loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def until_stopped(self) -> None:
        """Wait until the listener accepts no more."""
        while not self.stopped:
            await self._change()

    async def next_connection(self) -> StreamSocket | None:
        """Take the oldest connection that waits; None when the listener has stopped."""
        while not self.taken:
            if self.stopped or self.state != State.OPEN:
                return None
            await self._change()
        connection = self.taken.popleft()
        self.update()
        return connection

    def put_back(self, connection: StreamSocket | None) -> None:
        """Undo `next_connection`."""
        if connection is None:
            return
        if self.acceptor is None:
            self.untaken += 1
            connection.abort()
        else:
            self.taken.appendleft(connection)
            self.update()
            self._changed()

    def end_iteration(self) -> None:
        """The iterator is gone."""
        self.iterating = False
        self.update()

    # -- draining ----------------------------------------------------------------------------------------------------

    async def drain(self, timeout: float | None) -> DrainReport:
        """Stop accepting, wait for connections and handlers to end, abort the rest."""
        self.release_port()
        waiting = len(self.open)
        current = asyncio.current_task()
        left: list[Connection] = []
        try:
            async with asyncio.timeout(timeout):
                await self._until_idle(current)
        except TimeoutError:
            pass
        finally:
            # Tasks first: a cancelled handler ends quietly, one whose connection breaks would be reported.
            tasks = [task for task in self.tasks if task is not current]
            for task in tasks:
                task.cancel()
            left.extend(self.open)
            for connection in left:
                if connection.stream is not None:
                    connection.stream.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_TIMEOUT)
        return DrainReport(self.accepted, waiting - len(left), len(left) + self.untaken, self.broken)

    async def _until_idle(self, current: asyncio.Task[Any] | None) -> None:
        while self.open or self.running or self.handshakes or any(task is not current for task in self.tasks):
            await self._change()
