"""Making a listening socket: from the arguments of a bind to a descriptor that listens."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.projection import check_str
from moorings.names.endpoints import endpoint_text
from moorings.names.resolver import default_resolver
from moorings.names.service_names import parse_service_name
from moorings.sockets.opening import bind_to_adapter, local_port

if TYPE_CHECKING:
    from moorings.connectivity.network_adapter import NetworkAdapter
    from moorings.names.host_name import HostName
    from moorings.sockets.connection import Settings

# The machine does not have this address, or its whole family: another address of the same name may do.
_NOT_HERE = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))


def check_local(service: Any, member: str) -> None:
    """A local service: "" or what `parse_service_name` takes."""
    if check_str(service, "local_service_name"):
        parse_service_name(service, f"{member}: local service")


class Binding:
    """One bind: which address, port and adapter, and with which options."""

    def __init__(self, settings: Settings, host: HostName | None, service: str, adapter: NetworkAdapter | None) -> None:
        self._settings = settings
        self._host = host
        self._service = service
        self._adapter = adapter

    async def open(self) -> socket.socket:
        """Resolve, bind and listen."""
        port = await local_port(self._service)
        if self._host is None:
            return self._listen_everywhere(port)
        failure: OSError | None = None
        for address in await default_resolver().addresses(self._host):
            try:
                return self._listen(address.family, address.sockaddr(port))
            except OSError as error:
                failure = failure or error
                if error.errno not in _NOT_HERE:
                    break
        if failure is None:
            raise errors.make(errors.ERROR_NO_DATA, f"local host {self._host} has no address")
        raise failure

    def _listen_everywhere(self, port: int) -> socket.socket:
        """One socket for both families (IPV6_V6ONLY off, ipv6(7)); IPv4 alone where the machine has no IPv6."""
        if socket.has_dualstack_ipv6():
            try:
                return self._listen(socket.AF_INET6, ("::", port, 0, 0))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
        return self._listen(socket.AF_INET, ("0.0.0.0", port))

    def _listen(self, family: int, sockaddr: tuple[Any, ...]) -> socket.socket:
        try:
            listening = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            try:
                self._prepare(listening)
                listening.bind(sockaddr)
                listening.listen(socket.SOMAXCONN)
            except BaseException:
                listening.close()
                raise
        except OSError as error:
            where = endpoint_text(str(sockaddr[0]), sockaddr[1])
            raise errors.from_os_error(error, f"listening on {where} failed: {_explain(error)}") from error
        return listening

    def _prepare(self, listening: socket.socket) -> None:
        # Skips the TIME_WAIT of earlier connections; on Linux two listeners still cannot share a port (socket(7)).
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listening.family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, self._host is not None)
        self._settings.apply(listening)
        if self._adapter is not None and not bind_to_adapter(listening, self._adapter):
            raise errors.not_supported("listening on one adapter", "permission for SO_BINDTODEVICE (CAP_NET_RAW)")


def _explain(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "ports below 1024 need privileges (capabilities(7), CAP_NET_BIND_SERVICE)"
    if error.errno == errno.EADDRINUSE:
        return "another socket has that address and port; stop it, or choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine does not have that address"
    return error.strerror or str(error)
