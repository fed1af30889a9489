"""`ServerMessageWebSocket`: the server's side of one WebSocket, made from an accepted StreamSocket."""

# pyright: reportPrivateUsage=false
# The function below the classes makes their objects; as a method it would be part of the public surface.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.closable import IClosable
from moorings.foundation.projection import Object, check_enum, check_object, final, not_constructible
from moorings.protocols.web_socket_deflate import INFLATION_RATIO_LIMIT
from moorings.protocols.web_socket_frames import MESSAGE_LIMIT
from moorings.sockets.enums import MessageWebSocketReceiveMode, SocketMessageType
from moorings.sockets.message_face import MessageFace, MessageSettings
from moorings.sockets.stream_socket import StreamSocket
from moorings.sockets.web_socket_answering import (
    PING_INTERVAL,
    PING_TIMEOUT,
    ServerWebSocketFacts,
    answer_request,
    tell_facts,
)
from moorings.sockets.web_socket_settings import WebSocketCompression, WebSocketSizes, deflate_settings, make_link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from moorings.engine.web_socket import WebSocketLink
    from moorings.foundation.events import EventRegistrationToken
    from moorings.protocols.web_socket_request import RequestRefused, UpgradeRequest

_PARTIAL = MessageWebSocketReceiveMode.PARTIAL_MESSAGE


@final
@not_constructible
class ServerMessageWebSocketControl(Object):
    """Settings of a ServerMessageWebSocket. Source: WinRT ServerMessageWebSocketControl."""

    __slots__ = ("_settings",)
    _settings: MessageSettings

    @property
    def message_type(self) -> SocketMessageType:
        """Whether writes to `output_stream` are UTF8 or BINARY messages (default BINARY); may change at any time."""
        return self._settings.message_type

    @message_type.setter
    def message_type(self, value: SocketMessageType) -> None:
        self._settings.message_type = check_enum(value, SocketMessageType, "message_type")


@final
@not_constructible
class ServerMessageWebSocketInformation(ServerWebSocketFacts, Object):
    """What there is to know about a ServerMessageWebSocket, in any state.

    Beside WinRT's members: `request`, the request that opened it, with path, origin and headers, and `user`, what the
    `approve` of a listener has left. Source: WinRT ServerMessageWebSocketInformation.
    """

    __slots__ = ("_protocol", "_socket", "request", "user")


@final
@not_constructible
class ServerMessageWebSocket(MessageFace, IClosable):
    """The server's side of a WebSocket of messages; `accept_web_socket` makes it, open.

    Messages come by `message_received`, or by `receive()` and ``async for``, never by both; they wait until somebody
    takes them, and the client with them. A WebSocket that is dropped while it is open is closed with a ResourceWarning.
    Source: WinRT ServerMessageWebSocket.
    """

    __slots__ = ("_control", "_information", "_socket")
    _winrt_name_ = "Windows.Networking.Sockets.ServerMessageWebSocket"
    _control: ServerMessageWebSocketControl
    _information: ServerMessageWebSocketInformation
    _socket: StreamSocket

    def add_message_received(self, handler: Callable[[Any, Any], object], /) -> EventRegistrationToken:
        """Add a handler (socket, MessageWebSocketMessageReceivedEventArgs), at any time.

        Messages that came before the first handler wait for it. What an ``async def`` handler does holds the next
        message back. The last event may stand for the failure that ended the connection.

        Errors: E_ILLEGAL_METHOD_CALL while a `receive()` is pending.
        """
        link = self._link
        if link.handler is None and link.receive_head is not None:
            raise errors.illegal_call(
                f"{self}: add_message_received while a receive is pending", "use one or the other"
            )
        token = self._message_event.add(handler)
        if link.handler is None:
            link.home.call(self._hand_out)
        return token

    def remove_message_received(self, token: EventRegistrationToken, /) -> None:
        """Remove the handler that `token` stands for."""
        self._message_event.remove(token)

    @property
    def control(self) -> ServerMessageWebSocketControl:
        """Settings; the same object each time."""
        return self._control

    @property
    def information(self) -> ServerMessageWebSocketInformation:
        """The request, addresses and statistics; the same object each time, readable after the end."""
        return self._information

    def __repr__(self) -> str:
        return f"<ServerMessageWebSocket over {self._socket._connection}>"

    __str__ = __repr__


async def accept_web_socket(
    socket: StreamSocket,
    *,
    request: UpgradeRequest | RequestRefused | None = None,
    subprotocols: Sequence[str] = (),
    origins: Iterable[str | None] | None = None,
    max_message_size: int = MESSAGE_LIMIT,
    max_frame_size: int | None = None,
    max_inflated_message_size: int | None = None,
    max_inflation_ratio: int = INFLATION_RATIO_LIMIT,
    compression: WebSocketCompression | bool = False,
    receive_mode: MessageWebSocketReceiveMode = MessageWebSocketReceiveMode.FULL_MESSAGE,
    headers: Sequence[tuple[str, str]] = (),
    ping_interval: float = PING_INTERVAL,
    ping_timeout: float = PING_TIMEOUT,
) -> ServerMessageWebSocket:
    """Answer a WebSocket request on an accepted StreamSocket, and take the connection over.

    The head of the request is read here, within 10 s, unless somebody has read it (`request`, as `web_socket_request`
    gives it). The first of `subprotocols` that the client offers is agreed on. `origins`: the pages that may connect,
    by their Origin headers; default those of the very host that the request names, and clients that send none, which
    are no browsers; "*" is all (see `WebSocketListenerControl.origins`). `headers` are added to the answer.

    A longer message than `max_message_size` bytes (64 MiB) ends the connection with 1009, and so do a longer frame than
    `max_frame_size`, a message that has more than `max_inflated_message_size` bytes after inflating (both as
    `max_message_size`), and one that becomes `max_inflation_ratio` (200) times bigger by it, once it has 1 MiB.
    `compression`: whether, and how, permessage-deflate is agreed on with a client that offers it. After `ping_interval`
    seconds (20, 0 is never) without a byte the client gets a ping, and has `ping_timeout` seconds (20) to answer.

    `receive_mode` PARTIAL_MESSAGE: each event, and what `receive_part` gives, is a part of a message as it came; limits
    on the size of messages count for all parts together.

    What is no such request is answered as HTTP says, the socket closed, and the error of the answer raised:
    0x80190000 + status. Errors: also those of reading; TimeoutError where the request does not come; E_INVALIDARG for
    sizes and settings of compression out of range, and for `origins` that are none.
    Cancellation: *object now broken*: the socket is aborted.
    """
    check_object(socket, StreamSocket, "socket")
    sizes = WebSocketSizes(max_message_size, max_frame_size, max_inflated_message_size, max_inflation_ratio).check()
    deflate = deflate_settings(compression, False)
    mode = check_enum(receive_mode, MessageWebSocketReceiveMode, "receive_mode")
    answered = await answer_request(
        socket,
        "accept_web_socket",
        request=request,
        subprotocols=subprotocols,
        origins=origins,
        headers=headers,
        deflate=deflate,
    )
    link = make_link(answered.stream, False, sizes, agreed=answered.deflate, settings=deflate, partial=mode == _PARTIAL)
    return opened_web_socket(socket, link, answered.request, answered.protocol, ping_interval, ping_timeout)


def opened_web_socket(
    socket: StreamSocket,
    link: WebSocketLink,
    request: UpgradeRequest,
    protocol: str,
    ping_interval: float = 0.0,
    ping_timeout: float = 0.0,
) -> ServerMessageWebSocket:
    """The public object over a link, which begins to receive."""
    control = object.__new__(ServerMessageWebSocketControl)
    information = object.__new__(ServerMessageWebSocketInformation)
    made = object.__new__(ServerMessageWebSocket)
    made._prepare_face(link)
    made._socket = socket
    control._settings = made._settings
    tell_facts(information, socket, request, protocol)
    made._control = control
    made._information = information
    link.start(request.rest, ping_interval=ping_interval, ping_timeout=ping_timeout)
    return made
