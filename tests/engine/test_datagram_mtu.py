"""Datagrams that are bigger than the way allows, in network namespaces of their own, and what their errors say."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import shutil
import socket
import struct
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.engine.ports import Target, port_and_peer, udp_socket
from tests.sockets.cables import Node, connect, machines, run

from moorings import errors
from moorings.engine.datagram_mtu import largest_payload, path_mtu, too_big, too_big_on_the_way

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio, errno, socket
from tests.engine.ports import Target, datagrams_at, port_and_peer

IP_MTU_DISCOVER, DO, DONT = 10, 2, 0

async def main():
    with port_and_peer() as (port, peer, target):
        for number in range(2):
            # Segments of 2,000 bytes do not fit: they go one by one, in fragments, and are not tried again.
            port.plain_socket.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, DONT)
            big = [bytes([place]) * 2000 for place in range(20)]
            for data in big:
                port.write(data, 2000, target)
            assert await port.flush() is True
            assert await datagrams_at(peer, 20) == big
            assert target.segment_limit == 1999, target.segment_limit
            assert port.batches_refused == 1, port.batches_refused
            # Smaller ones still go together.
            before = port.segmented_sent
            small = [bytes([place]) * 1400 for place in range(20)]
            for data in small:
                port.write(data, 1400, target)
            assert await port.flush() is True
            assert await datagrams_at(peer, 20) == small
            assert port.segmented_sent == before + 20
        # Where they may not be fragmented each of the big ones tells so, and the others arrive.
        port.plain_socket.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, DO)
        writes = [port.write(data, len(data), target) for pair in zip(big, small) for data in pair]
        assert await port.flush() is False
        failures = [write.exception() for write in writes]
        assert [failure.errno for failure in failures[::2]] == [errno.EMSGSIZE] * 20
        assert failures[1::2] == [None] * 20
        assert await datagrams_at(peer, 20) == small
        assert port.is_open()

asyncio.run(main())
print("done")
"""


def test_a_small_mtu() -> None:
    unshare, ip = shutil.which("unshare"), shutil.which("ip")
    if unshare is None or ip is None:
        pytest.skip("unshare (util-linux) and ip (iproute2) are needed")
    command = f"{ip} link set lo mtu 1500 up && exec {sys.executable} -c '{PROGRAM}'"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    probe = subprocess.run([unshare, "--net", ip, "link", "show"], capture_output=True, check=False, timeout=20)
    if probe.returncode != 0:
        pytest.skip("no permission to make a network namespace")
    result = subprocess.run(
        [unshare, "--net", "sh", "-c", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.stdout == "done\n", result.stderr


#: The kernel gives the MTU of an IPv4 way as no longer than a packet.
LOOPBACK_MTU = {2: 65535, 10: 65536}
DO = 2


def unfragmented(family: int) -> socket.socket:
    made = udp_socket(family)
    made.setsockopt(socket.IPPROTO_IP, 10, DO)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, 23, DO)
    return made


@pytest.mark.parametrize(("family", "most", "in_one_piece"), [(2, 65507, 65507), (10, 65527, 65488)], ids=["v4", "v6"])
def test_the_largest_datagram_is_the_one_that_the_kernel_takes(family: int, most: int, in_one_piece: int) -> None:
    """Of a connected socket, and of one that is not; in fragments, and without."""
    with udp_socket(family) as peer:
        name = peer.getsockname()
        for make, expected in ((udp_socket, most), (unfragmented, in_one_piece)):
            with make(family) as ours:
                assert path_mtu(ours) is None
                assert largest_payload(ours, name) == expected
                assert largest_payload(ours, None) is None
                assert ours.sendto(bytes(expected), name) == expected
                with pytest.raises(OSError) as caught:
                    ours.sendto(bytes(expected + 1), name)
                assert caught.value.errno == errno.EMSGSIZE
                ours.connect(name)
                assert path_mtu(ours) == LOOPBACK_MTU[family]
                assert largest_payload(ours, None) == expected


def test_ipv4_on_a_socket_for_both_families() -> None:
    with udp_socket() as peer, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as ours:
        ours.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        ours.bind(("::", 0))
        ours.setsockopt(socket.IPPROTO_IP, 10, DO)
        ours.setsockopt(socket.IPPROTO_IPV6, 23, DO)
        host, port = peer.getsockname()
        for name in ((f"::ffff:{host}", port, 0, 0), (host, port)):
            assert largest_payload(ours, name) == 65507
        ours.connect((f"::ffff:{host}", port, 0, 0))
        assert (path_mtu(ours), largest_payload(ours, None)) == (LOOPBACK_MTU[2], 65507)


def test_what_has_no_mtu() -> None:
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with first, second:
        assert path_mtu(first) is None
        assert largest_payload(first, None) is None
        error = too_big("the port", first, 5, None)
        assert (error.max_size, error.errno) == (None, errno.EMSGSIZE)
        assert error.reason == "the port: sending failed: 5 bytes are too many for a datagram; send smaller ones"
    with unfragmented(socket.AF_INET) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
        assert largest_payload(ours, ("127.0.0.1", 9)) == 65507
        assert largest_payload(ours, ("no address", 9)) is None
    assert path_mtu(ours) is None  # closed


def test_the_error_is_copied_with_all_it_has() -> None:
    error = errors.message_too_long("reason", 1272)
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(twin), twin.max_size, twin.reason) == (errors.TooBigError, 1272, "reason")
    assert (error.status, error.winerror) == (errors.SocketErrorStatus.MESSAGE_TOO_LONG, errors.WSAEMSGSIZE)
    assert type(error).__name__ == "OSError"
    from_number = errors.from_errno(errno.EMSGSIZE, "reason")
    assert isinstance(from_number, errors.TooBigError)
    assert from_number.max_size is None


@pytest.mark.parametrize(
    ("mtu", "v6", "fits"),
    [
        (1300, False, 1272),
        (1300, True, 1252),
        (0, False, None),
        (0, True, None),
        (68, False, 40),
        (1, False, 40),
        (1279, True, 1232),
        (1, True, 1232),
        (0xFFFFFFFF, False, 65507),
        (0xFFFFFFFF, True, 65527),
    ],
)
def test_what_a_router_says_is_not_believed_whatever_it_is(mtu: int, v6: bool, fits: int | None) -> None:
    assert too_big_on_the_way("reason", mtu, v6).max_size == fits


@pytest.mark.parametrize(("origin", "fits"), [(2, 1272), (3, 1252)])
async def test_a_report_says_what_fits(origin: int, fits: int) -> None:
    entry = struct.pack("=IBBBBII", errno.EMSGSIZE, origin, 3, 4, 0, 1300, 0)
    with port_and_peer() as (port, _peer, _target):
        waiting = port.receive()
        report: Any = port
        assert report._told(entry, ("192.0.2.1", 7)) == 1
        with pytest.raises(OSError, match=rf"path MTU 1300\): at most {fits} bytes fit; send smaller") as caught:
            await waiting
        assert isinstance(caught.value, errors.TooBigError)
        assert caught.value.max_size == fits


async def test_a_datagram_that_is_too_big_for_any_way() -> None:
    with port_and_peer() as (port, _peer, target):
        with pytest.raises(
            OSError, match="65508 bytes are too many for a datagram, which holds at most 65507"
        ) as caught:
            await port.write(bytes(65508), 65508, target)
        assert isinstance(caught.value, errors.TooBigError)
        assert await port.write(bytes(caught.value.max_size or 0), 65507, Target(target.name)) == 65507


SENDER = textwrap.dedent("""
    import asyncio, errno, sys
    from moorings import DatagramSocket, HostName

    async def expect(call, *arguments):
        try:
            await asyncio.wait_for(call(*arguments), 20)
        except OSError as error:
            assert error.errno == errno.EMSGSIZE, error
            assert error.status.name == "MESSAGE_TOO_LONG"
            assert str(error.max_size) in error.reason, error
            return error
        raise AssertionError("it was sent")

    async def main():
        address, headers = sys.stdin.readline().split()
        headers = int(headers)
        async with DatagramSocket() as ours, DatagramSocket() as other:
            ours.control.dont_fragment = other.control.dont_fragment = True
            assert ours.path_mtu is None
            await ours.connect_async(HostName(address), "4711")
            assert ours.path_mtu == 1500, ours.path_mtu
            # The first one goes out, and a router reports it.
            assert await ours.send(bytes(1400)) == 1400
            error = await expect(ours.receive)
            assert error.max_size == 1300 - headers, error
            assert "path MTU 1300" in error.reason, error
            assert ours.path_mtu == 1300, ours.path_mtu
            # Now it is known.
            for one, to in ((ours, None), (other, (address, 4711))):
                error = await expect(one.send, bytes(1400), to)
                assert error.max_size == 1300 - headers, error
                assert "dont_fragment" in error.reason
                error = await expect(one.send, bytes(error.max_size + 1), to)
                assert await one.send(bytes(error.max_size), to) == error.max_size
                answer = await asyncio.wait_for(one.receive(), 20)
                assert answer.data == b"%d" % error.max_size, answer.data
            error = await expect(ours.send, bytes(70000))
            assert error.max_size == 1300 - headers, error
            assert ours.counters.errors == 1
        async with DatagramSocket() as ours:
            # In fragments everything arrives.
            await ours.connect_async(HostName(address), "4711")
            await ours.send(bytes(5000))
            answer = await asyncio.wait_for(ours.receive(), 20)
            assert answer.data == b"5000"
            error = await expect(ours.send, bytes(70000))
            assert error.max_size == 65535 - (headers if headers == 28 else 8), error
        assert ours.path_mtu is None
        print("done", flush=True)

    asyncio.run(main())
""")

RECEIVER = textwrap.dedent("""
    import select, socket, sys

    ours = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    ours.bind(("::", 4711))
    print("ready", flush=True)
    while sys.stdin not in select.select([ours, sys.stdin], [], [])[0]:
        data, name = ours.recvfrom(65536)
        ours.sendto(b"%d" % len(data), name)
    ours.close()
""")


def test_a_router_with_a_small_mtu() -> None:
    """The MTU is 1500 on our side of the router, and 1300 behind it."""
    with machines("arb") as (ours, router, theirs), ExitStack() as stack:
        for number, (name, cable) in enumerate(((ours, "near"), (theirs, "far")), 1):
            connect(name, router, cable)
            for where, host in ((name, 1), (router, 2)):
                run("ip", "-n", where, "address", "add", f"198.51.{number}.{host}/24", "dev", cable)
                run("ip", "-n", where, "address", "add", f"2001:db8:{number}::{host}/64", "dev", cable, "nodad")
                run("ip", "-n", where, "link", "set", cable, *(["mtu", "1300"] if cable == "far" else []), "up")
            run("ip", "-n", name, "route", "add", "default", "via", f"198.51.{number}.2")
            run("ip", "-n", name, "route", "add", "default", "via", f"2001:db8:{number}::2")
        forwarding = "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"
        run("ip", "netns", "exec", router, "sh", "-c", forwarding)
        receiver = Node(theirs, RECEIVER)
        stack.callback(receiver.end)
        assert receiver.line() == "ready"
        for address, headers in (("198.51.2.1", 28), ("2001:db8:2::1", 48)):
            sender = Node(ours, SENDER)
            stack.callback(sender.end)
            sender.tell(f"{address} {headers}")
            assert sender.line() == "done", address
