"""How a WebSocket of the engine ends: by either side, in time, told once, with nothing left behind."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE, connected_sockets, reset, turns, until
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

from moorings import StreamSocket, errors
from moorings.engine.interface import EndReason
from moorings.engine.web_socket import STEPS
from moorings.engine.web_socket_flow import RECEIVE_QUEUE_MESSAGES_LIMIT
from moorings.protocols.web_error_status import (
    INET_E_CONNECTION_ABORTED,
    INET_E_CONNECTION_RESET,
    INET_E_DISCONNECTED,
    INET_E_OPERATION_CANCELLED,
    WEB_E_RESOURCE_TOO_LARGE,
    WEB_SOCKET_E_PROTOCOL,
)

TEXT = 1
BINARY = 2
OPEN, CLOSING, CLOSED, DEAF, ENDED = range(5)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("client_closes", [True, False])
async def test_a_close_is_answered_and_told_once_on_both_sides(transport: str, client_closes: bool) -> None:
    async with link_pair(transport) as (client, server):
        ours, theirs = (client, server) if client_closes else (server, client)
        told, told_there = Told(ours), Told(theirs)
        ours.close(3001, "büro")
        ours.close(1000, "again")
        assert told.closed == []
        await told.until(lambda: told.closed)
        await told_there.until(lambda: told_there.closed)
        for link in (ours, theirs):
            async with asyncio.timeout(PATIENCE):
                await link.stream.wait_closed()
        # The answer has the same code.
        assert told.closed == [(3001, "")]
        assert told_there.closed == [(3001, "büro")]
        for link in (ours, theirs):
            assert link.stage == ENDED
            assert link.timer is None
            assert link.stream.sink is None
        assert {ours.stream.end_reason, theirs.stream.end_reason} <= {EndReason.CLOSED_BY_US, EndReason.CLOSED_BY_PEER}


async def test_an_empty_close_frame_is_told_as_1005() -> None:
    async with link_pair() as (client, server):
        told, told_there = Told(client), Told(server)
        client.close()
        await told.until(lambda: told.closed)
        await told_there.until(lambda: told_there.closed)
        assert told.closed == told_there.closed == [(1005, "")]


@pytest.mark.parametrize("wrong", [0, 999, 1004, 1005, 1006, 1012, 2999, 5000])
async def test_codes_that_may_not_be_sent_are_refused_and_nothing_happens(wrong: int) -> None:
    async with link_and_peer(client=True) as (link, peer):
        with pytest.raises(OSError, match="no close code") as caught:
            link.close(wrong, "")
        assert caught.value.winerror == errors.E_INVALIDARG
        await link.send(TEXT, "still open", True)
        assert await peer.next() == "still open"


async def test_the_server_ends_the_connection_and_the_client_waits_for_that() -> None:
    async with link_and_peer(client=True) as (link, peer):
        link.close(1000, "")
        assert await peer.next() == ("close", 1000, "")
        await peer.send(peer.frames.close_answer(1000))
        await until(lambda: link.told_closed)
        await turns(20)
        assert link.stream.is_open()
        peer.plain.shutdown(socket.SHUT_WR)
        assert await peer.next() == "FIN"
    async with link_and_peer(client=False) as (link, peer):
        link.close(1000, "")
        assert await peer.next() == ("close", 1000, "")
        await peer.send(peer.frames.close_answer(1000))
        assert await peer.next() == "FIN"


@pytest.mark.parametrize("client", [True, False])
async def test_a_silent_peer_gets_the_close_wait_and_then_a_reset(client: bool) -> None:
    async with link_and_peer(client=client) as (link, peer):
        told = Told(link)
        link.close_wait = 0.05
        link.close(1000, "")
        async with asyncio.timeout(PATIENCE):
            await link.stream.wait_closed()
        assert told.closed == [(1006, "")]
        assert await peer.next() == ("close", 1000, "")
        assert await peer.next() == "RST"


async def test_a_server_that_does_not_end_the_connection_gets_the_close_wait() -> None:
    async with link_and_peer(client=True) as (link, peer):
        told = Told(link)
        link.close_wait = 0.05
        await peer.send(peer.frames.close(1001, "bye"))
        assert await peer.next() == ("close", 1001, "")
        assert await peer.next() == "FIN"
        assert told.closed == [(1001, "bye")]


@pytest.mark.parametrize("client", [True, False])
async def test_a_peer_that_takes_nothing_costs_the_close_wait(client: bool) -> None:
    async with link_and_peer(client=client) as (link, _peer):
        told = Told(link)
        link.close_wait = 0.05
        sent = link.send(BINARY, bytes(30_000_000), True)
        await turns(3)
        link.close(1000, "")
        async with asyncio.timeout(PATIENCE):
            await link.stream.wait_closed()
        assert told.closed == [(1006, "")]
        with pytest.raises(OSError, match="closed") as caught:
            await sent
        assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED


@pytest.mark.parametrize("how", ["half-close", "reset"])
@pytest.mark.parametrize("client", [True, False])
async def test_a_peer_that_breaks_off_during_the_close_is_told_as_1006(client: bool, how: str) -> None:
    async with link_and_peer(client=client) as (link, peer):
        told = Told(link)
        link.close(1000, "")
        assert await peer.next() == ("close", 1000, "")
        if how == "reset":
            reset(peer.plain)
        else:
            peer.plain.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(PATIENCE):
            await link.stream.wait_closed()
        assert told.closed == [(1006, "")]
        assert told.failed == []


@pytest.mark.parametrize("how", ["half-close", "reset"])
@pytest.mark.parametrize("client", [True, False])
async def test_where_the_connection_just_breaks_nobody_is_told_that_it_was_closed(client: bool, how: str) -> None:
    async with link_and_peer(client=client) as (link, peer):
        told = Told(link)
        first, second = link.receive(RECEIVE), link.receive(NEXT)
        ping = link.ping()
        await peer.next()
        if how == "reset":
            reset(peer.plain)
        else:
            peer.plain.shutdown(socket.SHUT_WR)
        expected = INET_E_CONNECTION_RESET if how == "reset" else INET_E_CONNECTION_ABORTED
        kind = ConnectionResetError if how == "reset" else ConnectionAbortedError
        for operation in (first, second, ping, link.receive(RECEIVE)):
            with pytest.raises(kind) as caught:
                await operation
            assert getattr(caught.value, "winerror", 0) == expected
        with pytest.raises(kind):
            link.send(TEXT, "late", True)
        async with asyncio.timeout(PATIENCE):
            await link.stream.wait_closed()
        assert told.closed == []
        assert link.stream.end_reason == (EndReason.RESET if how == "reset" else EndReason.TRUNCATED)
        link.close()
        assert told.closed == []


@pytest.mark.parametrize("transport", ["TLS 1.2", "TLS 1.3"])
async def test_a_truncated_tls_connection_is_an_aborted_one(transport: str) -> None:
    async with transport_pair(transport) as (ours, theirs):
        link = link_of(ours, client=True)
        link.start()
        waiting = link.receive(RECEIVE)
        with socket.socket(fileno=stream_of(theirs).fd) as borrowed:
            borrowed.shutdown(socket.SHUT_WR)
            borrowed.detach()
        with pytest.raises(ConnectionAbortedError) as caught:
            await waiting
        assert getattr(caught.value, "winerror", 0) == INET_E_CONNECTION_ABORTED
        assert link.stream.end_reason == EndReason.TRUNCATED


GARBAGE = [
    (b"\xf1\x80", 1002, WEB_SOCKET_E_PROTOCOL),
    (b"\x83\x80", 1002, WEB_SOCKET_E_PROTOCOL),
    (b"GET / HTTP/1.1\r\n\r\n", 1002, WEB_SOCKET_E_PROTOCOL),
    (b"\x81\x81\0\0\0\0\xff", 1007, WEB_SOCKET_E_PROTOCOL),
    (b"\x82\xff\0\0\0\0\0\x10\0\0\0\0\0\0", 1009, WEB_E_RESOURCE_TOO_LARGE),
    (b"\x88\x82\0\0\0\0\x03\xed", 1002, WEB_SOCKET_E_PROTOCOL),
]


@pytest.mark.parametrize(("garbage", "code", "hresult"), GARBAGE)
async def test_a_violation_is_told_the_peer_and_those_who_wait(garbage: bytes, code: int, hresult: int) -> None:
    async with link_and_peer(client=False, message_limit=1000) as (link, peer):
        told = Told(link)
        first = link.receive(RECEIVE)
        await peer.send(peer.frames.message(TEXT, "fine") + garbage + bytes(100_000))  # type: ignore[operator]
        assert await first == "fine"
        with pytest.raises(OSError, match="close code") as caught:
            await link.receive(RECEIVE)
        assert caught.value.winerror == hresult
        kind, told_code, reason = await peer.next()
        assert (kind, told_code) == ("close", code)
        assert reason
        assert await peer.next() == "FIN"
        peer.plain.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(PATIENCE):
            await link.stream.wait_closed()
        assert told.closed == []
        assert link.protocol_failures == 1


@pytest.mark.parametrize("waiting", ["handler", "handler on the loop", "receive"])
async def test_what_came_before_a_violation_is_answered_first(waiting: str) -> None:
    """All in one piece: the echo and the pong go out before the close frame."""
    async with link_and_peer(client=False, start=False) as (link, peer):
        # More than are kept: then the violation is found while messages are handed out. A task has a budget.
        count = 30 if waiting == "receive" else RECEIVE_QUEUE_MESSAGES_LIMIT + 50
        tasks: list[Any] = []
        if waiting == "handler":
            link.handler = lambda message: (link.send(TEXT, message, True), None)[1]
        elif waiting == "receive":

            async def answer() -> None:
                for _ in range(count):
                    await link.send(TEXT, await link.receive(RECEIVE), True)

            tasks.append(asyncio.ensure_future(answer()))
            await turns(2)
        else:
            link.handler = tasks.append
        link.start()
        messages = b"".join(peer.frames.message(TEXT, str(number)) for number in range(count))  # type: ignore[misc]
        await peer.send(peer.frames.ping(b"alive") + messages + b"\xff\xff")
        assert await peer.next() == ("pong", b"alive")
        if waiting != "handler on the loop":
            assert [await peer.next() for _ in range(count)] == [str(number) for number in range(count)]
        assert (await peer.next())[:2] == ("close", 1002)
        if waiting == "handler on the loop":
            await until(lambda: len(tasks) == count)
        if waiting == "receive":
            await tasks[0]
        assert link.protocol_failures == 1
        assert link.violation is None


async def test_a_close_frame_behind_much_is_answered_behind_the_answers() -> None:
    """Found while messages are handed out, as more had come than are kept."""
    async with link_and_peer(client=False, start=False) as (link, peer):
        link.handler = lambda message: (link.send(TEXT, message, True), None)[1]
        link.start()
        texts = [str(number) for number in range(RECEIVE_QUEUE_MESSAGES_LIMIT + 5)]
        messages = b"".join(peer.frames.message(TEXT, text) for text in texts)  # type: ignore[misc]
        await peer.send(messages + peer.frames.close(1000, "") + b"garbage")
        assert [await peer.next() for _ in texts] == texts
        assert await peer.next() == ("close", 1000, "")


async def test_a_violation_is_told_at_once_where_nobody_takes_messages() -> None:
    async with link_and_peer(client=False) as (link, peer):
        await peer.send(peer.frames.message(TEXT, "one") + b"\xff\xff")  # type: ignore[operator]
        assert (await peer.next())[:2] == ("close", 1002)
        assert await link.receive(RECEIVE) == "one"
        with pytest.raises(OSError, match="1002"):
            await link.receive(RECEIVE)


async def test_a_peer_that_goes_on_after_its_violation_is_cut_off_in_time() -> None:
    async with link_and_peer(client=False) as (link, peer):
        link.close_wait = 0.05
        await peer.send(b"\xff\xff")

        async def flood() -> None:
            while True:
                await peer.send(bytes(65536))
                await asyncio.sleep(0)

        flooding = asyncio.ensure_future(flood())
        async with asyncio.timeout(PATIENCE):
            await link.stream.wait_closed()
            with pytest.raises(ConnectionError):
                await flooding
        assert link.unfinished_bytes() == 0


async def test_messages_before_the_close_frame_can_still_be_received() -> None:
    async with link_and_peer(client=False) as (link, peer):
        told = Told(link)
        messages = b"".join(peer.frames.message(TEXT, text) for text in ("one", "two"))  # type: ignore[misc]
        await peer.send(messages + peer.frames.close(1011, "broken"))
        assert await peer.next() == ("close", 1011, "")
        assert told.closed == [(1011, "broken")]
        assert await link.receive(RECEIVE) == "one"
        assert await link.receive(NEXT) == "two"
        for options in (RECEIVE, NEXT):
            with pytest.raises(OSError, match="1011 broken") as caught:
                await link.receive(options)
            assert caught.value.winerror == INET_E_DISCONNECTED
        with pytest.raises(OSError, match="1011 broken"):
            link.send(TEXT, "late", True)


async def test_closed_comes_behind_the_messages_of_a_handler() -> None:
    async with link_and_peer(client=False, start=False) as (link, peer):
        order: list[Any] = []
        gate = asyncio.Event()

        async def handle(message: Any) -> None:
            await gate.wait()
            order.append(message)

        link.handler = handle
        link.closed_handler = lambda code, _reason: order.append(code)
        link.start()
        messages = b"".join(peer.frames.message(TEXT, text) for text in ("one", "two"))  # type: ignore[misc]
        await peer.send(messages + peer.frames.close(1000, ""))
        assert await peer.next() == ("close", 1000, "")
        assert order == []
        gate.set()
        await until(lambda: len(order) == 3)
        assert order == ["one", "two", 1000]


async def test_a_handler_is_told_of_the_break_behind_the_last_message() -> None:
    async with link_and_peer(client=False, start=False) as (link, peer):
        told = Told(link)
        link.handler = told.on_message
        link.start()
        await peer.send(peer.frames.message(TEXT, "one"))  # type: ignore[arg-type]
        peer.plain.shutdown(socket.SHUT_WR)
        await told.until(lambda: told.failed)
        assert told.messages == ["one"]
        assert [getattr(error, "winerror", 0) for error in told.failed] == [INET_E_CONNECTION_ABORTED]


async def test_what_waits_when_the_program_closes_is_cancelled_and_what_comes_later_refused() -> None:
    async with link_and_peer(client=True) as (link, peer):
        first, following, ping = link.receive(RECEIVE), link.receive(NEXT), link.ping()
        link.close(1000, "")
        for operation in (first, ping):
            with pytest.raises(OSError, match="was closed while") as caught:
                await operation
            assert caught.value.winerror == INET_E_OPERATION_CANCELLED
        with pytest.raises(StopAsyncIteration):
            await following
        for late in (lambda: link.send(TEXT, "late", True), link.ping):
            with pytest.raises(OSError, match="closed") as caught:
                late()
            assert caught.value.winerror == errors.RO_E_CLOSED
        # What crosses our close frame is not kept.
        await peer.send(peer.frames.message(TEXT, "crossing") + peer.frames.ping(b"crossing"))  # type: ignore[operator]
        await until(lambda: link.messages_discarded == 1)
        assert link.queue == []


async def test_a_close_with_messages_that_nobody_took_still_hears_the_answer() -> None:
    async with link_and_peer(client=False) as (link, peer):
        told = Told(link)
        flood = b"".join(peer.frames.message(TEXT, str(number)) for number in range(5000))  # type: ignore[misc]
        await peer.send(flood)
        await until(lambda: link.paused)
        link.close(1000, "")
        assert await peer.next() == ("close", 1000, "")
        await peer.send(peer.frames.close_answer(1000))
        await told.until(lambda: told.closed)
        assert told.closed == [(1000, "")]
        assert link.messages_discarded == 5000


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_abort_ends_at_once_and_tells_nobody_that_it_was_closed(transport: str) -> None:
    async with link_pair(transport) as (client, server):
        told, told_there = Told(client), Told(server)
        waiting, there = client.receive(RECEIVE), server.receive(RECEIVE)
        client.abort()
        client.abort()
        assert client.stream.is_released()
        with pytest.raises(OSError, match="was closed"):
            await waiting
        with pytest.raises(ConnectionError):
            await there
        assert told.closed == told_there.closed == []


async def test_a_handler_may_close_or_abort_in_the_middle_of_its_messages() -> None:
    for end in ("close", "abort"):
        async with link_and_peer(client=False, start=False) as (link, peer):
            seen: list[Any] = []

            def handle(message: Any, link: Any = link, end: str = end, seen: list[Any] = seen) -> None:
                seen.append(message)
                getattr(link, end)()

            link.handler = handle
            link.start()
            await peer.send(b"".join(peer.frames.message(TEXT, text) for text in ("one", "two")))  # type: ignore[misc]
            await until(lambda link=link: link.left)
            await turns(5)
            assert seen == ["one"]


async def test_a_stream_that_is_torn_down_below_ends_the_web_socket() -> None:
    async with link_and_peer(client=True) as (link, _peer):
        told = Told(link)
        waiting = link.receive(RECEIVE)
        sent = link.send(BINARY, bytes(30_000_000), False)
        await turns(3)
        sent.cancel()  # WinRT's: the connection is taken down
        with pytest.raises(OSError, match="cancelled"):
            await sent
        with pytest.raises(OSError, match="aborted") as caught:
            await waiting
        assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
        assert told.closed == []
        assert link.stage == ENDED


def test_the_end_of_the_loop_waits_for_the_close_handshake() -> None:
    async def leave() -> tuple[Any, ...]:
        first, second = (StreamSocket.from_socket(end) for end in connected_sockets())
        client, server = link_of(first, client=True), link_of(second, client=False)
        client.start()
        server.start()
        client.close(1000, "")
        return client, server, first, second

    client, server, *_sockets = asyncio.run(leave())
    assert client.told_closed
    assert client.close_code == server.close_code == 1000
    assert client.stream.is_released()
    assert server.stream.is_released()


def test_every_step_leads_on_and_exists() -> None:
    from moorings.engine.web_socket import WebSocketLink

    for (stage, _event), (action, following) in STEPS.items():
        assert following > stage
        assert callable(getattr(WebSocketLink, action))
