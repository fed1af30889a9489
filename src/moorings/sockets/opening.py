"""Making a connection: from the arguments of a connect to a connected socket."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.projection import check_enum
from moorings.names.connecting import connect_socket
from moorings.names.endpoints import Candidate, endpoint_candidates, endpoint_text
from moorings.names.enums import HostNameType
from moorings.names.racing import ATTEMPT_TIMEOUT, STAGGER, race
from moorings.names.resolver import default_resolver
from moorings.names.service_names import parse_service_name
from moorings.sockets.enums import SocketProtectionLevel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moorings.names.host_name import HostName
    from moorings.sockets.connection import Settings

_BLUETOOTH_LEVELS = (
    SocketProtectionLevel.BLUETOOTH_ENCRYPTION_ALLOW_NULL_AUTHENTICATION,
    SocketProtectionLevel.BLUETOOTH_ENCRYPTION_WITH_AUTHENTICATION,
)


def check_protection_level(value: Any, member: str) -> SocketProtectionLevel:
    """The level of a TCP connect, or the error that it gets.

    Errors: E_INVALIDARG for UNSPECIFIED, Bluetooth and unknown levels; ERROR_NOT_SUPPORTED for SSL 3; E_NOTIMPL for
    TLS until it is built.
    """
    level = check_enum(value, SocketProtectionLevel, "protection_level")
    if level == SocketProtectionLevel.PLAIN_SOCKET:
        return level
    if level in _BLUETOOTH_LEVELS:
        raise errors.invalid_argument(f"{member}: {level.name} is for Bluetooth, not for TCP")
    if level == SocketProtectionLevel.UNSPECIFIED or level not in tuple(SocketProtectionLevel):
        raise errors.invalid_argument(f"{member}: protection level {int(level)} cannot be asked for")
    if level == SocketProtectionLevel.SSL3_ALLOW_WEAK_ENCRYPTION:
        raise errors.not_supported(f"{member} with SSL 3", "a TLS library that still has SSL 3; ask for TLS12 or TLS13")
    raise errors.not_implemented(f"{member} with protection level {level.name}", "TLS")


def refuse_bluetooth(host: HostName | None, member: str) -> None:
    """A Bluetooth address is RFCOMM's."""
    if host is not None and host.type == HostNameType.BLUETOOTH:
        raise errors.not_implemented(f"{member} to a Bluetooth address", "RFCOMM")


async def local_sockaddr(host: HostName, service: str, family: int) -> tuple[Any, ...]:
    """The socket address of a local end for `family`; ERROR_NO_DATA where the host has none of it."""
    name = parse_service_name(service or "0", "local service")
    port = name.port
    if port is None:
        port = await default_resolver().service_port(service, "tcp")
        if port is None:
            raise errors.make(errors.WSATYPE_NOT_FOUND, f"local service {service!r} is not in the services file")
    for address in await default_resolver().addresses(host, family):
        if address.family == family:
            return address.sockaddr(port)
    raise errors.make(errors.ERROR_NO_DATA, f"local host {host} has no address of the remote host's family")


class Opener:
    """One connect: where to, from where, and with which options."""

    def __init__(
        self, settings: Settings, host: HostName, service: str, local: tuple[HostName | None, str], adapter: Any
    ) -> None:
        self._settings = settings
        self._host = host
        self._service = service
        self._local_host, self._local_service = local
        self._adapter = adapter

    async def open(self, *, attempt_timeout: float | None = ATTEMPT_TIMEOUT) -> socket.socket:
        """Resolve, race and return a connected socket with its options set."""
        interface = None if self._adapter is None else self._adapter.interface_name
        candidates: Sequence[Candidate] = await endpoint_candidates(self._host, self._service, interface_name=interface)
        if self._local_host is not None:
            candidates = self._of_local_family(candidates)
        return await race(
            candidates,
            self._attempt,
            discard=socket.socket.close,
            what=f"connecting to {endpoint_text(self._host.display_name, self._service)}",
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

    async def _attempt(self, candidate: Candidate) -> socket.socket:
        local: tuple[Any, ...] | None = None
        if self._local_host is not None:
            local = await local_sockaddr(self._local_host, self._local_service, candidate.family)
        elif self._local_service not in {"", "0"}:
            port = parse_service_name(self._local_service, "local service").port or 0
            local = ("::", port, 0, 0) if candidate.family == socket.AF_INET6 else ("0.0.0.0", port)
        return await connect_socket(candidate, local=local, prepare=self._prepare)

    def _prepare(self, plain_socket: socket.socket) -> None:
        self._settings.apply(plain_socket)
        if self._adapter is not None:
            bind_to_adapter(plain_socket, self._adapter)


def bind_to_adapter(plain_socket: socket.socket, adapter: Any) -> None:
    """Send and receive through one interface only (SO_BINDTODEVICE, socket(7))."""
    name: str = adapter.interface_name
    try:
        plain_socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode() + b"\0")
    except OSError as error:
        raise errors.from_os_error(error, f"binding to adapter {name} failed") from error
