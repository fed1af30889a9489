"""A resolver that answers from tables."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moorings import errors
from moorings.names.enums import HostNameType
from moorings.names.host_name import host_text
from moorings.names.resolver import ResolvedAddress, address_of_literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moorings.names.host_name import HostName
    from moorings.names.service_names import Protocols, SrvRecord


@dataclass
class FakeResolver:
    hosts: dict[str, list[str]] = field(default_factory=dict)
    services: dict[tuple[str, str], int] = field(default_factory=dict)
    records: dict[str, list[SrvRecord]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def addresses(self, host: HostName, family: int = socket.AF_UNSPEC) -> Sequence[ResolvedAddress]:
        text = host_text(host)
        self.asked.append(text.lookup)
        await asyncio.sleep(0)
        if text.type != HostNameType.DOMAIN_NAME:
            found = [address_of_literal(text)]
        elif text.lookup not in self.hosts:
            raise errors.make(errors.WSAHOST_NOT_FOUND, f"no {text.lookup}")
        else:
            found = [
                ResolvedAddress(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
                for address in self.hosts[text.lookup]
            ]
        return [address for address in found if family in (socket.AF_UNSPEC, address.family)]

    async def service_port(self, name: str, protocol: Protocols) -> int | None:
        self.asked.append(f"{name}/{protocol}")
        await asyncio.sleep(0)
        return self.services.get((name, protocol))

    async def srv_records(self, query: str, *, search: bool) -> Sequence[SrvRecord]:
        self.asked.append(f"SRV {query}{' with search' if search else ''}")
        await asyncio.sleep(0)
        return self.records.get(query, [])
