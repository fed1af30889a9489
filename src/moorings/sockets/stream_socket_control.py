"""`StreamSocketControl`: settings of a StreamSocket, to be made before it connects."""

# pyright: reportPrivateUsage=false
# The functions below the class make its objects; as methods they would be part of the public surface.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.projection import (
    Object,
    check_enum,
    check_uint,
    final,
    not_constructible,
)
from moorings.sockets.client_control import ClientControlMembers
from moorings.sockets.connection import Connection, State
from moorings.sockets.enums import BLUETOOTH_LEVELS, SocketProtectionLevel, SocketQualityOfService
from moorings.sockets.tls_settings import check_alpn, check_transferable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def check_hop_limit(value: Any) -> int:
    """An unsigned 8-bit number above zero (E_INVALIDARG otherwise)."""
    number = check_uint(value, 8, "outbound_unicast_hop_limit")
    if number == 0:
        raise errors.invalid_argument("outbound_unicast_hop_limit must be 1 to 255")
    return number


@final
@not_constructible
class StreamSocketControl(ClientControlMembers, Object):
    """Settings of one StreamSocket. Most setters fail with E_ILLEGAL_METHOD_CALL once a connect has started, and with
    RO_E_CLOSED after `close()`; a failed connect frees them again.

    Source: WinRT StreamSocketControl.
    """

    __slots__ = ("_connection",)

    def _require_no_handshake(self, member: str) -> None:
        """TLS may be started on an open connection, so its settings may be made until then."""
        if self._connection.state == State.CLOSED:
            raise errors.closed(f"{self._connection}: control.{member} cannot be set: the object")

    @property
    def quality_of_service(self) -> SocketQualityOfService:
        """NORMAL (default), or LOW_LATENCY: SO_PRIORITY 6 and the low-delay marking of packets (ip(7))."""
        return self._connection.settings.quality_of_service

    @quality_of_service.setter
    def quality_of_service(self, value: SocketQualityOfService) -> None:
        quality = check_enum(value, SocketQualityOfService, "quality_of_service")
        if quality not in tuple(SocketQualityOfService):
            raise errors.invalid_argument(f"quality_of_service {int(quality)} is not known")
        self._require_new("quality_of_service")
        self._connection.settings.quality_of_service = quality

    @property
    def outbound_unicast_hop_limit(self) -> int:
        """TTL or hop limit of outgoing packets, 1 to 255; default 128. Errors: E_INVALIDARG for 0."""
        return self._connection.settings.outbound_unicast_hop_limit

    @outbound_unicast_hop_limit.setter
    def outbound_unicast_hop_limit(self, value: int) -> None:
        number = check_hop_limit(value)
        self._require_new("outbound_unicast_hop_limit")
        self._connection.settings.outbound_unicast_hop_limit = number

    @property
    def keep_alive(self) -> bool:
        """True: the kernel probes an idle connection (SO_KEEPALIVE, intervals of tcp(7)). Default False."""
        return self._connection.settings.keep_alive

    @keep_alive.setter
    def keep_alive(self, value: bool) -> None:
        self._require_new("keep_alive")
        self._connection.settings.keep_alive = bool(value)

    @property
    def serialize_connection_attempts(self) -> bool:
        """True: at most one connection attempt at a time. Default False: attempts are staggered (RFC 8305)."""
        return self._connection.settings.serialize_connection_attempts

    @serialize_connection_attempts.setter
    def serialize_connection_attempts(self, value: bool) -> None:
        self._require_new("serialize_connection_attempts")
        self._connection.settings.serialize_connection_attempts = bool(value)

    @property
    def alpn_protocols(self) -> Sequence[str]:
        """Application protocols to offer (RFC 7301), the best one first, such as ("h2", "http/1.1"). Not in WinRT.

        Errors: TypeError; E_INVALIDARG for a name that is empty, not ASCII, or longer than 255.
        """
        return self._connection.settings.tls.alpn

    @alpn_protocols.setter
    def alpn_protocols(self, value: Iterable[str]) -> None:
        self._require_no_handshake("alpn_protocols")
        self._change_tls(alpn=check_alpn(value))

    @property
    def transferable(self) -> bool:
        """True: a TLS connection may move to another process later, by `detach()`; default False. Not in WinRT.

        Plain TCP always may. The secrets of such a connection are kept in memory until it has moved or ended, and its
        records are counted, which costs time. Errors: ERROR_NOT_SUPPORTED without the extra `tls`.
        """
        return self._connection.settings.tls.transferable

    @transferable.setter
    def transferable(self, value: bool) -> None:
        self._require_no_handshake("transferable")
        self._change_tls(transferable=check_transferable(value))

    @property
    def min_protection_level(self) -> SocketProtectionLevel:
        """The lowest TLS version to accept; UNSPECIFIED (default) leaves it to the system's policy.

        It may be set until the TLS handshake. Errors: E_INVALIDARG for a Bluetooth or unknown level.
        """
        return self._connection.settings.min_protection_level

    @min_protection_level.setter
    def min_protection_level(self, value: SocketProtectionLevel) -> None:
        level = check_enum(value, SocketProtectionLevel, "min_protection_level")
        if level not in tuple(SocketProtectionLevel) or level in BLUETOOTH_LEVELS:
            raise errors.invalid_argument(f"min_protection_level {int(level)} is no TLS level")
        self._require_no_handshake("min_protection_level")
        self._connection.settings.min_protection_level = level


def control_of(connection: Connection) -> StreamSocketControl:
    """The control object of a connection."""
    control = object.__new__(StreamSocketControl)
    control._connection = connection
    return control
