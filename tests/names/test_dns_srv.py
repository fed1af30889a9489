"""SRV look-ups against a name server on the loopback interface."""

from __future__ import annotations

import asyncio
import sys

import pytest
from tests.names.name_server import GARBAGE, SERVFAIL, SILENT, NameServer, name_server

from moorings import errors
from moorings.names.dns_srv import lookup_srv
from moorings.names.resolver import SystemResolver
from moorings.names.service_names import SrvRecord

QUERY = "_xmpp-client._tcp.example.com"


async def ask(server: NameServer, query: str = QUERY, deadline: float = 20.0) -> list[SrvRecord]:
    return await lookup_srv(query, search=False, deadline=deadline, name_servers=["127.0.0.1"], port=server.port)


async def failure(server: NameServer, query: str = QUERY, deadline: float = 20.0) -> OSError:
    with pytest.raises(OSError) as caught:
        await ask(server, query, deadline)
    assert query[:40] in caught.value.reason
    return caught.value


async def test_records() -> None:
    rows = ["10 60 5222 big.example.com.", "20 0 5223 Backup.Example.com.", "30 0 0 ."]
    async with name_server({f"{QUERY}.": rows}) as server:
        found = await ask(server)
    assert sorted(found) == [
        SrvRecord(10, 60, 5222, "big.example.com"),
        SrvRecord(20, 0, 5223, "Backup.Example.com"),
        SrvRecord(30, 0, 0, ""),
    ]


async def test_no_such_name_and_no_such_record() -> None:
    async with name_server({f"{QUERY}.": []}) as server:
        assert await ask(server) == []
        assert await ask(server, "_other._tcp.example.com") == []
    assert server.questions[0] == f"{QUERY}."


async def test_a_silent_server() -> None:
    async with name_server({f"{QUERY}.": SILENT}) as server:
        error = await failure(server, deadline=0.05)
    assert error.winerror == errors.WSATRY_AGAIN


async def test_a_server_that_fails() -> None:
    async with name_server({f"{QUERY}.": SERVFAIL}) as server:
        assert (await failure(server, deadline=0.2)).winerror == errors.WSATRY_AGAIN


async def test_garbage() -> None:
    async with name_server({f"{QUERY}.": GARBAGE}) as server:
        assert (await failure(server, deadline=0.2)).winerror in (errors.WSATRY_AGAIN, errors.WSANO_RECOVERY)


async def test_a_name_that_dns_cannot_carry() -> None:
    async with name_server({}) as server:
        error = await failure(server, "_" + "x" * 64 + "._tcp.example.com")
    assert error.winerror == errors.WSANO_RECOVERY


async def test_cancelling_leaves_nothing_behind() -> None:
    async with name_server({f"{QUERY}.": SILENT}) as server:
        task = asyncio.create_task(ask(server))
        await asyncio.wait_for(server.asked.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_through_the_system_resolver() -> None:
    async with name_server({f"{QUERY}.": ["0 0 5222 a.example."]}) as server:
        resolver = SystemResolver(name_servers=["127.0.0.1"], name_server_port=server.port)
        for _ in range(2):
            assert await resolver.srv_records(QUERY, search=False) == [SrvRecord(0, 0, 5222, "a.example")]


async def test_without_dnspython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "moorings.names.dns_srv")
    monkeypatch.setitem(sys.modules, "dns.asyncresolver", None)
    with pytest.raises(OSError) as caught:
        await SystemResolver().srv_records(QUERY, search=False)
    assert caught.value.winerror == errors.ERROR_NOT_SUPPORTED
    assert "pip install dnspython" in caught.value.reason
