"""The parts of a WebSocket of messages that each message passes: what hands it out, its arguments, sending.

Hot. The rules stand in the classes that derive from these: `MessageFace`, `MessageOutputStream` and
`MessageWebSocketMessageReceivedEventArgs`, under whose names all this is known.
"""

# pyright: reportPrivateUsage=false
# The other half of those classes.

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Self

from moorings import errors
from moorings.engine.web_socket import WebSocketLink
from moorings.foundation.at_home import run_at_home
from moorings.foundation.operation import OPERATION, OPERATION_WITH_PROGRESS
from moorings.foundation.task_operation import start_operation
from moorings.protocols.sink import MessageTaker
from moorings.sockets.accepting import runs_on_worker
from moorings.sockets.enums import SocketMessageType

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import cython

    from moorings.foundation.async_info import IAsyncOperation, IAsyncOperationWithProgress
    from moorings.foundation.events import EventSource
    from moorings.foundation.home import Home
    from moorings.foundation.scalars import ReadableBuffer
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import thread_ident

__all__ = ["HandOut", "MessageParts", "MessageSettings", "OutputParts", "ReceivedMessage", "octets_of"]

_TEXT = 1
_BINARY = 2
_NEXT = 2
# Up to Python 3.11, looking a member of an enumeration up costs as much as ten other look-ups.
_UTF8 = SocketMessageType.UTF8


def octets_of(message: Any) -> bytes:
    """A message that is no text, copied. TypeError where it is not bytes-like."""
    try:
        return memoryview(message).tobytes()
    except TypeError:
        raise TypeError(f"a message must be str or bytes-like, not {type(message).__name__}") from None


class MessageSettings:
    """What of `control` may change at any time."""

    __slots__ = ("message_type",)

    def __init__(self) -> None:
        self.message_type: SocketMessageType = SocketMessageType.BINARY


class ReceivedMessage:
    """What is known of one message, or of the failure that ended a WebSocket."""

    __slots__ = ("_complete", "_kind", "_payload", "_reader", "error")

    @property
    def data(self) -> str | bytes:
        """The message: str where it is text, else bytes, as parts always are. Raises what `get_data_reader` raises."""
        if self.error is not None:
            raise self.error.with_traceback(None)
        return self._payload  # type: ignore[no-any-return]

    def _fill(self, kind: Any, payload: Any, complete: bool, error: Any) -> None:
        #: SocketMessageType.UTF8 or BINARY; None: what the type of the payload tells.
        self._kind: SocketMessageType | None = kind
        self._payload = payload
        self._complete = complete
        self._reader: Any = None
        #: The failure that this event stands for, or None.
        self.error: OSError | None = error


class MessageParts:
    """What MessageFace does for each message. A mixin: sockets of messages have a base with fields already."""

    __slots__ = ()
    #: Or what stands for it where there is none yet, or no more.
    _link: WebSocketLink

    def _send(self, kind: int, payload: Any, face: bool) -> Any:
        found: Any = self._link
        if isinstance(found, WebSocketLink):
            link = found
            if thread_ident() == link.home.thread_id:
                return link.send(kind, payload, face)
        elif found.home.on_home_thread():
            return found.send(kind, payload, face)
        return start_operation(found.home, _send_there(found, kind, payload, face), OPERATION_WITH_PROGRESS)

    def send(self, message: str | ReadableBuffer, /) -> IAsyncOperationWithProgress[int, int]:
        """Queue a message, text for str and binary for anything bytes-like; awaiting it sends the queue.

        Gives the number of bytes of the message. Without `await` it goes out when the loop turn ends, together with
        others; await now and then: that is the back-pressure. What is no `bytes` or str is copied and may change at
        once.

        Errors: RO_E_CLOSED 0x80000013 after `close()`; 0x80072F83 after the peer's close; WSAENOBUFS where the queue is
        full; TypeError for other objects; those of the connection. Cancellation: *retry safe* for the connection, but
        the message stays queued.
        """
        if isinstance(message, str):
            return self._send(_TEXT, message, True)  # type: ignore[no-any-return]
        payload = message if type(message) is bytes else octets_of(message)
        return self._send(_BINARY, payload, True)  # type: ignore[no-any-return]

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> IAsyncOperation[str | bytes]:
        """The next message; the iteration ends with a close frame of 1000, 1001 or without a code, or with `close()`.

        Errors: else as `receive`. Cancellation: *nothing happened*, *retry safe*: no message is lost.
        """
        found: Any = self._link
        if isinstance(found, WebSocketLink):
            link = found
            if thread_ident() == link.home.thread_id and not link.partial:
                return link.receive(_NEXT)
        return run_at_home(found.home, self._next_there)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    async def _next_there(self) -> Any:
        return await self._receive(_NEXT)

    def _receive(self, options: int, *, partial: bool = False) -> Any:
        """`receive`, or with `partial` `receive_part`, of whatever asks with `options`."""
        link = self._link
        if link.partial != partial and not link.left:
            hint = "in parts: use receive_part()" if link.partial else "whole: use receive()"
            raise errors.illegal_call(f"{self}: receiving in the other receive_mode", f"messages come {hint}")
        if link.home.on_home_thread():
            return link.receive(options)
        return start_operation(link.home, _receive_there(link, options), OPERATION)


async def _send_there(link: WebSocketLink, kind: int, payload: Any, face: bool) -> Any:
    return await link.send(kind, payload, face)


async def _receive_there(link: WebSocketLink, options: int) -> Any:
    return await link.receive(options)


class OutputParts:
    """Base of MessageOutputStream."""

    __slots__ = ("_closed", "_owner")

    def __init__(self, owner: Any) -> None:
        self._owner: Any = owner
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
        owner = self._owner
        kind = _TEXT if owner._settings.message_type is _UTF8 else _BINARY
        return owner._send(kind, buffer if isinstance(buffer, bytes) else memoryview(buffer), False)  # type: ignore[no-any-return]

    def _check(self) -> None:
        if self._closed or self._owner._link.left:
            raise errors.closed(f"output stream of {self._owner}")


class HandOut(MessageTaker):
    """Gives the messages of one WebSocket, which it knows only weakly, to the handlers of `message_received`.

    Looks at the handlers once, not for each message: they stand in a tuple that is replaced when one is added or
    removed.
    """

    __slots__ = ("_aside", "_event", "_home", "_kind", "_only", "_owner", "_seen", "_several")

    def __init__(
        self,
        owner: Callable[[], Any],
        home: Home,
        event: EventSource[Any, Any],
        kind: type[ReceivedMessage],
        several: Callable[[list[Any], Any], Coroutine[Any, Any, None]],
    ) -> None:
        self._owner = owner
        self._home = home
        self._event = event
        self._kind = kind
        self._several = several
        self._seen: Any = None
        #: The only handler, if it is called right here; whether any of them runs on a worker thread.
        self._only: Any = None
        self._aside = False

    def _look(self, handlers: tuple[tuple[int, Any], ...]) -> None:
        self._seen = handlers
        self._aside = self._home.background
        for _, handler in handlers:
            if runs_on_worker(handler):
                self._aside = True
        self._only = handlers[0][1] if len(handlers) == 1 and not self._aside else None

    def take_message(self, payload: Any) -> Coroutine[Any, Any, object] | None:
        """Call the handlers; what is still to be awaited of them, or None."""
        owner = self._owner()
        if owner is None:
            return None
        handlers = self._event._handlers
        if handlers is not self._seen:
            self._look(handlers)
        args = ReceivedMessage.__new__(self._kind)
        if type(payload) is str or type(payload) is bytes:
            args._fill(None, payload, True, None)
        else:
            args._fill(payload[0], payload[1], payload[2], None)  # a part
        handler = self._only
        if handler is None:
            if self._aside:
                return owner._handle_elsewhere(self._event, args)  # type: ignore[no-any-return]
            pending = self._event.fire(owner, args, owner._report)
            return self._several(pending, owner._report) if pending else None
        try:
            result: Any = handler(owner, args)
        except (Exception, CancelledError) as error:  # noqa: BLE001 - a handler is foreign code; reported, once
            owner._report(error, handler)
            return None
        if result is None or not (type(result) is CoroutineType or isinstance(result, Awaitable)):
            return None
        return self._several([(handler, result)], owner._report)
