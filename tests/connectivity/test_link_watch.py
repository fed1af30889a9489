"""The watch of interfaces: its list, its events, what is lost, and its end. The kernel is a script here."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from tests.connectivity.test_rtnetlink import NAME, address, attribute, link, message
from tests.engine.pairs import PATIENCE, until

from moorings import errors
from moorings.connectivity import link_watch, rtnetlink
from moorings.connectivity.link_watch import LINK_EVENTS_BURST, LinkWatch, unwatch_links, watch_links
from moorings.engine.hub import hub_of
from moorings.foundation.home import current_home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moorings.foundation.home import Home

KERNEL = (0, 0)
AF_BRIDGE = 7
UP = rtnetlink.IFF_UP | rtnetlink.IFF_MULTICAST
NEW, GONE, DONE = rtnetlink.RTM_NEWLINK, rtnetlink.RTM_DELLINK, rtnetlink.NLMSG_DONE


def event(index: int, kind: int = NEW, *, sequence: int = 0, flags: int = 0, mtu: int = 1500) -> bytes:
    payload = link(NAME, attribute(4, struct.pack("=I", mtu)), index=index, flags=UP)
    return message(kind, payload, sequence=sequence, flags=flags)


class Script:
    """A netlink socket whose kernel says what the test says; what it is asked for is answered by `links`."""

    def __init__(self, *links: int) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ours.setblocking(False)
        self.links = links
        self.requests: list[int] = []
        self.answers: deque[Any] = deque()
        self.refuses: OSError | None = None
        self.list_flags: deque[int] = deque()
        self.silent = False

    def say(self, *answers: Any) -> None:
        """Datagrams (or errors) that can be received now."""
        for answer in answers:
            self.answers.append(answer)
            self.theirs.send(b"x")

    def fileno(self) -> int:
        return self.ours.fileno()

    def send(self, request: bytes) -> int:
        if self.refuses is not None:
            raise self.refuses
        sequence = struct.unpack_from("=IHHI", request)[3]
        self.requests.append(sequence)
        if not self.silent:
            self.list(sequence)
        return len(request)

    def list(self, sequence: int) -> None:
        flags = self.list_flags.popleft() if self.list_flags else 0
        data = b"".join(event(index, sequence=sequence, flags=flags) for index in self.links)
        self.say(data + message(DONE, bytes(4), sequence=sequence))

    def recvmsg(self, _size: int) -> tuple[bytes, list[Any], int, Any]:
        self.ours.recv(10)
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, tuple) else (answer, [], 0, KERNEL)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[list[int], list[int], list[int]]] = []

    def links_changed(self, links: Any, changed: Any, gone: Any) -> None:
        self.told.append((sorted(links), sorted(changed), sorted(gone)))

    async def next(self) -> tuple[list[int], list[int], list[int]]:
        await until(lambda: bool(self.told))
        return self.told.pop(0)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    made = Script(1, 2)
    monkeypatch.setattr(link_watch, "open_netlink", lambda: made)
    yield made
    made.close()


def watch_of(home: Home) -> LinkWatch:
    watch = hub_of(home).link_watch
    assert isinstance(watch, LinkWatch)
    return watch


async def started(script: Script) -> tuple[Home, Listener]:
    home, listener = current_home(), Listener()
    watch_links(home, listener)
    assert await listener.next() == ([1, 2], [1, 2], [])
    assert script.requests == [1]
    return home, listener


async def test_the_list_comes_first_and_then_the_changes(script: Script) -> None:
    home, listener = await started(script)
    script.say(event(3))
    assert await listener.next() == ([1, 2, 3], [3], [])
    script.say(event(2, GONE))
    assert await listener.next() == ([1, 3], [], [2])
    script.say(message(rtnetlink.RTM_NEWADDR, address(attribute(2, bytes(4)), index=3)))
    assert await listener.next() == ([1, 3], [3], [])
    unwatch_links(home, listener)


async def test_there_is_one_for_all_and_it_ends_with_the_last(script: Script) -> None:
    home, first = await started(script)
    watch = watch_of(home)
    second = Listener()
    watch_links(home, second)
    assert watch_of(home) is watch
    assert second.told.pop() == ([1, 2], [1, 2], [])
    unwatch_links(home, first)
    script.say(event(3))
    assert await second.next() == ([1, 2, 3], [3], [])
    assert first.told == []
    # What has happened before is told first.
    script.say(event(4))
    watch_links(home, first)
    assert first.told.pop() == ([1, 2, 3, 4], [1, 2, 3, 4], [])
    assert second.told.pop() == ([1, 2, 3, 4], [4], [])
    unwatch_links(home, first)
    unwatch_links(home, Listener())  # never added: nothing happens
    assert watch_of(home) is watch
    unwatch_links(home, second)
    assert hub_of(home).link_watch is None
    assert script.ours.fileno() == -1
    unwatch_links(home, second)


async def test_events_during_the_list_count(script: Script) -> None:
    """What was removed after it was listed is not there; what came is."""
    script.silent = True
    home, listener = current_home(), Listener()
    watch_links(home, listener)
    script.say(event(1, sequence=1) + event(2, sequence=1), event(2, GONE), event(5))
    script.say(message(DONE, bytes(4), sequence=1))
    assert await listener.next() == ([1, 5], [1, 2, 5], [2])
    unwatch_links(home, listener)


async def test_one_that_is_deleted_and_made_anew_under_the_same_number(script: Script) -> None:
    home, listener = await started(script)
    script.say(event(2, GONE) + event(2))
    assert await listener.next() == ([1, 2], [2], [2])
    unwatch_links(home, listener)


async def test_one_that_becomes_too_small_for_ipv6_counts_as_replaced(script: Script) -> None:
    home, listener = await started(script)
    script.say(event(2, mtu=1279))
    assert await listener.next() == ([1, 2], [2], [2])
    for mtu in (1000, 1280, 1400):
        script.say(event(2, mtu=mtu))
        assert await listener.next() == ([1, 2], [2], [])
    unwatch_links(home, listener)


async def test_lost_events(script: Script) -> None:
    """The list is asked for anew, and everything counts as replaced, also what has gone meanwhile."""
    home, listener = await started(script)
    script.links = (1, 7)
    script.say(OSError(errno.ENOBUFS, "No buffer space available"))
    assert await listener.next() == ([1, 7], [1, 7], [1, 2, 7])
    assert watch_of(home).overflows == 1
    assert script.requests == [1, 2]
    unwatch_links(home, listener)


async def test_events_are_lost_while_the_list_is_under_way(script: Script) -> None:
    """The kernel takes one question at a time; what the first list says is not told."""
    script.silent = True
    home, listener = current_home(), Listener()
    watch_links(home, listener)
    script.say(event(9, sequence=1), OSError(errno.ENOBUFS, "No buffer space available"))
    await until(lambda: watch_of(home).overflows == 1)
    assert script.requests == [1]
    script.silent = False
    script.say(message(DONE, bytes(4), sequence=1))
    assert await listener.next() == ([1, 2], [1, 2, 9], [1, 2, 9])
    assert script.requests == [1, 2]
    unwatch_links(home, listener)


async def test_a_list_that_was_disturbed_is_asked_for_again_and_not_for_ever(script: Script) -> None:
    script.list_flags.extend([rtnetlink.NLM_F_DUMP_INTR] * 100)
    home, listener = current_home(), Listener()
    watch_links(home, listener)
    assert await listener.next() == ([1, 2], [1, 2], [])
    assert len(script.requests) == 1 + rtnetlink.DUMP_REPEATS
    unwatch_links(home, listener)


async def test_what_is_no_change_of_an_interface(script: Script) -> None:
    """A bridge that lets go of a port says so with the same type; other processes say what they like."""
    home, listener = await started(script)
    bridge = bytes((AF_BRIDGE,)) + link(NAME, index=2)[1:]
    script.say(message(GONE, bridge), (event(2, GONE), [], 0, (4711, 0)), message(24, b"a route"), event(6))
    assert await listener.next() == ([1, 2, 6], [6], [])
    unwatch_links(home, listener)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\1",
        message(NEW, b"\0hort"),
        message(GONE, link(attribute(3, b"far too long a name\0"))),
        (event(2), [], int(socket.MSG_TRUNC), KERNEL),
        message(rtnetlink.RTM_NEWADDR, b"\2"),
    ],
    ids=["header", "link", "name", "truncated", "address"],
)
async def test_nonsense_is_reported_once_and_passed_over(script: Script, nonsense: Any) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    home, listener = await started(script)
    script.say(nonsense, nonsense, event(6))
    assert await listener.next() == ([1, 2, 6], [6], [])
    assert len(reports) == 1
    assert isinstance(reports[0]["exception"], rtnetlink.NetlinkFormatError)
    unwatch_links(home, listener)


async def test_a_list_that_fails_is_asked_for_with_the_next_event(script: Script) -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    script.refuses = OSError(errno.ENOBUFS, "No buffer space available")
    home, listener = current_home(), Listener()
    watch_links(home, listener)
    assert [type(report["exception"]) for report in reports] == [OSError]
    script.refuses, script.silent = None, True
    script.say(event(1))
    await until(lambda: len(script.requests) == 1)
    (sequence,) = script.requests
    script.silent = False
    failure = struct.pack("=i", -errno.EINTR) + bytes(16)
    script.say(message(rtnetlink.NLMSG_ERROR, failure, sequence=sequence))
    assert await listener.next() == ([1, 2], [1, 2], [])
    assert script.requests == [sequence, sequence + 1]
    assert len(reports) == 1
    unwatch_links(home, listener)


async def test_one_turn_takes_a_bounded_number(script: Script) -> None:
    home, listener = await started(script)
    script.say(*[event(index) for index in range(10, 11 + LINK_EVENTS_BURST)])
    _, changed, _ = await listener.next()
    assert len(changed) == LINK_EVENTS_BURST
    assert (await listener.next())[1] == [10 + LINK_EVENTS_BURST]
    unwatch_links(home, listener)


async def test_a_listener_that_goes_while_it_is_told(script: Script) -> None:
    home, listener = await started(script)

    def go(_links: Any, _changed: Any, _gone: Any) -> None:
        unwatch_links(home, listener)

    listener.links_changed = go  # type: ignore[method-assign]
    script.say(*[event(3)] * (LINK_EVENTS_BURST + 1))
    await until(lambda: hub_of(home).link_watch is None)


async def test_where_it_cannot_be_had(monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    def refuse(*_: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    home = current_home()
    monkeypatch.setattr(hub_of(home), "link_watch", None)
    for name in ("open_netlink", "LinkWatch"):
        with monkeypatch.context() as patch:
            patch.setattr(link_watch, name, refuse)
            with pytest.raises(OSError, match="watching the network interfaces failed: Too many") as caught:
                watch_links(home, Listener())
        assert caught.value.winerror == errors.WSAEMFILE  # type: ignore[attr-defined]
    assert script.ours.fileno() == -1  # that of the second try
    assert hub_of(home).link_watch is None


async def test_the_real_one_sees_the_loopback_interface() -> None:
    home, listener = current_home(), Listener()
    before = len(os.listdir("/proc/self/fd"))
    watch_links(home, listener)
    links, changed, gone = await listener.next()
    assert 1 in links
    assert (links, []) == (changed, gone)
    unwatch_links(home, listener)
    assert len(os.listdir("/proc/self/fd")) == before


def test_each_loop_has_its_own() -> None:
    async def watch_twice() -> LinkWatch:
        home, listener = current_home(), Listener()
        watch_links(home, listener)
        watch = watch_of(home)
        async with asyncio.timeout(PATIENCE):
            await listener.next()
        unwatch_links(home, listener)
        return watch

    assert asyncio.run(watch_twice()) is not asyncio.run(watch_twice())
