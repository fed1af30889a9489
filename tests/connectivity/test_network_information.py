"""NetworkInformation: local names and addresses, sorted endpoint pairs, and what is not built yet."""

from __future__ import annotations

import socket

import pytest

from moorings import errors
from moorings.connectivity import network_information as module
from moorings.connectivity.network_information import NetworkInformation, host_names, sorted_endpoint_pairs
from moorings.connectivity.rtnetlink import InterfaceAddress, Link
from moorings.names.endpoint_pair import EndpointPair
from moorings.names.enums import HostNameSortOptions, HostNameType
from moorings.names.host_name import HostName

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)
NONE, LONG = HostNameSortOptions.NONE, HostNameSortOptions.OPTIMIZE_FOR_LONG_CONNECTIONS
LINKS = [
    Link(1, "lo", 772, 9, b"", b""),
    Link(2, "eth0", 1, 1, b"", b""),
    Link(3, "down0", 1, 0, b"", b""),
    Link(4, "\udcff", 1, 1, b"", b""),
]
ADDRESSES = [
    InterfaceAddress(1, V4, "127.0.0.1", 8, 0),
    InterfaceAddress(2, V4, "192.0.2.2", 24, 0),
    InterfaceAddress(3, V4, "198.51.100.1", 24, 0),
    InterfaceAddress(9, V4, "198.51.100.2", 24, 0),
    InterfaceAddress(1, V6, "::1", 128, 0),
    InterfaceAddress(2, V6, "fe80::1", 64, 0),
    InterfaceAddress(4, V6, "fe80::2", 64, 0),
]


def test_names_then_addresses_then_loopback() -> None:
    found = host_names("Box.example.com", LINKS, ADDRESSES)
    assert [host.raw_name for host in found] == [
        "Box.example.com",
        "Box.local",
        "192.0.2.2",
        "fe80::1%eth0",
        "fe80::2%4",
        "127.0.0.1",
        "::1",
    ]
    assert [host.ip_information is None for host in found] == [True, True] + [False] * 5
    information = found[3].ip_information
    assert information is not None
    assert (information.prefix_length, information.network_adapter.interface_name) == (64, "eth0")
    assert found[2].ip_information.network_adapter is information.network_adapter  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("box", ["box", "box.local"]),
        ("box.local", ["box.local"]),
        ("not a name", []),
        ("", []),
        ("a_b", ["a_b", "a_b.local"]),
    ],
)
def test_machine_names(name: str, names: list[str]) -> None:
    assert [host.raw_name for host in host_names(name, [], [])] == names


def test_this_machine() -> None:
    found = NetworkInformation.get_host_names()
    addresses = {host.raw_name: host for host in found if host.type != HostNameType.DOMAIN_NAME}
    information = addresses["127.0.0.1"].ip_information
    assert information is not None
    assert (information.prefix_length, information.network_adapter.interface_name) == (8, "lo")
    assert all(host.ip_information is not None for host in addresses.values())


def pair(remote: str, local: str | None = None) -> EndpointPair:
    return EndpointPair(None if local is None else HostName(local), "", HostName(remote), "80")


def order(pairs: list[EndpointPair], options: HostNameSortOptions) -> list[str]:
    return [str(entry.remote_host_name) for entry in NetworkInformation.get_sorted_endpoint_pairs(pairs, options)]


@pytest.fixture(autouse=True)
def routes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every IPv4 destination is reached from one address; of IPv6 only 2001:db8::/32."""

    def source(_family: int, sockaddr: tuple[str, int]) -> str | None:
        if ":" not in sockaddr[0]:
            return "198.51.100.1"
        return "2001:db8::99" if sockaddr[0].startswith("2001:db8:") else None

    monkeypatch.setattr(module, "source_address", source)


def test_long_connections_get_the_order_of_the_rfc() -> None:
    pairs = [pair("198.51.100.7"), pair("2400::1"), pair("2001:db8::1"), pair("2001:db8:8000::1"), pair("169.254.1.1")]
    assert order(pairs, LONG) == ["2001:db8::1", "2001:db8:8000::1", "198.51.100.7", "169.254.1.1", "2400::1"]


def test_none_spreads_over_addresses() -> None:
    pairs = [pair("2001:db8::1"), pair("2001:db8::2"), pair("198.51.100.7"), pair("198.51.100.8")]
    assert order(pairs, NONE) == ["2001:db8::1", "198.51.100.7", "2001:db8::2", "198.51.100.8"]


def test_the_pairs_own_local_address_counts() -> None:
    given = [pair("169.254.1.1"), pair("169.254.1.2", "169.254.1.9")]
    assert order(given, LONG) == ["169.254.1.2", "169.254.1.1"]


def test_names_and_strange_scopes_come_last() -> None:
    pairs = [pair("b.example"), pair("fe80::1%nosuch0"), pair("a.example"), pair("198.51.100.7", "x.example")]
    assert order(pairs, NONE) == ["198.51.100.7", "fe80::1%nosuch0", "b.example", "a.example"]


def test_same_objects_and_any_iterable() -> None:
    entry = pair("192.0.2.1")
    assert list(sorted_endpoint_pairs(iter([entry]), NONE)) == [entry]
    assert order([], NONE) == []


def test_wrong_arguments() -> None:
    with pytest.raises(OSError) as caught:
        NetworkInformation.get_sorted_endpoint_pairs(None, NONE)  # type: ignore[arg-type]
    assert caught.value.winerror == errors.E_INVALIDARG
    with pytest.raises(TypeError):
        NetworkInformation.get_sorted_endpoint_pairs(["192.0.2.1"], NONE)  # type: ignore[list-item]


def test_static_and_final() -> None:
    with pytest.raises(TypeError, match="cannot create"):
        NetworkInformation()
    with pytest.raises(TypeError, match="cannot be subclassed"):
        type("Derived", (NetworkInformation,), {})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("get_connection_profiles", ()),
        ("get_internet_connection_profile", ()),
        ("find_connection_profiles_async", (None,)),
        ("get_lan_identifiers", ()),
        ("get_proxy_configuration_async", (None,)),
        ("add_network_status_changed", (print,)),
        ("remove_network_status_changed", (1,)),
    ],
)
def test_not_built_yet(name: str, arguments: tuple[object, ...]) -> None:
    member = getattr(NetworkInformation, name)
    with pytest.raises(OSError) as caught:
        member(*arguments)
    assert caught.value.winerror == errors.E_NOTIMPL
    assert f"NetworkInformation.{name}" in caught.value.reason
    with pytest.raises(TypeError):
        member(*arguments, None)
