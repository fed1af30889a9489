"""What all WebSockets of messages have: events, the output stream, sending and receiving, the end.

The engine's link knows the public object only weakly: a WebSocket that the program drops is closed, with a
ResourceWarning, as a StreamSocket is. Handlers run as everywhere: inline on an asyncio loop, on worker threads in a
plain script and where `moorings.blocking` made them; the next message waits until they are done.
"""

# pyright: reportPrivateUsage=false
# The link's callbacks call into the public object.

from __future__ import annotations

import weakref
from asyncio import get_running_loop
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from moorings import errors
from moorings.foundation.at_home import run_at_home
from moorings.foundation.background import report_from_worker, workers
from moorings.foundation.events import EventSource
from moorings.foundation.operation import OPERATION, OPERATION_WITH_PROGRESS
from moorings.foundation.projection import arities, check_str, check_uint, deprecated_alias, invalid_parameter_count
from moorings.foundation.task_operation import start_operation
from moorings.protocols.web_socket_close import check_close
from moorings.sockets.accepting import runs_on_worker
from moorings.sockets.connection import post
from moorings.sockets.enums import SocketMessageType
from moorings.sockets.web_socket_events import closed_args, failure_args, message_args
from moorings.sockets.web_socket_limits import WebSocketLimits, web_socket_counters
from moorings.streams.interfaces import IOutputStream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from moorings.engine.web_socket import WebSocketLink
    from moorings.foundation.async_info import IAsyncOperation, IAsyncOperationWithProgress
    from moorings.foundation.events import EventRegistrationToken
    from moorings.foundation.home import Home
    from moorings.foundation.scalars import ReadableBuffer
    from moorings.sockets.web_socket_limits import WebSocketCounters

_TEXT = 1
_BINARY = 2
_RECEIVE = 1
_NEXT = 2


class MessageSettings:
    """What of `control` may change at any time."""

    __slots__ = ("message_type",)

    def __init__(self) -> None:
        self.message_type = SocketMessageType.BINARY


class MessageOutputStream(IOutputStream):
    """The messages that a WebSocket sends: each write is one, of the type that `control` says then."""

    __slots__ = ("_closed", "_owner")

    def __init__(self, owner: MessageFace) -> None:
        self._owner = owner
        self._closed = False

    def write_async(self, buffer: ReadableBuffer, /) -> IAsyncOperationWithProgress[int, int]:
        """Queue the bytes of `buffer` as one message; gives their number once the kernel has all.

        Without `await` it goes out when the loop turn ends, together with others. The buffer must not change before
        the operation has ended.

        Errors: RO_E_CLOSED 0x80000013 after the end; E_INVALIDARG where the type is UTF8 and the bytes are not;
        WSAENOBUFS where the queue is full. Cancellation: *object now broken*: the connection is taken down. Source:
        WinRT IOutputStream.WriteAsync.
        """
        self._check()
        kind = _TEXT if self._owner._settings.message_type == SocketMessageType.UTF8 else _BINARY
        return self._owner._send(kind, buffer if isinstance(buffer, bytes) else memoryview(buffer), False)  # type: ignore[no-any-return]

    def flush_async(self) -> IAsyncOperation[bool]:
        """Send what is queued; True once all of it is sent, False where something failed.

        Errors: RO_E_CLOSED 0x80000013 after the end. Cancellation: *retry safe*: the messages stay queued. Source:
        WinRT IOutputStream.FlushAsync.
        """
        self._check()
        link = self._owner._link

        async def flush() -> bool:
            return bool(await link.stream.flush())

        if link.home.on_home_thread():
            return link.stream.flush()
        return start_operation(link.home, flush(), OPERATION)

    def _check(self) -> None:
        if self._closed or self._owner._link.left:
            raise errors.closed(f"output stream of {self._owner}")

    def close(self) -> None:
        """Close the WebSocket with an empty close frame. Source: WinRT IClosable.Close."""
        if not self._closed:
            self._closed = True
            self._owner.close()


class MessageFace:
    """Mixed into the WebSockets of messages."""

    __slots__ = ("__weakref__", "_closed_event", "_link", "_message_event", "_output", "_settings")

    def _prepare_face(self, link: WebSocketLink) -> None:
        self._prepare_events()
        self._take_link(link)

    def _prepare_events(self) -> None:
        self._settings = MessageSettings()
        self._message_event: EventSource[Any, Any] = EventSource()
        self._closed_event: EventSource[Any, Any] = EventSource()
        self._output: MessageOutputStream | None = None

    def _take_link(self, link: WebSocketLink) -> None:
        self._link = link
        me = weakref.ref(self)
        home = link.home

        def tell_closed(code: int, reason: str) -> None:
            owner = me()
            if owner is not None:
                owner._tell(home, owner._closed_event, closed_args(code, reason))

        def tell_failed(error: OSError) -> None:
            owner = me()
            if owner is not None:
                owner._tell(home, owner._message_event, failure_args(error))

        link.closed_handler = tell_closed
        link.failed_handler = tell_failed

    # -- events ------------------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        """Let messages go to the handlers of `message_received` from now on."""
        me = weakref.ref(self)

        def hand_out(payload: Any) -> Coroutine[Any, Any, object] | None:
            owner = me()
            return None if owner is None else owner._handle(payload)

        self._link.handler = hand_out
        self._link.deliver()

    def _handle(self, payload: Any) -> Coroutine[Any, Any, object] | None:
        args = message_args(payload)
        event = self._message_event
        if self._link.home.background or any(runs_on_worker(handler) for _, handler in event._handlers):
            return self._handle_elsewhere(event, args)
        pending = event.fire(self, args, self._report)
        return _await_all(pending, self._report) if pending else None

    async def _handle_elsewhere(self, event: EventSource[Any, Any], args: Any) -> None:
        """Call handlers one after the other, those that may block on a worker thread."""
        home = self._link.home
        for _, handler in event._handlers:
            if not home.background and not runs_on_worker(handler):
                try:
                    result: Any = handler(self, args)
                except Exception as error:  # noqa: BLE001 - a handler is foreign code; reported, once
                    self._report(error, handler)
                    continue
            else:
                result = await _on_worker(home, self, handler, args)
            if isinstance(result, Awaitable):
                await _await_all([(handler, result)], self._report)

    def _tell(self, home: Home, event: EventSource[Any, Any], args: Any) -> None:
        if event and not home.loop.is_closed():
            home.run(self._handle_elsewhere(event, args))

    def _report(self, error: BaseException, handler: object) -> None:
        self._link.home.report(f"{self}: handler {handler!r} failed", error, self)

    def add_closed(self, handler: Callable[[Any, Any], object], /) -> EventRegistrationToken:
        """Add a handler (socket, WebSocketClosedEventArgs), called once, behind the last message.

        It comes when the peer's close frame came or the program closed, and never when the connection just breaks.
        """
        return self._closed_event.add(handler)

    def remove_closed(self, token: EventRegistrationToken, /) -> None:
        """Remove the handler that `token` stands for."""
        self._closed_event.remove(token)

    # -- sending and receiving ---------------------------------------------------------------------------------------

    @property
    def output_stream(self) -> IOutputStream:
        """Messages to send: each write is one; the same object each time."""
        if self._output is None:
            self._output = MessageOutputStream(self)
        return self._output

    def _send(self, kind: int, payload: Any, face: bool) -> Any:
        link = self._link
        if link.home.on_home_thread():
            return link.send(kind, payload, face)

        async def send_there() -> Any:
            return await link.send(kind, payload, face)

        return start_operation(link.home, send_there(), OPERATION_WITH_PROGRESS)

    def send(self, message: str | ReadableBuffer, /) -> IAsyncOperationWithProgress[int, int]:
        """Queue a message, text for str and binary for anything bytes-like; awaiting it sends the queue.

        Gives the number of bytes of the message. Without `await` it goes out when the loop turn ends, together with
        others; await now and then: that is the back-pressure. What is no `bytes` or str is copied and may change at
        once.

        Errors: RO_E_CLOSED 0x80000013 after `close()`; 0x80072F83 after the peer's close; WSAENOBUFS where the queue is
        full; those of the connection. Cancellation: *retry safe* for the connection, but the message stays queued.
        """
        if isinstance(message, str):
            return self._send(_TEXT, message, True)  # type: ignore[no-any-return]
        payload = message if type(message) is bytes else memoryview(message).tobytes()
        return self._send(_BINARY, payload, True)  # type: ignore[no-any-return]

    def receive(self) -> IAsyncOperation[str | bytes]:
        """The next message: str where it is text, else bytes.

        Errors: E_ILLEGAL_METHOD_CALL where `message_received` has a handler; 0x80072F83 behind the last message when
        the peer has closed, 0x80072EF1 when the program closes meanwhile, RO_E_CLOSED afterwards; where the connection
        broke, ConnectionAbortedError and its like. Cancellation: *nothing happened*, *retry safe*: no message is lost.
        """
        return self._receive(_RECEIVE)  # type: ignore[no-any-return]

    def _receive(self, options: int) -> Any:
        link = self._link
        if link.home.on_home_thread():
            return link.receive(options)

        async def receive_there() -> Any:
            return await link.receive(options)

        return start_operation(link.home, receive_there(), OPERATION)

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> IAsyncOperation[str | bytes]:
        """The next message; the iteration ends with a close frame of 1000, 1001 or without a code, or with `close()`.

        Errors: else as `receive`. Cancellation: *nothing happened*, *retry safe*: no message is lost.
        """
        if self._link.home.on_home_thread():
            return self._link.receive(_NEXT)
        return run_at_home(self._link.home, self._next_there)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    async def _next_there(self) -> Any:
        return await self._link.receive(_NEXT)

    def ping(self) -> IAsyncOperation[float]:
        """Send a ping; gives the seconds until its pong came.

        Errors: WSAENOBUFS where 64 pings wait already; else as `send`. Cancellation: *nothing happened*, *retry safe*.
        """
        link = self._link
        if link.home.on_home_thread():
            return link.ping()

        async def ping_there() -> Any:
            return await link.ping()

        return start_operation(link.home, ping_there(), OPERATION)

    @property
    def close_code(self) -> int:
        """The code with which it was closed, as `closed` tells it; 0 before, and where the connection broke."""
        return self._link.close_code

    @property
    def close_reason(self) -> str:
        """The reason that the peer gave."""
        return self._link.close_reason

    @property
    def latency(self) -> float:
        """The round trip time of the last answered `ping`, in seconds; 0.0 before."""
        return self._link.latency

    @property
    def limits(self) -> WebSocketLimits:
        """Sizes of messages, queues and deadlines, by name; each may be changed at any time."""
        return WebSocketLimits(self._link)

    @property
    def counters(self) -> WebSocketCounters:
        """What it has done and holds at this moment, or at its end."""
        return web_socket_counters(self._link)

    # -- ending ------------------------------------------------------------------------------------------------------

    @arities(0, 2)
    def close(self, *arguments: Any) -> None:
        """Close with an empty close frame, or with a code and a reason; returns at once, a second call does nothing.

        What is queued goes out before. The peer has 10 s to answer; then the connection is cut off, and `closed` tells
        1006. `aclose()` waits for all that.

        Errors: E_INVALIDARG for other codes than 1000 to 1003, 1007 to 1011 and 3000 to 4999, and for a reason of more
        than 123 bytes. Source: WinRT IWebSocket.Close.
        """
        code, reason = close_arguments(arguments)
        link = self._link
        if link.home.dropped or link.home.loop.is_closed():
            return
        if link.home.on_home_thread():
            link.close(code, reason)
        else:
            # (Until then it is in use: who has closed it may drop it.)
            post(link.home, partial(self._close_there, code, reason))

    def _close_there(self, code: int | None, reason: str) -> None:
        self._link.close(code, reason)

    close_with_status = deprecated_alias("close")

    async def aclose(self) -> None:
        """`close()` and wait until it is done, the deadlines included.

        Cancellation: *object now broken*: the connection is aborted.
        """
        self.close()
        link = self._link
        if link.home.dropped or link.stream.is_released():
            return
        if get_running_loop() is link.home.loop:
            await link.stream.wait_closed()
        else:
            await run_at_home(link.home, self.aclose)

    def abort(self) -> None:
        """End at once: the peer sees a reset, what was queued is lost. Never waits; may be called twice."""
        link = self._link
        if link.home.dropped:
            return
        if link.home.on_home_thread() or not post(link.home, link.abort):
            link.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def close_arguments(arguments: tuple[Any, ...]) -> tuple[int | None, str]:
    """The arguments of `close`, checked: code and reason, None for no code."""
    if not arguments:
        return None, ""
    if len(arguments) != 2:
        raise invalid_parameter_count()
    code = check_uint(arguments[0], 16, "code")
    reason = check_str(arguments[1], "reason")
    check_close(code, reason)
    return code, reason


async def _await_all(pending: list[tuple[Any, Awaitable[Any]]], report: Callable[[BaseException, Any], object]) -> None:
    for handler, awaitable in pending:
        try:
            await awaitable
        except Exception as error:  # noqa: BLE001 - a handler is foreign code; reported, once
            report(error, handler)


async def _on_worker(home: Home, sender: object, handler: Callable[[Any, Any], object], args: Any) -> Any:
    """Call a handler on a worker thread and wait for what it returns."""
    done = home.loop.create_future()

    def work() -> None:
        result: object = None
        try:
            result = handler(sender, args)
        except BaseException as error:  # noqa: BLE001 - SystemExit and its like end neither the thread nor the program
            report_from_worker(home, f"{sender}: handler {handler!r} failed", error)
        post(home, lambda: None if done.done() else done.set_result(result))

    workers.submit_in_order(sender, work)
    return await done
