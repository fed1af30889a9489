"""Adapters: their numbers, kinds, speeds and networks, from what the kernel tells about them."""

from __future__ import annotations

import socket
import uuid
from typing import TYPE_CHECKING

import pytest

from moorings import errors
from moorings.connectivity import network_adapter as module
from moorings.connectivity.enums import NetworkTypes
from moorings.connectivity.network_adapter import (
    IPInformation,
    NetworkAdapter,
    NetworkItem,
    is_private,
    machine_id,
    make_ip_information,
    make_network_adapter,
    network_adapters,
)
from moorings.connectivity.rtnetlink import InterfaceAddress, Link

if TYPE_CHECKING:
    from pathlib import Path

MAC = bytes.fromhex("02fc00000001")
OTHER = bytes.fromhex("02fc00000002")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The machine's id, for the test to change."""
    found = ["0123456789abcdef"]
    monkeypatch.setattr(module, "machine_id", lambda: found[0])
    return found


def adapter(sysfs: Path, name: str = "eth0", **fields: object) -> NetworkAdapter:
    values = {
        "interface_index": 4,
        "name": name,
        "hardware_type": 1,
        "flags": 1,
        "hardware_address": MAC,
        "permanent_address": MAC,
        **fields,
    }
    return make_network_adapter(Link(**values), sysfs)  # type: ignore[arg-type]


def put(sysfs: Path, name: str, text: str, interface: str = "eth0") -> None:
    folder = sysfs / interface
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)


def test_programs_cannot_make_or_derive_them() -> None:
    for kind in (NetworkAdapter, NetworkItem, IPInformation):
        for arguments in ((), (1,)):
            with pytest.raises(TypeError, match="cannot create"):
                kind(*arguments)
        with pytest.raises(TypeError, match="cannot be subclassed"):
            type("Derived", (kind,), {})


def test_the_number_follows_the_device(tmp_path: Path, machine: list[str]) -> None:
    number = adapter(tmp_path).network_adapter_id
    assert number == uuid.uuid5(module.ID_NAMESPACE, "address 02:fc:00:00:00:01")
    assert adapter(tmp_path, "renamed", hardware_address=OTHER).network_adapter_id == number
    assert adapter(tmp_path, permanent_address=OTHER).network_adapter_id != number
    machine[0] = "another machine"
    assert adapter(tmp_path).network_adapter_id == number


def test_the_number_of_a_device_without_an_address_of_its_own(tmp_path: Path, machine: list[str]) -> None:
    number = adapter(tmp_path, permanent_address=b"").network_adapter_id
    assert adapter(tmp_path, permanent_address=b"", hardware_address=OTHER).network_adapter_id == number
    assert adapter(tmp_path, "eth1", permanent_address=b"").network_adapter_id != number
    machine[0] = "another machine"
    assert adapter(tmp_path, permanent_address=b"").network_adapter_id != number


def test_the_number_on_an_old_kernel(tmp_path: Path, machine: list[str]) -> None:
    put(tmp_path, "addr_assign_type", "0\n")
    old = adapter(tmp_path, permanent_address=b"")
    assert old.network_adapter_id == adapter(tmp_path).network_adapter_id
    put(tmp_path, "addr_assign_type", "1\n")
    assert old.network_adapter_id != adapter(tmp_path).network_adapter_id


@pytest.mark.parametrize(
    ("hardware_type", "number"),
    [(1, 6), (772, 24), (512, 23), (768, 131), (776, 131), (65534, 131), (24, 144), (32, 199), (801, 71), (280, 1)],
)
def test_kinds(tmp_path: Path, hardware_type: int, number: int) -> None:
    assert adapter(tmp_path, hardware_type=hardware_type).iana_interface_type == number


@pytest.mark.parametrize("name", ["wireless", "phy80211"])
def test_wifi(tmp_path: Path, name: str) -> None:
    (tmp_path / "eth0" / name).mkdir(parents=True)
    assert adapter(tmp_path).iana_interface_type == 71
    assert adapter(tmp_path, "eth1").iana_interface_type == 6


@pytest.mark.parametrize(
    ("text", "speed"), [("1000\n", 10**9), ("-1\n", 0), ("0\n", 0), ("", 0), ("x\n", 0), (None, 0)]
)
def test_speed(tmp_path: Path, text: str | None, speed: int) -> None:
    if text is not None:
        put(tmp_path, "speed", text)
    found = adapter(tmp_path)
    assert (found.inbound_max_bits_per_second, found.outbound_max_bits_per_second) == (speed, speed)


def test_names_and_numbers(tmp_path: Path) -> None:
    found = adapter(tmp_path)
    assert (found.interface_name, found.interface_index, found.is_loopback) == ("eth0", 4, False)
    assert adapter(tmp_path, flags=9).is_loopback
    assert repr(found) == "<NetworkAdapter eth0 (4)>"


def test_profiles_are_not_built(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        adapter(tmp_path).get_connected_profile_async()
    assert caught.value.winerror == errors.E_NOTIMPL
    assert "connection profiles" in caught.value.reason


@pytest.mark.parametrize(
    ("addresses", "routes", "flags", "types"),
    [
        (["192.168.1.2"], {"eth0"}, 1, NetworkTypes.INTERNET | NetworkTypes.PRIVATE_NETWORK),
        (["198.51.100.2"], {"eth0"}, 1, NetworkTypes.INTERNET),
        (["10.0.0.1"], {"eth1"}, 1, NetworkTypes.PRIVATE_NETWORK),
        (["169.254.0.1", "fe80::1"], set(), 1, NetworkTypes.NONE),
        (["fd00::1"], set(), 1, NetworkTypes.PRIVATE_NETWORK),
        ([], set(), 1, NetworkTypes.NONE),
        (["10.0.0.1"], {"eth0"}, 9, NetworkTypes.NONE),
    ],
)
def test_networks(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    addresses: list[str],
    routes: set[str],
    flags: int,
    types: NetworkTypes,
) -> None:
    found = [InterfaceAddress(4, 2, address, 24, 0) for address in addresses]
    others = [InterfaceAddress(5, 2, "10.9.9.9", 24, 0)]
    monkeypatch.setattr(module.rtnetlink, "read_addresses", lambda: found + others)
    monkeypatch.setattr(module, "default_route_interfaces", lambda: routes)
    item = adapter(tmp_path, flags=flags).network_item
    assert item.get_network_types() == types


def test_the_number_of_a_network(tmp_path: Path) -> None:
    first, second = adapter(tmp_path), adapter(tmp_path, permanent_address=OTHER)
    assert first.network_item.network_id == first.network_item.network_id != first.network_adapter_id
    assert first.network_item.network_id != second.network_item.network_id


def test_addresses_that_cannot_be_used_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [InterfaceAddress(4, 10, f"fd00::{flags:x}", 64, flags) for flags in (0x80, 0x40, 0x08, 0x01)]
    monkeypatch.setattr(module.rtnetlink, "read_addresses", lambda: found)
    assert adapter(tmp_path).addresses() == [found[0], found[3]]


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("10.0.0.1", True),
        ("172.16.0.1", True),
        ("172.32.0.1", False),
        ("192.168.255.255", True),
        ("127.0.0.1", False),
        ("fd00::1", True),
        ("fe80::1", False),
        ("2001:db8::1", False),
    ],
)
def test_private(address: str, private: bool) -> None:
    assert is_private(address) is private


def test_machine_id(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert machine_id((first, second)) == ""
    second.write_text("abc\n")
    assert machine_id((first, second)) == "abc"
    first.write_text("\n")
    assert machine_id((first, second)) == "abc"
    first.write_text("def\n")
    assert machine_id((first, second)) == "def"


def test_ip_information(tmp_path: Path) -> None:
    found = adapter(tmp_path)
    information = make_ip_information(found, 24)
    assert (information.network_adapter, information.prefix_length) == (found, 24)


def test_this_machine() -> None:
    found = {entry.interface_name: entry for entry in network_adapters()}
    assert set(found) == {name for _, name in socket.if_nameindex()}
    assert "127.0.0.1" in [entry.address for entry in found["lo"].addresses()]
    assert found["lo"].iana_interface_type == 24
    assert len({entry.network_adapter_id for entry in found.values()}) == len(found)
