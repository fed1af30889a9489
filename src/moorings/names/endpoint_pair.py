"""`EndpointPair`: both ends of a connection, as names and services."""

from __future__ import annotations

from moorings import errors
from moorings.foundation.projection import Object, check_object, check_optional, check_str, final
from moorings.names.host_name import HostName


@final
class EndpointPair(Object):
    """The local and the remote end of a connection.

    `local_host_name` may be None and `local_service_name` may be "": the system then picks the address or the port.
    The remote host must not be None and the remote service must not be "" here: E_INVALIDARG (0x80070057). A service
    that is not a str raises TypeError. All four can be changed; a remote service set to "" later fails when it is
    used. Source: WinRT EndpointPair.
    """

    __slots__ = (
        "__weakref__",
        "_local_host_name",
        "_local_service_name",
        "_remote_host_name",
        "_remote_service_name",
    )
    _winrt_name_ = "Windows.Networking.EndpointPair"

    _local_host_name: HostName | None
    _local_service_name: str
    _remote_host_name: HostName
    _remote_service_name: str

    def __new__(
        cls,
        local_host_name: HostName | None,
        local_service_name: str,
        remote_host_name: HostName,
        remote_service_name: str,
        /,
    ) -> EndpointPair:
        """Check and keep both ends."""
        pair = super().__new__(cls)
        pair.local_host_name = local_host_name
        pair.local_service_name = local_service_name
        pair.remote_host_name = remote_host_name
        pair.remote_service_name = remote_service_name
        if not remote_service_name:
            raise errors.invalid_argument("EndpointPair: remote_service_name cannot be empty")
        return pair

    @property
    def local_host_name(self) -> HostName | None:
        """The local address, or None where the system picks it."""
        return self._local_host_name

    @local_host_name.setter
    def local_host_name(self, value: HostName | None) -> None:
        self._local_host_name = check_optional(value, HostName, "local_host_name")

    @property
    def local_service_name(self) -> str:
        """The local port or service, or "" where the system picks the port."""
        return self._local_service_name

    @local_service_name.setter
    def local_service_name(self, value: str) -> None:
        self._local_service_name = check_str(value, "local_service_name")

    @property
    def remote_host_name(self) -> HostName:
        """The remote name or address. Setting None raises E_INVALIDARG (0x80070057)."""
        return self._remote_host_name

    @remote_host_name.setter
    def remote_host_name(self, value: HostName) -> None:
        self._remote_host_name = check_object(value, HostName, "remote_host_name")

    @property
    def remote_service_name(self) -> str:
        """The remote port or service."""
        return self._remote_service_name

    @remote_service_name.setter
    def remote_service_name(self, value: str) -> None:
        self._remote_service_name = check_str(value, "remote_service_name")

    def __repr__(self) -> str:
        local = self._local_host_name.raw_name if self._local_host_name is not None else ""
        remote = f"{self._remote_host_name.raw_name!r}, {self._remote_service_name!r}"
        return f"<EndpointPair {local!r}, {self._local_service_name!r} -> {remote}>"
