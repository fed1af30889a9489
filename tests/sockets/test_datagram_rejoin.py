"""Groups go on while interfaces change: between two network namespaces whose cable is unplugged, removed, renewed."""

from __future__ import annotations

import textwrap
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from tests.engine.pairs import PATIENCE
from tests.sockets.cables import Node, namespaces, run

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

RECEIVER = textwrap.dedent("""
    import asyncio, sys
    from moorings import DatagramSocket
    from moorings.connectivity.network_adapter import network_adapters

    async def open_one(port, *arguments):
        def received(_socket, message):
            print("got", message.data.decode(), flush=True)
        ours = DatagramSocket()
        ours.add_message_received(received)
        await ours.bind_service_name_async(port, *arguments)
        return ours

    async def main():
        ours = await open_one("4711")
        ours.join_group("239.255.77.9")
        ours.join_group("232.1.77.9", source="192.0.2.2", interface="cable")
        ours.join_group("ff15::7709")
        ours.join_group("ff35::7709", source="2001:db8::2", interface="cable")
        adapter = next(one for one in network_adapters() if one.interface_name == "cable")
        bound = await open_one("4712", adapter)
        bound.join_group("239.255.77.10")
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            if line == "leave\\n":
                ours.leave_group("239.255.77.9")
                ours.leave_group("232.1.77.9", source="192.0.2.2", interface="cable")
            print("counters", ours.counters.group_rejoins, bound.counters.group_rejoins, flush=True)
        ours.close()
        bound.close()

    asyncio.run(main())
""")

SENDER = textwrap.dedent("""
    import socket, struct, sys

    while line := sys.stdin.readline():
        interface, group, port, source, word = line.split()
        family = socket.AF_INET6 if ":" in group else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            try:
                index = socket.if_nametoindex(interface)
                if source != "-":
                    one.bind((source, 0))
                if family == socket.AF_INET:
                    request = struct.pack("=4s4xi", socket.inet_aton(group), index)
                    one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
                    one.sendto(word.encode(), (group, int(port)))
                else:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
                    one.sendto(word.encode(), (group, int(port), 0, index))
                print("sent", flush=True)
            except OSError as error:
                print("failed", error, flush=True)
""")

#: What the receiver has joined, and from where it is sent to.
ANY = "239.255.77.9 4711 -"
FROM_ONE = "232.1.77.9 4711 192.0.2.2"
FROM_ANOTHER = "232.1.77.9 4711 192.0.2.3"
ANY_SIX = "ff15::7709 4711 -"
FROM_ONE_SIX = "ff35::7709 4711 2001:db8::2"
FROM_ANOTHER_SIX = "ff35::7709 4711 2001:db8::3"
BOUND = "239.255.77.10 4712 -"
ALL = (ANY, FROM_ONE, ANY_SIX, FROM_ONE_SIX, BOUND)


class Pair:
    """A receiver, and a sender at the other end of the cable."""

    def __init__(self, stack: ExitStack) -> None:
        self.names = stack.enter_context(namespaces())
        self.configure("cable")
        self.receiver = Node(self.names[0], RECEIVER)
        stack.callback(self.receiver.end)
        self.sender = Node(self.names[1], SENDER)
        stack.callback(self.sender.end)
        assert self.receiver.line() == "ready"
        self.number = 0

    def configure(self, cable: str, network: int = 2) -> None:
        """Addresses for both ends, two of them for the sender."""
        for place, name in enumerate(self.names):
            for host in ("1",) if place == 0 else ("2", "3"):
                run("ip", "-n", name, "address", "replace", f"192.0.{network}.{host}/24", "dev", cable)
                prefix = "2001:db8:" if network == 2 else f"2001:db8:{network}:"
                run("ip", "-n", name, "address", "replace", f"{prefix}:{host}/64", "dev", cable, "nodad")
            run("ip", "-n", name, "link", "set", cable, "up")

    def plug(self, cable: str, network: int = 2, *, index: str = "") -> None:
        """A new cable."""
        numbered = ("index", index) if index else ()
        first, second = self.names
        end = ("peer", "name", cable, "netns", second)
        run("ip", "-n", first, "link", "add", "name", cable, *numbered, "type", "veth", *end)
        self.configure(cable, network)

    def send(self, cable: str, to: str) -> str:
        """Send a word of its own to a group; the word."""
        self.number += 1
        word = f"word{self.number}"
        self.sender.tell(f"{cable} {to} {word}")
        assert self.sender.line().startswith(("sent", "failed"))
        return word

    def arrives(self, words: Collection[str], patience: float = PATIENCE) -> str:
        """The first of the words that arrives, whatever else does; "" when none comes in time."""
        while line := self.receiver.line(patience):
            word = line.removeprefix("got ")
            if word in words:
                return word
        return ""

    def flows(self, cable: str, *groups: str) -> None:
        """Send to each of the groups until it arrives: a link that came up takes a moment."""
        for group in groups:
            deadline = time.monotonic() + PATIENCE
            words: set[str] = set()
            while time.monotonic() < deadline:
                words.add(self.send(cable, group))
                if self.arrives(words, 0.2):
                    break
            else:
                pytest.fail(f"{group} through {cable} does not arrive")

    def next_of(self, *groups: str) -> str:
        """Send to each of the groups, in this order; the first that arrives."""
        words = {self.send("cable", group): group for group in groups}
        return words[self.arrives(words)]

    def rejoins(self, command: str = "counters") -> list[int]:
        self.receiver.tell(command)
        while not (line := self.receiver.line()).startswith("counters"):
            assert line
        return [int(number) for number in line.split()[1:]]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack)


def test_only_the_chosen_source_is_received(pair: Pair) -> None:
    pair.flows("cable", *ALL)
    assert pair.next_of(FROM_ANOTHER, FROM_ONE) == FROM_ONE
    assert pair.next_of(FROM_ANOTHER_SIX, FROM_ONE_SIX) == FROM_ONE_SIX


def test_leaving(pair: Pair) -> None:
    pair.flows("cable", *ALL)
    pair.rejoins("leave")
    assert pair.next_of(ANY, FROM_ONE, ANY_SIX) == ANY_SIX
    pair.flows("cable", FROM_ONE_SIX, BOUND)
    # Nothing brings back what was left.
    run("ip", "-n", pair.names[0], "link", "delete", "cable")
    pair.plug("cable")
    pair.flows("cable", ANY_SIX, BOUND)
    assert pair.next_of(ANY, FROM_ONE, ANY_SIX) == ANY_SIX


def test_a_link_goes_down_and_up(pair: Pair) -> None:
    pair.flows("cable", *ALL)
    run("ip", "-n", pair.names[0], "link", "set", "cable", "down")
    run("ip", "-n", pair.names[0], "link", "set", "cable", "up")
    pair.configure("cable")  # the kernel drops the IPv6 addresses of a link that is down
    pair.flows("cable", *ALL)
    assert pair.next_of(FROM_ANOTHER, FROM_ONE) == FROM_ONE


def test_addresses_change(pair: Pair) -> None:
    pair.flows("cable", *ALL)
    run("ip", "-n", pair.names[0], "address", "flush", "dev", "cable")
    run("ip", "-n", pair.names[0], "address", "add", "192.0.2.77/24", "dev", "cable")
    run("ip", "-n", pair.names[0], "address", "add", "2001:db8::77/64", "dev", "cable", "nodad")
    pair.flows("cable", *ALL)


@pytest.mark.parametrize("index", ["", "77"], ids=["another number", "the same number"])
def test_an_interface_is_deleted_and_made_anew(pair: Pair, index: str) -> None:
    for _ in range(2):
        run("ip", "-n", pair.names[0], "link", "delete", "cable")
        pair.plug("cable", index=index)
        pair.flows("cable", *ALL)
        assert pair.next_of(FROM_ANOTHER, FROM_ONE) == FROM_ONE
        assert pair.next_of(FROM_ANOTHER_SIX, FROM_ONE_SIX) == FROM_ONE_SIX
    ours, bound = pair.rejoins()
    assert ours >= 8
    assert bound >= 2


def test_a_new_interface_comes(pair: Pair) -> None:
    """It is joined where "every interface" is wanted, and only there."""
    pair.flows("cable", *ALL)
    pair.plug("second", 3)
    pair.flows("second", ANY, ANY_SIX)
    words = [pair.send("second", to) for to in ("232.1.77.9 4711 192.0.3.2", ANY)]
    assert pair.arrives(words) == words[1]
    pair.flows("cable", *ALL)


def test_an_interface_gets_ipv6_later(pair: Pair) -> None:
    run("ip", "-n", pair.names[0], "link", "delete", "cable")
    # Below 1280 bytes the kernel has no IPv6 there (RFC 8200).
    first, second = pair.names
    end = ("peer", "name", "cable", "netns", second)
    run("ip", "-n", first, "link", "add", "name", "cable", "mtu", "1200", "type", "veth", *end)
    run("ip", "-n", first, "link", "set", "cable", "up")
    run("ip", "-n", first, "link", "set", "cable", "mtu", "1500")
    pair.configure("cable")
    pair.flows("cable", *ALL)


def test_an_interface_loses_ipv6_and_gets_it_back(pair: Pair) -> None:
    """The kernel forgets what was joined there, and says nothing of it to the socket."""
    pair.flows("cable", *ALL)
    for mtu in ("1200", "1500"):
        run("ip", "-n", pair.names[0], "link", "set", "cable", "mtu", mtu)
    pair.configure("cable")
    pair.flows("cable", *ALL)
