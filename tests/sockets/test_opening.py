"""Local ends and adapters of a connect, where the system does not permit the best way."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest
from tests.sockets.peers import FAMILIES, LOOPBACK, host_of, plain_listener, port_of

from moorings import errors
from moorings.connectivity.network_adapter import NetworkAdapter, network_adapters
from moorings.sockets.opening import bind_to_adapter, local_port, sockaddr_of
from winrt.windows.networking.connectivity import NetworkInformation
from winrt.windows.networking.sockets import SocketProtectionLevel, StreamSocket, StreamSocketListener

PLAIN = SocketProtectionLevel.PLAIN_SOCKET


def loopback() -> NetworkAdapter:
    return next(adapter for adapter in network_adapters() if adapter.is_loopback)


class RefusingSocket:
    """A socket whose interface may not, or cannot, be chosen."""

    def __init__(self, code: int) -> None:
        self.code = code

    def setsockopt(self, level: int, name: int, value: bytes) -> None:
        assert (level, name, value) == (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
        raise OSError(self.code, "refused")


def test_an_adapter_that_may_not_be_chosen_is_told() -> None:
    refusing: Any = RefusingSocket(errno.EPERM)
    assert bind_to_adapter(refusing, loopback()) is False


def test_an_adapter_that_has_gone_is_an_error() -> None:
    refusing: Any = RefusingSocket(errno.ENODEV)
    with pytest.raises(OSError, match="adapter lo") as caught:
        bind_to_adapter(refusing, loopback())
    assert caught.value.winerror == errors.WSAENETDOWN


@pytest.mark.parametrize("family", FAMILIES)
async def test_then_its_address_is_the_next_best_thing(family: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[Any] = []
    bind = socket.socket.bind

    class Recording(socket.socket):
        def bind(self, address: Any) -> None:
            if self.family == family:  # the rest is netlink
                bound.append(address)
            bind(self, address)

    with plain_listener(family) as listening:
        monkeypatch.setattr("moorings.sockets.opening.bind_to_adapter", lambda _socket, _adapter: False)
        monkeypatch.setattr("moorings.names.connecting.socket.socket", Recording)
        ours = StreamSocket()
        await ours.connect_async(host_of(listening), port_of(listening), PLAIN, loopback())
        assert [address[0] for address in bound] == [LOOPBACK[family]]
        assert str(ours.information.local_address) == LOOPBACK[family]
        ours.abort()


async def test_a_listener_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorings.sockets.binding.bind_to_adapter", lambda _socket, _adapter: False)
    listener = StreamSocketListener()
    with pytest.raises(OSError, match="CAP_NET_RAW") as caught:
        await listener.bind_service_name_async("", PLAIN, loopback())
    assert caught.value.winerror == errors.ERROR_NOT_SUPPORTED
    await listener.bind_service_name_async("")
    listener.close()


async def test_the_adapter_of_each_local_host_name_can_be_used() -> None:
    """As WinRT programs do it: from a local host name over its information to its adapter, and back."""
    local = [(host, host.ip_information) for host in NetworkInformation.get_host_names()]
    addresses = [(host, information) for host, information in local if information is not None]
    assert addresses
    for host, information in addresses:
        listener = StreamSocketListener()
        await listener.bind_service_name_async("", PLAIN, information.network_adapter)
        listener.close()
        listener = StreamSocketListener()
        await listener.bind_endpoint_async(host, "")
        ours = StreamSocket()
        await ours.connect_async(host, listener.information.local_port)
        assert ours.information.remote_address is not None
        assert ours.information.remote_address.is_equal(host)
        ours.abort()
        listener.close()


@pytest.mark.parametrize(
    ("address", "family", "expected"),
    [
        ("127.0.0.1", socket.AF_INET, ("127.0.0.1", 5)),
        ("::1", socket.AF_INET6, ("::1", 5, 0, 0)),
        ("fe80::1%lo", socket.AF_INET6, ("fe80::1", 5, 0, socket.if_nametoindex("lo"))),
        ("fe80::1%77", socket.AF_INET6, ("fe80::1", 5, 0, 77)),
    ],
)
def test_socket_address_of_a_text(address: str, family: int, expected: tuple[Any, ...]) -> None:
    assert sockaddr_of(address, 5, family) == expected


async def test_local_port() -> None:
    assert await local_port("") == 0
    assert await local_port("0") == 0
    assert await local_port("65535") == 65535
    assert await local_port("https") == 443
    with pytest.raises(OSError, match="services file") as caught:
        await local_port("no-such-service")
    assert caught.value.winerror == errors.WSATYPE_NOT_FOUND
