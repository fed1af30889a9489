"""The groups that a DatagramSocket has joined, and joining them anew where interfaces change.

Theory of operation
-------------------
The kernel joins a group on one interface, by its number. That outlives a link that goes down and up, but not the
interface: one that is deleted and made again has another number, and a new one is in no group at all. So the table
keeps two things: what the program *wants* (group, source, interface by name or all) and what is *joined* in the kernel
(group, source, number). The watch of the loop (`connectivity/link_watch.py`) tells which interfaces have changed, and
the table joins what is wanted there. It is watched only while there is a table with something in it.

The kernel keeps the entry of a deleted interface, and counts it; it is taken back, so that a number that is used again
is no hindrance.

A group on one interface has one filter in the kernel: any source, or a list of sources. To ask for both would silently
change the meaning of the first, and is refused.

Sources: ip(7), linux/in.h (MCAST_JOIN_GROUP and its like), RFC 3376, RFC 3678, RFC 4607, RFC 3810.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from moorings import errors
from moorings.connectivity import rtnetlink
from moorings.connectivity.link_watch import unwatch_links, watch_links
from moorings.connectivity.network_adapter import NetworkAdapter, make_network_adapter
from moorings.names.enums import HostNameType
from moorings.names.host_name import HostName
from moorings.sockets.connection import first_use
from moorings.sockets.datagram_binding import keep_to_adapter
from moorings.sockets.datagram_link import Name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set

    from moorings.connectivity.rtnetlink import Link
    from moorings.foundation.home import Home
    from moorings.sockets.datagram_link import DatagramLink

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Groups, with their sources and interfaces, that one socket keeps. The kernel allows fewer by default.
GROUP_LIMIT = 1024

# linux/in.h
_MCAST_JOIN_GROUP = 42
_MCAST_LEAVE_GROUP = 45
_MCAST_JOIN_SOURCE_GROUP = 46
_MCAST_LEAVE_SOURCE_GROUP = 47
# struct group_req: the interface, and a sockaddr_storage; struct group_source_req has two of these.
_INTERFACE = struct.Struct("=I4x")
_STORAGE = struct.Struct("=128s")
_SOCKADDR_V4 = struct.Struct("=H2x4s")
_SOCKADDR_V6 = struct.Struct("=H6x16s")
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_SETTINGS = Path("/proc/sys/net")
_TOO_MANY = frozenset((errno.ENOBUFS, errno.ENOMEM))
# The interface has gone meanwhile, or has nothing of that family.
_NOT_THERE = frozenset((errno.ENODEV, errno.EINVAL))


class Membership(NamedTuple):
    """What a program wants to receive."""

    group: Address
    #: None: from anybody.
    source: Address | None
    #: The name of an interface. None: every one that is up and has multicast, the loopback one included.
    interface: str | None

    def __str__(self) -> str:
        text = f"group {self.group}"
        if self.source is not None:
            text += f" from {self.source}"
        return text if self.interface is None else f"{text} on {self.interface}"


class _Joined(NamedTuple):
    group: Address
    source: Address | None
    number: int


class GroupTable:
    """The memberships of one socket. Joining and leaving from any thread."""

    def __init__(self, plain_socket: socket.socket, label: object, adapter: NetworkAdapter | None) -> None:
        """`adapter` is the one that the socket is bound to."""
        self._socket = plain_socket
        self._label = label
        self._adapter = adapter
        self._lock = threading.Lock()
        self._wanted: dict[Membership, None] = {}
        #: With the name that the interface had.
        self._joined: dict[_Joined, str] = {}
        self._watched = False
        self._closed = False
        self.rejoins = 0
        self.failures = 0

    def __len__(self) -> int:
        return len(self._wanted)

    # -- joining and leaving -------------------------------------------------------------------------------------------

    def join(self, wanted: Membership) -> None:
        """Join wherever it is wanted; what is joined already stays. The first failure counts when nothing is."""
        if wanted.group.version == 6 and self._socket.family != socket.AF_INET6:
            reason = f"{self._label}: {wanted.group} is an IPv6 group, and the socket has only IPv4"
            raise errors.from_errno(errno.EAFNOSUPPORT, reason)
        interfaces = self._interfaces(wanted)
        with self._lock:
            self._check_open()
            self._check(wanted)
            failure: OSError | None = None
            joined = 0
            for index, name in interfaces:
                refused = self._join_on(wanted, index, name)
                if refused is None:
                    joined += 1
                else:
                    failure = failure or refused
                    self._count(refused)
            if joined == 0:
                raise self._refusal(wanted, failure)
            self._wanted[wanted] = None

    def leave(self, wanted: Membership) -> None:
        """Undo the join of the same; what is joined for another one too stays."""
        with self._lock:
            self._check_open()
            if wanted not in self._wanted:
                hint = "leave what was joined, with the same source and interface"
                raise errors.from_errno(errno.EADDRNOTAVAIL, f"{self._label}: {wanted} is not joined: {hint}")
            del self._wanted[wanted]
            others = [one for one in self._wanted if one[:2] == wanted[:2]]
            for joined, name in tuple(self._joined.items()):
                if joined[:2] == wanted[:2] and not any(one.interface in {None, name} for one in others):
                    self._leave_on(joined)

    def _check_open(self) -> None:
        if self._closed:
            raise errors.closed(str(self._label))

    def _check(self, wanted: Membership) -> None:
        if wanted not in self._wanted and len(self._wanted) >= GROUP_LIMIT:
            reason = (
                f"{self._label}: joining {wanted}: it has joined {GROUP_LIMIT} groups; leave one, or use a socket more"
            )
            raise errors.from_errno(errno.ENOBUFS, reason)
        for one in self._wanted:
            if one.group == wanted.group and (one.source is None) != (wanted.source is None):
                how = "from any source" if one.source is None else "from given sources"
                hint = "leave_group() that first, or use another socket"
                raise errors.illegal_call(f"{self._label}: group {one.group} is joined {how}", hint)

    def _interfaces(self, wanted: Membership) -> list[tuple[int, str]]:
        name = wanted.interface
        if name is None:
            return [(link.interface_index, link.name) for link in rtnetlink.read_links() if _fits(wanted, link)]
        try:
            return [(socket.if_nametoindex(name), name)]
        except OSError as error:
            reason = f"{self._label}: joining {wanted} failed: there is no interface {name!r} here"
            raise errors.from_errno(errno.ENODEV, reason, cause=error) from error

    def _join_on(self, wanted: Membership, index: int, name: str) -> OSError | None:
        """Join on one interface; what the kernel says against it."""
        joined = _Joined(wanted.group, wanted.source, index)
        if joined in self._joined:
            return None
        option = _MCAST_JOIN_GROUP if wanted.source is None else _MCAST_JOIN_SOURCE_GROUP
        try:
            self._set(option, joined)
        except OSError as error:
            # The kernel has it already.
            if error.errno != (errno.EADDRINUSE if wanted.source is None else errno.EADDRNOTAVAIL):
                return error
        self._joined[joined] = name
        return None

    def _leave_on(self, joined: _Joined) -> None:
        del self._joined[joined]
        # Of an interface that has gone meanwhile the kernel has nothing to leave; `_forget` takes care of the entry.
        with suppress(OSError):
            self._set(_MCAST_LEAVE_GROUP if joined.source is None else _MCAST_LEAVE_SOURCE_GROUP, joined)

    def _forget(self, joined: _Joined) -> None:
        """Take back the entry of an interface that is not there any more, with all of its sources."""
        del self._joined[joined]
        with suppress(OSError):
            self._set(_MCAST_LEAVE_GROUP, joined._replace(source=None))

    def _set(self, option: int, joined: _Joined) -> None:
        request = _INTERFACE.pack(joined.number) + _storage(joined.group)
        if joined.source is not None:
            request += _storage(joined.source)
        level = socket.IPPROTO_IP if joined.group.version == 4 else socket.IPPROTO_IPV6
        self._socket.setsockopt(level, option, request)

    def _count(self, refused: OSError) -> None:
        if refused.errno not in _NOT_THERE:
            self.failures += 1

    def _refusal(self, wanted: Membership, failure: OSError | None) -> OSError:
        what = f"{self._label}: joining {wanted} failed"
        if failure is None:
            return errors.from_errno(errno.ENETDOWN, f"{what}: no interface that has multicast is up")
        code = failure.errno or errno.EIO
        if code in _TOO_MANY:
            hint = "leave a group, use a socket more, or raise the limit with sysctl"
            return errors.from_errno(errno.ENOBUFS, f"{what}: {_kernel_limit(wanted)}; {hint}", cause=failure)
        if code in _NOT_THERE:
            return errors.from_errno(
                code, f"{what}: the interface has no IPv{wanted.group.version}, or has gone", cause=failure
            )
        return errors.from_errno(code, f"{what}: {failure.strerror}", cause=failure)

    # -- while interfaces change ---------------------------------------------------------------------------------------

    def watch_or_rest(self, home: Home) -> None:
        """See to it that changes are told while something is wanted (home thread)."""
        if self._closed or home.loop.is_closed() or self._watched == bool(self._wanted):
            return
        self._watched = not self._watched
        try:
            if self._watched:
                watch_links(home, self)
            else:
                unwatch_links(home, self)
        except OSError as error:
            # What is joined stays joined.
            home.report(f"{self._label}: its groups will not be joined on new interfaces", error)

    def close(self, home: Home) -> None:
        """The socket is about to be closed, which leaves its groups."""
        if home.dropped:
            self._closed = True  # the lock may be held by a thread that only the parent process has
        else:
            with self._lock:  # nobody sets an option of a descriptor that is closed, and perhaps another's
                self._closed = True
        if self._watched:
            unwatch_links(home, self)

    def links_changed(self, links: Mapping[int, Link], changed: Set[int], gone: Set[int]) -> None:
        """Join what is wanted on the interfaces that changed."""
        with self._lock:
            if self._closed:
                return
            for joined in tuple(self._joined):
                if joined.number in gone or joined.number not in links:
                    self._forget(joined)
            self._join_anew(links[index] for index in changed if index in links)

    def _join_anew(self, links: Iterable[Link]) -> None:
        for link in links:
            adapter = self._adapter
            if adapter is not None and adapter.interface_name == link.name:
                self._follow(adapter, link)
            for wanted in self._wanted:
                joined = _Joined(wanted.group, wanted.source, link.interface_index)
                if joined in self._joined or not _fits(wanted, link):
                    continue
                refused = self._join_on(wanted, link.interface_index, link.name)
                if refused is None:
                    self.rejoins += 1
                else:
                    self._count(refused)

    def _follow(self, adapter: NetworkAdapter, link: Link) -> None:
        """The interface that the socket is bound to was made anew: bind to the new one."""
        if adapter.interface_index == link.interface_index:
            return
        try:
            keep_to_adapter(self._socket, make_network_adapter(link))
        except OSError:  # gone again, or not permitted without CAP_NET_RAW
            self.failures += 1
        else:
            self._adapter = make_network_adapter(link)


def _fits(wanted: Membership, link: Link) -> bool:
    """Whether a group is wanted on an interface as it is now."""
    if wanted.interface is not None:
        return wanted.interface == link.name
    return bool(link.flags & rtnetlink.IFF_UP and link.flags & (rtnetlink.IFF_MULTICAST | rtnetlink.IFF_LOOPBACK))


def _storage(address: Address) -> bytes:
    if isinstance(address, ipaddress.IPv4Address):
        return _STORAGE.pack(_SOCKADDR_V4.pack(socket.AF_INET, address.packed))
    return _STORAGE.pack(_SOCKADDR_V6.pack(socket.AF_INET6, address.packed))


def _kernel_limit(wanted: Membership) -> str:
    """Which limit of the kernel has been reached, most likely."""
    if wanted.group.version == 4:
        limits = [("groups of a socket", "ipv4/igmp_max_memberships")]
        if wanted.source is not None:
            limits.append(("sources of a group", "ipv4/igmp_max_msf"))
    elif wanted.source is None:
        limits = [("bytes for options of a socket", "core/optmem_max")]
    else:
        limits = [("sources of a group", "ipv6/mld_max_msf")]
    texts: list[str] = []
    for what, name in limits:
        try:
            number = f" is {int((_SETTINGS / name).read_text(encoding='ascii'))}"
        except (OSError, ValueError):
            number = ""
        texts.append(f"{what} (net.{name.replace('/', '.')}{number})")
    return f"the kernel allows no more {' or '.join(texts)}"


# -- what the public members do ----------------------------------------------------------------------------------------


def _host(value: Any, what: str) -> HostName:
    if isinstance(value, str):
        value = HostName(value)
    if not isinstance(value, HostName):
        raise TypeError(f"{what} must be an address, as text or as a HostName, not {type(value).__name__}")
    return value


def _address(host: HostName) -> Address | None:
    numeric = host.type in {HostNameType.IPV4, HostNameType.IPV6}
    return ipaddress.ip_address(host.canonical_name) if numeric else None


def membership(member: str, group: Any, source: Any = None, interface: Any = None) -> Membership:
    """Check the arguments of `member`. TypeError, E_INVALIDARG."""
    host = _host(group, f"{member}: group")
    wanted = _address(host)
    if wanted is None or not wanted.is_multicast:
        raise errors.invalid_argument(f"{member}: {host} is no multicast address")
    scope = getattr(wanted, "scope_id", None)
    name = _interface_name(member, interface)
    if scope:
        scoped = _scope_name(member, scope)
        if name not in {None, scoped}:
            raise errors.invalid_argument(f"{member}: {host} belongs to {scoped}, not to {name}")
        name = scoped
    origin = None if source is None else _source(member, _host(source, f"{member}: source"), wanted)
    return Membership(_without_scope(wanted), origin, name)


def _source(member: str, host: HostName, group: Address) -> Address:
    source = _address(host)
    if source is None or source.is_multicast or source.is_unspecified or source == _BROADCAST:
        raise errors.invalid_argument(f"{member}: source {host} is no address of a host")
    if source.version != group.version:
        raise errors.invalid_argument(f"{member}: source {host} and group {group} are of different families")
    return _without_scope(source)


def _without_scope(address: Address) -> Address:
    return address if address.version == 4 else ipaddress.IPv6Address(address.packed)


def _interface_name(member: str, interface: Any) -> str | None:
    if interface is None:
        return None
    if isinstance(interface, NetworkAdapter):
        return interface.interface_name
    if not isinstance(interface, str):
        kind = type(interface).__name__
        raise TypeError(f"{member}: interface must be a name, a NetworkAdapter or None, not {kind}")
    if not interface or "\0" in interface:
        raise errors.invalid_argument(f"{member}: {interface!r} is no name of an interface")
    return interface


def _scope_name(member: str, scope: str) -> str:
    if not scope.isdecimal():
        return scope
    try:
        return socket.if_indextoname(int(scope))
    except (OSError, OverflowError) as error:
        raise errors.from_errno(errno.ENODEV, f"{member}: there is no interface {scope} here") from error


def _bound_to_adapter(link: DatagramLink, member: str, wanted: Membership) -> Membership:
    """On a socket that is bound to an adapter nothing comes from another one."""
    if link.adapter is None:
        return wanted
    name = link.adapter.interface_name
    if wanted.interface not in {None, name}:
        raise errors.invalid_argument(f"{member}: {link} is bound to {name}, and gets nothing from {wanted.interface}")
    return wanted._replace(interface=name)


def _table(link: DatagramLink) -> GroupTable:
    port = link.port
    if port is None or not port.is_open():
        raise link.closed_error()
    with first_use.lock:
        table = link.groups
        if table is None:
            table = link.groups = GroupTable(port.plain_socket, Name(link), link.adapter)
    return table


def join_group(link: DatagramLink, member: str, wanted: Membership) -> None:
    """Join, and from then on follow the changes of interfaces."""
    table = _table(link)
    table.join(_bound_to_adapter(link, member, wanted))
    if link.home is not None:
        link.at_home(partial(table.watch_or_rest, link.home))


def leave_group(link: DatagramLink, member: str, wanted: Membership) -> None:
    """Leave what was joined."""
    table = _table(link)
    table.leave(_bound_to_adapter(link, member, wanted))
    if link.home is not None:
        link.at_home(partial(table.watch_or_rest, link.home))
