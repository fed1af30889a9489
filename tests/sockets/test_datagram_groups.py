"""Groups, broadcasts, shared ports: on the loopback interface, and between two network namespaces."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack
from typing import Any

import pytest
from tests.docs.documents import ROOT
from tests.engine.pairs import PATIENCE
from tests.sockets.cables import Node, namespaces, run
from tests.sockets.datagram_peers import Received, bound, needs_adapters, plain_peer, port_of, unused_port
from tests.sockets.peers import code

from moorings.connectivity.network_adapter import NetworkAdapter, network_adapters
from moorings.sockets import datagram_groups
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import DatagramSocket

GROUPS = ["239.255.77.1", "ff02::7701"]


def loopback() -> NetworkAdapter:
    return next(adapter for adapter in network_adapters() if adapter.is_loopback)


async def member(group: str, handler: Any, port: str = "", *, shared: bool = False) -> DatagramSocket:
    ours = DatagramSocket()
    ours.add_message_received(handler)
    ours.control.multicast_only = shared
    await ours.bind_service_name_async(port)
    ours.join_multicast_group(HostName(group))
    return ours


async def sender() -> DatagramSocket:
    ours = DatagramSocket()
    await ours.bind_service_name_async("", loopback())
    return ours


@needs_adapters
async def test_a_group() -> None:
    """(Of IPv4; the loopback interface has no way to IPv6 groups. The namespaces below have.)"""
    group = GROUPS[0]
    received = Received(lambda args: (bytes(args.data), str(args.local_address).partition("%")[0]))
    ours = await member(group, received)
    ours.join_multicast_group(HostName(group))  # again: no error
    theirs = await sender()
    stream = await theirs.get_output_stream_async(HostName(group), ours.information.local_port)
    await stream.write_async(b"to all")
    assert (await received.wait())[0] == (b"to all", group)
    ours.close()
    theirs.close()


@needs_adapters
async def test_only_joined_groups_are_received() -> None:
    """Linux by itself gives a socket what any other socket of the machine has joined (IP_MULTICAST_ALL)."""
    received, others = Received(), Received()
    ours = await member("239.255.77.2", received)
    other = await member("239.255.77.3", others)
    theirs = await sender()
    for group, word in (("239.255.77.3", b"not joined"), ("239.255.77.2", b"joined")):
        await theirs.send(word, (group, port_of(ours)))
    assert await received.wait() == [b"joined"]
    assert others.items == []
    for one in (ours, other, theirs):
        one.close()


@needs_adapters
async def test_two_sockets_share_a_port() -> None:
    """Each gets each datagram for the group; unicast ones are dropped and counted, and refused when sent."""
    first, second = Received(), Received()
    one = await member(GROUPS[0], first, shared=True)
    port = one.information.local_port
    other = await member(GROUPS[0], second, port, shared=True)
    theirs = await sender()
    await theirs.send(b"unicast", ("127.0.0.1", int(port)))
    await theirs.send(b"group", (GROUPS[0], int(port)))
    assert await first.wait() == [b"group"]
    assert await second.wait() == [b"group"]
    assert one.counters.refused + other.counters.refused == 1
    with plain_peer() as peer:
        name = peer.getsockname()
        stream = await one.get_output_stream_async(HostName(name[0]), str(name[1]))
        for call in (lambda: stream.write_async(b"x"), lambda: one.send(b"x", name)):
            with pytest.raises(OSError, match="multicast_only") as caught:
                call()
            assert code(caught.value) == "E_ILLEGAL_METHOD_CALL"
        unbound = DatagramSocket()
        unbound.control.multicast_only = True
        with pytest.raises(OSError, match="multicast_only") as caught:
            await unbound.connect_async(HostName(name[0]), str(name[1]))
        assert code(caught.value) == "E_ILLEGAL_METHOD_CALL"
    exclusive = DatagramSocket()
    with pytest.raises(OSError) as caught:
        await exclusive.bind_service_name_async(port)
    assert code(caught.value) == "WSAEADDRINUSE"
    for ours in (one, other, theirs, unbound, exclusive):
        ours.close()


PROGRAM = """
import asyncio, sys
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import DatagramSocket

async def main():
    ended = asyncio.Event()
    def received(_socket, args):
        print(bytes(args.data).decode(), flush=True)
        ended.set()
    ours = DatagramSocket()
    ours.control.multicast_only = True
    ours.add_message_received(received)
    await ours.bind_service_name_async(sys.argv[1])
    ours.join_multicast_group(HostName(sys.argv[2]))
    print("ready", flush=True)
    await asyncio.wait_for(ended.wait(), 20)
    ours.close()

asyncio.run(main())
"""


@needs_adapters
async def test_two_programs_share_a_port() -> None:
    port = unused_port()
    command = (sys.executable, "-W", "error", "-c", PROGRAM, str(port), GROUPS[0])
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    programs = [
        await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=environment) for _ in range(2)
    ]
    theirs = await sender()
    async with asyncio.timeout(PATIENCE):
        for program in programs:
            assert program.stdout is not None
            assert await program.stdout.readline() == b"ready\n"
        await theirs.send(b"both", (GROUPS[0], port))
        assert [(await program.communicate())[0] for program in programs] == [b"both\n"] * 2
    assert [program.returncode for program in programs] == [0, 0]
    theirs.close()


async def test_joining_fails_where_nothing_can_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = await bound()
    with pytest.raises(OSError, match="only IPv4") as caught:
        ours.join_multicast_group(HostName(GROUPS[1]))
    assert code(caught.value) == "WSAEAFNOSUPPORT"
    monkeypatch.setattr(datagram_groups.rtnetlink, "read_links", list)
    with pytest.raises(OSError, match="no interface") as caught:
        ours.join_multicast_group(HostName(GROUPS[0]))
    assert code(caught.value) == "WSAENETDOWN"
    ours.close()


async def test_joining_a_scope_that_is_not_there() -> None:
    ours = await bound(None, None)
    with pytest.raises(OSError):
        ours.join_multicast_group(HostName("ff02::7701%9999"))
    ours.join_multicast_group(HostName("ff02::7701%1"))
    ours.close()


async def test_a_broadcast_leaves_once_per_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loopback interface stands in for two adapters."""
    index = loopback().interface_index
    monkeypatch.setattr("moorings.sockets.datagram_link.broadcast_interfaces", lambda: [index, index])
    received = Received(lambda args: (bytes(args.data), str(args.local_address)))
    ours = await bound(received, None)
    theirs = await bound(None, None)
    stream = await theirs.get_output_stream_async(HostName("255.255.255.255"), ours.information.local_port)
    assert await stream.write_async(b"all") == 3
    assert await received.wait(2) == [(b"all", "255.255.255.255")] * 2
    assert (theirs.counters.datagrams_sent, theirs.counters.send_calls) == (1, 2)
    monkeypatch.setattr("moorings.sockets.datagram_link.broadcast_interfaces", lambda: [999_999])
    with pytest.raises(OSError, match="broadcast"):
        await stream.write_async(b"nowhere")
    ours.close()
    theirs.close()


# -- two machines ----------------------------------------------------------------------------------------------------

NODE = textwrap.dedent("""
    import asyncio, sys
    from moorings.connectivity.network_adapter import network_adapters
    from winrt.windows.networking import HostName
    from winrt.windows.networking.sockets import DatagramSocket

    async def main():
        adapter = next(one for one in network_adapters() if not one.is_loopback)
        def received(_socket, args):
            try:
                print("got", bytes(args.data).decode(), flush=True)
            except OSError as error:
                print("event", error, flush=True)
        ours = DatagramSocket()
        ours.add_message_received(received)
        await ours.bind_service_name_async("4711", adapter)
        ours.join_multicast_group(HostName("239.255.77.9"))
        ours.join_multicast_group(HostName("ff02::7709"))
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            address, word = line.split()
            try:
                await ours.send(word.encode(), (address, 4711))
                print("sent", word, flush=True)
            except OSError as error:
                print("failed", word, flush=True)
        ours.close()

    asyncio.run(main())
""")


def send(source: Node, address: str, word: str) -> str:
    source.tell(f"{address} {word}")
    while not (answer := source.line()).startswith(("sent", "failed")):
        assert answer
    return answer


def until_it_arrives(source: Node, target: Node, address: str, word: str) -> None:
    """Send until it gets through: a link that came up takes a moment. One that got through late counts as well."""
    deadline = time.monotonic() + PATIENCE
    number = 0
    while time.monotonic() < deadline:
        number += 1
        send(source, address, f"{word}{number}")
        while answer := target.line(0.2):
            if answer.startswith(f"got {word}"):
                return
    pytest.fail(f"{word} did not arrive")


def test_flows_survive_a_link_that_goes_down_and_up() -> None:
    with namespaces() as (first, second), ExitStack() as stack:
        nodes = []
        for namespace in (first, second):
            nodes.append(node := Node(namespace, NODE))
            stack.callback(node.end)
            assert node.line() == "ready"
        here, there = nodes
        until_it_arrives(here, there, "192.0.2.2", "unicast")
        until_it_arrives(there, here, "239.255.77.9", "group")
        until_it_arrives(here, there, "255.255.255.255", "broadcast")
        until_it_arrives(here, there, "ff02::7709", "six")
        run("ip", "-n", first, "link", "set", "cable", "down")
        assert send(here, "192.0.2.2", "lost") in {"sent lost", "failed lost"}
        run("ip", "-n", first, "link", "set", "cable", "up")
        until_it_arrives(here, there, "192.0.2.2", "again")
        until_it_arrives(there, here, "239.255.77.9", "regroup")
        until_it_arrives(here, there, "255.255.255.255", "rebroadcast")
