"""`ServerStreamWebSocket`: the server's side of one WebSocket of bytes, made from an accepted StreamSocket."""

# pyright: reportPrivateUsage=false
# The function below the classes makes their objects; as a method it would be part of the public surface.

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from moorings.foundation.closable import IClosable
from moorings.foundation.projection import Object, final, not_constructible
from moorings.sockets.byte_web_socket import ByteWebSocket
from moorings.sockets.web_socket_answering import (
    PING_INTERVAL,
    PING_TIMEOUT,
    ServerWebSocketFacts,
    answer_request,
    tell_facts,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from moorings.protocols.web_socket_request import RequestRefused, UpgradeRequest
    from moorings.sockets.stream_socket import StreamSocket
    from moorings.streams.interfaces import IInputStream, IOutputStream


@final
@not_constructible
class ServerStreamWebSocketInformation(ServerWebSocketFacts, Object):
    """What there is to know about a ServerStreamWebSocket, in any state.

    Beside WinRT's members: `request`, the request that opened it, with path, origin and headers. Source: WinRT
    ServerStreamWebSocketInformation.
    """

    __slots__ = ("_protocol", "_socket", "request", "user")


@final
@not_constructible
class ServerStreamWebSocket(ByteWebSocket, IClosable):
    """The server's side of a WebSocket of bytes; `accept_stream_web_socket` makes it, open.

    Where the client's messages end is not seen: what it sends is one stream of bytes, and each write is one binary
    message. While nobody reads the client has to wait, but for the first 256 KiB. A text message is a mistake of the
    client's: the read behind what came before it fails with 0x83760002, and the WebSocket is closed with 1003.

    Beside WinRT's members it has the Python face: `read`, `read_exactly`, `read_until`, `lines`, `write`, `flush`,
    `ping`, `aclose`, `abort`, `async with`. One that is dropped while it is open is closed with a ResourceWarning.
    Source: WinRT ServerStreamWebSocket.
    """

    __slots__ = ("_information", "_socket")
    _winrt_name_ = "Windows.Networking.Sockets.ServerStreamWebSocket"
    _information: ServerStreamWebSocketInformation
    _socket: StreamSocket

    @property
    def input_stream(self) -> IInputStream:
        """The bytes of the client's messages; the same object each time.

        Length 0 is the end: the client has closed. A second read while one is pending fails with E_ILLEGAL_METHOD_CALL.
        Closing it leaves the WebSocket open. Errors: RO_E_CLOSED after `close()`.
        """
        self._stream("input_stream")
        return cast("IInputStream", self._input)

    @property
    def output_stream(self) -> IOutputStream:
        """Bytes for the client, each write one binary message (none where it is empty); the same object each time.

        Closing it sends an empty close frame behind what is queued; what the client still sends can be read. Errors:
        RO_E_CLOSED after `close()`.
        """
        self._stream("output_stream")
        return cast("IOutputStream", self._output)

    @property
    def information(self) -> ServerStreamWebSocketInformation:
        """The request, addresses and statistics; the same object each time, readable after the end."""
        return self._information

    def __repr__(self) -> str:
        return f"<{self._label}>"

    def __str__(self) -> str:
        return str(self._label)


async def accept_stream_web_socket(
    socket: StreamSocket,
    *,
    request: UpgradeRequest | RequestRefused | None = None,
    subprotocols: Sequence[str] = (),
    origins: Iterable[str | None] | None = None,
    headers: Sequence[tuple[str, str]] = (),
    ping_interval: float = PING_INTERVAL,
    ping_timeout: float = PING_TIMEOUT,
) -> ServerStreamWebSocket:
    """Answer a WebSocket request on an accepted StreamSocket, and take the connection over as a stream of bytes.

    As `accept_web_socket`, which makes a WebSocket of messages; messages of any size may come, and nothing is
    compressed. Errors: those of `accept_web_socket`. Cancellation: *object now broken*: the socket is aborted.
    """
    answered = await answer_request(
        socket,
        "accept_stream_web_socket",
        request=request,
        subprotocols=subprotocols,
        origins=origins,
        headers=headers,
    )
    lifeline = socket._lifeline
    assert lifeline is not None
    information = object.__new__(ServerStreamWebSocketInformation)
    tell_facts(information, socket, answered.request, answered.protocol)
    made = object.__new__(ServerStreamWebSocket)
    made._socket = socket
    made._information = information
    made._prepare_events()
    connection = socket._connection
    stream = made._take(answered.stream, "ServerStreamWebSocket", connection, lifeline, is_client=False)
    stream.start(answered.request.rest, ping_interval=ping_interval, ping_timeout=ping_timeout)
    return made
