"""Endpoints and statistics: before, while open, after the end; the formulas on made-up kernel answers."""

from __future__ import annotations

import dataclasses
import socket
from typing import Any

import pytest
from tests.engine.pairs import receive, reset, socket_and_peer, socket_pair, until
from tests.sockets.peers import FAMILIES, client_of, connected, host_of, plain_listener, port_of

from moorings.engine import tcp_info
from moorings.engine.tcp_info import TcpInfo
from moorings.sockets import connection_facts
from moorings.sockets.connection import Connection, Settings
from moorings.sockets.stream_socket_information import information_of
from winrt.windows.foundation.collections import IVectorView
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import (
    BandwidthStatistics,
    RoundTripTimeStatistics,
    SocketProtectionLevel,
    SocketSslErrorSeverity,
    StreamSocket,
    StreamSocketInformation,
    StreamSocketListener,
)

PLAIN = SocketProtectionLevel.PLAIN_SOCKET
NO_RTT = RoundTripTimeStatistics(0, 0, 0, 0)
NO_BANDWIDTH = BandwidthStatistics(0, 0, 0, 0, False, False)


def endpoints(information: StreamSocketInformation) -> tuple[str, str, str, str, str, str]:
    return (
        str(information.local_address or ""),
        information.local_port,
        str(information.remote_host_name or ""),
        information.remote_service_name,
        str(information.remote_address or ""),
        information.remote_port,
    )


def check_without_tls(information: StreamSocketInformation) -> None:
    assert information.protection_level == PLAIN
    assert information.session_key is None
    assert information.server_certificate is None
    assert information.server_certificate_error_severity == SocketSslErrorSeverity.NONE
    for many in (information.server_certificate_errors, information.server_intermediate_certificates):
        assert isinstance(many, IVectorView)
        assert many.size == 0


def test_before_there_is_a_connection() -> None:
    ours = StreamSocket()
    information = ours.information
    assert information is ours.information
    for _ in range(2):
        assert endpoints(information) == ("",) * 6
        assert information.local_address is None
        assert information.remote_host_name is None
        assert information.remote_address is None
        assert information.round_trip_time_statistics == NO_RTT
        assert information.bandwidth_statistics == NO_BANDWIDTH
        check_without_tls(information)
        ours.close()
    with pytest.raises(TypeError):
        StreamSocketInformation()


async def test_while_a_connect_is_under_way() -> None:
    with plain_listener() as listening:
        ours = StreamSocket()
        operation = ours.connect_async(host_of(listening), port_of(listening))
        assert endpoints(ours.information) == ("",) * 6
        await operation
        ours.abort()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("end", ["close", "abort", "reset by the peer"])
async def test_open_and_after_the_end(family: int, end: str) -> None:
    async with connected(family=family) as (ours, theirs):
        here, there = theirs.getpeername(), theirs.getsockname()
        host, port = there[0], str(there[1])
        expected = (here[0], str(here[1]), host, port, host, port)
        if end != "reset by the peer":  # then they are asked for only after the end
            assert endpoints(ours.information) == expected
        await ours.write(b"hello")
        assert await receive(theirs, 5) == b"hello"
        if end == "close":
            await ours.aclose()
        elif end == "abort":
            ours.abort()
        else:
            reset(theirs)
            with pytest.raises(ConnectionResetError):
                await ours.read()
            assert endpoints(ours.information) == expected
            ours.close()
        assert endpoints(ours.information) == expected
        check_without_tls(ours.information)
        statistics = ours.information.round_trip_time_statistics
        assert statistics.sum > 0
        assert statistics == ours.information.round_trip_time_statistics


async def test_remote_names_are_those_that_were_given() -> None:
    with plain_listener() as listening:
        ours = StreamSocket()
        host = HostName("LocalHost")
        await ours.connect_async(host, port_of(listening))
        assert ours.information.remote_host_name is host
        assert str(ours.information.remote_address) == "127.0.0.1"
        ours.abort()


@pytest.mark.parametrize("family", FAMILIES)
async def test_accepted_socket(family: int) -> None:
    """Nobody gave it a remote name: its peer's address stands for it."""
    sockets: list[StreamSocket] = []
    listener = StreamSocketListener()
    listener.add_connection_received(lambda _listener, args: sockets.append(args.socket))
    await listener.bind_service_name_async("")
    with client_of(listener, family) as client:
        await until(lambda: sockets)
        here, there = client.getpeername(), client.getsockname()
        expected = (here[0], str(here[1]), there[0], str(there[1]), there[0], str(there[1]))
        assert endpoints(sockets[0].information) == expected
        sockets[0].abort()
        assert endpoints(sockets[0].information) == expected
    listener.close()


async def test_adopted_socket() -> None:
    async with socket_and_peer() as (ours, peer):
        here, there = peer.getpeername(), peer.getsockname()
        expected = (here[0], str(here[1]), there[0], str(there[1]), there[0], str(there[1]))
        assert endpoints(ours.information) == expected


async def test_link_local_addresses_keep_their_scope() -> None:
    for index, name in socket.if_nameindex():
        with socket.socket(socket.AF_INET6) as listening:
            address = link_local(name)
            if address is None:
                continue
            listening.bind((address, 0, 0, index))
            listening.listen()
            ours = StreamSocket()
            await ours.connect_async(HostName(f"{address}%{name}"), str(listening.getsockname()[1]))
            assert str(ours.information.remote_address) == f"{address}%{name}"
            assert str(ours.information.local_address) == f"{address}%{name}"
            ours.abort()


def link_local(name: str) -> str | None:
    """A link-local address of an interface (proc(5), /proc/net/if_inet6)."""
    with open("/proc/net/if_inet6", encoding="ascii") as table:
        for line in table:
            digits, _, _, _, flags, device = line.split()
            if device == name and digits.startswith("fe80") and not int(flags, 16) & 0x48:
                return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
    return None


# -- statistics of a real connection ---------------------------------------------------------------------------------


async def test_round_trip_times_of_a_loopback_connection() -> None:
    async with socket_pair() as (first, second):
        highest = 0
        for _ in range(20):
            await first.write(b"ping")
            await second.write(await second.read_exactly(4))
            assert await first.read_exactly(4) == b"ping"
            statistics = first.information.round_trip_time_statistics
            highest = max(highest, statistics.sum)
            assert 0 < statistics.sum <= statistics.max
            assert 0 < statistics.min <= statistics.max
            assert statistics.max == highest
            assert 0 <= statistics.variance < 10_000_000


async def test_bandwidth_of_a_loopback_connection() -> None:
    async with socket_pair() as (first, second):
        for _ in range(16):
            await first.write(bytes(65536))
            await second.read_exactly(65536)
        outbound = first.information.bandwidth_statistics
        assert outbound.outbound_bits_per_second > 1_000_000
        assert isinstance(outbound.outbound_bandwidth_peaked, bool)
        assert outbound.inbound_bandwidth_peaked is False
        inbound = second.information.bandwidth_statistics
        assert inbound.inbound_bits_per_second > 1_000_000


# -- statistics of made-up answers of the kernel ---------------------------------------------------------------------


@dataclasses.dataclass
class Scripted:
    """An information object whose kernel answers what the test says."""

    information: StreamSocketInformation
    monkeypatch: pytest.MonkeyPatch

    def answer(self, **fields: Any) -> None:
        self.monkeypatch.setattr(tcp_info, "parse", lambda _data: TcpInfo(**fields))


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    ticks = iter(range(1, 1000))
    monkeypatch.setattr(connection_facts.time, "monotonic", lambda: next(ticks))
    connection = Connection(Settings())
    return Scripted(information_of(connection), monkeypatch)


def test_round_trip_time_fields(scripted: Scripted) -> None:
    scripted.answer(rtt=500, rttvar=40, min_rtt=300)
    assert scripted.information.round_trip_time_statistics == RoundTripTimeStatistics(40, 500, 300, 500)
    scripted.answer(rtt=900, rttvar=41, min_rtt=300)
    assert scripted.information.round_trip_time_statistics == RoundTripTimeStatistics(41, 900, 300, 900)
    scripted.answer(rtt=200, rttvar=42, min_rtt=200)
    assert scripted.information.round_trip_time_statistics == RoundTripTimeStatistics(42, 900, 200, 200)


def test_a_kernel_without_a_sample_or_without_a_field(scripted: Scripted) -> None:
    scripted.answer(rtt=5, rttvar=1, min_rtt=0xFFFFFFFF)
    assert scripted.information.round_trip_time_statistics.min == 0
    scripted.answer(rtt=5, rttvar=1)
    assert scripted.information.round_trip_time_statistics.min == 0
    assert scripted.information.bandwidth_statistics == NO_BANDWIDTH


def test_bandwidth_fields(scripted: Scripted) -> None:
    scripted.answer(delivery_rate=1000, rcv_space=14600, rcv_rtt=2000)
    statistics = scripted.information.bandwidth_statistics
    assert statistics.outbound_bits_per_second == 8000
    assert statistics.inbound_bits_per_second == 14600 * 8 * 500
    assert statistics.outbound_bits_per_second_instability == 0
    scripted.answer(delivery_rate=1500, rcv_space=14600, rcv_rtt=2000)
    statistics = scripted.information.bandwidth_statistics
    # A quarter of the distance to the mean, 4000 bit/s (the weight that RFC 6298 gives a new sample of a deviation).
    assert statistics.outbound_bits_per_second_instability == 1000
    assert statistics.inbound_bits_per_second_instability == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"app_limited": True}, False),
        ({"app_limited": None}, False),
        ({"snd_cwnd": 4}, False),  # 5,792 bytes, less than half of the 12,500 that the path holds
        ({"snd_cwnd": 5}, True),
        ({"min_rtt": 0xFFFFFFFF}, False),
        ({"min_rtt": None}, False),
        ({"delivery_rate": 0}, False),
        ({"snd_mss": None}, False),
    ],
)
def test_outbound_bandwidth_peaked(scripted: Scripted, changes: dict[str, Any], expected: bool) -> None:
    fields = {"app_limited": False, "delivery_rate": 1_250_000, "min_rtt": 10_000, "snd_cwnd": 10, "snd_mss": 1448}
    scripted.answer(**fields | changes)
    assert scripted.information.bandwidth_statistics.outbound_bandwidth_peaked is expected


def test_statistics_fit_their_types(scripted: Scripted) -> None:
    top = (1 << 32) - 1
    scripted.answer(rtt=top, rttvar=top, min_rtt=top - 1, rcv_space=top, rcv_rtt=1, delivery_rate=1 << 60)
    assert scripted.information.round_trip_time_statistics.max == top
    assert scripted.information.bandwidth_statistics.inbound_bits_per_second == top * 8 * 1_000_000
