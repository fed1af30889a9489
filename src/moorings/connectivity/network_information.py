"""`NetworkInformation`: the names and addresses of this machine, and in which order to try endpoints."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NoReturn

from moorings import errors
from moorings.connectivity import rtnetlink
from moorings.connectivity.network_adapter import make_ip_information, make_network_adapter, usable_addresses
from moorings.foundation.projection import Object, check_enum, check_object, final, not_constructible
from moorings.foundation.vectors import VectorView
from moorings.names.address_order import rfc6724_key, spread
from moorings.names.endpoint_pair import EndpointPair
from moorings.names.enums import HostNameSortOptions, HostNameType
from moorings.names.host_name import HostName, host_text, local_host_name
from moorings.names.resolver import address_of_literal
from moorings.names.source_address import source_address

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from moorings.connectivity.rtnetlink import InterfaceAddress, Link

_PROFILES = "connection profiles"
_IP_TYPES = (HostNameType.IPV4, HostNameType.IPV6)
_IPV6_LINK_LOCAL = "fe80:"


@final
@not_constructible
class NetworkInformation(Object):
    """What this machine's network looks like. All members are static. Source: WinRT NetworkInformation."""

    __slots__ = ()
    _winrt_name_ = "Windows.Networking.Connectivity.NetworkInformation"

    @staticmethod
    def get_host_names() -> VectorView[HostName]:
        """The names and addresses of this machine.

        First its name, then its name in multicast DNS (RFC 6762), then the addresses of the interfaces that are up,
        those of the loopback interface last. Addresses carry `ip_information`, with the adapter to bind to.
        Raises OSError with a WinRT code where the kernel does not tell its interfaces.
        """
        return VectorView(host_names(socket.gethostname(), rtnetlink.read_links(), usable_addresses()))

    @staticmethod
    def get_sorted_endpoint_pairs(
        destination_list: Iterable[EndpointPair], sort_options: HostNameSortOptions, /
    ) -> VectorView[EndpointPair]:
        """The pairs in the order in which to try them.

        The order is RFC 6724's, with the source address of the pair or else the one that the system would use. NONE
        then puts addresses first that were tried least, OPTIMIZE_FOR_LONG_CONNECTIONS does not. Pairs whose remote host
        is a name, which is not looked up here, come last in their given order. Raises E_INVALIDARG (0x80070057) for
        None and TypeError for an item that is no EndpointPair.
        """
        options = HostNameSortOptions(check_enum(sort_options, HostNameSortOptions, "sort_options"))
        return VectorView(sorted_endpoint_pairs(destination_list, options))

    @staticmethod
    def get_connection_profiles() -> NoReturn:
        """Raises E_NOTIMPL (0x80004001): connection profiles are not there yet."""
        raise errors.not_implemented("NetworkInformation.get_connection_profiles", _PROFILES)

    @staticmethod
    def get_internet_connection_profile() -> NoReturn:
        """Raises E_NOTIMPL (0x80004001): connection profiles are not there yet."""
        raise errors.not_implemented("NetworkInformation.get_internet_connection_profile", _PROFILES)

    @staticmethod
    def find_connection_profiles_async(p_profile_filter: object, /) -> NoReturn:  # noqa: ARG004 - WinRT's name
        """Raises E_NOTIMPL (0x80004001): connection profiles are not there yet."""
        raise errors.not_implemented("NetworkInformation.find_connection_profiles_async", _PROFILES)

    @staticmethod
    def get_lan_identifiers() -> NoReturn:
        """Raises E_NOTIMPL (0x80004001): location data of the network is not there yet."""
        raise errors.not_implemented("NetworkInformation.get_lan_identifiers", "location data of the network")

    @staticmethod
    def get_proxy_configuration_async(uri: object, /) -> NoReturn:  # noqa: ARG004 - WinRT's name
        """Raises E_NOTIMPL (0x80004001): proxies are not there yet."""
        raise errors.not_implemented("NetworkInformation.get_proxy_configuration_async", "proxies")

    @staticmethod
    def add_network_status_changed(handler: object, /) -> NoReturn:  # noqa: ARG004 - WinRT's name
        """Raises E_NOTIMPL (0x80004001): watching the network is not there yet."""
        raise errors.not_implemented("NetworkInformation.add_network_status_changed", "watching the network")

    @staticmethod
    def remove_network_status_changed(token: object, /) -> NoReturn:  # noqa: ARG004 - WinRT's name
        """Raises E_NOTIMPL (0x80004001): watching the network is not there yet."""
        raise errors.not_implemented("NetworkInformation.remove_network_status_changed", "watching the network")


def host_names(machine_name: str, links: Iterable[Link], addresses: Iterable[InterfaceAddress]) -> list[HostName]:
    """The names of a machine with these links and addresses. A machine name that is no host name is left out."""
    names = [machine_name]
    label = machine_name.partition(".")[0]
    if not machine_name.endswith(".local"):
        names.append(f"{label}.local")
    found: list[HostName] = []
    for name in names:
        try:
            found.append(HostName(name))
        except OSError:
            continue  # the kernel lets an administrator set any text
    up = {link.interface_index: link for link in links if link.flags & rtnetlink.IFF_UP}
    adapters = {index: make_network_adapter(link) for index, link in up.items()}
    local: list[HostName] = []
    loopback: list[HostName] = []
    for address in addresses:
        adapter = adapters.get(address.interface_index)
        if adapter is not None:
            information = make_ip_information(adapter, address.prefix_length)
            host = local_host_name(_text_with_scope(address, up[address.interface_index]), information)
            (loopback if adapter.is_loopback else local).append(host)
    return found + local + loopback


def _text_with_scope(address: InterfaceAddress, link: Link) -> str:
    """A link-local address means nothing without its interface; the number serves where the name is a strange one."""
    if not address.address.startswith(_IPV6_LINK_LOCAL):
        return address.address
    name = link.name if link.name.isascii() and link.name.isprintable() and "%" not in link.name else ""
    return f"{address.address}%{name or link.interface_index}"


def sorted_endpoint_pairs(
    destination_list: Iterable[EndpointPair] | None, sort_options: HostNameSortOptions
) -> list[EndpointPair]:
    """See `NetworkInformation.get_sorted_endpoint_pairs`."""
    if destination_list is None:
        raise errors.invalid_argument("NetworkInformation.get_sorted_endpoint_pairs: a sequence is needed, not None")
    named: list[EndpointPair] = []
    keyed: list[tuple[tuple[Any, ...], str | None, EndpointPair]] = []
    for pair in destination_list:
        check_object(pair, EndpointPair, "an item of destination_list")
        destination = host_text(pair.remote_host_name)
        if destination.type in _IP_TYPES:
            source = _source_of(pair)
            keyed.append((rfc6724_key(destination.canonical, source), source, pair))
        else:
            named.append(pair)
    keyed.sort(key=lambda entry: entry[0])
    if not sort_options & HostNameSortOptions.OPTIMIZE_FOR_LONG_CONNECTIONS:
        keyed = spread(keyed, lambda entry: (entry[1], entry[2].remote_host_name.canonical_name))
    return [pair for _, _, pair in keyed] + named


def _source_of(pair: EndpointPair) -> str | None:
    """The address that the pair itself names, or the one that the system would use; None where there is no way."""
    if pair.local_host_name is not None and host_text(pair.local_host_name).type in _IP_TYPES:
        return pair.local_host_name.canonical_name
    try:
        address = address_of_literal(host_text(pair.remote_host_name))
    except OSError:
        return None  # its scope names an interface that this machine does not have
    return source_address(address.family, address.sockaddr(0))
