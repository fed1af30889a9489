"""Links and addresses of this machine, from the kernel's rtnetlink.

Theory of operation
-------------------
A dump request is answered by a run of messages that ends with NLMSG_DONE. The parsers are pure functions over octets:
they check every length before they use it, ignore message types, families and attributes that they do not know, and
raise `NetlinkFormatError` for anything that contradicts itself. `read_links` and `read_addresses` do the talking, with
a deadline and with limits on what is taken. Sources: netlink(7), rtnetlink(7), linux/if_link.h, linux/if_addr.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from moorings import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

#: Seconds until a dump that does not end fails. The kernel normally needs milliseconds.
DUMP_DEADLINE = 5.0
#: Octets of one dump that are taken; a machine with 10,000 links sends some 20 MiB.
DUMP_LIMIT = 64 * 1024 * 1024
#: Times a dump is repeated because something changed meanwhile; then the last one counts as it is.
DUMP_REPEATS = 3

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSG_OVERRUN = 4
RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_NEWADDR = 20
RTM_GETADDR = 22
NLM_F_REQUEST = 0x1
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300

#: Groups of events, to be bound to (linux/rtnetlink.h): links, and addresses of both families.
RTMGRP_LINK = 0x1
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV6_IFADDR = 0x100

IFF_UP = 0x1
IFF_LOOPBACK = 0x8
IFF_MULTICAST = 0x1000
IFA_F_DADFAILED = 0x08
IFA_F_TENTATIVE = 0x40

_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_PERM_ADDRESS = 54
_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_FLAGS = 8
_ATTRIBUTE_TYPE_MASK = 0x3FFF  # the two highest bits are flags

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_IFINFOMSG = struct.Struct("=BxHiII")
_IFADDRMSG = struct.Struct("=BBBBI")
_U32 = struct.Struct("=I")
_I32 = struct.Struct("=i")
_RECEIVE_SIZE = 65536
_MAX_NAME = 15
_MAX_HARDWARE_ADDRESS = 32
_ADDRESS_LENGTHS = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}


class NetlinkFormatError(ValueError):
    """What was received is no netlink message as the kernel writes it."""


class Message(NamedTuple):
    """One netlink message."""

    type: int
    flags: int
    sequence: int
    payload: bytes


class Link(NamedTuple):
    """One network interface."""

    interface_index: int
    name: str
    #: ARPHRD_* number of linux/if_arp.h.
    hardware_type: int
    #: IFF_* flags.
    flags: int
    #: Current hardware address; b"" where there is none.
    hardware_address: bytes
    #: Hardware address burnt into the device; b"" for devices made of software.
    permanent_address: bytes
    #: Bytes of the longest packet; 0 where the kernel did not say.
    mtu: int = 0


class InterfaceAddress(NamedTuple):
    """One IP address of an interface."""

    interface_index: int
    family: int
    #: Numeric text without scope.
    address: str
    prefix_length: int
    #: IFA_F_* flags.
    flags: int


def parse_messages(data: bytes) -> Iterator[Message]:
    """Cut one received datagram into messages."""
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise NetlinkFormatError(f"{len(data) - offset} octets are left, too few for a message header")
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if not _HEADER.size <= length <= len(data) - offset:
            raise NetlinkFormatError(f"message length {length} with {len(data) - offset} octets left")
        yield Message(kind, flags, sequence, data[offset + _HEADER.size : offset + length])
        offset += _align(length)


def parse_attributes(data: bytes) -> dict[int, bytes]:
    """Cut attributes apart. Where a type occurs twice the last one counts, as in the kernel."""
    attributes: dict[int, bytes] = {}
    offset = 0
    while offset < len(data):
        if len(data) - offset < _ATTRIBUTE.size:
            raise NetlinkFormatError(f"{len(data) - offset} octets are left, too few for an attribute header")
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= len(data) - offset:
            raise NetlinkFormatError(f"attribute length {length} with {len(data) - offset} octets left")
        attributes[kind & _ATTRIBUTE_TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += _align(length)
    return attributes


def parse_link(payload: bytes) -> Link:
    """Read the payload of an RTM_NEWLINK message."""
    if len(payload) < _IFINFOMSG.size:
        raise NetlinkFormatError(f"a link message of {len(payload)} octets is too short")
    _, hardware_type, index, flags, _ = _IFINFOMSG.unpack_from(payload)
    if index <= 0:
        raise NetlinkFormatError(f"interface number {index}")
    attributes = parse_attributes(payload[_IFINFOMSG.size :])
    return Link(
        index,
        _interface_name(attributes.get(_IFLA_IFNAME, b"")),
        hardware_type,
        flags,
        _hardware_address(attributes.get(_IFLA_ADDRESS, b"")),
        _hardware_address(attributes.get(_IFLA_PERM_ADDRESS, b"")),
        _fixed(_U32, attributes.get(_IFLA_MTU, bytes(_U32.size))),
    )


def is_about_the_link_itself(payload: bytes) -> bool:
    """Whether a link message tells of the interface: as an event there are also those of bridge ports (AF_BRIDGE)."""
    return payload[:1] == bytes((socket.AF_UNSPEC,))


def parse_address(payload: bytes) -> InterfaceAddress | None:
    """Read the payload of an RTM_NEWADDR message; None for a family that is not IPv4 or IPv6."""
    if len(payload) < _IFADDRMSG.size:
        raise NetlinkFormatError(f"an address message of {len(payload)} octets is too short")
    family, prefix_length, flags, _, index = _IFADDRMSG.unpack_from(payload)
    length = _ADDRESS_LENGTHS.get(family)
    if length is None:
        return None
    attributes = parse_attributes(payload[_IFADDRMSG.size :])
    # On a point-to-point link IFA_ADDRESS is the other side and IFA_LOCAL is ours.
    packed = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS, b""))
    if len(packed) != length or prefix_length > length * 8 or not 0 < index <= 0x7FFF_FFFF:
        raise NetlinkFormatError(f"address of {len(packed)} octets, prefix {prefix_length}, interface {index}")
    if _IFA_FLAGS in attributes:
        flags = _fixed(_U32, attributes[_IFA_FLAGS])
    return InterfaceAddress(index, family, socket.inet_ntop(family, packed), prefix_length, flags)


def parse_error(payload: bytes) -> int:
    """Read the payload of an NLMSG_ERROR message: a positive errno, or 0 for an acknowledgement."""
    if len(payload) < _I32.size:
        raise NetlinkFormatError(f"an error message of {len(payload)} octets is too short")
    (code,) = _I32.unpack_from(payload)
    if not -4095 <= code <= 0:
        raise NetlinkFormatError(f"error number {code}")
    return -int(code)


def dump_request(kind: int, sequence: int) -> bytes:
    """The request for all links (RTM_GETLINK) or all addresses (RTM_GETADDR)."""
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) if kind == RTM_GETLINK else _IFADDRMSG.pack(0, 0, 0, 0, 0)
    return _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, sequence, 0) + body


def read_links() -> list[Link]:
    """All interfaces in this network namespace, in the kernel's order. Raises OSError with a WinRT code."""
    return _read_all(RTM_GETLINK, RTM_NEWLINK, parse_link)


def read_addresses() -> list[InterfaceAddress]:
    """All IPv4 and IPv6 addresses in this network namespace. Raises OSError with a WinRT code."""
    return _read_all(RTM_GETADDR, RTM_NEWADDR, parse_address)


def _read_all(request: int, answer: int, parse: Callable[[bytes], T | None]) -> list[T]:
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as netlink:
            netlink.settimeout(DUMP_DEADLINE)
            netlink.bind((0, 0))
            messages = _dump_until_stable(netlink, request)
    except OSError as error:
        reason = f"asking the kernel for network interfaces failed: {error.strerror or error}"
        raise errors.from_os_error(error, reason) from error
    except NetlinkFormatError as error:
        raise errors.make(errors.E_FAIL, f"the kernel's list of network interfaces makes no sense: {error}") from error
    parsed = (parse(message.payload) for message in messages if message.type == answer)
    try:
        return [item for item in parsed if item is not None]
    except NetlinkFormatError as error:
        raise errors.make(errors.E_FAIL, f"the kernel's list of network interfaces makes no sense: {error}") from error


def _dump_until_stable(netlink: socket.socket, request: int) -> list[Message]:
    sequence = 0
    while True:
        sequence += 1
        netlink.send(dump_request(request, sequence))
        messages, interrupted = _receive_dump(netlink, sequence)
        if not interrupted or sequence > DUMP_REPEATS:
            return messages


def _receive_dump(netlink: socket.socket, sequence: int) -> tuple[list[Message], bool]:
    """The messages of one dump, and whether something changed meanwhile."""
    messages: list[Message] = []
    interrupted = False
    taken = 0
    while taken <= DUMP_LIMIT:
        data, _, flags, sender = netlink.recvmsg(_RECEIVE_SIZE)
        taken += len(data)
        if sender[0] != 0:
            continue  # another process; only the kernel has number 0
        if flags & socket.MSG_TRUNC:
            raise NetlinkFormatError(f"a datagram of more than {_RECEIVE_SIZE} octets")
        for message in parse_messages(data):
            if message.sequence != sequence:
                continue  # the rest of a dump that was repeated
            interrupted = interrupted or bool(message.flags & NLM_F_DUMP_INTR)
            if message.type == NLMSG_DONE:
                return messages, interrupted
            if message.type == NLMSG_OVERRUN:
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
            if message.type == NLMSG_ERROR and (code := parse_error(message.payload)):
                raise OSError(code, os.strerror(code))
            messages.append(message)
    raise NetlinkFormatError(f"more than {DUMP_LIMIT} octets")


def _align(length: int) -> int:
    return (length + 3) & ~3


def _fixed(layout: struct.Struct, data: bytes) -> int:
    if len(data) != layout.size:
        raise NetlinkFormatError(f"{len(data)} octets for a number of {layout.size}")
    value: int = layout.unpack(data)[0]
    return value


def _interface_name(data: bytes) -> str:
    """A name by the kernel's own rule (dev_valid_name): it is used as a file name below."""
    name = data.removesuffix(b"\0")
    if not 0 < len(name) <= _MAX_NAME or name in (b".", b"..") or b"/" in name or b"\0" in name or b":" in name:
        raise NetlinkFormatError(f"interface name {name[:32]!r}")
    if any(octet in b" \t\n\v\f\r" for octet in name):
        raise NetlinkFormatError(f"interface name {name!r}")
    return os.fsdecode(name)


def _hardware_address(data: bytes) -> bytes:
    if len(data) > _MAX_HARDWARE_ADDRESS:
        raise NetlinkFormatError(f"hardware address of {len(data)} octets")
    return data if any(data) else b""
