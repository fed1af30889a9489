"""Settings, limits, and what bad arguments of a DatagramSocket and its objects get."""

from __future__ import annotations

import asyncio
import socket
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from tests.sockets.datagram_peers import bound, needs_adapters, plain_peer, port_of
from tests.sockets.peers import code

from moorings.connectivity.network_adapter import network_adapters
from moorings.sockets.datagram_limits import DatagramCounters
from winrt.windows.networking import EndpointPair, HostName, HostNameSortOptions
from winrt.windows.networking.sockets import (
    DatagramSocket,
    DatagramSocketControl,
    DatagramSocketInformation,
    DatagramSocketMessageReceivedEventArgs,
    SocketQualityOfService,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LOCALHOST = HostName("127.0.0.1")
BLUETOOTH = HostName("(01:23:45:67:89:AB)")


def option(ours: DatagramSocket, level: int, name: int) -> int:
    port = ours._link.port
    assert port is not None
    return int(port.plain_socket.getsockopt(level, name))


async def test_defaults() -> None:
    control = DatagramSocket().control
    assert control.quality_of_service == SocketQualityOfService.NORMAL
    assert control.outbound_unicast_hop_limit == 128
    assert control.inbound_buffer_size_in_bytes == 0
    assert control.dont_fragment is False
    assert control.multicast_only is False
    ours = await bound(None, None)
    assert ours.control is ours.control
    assert ours.information is ours.information
    assert option(ours, socket.IPPROTO_IP, socket.IP_TTL) == 128
    assert option(ours, socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) == 128
    assert option(ours, socket.SOL_SOCKET, socket.SO_BROADCAST) == 1
    assert option(ours, socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
    assert option(ours, socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
    assert option(ours, socket.IPPROTO_IP, 10) == 0  # IP_MTU_DISCOVER: IP_PMTUDISC_DONT
    ours.close()


async def test_settings_reach_the_kernel() -> None:
    ours = DatagramSocket()
    control = ours.control
    control.quality_of_service = SocketQualityOfService.LOW_LATENCY
    control.outbound_unicast_hop_limit = 7
    control.inbound_buffer_size_in_bytes = 50_000
    control.dont_fragment = True
    control.multicast_only = True
    await ours.bind_service_name_async("")
    assert option(ours, socket.SOL_SOCKET, socket.SO_PRIORITY) == 6
    assert option(ours, socket.IPPROTO_IP, socket.IP_TOS) & 0xFC == 0x10
    assert option(ours, socket.IPPROTO_IP, socket.IP_TTL) == 7
    assert option(ours, socket.SOL_SOCKET, socket.SO_RCVBUF) == 100_000
    assert option(ours, socket.IPPROTO_IP, 10) == 2
    assert option(ours, socket.IPPROTO_IPV6, 23) == 2
    assert option(ours, socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
    assert control.inbound_buffer_size_in_bytes == 50_000
    ours.close()
    assert control.dont_fragment is True


async def test_the_hop_limit_may_change_at_any_time() -> None:
    """What was queued before the change keeps the old one."""
    receiver = await bound()
    ours = DatagramSocket()
    await ours.connect_async(LOCALHOST, receiver.information.local_port)
    ours.send(b"old")
    ours.control.outbound_unicast_hop_limit = 9
    await ours.send(b"new")
    assert [(await receiver.receive()).hop_limit for _ in range(2)] == [128, 9]
    ours.close()
    with pytest.raises(OSError) as caught:
        ours.control.outbound_unicast_hop_limit = 10
    assert code(caught.value) == "RO_E_CLOSED"
    receiver.close()


async def test_dont_fragment_refuses_what_the_path_does_not_take() -> None:
    """The loopback interface takes 64 KiB; with a datagram's headers less than the biggest one."""
    with plain_peer(socket.AF_INET6) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for dont_fragment in (True, False):
            ours = DatagramSocket()
            ours.control.dont_fragment = dont_fragment
            await ours.connect_async(HostName("::1"), str(peer.getsockname()[1]))
            if dont_fragment:
                with pytest.raises(OSError) as caught:
                    await ours.send(bytes(65_520))
                assert code(caught.value) == "WSAEMSGSIZE"
            else:
                assert await ours.send(bytes(65_520)) == 65_520
            ours.close()


BAD_SETTINGS: list[tuple[str, Any, str]] = [
    ("quality_of_service", 2, "E_INVALIDARG"),
    ("quality_of_service", "x", "TypeError"),
    ("outbound_unicast_hop_limit", 0, "E_INVALIDARG"),
    ("outbound_unicast_hop_limit", 256, "OverflowError"),
    ("outbound_unicast_hop_limit", "x", "TypeError"),
    ("inbound_buffer_size_in_bytes", 0, "E_INVALIDARG"),
    ("inbound_buffer_size_in_bytes", 1 << 31, "E_INVALIDARG"),
    ("inbound_buffer_size_in_bytes", 1 << 32, "OverflowError"),
    ("inbound_buffer_size_in_bytes", None, "TypeError"),
]


def failure(call: Callable[[], Any]) -> str:
    try:
        call()
    except OSError as error:
        return code(error)
    except (TypeError, ValueError, OverflowError) as error:
        return type(error).__name__
    return ""


@pytest.mark.parametrize(("member", "value", "expected"), BAD_SETTINGS)
def test_bad_settings(member: str, value: Any, expected: str) -> None:
    control = DatagramSocket().control
    before = getattr(control, member)
    assert failure(lambda: setattr(control, member, value)) == expected
    assert getattr(control, member) == before


@pytest.mark.parametrize(
    "member", ["quality_of_service", "inbound_buffer_size_in_bytes", "dont_fragment", "multicast_only"]
)
async def test_settings_that_come_late(member: str) -> None:
    ours = DatagramSocket()
    value = 1
    binding = ours.bind_service_name_async("")
    assert failure(lambda: setattr(ours.control, member, value)) == "E_ILLEGAL_METHOD_CALL"
    await binding
    assert failure(lambda: setattr(ours.control, member, value)) == "E_ILLEGAL_METHOD_CALL"
    ours.close()
    assert failure(lambda: setattr(ours.control, member, value)) == "RO_E_CLOSED"


BAD_CALLS: list[tuple[Callable[[DatagramSocket], Any], str]] = [
    (lambda ours: ours.bind_endpoint_async("127.0.0.1", ""), "TypeError"),
    (lambda ours: ours.bind_endpoint_async(LOCALHOST, 80), "TypeError"),
    (lambda ours: ours.bind_endpoint_async(LOCALHOST), "TypeError"),
    (lambda ours: ours.bind_endpoint_async(LOCALHOST, "65536"), "E_INVALIDARG"),
    (lambda ours: ours.bind_endpoint_async(BLUETOOTH, ""), "E_INVALIDARG"),
    (lambda ours: ours.bind_service_name_async(), "TypeError"),
    (lambda ours: ours.bind_service_name_async(None), "TypeError"),
    (lambda ours: ours.bind_service_name_async("-1"), "E_INVALIDARG"),
    (lambda ours: ours.bind_service_name_async("", None), "E_INVALIDARG"),
    (lambda ours: ours.bind_service_name_async("", "eth0"), "TypeError"),
    (lambda ours: ours.bind_service_name_async("", 1, 2), "TypeError"),
    (lambda ours: ours.connect_async(), "TypeError"),
    (lambda ours: ours.connect_async(None), "E_INVALIDARG"),
    (lambda ours: ours.connect_async(None, "1"), "E_INVALIDARG"),
    (lambda ours: ours.connect_async(LOCALHOST, ""), "E_INVALIDARG"),
    (lambda ours: ours.connect_async(LOCALHOST, "65536"), "E_INVALIDARG"),
    (lambda ours: ours.connect_async(LOCALHOST, 1), "TypeError"),
    (lambda ours: ours.connect_async(BLUETOOTH, "1"), "E_INVALIDARG"),
    (lambda ours: ours.connect_async(LOCALHOST, "1", 2), "TypeError"),
    (lambda ours: ours.connect_async(EndpointPair(BLUETOOTH, "", LOCALHOST, "1")), "E_INVALIDARG"),
    (lambda ours: ours.connect_async(EndpointPair(None, "65536", LOCALHOST, "1")), "E_INVALIDARG"),
    (lambda ours: ours.get_output_stream_async(None, "1"), "E_INVALIDARG"),
    (lambda ours: ours.get_output_stream_async(LOCALHOST, ""), "E_INVALIDARG"),
    (lambda ours: ours.get_output_stream_async("x"), "TypeError"),
    (lambda ours: ours.get_output_stream_async(), "TypeError"),
    (lambda ours: ours.add_message_received(None), "TypeError"),
    (lambda ours: ours.remove_message_received("x"), "TypeError"),
    (lambda ours: ours.join_multicast_group(None), "E_INVALIDARG"),
    (lambda ours: ours.join_multicast_group("239.1.2.3"), "TypeError"),
    (lambda ours: ours.join_multicast_group(LOCALHOST), "E_INVALIDARG"),
    (lambda ours: ours.join_multicast_group(HostName("localhost")), "E_INVALIDARG"),
    (lambda ours: ours.enable_transfer_ownership("x"), "TypeError"),
    (lambda ours: ours.enable_transfer_ownership(uuid.UUID(int=1), 0, 0), "TypeError"),
    (lambda ours: ours.send("text", ("127.0.0.1", 1)), "TypeError"),
    (lambda ours: ours.send(b"x"), "E_ILLEGAL_METHOD_CALL"),
    (lambda ours: ours.send(b"x", "127.0.0.1"), "TypeError"),
    (lambda ours: ours.send(b"x", ("127.0.0.1",)), "TypeError"),
    (lambda ours: ours.send(b"x", ("127.0.0.1", 65536)), "E_INVALIDARG"),
    (lambda ours: ours.send(b"x", ("", 1)), "E_INVALIDARG"),
    (lambda ours: ours.send(b"x", (1, 1)), "TypeError"),
    (lambda ours: setattr(ours.limits, "write_queue_limit", -1), "ValueError"),
    (lambda ours: setattr(ours.limits, "write_queue_limit", "x"), "TypeError"),
    (lambda ours: setattr(ours.limits, "receive_queue_limit", 0), "ValueError"),
    (lambda ours: setattr(ours.limits, "drop_policy", "all"), "ValueError"),
    (lambda _: DatagramSocket.get_endpoint_pairs_async(LOCALHOST), "TypeError"),
    (lambda _: DatagramSocket.get_endpoint_pairs_async(None, "1"), "E_INVALIDARG"),
    (lambda _: DatagramSocket.get_endpoint_pairs_async(LOCALHOST, "1", "x"), "TypeError"),
    (lambda _: DatagramSocket.get_endpoint_pairs_async(LOCALHOST, "1", HostNameSortOptions.NONE, 1), "TypeError"),
    (lambda _: DatagramSocketControl(), "TypeError"),
    (lambda _: DatagramSocketInformation(), "TypeError"),
    (lambda _: DatagramSocketMessageReceivedEventArgs(), "TypeError"),
    (lambda _: type("Mine", (DatagramSocket,), {}), "TypeError"),
]


@pytest.mark.parametrize("number", range(len(BAD_CALLS)))
async def test_bad_arguments_fail_in_the_call(number: int) -> None:
    call, expected = BAD_CALLS[number]
    ours = DatagramSocket()
    assert failure(lambda: call(ours)) == expected
    # Nothing has started: it can be bound.
    await ours.bind_service_name_async("")
    ours.close()


@pytest.mark.parametrize("data", ["text", None, 5])
async def test_bad_data_for_a_stream(data: Any) -> None:
    with plain_peer() as peer:
        ours = DatagramSocket()
        await ours.connect_async(LOCALHOST, str(peer.getsockname()[1]))
        with pytest.raises(TypeError):
            ours.output_stream.write_async(data)
        assert await ours.output_stream.write_async(b"fine") == 4
        ours.close()


async def test_services_and_names() -> None:
    """A name from the services file binds, an unknown one does not; a host name is looked up by `send`."""
    ours = DatagramSocket()
    with pytest.raises(OSError) as caught:
        await ours.bind_service_name_async("no-such-service-here")
    assert code(caught.value) == "WSATYPE_NOT_FOUND"
    with plain_peer() as peer, plain_peer(socket.AF_INET6) as other:
        port = peer.getsockname()[1]
        assert await ours.send(b"by address", ("127.0.0.1", str(port))) == 10
        assert peer.recv(100) == b"by address"
        to = ("localhost", other.getsockname()[1])
        assert await asyncio.wait_for(ours.send(b"by name", to), 20) == 7
        assert other.recv(100) == b"by name"
    ours.close()


async def test_counters_are_zero_before_and_stay_after() -> None:
    ours = DatagramSocket()
    assert ours.counters == DatagramCounters(*[0] * len(DatagramCounters._fields))
    with plain_peer() as peer:
        await ours.send(b"12345", peer.getsockname())
        ours.close()
    assert (ours.counters.datagrams_sent, ours.counters.bytes_sent) == (1, 5)
    assert port_of(ours)


@needs_adapters
async def test_binding_to_an_adapter() -> None:
    """Everything goes through it, and a local host beside it is refused."""
    loopback = next(adapter for adapter in network_adapters() if adapter.is_loopback)
    ours = DatagramSocket()
    await ours.bind_service_name_async("", loopback)
    with plain_peer() as peer:
        peer.sendto(b"x", ("127.0.0.1", port_of(ours)))
        assert (await ours.receive()).interface == loopback.interface_index
        pair = EndpointPair(LOCALHOST, "", LOCALHOST, str(peer.getsockname()[1]))
        for call in (ours.connect_async, ours.get_output_stream_async):
            assert failure(lambda: call(pair)) == "E_INVALIDARG"  # noqa: B023
        await ours.connect_async(LOCALHOST, str(peer.getsockname()[1]))
        await ours.send(b"y")
        assert peer.recv(10) == b"y"
    ours.close()
