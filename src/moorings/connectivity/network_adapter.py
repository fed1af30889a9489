"""`NetworkAdapter`, `NetworkItem` and `IPInformation`: an interface, its network, and an address on it."""

# pyright: reportPrivateUsage=false
# The functions below the classes are their constructors; programs cannot make these objects.

from __future__ import annotations

import ipaddress
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from moorings import errors
from moorings.connectivity import rtnetlink
from moorings.connectivity.enums import NetworkTypes
from moorings.connectivity.routes import default_route_interfaces
from moorings.foundation.projection import Object, final, not_constructible

if TYPE_CHECKING:
    from moorings.connectivity.rtnetlink import InterfaceAddress, Link

#: Under this name space the numbers of adapters and networks are made (RFC 9562 section 5.5).
ID_NAMESPACE = uuid.UUID("c9f2b7b1-58f5-4bb0-9c1c-2d6c3f5e8a40")

_SYSFS = Path("/sys/class/net")
_MACHINE_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_BITS_PER_MEGABIT = 1_000_000

_IANA_OTHER = 1
_IANA_ETHERNET = 6
_IANA_WIFI = 71
#: ARPHRD_* of linux/if_arp.h to ifType of IANAifType-MIB.
_IANA_TYPES = {
    1: _IANA_ETHERNET,
    24: 144,  # IEEE 1394
    32: 199,  # InfiniBand
    512: 23,  # PPP
    768: 131,  # IPv4 tunnel
    769: 131,  # IPv6 tunnel
    772: 24,  # loopback
    776: 131,  # IPv6 in IPv4
    778: 131,  # GRE
    801: _IANA_WIFI,
    802: _IANA_WIFI,
    803: _IANA_WIFI,
    823: 131,  # GRE over IPv6
    65534: 131,  # no hardware at all: tun, WireGuard
}
_PRIVATE_V4 = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
_PRIVATE_V6 = ipaddress.IPv6Network("fc00::/7")


@final
@not_constructible
class NetworkItem(Object):
    """The network that an adapter is connected to. Source: WinRT NetworkItem."""

    __slots__ = ("__weakref__", "_adapter")
    _winrt_name_ = "Windows.Networking.Connectivity.NetworkItem"

    _adapter: NetworkAdapter

    @property
    def network_id(self) -> uuid.UUID:
        """A number for the network. It is made of the adapter's, as Linux has none of its own."""
        return uuid.uuid5(ID_NAMESPACE, f"network {self._adapter.network_adapter_id}")

    def get_network_types(self) -> NetworkTypes:
        """What the network leads to: INTERNET with a default route, PRIVATE_NETWORK with an address of RFC 1918 or
        RFC 4193. The loopback interface has neither. Raises OSError where the kernel does not tell.
        """
        adapter = self._adapter
        types = NetworkTypes.NONE
        if adapter.is_loopback:
            return types
        if adapter.interface_name in default_route_interfaces():
            types |= NetworkTypes.INTERNET
        if any(is_private(address.address) for address in adapter.addresses()):
            types |= NetworkTypes.PRIVATE_NETWORK
        return types


@final
@not_constructible
class NetworkAdapter(Object):
    """A network interface of this machine. Source: WinRT NetworkAdapter."""

    __slots__ = ("__weakref__", "_link", "_sysfs")
    _winrt_name_ = "Windows.Networking.Connectivity.NetworkAdapter"

    _link: Link
    _sysfs: Path

    @property
    def network_adapter_id(self) -> uuid.UUID:
        """A number that stays the same over restarts: made of the device's permanent hardware address, or, for devices
        that have none, of the interface's name and the machine's id.
        """
        permanent = self._link.permanent_address
        if not permanent and self._read("addr_assign_type") == "0":
            permanent = self._link.hardware_address  # kernels before 5.6 do not send the permanent one
        if permanent:
            return uuid.uuid5(ID_NAMESPACE, f"address {permanent.hex(':')}")
        return uuid.uuid5(ID_NAMESPACE, f"interface {self._link.name!a} {machine_id()}")

    @property
    def iana_interface_type(self) -> int:
        """The kind of interface as IANA numbers them: 6 Ethernet, 71 Wi-Fi, 24 loopback, 131 tunnel, 1 other."""
        kind = _IANA_TYPES.get(self._link.hardware_type, _IANA_OTHER)
        if kind == _IANA_ETHERNET and any((self._folder / name).exists() for name in ("wireless", "phy80211")):
            return _IANA_WIFI
        return kind

    @property
    def inbound_max_bits_per_second(self) -> int:
        """Speed of the link in bits per second; 0 where the driver does not tell it."""
        return self._speed()

    @property
    def outbound_max_bits_per_second(self) -> int:
        """Speed of the link in bits per second; 0 where the driver does not tell it."""
        return self._speed()

    @property
    def network_item(self) -> NetworkItem:
        """The network that this adapter is connected to."""
        item = object.__new__(NetworkItem)
        item._adapter = self
        return item

    def get_connected_profile_async(self) -> NoReturn:
        """Raises E_NOTIMPL (0x80004001): connection profiles are not there yet."""
        raise errors.not_implemented("NetworkAdapter.get_connected_profile_async", "connection profiles")

    @property
    def interface_name(self) -> str:
        """The name of the interface, such as "eth0", when this object was made."""
        return self._link.name

    @property
    def interface_index(self) -> int:
        """The kernel's number of the interface."""
        return self._link.interface_index

    @property
    def is_loopback(self) -> bool:
        """True for the loopback interface."""
        return bool(self._link.flags & rtnetlink.IFF_LOOPBACK)

    def addresses(self) -> list[InterfaceAddress]:
        """The addresses that the interface has now and that can be used. Raises OSError as `network_adapters`."""
        return [address for address in usable_addresses() if address.interface_index == self._link.interface_index]

    def __repr__(self) -> str:
        return f"<NetworkAdapter {self._link.name} ({self._link.interface_index})>"

    @property
    def _folder(self) -> Path:
        return self._sysfs / self._link.name

    def _read(self, name: str) -> str:
        try:
            return (self._folder / name).read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            return ""  # the driver does not have the value, or the interface has gone

    def _speed(self) -> int:
        text = self._read("speed")
        return int(text) * _BITS_PER_MEGABIT if text.isdecimal() else 0


@final
@not_constructible
class IPInformation(Object):
    """Which adapter has a local address, and how long its network prefix is. Source: WinRT IPInformation."""

    __slots__ = ("__weakref__", "_adapter", "_prefix_length")
    _winrt_name_ = "Windows.Networking.Connectivity.IPInformation"

    _adapter: NetworkAdapter
    _prefix_length: int

    @property
    def network_adapter(self) -> NetworkAdapter:
        """The adapter that has the address."""
        return self._adapter

    @property
    def prefix_length(self) -> int | None:
        """Bits of the address that belong to the network."""
        return self._prefix_length


def make_network_adapter(link: Link, sysfs: Path = _SYSFS) -> NetworkAdapter:
    """An adapter for a link; `sysfs` is the folder with one folder for each interface."""
    adapter = object.__new__(NetworkAdapter)
    adapter._link = link
    adapter._sysfs = sysfs
    return adapter


def make_ip_information(adapter: NetworkAdapter, prefix_length: int) -> IPInformation:
    """The information that a local host name carries."""
    information = object.__new__(IPInformation)
    information._adapter = adapter
    information._prefix_length = prefix_length
    return information


def network_adapters() -> list[NetworkAdapter]:
    """All adapters of this machine, in the kernel's order. Raises OSError where the kernel does not tell."""
    return [make_network_adapter(link) for link in rtnetlink.read_links()]


def usable_addresses() -> list[InterfaceAddress]:
    """All addresses that can be bound: not those that duplicate address detection has not passed (RFC 4862)."""
    unusable = rtnetlink.IFA_F_TENTATIVE | rtnetlink.IFA_F_DADFAILED
    return [address for address in rtnetlink.read_addresses() if not address.flags & unusable]


def is_private(address: str) -> bool:
    """True for an address of RFC 1918 or RFC 4193."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return any(parsed in network for network in _PRIVATE_V4)
    return parsed in _PRIVATE_V6


def machine_id(files: tuple[Path, ...] = _MACHINE_ID_FILES) -> str:
    """The id of this installation (machine-id(5)), or "". It is secret: use it only as part of a hash."""
    for file in files:
        try:
            text = file.read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            continue
        if text:
            return text
    return ""
