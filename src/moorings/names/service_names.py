"""Service names: port numbers, the services file, and DNS SRV records (RFC 2782).

A service is a text. It is tried as a number, then in the services file, then as a DNS SRV query that is built of the
service, the protocol and the host: `xmpp-client` at `example.com` becomes `_xmpp-client._tcp.example.com`. Source:
WinRT StreamSocket.ConnectAsync.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from moorings import errors
from moorings.foundation.projection import check_str
from moorings.names.host_text import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Protocols = Literal["tcp", "udp"]

#: SRV records of one service that are used; a hostile server can send hundreds.
SRV_LIMIT = 32

_MAX_PORT = 65535
_MAX_SERVICE_LENGTH = 200
_PORT = re.compile(r"[0-9]{1,5}")
# What the services file and DNS labels have in common. It starts like a name, so that "-1" and "+80" are none.
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_][A-Za-z0-9_+-]{0,61}(?:\.[A-Za-z0-9_][A-Za-z0-9_+-]{0,61})*")
_HEXADECIMAL = re.compile(r"0[xX][0-9A-Fa-f]*")


class ServiceName(NamedTuple):
    """A service text that was understood."""

    text: str
    #: The port, or None where the text is a name that has to be looked up.
    port: int | None


class SrvRecord(NamedTuple):
    """One SRV record. Source: RFC 2782."""

    priority: int
    weight: int
    port: int
    #: Name of the host without trailing dot; "" says that the service is decidedly not available.
    target: str


def parse_service_name(service: str, what: str = "service name") -> ServiceName:
    """Understand a service text: a decimal number from 0 to 65535, or a name, dotted or not.

    Raises TypeError where no str is given and E_INVALIDARG (0x80070057) for anything else, "" included. `what` begins
    the reason.
    """
    service = check_str(service, what)
    if not service:
        raise errors.invalid_argument(f"{what}: a port number or a service name is needed, not an empty text")
    if _PORT.fullmatch(service) and int(service) <= _MAX_PORT:
        return ServiceName(service, int(service))
    if len(service) <= _MAX_SERVICE_LENGTH and _NAME.fullmatch(service) and not _HEXADECIMAL.fullmatch(service):
        return ServiceName(service, None)
    if service.isascii() and service.isdigit():
        raise errors.invalid_argument(f"{what} {shown(service)}: no port, which is a number from 0 to {_MAX_PORT}")
    raise errors.invalid_argument(
        f"{what} {shown(service)}: neither a port number from 0 to {_MAX_PORT} nor a service name of ASCII letters, "
        "digits, '-', '_', '+' and '.'"
    )


def srv_query(service: str, protocol: Protocols, host: str) -> str:
    """The name whose SRV records tell where a service of a host runs.

    The first label gets its underscore where it has none; further labels are taken as they are:
    `xmpp-client._service01` becomes `_xmpp-client._service01._tcp.example.com`.
    """
    prefix = "" if service.startswith("_") else "_"
    return f"{prefix}{service}._{protocol}.{host}"


def order_srv_records(
    records: Iterable[SrvRecord], randint: Callable[[int, int], int] = random.randint
) -> list[SrvRecord]:
    """The order in which to try SRV records: lower priority first, by weighted chance within a priority.

    `randint(a, b)` gives a number from a to b, both included. Source: RFC 2782, "Weight".
    """
    by_priority: dict[int, list[SrvRecord]] = {}
    for record in records:
        by_priority.setdefault(record.priority, []).append(record)
    ordered: list[SrvRecord] = []
    for priority in sorted(by_priority):
        # Records without weight stand first, so that they have a very small chance at least.
        left = sorted(by_priority[priority], key=lambda record: record.weight > 0)
        while left:
            chosen = randint(0, sum(record.weight for record in left))
            for position, record in enumerate(left):
                chosen -= record.weight
                if chosen <= 0:
                    ordered.append(left.pop(position))
                    break
    return ordered


def usable_srv_records(records: Sequence[SrvRecord], query: str) -> list[SrvRecord]:
    """The records that name a host, at most SRV_LIMIT.

    Raises WSATYPE_NOT_FOUND (0x8007277D) where there are none at all, and WSANO_DATA (0x80072AFC) where the only
    target is ".", with which a domain says that it does not offer the service.
    """
    if not records:
        raise errors.make(
            errors.WSATYPE_NOT_FOUND,
            f"the service is unknown: it is not in the services file, and DNS has no SRV record {shown(query)}; give a "
            "port number",
        )
    usable = [record for record in records if record.target]
    if not usable:
        raise errors.make(errors.WSANO_DATA, f"SRV record {shown(query)} says that the service is not available there")
    return sorted(usable, key=lambda record: record.priority)[:SRV_LIMIT]
