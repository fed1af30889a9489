"""Making a connection: from the arguments of a connect to a connected socket."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.projection import check_enum, check_str
from moorings.names.connecting import connect_socket
from moorings.names.endpoints import Candidate, check_target, endpoint_candidates, endpoint_text
from moorings.names.enums import HostNameType
from moorings.names.host_name import HostName
from moorings.names.racing import ATTEMPT_TIMEOUT, STAGGER, race
from moorings.names.resolver import default_resolver
from moorings.names.service_names import parse_service_name
from moorings.sockets.enums import BLUETOOTH_LEVELS, SocketProtectionLevel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moorings.connectivity.network_adapter import NetworkAdapter
    from moorings.names.service_names import Protocols
    from moorings.sockets.connection import Settings

# From the oldest to the newest; a floor may not be above what is asked for.
_TLS_LEVELS = (
    SocketProtectionLevel.SSL,
    SocketProtectionLevel.SSL_ALLOW_NULL_ENCRYPTION,
    SocketProtectionLevel.TLS10,
    SocketProtectionLevel.TLS11,
    SocketProtectionLevel.TLS12,
    SocketProtectionLevel.TLS13,
)


def check_protection_level(value: Any, member: str) -> SocketProtectionLevel:
    """The level of a TCP connection. Errors: E_INVALIDARG for UNSPECIFIED, Bluetooth and unknown levels."""
    level = check_enum(value, SocketProtectionLevel, "protection_level")
    if level in BLUETOOTH_LEVELS:
        raise errors.invalid_argument(f"{member}: {level.name} is for Bluetooth, not for TCP")
    if level == SocketProtectionLevel.UNSPECIFIED or level not in tuple(SocketProtectionLevel):
        raise errors.invalid_argument(f"{member}: protection level {int(level)} cannot be asked for")
    return level


def check_tls_level(level: SocketProtectionLevel, settings: Settings, member: str) -> None:
    """Check a level against `control.min_protection_level`; PLAIN_SOCKET has nothing to check.

    Errors: E_INVALIDARG below the floor; ERROR_NOT_SUPPORTED for SSL 3.
    """
    if level == SocketProtectionLevel.PLAIN_SOCKET:
        return
    floor = settings.min_protection_level
    if level in _TLS_LEVELS and floor in _TLS_LEVELS and _TLS_LEVELS.index(floor) > _TLS_LEVELS.index(level):
        raise errors.invalid_argument(f"{member}: min_protection_level {floor.name} is above {level.name}")
    if level == SocketProtectionLevel.SSL3_ALLOW_WEAK_ENCRYPTION:
        raise errors.not_supported(f"{member} with SSL 3", "a TLS library that still has SSL 3; ask for TLS12 or TLS13")


def check_remote(host: Any, service: Any, member: str) -> None:
    """Check the remote end of a connect. A Bluetooth address is RFCOMM's, with its own kind of service names."""
    if isinstance(host, HostName) and host.type == HostNameType.BLUETOOTH:
        if not check_str(service, f"{member}: remote service"):
            raise errors.invalid_argument(f"{member}: a remote service is needed, not an empty text")
    else:
        check_target(host, service, member)


def refuse_bluetooth(host: HostName | None, member: str) -> None:
    """Refuse a Bluetooth address: E_NOTIMPL until RFCOMM is built."""
    if host is not None and host.type == HostNameType.BLUETOOTH:
        raise errors.not_implemented(f"{member} with a Bluetooth address", "RFCOMM")


async def local_port(service: str, protocol: Protocols = "tcp") -> int:
    """The port of a local service: "" and "0" let the system pick. WSATYPE_NOT_FOUND for an unknown name."""
    name = parse_service_name(service or "0", "local service")
    if name.port is not None:
        return name.port
    port = await default_resolver().service_port(name.text, protocol)
    if port is None:
        raise errors.make(errors.WSATYPE_NOT_FOUND, f"local service {service!r} is not in the services file")
    return port


async def local_sockaddr(host: HostName, service: str, family: int, protocol: Protocols = "tcp") -> tuple[Any, ...]:
    """The socket address of a local end for `family`; ERROR_NO_DATA where the host has none of it."""
    port = await local_port(service, protocol)
    for address in await default_resolver().addresses(host, family):
        if address.family == family:
            return address.sockaddr(port)
    raise errors.make(errors.ERROR_NO_DATA, f"local host {host} has no address of the remote host's family")


class Opener:
    """One connect: where to, from where, and with which options."""

    def __init__(
        self,
        settings: Settings,
        host: HostName,
        service: str,
        local: tuple[HostName | None, str],
        adapter: NetworkAdapter | None,
    ) -> None:
        self._settings = settings
        self._host = host
        self._service = service
        self._local_host, self._local_service = local
        self._adapter = adapter

    async def open(self, *, attempt_timeout: float | None = ATTEMPT_TIMEOUT) -> tuple[socket.socket, Any]:
        """Resolve, race and return a connected socket with its options set, and the socket address it reached.

        The address is the one that was asked for: the kernel forgets it when the peer resets at once, which is for the
        first read or write to tell.
        """
        return await self.race(await self.candidates(), attempt_timeout=attempt_timeout)

    async def candidates(self) -> Sequence[Candidate]:
        """The addresses to try, best first."""
        interface = None if self._adapter is None else self._adapter.interface_name
        candidates: Sequence[Candidate] = await endpoint_candidates(self._host, self._service, interface_name=interface)
        return candidates if self._local_host is None else self._of_local_family(candidates)

    @property
    def what(self) -> str:
        """What is being done, as errors begin with it."""
        return f"connecting to {endpoint_text(self._host.display_name, self._service)}"

    async def race(
        self, candidates: Sequence[Candidate], *, attempt_timeout: float | None = ATTEMPT_TIMEOUT
    ) -> tuple[socket.socket, Any]:
        """The second half of `open`."""
        return await race(
            candidates,
            self._attempt,
            discard=lambda made: made[0].close(),
            what=self.what,
            stagger=STAGGER,
            attempt_timeout=attempt_timeout,
            serialize=self._settings.serialize_connection_attempts,
        )

    def _of_local_family(self, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        assert self._local_host is not None
        kind = self._local_host.type
        families = {HostNameType.IPV4: socket.AF_INET, HostNameType.IPV6: socket.AF_INET6}
        wanted = families.get(kind)
        if wanted is None:
            return candidates
        fitting = [candidate for candidate in candidates if candidate.family == wanted]
        if not fitting:
            reason = f"host {self._host} has no address of the family of local host {self._local_host}"
            raise errors.make(errors.ERROR_NO_DATA, reason)
        return fitting

    async def _attempt(self, candidate: Candidate) -> tuple[socket.socket, Any]:
        local: tuple[Any, ...] | None = None
        if self._local_host is not None:
            local = await local_sockaddr(self._local_host, self._local_service, candidate.family)
        elif self._local_service not in {"", "0"}:
            port = await local_port(self._local_service)
            local = ("::", port, 0, 0) if candidate.family == socket.AF_INET6 else ("0.0.0.0", port)
        plain_socket = await connect_socket(
            candidate, local=local, prepare=lambda plain_socket: self._prepare(plain_socket, candidate)
        )
        return plain_socket, candidate.sockaddr

    def _prepare(self, plain_socket: socket.socket, candidate: Candidate) -> None:
        self._settings.apply(plain_socket)
        if self._adapter is None or bind_to_adapter(plain_socket, self._adapter) or candidate.source is None:
            return
        # An address is the next best thing: a weak host may still send through another interface.
        plain_socket.bind(sockaddr_of(candidate.source, 0, candidate.family))


def bind_to_adapter(plain_socket: socket.socket, adapter: NetworkAdapter) -> bool:
    """Send and receive through one interface only (SO_BINDTODEVICE, socket(7)); False where that is not permitted.

    Before Linux 5.7 it needs CAP_NET_RAW.
    """
    name = adapter.interface_name
    try:
        plain_socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode() + b"\0")
    except PermissionError:
        return False
    except OSError as error:
        raise errors.from_os_error(error, f"binding to adapter {name} failed: {error.strerror}") from error
    return True


def sockaddr_of(address: str, port: int, family: int) -> tuple[Any, ...]:
    """The socket address of a numeric address, with its `%scope` where it has one."""
    if family != socket.AF_INET6:
        return (address, port)
    text, _, scope = address.partition("%")
    scope_id = int(scope) if scope.isdecimal() else socket.if_nametoindex(scope) if scope else 0
    return (text, port, 0, scope_id)
