"""Netlink messages: what the parsers take and refuse, and how a dump is read."""

from __future__ import annotations

import errno
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from moorings import errors
from moorings.connectivity import rtnetlink
from moorings.connectivity.rtnetlink import (
    InterfaceAddress,
    Link,
    Message,
    NetlinkFormatError,
    dump_request,
    parse_address,
    parse_attributes,
    parse_error,
    parse_link,
    parse_messages,
    read_addresses,
    read_links,
)

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus" / "rtnetlink"
V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)
MAC = bytes.fromhex("02fc00000001")


def message(kind: int, payload: bytes, *, flags: int = 0, sequence: int = 1) -> bytes:
    length = 16 + len(payload)
    return struct.pack("=IHHII", length, kind, flags, sequence, 0) + payload + b"\0" * (-length % 4)


def attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def link(*attributes: bytes, index: int = 4, hardware_type: int = 1, flags: int = 1) -> bytes:
    return struct.pack("=BxHiII", 0, hardware_type, index, flags, 0) + b"".join(attributes)


def address(*attributes: bytes, family: int = V4, prefix: int = 24, flags: int = 0, index: int = 4) -> bytes:
    return struct.pack("=BBBBI", family, prefix, flags, 0, index) + b"".join(attributes)


NAME = attribute(3, b"eth0\0")


def test_messages() -> None:
    data = message(16, b"abcde") + message(3, b"")
    assert list(parse_messages(data)) == [Message(16, 0, 1, b"abcde"), Message(3, 0, 1, b"")]
    assert list(parse_messages(b"")) == []


@pytest.mark.parametrize("length", [0, 15, 17, 2**32 - 1])
def test_message_lengths(length: int) -> None:
    with pytest.raises(NetlinkFormatError):
        list(parse_messages(struct.pack("=IHHII", length, 16, 0, 1, 0)))


def test_a_cut_message() -> None:
    with pytest.raises(NetlinkFormatError):
        list(parse_messages(message(16, b"abcd")[:-1]))
    with pytest.raises(NetlinkFormatError):
        list(parse_messages(message(16, b"abcd") + b"\0"))


def test_attributes() -> None:
    data = attribute(3, b"abcde") + attribute(0x8000 | 18, b"") + attribute(3, b"last")
    assert parse_attributes(data) == {3: b"last", 18: b""}
    for bad in (b"\0", struct.pack("=HH", 3, 1), struct.pack("=HH", 5, 1), struct.pack("=HH", 0, 1)):
        with pytest.raises(NetlinkFormatError):
            parse_attributes(bad)


def test_link() -> None:
    assert parse_link(link(NAME, attribute(1, MAC), attribute(54, MAC))) == Link(4, "eth0", 1, 1, MAC, MAC)
    assert parse_link(link(NAME, attribute(1, bytes(6)))) == Link(4, "eth0", 1, 1, b"", b"")
    assert parse_link(link(NAME, attribute(4, struct.pack("=I", 1500)))).mtu == 1500
    assert parse_link(link(NAME)).mtu == 0
    assert parse_link(link(attribute(3, b"fifteen-letters\0"))).name == "fifteen-letters"
    assert parse_link(link(attribute(3, b"\xff\0"))).name == "\udcff"


@pytest.mark.parametrize(
    "name", [b"", b"\0", b".\0", b"..\0", b"a/b\0", b"a b\0", b"a:1\0", b"a\0b\0", b"a\n\0", b"sixteen-letters-\0"]
)
def test_names_that_the_kernel_does_not_allow(name: bytes) -> None:
    with pytest.raises(NetlinkFormatError):
        parse_link(link(attribute(3, name)))


def test_links_that_make_no_sense() -> None:
    for bad in (
        b"",
        link()[:-1],
        link(),
        link(NAME, index=0),
        link(NAME, index=-1),
        link(NAME, attribute(1, bytes(33))),
        link(NAME, attribute(4, bytes(3))),
    ):
        with pytest.raises(NetlinkFormatError):
            parse_link(bad)


def test_events_of_bridge_ports_are_told_apart() -> None:
    assert rtnetlink.is_about_the_link_itself(link(NAME))
    assert not rtnetlink.is_about_the_link_itself(b"\7" + link(NAME)[1:])
    assert not rtnetlink.is_about_the_link_itself(b"")


def test_addresses() -> None:
    ours, theirs = socket.inet_aton("10.9.9.1"), socket.inet_aton("10.9.9.2")
    assert parse_address(address(attribute(1, ours))) == InterfaceAddress(4, V4, "10.9.9.1", 24, 0)
    # On a point-to-point link the other side's address is there as well.
    both = address(attribute(1, theirs), attribute(2, ours), prefix=32)
    assert parse_address(both) == InterfaceAddress(4, V4, "10.9.9.1", 32, 0)
    six = socket.inet_pton(V6, "2001:db8::1")
    flags = attribute(8, struct.pack("=I", 0x240))
    assert parse_address(address(attribute(1, six), flags, family=V6, prefix=64, flags=0x80)) == InterfaceAddress(
        4, V6, "2001:db8::1", 64, 0x240
    )
    assert parse_address(address(family=45)) is None  # MCTP


def test_addresses_that_make_no_sense() -> None:
    four = attribute(1, bytes(4))
    for bad in (
        b"",
        address()[:-1],
        address(),
        address(attribute(1, bytes(16))),
        address(four, family=V6),
        address(four, prefix=33),
        address(four, index=0),
        address(four, index=2**31),
        address(four, attribute(8, b"\0")),
    ):
        with pytest.raises(NetlinkFormatError):
            parse_address(bad)


def test_errors() -> None:
    assert parse_error(struct.pack("=i", -errno.EPERM) + bytes(16)) == errno.EPERM
    assert parse_error(struct.pack("=i", 0)) == 0
    for bad in (b"", struct.pack("=i", 1), struct.pack("=i", -4096)):
        with pytest.raises(NetlinkFormatError):
            parse_error(bad)


def test_requests() -> None:
    (request,) = parse_messages(dump_request(rtnetlink.RTM_GETLINK, 7))
    assert request == Message(18, 0x301, 7, bytes(16))
    (request,) = parse_messages(dump_request(rtnetlink.RTM_GETADDR, 8))
    assert request == Message(22, 0x301, 8, bytes(8))


def test_what_a_kernel_sent() -> None:
    names = [
        parse_link(found.payload).name
        for file in ("links_0", "links_1")
        for found in parse_messages((CORPUS / file).read_bytes())
    ]
    assert sorted(names) == ["lo", "v0", "v1"]
    found = [parse_address(found.payload) for found in parse_messages((CORPUS / "addresses_0").read_bytes())]
    assert "10.9.9.1" in [entry.address for entry in found if entry is not None]


def test_this_machine() -> None:
    links = read_links()
    assert {entry.name for entry in links} == {name for _, name in socket.if_nameindex()}
    loopback = next(entry for entry in links if entry.flags & rtnetlink.IFF_LOOPBACK)
    assert InterfaceAddress(loopback.interface_index, V4, "127.0.0.1", 8, 128) in read_addresses()


class Kernel:
    """A netlink socket whose datagrams are given; each entry is octets, flags and the sender's number, or an error."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.requests: list[bytes] = []
        self.closed = False

    def __call__(self, *_: object) -> Kernel:
        return self

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def settimeout(self, seconds: float) -> None:
        assert seconds == rtnetlink.DUMP_DEADLINE

    def bind(self, address: tuple[int, int]) -> None:
        assert address == (0, 0)

    def send(self, data: bytes) -> None:
        self.requests.append(data)

    def recvmsg(self, size: int) -> tuple[bytes, list[Any], int, tuple[int, int]]:
        entry = self.script.pop(0)
        if isinstance(entry, BaseException):
            raise entry
        data, flags, sender = entry if isinstance(entry, tuple) else (entry, 0, 0)
        assert len(data) <= size
        return data, [], flags, (sender, 0)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*script: Any) -> tuple[Kernel, list[str]]:
        kernel = Kernel(*script)
        monkeypatch.setattr(rtnetlink.socket, "socket", kernel)
        try:
            return kernel, [entry.name for entry in read_links()]
        finally:
            assert kernel.closed

    return run


def link_message(name: str, **options: int) -> bytes:
    return message(16, link(attribute(3, name.encode() + b"\0")), **options)


DONE = message(3, bytes(4))


def test_a_dump_in_several_datagrams(run: Any) -> None:
    kernel, names = run(link_message("a") + link_message("b"), link_message("c"), DONE)
    assert names == ["a", "b", "c"]
    assert kernel.requests == [dump_request(18, 1)]


def test_what_is_not_an_answer_is_passed_over(run: Any) -> None:
    _, names = run(
        (link_message("forged"), 0, 4711),
        link_message("old", sequence=99),
        message(1, b"") + message(2, bytes(20)) + message(20, b"rubbish") + link_message("a"),
        DONE,
    )
    assert names == ["a"]


def test_a_dump_that_was_disturbed_is_repeated(run: Any) -> None:
    again = [link_message("a", flags=0x10), DONE]
    kernel, names = run(*again, link_message("b", sequence=2), message(3, bytes(4), sequence=2))
    assert names == ["b"]
    assert len(kernel.requests) == 2


def test_a_dump_is_not_repeated_for_ever(run: Any) -> None:
    script: list[bytes] = []
    for sequence in range(1, 5):
        script += [link_message(f"a{sequence}"), message(3, bytes(4), flags=0x10, sequence=sequence)]
        script[-2] = link_message(f"a{sequence}", sequence=sequence)
    _, names = run(*script)
    assert names == ["a4"]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (message(2, struct.pack("=i", -errno.EPERM) + bytes(16)), errors.WSAEACCES),
        (message(4, b""), errors.WSAENOBUFS),
        (TimeoutError("timed out"), errors.WSAETIMEDOUT),
        (OSError(errno.ENOBUFS, "No buffer space available"), errors.WSAENOBUFS),
        (b"rubbish", errors.E_FAIL),
        ((link_message("a"), socket.MSG_TRUNC, 0), errors.E_FAIL),
        (message(16, b"rubbish") + DONE, errors.E_FAIL),
    ],
)
def test_failures(run: Any, script: Any, code: int) -> None:
    with pytest.raises(OSError) as caught:
        run(script)
    assert caught.value.winerror == code
    assert "network interfaces" in caught.value.reason


def test_a_flood_is_cut(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtnetlink, "DUMP_LIMIT", 100)
    with pytest.raises(OSError) as caught:
        run(*[link_message("a")] * 10)
    assert "more than 100 octets" in caught.value.reason


def test_a_kernel_without_netlink(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(rtnetlink.socket, "socket", refuse)
    with pytest.raises(OSError) as caught:
        read_addresses()
    assert caught.value.winerror == errors.WSAEAFNOSUPPORT
