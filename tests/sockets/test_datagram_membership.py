"""`join_group` and `leave_group` on the loopback interface: sources, what is refused, and what becomes of the watch."""

from __future__ import annotations

import asyncio
import errno
import os
import queue
import socket
import struct
import threading
from contextlib import ExitStack
from pathlib import Path
from select import EPOLLIN
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.connectivity.test_link_watch import watch_of
from tests.engine.pairs import PATIENCE, until
from tests.sockets.datagram_peers import Received, bound, port_of
from tests.sockets.peers import code
from tests.sockets.test_state_tables import in_forked_child, sync_outcome

from moorings import DatagramSocket, HostName
from moorings.connectivity import link_watch, rtnetlink
from moorings.connectivity.network_adapter import make_network_adapter, network_adapters
from moorings.connectivity.rtnetlink import Link
from moorings.engine.hub import hub_of
from moorings.foundation.home import current_home
from moorings.sockets import datagram_groups
from moorings.sockets.datagram_groups import GroupTable, membership

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


async def test_a_socket_that_is_dropped_ends_the_watch() -> None:
    ours = await bound()
    ours.join_group(GROUP, interface="lo")
    assert hub_of(current_home()).link_watch is not None
    with pytest.warns(ResourceWarning, match="unclosed DatagramSocket"):
        del ours
    assert hub_of(current_home()).link_watch is None


def test_a_socket_that_outlives_its_loop() -> None:
    async def open_one() -> DatagramSocket:
        ours = await bound()
        ours.join_group(GROUP, interface="lo")
        return ours

    before = set(os.listdir("/proc/self/fd"))
    ours = asyncio.run(open_one())
    ours.join_group("239.255.78.2", interface="lo")
    ours.close()
    assert failure(lambda: ours.leave_group(GROUP, interface="lo")) == "RO_E_CLOSED"
    assert len(os.listdir("/proc/self/fd")) == len(before)


async def test_a_forked_child_leaves_nothing(senders: Any) -> None:
    """What a child closes is its copy; the groups, and the watch, are the parent's."""
    received = Received()
    ours = await bound(received, None)
    ours.join_group(GROUP, interface="lo")
    found = in_forked_child(
        lambda: {"left": sync_outcome(lambda: ours.leave_group(GROUP)), "closed": str(ours.close())}
    )
    assert found == {"left": "RO_E_CLOSED", "closed": "None"}
    senders(FIRST, GROUP, port_of(ours), b"still joined")
    assert await received.wait() == [b"still joined"]
    watch = watch_of(current_home())
    watch.on_events(EPOLLIN)
    assert hub_of(current_home()).link_watch is watch
    ours.close()


def test_in_a_plain_script(senders: Any) -> None:
    """The watch lives on the library's own loop."""
    received: queue.Queue[bytes] = queue.Queue()
    ours = DatagramSocket()
    ours.add_message_received(lambda _, message: received.put(bytes(message.data)))
    ours.bind_service_name_async("").get()
    ours.join_group(GROUP, interface="lo")
    senders(FIRST, GROUP, port_of(ours), b"joined")
    assert received.get(timeout=PATIENCE) == b"joined"
    ours.leave_group(GROUP, interface="lo")
    ours.close()


async def test_a_broadcast_that_is_too_big(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorings.sockets.datagram_link.broadcast_interfaces", lambda: [1])
    ours = await bound(None, None)
    stream = await ours.get_output_stream_async(HostName("255.255.255.255"), "9")
    with pytest.raises(OSError, match="holds at most 65507") as caught:
        await stream.write_async(bytes(65508))
    assert (code(caught.value), caught.value.max_size) == ("WSAEMSGSIZE", 65507)  # type: ignore[attr-defined]
    ours.close()


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


class Refusing:
    """A socket that joins only what it is allowed to, and keeps a book."""

    family = socket.AF_INET6

    def __init__(self) -> None:
        self.refuses: dict[int, int] = {}
        self.calls: list[tuple[int, int]] = []

    def setsockopt(self, _level: int, option: int, request: Any) -> None:
        index = 0 if option == socket.SO_BINDTODEVICE else struct.unpack_from("=I", request)[0]
        if index in self.refuses:
            raise OSError(self.refuses[index], os.strerror(self.refuses[index]))
        self.calls.append((option, index))


def link_of(index: int, name: str, flags: int = rtnetlink.IFF_UP | rtnetlink.IFF_MULTICAST) -> Link:
    return Link(index, name, 1, flags, b"", b"", 1500)


JOIN, LEAVE, JOIN_SOURCE = 42, 45, 46


def table_on(plain: Any, monkeypatch: pytest.MonkeyPatch, adapter: Any = None) -> GroupTable:
    monkeypatch.setattr(datagram_groups.rtnetlink, "read_links", lambda: [link_of(5, "five")])
    monkeypatch.setattr(datagram_groups.socket, "if_nametoindex", {"five": 5, "six": 6}.__getitem__)
    return GroupTable(plain, "the socket", adapter)


def test_interfaces_that_refuse_are_counted_and_tried_when_they_change(monkeypatch: pytest.MonkeyPatch) -> None:
    plain: Any = Refusing()
    table = table_on(plain, monkeypatch)
    table.join(membership("join_group", GROUP))
    links = {index: link_of(index, name) for index, name in ((5, "five"), (6, "six"), (7, "seven"), (8, "eight"))}
    links[8] = links[8]._replace(flags=rtnetlink.IFF_MULTICAST)  # down
    plain.refuses = {6: errno.ENOBUFS, 7: errno.ENODEV}
    table.links_changed(links, {5, 6, 7, 8}, set())
    assert (table.rejoins, table.failures) == (0, 1)
    plain.refuses = {}
    table.links_changed(links, {6}, set())
    assert (table.rejoins, table.failures) == (1, 1)
    assert plain.calls == [(JOIN, 5), (JOIN, 6)]
    # One that has gone is taken back, one that was replaced joined anew.
    del links[6]
    table.links_changed(links, {5}, {5})
    assert sorted(plain.calls[2:4]) == [(LEAVE, 5), (LEAVE, 6)]
    assert plain.calls[4:] == [(JOIN, 5)]


def test_sources_of_a_group_that_was_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's entry goes as a whole, and each source is joined anew."""
    plain: Any = Refusing()
    table = table_on(plain, monkeypatch)
    for source in ("10.0.0.1", "10.0.0.2"):
        table.join(membership("join_group", SOURCE_GROUP, source, "five"))
    table.links_changed({5: link_of(5, "five"), 6: link_of(6, "six")}, {5, 6}, {5})
    assert plain.calls == [(JOIN_SOURCE, 5)] * 2 + [(LEAVE, 5)] * 2 + [(JOIN_SOURCE, 5)] * 2
    assert table.rejoins == 2


def test_the_adapter_that_a_socket_is_bound_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Binding to the new one may not be permitted: counted, and tried again with the next change."""
    plain: Any = Refusing()
    table = table_on(plain, monkeypatch, make_network_adapter(link_of(5, "five")))
    table.join(membership("join_group", GROUP, interface="five"))
    plain.refuses = {0: errno.EPERM}
    table.links_changed({9: link_of(9, "five")}, {9}, {5})
    assert (table.rejoins, table.failures) == (1, 1)
    plain.refuses = {}
    monkeypatch.setattr(Refusing, "family", socket.AF_INET)
    table.links_changed({9: link_of(9, "five")}, {9}, set())
    table.links_changed({9: link_of(9, "five")}, {9}, set())
    assert [call for call in plain.calls if call[0] == socket.SO_BINDTODEVICE] == [(socket.SO_BINDTODEVICE, 0)]
    assert (table.rejoins, table.failures) == (1, 1)


def test_a_closed_table_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plain: Any = Refusing()
    table = table_on(plain, monkeypatch)
    wanted = membership("join_group", GROUP)
    table.join(wanted)
    home: Any = SimpleNamespace(dropped=False)
    table.close(home)
    table.links_changed({}, set(), {5})
    for call in (table.join, table.leave):
        assert failure(lambda: call(wanted)) == "RO_E_CLOSED"  # noqa: B023
    assert plain.calls == [(JOIN, 5)]
