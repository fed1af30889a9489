"""SRV look-ups in DNS, with the package dnspython. Imported when the first one is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.asyncresolver
import dns.exception
import dns.rdtypes.IN.SRV
import dns.resolver

from moorings import errors
from moorings.names.host_text import shown
from moorings.names.service_names import SrvRecord

if TYPE_CHECKING:
    from collections.abc import Sequence


async def lookup_srv(
    query: str, *, search: bool, deadline: float, name_servers: Sequence[str] | None = None, port: int = 53
) -> list[SrvRecord]:
    """Ask DNS for SRV records within `deadline` seconds. Empty where the name or the record type does not exist.

    `search` tries the domains of resolv.conf too. `name_servers` (numeric addresses) and their `port` take the place
    of those in resolv.conf. Raises WSATRY_AGAIN where no server answered, WSANO_RECOVERY where an answer was of no use.
    Cancelling: *nothing happened*.
    """
    what = f"SRV record {shown(query)}"
    try:
        resolver = dns.asyncresolver.Resolver(configure=name_servers is None)
        if name_servers is not None:
            resolver.nameservers = list(name_servers)
            resolver.port = port
        answer = await resolver.resolve(query, "SRV", lifetime=deadline, search=search)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except (dns.exception.Timeout, dns.resolver.NoNameservers) as error:
        reason = f"{what}: no usable answer of a name server within {deadline:g} s; check the network and try again"
        raise errors.make(errors.WSATRY_AGAIN, reason, cause=error) from error
    except dns.exception.DNSException as error:
        raise errors.make(errors.WSANO_RECOVERY, f"{what}: {error}", cause=error) from error
    except OSError as error:
        raise errors.from_os_error(error, f"{what}: {error.strerror or error}") from error
    return [
        SrvRecord(record.priority, record.weight, record.port, record.target.to_text(omit_final_dot=True).rstrip("."))
        for record in answer
        if isinstance(record, dns.rdtypes.IN.SRV.SRV)
    ]
