"""The system's resolver: what needs no look-up, what getaddrinfo answers, and its failures."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from moorings import errors
from moorings.names.host_name import HostName
from moorings.names.lookup_threads import LookupThreads
from moorings.names.resolver import (
    ADDRESS_LIMIT,
    ResolvedAddress,
    SystemResolver,
    addresses_from_rows,
    default_resolver,
    loopback_addresses,
)

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)


def row(address: str, *more: int, family: int | None = None) -> tuple[Any, ...]:
    found = family if family is not None else (V6 if ":" in address else V4)
    sockaddr: tuple[Any, ...] = (address, 0, 0, *(more or (0,))) if found == V6 else (address, 0)
    return (found, socket.SOCK_STREAM, 6, "", sockaddr)


class Answers:
    """Stands in for getaddrinfo: gives one answer, or raises it, and remembers the questions."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.questions: list[tuple[Any, ...]] = []

    def __call__(self, *question: Any) -> Any:
        self.questions.append(question)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


async def test_addresses_need_no_look_up() -> None:
    resolver = SystemResolver(getaddrinfo=pytest.fail)
    assert await resolver.addresses(HostName("192.0.2.1")) == [(V4, "192.0.2.1", 0)]
    assert await resolver.addresses(HostName("[2001:DB8::1]")) == [(V6, "2001:db8::1", 0)]
    assert await resolver.addresses(HostName("fe80::1%lo")) == [(V6, "fe80::1", socket.if_nametoindex("lo"))]
    assert await resolver.addresses(HostName("fe80::1%77")) == [(V6, "fe80::1", 77)]
    assert await resolver.addresses(HostName("192.0.2.1"), socket.AF_INET6) == []
    assert resolver.threads.counts["threads"] == 0


async def test_a_scope_without_interface() -> None:
    with pytest.raises(OSError) as caught:
        await SystemResolver().addresses(HostName("fe80::1%nosuch0"))
    assert caught.value.winerror == errors.WSAENETDOWN
    assert "'nosuch0'" in caught.value.reason


async def test_a_bluetooth_address_has_no_ip_address() -> None:
    with pytest.raises(OSError) as caught:
        await SystemResolver().addresses(HostName("(AA:BB:CC:DD:EE:FF)"))
    assert caught.value.winerror == errors.E_INVALIDARG


@pytest.mark.parametrize("name", ["localhost", "LocalHost.", "app.localhost"])
async def test_localhost_is_always_this_machine(name: str) -> None:
    resolver = SystemResolver(getaddrinfo=pytest.fail)
    assert await resolver.addresses(HostName(name)) == loopback_addresses()
    assert await resolver.addresses(HostName(name), V4) == [(V4, "127.0.0.1", 0)]


def test_loopback_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorings.names.resolver.source_address", lambda *_: None)
    assert loopback_addresses() == [(V4, "127.0.0.1", 0)]
    monkeypatch.setattr("moorings.names.resolver.source_address", lambda *_: "::1")
    assert loopback_addresses() == [(V6, "::1", 0), (V4, "127.0.0.1", 0)]


async def test_a_name_is_looked_up_once_with_its_trailing_dot() -> None:
    answers = Answers([row("2001:db8::1"), row("192.0.2.1"), row("2001:db8::1"), row("fe80::1", 3)])
    resolver = SystemResolver(getaddrinfo=answers)
    assert await resolver.addresses(HostName("bücher.example.")) == [
        (V6, "2001:db8::1", 0),
        (V4, "192.0.2.1", 0),
        (V6, "fe80::1", 3),
    ]
    assert answers.questions == [(b"xn--bcher-kva.example.", None, 0, socket.SOCK_STREAM)]


def test_rows() -> None:
    rows = [row("192.0.2.1"), row("/run/x", family=socket.AF_UNIX), row("192.0.2.1"), row("fe80::1%lo", 1)]
    assert addresses_from_rows(rows) == [(V4, "192.0.2.1", 0), (V6, "fe80::1", 1)]
    flood = [row(f"10.0.{number // 256}.{number % 256}") for number in range(1000)]
    assert len(addresses_from_rows(flood)) == ADDRESS_LIMIT


def test_socket_addresses() -> None:
    assert ResolvedAddress(V4, "192.0.2.1").sockaddr(80) == ("192.0.2.1", 80)
    assert ResolvedAddress(V6, "fe80::1", 1).sockaddr(80) == ("fe80::1", 80, 0, 1)
    assert ResolvedAddress(V6, "fe80::1", 1).text == "fe80::1%lo"
    assert ResolvedAddress(V6, "2001:db8::1").text == "2001:db8::1"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), errors.WSAHOST_NOT_FOUND),
        (socket.gaierror(socket.EAI_AGAIN, "x"), errors.WSATRY_AGAIN),
        (socket.gaierror(socket.EAI_NODATA, "x"), errors.WSANO_DATA),
        (socket.gaierror(socket.EAI_FAIL, "x"), errors.WSANO_RECOVERY),
        (socket.gaierror(-99, "odd"), errors.WSANO_RECOVERY),
        (OSError(24, "Too many open files"), errors.WSAEMFILE),
    ],
)
async def test_failures(failure: OSError, code: int) -> None:
    resolver = SystemResolver(getaddrinfo=Answers(failure))
    with pytest.raises(OSError) as caught:
        await resolver.addresses(HostName("bücher.example"))
    assert caught.value.winerror == code
    assert caught.value.errno == failure.errno
    assert caught.value.reason.startswith("name 'bücher.example': ")
    assert caught.value.__cause__ is failure


async def test_a_name_service_that_hangs() -> None:
    gate = threading.Event()
    resolver = SystemResolver(getaddrinfo=lambda *_: gate.wait(30) and [], deadline=0.01)
    try:
        with pytest.raises(OSError) as caught:
            await resolver.addresses(HostName("a.example"))
    finally:
        gate.set()
    assert caught.value.winerror == errors.WSATRY_AGAIN
    assert "no answer within 0.01 s" in caught.value.reason


async def test_no_thread_left() -> None:
    gate = threading.Event()
    threads = LookupThreads(limit=1, thread_limit=1)
    resolver = SystemResolver(getaddrinfo=lambda *_: gate.wait(30) and [], deadline=0.01, threads=threads)
    try:
        for _ in range(2):
            with pytest.raises(OSError) as caught:
                await resolver.addresses(HostName("a.example" if not threads.counts["threads"] else "b.example"))
    finally:
        gate.set()
    assert caught.value.winerror == errors.WSATRY_AGAIN
    assert "stuck" in caught.value.reason


async def test_cancelling_a_look_up() -> None:
    gate, entered = threading.Event(), threading.Event()

    def blocking(*_: object) -> list[Any]:
        entered.set()
        gate.wait(30)
        return []

    resolver = SystemResolver(getaddrinfo=blocking)
    task = asyncio.create_task(resolver.addresses(HostName("a.example")))
    await asyncio.to_thread(entered.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()


async def test_services_of_this_machine() -> None:
    resolver = default_resolver()
    assert resolver is default_resolver()
    assert await resolver.service_port("http", "tcp") == socket.getservbyname("http", "tcp")
    assert await resolver.service_port("tftp", "udp") == socket.getservbyname("tftp", "udp")
    assert await resolver.service_port("no-such-service", "tcp") is None


async def test_services_from_answers() -> None:
    answers = Answers([(V4, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", 69))])
    assert await SystemResolver(getaddrinfo=answers).service_port("tftp", "udp") == 69
    assert answers.questions == [(None, b"tftp", V4, socket.SOCK_DGRAM)]
    assert await SystemResolver(getaddrinfo=Answers([])).service_port("tftp", "udp") is None
    failing = SystemResolver(getaddrinfo=Answers(socket.gaierror(socket.EAI_AGAIN, "x")))
    with pytest.raises(socket.gaierror) as caught:
        await failing.service_port("tftp", "udp")
    assert caught.value.winerror == errors.WSATRY_AGAIN  # type: ignore[attr-defined]


async def test_a_name_that_nobody_has() -> None:
    with pytest.raises(OSError) as caught:
        await SystemResolver(deadline=5).addresses(HostName("a" * 63 + ".invalid"))
    assert caught.value.winerror in (errors.WSAHOST_NOT_FOUND, errors.WSATRY_AGAIN, errors.WSANO_DATA)
