"""Names to addresses, service names to ports: the resolver interface, and the one that asks the system.

Theory of operation
-------------------
Everything that looks a name up takes a `Resolver`, so that tests and other name services can stand in. The default,
`SystemResolver`, asks `getaddrinfo` on threads of its own (`lookup_threads`), because only the C library knows all of
the machine's sources: the hosts file, mDNS, directory services, DNS. Addresses need no look-up, and neither does
"localhost": it always means the loopback addresses of this machine (RFC 6761 section 6.3). The order of RFC 6724,
which getaddrinfo applies with the routes of the moment, is kept.
"""

from __future__ import annotations

import functools
import socket
from typing import TYPE_CHECKING, NamedTuple, Protocol

from moorings import errors
from moorings.names.enums import HostNameType
from moorings.names.host_name import host_text, scope_text
from moorings.names.host_text import shown
from moorings.names.lookup_threads import LookupsBusyError, LookupThreads, LookupTimeoutError
from moorings.names.source_address import source_address

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any

    from moorings.names.host_name import HostName
    from moorings.names.host_text import HostText
    from moorings.names.service_names import Protocols, SrvRecord

#: Seconds until a look-up that has no answer fails. The C library alone may take longer with several dead servers.
RESOLVE_DEADLINE = 30.0
#: Addresses of one name that are used; a hostile server can send hundreds.
ADDRESS_LIMIT = 64

_SOCKET_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_FAMILIES = {HostNameType.IPV4: socket.AF_INET, HostNameType.IPV6: socket.AF_INET6}


class ResolvedAddress(NamedTuple):
    """One address of a name."""

    #: AF_INET or AF_INET6.
    family: int
    #: Numeric text without scope.
    address: str
    #: Number of the interface that a link-local address belongs to, else 0.
    scope_id: int = 0

    def sockaddr(self, port: int) -> tuple[Any, ...]:
        """The address as the socket module takes it."""
        if self.family == socket.AF_INET6:
            return (self.address, port, 0, self.scope_id)
        return (self.address, port)

    @property
    def text(self) -> str:
        """Numeric text with its scope."""
        return f"{self.address}%{scope_text(self.scope_id)}" if self.scope_id else self.address


class Resolver(Protocol):
    """What the library needs to know about names."""

    async def addresses(self, host: HostName, family: int = socket.AF_UNSPEC) -> Sequence[ResolvedAddress]:
        """The addresses of `host`, best first, without duplicates; empty where none is of `family`.

        Raises OSError with a WinRT code: WSAHOST_NOT_FOUND, WSANO_DATA, WSATRY_AGAIN, ... Cancelling: *nothing
        happened*.
        """
        ...

    async def service_port(self, name: str, protocol: Protocols) -> int | None:
        """The port of a service by this machine's own table, or None where it is not there. Cancelling: *nothing
        happened*.
        """
        ...

    async def srv_records(self, query: str, *, search: bool) -> Sequence[SrvRecord]:
        """The SRV records of `query`, in any order; empty where there are none. With `search` the domains that
        resolv.conf names are tried too. Raises OSError where no answer came. Cancelling: *nothing happened*.
        """
        ...


def address_of_literal(text: HostText) -> ResolvedAddress:
    """The address that an IPv4 or IPv6 host name spells out. A scope that names no interface gives WSAENETDOWN."""
    family = _FAMILIES[text.type]
    address, percent, scope = text.canonical.partition("%")
    if not percent:
        return ResolvedAddress(family, address)
    if scope.isdecimal():
        return ResolvedAddress(family, address, int(scope))
    try:
        return ResolvedAddress(family, address, socket.if_nametoindex(scope))
    except OSError as error:
        raise errors.make(
            errors.WSAENETDOWN,
            f"host {text.canonical}: this machine has no network interface {scope!r}; 'ip link' lists those it has",
            cause=error,
        ) from error


def is_localhost(text: HostText) -> bool:
    """True for "localhost" and all names below it (RFC 6761 section 6.3)."""
    return text.canonical == "localhost" or text.canonical.endswith(".localhost")


def loopback_addresses() -> list[ResolvedAddress]:
    """The loopback addresses that this machine has; IPv6 may be switched off."""
    six = ResolvedAddress(socket.AF_INET6, "::1")
    four = ResolvedAddress(socket.AF_INET, "127.0.0.1")
    return [six, four] if source_address(six.family, six.sockaddr(0)) is not None else [four]


class SystemResolver:
    """Asks the C library for names and services, and DNS for SRV records. See `Resolver` for the methods."""

    def __init__(
        self,
        *,
        deadline: float = RESOLVE_DEADLINE,
        threads: LookupThreads | None = None,
        getaddrinfo: Callable[..., Sequence[tuple[Any, ...]]] = socket.getaddrinfo,
        name_servers: Sequence[str] | None = None,
        name_server_port: int = 53,
    ) -> None:
        """`deadline` is in seconds, for each look-up. `name_servers` are asked for SRV records instead of those that
        resolv.conf names. `getaddrinfo` stands in for the C library's.
        """
        self.deadline = deadline
        self.threads = LookupThreads() if threads is None else threads
        self._getaddrinfo = getaddrinfo
        self._name_servers = name_servers
        self._name_server_port = name_server_port
        self._lookup_srv: Callable[..., Awaitable[list[SrvRecord]]] | None = None

    async def addresses(self, host: HostName, family: int = socket.AF_UNSPEC) -> Sequence[ResolvedAddress]:
        """The addresses of `host`; see `Resolver`. The deadline gives WSATRY_AGAIN."""
        text = host_text_of(host)
        if text.type in _FAMILIES:
            found = [address_of_literal(text)]
        elif is_localhost(text):
            found = loopback_addresses()
        else:
            return await self._look_up_addresses(text, family)
        return [address for address in found if family in (socket.AF_UNSPEC, address.family)]

    async def _look_up_addresses(self, text: HostText, family: int) -> list[ResolvedAddress]:
        # Octets, not str: the socket module would put the name through its own IDNA codec, of 2003.
        octets = text.lookup.encode("ascii")
        rows = await self._run(
            ("addresses", text.lookup, family),
            lambda: self._getaddrinfo(octets, None, family, socket.SOCK_STREAM),
            f"name {shown(text.display)}",
        )
        return addresses_from_rows(rows)

    async def service_port(self, name: str, protocol: Protocols) -> int | None:
        """The port in the services file (or what nsswitch.conf names instead); see `Resolver`."""
        # getservbyname(3) answers in a static buffer that threads overwrite; getaddrinfo(3) uses its safe twin.
        try:
            rows = await self._run(
                ("service", name, protocol),
                lambda: self._getaddrinfo(None, name.encode("ascii"), socket.AF_INET, _SOCKET_TYPES[protocol]),
                f"service {shown(name)}",
            )
        except socket.gaierror as error:
            if error.errno in (socket.EAI_SERVICE, socket.EAI_NONAME):
                return None
            raise
        return int(rows[0][4][1]) if rows else None

    async def srv_records(self, query: str, *, search: bool) -> Sequence[SrvRecord]:
        """The SRV records that DNS has; see `Resolver`. ERROR_NOT_SUPPORTED where dnspython is not installed."""
        lookup_srv = await self._load_lookup_srv(query)
        return await lookup_srv(
            query,
            search=search,
            deadline=self.deadline,
            name_servers=self._name_servers,
            port=self._name_server_port,
        )

    async def _load_lookup_srv(self, query: str) -> Callable[..., Awaitable[list[SrvRecord]]]:
        # Importing dnspython takes a tenth of a second, too long for the event loop.
        if self._lookup_srv is None:
            try:
                self._lookup_srv = await self.threads.run(("dnspython",), _import_lookup_srv, self.deadline)
            except ImportError as error:
                raise errors.not_supported(
                    f"looking up the SRV record {shown(query)}", "the package dnspython (pip install dnspython)"
                ) from error
        return self._lookup_srv

    async def _run(
        self, key: tuple[object, ...], function: Callable[[], Sequence[tuple[Any, ...]]], what: str
    ) -> Sequence[tuple[Any, ...]]:
        try:
            return await self.threads.run(key, function, self.deadline)
        except LookupTimeoutError:
            raise errors.make(
                errors.WSATRY_AGAIN,
                f"{what}: the system's name service gave no answer within {self.deadline:g} s; check the servers in "
                "/etc/resolv.conf and try again",
            ) from None
        except LookupsBusyError as error:
            raise errors.make(errors.WSATRY_AGAIN, f"{what}: {error}; try again later") from error
        except OSError as error:
            raise errors.from_os_error(error, _lookup_reason(what, error)) from error


def _import_lookup_srv() -> Callable[..., Awaitable[list[SrvRecord]]]:
    from moorings.names.dns_srv import lookup_srv  # noqa: PLC0415 - optional, and slow to import

    return lookup_srv


def host_text_of(host: HostName) -> HostText:
    """What is to be looked up. A Bluetooth address has no IP address: E_INVALIDARG."""
    text = host_text(host)
    if text.type == HostNameType.BLUETOOTH:
        raise errors.invalid_argument(f"host {text.canonical}: a Bluetooth address has no IP address")
    return text


def addresses_from_rows(rows: Sequence[tuple[Any, ...]]) -> list[ResolvedAddress]:
    """The addresses in an answer of `socket.getaddrinfo`: order kept, duplicates and other families left out."""
    found: dict[ResolvedAddress, None] = {}
    for family, _, _, _, sockaddr in rows:
        if family in (socket.AF_INET, socket.AF_INET6):
            scope_id = sockaddr[3] if family == socket.AF_INET6 else 0
            found[ResolvedAddress(int(family), sockaddr[0].partition("%")[0], scope_id)] = None
        if len(found) == ADDRESS_LIMIT:
            break
    return list(found)


_NEXT_STEPS = {
    socket.EAI_NONAME: "no such name; check the spelling",
    socket.EAI_AGAIN: "the name server gave no answer; check the network and try again",
    socket.EAI_NODATA: "the name exists, but has no address of the family asked for",
    socket.EAI_ADDRFAMILY: "the name exists, but has no address of the family asked for",
    socket.EAI_FAIL: "the name server refused; check its log, or ask another one",
}


def _lookup_reason(what: str, error: OSError) -> str:
    if isinstance(error, socket.gaierror) and error.errno in _NEXT_STEPS:
        return f"{what}: {_NEXT_STEPS[error.errno]}"
    return f"{what}: the look-up failed: {error.strerror or error}"


@functools.cache
def default_resolver() -> SystemResolver:
    """The resolver that all event loops of this process share."""
    return SystemResolver()
