"""`StreamWebSocket`: a WebSocket of bytes that connects to a server."""

# pyright: reportPrivateUsage=false
# What hangs on one connection knows it.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from moorings import errors
from moorings.foundation.projection import final, not_constructible
from moorings.sockets.byte_web_socket import ByteWebSocket
from moorings.sockets.connection import State, creation_place
from moorings.sockets.web_socket_client import (
    CLIENT_RULES,
    NoLink,
    WebSocketClient,
    WebSocketClientFacts,
    WebSocketConnection,
)
from moorings.sockets.web_socket_control import WebSocketControlMembers
from moorings.sockets.web_socket_interfaces import (
    IWebSocket,
    IWebSocketControl,
    IWebSocketControl2,
    IWebSocketInformation,
    IWebSocketInformation2,
)
from moorings.streams.interfaces import IInputStream, IOutputStream

if TYPE_CHECKING:
    from moorings.engine.tcp_stream import TcpStream
    from moorings.engine.web_socket import WebSocketLink
    from moorings.foundation.async_info import IAsyncOperation, IAsyncOperationWithProgress
    from moorings.foundation.operation import Operation
    from moorings.foundation.scalars import ReadableBuffer, WriteableBuffer
    from moorings.sockets.connection import Lifeline
    from moorings.sockets.socket_streams import SocketInputStream, SocketOutputStream
    from moorings.sockets.web_socket_opening import Opened
    from moorings.streams.buffer import Buffer
    from moorings.streams.enums import InputStreamOptions

_OPEN = frozenset((State.OPEN,))
_ALIVE = frozenset((State.NEW, State.BUSY, State.OPEN))
_ALWAYS = frozenset(State)

#: In which states each member may be used. In CLOSED the others fail with RO_E_CLOSED, else with E_ILLEGAL_METHOD_CALL.
RULES = CLIENT_RULES | {
    "input_stream": _ALIVE,
    "output_stream": _ALIVE,
    "read": _OPEN,
    "read_exactly": _OPEN,
    "read_until": _OPEN,
    "lines": _OPEN,
    "write": _OPEN,
    "flush": _OPEN,
    "limits": _OPEN,
    "counters": _ALWAYS,
    "end_reason": _ALWAYS,
}


@final
@not_constructible
class StreamWebSocketControl(WebSocketControlMembers, IWebSocketControl2, IWebSocketControl):
    """Settings of a StreamWebSocket, to be made before it connects; a failed connect frees them again.

    Most setters fail with E_ILLEGAL_METHOD_CALL once a connect has started, and with RO_E_CLOSED after `close()`.
    Nothing is compressed. Source: WinRT StreamWebSocketControl.
    """

    __slots__ = ("_connection",)


@final
@not_constructible
class StreamWebSocketInformation(WebSocketClientFacts, IWebSocketInformation2, IWebSocketInformation):
    """What there is to know about a StreamWebSocket, in any state, also after its end and after a failed connect.

    Beside WinRT's members it has those of a StreamSocket's connection. Source: WinRT StreamWebSocketInformation.
    """

    __slots__ = ("_connection",)


class Streams:
    """The two streams of a connection, once it is open: what the streams of the program stand for."""

    __slots__ = ("input", "no_link", "output")

    def __init__(self, connection: WebSocketConnection) -> None:
        self.no_link = NoLink(connection)
        self.input: SocketInputStream | None = None
        self.output: SocketOutputStream | None = None


class StreamWebSocketInputStream(IInputStream):
    """The bytes that a StreamWebSocket receives; there before it is connected."""

    __slots__ = ("_closed", "_streams")

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._closed = False

    def _opened(self) -> SocketInputStream:
        if self._closed:
            raise errors.closed("the input stream of a StreamWebSocket")
        opened = self._streams.input
        if opened is None:
            raise self._streams.no_link.refusal()
        return opened

    def read_async(
        self, buffer: WriteableBuffer, count: int, options: InputStreamOptions, /
    ) -> IAsyncOperationWithProgress[Buffer, int]:
        """Read up to `count` bytes into `buffer`, wherever messages end, as the input stream of a StreamSocket does.

        Length 0 is the end: the peer has closed.

        Errors: E_ILLEGAL_METHOD_CALL before the WebSocket is open, and while another read is pending; RO_E_CLOSED after
        `close()`; 0x80072EF1 where it is closed meanwhile; 0x83760002 for a text message; those of the connection.
        Cancellation: *object now broken*: the connection is taken down. Source: WinRT StreamWebSocket.InputStream.
        """
        return self._opened().read_async(buffer, count, options)

    def _start_read(self, target: Any, count: int, options: int, hook: Any, kind: int) -> Operation:
        return self._opened()._start_read(target, count, options, hook, kind)

    def _is_open(self) -> bool:
        opened = self._streams.input
        return not self._closed and opened is not None and opened._is_open()

    def close(self) -> None:
        """Later reads fail with RO_E_CLOSED; the WebSocket and its output go on. Source: WinRT IClosable.Close."""
        self._closed = True


class StreamWebSocketOutputStream(IOutputStream):
    """The bytes that a StreamWebSocket sends; there before it is connected."""

    __slots__ = ("_streams",)

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def _opened(self) -> SocketOutputStream:
        opened = self._streams.output
        if opened is None:
            raise self._streams.no_link.refusal()
        return opened

    def write_async(self, buffer: ReadableBuffer, /) -> IAsyncOperationWithProgress[int, int]:
        """Queue the bytes of `buffer` as one binary message (none where it is empty); gives their number once sent.

        Else as the output stream of a StreamSocket.

        Errors: E_ILLEGAL_METHOD_CALL before the WebSocket is open; RO_E_CLOSED after `close()`; 0x80072F83 after the
        peer's close; WSAENOBUFS where the queue is full; those of the connection. Cancellation: *object now broken*:
        the connection is taken down. Source: WinRT StreamWebSocket.OutputStream.
        """
        return self._opened().write_async(buffer)

    def _start_write(self, data: Any, count: int, hook: Any, kind: int) -> Operation:
        return self._opened()._start_write(data, count, hook, kind)

    def flush_async(self) -> IAsyncOperation[bool]:
        """Send what is queued; ends after all writes so far: True, or False where one of them failed.

        Errors: E_ILLEGAL_METHOD_CALL before the WebSocket is open; RO_E_CLOSED after `close()`. Cancellation: *retry
        safe*: the writes stay queued. Source: WinRT IOutputStream.FlushAsync.
        """
        return self._opened().flush_async()

    def _is_open(self) -> bool:
        opened = self._streams.output
        return opened is not None and opened._is_open()

    def close(self) -> None:
        """Send an empty close frame behind what is queued; reading goes on. Source: WinRT IClosable.Close."""
        if self._streams.output is not None:
            self._streams.output.close()


@final
class StreamWebSocket(WebSocketClient, ByteWebSocket, IWebSocket):
    """A WebSocket of bytes: make it, set `control`, connect, use the two streams, close.

    Where messages end is not seen: what the server sends is one stream of bytes, and each write is one binary message.
    While nobody reads the server has to wait, but for the first 256 KiB. A text message is a mistake of the server's:
    the read behind what came before it fails with 0x83760002, and the WebSocket is closed with 1003.

    Beside WinRT's members it has the Python face: `read`, `read_exactly`, `read_until`, `lines`, `write`, `flush`,
    `ping`, `aclose`, `abort`, ``async with``. One that is dropped while it is open is closed with a ResourceWarning
    that names the place where it was made. Source: WinRT StreamWebSocket.
    """

    __slots__ = (
        "_connection",
        "_control",
        "_information",
        "_input_stream",
        "_output_stream",
        "_streams",
        "_validation_event",
    )
    _winrt_name_ = "Windows.Networking.Sockets.StreamWebSocket"
    _rules = RULES

    def __init__(self) -> None:
        connection = self._connection = WebSocketConnection("StreamWebSocket", creation_place())
        self._prepare_events()
        self._link = cast("WebSocketLink", NoLink(connection))
        self._control = object.__new__(StreamWebSocketControl)
        self._control._connection = connection
        self._information = object.__new__(StreamWebSocketInformation)
        self._information._connection = connection
        self._streams = Streams(connection)
        self._input_stream = StreamWebSocketInputStream(self._streams)
        self._output_stream = StreamWebSocketOutputStream(self._streams)

    def _begin(self, opened: Opened, lifeline: Lifeline) -> None:
        connection = self._connection
        stream = self._take(opened.stream, "StreamWebSocket", connection, lifeline, is_client=True)
        self._streams.input = self._input
        self._streams.output = self._output
        stream.start(opened.accepted.rest, **connection.intervals())

    def _forget(self) -> None:
        self._last().abort()
        self._bytes = None
        self._streams.input = self._streams.output = None
        self._link = cast("WebSocketLink", NoLink(self._connection))

    def _stream(self, member: str) -> TcpStream:
        if isinstance(self._link, NoLink):
            self._require(member)
        return super()._stream(member)

    def _require_unclosed(self, member: str) -> None:
        # (That the connection has ended is no reason: what came before may still be read.)
        if isinstance(self._link, NoLink):
            self._require(member)
        else:
            super()._stream(member)

    @property
    def input_stream(self) -> IInputStream:
        """The bytes of the server's messages; the same object each time, before the connect, too.

        Errors: RO_E_CLOSED after `close()`. Its own members fail with E_ILLEGAL_METHOD_CALL before the connect.
        """
        self._require_unclosed("input_stream")
        return self._input_stream

    @property
    def output_stream(self) -> IOutputStream:
        """Bytes for the server, each write one binary message; the same object each time, before the connect, too.

        Errors: RO_E_CLOSED after `close()`. Its own members fail with E_ILLEGAL_METHOD_CALL before the connect.
        """
        self._require_unclosed("output_stream")
        return self._output_stream

    @property
    def control(self) -> StreamWebSocketControl:
        """Settings; the same object each time, readable after the end."""
        return self._control

    @property
    def information(self) -> StreamWebSocketInformation:
        """The server, addresses and statistics; the same object each time, readable after the end."""
        return self._information
