"""What all WebSockets of messages have beside what all WebSockets have: events, the output stream, messages.

While the handlers of a message are at work the next message waits.
"""

# pyright: reportPrivateUsage=false
# The link's callbacks call into the public object.

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.events import EventSource
from moorings.foundation.operation import OPERATION
from moorings.foundation.task_operation import start_operation
from moorings.sockets.message_parts import HandOut, MessageParts, MessageSettings, OutputParts
from moorings.sockets.web_socket_events import MessageWebSocketMessageReceivedEventArgs, failure_args
from moorings.sockets.web_socket_face import WebSocketFace, await_all
from moorings.sockets.web_socket_limits import WebSocketLimits, web_socket_counters
from moorings.streams.interfaces import IOutputStream

if TYPE_CHECKING:
    from moorings.engine.web_socket import WebSocketLink
    from moorings.foundation.async_info import IAsyncOperation
    from moorings.sockets.web_socket_events import MessagePart
    from moorings.sockets.web_socket_limits import WebSocketCounters

__all__ = ["MessageFace", "MessageOutputStream", "MessageSettings"]

_RECEIVE = 1


class MessageOutputStream(OutputParts, IOutputStream):
    """The messages that a WebSocket sends: each write is one, of the type that `control` says then."""

    __slots__ = ()

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
            flushing: IAsyncOperation[bool] = link.stream.flush()
            return flushing
        return start_operation(link.home, flush(), OPERATION)

    def close(self) -> None:
        """Close the WebSocket with an empty close frame. Source: WinRT IClosable.Close."""
        if not self._closed:
            self._closed = True
            self._owner.close()


class MessageFace(MessageParts, WebSocketFace):
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
        self._link.handler = self._link.taker = HandOut(
            weakref.ref(self),
            self._link.home,
            self._message_event,
            MessageWebSocketMessageReceivedEventArgs,
            await_all,
        )
        self._link.deliver()

    # -- sending and receiving ---------------------------------------------------------------------------------------

    @property
    def output_stream(self) -> IOutputStream:
        """Messages to send: each write is one; the same object each time."""
        if self._output is None:
            self._output = MessageOutputStream(self)
        return self._output

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

    @property
    def limits(self) -> WebSocketLimits:
        """Sizes of messages, queues and deadlines, by name; each may be changed at any time."""
        return WebSocketLimits(self._link)

    @property
    def counters(self) -> WebSocketCounters:
        """What it has done and holds at this moment, or at its end."""
        return web_socket_counters(self._link)
