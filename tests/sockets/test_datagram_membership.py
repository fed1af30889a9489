"""`join_group` and `leave_group` on the loopback interface: sources, what is refused, and what becomes of the watch."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import threading
from contextlib import ExitStack
from pathlib import Path
from select import EPOLLIN
from typing import TYPE_CHECKING, Any

import pytest
from tests.connectivity.test_link_watch import watch_of
from tests.engine.pairs import until
from tests.sockets.datagram_peers import Received, bound, port_of
from tests.sockets.peers import code

from moorings import DatagramSocket, HostName
from moorings.connectivity import link_watch
from moorings.connectivity.network_adapter import network_adapters
from moorings.engine.hub import hub_of
from moorings.foundation.home import current_home
from moorings.sockets import datagram_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GROUP = "239.255.78.1"
SOURCE_GROUP = "232.1.78.1"
FIRST, SECOND = "127.0.0.1", "127.0.0.2"
ALLOWED = int(Path("/proc/sys/net/ipv4/igmp_max_memberships").read_text(encoding="ascii"))


@pytest.fixture
def senders() -> Iterator[Callable[[str, str, int, bytes], None]]:
    """Sends to a group from an address of the loopback interface."""
    with ExitStack() as stack:
        sockets: dict[str, socket.socket] = {}
        for name in (FIRST, SECOND):
            one = sockets[name] = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            one.bind((name, 0))
            one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4xi", bytes(4), 1))

        def send(source: str, group: str, port: int, word: bytes) -> None:
            sockets[source].sendto(word, (group, port))

        yield send


def failure(call: Callable[[], Any]) -> str:
    with pytest.raises(OSError) as caught:
        call()
    return code(caught.value)


async def test_any_source(senders: Any) -> None:
    received = Received()
    ours = await bound(received, None)
    ours.join_group(GROUP, interface="lo")
    ours.join_group(HostName(GROUP), interface="lo")  # again: no error
    senders(FIRST, GROUP, port_of(ours), b"first")
    senders(SECOND, GROUP, port_of(ours), b"second")
    assert await received.wait(2) == [b"first", b"second"]
    assert ours.counters.groups == 1
    ours.close()


async def test_given_sources(senders: Any) -> None:
    received = Received()
    ours = await bound(received, None)
    ours.join_group(SOURCE_GROUP, SECOND, "lo")
    ours.join_group(GROUP, interface="lo")
    senders(FIRST, SOURCE_GROUP, port_of(ours), b"not wanted")
    senders(SECOND, SOURCE_GROUP, port_of(ours), b"wanted")
    assert await received.wait() == [b"wanted"]
    ours.join_group(SOURCE_GROUP, source=HostName(FIRST), interface="lo")
    senders(FIRST, SOURCE_GROUP, port_of(ours), b"wanted, too")
    assert await received.wait(2) == [b"wanted", b"wanted, too"]
    ours.leave_group(SOURCE_GROUP, SECOND, "lo")
    senders(SECOND, SOURCE_GROUP, port_of(ours), b"not any more")
    senders(FIRST, SOURCE_GROUP, port_of(ours), b"still")
    assert (await received.wait(3))[2] == b"still"
    ours.leave_group(SOURCE_GROUP, FIRST, "lo")
    senders(FIRST, SOURCE_GROUP, port_of(ours), b"nothing")
    senders(FIRST, GROUP, port_of(ours), b"the other group")
    assert (await received.wait(4))[3] == b"the other group"
    ours.close()


async def test_every_interface_and_one_of_them(senders: Any) -> None:
    """Leaving one of the two leaves what the other one wants."""
    received = Received()
    ours = await bound(received, None)
    loopback = next(one for one in network_adapters() if one.is_loopback)
    ours.join_multicast_group(HostName(GROUP))
    ours.join_group(GROUP, interface=loopback)
    assert ours.counters.groups == 2
    ours.leave_group(GROUP)
    senders(FIRST, GROUP, port_of(ours), b"by name")
    ours.join_group(GROUP)
    ours.leave_group(GROUP, interface="lo")
    senders(FIRST, GROUP, port_of(ours), b"everywhere")
    ours.leave_group(GROUP)
    senders(FIRST, GROUP, port_of(ours), b"nowhere")
    ours.join_group("239.255.78.2", interface="lo")
    senders(FIRST, "239.255.78.2", port_of(ours), b"end")
    assert await received.wait(3) == [b"by name", b"everywhere", b"end"]
    ours.close()


async def test_what_is_not_joined_cannot_be_left() -> None:
    ours = await bound(None, None)
    ours.join_group(GROUP, interface="lo")
    ours.join_group(SOURCE_GROUP, FIRST, "lo")
    for arguments in ((GROUP,), ("239.255.78.2", None, "lo"), (SOURCE_GROUP, SECOND, "lo"), (SOURCE_GROUP, None, "lo")):
        with pytest.raises(OSError, match="is not joined: leave what was joined") as caught:
            ours.leave_group(*arguments)
        assert (code(caught.value), caught.value.errno) == ("WSAEADDRNOTAVAIL", errno.EADDRNOTAVAIL)
    ours.leave_group(GROUP, interface="lo")
    assert failure(lambda: ours.leave_group(GROUP, interface="lo")) == "WSAEADDRNOTAVAIL"
    assert ours.counters.groups == 1
    ours.close()


async def test_any_source_and_given_ones_do_not_go_together(senders: Any) -> None:
    """The kernel would let the second one change what the first one means."""
    received = Received()
    ours = await bound(received, None)
    ours.join_group(GROUP, interface="lo")
    with pytest.raises(OSError, match=r"joined from any source: leave_group\(\)") as caught:
        ours.join_group(GROUP, FIRST, "lo")
    assert code(caught.value) == "E_ILLEGAL_METHOD_CALL"
    senders(SECOND, GROUP, port_of(ours), b"any")
    assert await received.wait() == [b"any"]
    ours.leave_group(GROUP, interface="lo")
    ours.join_group(GROUP, FIRST, "lo")
    with pytest.raises(OSError, match="joined from given sources"):
        ours.join_group(GROUP)
    ours.close()


WRONG: list[tuple[tuple[Any, ...], type[Exception], str]] = [
    ((None,), TypeError, "group must be an address"),
    ((b"239.1.1.1",), TypeError, "group must be an address"),
    ((1,), TypeError, "not int"),
    (("",), OSError, "host name"),
    (("127.0.0.1",), OSError, "no multicast address"),
    (("::1",), OSError, "no multicast address"),
    (("localhost",), OSError, "no multicast address"),
    ((HostName("10.0.0.1"),), OSError, "no multicast address"),
    (("239.1.1.1", 5), TypeError, "source must be an address"),
    (("239.1.1.1", "localhost"), OSError, "no address of a host"),
    (("239.1.1.1", "239.1.1.1"), OSError, "no address of a host"),
    (("239.1.1.1", "0.0.0.0"), OSError, "no address of a host"),
    (("239.1.1.1", "255.255.255.255"), OSError, "no address of a host"),
    (("239.1.1.1", "::1"), OSError, "different families"),
    (("ff15::1", "127.0.0.1"), OSError, "different families"),
    (("239.1.1.1", None, 1), TypeError, "interface must be a name"),
    (("239.1.1.1", None, b"lo"), TypeError, "interface must be a name"),
    (("239.1.1.1", None, ""), OSError, "no name of an interface"),
    (("239.1.1.1", None, "l\0"), OSError, "no name of an interface"),
    (("ff02::1%lo", None, "eth0"), OSError, "belongs to lo"),
]


@pytest.mark.parametrize(("arguments", "kind", "reason"), WRONG, ids=str)
async def test_wrong_arguments(arguments: tuple[Any, ...], kind: type[Exception], reason: str) -> None:
    """Also before it is bound: the arguments are looked at first."""
    new, ours = DatagramSocket(), await bound(None, None)
    for one in (new, ours):
        for call in (one.join_group, one.leave_group):
            with pytest.raises(kind, match=reason) as caught:
                call(*arguments)
            if isinstance(caught.value, OSError):
                assert code(caught.value) == "E_INVALIDARG"
    ours.join_group(GROUP, interface="lo")
    new.close()
    ours.close()


@pytest.mark.parametrize("interface", ["no-such-one", "far-too-long-for-an-interface", "a/b"])
async def test_an_interface_that_is_not_there(interface: str) -> None:
    ours = await bound(None, None)
    with pytest.raises(OSError, match=f"there is no interface '{interface}' here") as caught:
        ours.join_group(GROUP, interface=interface)
    assert (code(caught.value), caught.value.errno) == ("WSAENETDOWN", errno.ENODEV)
    for scope in ("99999", "4294967296"):
        assert failure(lambda: ours.join_group(f"ff02::1%{scope}")) in {"WSAENETDOWN", "E_INVALIDARG"}  # noqa: B023
    assert ours.counters.groups == 0
    ours.close()


async def test_families() -> None:
    ours = await bound()
    with pytest.raises(OSError, match="only IPv4") as caught:
        ours.join_group("ff15::1")
    assert code(caught.value) == "WSAEAFNOSUPPORT"
    ours.close()


async def test_a_scope_is_an_interface() -> None:
    ours = await bound(None, None)
    ours.join_group("ff02::7801%lo")
    ours.join_group("ff02::7801%1")
    ours.join_group("ff02::7801", interface="lo")
    assert ours.counters.groups == 1
    ours.join_group("ff35::7801", source="fe80::1%lo", interface="lo")
    ours.leave_group("ff35::7801", "fe80::1", "lo")
    ours.leave_group("ff02::7801%lo")
    ours.close()


async def test_too_many_for_the_kernel() -> None:
    """The error names the limit and the next step; what is joined stays."""
    ours = await bound()
    for number in range(ALLOWED):
        ours.join_group(f"239.255.79.{number}", interface="lo")
    with pytest.raises(OSError, match=rf"net\.ipv4\.igmp_max_memberships is {ALLOWED}\); leave a group") as caught:
        ours.join_group("239.255.79.250", interface="lo")
    assert (code(caught.value), caught.value.errno) == ("WSAENOBUFS", errno.ENOBUFS)
    assert (ours.counters.groups, ours.counters.group_failures) == (ALLOWED, 1)
    ours.leave_group("239.255.79.0", interface="lo")
    ours.join_group("239.255.79.250", interface="lo")
    ours.close()


@pytest.mark.parametrize(
    ("group", "prefix", "name"),
    [("232.1.78.9", "10.0.0.", "ipv4.igmp_max_msf"), ("ff35::78", "fd00::", "ipv6.mld_max_msf")],
)
async def test_too_many_sources_for_the_kernel(group: str, prefix: str, name: str) -> None:
    def join_all() -> None:
        for number in range(1, 250):
            ours.join_group(group, f"{prefix}{number}", "lo")

    ours = await bound(None, None)
    with pytest.raises(OSError, match=rf"sources of a group \(net\.{name} is") as caught:
        join_all()
    assert code(caught.value) == "WSAENOBUFS"
    ours.close()


async def test_limit_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagram_groups, "GROUP_LIMIT", 2)
    ours = await bound()
    for number in (1, 2, 2):
        ours.join_group(f"239.255.78.{number}", interface="lo")
    with pytest.raises(OSError, match="has joined 2 groups; leave one") as caught:
        ours.join_group("239.255.78.3", interface="lo")
    assert code(caught.value) == "WSAENOBUFS"
    ours.close()


async def test_the_watch_lives_while_a_socket_of_the_loop_has_groups() -> None:
    hub = hub_of(current_home())
    first, second = await bound(), await bound()
    assert hub.link_watch is None
    first.join_group(GROUP, interface="lo")
    watch = watch_of(current_home())
    second.join_multicast_group(HostName(GROUP))
    assert hub.link_watch is watch
    first.leave_group(GROUP, interface="lo")
    assert hub.link_watch is watch
    second.close()
    assert hub.link_watch is None
    first.join_group(GROUP, interface="lo")
    assert hub.link_watch is not None
    first.close()
    assert hub.link_watch is None
    assert (first.counters.groups, second.counters.groups) == (1, 1)  # at their end


async def test_from_another_thread() -> None:
    """The watch is made on the loop of the socket, the groups are joined when the call returns."""
    ours = await bound()
    counts: list[int] = []

    def join() -> None:
        ours.join_group(GROUP, interface="lo")
        counts.append(ours.counters.groups)

    thread = threading.Thread(target=join)
    thread.start()
    thread.join()
    assert counts == [1]
    assert hub_of(current_home()).link_watch is None
    await until(lambda: hub_of(current_home()).link_watch is not None)
    ours.close()
    assert hub_of(current_home()).link_watch is None


async def test_without_a_watch_it_is_joined_and_reported(monkeypatch: pytest.MonkeyPatch, senders: Any) -> None:
    def refuse() -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    monkeypatch.setattr(link_watch, "open_netlink", refuse)
    received = Received()
    ours = await bound(received, None)
    ours.join_group(GROUP, interface="lo")
    assert [report["exception"].errno for report in reports] == [errno.EMFILE]
    senders(FIRST, GROUP, port_of(ours), b"joined")
    assert await received.wait() == [b"joined"]
    ours.close()


class Overflowing:
    """A netlink socket on which the kernel drops events, when it is told so."""

    def __init__(self, netlink: socket.socket) -> None:
        self.netlink = netlink
        self.overflow = False

    def recvmsg(self, size: int) -> Any:
        if self.overflow:
            self.overflow = False
            raise OSError(errno.ENOBUFS, "No buffer space available")
        return self.netlink.recvmsg(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.netlink, name)


async def test_lost_events_join_everything_anew(monkeypatch: pytest.MonkeyPatch, senders: Any) -> None:
    """Nobody knows whether an interface is still the one on which a group was joined."""
    opened: list[Overflowing] = []

    def open_one() -> Any:
        opened.append(Overflowing(open_netlink()))
        return opened[0]

    open_netlink = link_watch.open_netlink
    monkeypatch.setattr(link_watch, "open_netlink", open_one)
    received = Received()
    ours = await bound(received, None)
    ours.join_group(GROUP, interface="lo")
    ours.join_group(SOURCE_GROUP, SECOND, "lo")
    opened[0].overflow = True
    watch_of(current_home()).on_events(EPOLLIN)
    await until(lambda: ours.counters.group_rejoins == 2)
    assert watch_of(current_home()).overflows == 1
    senders(FIRST, SOURCE_GROUP, port_of(ours), b"from another")
    senders(SECOND, SOURCE_GROUP, port_of(ours), b"from one")
    senders(FIRST, GROUP, port_of(ours), b"from any")
    assert await received.wait(2) == [b"from one", b"from any"]
    ours.close()
