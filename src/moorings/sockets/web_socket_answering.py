"""The server's side of the opening handshake on an accepted StreamSocket, for WebSockets of messages and of bytes."""

# pyright: reportPrivateUsage=false
# It takes over the inside of the socket.

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from moorings import errors
from moorings.foundation.projection import check_object
from moorings.protocols.web_error_status import hresult_of_http_status
from moorings.sockets.stream_socket import StreamSocket
from moorings.sockets.web_socket_origins import check_origins, may_connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from moorings.engine.tcp_stream import TcpStream
    from moorings.names.host_name import HostName
    from moorings.protocols.web_socket_deflate import DeflateParameters, DeflateSettings
    from moorings.protocols.web_socket_request import RequestRefused, ServerHandshake, UpgradeRequest
    from moorings.sockets.statistics import BandwidthStatistics

#: Seconds in which the head of the request has to come.
REQUEST_TIMEOUT = 10.0
#: Seconds without a byte from the client after which it gets a ping, and seconds for the answer.
PING_INTERVAL = 20.0
PING_TIMEOUT = 20.0

_PIECE: Final = 4096


class ServerWebSocketFacts:
    """What WinRT's information objects of both classes have."""

    __slots__ = ()

    _socket: StreamSocket
    _protocol: str
    #: The request with which the client opened it.
    request: UpgradeRequest
    #: What `approve` knows of the client (`WebSocketApproval.user`); None where there was none.
    user: Any

    @property
    def bandwidth_statistics(self) -> BandwidthStatistics:
        """Bandwidth estimates of the TCP connection, in bits per second; zeros where the kernel does not say."""
        return self._socket.information.bandwidth_statistics

    @property
    def local_address(self) -> HostName:
        """The local IP address."""
        return self._socket.information.local_address  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    @property
    def protocol(self) -> str:
        """The subprotocol that was agreed on, or ""."""
        return self._protocol


class Answered(NamedTuple):
    """A request that opened a WebSocket."""

    stream: TcpStream
    """The stream of the socket, on which frames follow."""
    request: UpgradeRequest
    protocol: str
    """The subprotocol that was agreed on, or ""."""
    deflate: DeflateParameters | None
    """The compression that was agreed on."""


def tell_facts(information: Any, socket: StreamSocket, request: UpgradeRequest, protocol: str) -> None:
    """Let an information object know."""
    information._socket = socket
    information._protocol = protocol
    information.request = request
    information.user = None


async def answer_request(
    socket: StreamSocket,
    member: str,
    *,
    request: UpgradeRequest | RequestRefused | None,
    subprotocols: Sequence[str],
    origins: Iterable[str | None] | None,
    headers: Sequence[tuple[str, str]],
    deflate: DeflateSettings | None = None,
) -> Answered:
    """Read a request, unless somebody has read it, judge it, and answer. `member` names the caller in errors.

    Errors and cancellation: see `accept_web_socket`.
    """
    from moorings.protocols import web_socket_request as codec  # noqa: PLC0415 (only who uses WebSockets pays for h11)

    check_object(socket, StreamSocket, "socket")
    allowed = check_origins(origins)
    stream = socket._stream(member)
    judged: UpgradeRequest | RequestRefused
    try:
        if request is None:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                judged = await read_request(socket, codec.ServerHandshake())
        else:
            judged = request
        if isinstance(judged, codec.UpgradeRequest) and not may_connect(judged, allowed):
            judged = codec.refuse_request(403, f"The origin {judged.origin} may not connect.")
        if isinstance(judged, codec.RequestRefused):
            await socket.write(judged.answer)
            await socket.aclose()
            reason = f"{socket._connection}: the request was answered with {judged.status}: {judged.text}"
            raise errors.make(hresult_of_http_status(judged.status), reason)
        chosen = codec.choose_subprotocol(judged.subprotocols, subprotocols)
        accepted = judged.accept(subprotocol=chosen, deflate=deflate, headers=headers)
        await socket.write(accepted.answer)
    except BaseException:
        socket.abort()
        raise
    return Answered(stream, judged, chosen, accepted.deflate)


async def read_request(socket: StreamSocket, handshake: ServerHandshake) -> UpgradeRequest | RequestRefused:
    """Read the head of a request. Errors: those of reading; ConnectionAbortedError where it ends before."""
    while True:
        data = await socket.read(_PIECE)
        if not data:
            raise errors.aborted(f"{socket._connection} ended before its request was complete")
        judged = handshake.receive(data)
        if judged is not None:
            return judged
