"""What the handlers of a WebSocket get: a message, and the end."""

# pyright: reportPrivateUsage=false
# The functions below the classes make their objects; as methods they would be part of the public surface.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from moorings.foundation.projection import Object, final, not_constructible
from moorings.sockets.enums import SocketMessageType
from moorings.sockets.message_parts import ReceivedMessage
from moorings.sockets.message_stream import MessageStream
from moorings.streams.data_reader import DataReader, reader_over

if TYPE_CHECKING:
    from moorings.streams.interfaces import IInputStream

_BINARY = SocketMessageType.BINARY
_UTF8 = SocketMessageType.UTF8
_TEXT = 1


class MessagePart(NamedTuple):
    """A part of a message, as it came: what a WebSocket receives whose `receive_mode` is PARTIAL_MESSAGE."""

    message_type: SocketMessageType
    """Whether the message is text (UTF8) or BINARY: the same in all its parts."""
    data: bytes
    """Its bytes; of text they may end in the middle of a character. Only the last part of a message may be empty."""
    is_message_complete: bool
    """Whether it is the last one of its message."""


def make_part(found: tuple[int, bytes, bool]) -> MessagePart:
    """The part that the parser has found."""
    kind, data, is_final = found
    return MessagePart(_UTF8 if kind == _TEXT else _BINARY, data, is_final)


@final
@not_constructible
class MessageWebSocketMessageReceivedEventArgs(Object, ReceivedMessage):
    """One message of a WebSocket, or a part of one, or the failure that ended it.

    For a failure `error` is set, and the readers raise it. Beside WinRT's members there is the Python face: `data`, str
    or bytes. It stays valid as long as it is kept. Source: WinRT MessageWebSocketMessageReceivedEventArgs.
    """

    __slots__ = ()

    def _bytes(self) -> bytes:
        payload = self.data
        return payload.encode() if isinstance(payload, str) else payload

    def get_data_reader(self) -> DataReader:
        """A DataReader with the whole message, or the part, loaded (text as UTF-8); the same one each time.

        Errors: where the event stands for a failure, that failure: 0x80072EFE (ConnectionAbortedError) where the
        connection ended without a close frame, 0x80072EFF (ConnectionResetError), 0x83760002 where the peer broke the
        protocol, 0x83750006 for a message over the limit. Source: WinRT
        MessageWebSocketMessageReceivedEventArgs.GetDataReader.
        """
        reader: DataReader | None = self._reader
        if reader is None:
            reader = self._reader = reader_over(self._bytes())
        return reader

    def get_data_stream(self) -> IInputStream:
        """An IInputStream over the same bytes, with a position of its own.

        Errors: as `get_data_reader`. Source: WinRT MessageWebSocketMessageReceivedEventArgs.GetDataStream.
        """
        return MessageStream(self._bytes())

    @property
    def message_type(self) -> SocketMessageType:
        """Whether the peer sent it as text (UTF8) or as BINARY."""
        kind = self._kind
        return kind if kind is not None else _UTF8 if type(self._payload) is str else _BINARY

    @property
    def is_message_complete(self) -> bool:
        """True for a whole message, and for the last part of one; False for the other parts, and for a failure."""
        return self._complete

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<message error {self.error}>"
        unit = "characters" if isinstance(self._payload, str) else "bytes"
        what = "message" if self._complete else "part"
        return f"<{self.message_type.name} {what} of {len(self._payload)} {unit}>"


def failure_args(error: OSError) -> MessageWebSocketMessageReceivedEventArgs:
    """The arguments for the failure that ended it."""
    args = ReceivedMessage.__new__(MessageWebSocketMessageReceivedEventArgs)
    args._fill(_BINARY, b"", False, error)
    return args


@final
@not_constructible
class WebSocketClosedEventArgs(Object):
    """How a WebSocket was closed. Source: WinRT WebSocketClosedEventArgs."""

    __slots__ = ("_code", "_reason")
    _code: int
    _reason: str

    @property
    def code(self) -> int:
        """The code of the peer's close frame: 1005 where it had none, 1006 where no close frame came in time."""
        return self._code

    @property
    def reason(self) -> str:
        """The reason in the peer's close frame, or ""."""
        return self._reason

    def __repr__(self) -> str:
        return f"<closed with {self._code} {self._reason!r}>"


def closed_args(code: int, reason: str) -> Any:
    """The arguments of `closed`."""
    args = object.__new__(WebSocketClosedEventArgs)
    args._code = code
    args._reason = reason
    return args
