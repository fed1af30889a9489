"""`MessageWebSocket`: a WebSocket of whole messages that connects to a server."""

# pyright: reportPrivateUsage=false
# The function below the classes makes their objects; as a method it would be part of the public surface.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from moorings import errors
from moorings.foundation.operation import OPERATION_WITH_PROGRESS
from moorings.foundation.projection import (
    check_enum,
    check_uint,
    final,
    not_constructible,
)
from moorings.foundation.task_operation import start_operation
from moorings.protocols.web_socket_frames import UNLIMITED
from moorings.sockets.connection import State, creation_place
from moorings.sockets.enums import MessageWebSocketReceiveMode, SocketMessageType
from moorings.sockets.message_face import MessageFace, MessageSettings
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
from moorings.sockets.web_socket_settings import WebSocketSizes, deflate_settings, make_link

if TYPE_CHECKING:
    from collections.abc import Callable

    from moorings.engine.web_socket import WebSocketLink
    from moorings.foundation.async_info import IAsyncOperationWithProgress
    from moorings.foundation.events import EventRegistrationToken
    from moorings.foundation.scalars import ReadableBuffer
    from moorings.sockets.connection import Lifeline
    from moorings.sockets.web_socket_opening import Opened
    from moorings.sockets.web_socket_settings import WebSocketCompression

#: The `max_message_size` that stands for any.
ANY_SIZE = 0xFFFFFFFF

_TEXT = 1
_BINARY = 2

_NEW = frozenset((State.NEW,))
_OPEN = frozenset((State.OPEN,))
_ALWAYS = frozenset(State)

#: In which states each member may be used. In CLOSED the others fail with RO_E_CLOSED, else with E_ILLEGAL_METHOD_CALL;
#: the handlers of `message_received` fail with the latter in CLOSED, too.
RULES = CLIENT_RULES | {
    "add_message_received": _NEW,
    "remove_message_received": _NEW,
    "output_stream": _ALWAYS,
    "send_final_frame_async": _OPEN,
    "send_nonfinal_frame_async": _OPEN,
    "send": _OPEN,
    "receive": _OPEN,
    "receive_part": _OPEN,
}


@final
@not_constructible
class MessageWebSocketControl(WebSocketControlMembers, IWebSocketControl2, IWebSocketControl):
    """Settings of a MessageWebSocket, to be made before it connects; a failed connect frees them again.

    Most setters fail with E_ILLEGAL_METHOD_CALL once a connect has started, and with RO_E_CLOSED after `close()`.
    Source: WinRT MessageWebSocketControl.
    """

    __slots__ = ("_connection", "_max_message_size", "_receive_mode", "_settings")
    _settings: MessageSettings
    _max_message_size: int
    _receive_mode: MessageWebSocketReceiveMode

    @property
    def message_type(self) -> SocketMessageType:
        """Whether writes to `output_stream` are UTF8 or BINARY messages (default BINARY); may change at any time.

        It counts for frames, too: that of the first one is the whole message's.
        """
        return self._settings.message_type

    @message_type.setter
    def message_type(self, value: SocketMessageType) -> None:
        self._settings.message_type = check_enum(value, SocketMessageType, "message_type")

    @property
    def max_message_size(self) -> int:
        """Bytes of the longest message that is received; 4294967295 (default): any.

        A longer one ends the connection with 1009, and fails `receive` and the readers of the last event with
        0x83750006. Errors: E_INVALIDARG for 0.
        """
        return self._max_message_size

    @max_message_size.setter
    def max_message_size(self, value: int) -> None:
        number = check_uint(value, 32, "max_message_size")
        if number == 0:
            raise errors.invalid_argument("max_message_size must not be 0")
        self._require_new("max_message_size")
        self._max_message_size = number

    @property
    def receive_mode(self) -> MessageWebSocketReceiveMode:
        """FULL_MESSAGE (default): each event of `message_received` is a whole message.

        PARTIAL_MESSAGE: each is a part of one, as it came, and the last part says that it is; without a handler
        `receive_part()` gives them.
        """
        return self._receive_mode

    @receive_mode.setter
    def receive_mode(self, value: MessageWebSocketReceiveMode) -> None:
        mode = check_enum(value, MessageWebSocketReceiveMode, "receive_mode")
        if mode not in tuple(MessageWebSocketReceiveMode):
            raise errors.invalid_argument(f"receive_mode {int(mode)} is not known")
        self._require_new("receive_mode")
        self._receive_mode = mode

    @property
    def compression(self) -> WebSocketCompression | bool:
        """Whether, and how, messages may be compressed (permessage-deflate, RFC 7692), if the server agrees.

        Default False; True is a WebSocketCompression with its defaults. Not in WinRT. Errors: TypeError; E_INVALIDARG
        for numbers out of range.
        """
        return self._connection.compression

    @compression.setter
    def compression(self, value: WebSocketCompression | bool) -> None:
        deflate_settings(value, True)
        self._require_new("compression")
        self._connection.compression = value


@final
@not_constructible
class MessageWebSocketInformation(WebSocketClientFacts, IWebSocketInformation2, IWebSocketInformation):
    """What there is to know about a MessageWebSocket, in any state, also after its end and after a failed connect.

    Beside WinRT's members it has those of a StreamSocket's connection. Source: WinRT MessageWebSocketInformation.
    """

    __slots__ = ("_connection",)


@final
class MessageWebSocket(WebSocketClient, MessageFace, IWebSocket):
    """A WebSocket of whole messages, text or binary: make it, set `control`, add handlers, connect.

    Messages come by `message_received`, whose handlers have to be there before `connect_async`; without any, by
    `receive()` and ``async for``. Beside WinRT's members it has the Python face: `send`, `receive`, `ping`,
    ``async for``, ``async with``, `aclose`, `abort`. `moorings.connect("ws://...")` makes an open one.

    One that is dropped while it is open is closed with a ResourceWarning that names the place where it was made.
    Source: WinRT MessageWebSocket.
    """

    __slots__ = (
        "_connection",
        "_control",
        "_information",
        "_lifeline",
        "_validation_event",
    )
    _winrt_name_ = "Windows.Networking.Sockets.MessageWebSocket"
    _rules = RULES
    _control: MessageWebSocketControl
    _information: MessageWebSocketInformation

    def __init__(self) -> None:
        connection = self._connection = WebSocketConnection("MessageWebSocket", creation_place())
        self._prepare_events()
        self._lifeline: Lifeline | None = None
        self._link = cast("WebSocketLink", NoLink(connection))
        control = self._control = object.__new__(MessageWebSocketControl)
        control._connection = connection
        control._settings = self._settings
        control._max_message_size = ANY_SIZE
        control._receive_mode = MessageWebSocketReceiveMode.FULL_MESSAGE
        self._information = object.__new__(MessageWebSocketInformation)
        self._information._connection = connection

    # -- the link ----------------------------------------------------------------------------------------------------

    def _begin(self, opened: Opened, lifeline: Lifeline) -> None:
        connection = self._connection
        self._lifeline = lifeline
        limit = self._control._max_message_size
        sizes = WebSocketSizes(UNLIMITED if limit == ANY_SIZE else limit)
        settings = deflate_settings(connection.compression, True)
        partial = self._control._receive_mode == MessageWebSocketReceiveMode.PARTIAL_MESSAGE
        agreed = opened.accepted.deflate
        link = make_link(opened.stream, True, sizes, agreed=agreed, settings=settings, partial=partial)
        self._take_link(link)
        if self._message_event:
            self._hand_out()
        link.start(opened.accepted.rest, **connection.intervals())

    def _forget(self) -> None:
        self._link.abort()
        self._lifeline = None
        self._link = cast("WebSocketLink", NoLink(self._connection))

    # -- events ------------------------------------------------------------------------------------------------------

    def _require_no_messages(self, member: str) -> None:
        connection = self._connection
        if connection.state != State.NEW:
            hint = "the handlers of message_received have to be there before connect_async; make a new one"
            raise errors.illegal_call(f"{connection}: {member} while it is {connection.state.name.lower()}", hint)

    def add_message_received(self, handler: Callable[[Any, Any], object], /) -> EventRegistrationToken:
        """Add a handler (socket, MessageWebSocketMessageReceivedEventArgs), before connecting.

        What an ``async def`` handler does holds the next message back. The last event may stand for the failure that
        ended the connection.

        Errors: E_ILLEGAL_METHOD_CALL once a connect has started, and after `close()`. Source: WinRT
        MessageWebSocket.MessageReceived.
        """
        self._require_no_messages("add_message_received")
        return self._message_event.add(handler)

    def remove_message_received(self, token: EventRegistrationToken, /) -> None:
        """Remove the handler that `token` stands for, before connecting.

        Errors: E_ILLEGAL_METHOD_CALL once a connect has started, and after `close()`.
        """
        self._require_no_messages("remove_message_received")
        self._message_event.remove(token)

    # -- sending -----------------------------------------------------------------------------------------------------

    def send_final_frame_async(self, data: ReadableBuffer, /) -> IAsyncOperationWithProgress[int, int]:
        """Queue a frame that ends a message: the last one of several, or a message by itself; gives its bytes' number.

        Its type is `control.message_type` where it begins a message. The buffer must not change before the operation
        has ended.

        Errors: E_ILLEGAL_METHOD_CALL before the WebSocket is open, RO_E_CLOSED 0x80000013 after its end; E_INVALIDARG
        where the whole message is text and no UTF-8 (the frame is not sent, the message stays open); WSAENOBUFS where
        the queue is full. Cancellation: *object now broken*: the connection is taken down. Source: WinRT
        MessageWebSocket.SendFinalFrameAsync.
        """
        return self._send_frame(data, is_final=True)  # type: ignore[no-any-return]

    def send_nonfinal_frame_async(self, data: ReadableBuffer, /) -> IAsyncOperationWithProgress[int, int]:
        """Queue a frame behind which more of the same message follow; else as `send_final_frame_async`.

        Until the last one is sent, whole messages are refused with E_ILLEGAL_METHOD_CALL. Source: WinRT
        MessageWebSocket.SendNonfinalFrameAsync.
        """
        return self._send_frame(data, is_final=False)  # type: ignore[no-any-return]

    def _send_frame(self, data: Any, *, is_final: bool) -> Any:
        payload = data if type(data) is bytes else memoryview(data)
        kind = _TEXT if self._settings.message_type == SocketMessageType.UTF8 else _BINARY
        link = self._link
        if link.home.on_home_thread():
            return link.send_fragment(kind, payload, is_final, False)

        async def send_there() -> Any:
            return await link.send_fragment(kind, payload, is_final, False)

        return start_operation(link.home, send_there(), OPERATION_WITH_PROGRESS)

    # -- parts -------------------------------------------------------------------------------------------------------

    @property
    def control(self) -> MessageWebSocketControl:
        """Settings; the same object each time, readable after the end."""
        return self._control

    @property
    def information(self) -> MessageWebSocketInformation:
        """The server, addresses and statistics; the same object each time, readable after the end."""
        return self._information
