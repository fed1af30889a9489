"""The parts of a StreamSocket: its connection, its two streams, and what keeps them alive.

Hot: most of what a short connection costs in Python is making these parts and letting them go. The rules, and what is
said when one is broken, are the socket's (`_require`); here is only the way through where nothing is wrong.
"""

# pyright: reportPrivateUsage=false
# The other half of StreamSocket, under whose private names all this is known.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from moorings.sockets.connection import Lifeline, State, first_use, post
from moorings.sockets.socket_streams import SocketInputStream, SocketOutputStream

if TYPE_CHECKING:
    from moorings.engine.tcp_stream import TcpStream
    from moorings.foundation.operation import Operation
    from moorings.sockets.connection import Connection
    from moorings.sockets.stream_socket_control import StreamSocketControl
    from moorings.sockets.stream_socket_information import StreamSocketInformation

__all__ = ["StreamParts"]

T = TypeVar("T")

# Up to Python 3.11, looking a member of an enumeration up costs as much as ten other look-ups.
_BUSY = State.BUSY
_OPEN = State.OPEN
_CLOSED = State.CLOSED


class StreamParts:
    """Base of StreamSocket."""

    __slots__ = (
        "_connect_operation",
        "_connection",
        "_control",
        "_information",
        "_input",
        "_lifeline",
        "_output",
        "_place",
    )

    def _prepare(self, connection: Connection, place: tuple[str, int] | None) -> None:
        """What `__init__` does; `place` is where the program made the socket, or its listener."""
        self._connection: Connection = connection
        self._place = place
        self._lifeline: Lifeline | None = None
        self._input: SocketInputStream | None = None
        self._output: SocketOutputStream | None = None
        self._control: StreamSocketControl | None = None
        self._information: StreamSocketInformation | None = None
        self._connect_operation: Operation | None = None
        if connection.stream is not None:
            self._attach(connection.stream)

    def _attach(self, stream: TcpStream) -> None:
        self._lifeline = Lifeline(stream, self._place)

    def _require(self, member: str) -> None:
        """Raise what is against using `member` now."""
        raise NotImplementedError

    def _stream(self, member: str) -> TcpStream:
        connection = self._connection
        stream = connection.stream
        if stream is None or connection.state is not _OPEN or stream.home.dropped:
            self._require(member)
        assert stream is not None
        return stream

    def _first_input(self) -> SocketInputStream:
        stream = self._input
        if stream is None or self._connection.state is not _OPEN:
            made = SocketInputStream(self._stream("input_stream"), self._lifeline)
            with first_use.lock:  # two threads may be the first: both get the same
                stream = self._input
                if stream is None:
                    self._input = stream = made
        return stream

    def _first_output(self) -> SocketOutputStream:
        stream = self._output
        if stream is None or self._connection.state is not _OPEN:
            made = SocketOutputStream(self._stream("output_stream"), self._lifeline)
            with first_use.lock:
                stream = self._output
                if stream is None:
                    self._output = stream = made
        return stream

    def _first(self, slot: str, made: T) -> T:
        """Keep what was made on first use, whichever thread was first."""
        with first_use.lock:
            kept: T | None = getattr(self, slot)
            if kept is None:
                setattr(self, slot, made)
                kept = made
        return kept

    def _end(self) -> None:
        connection = self._connection
        state: Any = connection.state
        connection.state = _CLOSED
        operation = self._connect_operation
        if operation is not None:
            self._connect_operation = None
            if state is _BUSY:
                operation.cancel()
        stream = connection.stream
        if stream is None or stream.is_released() or stream.home.dropped:
            return
        # Where the home loop is closed, nobody can be in the way.
        if stream.home.on_home_thread() or not post(stream.home, stream.close):
            stream.close()
