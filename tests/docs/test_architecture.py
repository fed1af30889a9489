"""What ARCHITECTURE.md says is true of the sources."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import tomllib
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from tests.docs.documents import ROOT, code_words, table

import moorings
from moorings import EndpointPair, HostName, SocketProtectionLevel, errors
from moorings.connectivity.network_adapter import NetworkAdapter
from moorings.connectivity.network_information import NetworkInformation
from moorings.sockets import message_web_socket, stream_socket, stream_socket_listener, web_socket_listener
from moorings.sockets.connection import State

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PAGE = "ARCHITECTURE.md"
PACKAGE = ROOT / "src" / "moorings"
TLS12 = SocketProtectionLevel.TLS12
BLUETOOTH = "(01:23:45:67:89:AB)"


# -- rooms -----------------------------------------------------------------------------------------------------------


def test_rooms_are_those_of_the_linter_in_its_order() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert [code_words(row["room"]) for row in table(PAGE, "room")] == [re.findall(r"\w+", layer) for layer in layers]


@pytest.mark.parametrize("room", [room for row in table(PAGE, "room") for room in code_words(row["room"])])
def test_rooms_exist(room: str) -> None:
    assert (PACKAGE / room).is_dir() or list(PACKAGE.glob(f"{room}.*"))


# -- names and places ------------------------------------------------------------------------------------------------


def test_named_files_exist() -> None:
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    files = set(re.findall(r"`([\w/]+\.(?:py|pyx|pxd|json|txt|toml))`", text))
    missing = [
        name
        for name in files
        if not any((base / name).exists() for base in (ROOT, PACKAGE, PACKAGE / "foundation", PACKAGE / "engine"))
    ]
    assert missing == []


def library_classes() -> dict[str, type]:
    names = [information.name for information in pkgutil.walk_packages([str(PACKAGE)], "moorings.")]
    sources = (path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.pyx"))
    compiled_only = {".".join(path.parts) for path in sources}
    return {
        name: value
        for module in names
        if module not in compiled_only
        for name, value in vars(importlib.import_module(module)).items()
        if isinstance(value, type) and value.__module__.startswith("moorings")
    }


def test_named_members_exist() -> None:
    """Everything written as `Class.member` of one of the library's classes."""
    classes = library_classes()
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    named = [(owner, name) for owner, name in re.findall(r"`([A-Z]\w+)\.(\w+)(?:\(\))?`", text) if owner in classes]
    assert len(named) > 20
    assert [f"{owner}.{name}" for owner, name in named if not hasattr(classes[owner], name)] == []


# -- states ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "rules"),
    [
        ("of StreamSocket", stream_socket.RULES),
        ("of StreamSocketListener", stream_socket_listener.RULES),
        ("of WebSocketListener", web_socket_listener.RULES),
        ("of MessageWebSocket", message_web_socket.RULES),
    ],
)
def test_states(column: str, rules: dict[str, frozenset[State]]) -> None:
    written: dict[str, frozenset[State]] = {}
    for row in table(PAGE, "allowed in"):
        names = row["allowed in"].split(", ")
        states = frozenset(State) if names == ["all"] else frozenset(State[name.upper()] for name in names)
        written |= dict.fromkeys(code_words(row[column]), states)
    assert written == rules


# -- what is not built -----------------------------------------------------------------------------------------------


def bluetooth_pair() -> EndpointPair:
    return EndpointPair(None, "", HostName(BLUETOOTH), "1")


UNBUILT: dict[str, list[Callable[[], object]]] = {
    "RFCOMM": [
        lambda: moorings.StreamSocket().connect_async(HostName(BLUETOOTH), "1"),
        lambda: moorings.StreamSocket().connect_async(bluetooth_pair()),
        lambda: moorings.StreamSocketListener().bind_endpoint_async(HostName(BLUETOOTH), "1"),
        lambda: moorings.listen("rfcomm://a:1"),
    ],
    "the broker": [
        lambda: moorings.StreamSocket().enable_transfer_ownership(uuid.uuid4()),
        lambda: moorings.StreamSocketListener().enable_transfer_ownership(uuid.uuid4()),
        lambda: moorings.DatagramSocket().enable_transfer_ownership(uuid.uuid4()),
    ],
    "proxies": [lambda: NetworkInformation.get_proxy_configuration_async(None)],
    "connection profiles": [
        NetworkInformation.get_connection_profiles,
        NetworkInformation.get_internet_connection_profile,
        lambda: NetworkInformation.find_connection_profiles_async(None),
        lambda: object.__new__(NetworkAdapter).get_connected_profile_async(),
    ],
    "location data of the network": [NetworkInformation.get_lan_identifiers],
    "watching the network": [
        lambda: NetworkInformation.add_network_status_changed(print),
        lambda: NetworkInformation.remove_network_status_changed(1),
    ],
}


def test_every_missing_part_has_a_row() -> None:
    parts: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "attr", "") != "not_implemented":
                continue
            part = node.args[1]
            if isinstance(part, ast.Constant):
                parts.add(str(part.value))
            elif isinstance(part, ast.Name):
                parts.add(str(getattr(importlib.import_module("moorings.connectivity.network_information"), part.id)))
    derived = {part for part in parts if part.startswith("a class that derives")}
    in_urls = {"RFCOMM"}
    assert {row["part"] for row in table(PAGE, "member", "part")} == (parts - derived) | in_urls == set(UNBUILT)


@pytest.mark.parametrize(("part", "number"), [(part, n) for part, calls in UNBUILT.items() for n in range(len(calls))])
async def test_members_fail_with_a_reason(part: str, number: int) -> None:
    with pytest.raises(OSError, match=f"needs {part}, which Moorings does not implement yet") as caught:
        UNBUILT[part][number]()
    assert getattr(caught.value, "winerror", None) == errors.E_NOTIMPL


async def test_members_of_open_objects_fail_with_a_reason() -> None:
    async def call(action: Callable[[], object]) -> Any:
        with pytest.raises(OSError, match="which Moorings does not implement yet") as caught:
            action()
        return getattr(caught.value, "winerror", None)

    async with (
        moorings.listen("tcp://127.0.0.1:0", print) as listening,
        await moorings.connect(f"tcp://127.0.0.1:{listening.port}") as client,
    ):
        assert await call(lambda: client.transfer_ownership("id")) == errors.E_NOTIMPL
        assert await call(lambda: listening.listener.transfer_ownership("id")) == errors.E_NOTIMPL


@pytest.mark.parametrize("scheme", ["rfcomm"])
async def test_urls_of_what_is_not_built(scheme: str) -> None:
    connecting: Coroutine[Any, Any, object] = moorings.connect(f"{scheme}://127.0.0.1:1")
    with pytest.raises(OSError, match="which Moorings does not implement yet"):
        await connecting
