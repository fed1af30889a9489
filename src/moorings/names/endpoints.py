"""From a host and a service to the addresses to try, best first."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.projection import check_enum, check_object
from moorings.foundation.vectors import VectorView
from moorings.names.address_order import interleave
from moorings.names.endpoint_pair import EndpointPair
from moorings.names.enums import HostNameSortOptions, HostNameType
from moorings.names.host_name import HostName, host_text
from moorings.names.resolver import default_resolver, host_text_of, is_localhost
from moorings.names.service_names import order_srv_records, parse_service_name, srv_query, usable_srv_records
from moorings.names.source_address import source_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moorings.names.resolver import ResolvedAddress, Resolver
    from moorings.names.service_names import Protocols, ServiceName

#: Addresses that one call gives at most, over all SRV targets.
CANDIDATE_LIMIT = 64

#: Texts of the addresses that stand for every address of this machine.
ANYWHERE = frozenset(("0.0.0.0", "::"))

_FAMILY_TEXTS: dict[int, str] = {socket.AF_INET: "IPv4 address", socket.AF_INET6: "IPv6 address"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One address and port to try."""

    #: AF_INET or AF_INET6.
    family: int
    #: The address as the socket module takes it.
    sockaddr: tuple[Any, ...]
    #: The numeric address for people, with its scope.
    address: str
    port: int
    #: Local address that the system would use (with its scope), where it was asked for and there is a way.
    source: str | None = None

    def __str__(self) -> str:
        return endpoint_text(self.address, self.port)


def endpoint_text(address: str, port: int | str) -> str:
    """An endpoint as error messages show it: `192.0.2.1:80`, `[2001:db8::1]:80`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def check_target(host: HostName, service: str, what: str) -> ServiceName:
    """Check the arguments of a connect or look-up before anything starts; `what` names the member.

    Raises TypeError for wrong types and E_INVALIDARG (0x80070057) for None, "", a port out of range, a text that is no
    service name, and a Bluetooth address.
    """
    host_text_of(check_object(host, HostName, f"{what}: remote host"))
    return parse_service_name(service, f"{what}: remote service")


async def endpoint_candidates(
    host: HostName,
    service: str,
    *,
    protocol: Protocols = "tcp",
    sort_options: HostNameSortOptions = HostNameSortOptions.NONE,
    family: int = socket.AF_UNSPEC,
    interface_name: str | None = None,
    with_source: bool = False,
    resolver: Resolver | None = None,
) -> list[Candidate]:
    """The addresses and ports at which a service of a host is to be tried, best first; never empty.

    The order is RFC 6724's; without OPTIMIZE_FOR_LONG_CONNECTIONS the families alternate (RFC 8305 section 4). Targets
    of SRV records come one after the other (RFC 2782). `family` leaves others out. With `interface_name` only
    addresses count that are reached through that interface. `with_source` fills `Candidate.source`; so does
    `interface_name`.

    Raises the errors of `check_target`; WSATYPE_NOT_FOUND (0x8007277D) for an unknown service; the resolver's errors
    for the name; ERROR_NO_DATA (0x800700E8) where nothing is left. Cancelling: *nothing happened*, *retry safe*.
    """
    name = check_target(host, service, "endpoint_candidates")
    resolver = default_resolver() if resolver is None else resolver
    targets = await _targets(host, name, protocol, resolver)
    found: dict[tuple[Any, ...], Candidate] = {}
    for port, addresses in await _resolve_all(targets, family, resolver):
        ordered = addresses
        if not sort_options & HostNameSortOptions.OPTIMIZE_FOR_LONG_CONNECTIONS:
            ordered = interleave(addresses, lambda address: address.family)
        for address in ordered:
            sockaddr = address.sockaddr(port)
            found.setdefault(sockaddr, Candidate(address.family, sockaddr, address.text, port))
    candidates = list(found.values())[:CANDIDATE_LIMIT]
    if with_source or interface_name is not None:
        candidates = _with_sources(candidates, interface_name)
    if not candidates:
        where = f" reached through interface {interface_name}" if interface_name is not None else ""
        kind = _FAMILY_TEXTS.get(family, "address")
        raise errors.make(errors.ERROR_NO_DATA, f"host {host}: no {kind}{where} was found")
    return candidates


async def get_endpoint_pairs(
    host: HostName,
    service: str,
    sort_options: HostNameSortOptions = HostNameSortOptions.NONE,
    *,
    protocol: Protocols = "tcp",
    resolver: Resolver | None = None,
) -> VectorView[EndpointPair]:
    """One pair for each address of a host, best first, with the local address that the system would use.

    The local service is ""; the local host is None where there is no way to the address. Errors and cancelling as
    `endpoint_candidates`. Source: WinRT StreamSocket.GetEndpointPairsAsync.
    """
    sort_options = HostNameSortOptions(check_enum(sort_options, HostNameSortOptions, "sort_options"))
    candidates = await endpoint_candidates(
        host, service, protocol=protocol, sort_options=sort_options, with_source=True, resolver=resolver
    )
    return VectorView(
        [
            EndpointPair(
                None if candidate.source is None else HostName(candidate.source),
                "",
                HostName(candidate.address),
                str(candidate.port),
            )
            for candidate in candidates
        ]
    )


async def _targets(
    host: HostName, name: ServiceName, protocol: Protocols, resolver: Resolver
) -> list[tuple[HostName, int]]:
    """The hosts and ports that a service means: its own host, or those that SRV records name."""
    port = name.port if name.port is not None else await resolver.service_port(name.text, protocol)
    if port is not None:
        return [(host, port)]
    text = host_text(host)
    if text.type != HostNameType.DOMAIN_NAME or is_localhost(text):
        raise errors.make(
            errors.WSATYPE_NOT_FOUND,
            f"service {name.text!r} is unknown: it is not in the services file, and {text.canonical} has no SRV "
            "records; give a port number",
        )
    query = srv_query(name.text, protocol, text.lookup)
    # As for addresses, the search domains are for short names that are not absolute.
    records = await resolver.srv_records(query, search="." not in text.lookup)
    targets: list[tuple[HostName, int]] = []
    for record in order_srv_records(usable_srv_records(records, query)):
        try:
            target = HostName(record.target + ".")
        except OSError:
            continue  # what the record names is no host name: an address, or rubbish
        targets.append((target, record.port))
    if not targets:
        raise errors.make(errors.WSANO_RECOVERY, f"SRV record {query!r}: no target is a valid host name")
    return targets


async def _resolve_all(
    targets: Sequence[tuple[HostName, int]], family: int, resolver: Resolver
) -> list[tuple[int, Sequence[ResolvedAddress]]]:
    """Resolve all targets at the same time. One that fails is left out while another succeeds."""
    if len(targets) == 1:
        host, port = targets[0]
        return [(port, await resolver.addresses(host, family))]
    failures: list[OSError] = []

    async def resolve(host: HostName) -> Sequence[ResolvedAddress]:
        try:
            return await resolver.addresses(host, family)
        except OSError as error:
            failures.append(error)
            return []

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(resolve(host)) for host, _ in targets]
    if len(failures) == len(targets):
        raise failures[0]
    return [(port, task.result()) for (_, port), task in zip(targets, tasks, strict=True)]


def _with_sources(candidates: list[Candidate], interface_name: str | None) -> list[Candidate]:
    filled = [
        replace(candidate, source=source_address(candidate.family, candidate.sockaddr, interface_name))
        for candidate in candidates
    ]
    return filled if interface_name is None else [candidate for candidate in filled if candidate.source is not None]
