"""From host and service to candidates and endpoint pairs."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.names.fake_resolver import FakeResolver

from moorings import errors
from moorings.names import endpoints
from moorings.names.endpoints import (
    CANDIDATE_LIMIT,
    Candidate,
    check_target,
    endpoint_candidates,
    endpoint_text,
    get_endpoint_pairs,
)
from moorings.names.enums import HostNameSortOptions
from moorings.names.host_name import HostName
from moorings.names.service_names import SrvRecord

HOST = HostName("example.com")
LONG = HostNameSortOptions.OPTIMIZE_FOR_LONG_CONNECTIONS
MIXED = ["2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2"]


def texts(candidates: list[Candidate]) -> list[str]:
    return [str(candidate) for candidate in candidates]


async def failure(code: int, host: HostName, service: str, resolver: FakeResolver, **options: object) -> OSError:
    with pytest.raises(OSError) as caught:
        await endpoint_candidates(host, service, resolver=resolver, **options)  # type: ignore[arg-type]
    assert caught.value.winerror == code
    return caught.value


async def test_a_number_needs_only_the_addresses() -> None:
    resolver = FakeResolver({"example.com": ["192.0.2.1"]})
    found = await endpoint_candidates(HOST, "80", resolver=resolver)
    assert found == [Candidate(int(socket.AF_INET), ("192.0.2.1", 80), "192.0.2.1", 80, None)]
    assert resolver.asked == ["example.com"]


async def test_families_take_turns_unless_long_connections_are_wanted() -> None:
    resolver = FakeResolver({"example.com": MIXED})
    assert texts(await endpoint_candidates(HOST, "80", resolver=resolver)) == [
        "[2001:db8::1]:80",
        "192.0.2.1:80",
        "[2001:db8::2]:80",
        "192.0.2.2:80",
    ]
    found = await endpoint_candidates(HOST, "80", sort_options=LONG, resolver=resolver)
    assert [candidate.address for candidate in found] == MIXED


async def test_one_family() -> None:
    resolver = FakeResolver({"example.com": MIXED})
    found = await endpoint_candidates(HOST, "80", family=socket.AF_INET6, resolver=resolver)
    assert [candidate.family for candidate in found] == [socket.AF_INET6] * 2
    error = await failure(errors.ERROR_NO_DATA, HostName("192.0.2.1"), "80", FakeResolver(), family=socket.AF_INET6)
    assert error.reason == "host 192.0.2.1: no IPv6 address was found"
    assert error.status == errors.SocketErrorStatus.NO_ADDRESSES_FOUND


async def test_the_services_file_comes_before_dns() -> None:
    resolver = FakeResolver({"example.com": ["192.0.2.1"]}, {("http", "tcp"): 80, ("http", "udp"): 81})
    assert texts(await endpoint_candidates(HOST, "http", resolver=resolver)) == ["192.0.2.1:80"]
    assert texts(await endpoint_candidates(HOST, "http", protocol="udp", resolver=resolver)) == ["192.0.2.1:81"]
    assert resolver.asked == ["http/tcp", "example.com", "http/udp", "example.com"]


async def test_srv_records_give_target_and_port() -> None:
    resolver = FakeResolver(
        {"b.example.": ["192.0.2.2"], "a.example.": ["2001:db8::1", "192.0.2.1"], "c.example.": ["192.0.2.2"]},
        records={
            "_xmpp-client._service01._tcp.example.com": [
                SrvRecord(20, 0, 5223, "b.example"),
                SrvRecord(10, 0, 5222, "a.example"),
                SrvRecord(30, 0, 5223, "c.example"),
            ]
        },
    )
    found = await endpoint_candidates(HOST, "xmpp-client._service01", resolver=resolver)
    assert texts(found) == ["[2001:db8::1]:5222", "192.0.2.1:5222", "192.0.2.2:5223"]


async def test_search_domains_are_for_short_names() -> None:
    resolver = FakeResolver()
    await failure(errors.WSATYPE_NOT_FOUND, HostName("db"), "sql-x", resolver)
    await failure(errors.WSATYPE_NOT_FOUND, HostName("db."), "sql-x", resolver)
    await failure(errors.WSATYPE_NOT_FOUND, HOST, "sql-x", resolver)
    assert [question for question in resolver.asked if question.startswith("SRV")] == [
        "SRV _sql-x._tcp.db with search",
        "SRV _sql-x._tcp.db.",
        "SRV _sql-x._tcp.example.com",
    ]


async def test_one_srv_target_may_fail() -> None:
    records = {"_x._tcp.example.com": [SrvRecord(0, 0, 1, "gone.example"), SrvRecord(1, 0, 2, "b.example")]}
    resolver = FakeResolver({"b.example.": ["192.0.2.2"]}, records=records)
    assert texts(await endpoint_candidates(HOST, "x", resolver=resolver)) == ["192.0.2.2:2"]
    error = await failure(errors.WSAHOST_NOT_FOUND, HOST, "x", FakeResolver(records=records))
    assert error.reason == "no gone.example."


async def test_srv_targets_that_are_no_names() -> None:
    records = {"_x._tcp.example.com": [SrvRecord(0, 0, 1, "127.0.0.1"), SrvRecord(0, 0, 1, "a b.example")]}
    resolver = FakeResolver(records=records)
    await failure(errors.WSANO_RECOVERY, HOST, "x", resolver)
    assert not any("127" in question for question in resolver.asked)


async def test_a_service_that_a_domain_does_not_offer() -> None:
    resolver = FakeResolver(records={"_x._tcp.example.com": [SrvRecord(0, 0, 0, "")]})
    await failure(errors.WSANO_DATA, HOST, "x", resolver)


@pytest.mark.parametrize("host", ["192.0.2.1", "::1", "localhost", "a.localhost"])
async def test_addresses_have_no_srv_records(host: str) -> None:
    resolver = FakeResolver()
    error = await failure(errors.WSATYPE_NOT_FOUND, HostName(host), "nosuch", resolver)
    assert "'nosuch'" in error.reason
    assert resolver.asked == ["nosuch/tcp"]


async def test_a_flood_is_cut() -> None:
    resolver = FakeResolver({"example.com": [f"10.0.0.{number}" for number in range(200)]})
    assert len(await endpoint_candidates(HOST, "80", resolver=resolver)) == CANDIDATE_LIMIT


@pytest.mark.parametrize(
    ("host", "service", "error"),
    [
        (None, "80", errors.E_INVALIDARG),
        (HOST, "", errors.E_INVALIDARG),
        (HOST, "65536", errors.E_INVALIDARG),
        (HostName("(AA:BB:CC:DD:EE:FF)"), "1", errors.E_INVALIDARG),
        ("example.com", "80", TypeError),
        (HOST, None, TypeError),
        (HOST, 80, TypeError),
    ],
)
async def test_arguments(host: object, service: object, error: int | type[Exception]) -> None:
    expected = error if isinstance(error, type) else OSError
    with pytest.raises(expected) as caught:
        check_target(host, service, "StreamSocket.connect_async")  # type: ignore[arg-type]
    if expected is OSError:
        assert caught.value.winerror == error  # type: ignore[attr-defined]
    with pytest.raises(expected):
        await endpoint_candidates(host, service, resolver=FakeResolver())  # type: ignore[arg-type]


async def test_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def source(family: int, sockaddr: tuple[object, ...], interface_name: str | None) -> str | None:
        asked.append((sockaddr, interface_name))
        return "192.0.2.100" if family == socket.AF_INET else None

    monkeypatch.setattr(endpoints, "source_address", source)
    resolver = FakeResolver({"example.com": ["2001:db8::1", "192.0.2.1"]})
    found = await endpoint_candidates(HOST, "80", with_source=True, resolver=resolver)
    assert [candidate.source for candidate in found] == [None, "192.0.2.100"]
    found = await endpoint_candidates(HOST, "80", interface_name="eth7", resolver=resolver)
    assert texts(found) == ["192.0.2.1:80"]
    assert asked[-1] == (("192.0.2.1", 80), "eth7")
    only_six = FakeResolver({"example.com": ["2001:db8::1"]})
    error = await failure(errors.ERROR_NO_DATA, HOST, "80", only_six, interface_name="eth7")
    assert "interface eth7" in error.reason


async def test_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "source_address", lambda family, *_: "192.0.2.9" if family == 2 else None)
    resolver = FakeResolver({"example.com": ["2001:db8::1", "192.0.2.1", "192.0.2.2"]}, {("http", "tcp"): 80})
    pairs = await get_endpoint_pairs(HOST, "http", LONG, resolver=resolver)
    assert [
        (
            None if pair.local_host_name is None else str(pair.local_host_name),
            pair.local_service_name,
            str(pair.remote_host_name),
            pair.remote_service_name,
        )
        for pair in pairs
    ] == [
        (None, "", "2001:db8::1", "80"),
        ("192.0.2.9", "", "192.0.2.1", "80"),
        ("192.0.2.9", "", "192.0.2.2", "80"),
    ]


async def test_pairs_of_this_machine() -> None:
    pairs = await get_endpoint_pairs(HostName("127.0.0.1"), "80", protocol="udp")
    assert [(str(pair.local_host_name), str(pair.remote_host_name)) for pair in pairs] == [("127.0.0.1", "127.0.0.1")]


async def test_cancelling() -> None:
    both_asked = asyncio.Event()

    class Hanging(FakeResolver):
        async def addresses(self, host: HostName, family: int = 0) -> list[object]:  # type: ignore[override]
            self.asked.append(str(host))
            if self.asked[-2:] == ["a.example", "b.example"]:
                both_asked.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError

    records = {"_x._tcp.example.com": [SrvRecord(0, 0, 1, "a.example"), SrvRecord(1, 0, 2, "b.example")]}
    resolver = Hanging(records=records)
    task = asyncio.create_task(endpoint_candidates(HOST, "x", resolver=resolver))
    await asyncio.wait_for(both_asked.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_endpoint_text() -> None:
    assert endpoint_text("192.0.2.1", 80) == "192.0.2.1:80"
    assert endpoint_text("fe80::1%eth0", "http") == "[fe80::1%eth0]:http"
