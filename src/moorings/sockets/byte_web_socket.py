"""What all WebSockets of bytes have beside what all WebSockets have: the two streams, reading and writing."""

# pyright: reportPrivateUsage=false
# The other half of the classes that it is mixed into.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine.hub import hub_of
from moorings.engine.interface import EndReason
from moorings.engine.web_socket_stream import WebSocketStream
from moorings.foundation.events import EventSource
from moorings.sockets.connection import State
from moorings.sockets.limits import StreamCounters, counters_of
from moorings.sockets.python_face import ByteFace
from moorings.sockets.socket_streams import SocketInputStream, SocketOutputStream
from moorings.sockets.web_socket_face import WebSocketFace
from moorings.sockets.web_socket_limits import WebSocketLimits

if TYPE_CHECKING:
    from moorings.engine.tcp_stream import TcpStream
    from moorings.sockets.connection import Connection, Lifeline

__all__ = ["ByteWebSocket"]


class Label:
    """A WebSocket as errors name it, by its kind and its connection; and whether the program has closed it."""

    __slots__ = ("accepted", "connection", "kind", "state")

    def __init__(self, kind: str, connection: Connection) -> None:
        self.kind = kind
        self.connection = connection
        self.accepted = connection.accepted
        self.state = State.OPEN

    def __str__(self) -> str:
        return f"{self.kind} over {self.connection}"


class ByteWebSocket(WebSocketFace, ByteFace):
    """Mixed into the WebSockets of bytes."""

    __slots__ = ("_bytes", "_input", "_label", "_output")
    _bytes: WebSocketStream | None
    _label: Label
    _input: SocketInputStream
    _output: SocketOutputStream

    def _prepare_events(self) -> None:
        self._closed_event: EventSource[Any, Any] = EventSource()
        self._bytes = None

    def _take(
        self, lower: TcpStream, kind: str, connection: Connection, lifeline: Lifeline, *, is_client: bool
    ) -> WebSocketStream:
        """Take over a stream on which the opening handshake is done, and its lifeline. The caller starts it."""
        self._label = Label(kind, connection)
        stream = WebSocketStream(hub_of(lower.home), lower, self._label, is_client)
        stream.close_timeout = lower.close_timeout
        stream.queue_limit = lower.queue_limit
        lifeline.stream = stream
        self._bytes = stream
        self._link = stream.link
        self._input = SocketInputStream(stream, lifeline)
        self._output = SocketOutputStream(stream, lifeline)
        stream.closed_handler = self._teller()
        return stream

    def _stream(self, member: str) -> TcpStream:
        stream = self._bytes
        if stream is None or self._label.state == State.CLOSED or not stream.is_open():
            raise errors.closed(f"{self}: {member}")
        return stream

    def _ending(self) -> WebSocketStream:
        stream = self._bytes
        assert stream is not None
        self._label.state = State.CLOSED  # at once, also from another thread
        return stream

    def _last(self) -> TcpStream:
        assert self._bytes is not None
        return self._bytes

    @property
    def end_reason(self) -> EndReason:
        """Why it ended, OPEN while it has not."""
        return EndReason.OPEN if self._bytes is None else EndReason(self._bytes.end_reason)

    @property
    def limits(self) -> WebSocketLimits:
        """Queue, sizes and deadlines, by name; each may be changed at any time."""
        return WebSocketLimits(self._link, self._stream("limits"))

    @property
    def counters(self) -> StreamCounters:
        """Bytes of messages, calls and queues at this moment, or at its end."""
        return counters_of(self._bytes)
