"""The part of a WebSocket listener that the event loop knows.

Theory of operation
-------------------
A StreamSocketListener accepts, shakes hands for TLS, and owns the tasks. Each of its connections first is *half-open*:
a task reads the head of its request, bounded in time, and in number by cutting off the one that has waited longest.
Then the request is judged: by the rules of WebSockets, by path, limits and origin, and last by the program (`approve`).
What opens nothing gets an HTTP answer, and is counted by its status. What opens is a WebSocket from then on: the task
ends, and the handler has one of its own, so that an idle WebSocket costs no coroutine of ours.

The listener knows the engine's links of its WebSockets, never the public objects: those the program may drop. `drain`
tells all links at once that the server goes away, and leaves the rest, deadline and abort, to the listener below.
"""

# pyright: reportPrivateUsage=false
# This is the other half of WebSocketListener, and works on the inside of sockets.

from __future__ import annotations

import asyncio
import weakref
from collections import Counter, deque
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from moorings import errors
from moorings.foundation.events import EventSource
from moorings.protocols.http_answers import HttpAnswer
from moorings.protocols.web_error_status import (
    INET_E_CONNECTION_ABORTED,
    INET_E_CONNECTION_RESET,
    INET_E_DISCONNECTED,
    INET_E_OPERATION_CANCELLED,
    INET_E_TIMEOUT,
)
from moorings.protocols.web_socket_close import CloseCode, check_close
from moorings.protocols.web_socket_frames import MESSAGE_LIMIT
from moorings.sockets.accepting import ITERATION_QUEUE, Serving, mark_as_worker, runs_on_worker
from moorings.sockets.connection import State, post
from moorings.sockets.server_message_web_socket import ServerMessageWebSocket, accept_web_socket
from moorings.sockets.server_stream_web_socket import ServerStreamWebSocket, accept_stream_web_socket
from moorings.sockets.web_socket_answering import PING_INTERVAL, PING_TIMEOUT, REQUEST_TIMEOUT, read_request
from moorings.sockets.web_socket_face import on_worker
from moorings.sockets.web_socket_listener_objects import (
    WebSocketApproval,
    approval_of,
    received_args,
    verdict_of,
)
from moorings.sockets.web_socket_origins import may_connect
from moorings.sockets.web_socket_routes import Route, Routes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence

    from moorings.engine.web_socket import WebSocketLink
    from moorings.engine.web_socket_stream import WebSocketStream
    from moorings.foundation.events import EventRegistrationToken
    from moorings.foundation.home import Home
    from moorings.protocols.http_answers import RequestHead
    from moorings.protocols.web_socket_request import RequestRefused, UpgradeRequest
    from moorings.sockets.accepting import Accepting
    from moorings.sockets.connection import Connection
    from moorings.sockets.stream_socket import StreamSocket
    from moorings.sockets.stream_socket_listener import StreamSocketListener
    from moorings.sockets.web_socket_face import WebSocketFace
    from moorings.sockets.web_socket_listener import WebSocketListener
    from moorings.sockets.web_socket_listener_objects import WebSocketListenerConnectionReceivedEventArgs as Args
    from moorings.sockets.web_socket_settings import WebSocketCompression

AnyWebSocket = ServerMessageWebSocket | ServerStreamWebSocket

#: Connections of one listener whose request has not come; beyond it the one that has waited longest is cut off.
HALF_OPEN_LIMIT = 1024
#: Seconds that `approve` has for a request.
APPROVAL_TIMEOUT = 30.0
#: Seconds after which a client that was refused for want of room may come again, as Retry-After says.
RETRY_AFTER = 5

_OPEN = 0
_ENDED = 4
#: What says no more than that the WebSocket has ended.
_ENDINGS = frozenset(
    (
        INET_E_CONNECTION_ABORTED,
        INET_E_CONNECTION_RESET,
        INET_E_DISCONNECTED,
        INET_E_OPERATION_CANCELLED,
        INET_E_TIMEOUT,
    )
)


class WebSocketDrainReport(NamedTuple):
    """How the WebSockets of a listener ended."""

    opened: int
    """WebSockets opened in all."""
    told: int
    """Those that were open when the drain began: each got a close frame to send."""
    finished: int
    """Of these, those whose client answered with its own close frame."""
    aborted: int
    """The rest of them: cut off at a deadline, or broken before the answer came."""
    broken: int = 0
    """Of all connections, those that broke: the client reset them, or was heard of no more."""


class Ending:
    """How a WebSocket ends with its handler."""

    __slots__ = ("core", "web_socket")

    def __init__(self, core: WebSocketAccepting, web_socket: AnyWebSocket) -> None:
        self.core = core
        self.web_socket = web_socket

    def served(self, error: BaseException | None, *, cancelled: bool) -> bool:
        """The handler is done: 1000; it has failed: 1011; it was cancelled: a reset. False where it must be told."""
        web_socket = self.web_socket
        if cancelled:
            web_socket.abort()
            return True
        quiet = error is None or self._only_ended(error)
        if quiet:
            web_socket.close(int(CloseCode.NORMAL_CLOSURE), "")
        else:
            web_socket.close(int(CloseCode.INTERNAL_ERROR), "")
        return quiet

    def _only_ended(self, error: BaseException) -> bool:
        if only_ended(self.web_socket, error):
            return True
        # That it is closed is the program's own mistake, but for a handler whose WebSocket the drain has closed.
        closed = getattr(error, "winerror", None) == errors.RO_E_CLOSED
        return closed and any(self.web_socket._link is each for each in self.core.told)


def only_ended(web_socket: WebSocketFace, error: BaseException) -> bool:
    """Whether an exception of a handler says no more than that its WebSocket has ended."""
    if isinstance(error, BaseExceptionGroup):
        return all(only_ended(web_socket, each) for each in error.exceptions)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType, reportUnknownMemberType]
    link = web_socket._link
    if not isinstance(error, OSError) or link.stage == _OPEN:
        return False
    known = [link.error]
    for stream in (link.stream, web_socket._last()):
        known += [stream.read_error, stream.write_error]
    return any(error is each for each in known) or getattr(error, "winerror", None) in _ENDINGS


class WebSocketAccepting:
    """Requests, routes, limits and counts of one listener."""

    def __init__(self, owner: WebSocketListener, listener: StreamSocketListener) -> None:
        self.owner = weakref.ref(owner)
        self.accepting: Accepting = listener._accepting
        self.accepting.kind = "WebSocketListener"
        self.accepting.slack = HALF_OPEN_LIMIT
        self._listener = weakref.ref(listener)
        self._token: EventRegistrationToken | None = None
        self.event: EventSource[WebSocketListener, Args] = EventSource()
        self.routes = Routes()
        self.default_route = Route("/{path:path}")
        self.default_route.event = self.event
        self.approve: Callable[[WebSocketApproval], object] | None = None
        self.http: Callable[[RequestHead], object] | None = None
        self.max_connections: int | None = None
        self.max_message_size = MESSAGE_LIMIT
        self.compression: WebSocketCompression | bool = False
        self.subprotocols: Sequence[str] = ()
        self.origins: Collection[str | None] | None = None
        self.request_timeout = REQUEST_TIMEOUT
        self.ping_interval = PING_INTERVAL
        self.ping_timeout = PING_TIMEOUT
        #: Connections whose request has not come, the oldest first.
        self.half_open: dict[StreamSocket, None] = {}
        #: The open WebSockets, each with what closes it.
        self.links: dict[Connection, tuple[WebSocketLink, Callable[[int, str], object]]] = {}
        #: Requests that are being judged.
        self.pending = 0
        self.opened = 0
        self.evicted = 0
        self.incomplete = 0
        self.answers: Counter[int] = Counter()
        self.iterating = False
        self.taken: deque[AnyWebSocket] = deque()
        self.told: list[WebSocketLink] = []
        self.draining = False

    @property
    def home(self) -> Home:
        """The home of the listener, once it is bound."""
        home = self.accepting.home
        assert home is not None
        return home

    def at_home(self, function: Callable[[], object]) -> None:
        """Let the home loop call `function`; here and now where there is none."""
        home = self.accepting.home
        if home is not None and home.dropped:
            return
        if home is None or home.on_home_thread() or not post(home, function):
            function()

    def limit(self, value: int | None) -> None:
        """Set `max_connections`; beyond it clients are answered, and beyond those accepting pauses."""
        self.max_connections = value
        self.accepting.max_connections = value
        if self.accepting.home is not None:
            self.accepting.update()

    def update(self) -> None:
        """Let the listener below accept while there is somebody for the WebSockets."""
        listener = self._listener()
        if listener is None:
            return
        wanted = bool(self.event) or self.iterating or self.routes.handled()
        if wanted and self._token is None and self.accepting.state != State.CLOSED:
            self._token = listener.add_connection_received(self._come)
        elif not wanted and self._token is not None:
            token, self._token = self._token, None
            listener.remove_connection_received(token)

    # -- requests ----------------------------------------------------------------------------------------------------

    def _come(self, _listener: object, args: Any) -> Coroutine[Any, Any, None]:
        return self._serve(args.socket)

    async def _serve(self, socket: StreamSocket) -> None:
        """One connection, up to its WebSocket or its answer. What goes wrong with the client is counted only."""
        from moorings.protocols.web_socket_request import RequestRefused, ServerHandshake  # noqa: PLC0415 (only here)

        try:
            handshake = ServerHandshake()
            judged = await self._read(socket, handshake)
            if isinstance(judged, RequestRefused):
                answer = None if handshake.head is None else await self._plain(handshake.head)
                if answer is None:
                    self._answer(socket, judged)
                else:
                    self._send(socket, *answer)
            elif judged is not None:
                await self._judge(socket, judged)
        except BaseException:
            socket.abort()
            raise

    async def _read(self, socket: StreamSocket, handshake: Any) -> UpgradeRequest | RequestRefused | None:
        from moorings.protocols.web_socket_request import refuse_request  # noqa: PLC0415 (loaded already)

        half_open = self.half_open
        half_open[socket] = None
        if len(half_open) > HALF_OPEN_LIMIT:
            oldest = next(iter(half_open))
            del half_open[oldest]
            self.evicted += 1
            oldest.abort()
        limit = asyncio.timeout(self.request_timeout)
        try:
            async with limit:
                return await read_request(socket, handshake)
        except OSError:  # a TimeoutError, too, may be the connection's own
            if limit.expired() and socket._connection.state == State.OPEN:
                return refuse_request(408, "The request took too long.")
            if socket in half_open:
                self.incomplete += 1
            socket.abort()
            return None
        finally:
            half_open.pop(socket, None)

    def _answer(self, socket: StreamSocket, refused: RequestRefused) -> None:
        self._send(socket, refused.status, refused.answer)

    def _send(self, socket: StreamSocket, status: int, answer: bytes) -> None:
        """Send an answer, and end behind it, within the deadline of `close`."""
        self.answers[status] += 1
        try:
            socket.write(answer)
        except OSError:
            socket.abort()  # it has ended meanwhile
        else:
            socket.close()

    async def _plain(self, head: RequestHead) -> tuple[int, bytes] | None:
        """The answer of the program to a request that wants no WebSocket, and its status."""
        if self.http is None or head.wants_upgrade or head.method not in {"GET", "HEAD"}:
            return None
        try:
            given = await self._ask(self.http, head)
            if given is None:
                return None
            if isinstance(given, str | bytes):
                given = HttpAnswer(body=given)
            if not isinstance(given, HttpAnswer):
                raise TypeError(f"http must return an HttpAnswer, str, bytes or None, not {type(given).__name__}")
            return given.status, given.encode(with_body=head.method != "HEAD")
        except Exception as error:  # noqa: BLE001 - the hook is foreign code; reported, once
            self._report("http", self.http, error)
            return 500, HttpAnswer(status=500, body="The server has failed.\n").encode()

    async def _ask(self, hook: Callable[[Any], object], subject: object) -> Any:
        """Call a hook of the program, which may be `async`, or block in a plain script."""
        if self.home.background and not runs_on_worker(hook):
            answer = await on_worker(self.home, self, lambda _sender, given: hook(given), subject)
        else:
            answer = hook(subject)
        if isinstance(answer, Awaitable):
            async with asyncio.timeout(APPROVAL_TIMEOUT):
                return await answer  # pyright: ignore[reportUnknownVariableType]
        return answer

    def _report(self, what: str, hook: object, error: BaseException) -> None:
        self.home.report(f"{self.accepting}: {what} {hook!r} failed", error, self.owner())

    # -- judging -----------------------------------------------------------------------------------------------------

    async def _judge(self, socket: StreamSocket, request: UpgradeRequest) -> None:
        from moorings.protocols.web_socket_request import RequestRefused  # noqa: PLC0415 (loaded already)

        self.pending += 1
        try:
            found = self._find(request)
            if isinstance(found, RequestRefused):
                self._answer(socket, found)
                return
            route, request = found
            subprotocol = self._choose(route, request)
            approval = approval_of(socket, request, subprotocol)
            approve = self.approve if route.approve is None else route.approve
            if approve is not None:
                await self._approve(approve, approval)
            if approval.refusal is None and self.draining:
                approval.refuse(503, "The server is going away.")
            if approval.refusal is not None:
                self._answer(socket, approval.refusal)
                return
            await self._open(socket, route, approval)
        finally:
            self.pending -= 1

    def _find(self, request: UpgradeRequest) -> tuple[Route, UpgradeRequest] | RequestRefused:
        """The route of a request, or why there is none for it."""
        from dataclasses import replace  # noqa: PLC0415 (only here)

        from moorings.protocols.web_socket_request import refuse_request  # noqa: PLC0415 (loaded already)

        route = self.default_route
        if len(self.routes):
            found = self.routes.find(request.path)
            if found is None:
                return refuse_request(404, "There is no WebSocket here.")
            route, parameters = found
            request = replace(request, parameters=parameters)
        origins = self.origins if route.origins is None else route.origins
        if not may_connect(request, origins):
            return refuse_request(403, f"The origin {request.origin} may not connect.")
        full = self.max_connections is not None and len(self.links) + self.pending > self.max_connections
        if full or (self._iterates(route) and len(self.taken) + self.pending > ITERATION_QUEUE):
            return refuse_request(503, "There are too many connections.", [("Retry-After", str(RETRY_AFTER))])
        return route, request

    def _choose(self, route: Route, request: UpgradeRequest) -> str:
        from moorings.protocols.web_socket_request import choose_subprotocol  # noqa: PLC0415 (loaded already)

        supported = self.subprotocols if route.subprotocols is None else route.subprotocols
        return choose_subprotocol(request.subprotocols, supported)

    async def _approve(self, approve: Callable[[WebSocketApproval], object], approval: WebSocketApproval) -> None:
        try:
            verdict_of(approval, await self._ask(approve, approval))
        except Exception as error:  # noqa: BLE001 - the hook is foreign code; reported, once
            self._report("approve", approve, error)
            approval.refuse(500, "The server has failed.")

    def _iterates(self, route: Route) -> bool:
        return self.iterating and (route.event is None or route.event is self.event)

    # -- open WebSockets ---------------------------------------------------------------------------------------------

    async def _open(self, socket: StreamSocket, route: Route, approval: WebSocketApproval) -> None:
        limit = self.max_message_size if route.max_message_size is None else route.max_message_size
        settings: dict[str, Any] = {
            "request": approval.request,
            "subprotocols": [approval.subprotocol] if approval.subprotocol else (),
            "headers": approval.headers,
            "origins": ["*"],  # judged already
            "ping_interval": self.ping_interval,
            "ping_timeout": self.ping_timeout,
        }
        web_socket: AnyWebSocket
        close: Callable[[int, str], object]
        try:
            if route.is_stream:
                web_socket = await accept_stream_web_socket(socket, **settings)
                assert web_socket._bytes is not None
                close = partial(_leave, web_socket._bytes)
            else:
                web_socket = await accept_web_socket(
                    socket, max_message_size=limit, compression=self.compression, **settings
                )
                close = web_socket._link.close
        except OSError:
            self.incomplete += 1  # the connection broke before the answer was out
            return
        web_socket.information.user = approval.user
        self.opened += 1
        connection = socket._connection
        if connection.on_finished is not None:
            self.links[connection] = web_socket._link, close
            connection.on_finished = self._finished
        self._hand_on(web_socket, route, approval.request)

    def _finished(self, connection: Connection) -> None:
        self.links.pop(connection, None)
        self.accepting._finished(connection)

    def _hand_on(self, web_socket: AnyWebSocket, route: Route, request: UpgradeRequest) -> None:
        """Give a WebSocket to the handlers, or to the iterator."""
        event = self.event if route.event is None else route.event
        owner = self.owner()
        if self.draining or owner is None:
            web_socket.close(int(CloseCode.GOING_AWAY), "")
        elif event:
            self.accepting.fire(event, owner, received_args(web_socket, request))
        elif self.iterating:
            self.taken.append(web_socket)
            self.accepting._changed()
        else:
            web_socket.close(int(CloseCode.GOING_AWAY), "")  # the last handler was removed meanwhile

    # -- taking ------------------------------------------------------------------------------------------------------

    async def next_web_socket(self) -> AnyWebSocket | None:
        """Take the oldest WebSocket that waits; None when the listener has stopped."""
        accepting = self.accepting
        while not self.taken:
            if accepting.stopped or accepting.state != State.OPEN:
                return None
            await accepting._change()
        return self.taken.popleft()

    def put_back(self, web_socket: AnyWebSocket | None) -> None:
        """Undo `next_web_socket`."""
        if web_socket is not None:
            self.taken.appendleft(web_socket)
            self.accepting._changed()

    def end_iteration(self) -> None:
        """The iterator is gone."""
        self.iterating = False
        self.update()

    def release_port(self) -> None:
        """Give the port back. Requests that have not come are cut off, and WebSockets that nobody took."""
        self.accepting.release_port()
        self.draining = True
        while self.half_open:
            self.half_open.popitem()[0].abort()
        while self.taken:
            self.taken.popleft().close(int(CloseCode.GOING_AWAY), "")

    # -- draining ----------------------------------------------------------------------------------------------------

    async def drain(self, timeout: float | None, code: int, reason: str) -> WebSocketDrainReport:
        """Tell all WebSockets, wait for handlers and answers, abort the rest."""
        leaving = [(link, close) for link, close in self.links.values() if link.stage == _OPEN]
        told = self.told = [link for link, _ in leaving]
        for _, close in leaving:
            close(code, reason)
        self.release_port()
        report = await self.accepting.drain(timeout)
        finished = sum(link.close_code not in {0, int(CloseCode.ABNORMAL_CLOSURE)} for link in told)
        return WebSocketDrainReport(self.opened, len(told), finished, len(told) - finished, report.broken)


def _leave(stream: WebSocketStream, code: int, reason: str) -> None:
    """Say that we go; the handler reads on until the client has answered."""
    stream.close_code_sent = code
    stream.close_reason_sent = reason
    stream.shut_writing()


def serving(core: WebSocketAccepting, handler: Callable[[Any], object]) -> Callable[[object, Args], Serving | None]:
    """An event handler that calls `handler` with the WebSocket, which ends with it."""
    me = weakref.ref(core)

    def serve(_listener: object, args: Args) -> Serving | None:
        owner = me()
        assert owner is not None  # it is calling us
        web_socket = args.socket
        ending = Ending(owner, web_socket)
        try:
            result = handler(web_socket)
        except BaseException as error:
            if ending.served(error, cancelled=False):
                return None
            raise
        if isinstance(result, Awaitable):
            return Serving(result, ending)  # pyright: ignore[reportUnknownArgumentType]
        ending.served(None, cancelled=False)
        return None

    if runs_on_worker(handler):
        mark_as_worker(serve)
    return serve


def drained_nothing() -> WebSocketDrainReport:
    """The report of a listener that was never bound."""
    return WebSocketDrainReport(0, 0, 0, 0)


def check_drain(code: int, reason: str) -> None:
    """Whether this may be said to clients: E_INVALIDARG where not."""
    check_close(code, reason)
