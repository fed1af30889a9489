"""What the control objects of both client classes of WebSockets have."""

# pyright: reportPrivateUsage=false
# The other half of the classes that it is mixed into.

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from moorings import errors
from moorings.certificates.credentials import PasswordCredential
from moorings.foundation.projection import check_float, check_optional, check_str, check_timedelta
from moorings.sockets.client_control import ClientControlMembers
from moorings.sockets.connection import State

if TYPE_CHECKING:
    from collections.abc import MutableSequence

    from moorings.sockets.web_socket_client import WebSocketConnection

__all__ = ["WebSocketControlMembers"]


class WebSocketControlMembers(ClientControlMembers):
    """Mixed into the control objects. Most setters fail with E_ILLEGAL_METHOD_CALL once a connect has started, and with
    RO_E_CLOSED after `close()`; a failed connect frees them again.
    """

    __slots__ = ()

    _connection: WebSocketConnection  # pyright: ignore[reportIncompatibleVariableOverride]

    def _require_no_handshake(self, member: str) -> None:
        self._require_new(member)

    @property
    def server_credential(self) -> PasswordCredential | None:
        """User name and password for a server that answers 401, once, by Digest or Basic; None (default): for none.

        Basic sends the password readable: mind the difference between ws and wss. Errors: TypeError.
        """
        return self._connection.server_credential

    @server_credential.setter
    def server_credential(self, value: PasswordCredential | None) -> None:
        credential = check_optional(value, PasswordCredential, "server_credential")
        self._require_new("server_credential")
        self._connection.server_credential = credential

    @property
    def proxy_credential(self) -> PasswordCredential | None:
        """The same for a proxy. Nothing goes through a proxy yet, and so nobody gets it. Errors: TypeError."""
        return self._connection.proxy_credential

    @proxy_credential.setter
    def proxy_credential(self, value: PasswordCredential | None) -> None:
        credential = check_optional(value, PasswordCredential, "proxy_credential")
        self._require_new("proxy_credential")
        self._connection.proxy_credential = credential

    @property
    def supported_protocols(self) -> MutableSequence[str]:
        """Subprotocols to offer, the best one first; always the same list, empty at first.

        It is read when a connect starts; what is changed later counts for the next one. `information.protocol` has what
        the server chose. What is no token, or is there twice, fails the connect with E_INVALIDARG.
        """
        connection = self._connection
        if connection.supported_protocols is None:
            from moorings.foundation.vectors import Vector  # noqa: PLC0415 (as for certificate errors)

            connection.supported_protocols = Vector[str](check=lambda value: check_str(value, "value"))
        result: MutableSequence[str] = connection.supported_protocols
        return result

    @property
    def desired_unsolicited_pong_interval(self) -> timedelta:
        """Time between two pongs that nobody asked for, which keep the way to the server open; default 30 s.

        Less than 15 s is raised to 15 s when connecting, zero is off. Setting it late has no effect and is no error.
        Errors: TypeError for what is no timedelta; E_INVALIDARG for a negative one.
        """
        return self._connection.pong_interval

    @desired_unsolicited_pong_interval.setter
    def desired_unsolicited_pong_interval(self, value: timedelta) -> None:
        interval = check_timedelta(value, "desired_unsolicited_pong_interval")
        if interval < timedelta():
            raise errors.invalid_argument("desired_unsolicited_pong_interval must not be negative")
        if self._connection.state == State.NEW:
            self._connection.pong_interval = interval

    @property
    def actual_unsolicited_pong_interval(self) -> timedelta:
        """The interval that is in use; zero before the WebSocket is open, and where it is off."""
        return self._connection.pong_interval_in_use

    # -- not in WinRT ------------------------------------------------------------------------------------------------

    @property
    def ping_interval(self) -> float:
        """Seconds without a byte from the server after which it gets a ping; 0.0 (default): never. Not in WinRT.

        Errors: TypeError; E_INVALIDARG for a negative number.
        """
        return self._connection.ping_interval

    @ping_interval.setter
    def ping_interval(self, value: float) -> None:
        seconds = _seconds(value, "ping_interval")
        self._require_new("ping_interval")
        self._connection.ping_interval = seconds

    @property
    def ping_timeout(self) -> float:
        """Seconds for the answer to such a ping; then the connection is given up as timed out. Not in WinRT.

        0.0 (default) is as much as `ping_interval`. Errors: TypeError; E_INVALIDARG for a negative number.
        """
        return self._connection.ping_timeout

    @ping_timeout.setter
    def ping_timeout(self, value: float) -> None:
        seconds = _seconds(value, "ping_timeout")
        self._require_new("ping_timeout")
        self._connection.ping_timeout = seconds


def _seconds(value: float, name: str) -> float:
    seconds = check_float(value, name)
    if not 0 <= seconds <= _LONGEST:
        raise errors.invalid_argument(f"{name} must be 0 to {_LONGEST} seconds")
    return seconds


#: A year: what timers of all event loops take.
_LONGEST = 31_536_000
