"""One WebSocket of the engine: messages, order, back-pressure, cancelling, floods."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE, turns, until
from tests.engine.test_endings import in_child
from tests.engine.web_socket_pairs import (
    NEXT,
    RECEIVE,
    TRANSPORTS,
    Told,
    link_and_peer,
    link_of,
    link_pair,
    stream_of,
    transport_pair,
)

from moorings import errors
from moorings.engine.web_socket_flow import (
    DELIVERY_BURST,
    PING_LIMIT,
    PONG_BURST,
    RECEIVE_QUEUE_BYTES_LIMIT,
    RECEIVE_QUEUE_MESSAGES_LIMIT,
)
from moorings.protocols.web_socket_sending import FrameSender

TEXT = 1
BINARY = 2

MESSAGES: list[Any] = ["", "a", b"", b"\0\1", "größer €𝄞", b"x" * 125, b"y" * 126, "z" * 70_000, b"q" * 300_000, "end"]


def kind_of(message: Any) -> int:
    return TEXT if isinstance(message, str) else BINARY


def size_of(message: Any) -> int:
    return len(message.encode() if isinstance(message, str) else message)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_messages_go_both_ways_and_sends_give_the_size_of_their_payloads(transport: str) -> None:
    async with link_pair(transport) as (client, server):
        for sender, receiver in ((client, server), (server, client)):
            for message in MESSAGES:
                waiting = asyncio.ensure_future(_await(receiver.receive(RECEIVE)))
                assert await sender.send(kind_of(message), message, True) == size_of(message)
                assert await waiting == message


async def _await(operation: Any) -> Any:
    return await operation


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_async_for_gets_all_in_order_and_ends_with_the_close(transport: str) -> None:
    async with link_pair(transport) as (client, server):
        for message in MESSAGES:
            client.send(kind_of(message), message, True)
        client.close(1000, "done")
        assert [await server.receive(NEXT) for _ in MESSAGES] == MESSAGES
        with pytest.raises(StopAsyncIteration):
            await server.receive(NEXT)
        assert (server.close_code, server.close_reason) == (1000, "done")
        await client.stream.wait_closed()
        await server.stream.wait_closed()
        assert client.close_code == 1000


async def test_sends_that_nobody_awaits_go_out_in_one_system_call() -> None:
    async with link_and_peer(client=False) as (link, peer):
        before = link.stream.send_calls
        for number in range(50):
            link.send(TEXT, str(number), True)
        await link.stream.flush()
        assert link.stream.send_calls == before + 1
        assert [await peer.next() for _ in range(50)] == [str(number) for number in range(50)]


@pytest.mark.parametrize("client", [True, False])
async def test_fragments_make_one_message_with_control_frames_between_them(client: bool) -> None:
    async with link_and_peer(client=client) as (link, peer):
        assert await link.send_fragment(TEXT, "ab", False, True) == 2
        ping = link.ping(b"now")
        assert await link.send_fragment(TEXT, "é", False, True) == 2
        with pytest.raises(OSError, match="end the fragmented message first") as caught:
            link.send(TEXT, "other", True)
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        assert await link.send_fragment(BINARY, b"!", True, True) == 1
        assert await peer.next() == ("ping", b"now")
        assert await peer.next() == "abé!"
        await peer.send(peer.frames.pong(b"now"))
        assert await ping > 0


async def test_a_handler_gets_messages_in_order_and_inline() -> None:
    async with transport_pair("TCP") as (ours, theirs):
        client, server = link_of(ours, client=True), link_of(theirs, client=False)
        told = Told(server)
        server.handler = told.on_message
        client.start()
        server.start()
        for number in range(5000):
            client.send(TEXT, str(number), True)
        await told.until(lambda: len(told.messages) == 5000)
        assert told.messages == [str(number) for number in range(5000)]


async def test_a_burst_of_messages_lets_others_run() -> None:
    async with link_and_peer(client=False, start=False) as (link, peer):
        turn = 0
        given: dict[int, int] = {}

        def count(_message: Any) -> None:
            given[turn] = given.get(turn, 0) + 1

        link.handler = count
        data = b"".join(FrameSender(True).message(BINARY, b"") for _ in range(4000))  # type: ignore[misc]
        link.start(data)
        async with asyncio.timeout(PATIENCE):
            while link.messages_received < 4000 or sum(given.values()) < 4000:
                turn += 1
                await asyncio.sleep(0)
        assert max(given.values()) <= DELIVERY_BURST
        assert peer.got == []


async def test_an_async_handler_holds_the_next_message_back() -> None:
    async with link_and_peer(client=False, start=False) as (link, peer):
        running: list[str] = []
        gate = asyncio.Semaphore(0)

        async def handle(message: str) -> None:
            running.append(message)
            await gate.acquire()
            running.append(f"{message} done")

        link.handler = handle
        link.start()
        await peer.send(b"".join(peer.frames.message(TEXT, text) for text in ("one", "two")))  # type: ignore[misc]
        await until(lambda: running)
        await turns(10)
        assert running == ["one"]
        gate.release()
        await until(lambda: len(running) == 3)
        assert running == ["one", "one done", "two"]
        gate.release()
        await until(lambda: len(running) == 4)


async def test_what_a_handler_raises_is_reported_and_the_next_message_comes(expect_loop_errors: Any) -> None:
    async with link_and_peer(client=False, start=False) as (link, peer):
        seen: list[str] = []

        async def handle(message: str) -> None:
            seen.append(message)
            raise ValueError(message)

        link.handler = handle
        link.start()
        await peer.send(b"".join(peer.frames.message(TEXT, text) for text in ("one", "two")))  # type: ignore[misc]
        await until(lambda: len(expect_loop_errors) == 2)
        assert seen == ["one", "two"]


@pytest.mark.parametrize("size", [0, 10, 20_000])
async def test_a_peer_whose_messages_nobody_takes_has_to_wait(size: int) -> None:
    async with link_pair() as (client, server):
        count = 20_000 if size < 1000 else 2000
        payload = b"p" * size

        async def send_all() -> None:
            for _ in range(count):
                await client.send(BINARY, payload, True)

        sending = asyncio.ensure_future(send_all())
        await until(lambda: server.paused)
        await turns(300)
        assert len(server.queue) <= RECEIVE_QUEUE_MESSAGES_LIMIT
        assert server.queued_payload <= RECEIVE_QUEUE_BYTES_LIMIT + size
        assert server.times_paused == 1
        for _ in range(count):
            assert await server.receive(RECEIVE) == payload
        await sending
        assert server.messages_received == count
        assert server.held is None
        assert not server.paused


async def test_a_send_that_the_full_queue_refuses_leaves_the_stream_of_frames_whole() -> None:
    async with link_and_peer(client=False) as (link, peer):
        link.stream.queue_limit = 1_000_000
        big = b"b" * 900_000
        link.send(BINARY, bytes(30_000_000), True)  # nothing was queued: it is taken
        await turns(2)
        sent = link.send(BINARY, big, True)
        with pytest.raises(OSError, match="the limit is 1000000") as caught:
            await sent
        assert caught.value.winerror == errors.WSAENOBUFS
        assert len(await peer.next()) == 30_000_000
        await link.send(BINARY, big, True)
        assert await peer.next() == big


@pytest.mark.parametrize("options", [RECEIVE, NEXT])
async def test_a_cancelled_receive_has_taken_nothing(options: int) -> None:
    async with link_and_peer(client=False) as (link, peer):
        random_turns = random.Random(3)
        received: list[Any] = []

        async def receive_all() -> None:
            while len(received) < 300:
                try:
                    async with asyncio.timeout(None) as scope:
                        loop = asyncio.get_running_loop()
                        scope.reschedule(loop.time() + random_turns.random() * 0.0005)
                        received.append(await link.receive(options))
                except TimeoutError:
                    pass

        receiving = asyncio.ensure_future(receive_all())
        for number in range(300):
            await peer.send(peer.frames.message(TEXT, str(number)))  # type: ignore[arg-type]
            await turns(random_turns.randrange(3))
        async with asyncio.timeout(PATIENCE):
            await receiving
        assert received == [str(number) for number in range(300)]


async def test_a_receive_that_is_cancelled_as_its_message_comes_gives_it_back() -> None:
    async with link_and_peer(client=False) as (link, peer):
        task = asyncio.ensure_future(_await(link.receive(RECEIVE)))
        await turns(2)
        operation = link.receive_head
        assert operation is not None
        # The message comes and the task is cancelled in the same turn.
        link.take_bytes(peer.frames.message(TEXT, "one"))  # type: ignore[arg-type]
        assert operation.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await link.receive(RECEIVE) == "one"


async def test_receives_are_served_in_call_order_and_cancelled_alone() -> None:
    async with link_and_peer(client=False) as (link, peer):
        first, second, third = (link.receive(RECEIVE) for _ in range(3))
        second.cancel()
        await peer.send(peer.frames.message(TEXT, "one") + peer.frames.message(TEXT, "two"))  # type: ignore[operator]
        assert (await first, await third) == ("one", "two")
        with pytest.raises(asyncio.CancelledError):
            await second
        last = link.receive(RECEIVE)
        last.cancel()
        await peer.send(peer.frames.message(TEXT, "three"))  # type: ignore[arg-type]
        assert await link.receive(RECEIVE) == "three"


async def test_a_cancelled_send_of_the_python_face_stays_queued() -> None:
    async with link_and_peer(client=False) as (link, peer):
        task = asyncio.ensure_future(_await(link.send(BINARY, bytes(30_000_000), True)))
        await turns(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        link.send(TEXT, "after", True)
        assert len(await peer.next()) == 30_000_000
        assert await peer.next() == "after"


async def test_a_handler_and_receive_exclude_each_other() -> None:
    async with link_and_peer(client=False, start=False) as (link, _peer):
        link.handler = lambda _message: None
        link.start()
        with pytest.raises(OSError, match="one or the other") as caught:
            await link.receive(RECEIVE)
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL


# -- pings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", [True, False])
async def test_each_of_some_pings_is_answered(client: bool) -> None:
    async with link_and_peer(client=client) as (_link, peer):
        pings = [f"ping {number}".encode() for number in range(10)]
        await peer.send(b"".join(peer.frames.ping(payload) for payload in pings))
        assert [await peer.next() for _ in pings] == [("pong", payload) for payload in pings]


async def test_of_a_flood_of_pings_the_newest_is_answered_and_nothing_grows() -> None:
    async with link_and_peer(client=False) as (link, peer):
        link.send(BINARY, bytes(30_000_000), True)  # more than the kernel takes: answers have to wait
        await turns(3)
        for start in range(0, 20_000, 2000):
            flood = b"".join(peer.frames.ping(str(start + number).encode()) for number in range(2000))
            await peer.send(flood)
            await turns(3)
        await until(lambda: link.pings_received == 20_000)
        assert len(link.pongs_due or ()) <= PONG_BURST
        assert link.stream.queued_bytes <= 30_000_000 + 20 * PONG_BURST + 20
        assert len(await peer.next()) == 30_000_000
        last = b""
        while last != b"19999":
            _, last = await peer.next()
        assert link.pings_unanswered >= 20_000 - 2 * PONG_BURST


async def test_a_ping_gives_its_round_trip_and_a_later_pong_answers_the_earlier_ones() -> None:
    async with link_pair() as (client, server):
        assert 0 < await client.ping() < PATIENCE
        assert client.latency > 0
        assert server.pings_received == 1
    async with link_and_peer(client=True) as (link, peer):
        pings = [link.ping(b"one"), link.ping(b"two"), link.ping(b"three")]
        await peer.send(peer.frames.pong(b"other") + peer.frames.pong(b"two"))
        assert await pings[0] >= await pings[1]
        assert not pings[2].done()
        with pytest.raises(OSError, match="waits already"):
            link.ping(b"three")
        await peer.send(peer.frames.pong(b"three"))
        await pings[2]
        assert link.pings_waiting == 0


async def test_waiting_pings_are_bounded_and_may_be_cancelled() -> None:
    async with link_and_peer(client=True) as (link, _peer):
        pings = [link.ping() for _ in range(PING_LIMIT)]
        with pytest.raises(OSError, match="wait for their pongs") as caught:
            link.ping()
        assert caught.value.winerror == errors.WSAENOBUFS
        for ping in pings[::2]:
            ping.cancel()
        assert link.pings_waiting == PING_LIMIT // 2
        for ping in pings[1::2]:
            ping.cancel()
        assert link.ping_head is None
        for ping in pings:
            with pytest.raises(asyncio.CancelledError):
                await ping


async def test_empty_frames_and_tiny_fragments_keep_memory_small() -> None:
    async with link_and_peer(client=False) as (link, peer):
        sender = FrameSender(True)
        pieces = [sender.fragment(TEXT, "", False) for _ in range(20_000)]
        pieces += [sender.fragment(TEXT, "x", False) for _ in range(20_000)]
        pieces.append(sender.fragment(TEXT, "", True))
        sending = asyncio.ensure_future(peer.send(b"".join(pieces)))  # type: ignore[arg-type]
        assert await link.receive(RECEIVE) == "x" * 20_000
        await sending
        assert link.unfinished_bytes() == 0


async def test_parts_are_told_as_they_come() -> None:
    async with link_and_peer(client=False, partial=True) as (link, peer):
        await peer.send(peer.frames.fragment(TEXT, "abc", False))  # type: ignore[arg-type]
        assert await link.receive(RECEIVE) == (TEXT, b"abc", False)
        await peer.send(peer.frames.fragment(TEXT, "de", True))  # type: ignore[arg-type]
        assert await link.receive(RECEIVE) == (TEXT, b"de", True)


async def test_bytes_behind_the_handshake_come_first() -> None:
    async with transport_pair("TCP") as (ours, _theirs):
        link = link_of(ours, client=False)
        link.start(FrameSender(True).message(TEXT, "early"))  # type: ignore[arg-type]
        assert await link.receive(RECEIVE) == "early"
        assert stream_of(ours).stash_size() == 0


async def test_in_a_forked_child_nobody_who_waits_is_told() -> None:
    """They are the parent's, and perhaps of another of its threads."""
    async with asyncio.timeout(PATIENCE), link_and_peer(client=False) as (link, peer):
        receiving = link.receive(RECEIVE)

        def child() -> None:
            assert link.stream.is_released()
            assert not receiving.done()

        in_child(child)
        await peer.send(peer.frames.message(TEXT, "to the parent"))  # type: ignore[arg-type]
        assert await receiving == "to the parent"
        link.abort()
