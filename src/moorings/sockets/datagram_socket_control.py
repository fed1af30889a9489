"""`DatagramSocketControl`: settings of a DatagramSocket, to be made before it is bound or connected."""

# pyright: reportPrivateUsage=false
# The functions below the class make its objects; as methods they would be part of the public surface.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.projection import Object, check_enum, check_uint, final, not_constructible
from moorings.sockets.connection import require_new
from moorings.sockets.enums import SocketQualityOfService
from moorings.sockets.stream_socket_control import check_hop_limit

if TYPE_CHECKING:
    from moorings.sockets.datagram_link import DatagramLink

_INT_MAX = 0x7FFFFFFF


def check_inbound_buffer_size(value: Any) -> int:
    """An unsigned 32-bit number above zero that the kernel can take (E_INVALIDARG otherwise)."""
    number = check_uint(value, 32, "inbound_buffer_size_in_bytes")
    if not 0 < number <= _INT_MAX:
        raise errors.invalid_argument(f"inbound_buffer_size_in_bytes must be 1 to {_INT_MAX}")
    return number


@final
@not_constructible
class DatagramSocketControl(Object):
    """Settings of one DatagramSocket. All setters but that of `outbound_unicast_hop_limit` fail with
    E_ILLEGAL_METHOD_CALL once a bind or connect has started, or a write has bound the socket; all of them with
    RO_E_CLOSED after `close()`. A failed bind or connect frees them again.

    Source: WinRT DatagramSocketControl.
    """

    __slots__ = ("_link",)
    _link: DatagramLink

    def _require_new(self, member: str) -> None:
        require_new(self._link.state, f"{self._link}: control.{member}", "set it before binding or connecting")

    @property
    def quality_of_service(self) -> SocketQualityOfService:
        """NORMAL (default), or LOW_LATENCY: SO_PRIORITY 6 and the low-delay marking of packets (ip(7))."""
        return self._link.settings.quality_of_service

    @quality_of_service.setter
    def quality_of_service(self, value: SocketQualityOfService) -> None:
        quality = check_enum(value, SocketQualityOfService, "quality_of_service")
        if quality not in tuple(SocketQualityOfService):
            raise errors.invalid_argument(f"quality_of_service {int(quality)} is not known")
        self._require_new("quality_of_service")
        self._link.settings.quality_of_service = quality

    @property
    def outbound_unicast_hop_limit(self) -> int:
        """TTL or hop limit of outgoing unicast packets, 1 to 255; default 128. Errors: E_INVALIDARG for 0.

        It may be set at any time; what is queued then goes out first, as far as the kernel takes it at once.
        """
        return self._link.settings.outbound_unicast_hop_limit

    @outbound_unicast_hop_limit.setter
    def outbound_unicast_hop_limit(self, value: int) -> None:
        number = check_hop_limit(value)
        link = self._link
        if not link.is_open():
            raise errors.closed(f"{link}: control.outbound_unicast_hop_limit cannot be set: the object")
        link.settings.outbound_unicast_hop_limit = number

        def apply() -> None:
            port = link.port
            if port is not None and port.is_open():
                port.on_flush()
                link.settings.apply_hop_limit(port.plain_socket)

        link.at_home(apply)

    @property
    def inbound_buffer_size_in_bytes(self) -> int:
        """Size of the kernel's receive buffer; 0 until it is set. Errors: E_INVALIDARG for 0 and beyond 2147483647.

        The kernel takes at most net.core.rmem_max, and doubles that for its own use (socket(7)).
        """
        return self._link.settings.inbound_buffer_size or 0

    @inbound_buffer_size_in_bytes.setter
    def inbound_buffer_size_in_bytes(self, value: int) -> None:
        number = check_inbound_buffer_size(value)
        self._require_new("inbound_buffer_size_in_bytes")
        self._link.settings.inbound_buffer_size = number

    @property
    def dont_fragment(self) -> bool:
        """True: a datagram beyond the path's MTU fails with WSAEMSGSIZE instead of being sent in pieces. Default False.

        On the way it is dropped, and the sender gets an error event. Both errors have `max_size`, what fits now.
        """
        return self._link.settings.dont_fragment

    @dont_fragment.setter
    def dont_fragment(self, value: bool) -> None:
        self._require_new("dont_fragment")
        self._link.settings.dont_fragment = bool(value)

    @property
    def multicast_only(self) -> bool:
        """True: share the port with other sockets that set this, or SO_REUSEADDR. Default False: it is ours alone.

        In exchange sending to one host fails with E_ILLEGAL_METHOD_CALL, and what is not sent to a group is dropped
        and counted (`counters.refused`).
        """
        return self._link.settings.multicast_only

    @multicast_only.setter
    def multicast_only(self, value: bool) -> None:
        self._require_new("multicast_only")
        self._link.settings.multicast_only = bool(value)


def datagram_control(link: DatagramLink) -> DatagramSocketControl:
    """The control object of a socket."""
    control = object.__new__(DatagramSocketControl)
    control._link = link
    return control
