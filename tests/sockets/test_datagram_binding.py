"""DatagramSocket on an event loop: binding, connecting, and what fails there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from tests.sockets.datagram_peers import ADDRESSES, Received, bound, plain_peer, port_of, unused_port
from tests.sockets.peers import FAMILIES, code

from winrt.windows.networking import EndpointPair, HostName, HostNameSortOptions
from winrt.windows.networking.sockets import DatagramSocket, SocketError, SocketErrorStatus

LOCALHOST = HostName("127.0.0.1")


@pytest.mark.parametrize("family", FAMILIES)
async def test_bind_endpoint(family: int) -> None:
    received = Received(lambda args: (args.data, str(args.remote_address), args.remote_port, str(args.local_address)))
    ours = await bound(received, ADDRESSES[family])
    assert str(ours.information.local_address) == ADDRESSES[family]
    assert ours.information.remote_address is None
    assert ours.information.remote_port == ""
    with plain_peer(family) as peer:
        peer.sendto(b"hello", (ADDRESSES[family], port_of(ours)))
        expected = (b"hello", ADDRESSES[family], str(peer.getsockname()[1]), ADDRESSES[family])
        assert await received.wait() == [expected]
    ours.close()
    assert str(ours.information.local_address) == ADDRESSES[family]


async def test_bind_service_name_takes_both_families() -> None:
    received = Received(lambda args: (args.data, str(args.remote_address), str(args.local_address)))
    ours = await bound(received, None)
    assert ours.information.local_address is None
    for family in FAMILIES:
        with plain_peer(family) as peer:
            peer.sendto(b"x", (ADDRESSES[family], port_of(ours)))
            await received.wait(len(received.items) + 1)
    assert received.items == [(b"x", address, address) for address in ADDRESSES.values()]
    ours.close()


async def test_a_port_is_exclusive_and_a_failed_bind_leaves_the_socket_new() -> None:
    first = await bound()
    second = DatagramSocket()
    for _ in range(2):
        with pytest.raises(OSError, match="another socket") as caught:
            await second.bind_endpoint_async(LOCALHOST, first.information.local_port)
        assert SocketError.get_status(caught.value.winerror) == SocketErrorStatus.ADDRESS_ALREADY_IN_USE  # type: ignore[attr-defined]
    second.control.dont_fragment = True
    await second.bind_endpoint_async(LOCALHOST, "")
    first.close()
    second.close()


async def test_bind_to_an_address_of_somebody_else() -> None:
    ours = DatagramSocket()
    with pytest.raises(OSError, match="does not have that address") as caught:
        await ours.bind_endpoint_async(HostName("192.0.2.250"), "")
    assert code(caught.value) == "WSAEADDRNOTAVAIL"
    ours.close()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("bind_first", [False, True])
async def test_connect(family: int, bind_first: bool) -> None:
    """Only the peer's datagrams are received; the local address is known."""
    received = Received()
    ours = DatagramSocket()
    ours.add_message_received(received)
    if bind_first:
        await ours.bind_service_name_async("")
    with plain_peer(family) as peer, plain_peer(family) as stranger:
        name = peer.getsockname()
        await ours.connect_async(HostName(name[0]), str(name[1]))
        assert (str(ours.information.remote_address), ours.information.remote_port) == (name[0], str(name[1]))
        assert str(ours.information.local_address) == ADDRESSES[family]
        own = (ADDRESSES[family], port_of(ours))
        assert await ours.output_stream.write_async(b"question") == 8
        assert peer.recvfrom(100)[0] == b"question"
        with contextlib.suppress(ConnectionRefusedError):
            stranger.sendto(b"stranger", own)
        peer.sendto(b"answer", own)
        assert await received.wait() == [b"answer"]
    ours.close()


async def test_connect_by_pair_binds_to_its_local_end() -> None:
    with plain_peer() as peer:
        port = unused_port()
        ours = DatagramSocket()
        await ours.connect_async(EndpointPair(LOCALHOST, str(port), LOCALHOST, str(peer.getsockname()[1])))
        assert port_of(ours) == port
        await ours.send(b"x")
        assert peer.recvfrom(10) == (b"x", ("127.0.0.1", port))
        ours.close()


async def test_the_local_end_of_a_pair_must_fit_the_bind() -> None:
    with plain_peer() as peer:
        theirs = str(peer.getsockname()[1])
        ours = await bound()
        for local, service in ((HostName("127.0.0.2"), ""), (None, "1"), (LOCALHOST, "1")):
            pair = EndpointPair(local, service, LOCALHOST, theirs)
            for call in (ours.connect_async, ours.get_output_stream_async):
                with pytest.raises(OSError, match="not the one it is bound to") as caught:
                    await call(pair)
                assert code(caught.value) == "E_INVALIDARG"
        pair = EndpointPair(LOCALHOST, ours.information.local_port, LOCALHOST, theirs)
        await (await ours.get_output_stream_async(pair)).write_async(b"1")
        await ours.connect_async(pair)
        await ours.output_stream.write_async(b"2")
        assert (peer.recv(10), peer.recv(10)) == (b"1", b"2")
        ours.close()


async def test_an_output_stream_by_pair_binds_at_once() -> None:
    port = unused_port()
    ours = DatagramSocket()
    with plain_peer() as peer:
        pair = EndpointPair(LOCALHOST, str(port), LOCALHOST, str(peer.getsockname()[1]))
        stream = await ours.get_output_stream_async(pair)
        assert port_of(ours) == port
        await stream.write_async(b"x")
        assert peer.recvfrom(10) == (b"x", ("127.0.0.1", port))
    ours.close()
    taken = await bound()
    other = DatagramSocket()
    with pytest.raises(OSError) as caught:
        await other.get_output_stream_async(EndpointPair(LOCALHOST, taken.information.local_port, LOCALHOST, "1"))
    assert code(caught.value) == "WSAEADDRINUSE"
    other.control.dont_fragment = True  # new again
    taken.close()
    other.close()


@pytest.mark.parametrize("group", ["239.1.2.3", "ff02::1:2"])
async def test_a_group_is_no_peer(group: str) -> None:
    ours = DatagramSocket()
    with pytest.raises(OSError, match="multicast") as caught:
        await ours.connect_async(HostName(group), "1")
    assert SocketError.get_status(caught.value.winerror) == SocketErrorStatus.HOST_NOT_FOUND  # type: ignore[attr-defined]
    ours.close()


async def test_an_ipv6_peer_of_an_ipv4_socket() -> None:
    ours = await bound()
    with pytest.raises(OSError, match="only IPv4") as caught:
        await ours.connect_async(HostName("::1"), "1")
    assert code(caught.value) == "WSAEAFNOSUPPORT"
    stream = await ours.get_output_stream_async(HostName("::1"), "1")
    with pytest.raises(OSError, match="only IPv4"):
        await stream.write_async(b"x")
    with plain_peer() as peer:
        await ours.send(b"fine", peer.getsockname())
        assert peer.recv(10) == b"fine"
    ours.close()


@pytest.mark.parametrize("bind_first", [False, True])
async def test_a_cancelled_connect_leaves_everything_as_it_was(bind_first: bool) -> None:
    ours = DatagramSocket()
    if bind_first:
        await ours.bind_endpoint_async(LOCALHOST, "")
    port = ours.information.local_port
    with plain_peer() as peer, plain_peer() as stranger:
        operation = ours.connect_async(LOCALHOST, str(peer.getsockname()[1]))
        await asyncio.sleep(0)
        operation.cancel()
        with pytest.raises(asyncio.CancelledError):
            await operation
        assert ours.information.remote_address is None
        assert ours.information.local_port == port
        if bind_first:
            stranger.sendto(b"still open to all", ("127.0.0.1", int(port)))
            assert (await ours.receive()).data == b"still open to all"
        await ours.connect_async(LOCALHOST, str(peer.getsockname()[1]))
        await ours.send(b"x")
        assert peer.recv(10) == b"x"
    ours.close()


async def test_undoing_a_connect_of_a_bound_socket() -> None:
    """The cancellation comes in the very turn in which the connect succeeded."""
    ours = await bound()
    port = port_of(ours)
    with plain_peer() as peer, plain_peer() as stranger:
        await ours.connect_async(LOCALHOST, str(peer.getsockname()[1]))
        ours._undo(True)
        assert ours.information.remote_address is None
        stranger.sendto(b"open", ("127.0.0.1", port))
        assert (await ours.receive()).data == b"open"
    ours.close()


@pytest.mark.parametrize("options", [(), (HostNameSortOptions.OPTIMIZE_FOR_LONG_CONNECTIONS,)])
async def test_endpoint_pairs(options: tuple[Any, ...]) -> None:
    pairs = await DatagramSocket.get_endpoint_pairs_async(LOCALHOST, "53", *options)
    assert [(str(pair.remote_host_name), pair.remote_service_name) for pair in pairs] == [("127.0.0.1", "53")]


async def test_the_names_of_3x() -> None:
    ours = DatagramSocket()
    with plain_peer() as peer:
        pair = EndpointPair(None, "", LOCALHOST, str(peer.getsockname()[1]))
        with pytest.warns(DeprecationWarning, match="use get_output_stream_async"):
            await (await ours.get_output_stream_with_endpoint_pair_async(pair)).write_async(b"1")
        with pytest.warns(DeprecationWarning, match="use connect_async"):
            await ours.connect_with_endpoint_pair_async(pair)
        options = HostNameSortOptions.NONE
        with pytest.warns(DeprecationWarning, match="use get_endpoint_pairs_async"):
            await DatagramSocket.get_endpoint_pairs_with_sort_options_async(LOCALHOST, "1", options)
        with pytest.warns(DeprecationWarning, match="use bind_service_name_async"), pytest.raises(OSError):
            ours.bind_service_name_and_adapter_async("", None)
    ours.close()
