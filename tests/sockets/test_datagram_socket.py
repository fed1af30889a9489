"""DatagramSocket on an event loop: endpoints, streams, handlers, errors of the network, batches, the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, until
from tests.sockets.datagram_peers import ADDRESSES, Received, bound, plain_peer, port_of, unused_port
from tests.sockets.peers import FAMILIES, code

import moorings
from moorings.sockets.datagram_delivery import HANDLER_TASK_LIMIT
from winrt.windows.networking import EndpointPair, HostName, HostNameSortOptions
from winrt.windows.networking.sockets import DatagramSocket, SocketError, SocketErrorStatus
from winrt.windows.storage.streams import Buffer, DataReader, DataWriter, InputStreamOptions

if TYPE_CHECKING:
    from collections.abc import Callable

LOCALHOST = HostName("127.0.0.1")


# -- endpoints -------------------------------------------------------------------------------------------------------


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


# -- sending ---------------------------------------------------------------------------------------------------------


async def test_many_peers_at_once() -> None:
    ours = DatagramSocket()
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(plain_peer(family)) for family in FAMILIES * 5]
        streams = [
            await ours.get_output_stream_async(HostName(peer.getsockname()[0]), str(peer.getsockname()[1]))
            for peer in peers
        ]
        assert ours.information.local_port == ""
        for number, stream in enumerate(streams):
            stream.write_async(b"%d" % number)
        assert await streams[0].flush_async() is True
        assert [int(peer.recv(10)) for peer in peers] == list(range(10))
        ports = {peer.getsockname()[1] for peer in peers}
        assert port_of(ours) not in ports
    ours.close()


async def test_empty_and_long_datagrams() -> None:
    ours = DatagramSocket()
    with plain_peer() as peer:
        await ours.connect_async(LOCALHOST, str(peer.getsockname()[1]))
        stream = ours.output_stream
        assert await stream.write_async(b"") == 0
        assert peer.recv(10) == b""
        assert await stream.write_async(bytes(65507)) == 65507
        assert len(peer.recv(70000)) == 65507
        for size in (65508, 100_000):
            with pytest.raises(OSError) as caught:
                await stream.write_async(bytes(size))
            assert SocketError.get_status(caught.value.winerror) == SocketErrorStatus.MESSAGE_TOO_LONG  # type: ignore[attr-defined]
        assert await stream.flush_async() is True
        assert await stream.write_async(b"lives on") == 8
        assert peer.recv(10) == b"lives on"
    ours.close()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, Buffer])
async def test_what_can_be_written(kind: Any) -> None:
    data = kind(b"data") if kind is not Buffer else Buffer(10)
    if kind is Buffer:
        data.length = 4
        memoryview(data)[:4] = b"data"
    ours = DatagramSocket()
    with plain_peer() as peer:
        await ours.connect_async(LOCALHOST, str(peer.getsockname()[1]))
        assert await ours.output_stream.write_async(data) == 4
        assert await ours.send(data) == 4
        assert (peer.recv(10), peer.recv(10)) == (b"data", b"data")
    ours.close()


async def test_data_writer_and_data_reader() -> None:
    """The way of the Windows samples: one store is one datagram, and the reader goes on where it was."""
    received = Received(lambda args: args)
    server = await bound(received)
    client = DatagramSocket()
    await client.connect_async(LOCALHOST, server.information.local_port)
    writer = DataWriter(client.output_stream)
    writer.write_uint32(5)
    writer.write_string("hello")
    assert await writer.store_async() == 9
    writer.write_string("second")
    await writer.store_async()
    writer.detach_stream()
    first, second = await received.wait(2)
    reader = first.get_data_reader()
    assert reader.unconsumed_buffer_length == 9
    assert reader.read_uint32() == 5
    assert first.get_data_reader() is reader
    assert reader.read_string(reader.unconsumed_buffer_length) == "hello"
    stream = first.get_data_stream()
    other = DataReader(first.get_data_stream())
    assert await other.load_async(100) == 9
    other.close()
    into = await stream.read_async(Buffer(4), 4, InputStreamOptions.NONE)
    assert bytes(into) == b"\0\0\0\5"
    assert bytes(await stream.read_async(Buffer(100), 100, InputStreamOptions.NONE)) == b"hello"
    assert (await stream.read_async(Buffer(1), 1, InputStreamOptions.NONE)).length == 0
    with pytest.raises(OSError) as caught:
        stream.read_async(Buffer(1), 2, InputStreamOptions.NONE)
    assert code(caught.value) == "E_INVALIDARG"
    stream.close()
    with pytest.raises(OSError) as caught:
        stream.read_async(Buffer(1), 1, InputStreamOptions.NONE)
    assert code(caught.value) == "RO_E_CLOSED"
    assert second.get_data_reader().read_string(6) == "second"
    client.close()
    server.close()


async def one_await_each(stream: Any, data: bytes, count: int) -> None:
    for _ in range(count):
        await stream.write_async(data)


async def gathered(stream: Any, data: bytes, count: int) -> None:
    await asyncio.gather(*[stream.write_async(data) for _ in range(count)])


async def flushed(stream: Any, data: bytes, count: int) -> None:
    for _ in range(count):
        stream.write_async(data)
    assert await stream.flush_async() is True


@pytest.mark.parametrize(("form", "calls"), [(one_await_each, 32), (gathered, 1), (flushed, 1)])
async def test_batched_sends(form: Callable[[Any, bytes, int], Any], calls: int) -> None:
    """The three forms of the Sockets guide: what is awaited together goes out in one system call."""
    with plain_peer() as peer:
        ours = DatagramSocket()
        await ours.connect_async(LOCALHOST, str(peer.getsockname()[1]))
        await form(ours.output_stream, bytes(1000), 32)
        assert ours.counters.send_calls == calls
        assert ours.counters.datagrams_sent == 32
        assert ours.counters.bytes_sent == 32_000
        assert ours.counters.segmented == (0 if calls == 32 else 32)
        assert [len(peer.recv(2000)) for _ in range(32)] == [1000] * 32
        ours.close()


async def test_batches_arrive_as_single_datagrams() -> None:
    received = Received(lambda args: len(args.data))
    server = await bound(received)
    client = await bound()
    for _ in range(100):
        client.send(bytes(1200), ("127.0.0.1", port_of(server)))
    client.send(bytes(7), ("127.0.0.1", port_of(server)))
    await client.flush()
    assert await received.wait(101) == [1200] * 100 + [7]
    counters = server.counters
    assert (counters.datagrams_received, counters.bytes_received) == (101, 120_007)
    assert counters.coalesced <= 101
    assert counters.receive_calls < 101
    client.close()
    server.close()


async def test_a_full_write_queue_refuses() -> None:
    ours = DatagramSocket()
    ours.limits.write_queue_limit = 1000
    with plain_peer() as peer:
        to = peer.getsockname()
        ours.send(bytes(600), to)
        with pytest.raises(OSError, match="await writes") as caught:
            ours.send(bytes(600), to)
        assert code(caught.value) == "WSAENOBUFS"
        assert ours.counters.refused == 1
        await ours.flush()
        ours.limits.write_queue_limit = 10_000
        ours.send(bytes(600), to)
        await ours.send(bytes(600), to)
        assert [len(peer.recv(1000)) for _ in range(3)] == [600] * 3
    ours.close()


async def test_a_cancelled_write_is_not_sent() -> None:
    with plain_peer() as peer:
        ours = await bound()
        first = ours.send(b"first", peer.getsockname())
        second = ours.send(b"second", peer.getsockname())
        first.cancel()
        assert await second == 6
        assert peer.recv(10) == b"second"
        ours.close()


# -- receiving -------------------------------------------------------------------------------------------------------


async def test_handlers_of_every_kind_get_every_datagram_in_order() -> None:
    plain, other = Received(), Received()
    in_tasks: list[bytes] = []
    on_threads: list[bytes] = []

    async def task(_socket: DatagramSocket, args: Any) -> None:
        data = bytes(args.data)
        await asyncio.sleep(0)
        in_tasks.append(data)

    @moorings.blocking
    def block(_socket: DatagramSocket, args: Any) -> None:
        on_threads.append(bytes(args.data))

    ours = DatagramSocket()
    for handler in (plain, task, block, other):
        ours.add_message_received(handler)
    await ours.bind_endpoint_async(LOCALHOST, "")
    expected = [b"%d" % number for number in range(200)]
    with plain_peer() as peer:
        for data in expected:
            peer.sendto(data, ("127.0.0.1", port_of(ours)))
        assert await plain.wait(200) == expected
        await until(lambda: len(on_threads) == 200 and len(in_tasks) == 200)
    assert (other.items, in_tasks, on_threads) == (expected, expected, expected)
    ours.close()


async def test_removed_handlers_are_not_called() -> None:
    kept, removed = Received(), Received()
    ours = DatagramSocket()
    token = ours.add_message_received(removed)
    ours.add_message_received(kept)
    ours.remove_message_received(token)
    await ours.bind_endpoint_async(LOCALHOST, "")
    with plain_peer() as peer:
        peer.sendto(b"x", ("127.0.0.1", port_of(ours)))
        await kept.wait()
    assert removed.items == []
    ours.close()


@pytest.mark.parametrize("others", [0, 1])
async def test_a_failing_handler_is_reported_once_and_hurts_nothing(
    others: int, expect_loop_errors: list[dict[str, Any]]
) -> None:
    received = Received()

    def fail(sender: DatagramSocket, args: Any) -> None:
        received(sender, args)
        if received.items == [b"bad"]:
            raise ValueError("a handler's own error")

    ours = DatagramSocket()
    ours.add_message_received(fail)
    seen = [Received() for _ in range(others)]
    for other in seen:
        ours.add_message_received(other)
    await ours.bind_endpoint_async(LOCALHOST, "")
    with plain_peer() as peer:
        for data in (b"bad", b"good"):
            peer.sendto(data, ("127.0.0.1", port_of(ours)))
        assert await received.wait(2) == [b"bad", b"good"]
    for other in seen:
        assert await other.wait(2) == [b"bad", b"good"]
    assert [str(context["exception"]) for context in expect_loop_errors] == ["a handler's own error"]
    assert "message_received handler" in expect_loop_errors[0]["message"]
    expect_loop_errors.clear()
    ours.close()


async def test_a_failing_task_is_reported_once(expect_loop_errors: list[dict[str, Any]]) -> None:
    async def fail(_socket: DatagramSocket, _args: Any) -> None:
        raise ValueError("in a task")

    ours = await bound(fail)
    with plain_peer() as peer:
        peer.sendto(b"x", ("127.0.0.1", port_of(ours)))
        await until(lambda: bool(expect_loop_errors))
    assert [str(context["exception"]) for context in expect_loop_errors] == ["in a task"]
    expect_loop_errors.clear()
    ours.close()


async def test_tasks_are_bounded() -> None:
    """Where handlers do not end, receiving pauses; once they have ended, it goes on."""
    gate = asyncio.Event()
    started = 0

    async def wait(_socket: DatagramSocket, _args: Any) -> None:
        nonlocal started
        started += 1
        await gate.wait()

    ours = await bound(wait)
    delivery = ours._link.delivery
    assert delivery is not None
    with plain_peer() as peer:
        while delivery._port.reading:
            peer.sendto(b"x", ("127.0.0.1", port_of(ours)))
            await asyncio.sleep(0)
        assert len(delivery.tasks) < HANDLER_TASK_LIMIT + 2048
        gate.set()
        await until(lambda: delivery._port.reading and not delivery.tasks)
        before = started
        peer.sendto(b"x", ("127.0.0.1", port_of(ours)))
        await until(lambda: started > before)
    ours.close()


async def test_messages_stay_valid() -> None:
    """What a handler keeps is its own, short or long."""
    received = Received(lambda args: args)
    ours = await bound(received)
    sent = [bytes([number]) * size for number, size in enumerate((0, 1, 1000, 4096, 4097, 60000) * 5)]
    with plain_peer() as peer:
        for number, data in enumerate(sent, 1):
            peer.sendto(data, ("127.0.0.1", port_of(ours)))
            await received.wait(number)
        assert [bytes(args.data) for args in received.items] == sent
        assert {args.remote_port for args in received.items} == {str(peer.getsockname()[1])}
    assert ours.counters.pinned > 0
    ours.close()


async def test_what_is_known_about_a_message() -> None:
    ours = await bound()
    with plain_peer() as peer:
        peer.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 77)
        peer.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 2)
        peer.sendto(b"x", ("127.0.0.1", port_of(ours)))
        message = await ours.receive()
        assert (message.hop_limit, message.ecn) == (77, 2)
        assert message.interface == socket.if_nametoindex("lo")
        assert message.timestamp > 1e9
        assert message.address == peer.getsockname()
        assert message.error is None
        assert "message of 1 bytes" in repr(message)
        assert await message.reply(b"back") == 4
        assert await ours.send(b"again", message) == 5
        assert await ours.send(b"once more", message.address) == 9
        assert [peer.recv(10) for _ in range(3)] == [b"back", b"again", b"once more"]
    ours.close()


async def test_receive_and_iterate() -> None:
    ours = await bound()
    with plain_peer() as peer:
        to = ("127.0.0.1", port_of(ours))
        peer.sendto(b"0", to)
        assert (await ours.receive()).data == b"0"
        waiting = [asyncio.ensure_future(ours.receive()) for _ in range(3)]
        await asyncio.sleep(0)
        for number in range(1, 6):
            peer.sendto(b"%d" % number, to)
        assert [message.data for message in await asyncio.gather(*waiting)] == [b"1", b"2", b"3"]
        found = []
        async for message in ours:
            found.append(bytes(message.data))
            if len(found) == 2:
                ours.close()
        assert found == [b"4", b"5"]


async def test_receive_beside_a_handler() -> None:
    ours = await bound(Received())
    for call in (ours.receive, lambda: anext(aiter(ours))):
        with pytest.raises(OSError, match="beside") as caught:
            await call()
        assert code(caught.value) == "E_ILLEGAL_METHOD_CALL"
    ours.close()


async def test_a_cancelled_receive_takes_nothing() -> None:
    ours = await bound()
    with plain_peer() as peer:
        for _ in range(20):
            receiving = asyncio.ensure_future(ours.receive())
            await asyncio.sleep(0)
            peer.sendto(b"kept", ("127.0.0.1", port_of(ours)))
            for _ in range(3):
                receiving.cancel()
                await asyncio.sleep(0)
            with contextlib.suppress(asyncio.CancelledError):
                assert (await receiving).data == b"kept"
                continue
            async with asyncio.timeout(PATIENCE):
                assert (await ours.receive()).data == b"kept"
    ours.close()


@pytest.mark.parametrize("policy", ["oldest", "newest"])
async def test_the_receive_queue_drops_as_told(policy: Any) -> None:
    ours = DatagramSocket()
    ours.limits.receive_queue_limit = 3
    ours.limits.drop_policy = policy
    await ours.bind_endpoint_async(LOCALHOST, "")
    assert (ours.limits.receive_queue_limit, ours.limits.drop_policy) == (3, policy)
    receiving = asyncio.ensure_future(ours.receive())
    await asyncio.sleep(0)
    with plain_peer() as peer:
        for number in range(7):
            peer.sendto(b"%d" % number, ("127.0.0.1", port_of(ours)))
        assert (await receiving).data == b"0"
        await until(lambda: ours.counters.datagrams_received == 7)
        kept = [(await ours.receive()).data for _ in range(3)]
    assert kept == ([b"4", b"5", b"6"] if policy == "oldest" else [b"1", b"2", b"3"])
    assert ours.counters.dropped == 3
    ours.close()


# -- failures that the network reports -------------------------------------------------------------------------------


@pytest.mark.parametrize("connected", [False, True])
async def test_a_port_where_nobody_listens_is_an_event(connected: bool) -> None:
    received = Received(lambda args: args)
    ours = DatagramSocket()
    ours.add_message_received(received)
    port = str(unused_port())
    if connected:
        await ours.connect_async(LOCALHOST, port)
        stream: Any = ours.output_stream
    else:
        await ours.bind_endpoint_async(LOCALHOST, "")
        stream = await ours.get_output_stream_async(LOCALHOST, port)
    await stream.write_async(b"anybody?")
    (args,) = await received.wait()
    for read in (args.get_data_reader, args.get_data_stream, lambda: args.data):
        with pytest.raises(ConnectionResetError) as caught:
            read()
        assert SocketError.get_status(caught.value.winerror) == SocketErrorStatus.CONNECTION_RESET_BY_PEER  # type: ignore[attr-defined]
    assert (str(args.remote_address), args.remote_port) == ("127.0.0.1", port)
    assert ours.counters.errors == 1
    assert "error" in repr(args)
    await stream.write_async(b"the socket lives on")
    await received.wait(2)
    ours.close()


async def test_receive_raises_and_lives_on() -> None:
    ours = await bound()
    with plain_peer() as peer:
        await ours.send(b"x", ("127.0.0.1", unused_port()))
        with pytest.raises(ConnectionResetError, match="nothing listens"):
            await ours.receive()
        peer.sendto(b"fine", ("127.0.0.1", port_of(ours)))
        assert (await ours.receive()).data == b"fine"
    ours.close()


async def test_iterating_passes_over_reports() -> None:
    ours = await bound()
    with plain_peer() as peer:
        messages = aiter(ours)
        waiting = asyncio.ensure_future(anext(messages))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await ours.send(b"x", ("127.0.0.1", unused_port()))
        await until(lambda: ours.counters.errors == 1)
        peer.sendto(b"fine", ("127.0.0.1", port_of(ours)))
        message: Any = await waiting
        assert message.data == b"fine"
    ours.close()


# -- ending ----------------------------------------------------------------------------------------------------------


async def test_close_ends_what_is_pending() -> None:
    ours = await bound()
    receiving = asyncio.ensure_future(ours.receive())
    await asyncio.sleep(0)
    ours.close()
    ours.close()
    with pytest.raises(OSError) as caught:
        await receiving
    assert code(caught.value) == "ERROR_OPERATION_ABORTED"
    with pytest.raises(OSError) as caught:
        await ours.receive()
    assert code(caught.value) == "RO_E_CLOSED"
    assert ours.counters == ours.counters


async def test_close_sends_what_is_queued() -> None:
    with plain_peer() as peer:
        ours = await bound()
        ours.send(b"queued", peer.getsockname())
        ours.close()
        assert peer.recv(10) == b"queued"
        async with await bound() as other:
            other.send(b"at the end of the block", peer.getsockname())
        assert peer.recv(100) == b"at the end of the block"


async def test_close_while_binding() -> None:
    ours = DatagramSocket()
    binding = ours.bind_service_name_async("")
    ours.close()
    with pytest.raises(asyncio.CancelledError):
        await binding
    assert ours.information.local_port == ""


async def test_no_handler_starts_after_close() -> None:
    seen: list[bytes] = []
    ours = DatagramSocket()

    def close_at_once(sender: DatagramSocket, args: Any) -> None:
        seen.append(bytes(args.data))
        sender.close()

    ours.add_message_received(close_at_once)
    await ours.bind_endpoint_async(LOCALHOST, "")
    with plain_peer() as peer:
        for _ in range(10):
            peer.sendto(b"x", ("127.0.0.1", port_of(ours)))
        await until(lambda: bool(seen))
        await asyncio.sleep(0)
    assert seen == [b"x"]


async def test_cancel_io_keeps_the_socket() -> None:
    ours = await bound()
    receiving = asyncio.ensure_future(ours.receive())
    await asyncio.sleep(0)
    await ours.cancel_io_async()
    with pytest.raises(OSError) as caught:
        await receiving
    assert code(caught.value) == "ERROR_OPERATION_ABORTED"
    with plain_peer() as peer:
        peer.sendto(b"x", ("127.0.0.1", port_of(ours)))
        assert (await ours.receive()).data == b"x"
    await DatagramSocket().cancel_io_async()
    ours.close()


async def test_a_dropped_socket_warns_and_gives_its_port_back() -> None:
    dropped = [await bound(lambda _socket, _args: None)]
    port = dropped[0].information.local_port
    match = rf"unclosed DatagramSocket 127.0.0.1:{port}, made at .*datagram_peers.py"
    with pytest.warns(ResourceWarning, match=match):  # noqa: PT031 - a dropped object, then the collector
        dropped.clear()
        gc.collect()
    again = DatagramSocket()
    await again.bind_endpoint_async(LOCALHOST, port)
    again.close()


@pytest.mark.parametrize("handlers", [1, 2])
async def test_a_dropped_socket_whose_handlers_refer_to_it(handlers: int) -> None:
    class Program:
        def __init__(self) -> None:
            self.socket = DatagramSocket()
            for _ in range(handlers):
                self.socket.add_message_received(self.on_message)

        def on_message(self, _socket: DatagramSocket, _args: Any) -> None:
            raise AssertionError

    dropped = [Program()]
    await dropped[0].socket.bind_endpoint_async(LOCALHOST, "")
    with pytest.warns(ResourceWarning, match="unclosed DatagramSocket"):  # noqa: PT031 - as above
        dropped.clear()
        gc.collect()


async def test_a_stream_keeps_a_dropped_socket_sending() -> None:
    """It receives no more, and does not spin on what arrives."""
    received = Received()
    dropped = [await bound(received)]
    engine_port: Any = dropped[0]._link.port
    with plain_peer() as peer:
        streams = [await dropped[0].get_output_stream_async(LOCALHOST, str(peer.getsockname()[1]))]
        own = ("127.0.0.1", port_of(dropped[0]))
        dropped.clear()
        await until(lambda: not engine_port.reading)
        peer.sendto(b"nobody takes it", own)
        assert await streams[0].write_async(b"x") == 1
        assert peer.recv(10) == b"x"
    assert received.items == []
    with pytest.warns(ResourceWarning, match="unclosed DatagramSocket"):  # noqa: PT031 - as above
        streams.clear()
        gc.collect()


async def test_an_unbound_socket_is_dropped_in_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DatagramSocket()
        gc.collect()
