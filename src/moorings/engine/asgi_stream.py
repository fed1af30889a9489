"""A WebSocket whose frames somebody else sends: the connection of an ASGI server.

Theory of operation
-------------------
The engine's link stays as it is, with all its queues, limits, counters and endings; what lies below it is no descriptor
but the two functions of an ASGI server. `AsgiStream` is the TCP stream without any of its leaves: nothing is ever sent
by it, since its writes always wait. One task takes them from its queue, reads the frames in them, and makes events of
them; a write has ended when the server has taken its event, which is the back-pressure. The other task takes the
server's events, and gives the messages to the link past its parser; while the link is paused it asks for none.

The server does the closing handshake, and pings. So a close frame of ours counts as answered when the server has taken
it, and a disconnect is the peer's close frame, or where its code says that there was none, a broken connection.

Source: the ASGI specification, "WebSocket".
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine.hub import hub_of
from moorings.engine.interface import EndReason
from moorings.engine.stream_writing import WritingStream
from moorings.engine.tcp_stream import CLOSE_TIMEOUT, TcpStream
from moorings.engine.web_socket import WebSocketLink
from moorings.protocols.web_socket_close import CloseCode, WebSocketProtocolError, may_be_received
from moorings.protocols.web_socket_frames import UNLIMITED, FrameReceiver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from moorings.foundation.home import Home
    from moorings.foundation.operation import Operation

    Event = dict[str, Any]
    Receive = Callable[[], Awaitable[Event]]
    Send = Callable[[Event], Awaitable[None]]

_TEXT = 1
_BINARY = 2
_OPEN = 0
_CLOSING = 1
_CLOSED = 2
_COMPLETED = 1
_ERROR = 3
_FLUSH = 64


class _Events(FrameReceiver):
    """Reads our own frames, and keeps the events that they stand for."""

    def __init__(self) -> None:
        FrameReceiver.__init__(self, True, frame_limit=UNLIMITED, message_limit=UNLIMITED)
        self.found: list[Event] = []

    def on_message(self, kind: int, payload: Any) -> None:
        self.found.append({"type": "websocket.send", "text" if kind == _TEXT else "bytes": payload})

    def on_ping(self, payload: bytes) -> None:
        """The server's own affair."""

    def on_pong(self, payload: bytes) -> None:
        """The server's own affair."""

    def on_close(self, code: int, reason: str) -> None:
        event: Event = {"type": "websocket.close", "reason": reason}
        event["code"] = int(CloseCode.NORMAL_CLOSURE) if code == CloseCode.NO_STATUS_RECEIVED else code
        self.found.append(event)


class AsgiStream(TcpStream):
    """What lies below the link: a queue of writes, and two tasks."""

    def __init__(self, home: Home, receive: Receive, send: Send, label: object) -> None:
        WritingStream.__init__(self, hub_of(home), label)
        self.close_timeout = CLOSE_TIMEOUT
        self.close_operation = None
        self.lingering = None
        self.on_release = None
        self.hub = None  # it has nothing for a hub to watch
        self.write_blocked = True
        self.link: AsgiLink | None = None
        self._receive_event = receive
        self._send_event = send
        self._events = _Events()
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._deadline: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []
        #: Whether the server has told that the connection has ended: it takes nothing any more.
        self.gone = False

    def start(self, link: AsgiLink) -> None:
        """Begin."""
        self.link = link
        self.sink = link
        loop = self.home.loop
        self._tasks = [loop.create_task(self._receive_all()), loop.create_task(self._send_all())]

    # -- receiving ---------------------------------------------------------------------------------------------------

    async def _receive_all(self) -> None:
        link = self.link
        assert link is not None
        while self.phase == _OPEN:
            while link.paused and self.phase == _OPEN:
                self._room.clear()
                await self._room.wait()
            payload: str | bytes = b""
            try:
                event = await self._receive_event()
                kind = event["type"]
                if kind == "websocket.receive":
                    text = event.get("text")
                    payload = bytes(event.get("bytes") or b"") if text is None else text
            except Exception as error:  # noqa: BLE001 - the server is foreign code
                self._break(error)
                return
            if kind == "websocket.receive":
                link.take_message(payload)
            elif kind == "websocket.disconnect":
                self._disconnected(event.get("code"), event.get("reason") or "")
                return

    def resume_sink(self) -> None:
        self._room.set()

    def _disconnected(self, code: int | None, reason: str) -> None:
        link = self.link
        self.gone = True
        if link is None or self.phase == _CLOSED:
            return
        code = CloseCode.NO_STATUS_RECEIVED if code is None else code
        if code == CloseCode.NO_STATUS_RECEIVED or may_be_received(code):
            if self.end_reason == EndReason.OPEN:
                self.end_reason = EndReason.CLOSED_BY_PEER
            link.on_close(code, reason)
            link.peer_closed()
        elif self.end_reason == EndReason.OPEN:
            self.end_reason = EndReason.TRUNCATED
        link.ended()

    def _break(self, error: Exception) -> None:
        """The server has failed, or says with an exception that the client is gone."""
        self.gone = True
        if self.link is not None and self.phase != _CLOSED:
            if self.end_reason == EndReason.OPEN:
                self.end_reason = EndReason.TRUNCATED
            text = f"{self.label}: the ASGI server has ended it: {error}"
            self.read_error = errors.make(errors.E_FAIL, text, errno=errno.ECONNABORTED, cause=error)
            self.link.ended()

    # -- sending -----------------------------------------------------------------------------------------------------

    def submit_write(self, operation: Operation) -> None:
        if self.gone and self.phase == _OPEN:
            link = self.link
            assert link is not None
            operation.finish(_ERROR, None, link.refusal())
            return
        TcpStream.submit_write(self, operation)
        self._work.set()

    async def _send_all(self) -> None:
        while self.phase != _CLOSED:
            operation = self.write_head
            if operation is None:
                if self.phase == _CLOSING:
                    self._release()
                    return
                self._work.clear()
                await self._work.wait()
                continue
            closing = False
            try:
                closing = await self._give_to_server(operation)
            except Exception as error:  # noqa: BLE001 - the server is foreign code
                self._break(error)
                return
            if self.phase != _CLOSED:
                self._pop()
                if closing:
                    self._closed_by_us()

    async def _give_to_server(self, operation: Operation) -> bool:
        """Give a write to the server; whether there was a close frame in it."""
        if operation.options == _FLUSH or operation.count == 0:
            return False
        events = self._events
        events.receive_bytes(bytes(operation.buffer)[: operation.count])
        found, events.found = events.found, []
        self.send_calls += 1
        self.bytes_sent += operation.count
        for event in found:
            await self._send_event(event)
        return bool(found) and found[-1]["type"] == "websocket.close"

    def _pop(self) -> None:
        """The head of the queue is with the server; a cancelled write has a stand-in there."""
        head = self.write_head
        if head is None:
            return
        self.write_head = head.next_operation
        head.next_operation = None
        if self.write_head is None:
            self.write_tail = None
        if head.options == _FLUSH:
            head.finish(_COMPLETED, True, None)
        else:
            self.queued_bytes -= head.count
            head.finish(_COMPLETED, head.count - head.overhead, None)

    def _closed_by_us(self) -> None:
        """The server has our close frame, and does the rest."""
        link = self.link
        assert link is not None
        if link.stage == _CLOSING:
            link.on_close(link.code_sent, link.reason_sent)
            link.peer_closed()
        link.ended()

    # -- ending ------------------------------------------------------------------------------------------------------

    def shut_writing(self) -> None:
        self.shut_wanted = True

    def has_unsent(self) -> bool:
        return self.write_head is not None

    def close(self) -> None:
        if self.phase != _OPEN:
            return
        if self.end_reason == EndReason.OPEN:
            self.end_reason = EndReason.CLOSED_BY_US
        self.phase = _CLOSING
        if self.gone and self.link is not None and self.write_error is None:
            self.write_error = self.link.refusal()  # of sends that the server has not taken
        if self.write_head is None or self.gone or self.home.loop.is_closed():
            self._release()
        else:
            self._deadline = self.home.loop.call_later(self.close_timeout, self.abort)

    def abort(self) -> None:
        if self.phase == _CLOSED:
            return
        if self.end_reason in (EndReason.OPEN, EndReason.CLOSED_BY_US):
            self.end_reason = EndReason.ABORTED
        self._release()

    def tear_down(self) -> None:
        self.abort()

    def _release(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        tasks, self._tasks = self._tasks, []
        TcpStream._release(self)
        self.link = None
        if self.home.loop.is_closed():
            return
        current = asyncio.current_task(self.home.loop) if self.home.on_home_thread() else None
        for task in tasks:
            if task is not current:
                task.cancel()


class AsgiLink(WebSocketLink):
    """The link over an AsgiStream."""

    def __init__(self, stream: AsgiStream, message_limit: int) -> None:
        WebSocketLink.__init__(self, stream, False, frame_limit=message_limit, message_limit=message_limit)
        self.code_sent: int = CloseCode.NO_STATUS_RECEIVED
        self.reason_sent = ""

    def start(self, rest: bytes = b"", **_intervals: float) -> None:  # noqa: ARG002 - nothing came before
        stream = self.stream
        assert isinstance(stream, AsgiStream)
        stream.start(self)

    def take_message(self, payload: str | bytes) -> None:
        """A whole message has come."""
        size = len(payload) if isinstance(payload, bytes) or payload.isascii() else len(payload.encode())
        if size > self.message_limit:
            text = f"a message of {size} bytes, and the limit is {self.message_limit}"
            self.violated(WebSocketProtocolError(CloseCode.MESSAGE_TOO_BIG, text, "message"))
            return
        self.messages_received += 1
        self.payload_received += size
        self.stream.bytes_received += size
        self.on_message(_TEXT if isinstance(payload, str) else _BINARY, payload)
        if self.paused:
            self.times_paused += 1
        self.deliver()

    def close(self, code: int | None = None, reason: str = "") -> None:
        if self.stage == _OPEN and code is not None:
            self.code_sent, self.reason_sent = code, reason
        WebSocketLink.close(self, code, reason)

    def ping(self, payload: bytes = b"") -> Operation:  # noqa: ARG002
        """The server pings by itself: ERROR_NOT_SUPPORTED."""
        if self.stage != _OPEN:
            raise self.refusal()
        raise errors.make(errors.ERROR_NOT_SUPPORTED, f"{self.stream.label}: ASGI has no pings, the server sends them")
