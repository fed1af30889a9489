"""Control, information and event arguments of a StreamSocketListener."""

# pyright: reportPrivateUsage=false
# The functions below the class make its objects; as methods they would be part of the public surface.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.projection import Object, check_enum, final, not_constructible
from moorings.sockets.connection import Connection, Settings, post, require_new
from moorings.sockets.enums import SocketQualityOfService
from moorings.sockets.stream_socket import StreamSocket, accepted_socket
from moorings.sockets.stream_socket_control import check_buffer_size, check_hop_limit

if TYPE_CHECKING:
    from moorings.sockets.accepting import Accepting


@final
@not_constructible
class StreamSocketListenerControl(Object):
    """Settings that every accepted socket gets. All setters fail with E_ILLEGAL_METHOD_CALL once a bind has started.

    Source: WinRT StreamSocketListenerControl.
    """

    __slots__ = ("_accepting", "_settings")
    _accepting: Accepting
    _settings: Settings

    def _require_new(self, member: str) -> None:
        require_new(self._accepting.state, f"{self._accepting}: control.{member}", "set it before binding")

    @property
    def quality_of_service(self) -> SocketQualityOfService:
        """NORMAL (default), or LOW_LATENCY: SO_PRIORITY 6 and the low-delay marking of packets (ip(7))."""
        return self._settings.quality_of_service

    @quality_of_service.setter
    def quality_of_service(self, value: SocketQualityOfService) -> None:
        quality = check_enum(value, SocketQualityOfService, "quality_of_service")
        if quality not in tuple(SocketQualityOfService):
            raise errors.invalid_argument(f"quality_of_service {int(quality)} is not known")
        self._require_new("quality_of_service")
        self._settings.quality_of_service = quality

    @property
    def outbound_unicast_hop_limit(self) -> int:
        """TTL or hop limit of outgoing packets, 1 to 255; default 128. Errors: E_INVALIDARG for 0."""
        return self._settings.outbound_unicast_hop_limit

    @outbound_unicast_hop_limit.setter
    def outbound_unicast_hop_limit(self, value: int) -> None:
        number = check_hop_limit(value)
        self._require_new("outbound_unicast_hop_limit")
        self._settings.outbound_unicast_hop_limit = number

    @property
    def outbound_buffer_size_in_bytes(self) -> int:
        """Size of the kernel's send buffer; 0 until it is set. Errors: E_INVALIDARG beyond 2147483647."""
        return self._settings.outbound_buffer_size or 0

    @outbound_buffer_size_in_bytes.setter
    def outbound_buffer_size_in_bytes(self, value: int) -> None:
        number = check_buffer_size(value)
        self._require_new("outbound_buffer_size_in_bytes")
        self._settings.outbound_buffer_size = number

    @property
    def no_delay(self) -> bool:
        """True (default): small writes are sent without waiting for more (TCP_NODELAY)."""
        return self._settings.no_delay

    @no_delay.setter
    def no_delay(self, value: bool) -> None:
        self._require_new("no_delay")
        self._settings.no_delay = bool(value)

    @property
    def keep_alive(self) -> bool:
        """True: the kernel probes idle connections (SO_KEEPALIVE). Default False."""
        return self._settings.keep_alive

    @keep_alive.setter
    def keep_alive(self, value: bool) -> None:
        self._require_new("keep_alive")
        self._settings.keep_alive = bool(value)


@final
@not_constructible
class StreamSocketListenerInformation(Object):
    """What there is to know about a listener. Source: WinRT StreamSocketListenerInformation."""

    __slots__ = ("_accepting",)
    _accepting: Accepting

    @property
    def local_port(self) -> str:
        """The bound TCP port as text, "" before the bind; it stays after close."""
        return self._accepting.port


@final
@not_constructible
class StreamSocketListenerConnectionReceivedEventArgs(Object):
    """A new connection. One that no handler looked at is closed when these arguments are dropped.

    Source: WinRT StreamSocketListenerConnectionReceivedEventArgs.
    """

    __slots__ = ("_connection", "_place", "_socket")
    _connection: Connection
    _place: Any
    _socket: StreamSocket | None

    @property
    def socket(self) -> StreamSocket:
        """The connected socket, with the listener's settings; the same object each time."""
        if self._socket is None:
            self._socket = accepted_socket(self._connection, self._place)
        return self._socket

    def __del__(self) -> None:
        stream = self._connection.stream
        if self._socket is not None or stream is None or not stream.is_open() or stream.home.dropped:
            return
        if stream.home.on_home_thread() or not post(stream.home, stream.close):
            stream.close()


def listener_control(accepting: Accepting) -> StreamSocketListenerControl:
    """The control object of a listener."""
    control = object.__new__(StreamSocketListenerControl)
    control._accepting = accepting
    control._settings = accepting.settings
    return control


def listener_information(accepting: Accepting) -> StreamSocketListenerInformation:
    """The information object of a listener."""
    information = object.__new__(StreamSocketListenerInformation)
    information._accepting = accepting
    return information


def event_args(
    connection: Connection, place: Any, socket: StreamSocket | None = None
) -> StreamSocketListenerConnectionReceivedEventArgs:
    """The event arguments of a new connection, with its public object where there is one already."""
    args = object.__new__(StreamSocketListenerConnectionReceivedEventArgs)
    args._connection = connection
    args._place = place
    args._socket = socket
    return args
