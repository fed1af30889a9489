"""What all WebSockets of messages have beside what all WebSockets have: events, the output stream, messages.

While the handlers of a message are at work the next message waits.
"""

# pyright: reportPrivateUsage=false
# The link's callbacks call into the public object.

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Self

from moorings import errors
from moorings.foundation.at_home import run_at_home
from moorings.foundation.events import EventSource
from moorings.foundation.operation import OPERATION, OPERATION_WITH_PROGRESS
from moorings.foundation.task_operation import start_operation
from moorings.sockets.accepting import runs_on_worker
from moorings.sockets.enums import SocketMessageType
from moorings.sockets.web_socket_events import failure_args, message_args
from moorings.sockets.web_socket_face import WebSocketFace, await_all
from moorings.sockets.web_socket_limits import WebSocketLimits, web_socket_counters
from moorings.streams.interfaces import IOutputStream

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from moorings.engine.web_socket import WebSocketLink
    from moorings.foundation.async_info import IAsyncOperation, IAsyncOperationWithProgress
    from moorings.foundation.scalars import ReadableBuffer
    from moorings.sockets.web_socket_events import MessagePart
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


class MessageFace(WebSocketFace):
    """Mixed into the WebSockets of messages."""

    __slots__ = ("_message_event", "_output", "_settings")

    def _prepare_face(self, link: WebSocketLink) -> None:
        self._prepare_events()
        self._take_link(link)

    def _prepare_events(self) -> None:
        self._settings = MessageSettings()
        self._message_event: EventSource[Any, Any] = EventSource()
        self._closed_event = EventSource()
        self._output: MessageOutputStream | None = None

    def _take_link(self, link: WebSocketLink) -> None:
        self._link = link
        me = weakref.ref(self)
        home = link.home

        def tell_failed(error: OSError) -> None:
            owner = me()
            if owner is not None:
                owner._tell(home, owner._message_event, failure_args(error))

        link.closed_handler = self._teller()
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
        return await_all(pending, self._report) if pending else None

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

        Errors: E_ILLEGAL_METHOD_CALL where `message_received` has a handler, and in PARTIAL_MESSAGE mode; 0x80072F83
        behind the last message when the peer has closed, 0x80072EF1 when the program closes meanwhile, RO_E_CLOSED
        afterwards; where the connection broke, ConnectionAbortedError and its like. Cancellation: *nothing happened*,
        *retry safe*: no message is lost.
        """
        return self._receive(_RECEIVE)  # type: ignore[no-any-return]

    def receive_part(self) -> IAsyncOperation[MessagePart]:
        """The next part of a message, where `receive_mode` is PARTIAL_MESSAGE; else as `receive`.

        Errors: E_ILLEGAL_METHOD_CALL in the other mode; else as `receive`. Cancellation: *nothing happened*,
        *retry safe*: no part is lost.
        """
        return self._receive(_RECEIVE, partial=True)  # type: ignore[no-any-return]

    def _receive(self, options: int, *, partial: bool = False) -> Any:
        link = self._link
        if link.partial != partial and not link.left:
            hint = "in parts: use receive_part()" if link.partial else "whole: use receive()"
            raise errors.illegal_call(f"{self}: receiving in the other receive_mode", f"messages come {hint}")
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
        link = self._link
        if link.home.on_home_thread() and not link.partial:
            return link.receive(_NEXT)
        return run_at_home(link.home, self._next_there)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    async def _next_there(self) -> Any:
        return await self._receive(_NEXT)

    @property
    def limits(self) -> WebSocketLimits:
        """Sizes of messages, queues and deadlines, by name; each may be changed at any time."""
        return WebSocketLimits(self._link)

    @property
    def counters(self) -> WebSocketCounters:
        """What it has done and holds at this moment, or at its end."""
        return web_socket_counters(self._link)
