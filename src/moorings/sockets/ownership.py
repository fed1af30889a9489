"""Members that hand a socket to the broker; they exist, are typed, and fail until the broker is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from moorings import errors
from moorings.foundation.projection import (
    arities,
    check_enum,
    check_guid,
    check_str,
    deprecated_alias,
    invalid_parameter_count,
)
from moorings.sockets.enums import SocketActivityConnectedStandbyAction

if TYPE_CHECKING:
    from collections.abc import Callable


class BrokerMembers:
    """`enable_transfer_ownership` and `transfer_ownership` of StreamSocket and StreamSocketListener."""

    __slots__ = ()

    _require: Callable[[str], None]

    @arities(1, 2)
    def enable_transfer_ownership(self, task_id: Any, /, *action: Any) -> NoReturn:
        """Name the background task that the broker starts. Fails with E_NOTIMPL until the broker is built.

        It will also do what `control.transferable` does: a TLS connection moves only where that was asked for before
        its handshake. Errors: E_ILLEGAL_METHOD_CALL unless the socket is new. Source: WinRT EnableTransferOwnership.
        """
        if len(action) > 1:
            raise invalid_parameter_count()
        check_guid(task_id, "task_id")
        if action:
            check_enum(action[0], SocketActivityConnectedStandbyAction, "connected_standby_action")
        self._require("enable_transfer_ownership")
        raise errors.not_implemented(f"{type(self).__name__}.enable_transfer_ownership", "the broker")

    enable_transfer_ownership_with_connected_standby_action = deprecated_alias("enable_transfer_ownership")

    def _refuse_transfer(self, socket_id: object) -> NoReturn:
        check_str(socket_id, "socket_id")
        self._require("transfer_ownership")
        raise errors.not_implemented(f"{type(self).__name__}.transfer_ownership", "the broker")


class StreamBrokerMembers(BrokerMembers):
    """The members of a StreamSocket."""

    __slots__ = ()

    @arities(1, 2, 3)
    def transfer_ownership(self, socket_id: str, /, *more: Any) -> NoReturn:
        """Hand the socket, with data and a keep-alive time, to the broker. Fails with E_NOTIMPL until it is built.

        Errors: E_ILLEGAL_METHOD_CALL unless the socket is open. Source: WinRT StreamSocket.TransferOwnership.
        """
        if len(more) > 2:
            raise invalid_parameter_count()
        self._refuse_transfer(socket_id)

    transfer_ownership_with_context = deprecated_alias("transfer_ownership")
    transfer_ownership_with_context_and_keep_alive_time = deprecated_alias("transfer_ownership")


class ListenerBrokerMembers(BrokerMembers):
    """The members of a StreamSocketListener: no keep-alive time."""

    __slots__ = ()

    @arities(1, 2)
    def transfer_ownership(self, socket_id: str, /, *more: Any) -> NoReturn:
        """Hand the listener, with data, to the broker. Fails with E_NOTIMPL until it is built.

        Errors: E_ILLEGAL_METHOD_CALL unless it is bound. Source: WinRT StreamSocketListener.TransferOwnership.
        """
        if len(more) > 1:
            raise invalid_parameter_count()
        self._refuse_transfer(socket_id)

    transfer_ownership_with_context = deprecated_alias("transfer_ownership")
