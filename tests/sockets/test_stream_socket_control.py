"""Settings of a StreamSocket: defaults, ranges, late changes, and what the kernel says about both ends."""

from __future__ import annotations

import socket
from operator import attrgetter
from typing import Any

import pytest
from tests.sockets.peers import FAMILIES, connected, host_of, option, plain_listener, port_of, refused_port

from moorings import errors
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import (
    SocketProtectionLevel,
    SocketQualityOfService,
    StreamSocket,
    StreamSocketControl,
)
from winrt.windows.security.cryptography.certificates import ChainValidationResult

# Not in the socket module. Source: linux/tcp.h.
TCP_SAVE_SYN = 27
TCP_SAVED_SYN = 28

LOW_LATENCY = SocketQualityOfService.LOW_LATENCY

#: A member, its default, and another value.
SETTINGS: list[tuple[str, Any, Any]] = [
    ("quality_of_service", SocketQualityOfService.NORMAL, LOW_LATENCY),
    ("outbound_unicast_hop_limit", 128, 7),
    ("outbound_buffer_size_in_bytes", 0, 32768),
    ("no_delay", True, False),
    ("keep_alive", False, True),
    ("serialize_connection_attempts", False, True),
    ("client_certificate", None, None),
    ("min_protection_level", SocketProtectionLevel.UNSPECIFIED, SocketProtectionLevel.TLS12),
]
#: What setting a member does while a connect is under way, and when it is open. None: it works.
LATE = {
    "quality_of_service": errors.E_ILLEGAL_METHOD_CALL,
    "outbound_unicast_hop_limit": errors.E_ILLEGAL_METHOD_CALL,
    "outbound_buffer_size_in_bytes": None,
    "no_delay": errors.E_ILLEGAL_METHOD_CALL,
    "keep_alive": errors.E_ILLEGAL_METHOD_CALL,
    "serialize_connection_attempts": errors.E_ILLEGAL_METHOD_CALL,
    "client_certificate": None,
    "min_protection_level": None,
}


def test_control_belongs_to_its_socket() -> None:
    ours = StreamSocket()
    assert ours.control is ours.control
    assert ours.control is not StreamSocket().control
    assert isinstance(ours.control, StreamSocketControl)
    with pytest.raises(TypeError):
        StreamSocketControl()


@pytest.mark.parametrize(("member", "default", "other"), SETTINGS)
def test_default_and_change(member: str, default: Any, other: Any) -> None:
    control = StreamSocket().control
    assert getattr(control, member) == default
    setattr(control, member, other)
    assert getattr(control, member) == other
    assert type(getattr(control, member)) is type(default)


@pytest.mark.parametrize(
    ("member", "value", "error"),
    [
        ("quality_of_service", 2, errors.E_INVALIDARG),
        ("quality_of_service", None, TypeError),
        ("quality_of_service", "LOW_LATENCY", TypeError),
        ("outbound_unicast_hop_limit", 0, errors.E_INVALIDARG),
        ("outbound_unicast_hop_limit", 256, OverflowError),
        ("outbound_unicast_hop_limit", -1, ValueError),
        ("outbound_unicast_hop_limit", 1.5, TypeError),
        ("outbound_buffer_size_in_bytes", 0x80000000, errors.E_INVALIDARG),
        ("outbound_buffer_size_in_bytes", 1 << 32, OverflowError),
        ("outbound_buffer_size_in_bytes", -1, ValueError),
        ("outbound_buffer_size_in_bytes", None, TypeError),
        ("min_protection_level", 11, errors.E_INVALIDARG),
        ("min_protection_level", SocketProtectionLevel.BLUETOOTH_ENCRYPTION_WITH_AUTHENTICATION, errors.E_INVALIDARG),
        ("min_protection_level", None, TypeError),
        ("client_certificate", object(), TypeError),
    ],
)
def test_bad_value(member: str, value: Any, error: Any) -> None:
    control = StreamSocket().control
    before = getattr(control, member)
    with pytest.raises(OSError if isinstance(error, int) else error) as caught:
        setattr(control, member, value)
    if isinstance(error, int):
        assert caught.value.winerror == error
    assert getattr(control, member) == before


def test_buffer_size_may_be_zero() -> None:
    control = StreamSocket().control
    control.outbound_buffer_size_in_bytes = 5
    control.outbound_buffer_size_in_bytes = 0
    assert control.outbound_buffer_size_in_bytes == 0


def test_ignorable_errors_are_one_list_of_one_kind() -> None:
    control = StreamSocket().control
    ignorable = control.ignorable_server_certificate_errors
    assert len(ignorable) == 0
    ignorable.append(ChainValidationResult.EXPIRED)
    assert list(control.ignorable_server_certificate_errors) == [ChainValidationResult.EXPIRED]
    assert control.ignorable_server_certificate_errors is ignorable
    with pytest.raises(TypeError):
        ignorable.append("EXPIRED")
    with pytest.raises(AttributeError):
        control.ignorable_server_certificate_errors = ignorable


@pytest.mark.parametrize("member", LATE)
async def test_late_change(member: str) -> None:
    """While the connect is under way, and once the socket is open."""
    default, other = next((default, other) for name, default, other in SETTINGS if name == member)
    with plain_listener() as listening:
        ours = StreamSocket()
        operation = ours.connect_async(HostName("127.0.0.1"), str(listening.getsockname()[1]))
        for _ in range(2):
            if LATE[member] is None:
                setattr(ours.control, member, other)
            else:
                with pytest.raises(OSError) as caught:
                    setattr(ours.control, member, other)
                assert caught.value.winerror == LATE[member]
                assert member in str(caught.value)
                assert getattr(ours.control, member) == default
            await operation
        ours.abort()


async def test_late_buffer_size_has_no_effect() -> None:
    async with connected() as (ours, _):
        before = option(ours, socket.SOL_SOCKET, socket.SO_SNDBUF)
        ours.control.outbound_buffer_size_in_bytes = 4096
        assert option(ours, socket.SOL_SOCKET, socket.SO_SNDBUF) == before
        assert ours.control.outbound_buffer_size_in_bytes == 0


async def test_late_floor_counts_for_a_later_handshake() -> None:
    async with connected() as (ours, _):
        ours.control.min_protection_level = SocketProtectionLevel.TLS13
        assert ours.control.min_protection_level == SocketProtectionLevel.TLS13
        with pytest.raises(OSError) as caught:
            ours.upgrade_to_ssl_async(SocketProtectionLevel.TLS12, HostName("localhost"))
        assert caught.value.winerror == errors.E_INVALIDARG


@pytest.mark.parametrize(("member", "default", "other"), SETTINGS)
async def test_closed_socket_shows_its_settings_and_takes_no_more(member: str, default: Any, other: Any) -> None:
    ours = StreamSocket()
    ours.close()
    control = ours.control
    assert getattr(control, member) == default
    if member == "outbound_buffer_size_in_bytes":
        setattr(control, member, other)  # late: no effect and no error
        assert control.outbound_buffer_size_in_bytes == 0
        return
    with pytest.raises(OSError) as caught:
        setattr(control, member, other)
    assert caught.value.winerror == errors.RO_E_CLOSED


async def test_a_failed_connect_frees_the_settings() -> None:
    ours = StreamSocket()
    with refused_port() as port, pytest.raises(ConnectionRefusedError):
        await ours.connect_async(HostName("127.0.0.1"), port)
    ours.control.no_delay = False
    assert ours.control.no_delay is False


# -- what the kernel says --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
async def test_kernel_defaults(family: int) -> None:
    hops = (socket.IPPROTO_IP, socket.IP_TTL)
    if family == socket.AF_INET6:
        hops = (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
    async with connected(family=family) as (ours, _):
        assert option(ours, socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not option(ours, socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert option(ours, socket.SOL_SOCKET, socket.SO_PRIORITY) == 0
        assert option(ours, socket.IPPROTO_IP, socket.IP_TOS) == 0
        assert option(ours, *hops) == 128


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("setting", "value", "level", "name", "expected"),
    [
        ("no_delay", False, socket.IPPROTO_TCP, socket.TCP_NODELAY, 0),
        ("keep_alive", True, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        # The kernel doubles what it is asked for (socket(7)).
        ("outbound_buffer_size_in_bytes", 40000, socket.SOL_SOCKET, socket.SO_SNDBUF, 80000),
        ("quality_of_service", LOW_LATENCY, socket.SOL_SOCKET, socket.SO_PRIORITY, 6),
    ],
)
async def test_kernel_takes_setting(
    family: int, setting: str, value: object, level: int, name: int, expected: int
) -> None:
    def configure(ours: StreamSocket) -> None:
        setattr(ours.control, setting, value)

    async with connected(configure, family) as (ours, _):
        assert option(ours, level, name) == expected
        assert attrgetter(setting)(ours.control) == value


@pytest.mark.parametrize(
    ("family", "level", "hops", "tos"),
    [
        (socket.AF_INET, socket.IPPROTO_IP, socket.IP_TTL, socket.IP_TOS),
        (socket.AF_INET6, socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, socket.IPV6_TCLASS),
    ],
)
async def test_hop_limit_and_marking(family: int, level: int, hops: int, tos: int) -> None:
    def configure(ours: StreamSocket) -> None:
        ours.control.outbound_unicast_hop_limit = 9
        ours.control.quality_of_service = LOW_LATENCY

    async with connected(configure, family) as (ours, _):
        assert option(ours, level, hops) == 9
        assert option(ours, level, tos) == 0x10
        assert option(ours, socket.SOL_SOCKET, socket.SO_PRIORITY) == 6


@pytest.mark.parametrize("family", FAMILIES)
async def test_the_first_packet_is_marked_already(family: int) -> None:
    """The kernel can be asked to keep the SYN of a connection (tcp(7), TCP_SAVE_SYN)."""
    with plain_listener(family) as listening:
        listening.setsockopt(socket.IPPROTO_TCP, TCP_SAVE_SYN, 1)
        ours = StreamSocket()
        ours.control.outbound_unicast_hop_limit = 77
        ours.control.quality_of_service = LOW_LATENCY
        await ours.connect_async(host_of(listening), port_of(listening))
        theirs, _ = listening.accept()
        with theirs:
            header = theirs.getsockopt(socket.IPPROTO_TCP, TCP_SAVED_SYN, 256)
        ours.abort()
    if family == socket.AF_INET:
        assert (header[1], header[8]) == (0x10, 77)
    else:
        assert (int.from_bytes(header[:2], "big") >> 4 & 0xFF, header[7]) == (0x10, 77)
