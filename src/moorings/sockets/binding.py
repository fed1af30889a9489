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
    from moorings.names.service_names import Protocols
    from moorings.sockets.connection import Settings

# The machine does not have this address, or its whole family: another address of the same name may do.
_NOT_HERE = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))


def check_local(service: Any, member: str) -> None:
    """A local service: "" or what `parse_service_name` takes."""
    if check_str(service, f"{member}: local service"):
        parse_service_name(service, f"{member}: local service")


class LocalBinding:
    """One bind: from a local host, service and adapter to a socket that has them."""

    #: In which protocol a service is looked up.
    protocol: Protocols = "tcp"
    #: What else may help where the port is taken.
    other_way = ""

    def __init__(self, host: HostName | None, service: str, adapter: NetworkAdapter | None) -> None:
        self._host = host
        self._service = service
        self._adapter = adapter

    async def open(self) -> socket.socket:
        """Resolve and bind."""
        port = await local_port(self._service, self.protocol)
        if self._host is None:
            return self.open_everywhere(port)
        failure: OSError | None = None
        for address in await default_resolver().addresses(self._host):
            try:
                return self._open(address.family, address.sockaddr(port))
            except OSError as error:
                failure = failure or error
                if error.errno not in _NOT_HERE:
                    break
        if failure is None:
            raise errors.make(errors.ERROR_NO_DATA, f"local host {self._host} has no address")
        raise failure

    def open_everywhere(self, port: int) -> socket.socket:
        """One socket for both families (IPV6_V6ONLY off, ipv6(7)); IPv4 alone where the machine has no IPv6."""
        if socket.has_dualstack_ipv6():
            try:
                return self._open(socket.AF_INET6, ("::", port, 0, 0))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
        return self._open(socket.AF_INET, ("0.0.0.0", port))

    def _open(self, family: int, sockaddr: tuple[Any, ...]) -> socket.socket:
        raise NotImplementedError

    def _failure(self, what: str, error: OSError) -> OSError:
        """The error of a failed bind or connect; `what` was being done."""
        text = error.strerror or str(error)
        if isinstance(error, PermissionError):
            text = "ports below 1024 need privileges (capabilities(7), CAP_NET_BIND_SERVICE)"
        elif error.errno == errno.EADDRINUSE:
            ways = ["stop it", "choose another port", *filter(None, [self.other_way])]
            text = f"another socket has that address and port; {', '.join(ways[:-1])}, or {ways[-1]}"
        elif error.errno == errno.EADDRNOTAVAIL:
            text = "this machine does not have that address"
        return errors.from_os_error(error, f"{what} failed: {text}")


class Binding(LocalBinding):
    """A bind that listens."""

    def __init__(self, settings: Settings, host: HostName | None, service: str, adapter: NetworkAdapter | None) -> None:
        super().__init__(host, service, adapter)
        self._settings = settings

    def _open(self, family: int, sockaddr: tuple[Any, ...]) -> socket.socket:
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
            raise self._failure(f"listening on {endpoint_text(str(sockaddr[0]), sockaddr[1])}", error) from error
        return listening

    def _prepare(self, listening: socket.socket) -> None:
        # Skips the TIME_WAIT of earlier connections; on Linux two listeners still cannot share a port (socket(7)).
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listening.family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, self._host is not None)
        self._settings.apply(listening)
        if self._adapter is not None and not bind_to_adapter(listening, self._adapter):
            raise errors.not_supported("listening on one adapter", "permission for SO_BINDTODEVICE (CAP_NET_RAW)")
