"""A DNS server on the loopback interface that answers from a table."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

SILENT = "silent"
GARBAGE = "garbage"
SERVFAIL = "servfail"


class NameServer(asyncio.DatagramProtocol):
    """`table` maps a lower-case name with trailing dot to SRV texts such as "10 5 80 host.example."."""

    def __init__(self, table: Mapping[str, Sequence[str] | str]) -> None:
        self.table = table
        self.questions: list[str] = []
        self.asked = asyncio.Event()
        self.port = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, sender: tuple[Any, ...]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text().lower()
        self.questions.append(name)
        self.asked.set()
        rows = self.table.get(name)
        if rows == SILENT:
            return
        if rows == GARBAGE:
            self.transport.sendto(data[:2] + b"\xff" * 40, sender)
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if rows is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif rows == SERVFAIL:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif rows and question.rdtype == dns.rdatatype.SRV:
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", "SRV", *rows))
        self.transport.sendto(response.to_wire(), sender)


@asynccontextmanager
async def name_server(table: Mapping[str, Sequence[str] | str]) -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(table), local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
        await asyncio.sleep(0)
