"""DatagramSocket on an event loop: handlers, `receive`, and failures that the network reports."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE, until
from tests.sockets.datagram_peers import Received, bound, plain_peer, port_of, unused_port
from tests.sockets.peers import code

import moorings
from moorings.sockets import datagram_link
from moorings.sockets.datagram_delivery import HANDLER_TASK_LIMIT
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import DatagramSocket, SocketError, SocketErrorStatus

LOCALHOST = HostName("127.0.0.1")


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


async def test_replies_find_their_way_when_peers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagram_link, "TARGET_LIMIT", 2)
    ours = await bound()
    with plain_peer() as first, plain_peer() as second, plain_peer() as third:
        peers = {peer.getsockname(): peer for peer in (first, second, third)}
        for _ in range(3):
            for name, peer in peers.items():
                peer.sendto(str(name).encode(), ("127.0.0.1", port_of(ours)))
                message = await ours.receive()
                assert message.address == name
                message.reply(b"one")
                await message.reply(message.data)
                assert [peer.recv(100) for _ in range(2)] == [b"one", str(name).encode()]
        ours.close()
        with pytest.raises(OSError) as caught:
            message.reply(b"late")
        assert code(caught.value) == "RO_E_CLOSED"


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


async def test_a_receive_that_is_cancelled_when_it_had_its_datagram_gives_it_back() -> None:
    ours = await bound()
    port: Any = ours._link.port
    receiving = asyncio.ensure_future(ours.receive())
    await asyncio.sleep(0)
    datagram = port.make_datagram()
    datagram.kept = b"kept"
    port._put(datagram)  # the task is woken in the next turn
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    assert await ours.receive() is datagram
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
