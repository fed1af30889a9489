"""ServerMessageWebSocket over an ASGI connection; the server here is two queues."""

from __future__ import annotations

import asyncio
import errno
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, turns, until

import moorings
from moorings import ServerMessageWebSocket, errors
from moorings.protocols.web_error_status import INET_E_CONNECTION_ABORTED, INET_E_DISCONNECTED
from moorings.sockets.enums import SocketMessageType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCOPE = {
    "type": "websocket",
    "path": "/a b",
    "raw_path": b"/a%20b",
    "query_string": b"x=1",
    "headers": [(b"host", b"example.com"), (b"origin", b"https://example.com"), (b"cookie", b"a=1")],
    "subprotocols": ["one", "two"],
    "client": ("192.0.2.1", 4711),
    "server": ("192.0.2.2", 80),
}


class Server:
    """The other side of an ASGI application."""

    def __init__(self) -> None:
        self.to_us: asyncio.Queue[Any] = asyncio.Queue()
        self.from_us: list[dict[str, Any]] = []
        self.may_send = asyncio.Event()
        self.may_send.set()
        self.asked = 0
        self.failure: Exception | None = None
        self.say(type="websocket.connect")

    def say(self, **event: Any) -> None:
        self.to_us.put_nowait(event)

    async def receive(self) -> Any:
        self.asked += 1
        event = await self.to_us.get()
        if isinstance(event, Exception):
            raise event
        return event

    async def send(self, event: Any) -> None:
        await self.may_send.wait()
        if self.failure is not None:
            raise self.failure
        self.from_us.append(event)

    @property
    def sent(self) -> list[Any]:
        """What came behind the first event."""
        return [
            event.get("text", event.get("bytes")) for event in self.from_us[1:] if event["type"] == "websocket.send"
        ]


@asynccontextmanager
async def accepted(**settings: Any) -> AsyncIterator[tuple[ServerMessageWebSocket, Server]]:
    server = Server()
    async with asyncio.timeout(PATIENCE):
        web_socket = await moorings.accept_asgi(SCOPE, server.receive, server.send, **settings)
        try:
            yield web_socket, server
        finally:
            web_socket.abort()


async def test_request_answer_and_information() -> None:
    async with accepted(subprotocols=["two"], headers=[("X-One", "1")]) as (web_socket, server):
        assert server.from_us == [
            {"type": "websocket.accept", "subprotocol": "two", "headers": [(b"x-one", b"1")]},
        ]
        information = web_socket.information
        request = information.request
        assert (request.path, request.query, request.cookies) == ("/a%20b", {"x": "1"}, {"a": "1"})
        assert (request.host, request.is_same_origin, information.protocol) == ("example.com", True, "two")
        assert str(information.local_address) == "192.0.2.2"
        assert information.bandwidth_statistics.outbound_bits_per_second == 0
        assert "192.0.2.1:4711" in str(web_socket)


async def test_messages_both_ways_and_iteration() -> None:
    async with accepted() as (web_socket, server):
        server.say(type="websocket.receive", text="größer")
        server.say(type="websocket.receive", bytes=b"\0\1", text=None)
        server.say(type="websocket.receive", text="x" * 70_000)
        server.say(type="websocket.disconnect", code=1001, reason="bye")
        seen = [message async for message in web_socket]
        assert seen == ["größer", b"\0\1", "x" * 70_000]
        assert (web_socket.close_code, web_socket.close_reason) == (1001, "bye")
        with pytest.raises(OSError, match="1001 bye") as caught:
            await web_socket.send("late")
        assert caught.value.winerror == INET_E_DISCONNECTED
    async with accepted() as (web_socket, server):
        for message in ("", "größer", b"", b"\0", "x" * 70_000, b"y" * 300_000):
            assert await web_socket.send(message) == len(message.encode() if isinstance(message, str) else message)
        web_socket.send("not awaited")
        web_socket.control.message_type = SocketMessageType.UTF8
        assert await web_socket.output_stream.write_async(b"text") == 4
        assert await web_socket.output_stream.flush_async()
        assert server.sent == ["", "größer", b"", b"\0", "x" * 70_000, b"y" * 300_000, "not awaited", "text"]
        counters = web_socket.counters
        assert (counters.messages_sent, counters.queued_bytes) == (8, 0)


@pytest.mark.parametrize("awaited", [False, True])
async def test_handlers_get_messages_and_the_end(awaited: bool) -> None:
    seen: list[Any] = []
    ended = asyncio.Event()
    async with accepted() as (web_socket, server):

        def on_message(_sender: Any, args: Any) -> None:
            seen.append(args.data)

        async def on_message_later(_sender: Any, args: Any) -> None:
            await turns(2)
            seen.append(args.data)

        def on_closed(_sender: Any, args: Any) -> None:
            seen.append((args.code, args.reason))
            ended.set()

        web_socket.add_message_received(on_message_later if awaited else on_message)
        web_socket.add_closed(on_closed)
        server.say(type="websocket.receive", text="one")
        server.say(type="websocket.receive", text="two")
        server.say(type="websocket.disconnect", code=3000, reason="enough")
        await ended.wait()
        assert seen == ["one", "two", (3000, "enough")]


@pytest.mark.parametrize(("code", "said"), [(None, 1000), (1000, 1000), (3001, 3001)])
async def test_our_close_is_told_and_ends_it(code: int | None, said: int) -> None:
    async with accepted() as (web_socket, server):
        closed: list[Any] = []
        web_socket.add_closed(lambda _sender, args: closed.append((args.code, args.reason)))
        web_socket.send("last")
        if code is None:
            web_socket.close()
        else:
            web_socket.close(code, "done")
        reason = "" if code is None else "done"
        await web_socket.aclose()
        await until(lambda: closed)
        assert server.sent == ["last"]
        assert server.from_us[-1] == {"type": "websocket.close", "code": said, "reason": reason}
        assert closed == [(1005 if code is None else code, reason)]
        with pytest.raises(OSError, match="closed") as caught:
            await web_socket.send("late")
        assert caught.value.winerror == errors.RO_E_CLOSED


async def test_leaving_the_block_closes_it_and_both_tasks_end() -> None:
    async with accepted() as (web_socket, server):
        async with web_socket:
            tasks = asyncio.all_tasks()
        assert server.from_us[-1]["type"] == "websocket.close"
        await turns(3)
        assert len(asyncio.all_tasks()) == len(tasks) - 2


@pytest.mark.parametrize("how", ["1006", "no code", "receive fails", "no event", "send fails"])
async def test_a_break_is_an_error_and_no_close(how: str) -> None:
    async with accepted() as (web_socket, server):
        closed: list[Any] = []
        web_socket.add_closed(lambda _sender, args: closed.append(args.code))
        receiving = asyncio.ensure_future(web_socket.receive())
        await turns(2)
        if how == "1006":
            server.say(type="websocket.disconnect", code=1006)
        elif how == "no code":
            server.say(type="websocket.disconnect")
        elif how == "receive fails":
            server.to_us.put_nowait(OSError("gone"))
        elif how == "no event":
            server.to_us.put_nowait({})
        else:
            server.failure = OSError("gone")
            with pytest.raises(OSError):
                await web_socket.send("x")
        with pytest.raises(OSError) as caught:
            await receiving
        await web_socket.aclose()
        if how == "no code":
            assert caught.value.winerror == INET_E_DISCONNECTED
            await until(lambda: closed == [1005])
        else:
            assert caught.value.winerror == INET_E_CONNECTION_ABORTED
            assert closed == []


@pytest.mark.parametrize(("code", "error"), [(1000, INET_E_DISCONNECTED), (1006, INET_E_CONNECTION_ABORTED)])
async def test_a_send_that_waits_while_the_client_leaves_says_so(code: int, error: int) -> None:
    async with accepted() as (web_socket, server):
        server.may_send.clear()
        sending = asyncio.ensure_future(_send(web_socket, "stuck"))
        await turns(3)
        server.say(type="websocket.disconnect", code=code)
        with pytest.raises(OSError) as caught:
            await sending
        assert caught.value.winerror == error


async def test_back_pressure_in_both_directions() -> None:
    async with accepted() as (web_socket, server):
        for number in range(1000):
            server.say(type="websocket.receive", text=str(number))
        await until(lambda: web_socket.counters.waiting_messages >= 256)
        await turns(5)
        assert web_socket.counters.waiting_messages == 256
        assert web_socket.counters.times_paused == 1
        assert [await web_socket.receive() for _ in range(1000)] == [str(number) for number in range(1000)]
        server.may_send.clear()
        web_socket.limits.write_queue_limit = 10_000
        sending = asyncio.ensure_future(_send(web_socket, bytes(5000)))
        await turns(3)
        assert not sending.done()
        web_socket.send(bytes(4000))
        refused = web_socket.send(bytes(5000))
        with pytest.raises(OSError, match="the limit is 10000") as caught:
            await refused
        assert caught.value.errno == errno.ENOBUFS
        server.may_send.set()
        assert await sending == 5000


async def _send(web_socket: ServerMessageWebSocket, message: Any) -> int:
    return await web_socket.send(message)


async def test_cancelled_calls_lose_nothing() -> None:
    async with accepted() as (web_socket, server):
        receiving = asyncio.ensure_future(_receive(web_socket))
        await turns(2)
        receiving.cancel()
        server.say(type="websocket.receive", text="kept")
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert await web_socket.receive() == "kept"
        server.may_send.clear()
        sending = asyncio.ensure_future(_send(web_socket, "cancelled, and sent all the same"))
        await turns(3)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        server.may_send.set()
        await web_socket.send("behind")
        assert server.sent == ["cancelled, and sent all the same", "behind"]


async def _receive(web_socket: ServerMessageWebSocket) -> Any:
    return await web_socket.receive()


async def test_too_long_a_message_ends_it() -> None:
    async with accepted(max_message_size=4) as (web_socket, server):
        server.say(type="websocket.receive", text="äö")
        assert await web_socket.receive() == "äö"
        server.say(type="websocket.receive", text="äöü")
        with pytest.raises(OSError, match="limit is 4"):
            await web_socket.receive()
        await until(lambda: server.from_us[-1]["type"] == "websocket.close")
        assert server.from_us[-1]["code"] == 1009
        await web_socket.aclose()


async def test_a_server_that_takes_nothing_is_left_at_the_deadline() -> None:
    async with accepted() as (web_socket, server):
        web_socket.limits.close_wait = 0.05
        server.may_send.clear()
        web_socket.send("stuck")
        await web_socket.aclose()
        assert web_socket.close_code == 1006


async def test_pings_are_the_servers() -> None:
    async with accepted() as (web_socket, _server):
        with pytest.raises(OSError, match="ASGI has no pings") as caught:
            await web_socket.ping()
        assert caught.value.winerror == errors.signed(errors.ERROR_NOT_SUPPORTED)


async def test_broadcasts_reach_it() -> None:
    async with accepted() as (first, one), accepted() as (second, two):
        result = moorings.broadcast([first, second], "to all")
        assert result.sent == 2
        await until(lambda: one.sent == two.sent == ["to all"])


async def test_origins_and_foreign_scopes_are_refused() -> None:
    server = Server()
    with pytest.raises(OSError, match=r"example\.com may not connect") as caught:
        await moorings.accept_asgi(SCOPE, server.receive, server.send, origins=["https://other.example"])
    assert caught.value.winerror == errors.signed(0x80190193)
    assert server.from_us == [{"type": "websocket.close", "code": 1008, "reason": ""}]
    with pytest.raises(OSError, match="'http'") as caught:
        await moorings.accept_asgi({"type": "http"}, server.receive, server.send)
    assert caught.value.winerror == errors.E_INVALIDARG
    foreign = {**SCOPE, "headers": [(b"host", b"here.example"), (b"origin", b"https://example.com")]}
    server = Server()
    with pytest.raises(OSError, match=r"example\.com may not connect"):
        await moorings.accept_asgi(foreign, server.receive, server.send)
    server.say(type="websocket.disconnect", code=1006)
    with pytest.raises(OSError, match="before its WebSocket was accepted"):
        await moorings.accept_asgi(SCOPE, server.receive, server.send)
    with pytest.raises(OSError, match="own"):
        await moorings.accept_asgi(SCOPE, server.receive, server.send, headers=[("Upgrade", "x")])


async def test_one_that_is_dropped_while_it_is_open_warns() -> None:
    server = Server()
    kept = [await moorings.accept_asgi(SCOPE, server.receive, server.send)]
    with pytest.warns(ResourceWarning, match="unclosed WebSocket of an ASGI server"):
        kept.clear()
    await turns(2)
