"""WebSocketListener: routes, handlers, judgement of requests, limits; `websockets` and plain sockets are clients."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from tests.engine.pairs import FIN, PATIENCE, RST, receive, receive_ending, until
from tests.engine.tls_pairs import authority, server_certificate
from tests.sockets.web_socket_peers import (
    REQUEST,
    answer_to,
    asking,
    client_of,
    closing_of,
    echo,
    plain_client,
    refused_with,
)

import moorings
from moorings import Certificate, HostName, ServerStreamWebSocket, WebSocketListener, errors
from moorings.protocols.http_answers import HttpAnswer
from moorings.sockets import web_socket_accepting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LOCALHOST = HostName("127.0.0.1")


@asynccontextmanager
async def bound(set_up: Callable[[WebSocketListener], object] | None = None) -> AsyncIterator[tuple[Any, int]]:
    """A listener and its port."""
    async with asyncio.timeout(PATIENCE):
        async with WebSocketListener() as listener:
            if set_up is not None:
                set_up(listener)
            await listener.bind_endpoint_async(LOCALHOST, "")
            yield listener, int(listener.information.local_port)


# -- who gets the WebSockets -----------------------------------------------------------------------------------------


async def test_routes_have_their_handlers_and_parameters() -> None:
    async def chat(web_socket: Any) -> None:
        request = web_socket.information.request
        await web_socket.send(f"chat {request.parameters['room']} {request.query} {request.header('x-one')}")

    def set_up(listener: WebSocketListener) -> None:
        listener.add_route("/chat/{room}", chat)
        listener.add_route("/echo", echo)

    async with bound(set_up) as (listener, port):
        async with client_of(port, "/chat/a%20b?x=1&y=&x=2", additional_headers={"X-One": "1"}) as client:
            assert await client.recv() == "chat a b {'x': '1', 'y': ''} 1"
            assert await closing_of(client) == (1000, "")
        async with client_of(port, "/echo") as client:
            await client.send("hello")
            assert await client.recv() == "hello"
        assert await refused_with(port, "/nowhere") == 404
        assert await refused_with(port, "/chat/..") == 404
        await until(lambda: listener.open_connections == 0)
        counters = listener.information.counters
        assert (counters.opened, counters.open, counters.half_open, counters.answers) == (2, 0, 0, {404: 2})


@pytest.mark.parametrize("kind", ["async", "plain", "blocking"])
async def test_connection_received_gets_socket_and_request(kind: str) -> None:
    seen: list[Any] = []

    def plain(sender: Any, args: Any) -> None:
        seen.append((sender, args.request.path, args.socket is args.socket))
        args.socket.add_message_received(lambda web_socket, message: web_socket.send(message.data))
        kept.append(args.socket)

    async def asynchronous(sender: Any, args: Any) -> None:
        plain(sender, args)

    kept: list[Any] = []
    handler = {"async": asynchronous, "plain": plain, "blocking": moorings.blocking(plain)}[kind]
    async with bound(lambda listener: listener.add_connection_received(handler)) as (listener, port):
        async with client_of(port, "/any/path") as client:
            await client.send(b"\0")
            assert await client.recv() == b"\0"
        assert seen == [(listener, "/any/path", True)]


async def test_routes_of_bytes() -> None:
    async def copy(web_socket: Any) -> None:
        assert isinstance(web_socket, ServerStreamWebSocket)
        assert web_socket.information.user == "me"
        while data := await web_socket.read(65536):
            await web_socket.write(data)

    def approve(approval: Any) -> bool:
        approval.user = "me"
        return True

    def set_up(listener: WebSocketListener) -> None:
        listener.approve = approve
        listener.add_route("/bytes", copy, stream=True)
        listener.add_route("/messages", echo)

    async with bound(set_up) as (listener, port):
        async with client_of(port, "/bytes") as client:
            await client.send(b"x" * 100_000)
            received = 0
            while received < 100_000:
                received += len(await client.recv())
        async with client_of(port, "/messages") as client:
            await client.send("text")
            assert await client.recv() == "text"
        async with client_of(port, "/bytes") as client:
            await client.send("text")
            assert (await closing_of(client))[0] == 1003
        await until(lambda: listener.open_connections == 0)
        assert listener.information.counters.opened == 3


async def test_async_for_takes_them_and_ends_with_the_listener() -> None:
    async with bound() as (listener, port):
        taken: list[Any] = []

        async def take() -> None:
            async for web_socket in listener:
                taken.append(web_socket)
                await web_socket.send("hello")

        taking = asyncio.ensure_future(take())
        async with client_of(port) as client:
            assert await client.recv() == "hello"
            with pytest.raises(OSError, match="beside") as caught:
                listener.add_connection_received(lambda _sender, _args: None)
            assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
            listener.close()
            await taking
            (web_socket,) = taken
            await web_socket.send("still open")
            assert await client.recv() == "still open"
            await web_socket.aclose()


async def test_what_async_for_does_not_take_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_socket_accepting, "ITERATION_QUEUE", 2)
    async with bound() as (listener, port), AsyncExitStack() as stack:
        iterator = listener.__aiter__()
        clients = [await stack.enter_async_context(client_of(port)) for _ in range(2)]
        assert await refused_with(port) == 503
        first = await iterator.__anext__()
        await first.send("you")
        assert await clients[0].recv() == "you"
        listener.stop_accepting()
        assert await closing_of(clients[1]) == (1001, "")
        with pytest.raises(StopAsyncIteration):
            await iterator.__anext__()
        await first.aclose()


async def test_without_anybody_for_them_connections_wait() -> None:
    async with bound() as (listener, port):
        with plain_client(port) as client:
            client.sendall(REQUEST)
            await asyncio.sleep(0)
            assert listener.information.counters.half_open == 0
            token = listener.add_connection_received(lambda _sender, args: args.socket.close(3000, "seen"))
            answer = await receive(client, 12)
            assert answer == b"HTTP/1.1 101"
            listener.remove_connection_received(token)


# -- how they end ----------------------------------------------------------------------------------------------------


async def test_a_handler_that_raises_is_reported_once_and_the_client_told_1011(expect_loop_errors: Any) -> None:
    def plain(_web_socket: Any) -> None:
        raise ValueError("plain mistake")

    async def asynchronous(_web_socket: Any) -> None:
        raise ValueError("async mistake")

    def set_up(listener: WebSocketListener) -> None:
        listener.add_route("/plain", plain)
        listener.add_route("/async", asynchronous)

    async with bound(set_up) as (_, port):
        for path in ("plain", "async"):
            async with client_of(port, f"/{path}") as client:
                assert await closing_of(client) == (1011, "")
    assert [str(context["exception"]) for context in expect_loop_errors] == ["plain mistake", "async mistake"]


@pytest.mark.parametrize("how", ["reset", "closed", "group", "violation"])
async def test_a_handler_that_only_says_that_it_ended_is_not_reported(how: str) -> None:
    ended = asyncio.Event()

    async def handle(web_socket: Any) -> None:
        try:
            await web_socket.send("ready")
            if how == "group":

                async def receive_there() -> None:
                    await web_socket.receive()

                async with asyncio.TaskGroup() as group:
                    group.create_task(receive_there())
            while True:
                await web_socket.receive()
        finally:
            ended.set()

    async with bound(lambda listener: listener.add_route("/chat", handle)) as (_, port):
        with plain_client(port) as client:
            client.sendall(REQUEST)
            await receive(client, 12)
            if how == "closed":
                client.sendall(b"\x88\x82\0\0\0\0\x03\xe8")
            elif how == "violation":
                client.sendall(b"\xff\xff\xff\xff")
            else:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.close()
            await ended.wait()


async def test_listener_settings_reach_the_web_sockets() -> None:
    def set_up(listener: WebSocketListener) -> None:
        listener.control.max_message_size = 10
        listener.control.subprotocols = ["b", "a"]
        listener.add_route("/", echo)
        listener.add_route("/long", echo, max_message_size=20, subprotocols=[])

    offered: Any = ["a", "b"]
    async with bound(set_up) as (_, port):
        async with client_of(port, subprotocols=offered) as client:
            assert client.subprotocol == "b"
            await client.send("x" * 11)
            assert (await closing_of(client))[0] == 1009
        async with client_of(port, "/long", subprotocols=offered) as client:
            assert client.subprotocol is None
            await client.send("x" * 20)
            assert len(await client.recv()) == 20


# -- who may connect -------------------------------------------------------------------------------------------------

ORIGINS = [
    (None, None, 101),
    (None, "http://localhost", 101),
    (None, "HTTP://LOCALHOST", 101),
    (None, "http://localhost:81", 403),
    (None, "https://evil.example", 403),
    (None, "null", 403),
    (["*"], "https://evil.example", 101),
    ("https://good.example", "https://good.example", 101),
    (["https://good.example"], "https://evil.example", 403),
    (["https://good.example"], "http://localhost", 403),
    (["https://good.example"], None, 403),
    (["https://good.example", None], None, 101),
    (["https://good.example:443/"], "https://good.example", 101),
    (["http://good.example"], "http://good.example:80", 101),
    (["http://good.example:443"], "http://good.example", 403),
    (["http://good.example:8080"], "http://good.example:8080", 101),
    (["https://[::1]:443"], "https://[::1]", 101),
    (["null", "FILE://", "chrome-extension://abc"], "file://", 101),
]


@pytest.mark.parametrize(
    ("origins", "origin", "status", "of_route"),
    [(*case, of_route) for case in ORIGINS for of_route in (False, True) if case[0] is not None or not of_route],
)
async def test_origins(origins: Any, origin: str | None, status: int, of_route: bool) -> None:
    def set_up(listener: WebSocketListener) -> None:
        if of_route:
            listener.control.origins = ["https://nobody.example"]
        else:
            listener.control.origins = origins
        listener.add_route("/chat", lambda _web_socket: None, origins=origins if of_route else None)

    async with bound(set_up) as (listener, port):
        answer = await answer_to(port, asking("/chat", *([] if origin is None else [f"Origin: {origin}"])), end=True)
        assert answer[0] == status
        assert listener.information.counters.answers == ({} if status == 101 else {status: 1})


async def test_accepting_pauses_where_many_more_come_than_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_socket_accepting, "HALF_OPEN_LIMIT", 2)

    def set_up(listener: WebSocketListener) -> None:
        listener.control.max_connections = 1
        listener.add_route("/chat", echo)

    async with bound(set_up) as (listener, port), client_of(port, "/chat"):
        with plain_client(port), plain_client(port), plain_client(port) as last:
            await until(lambda: listener.information.counters.half_open == 2)
            last.sendall(REQUEST)
            listener.control.max_connections = 2
            assert await receive(last, 12) == b"HTTP/1.1 101"


async def test_no_host_is_nobodys_origin() -> None:
    async with bound(lambda listener: listener.add_route("/chat", echo)) as (_, port):
        request = asking("/chat", "Origin: null").replace(b"Host: localhost", b"Host: ")
        assert (await answer_to(port, request))[0] == 403


async def test_approve_sees_the_request_and_decides() -> None:
    async def approve(approval: Any) -> bool:
        request = approval.request
        assert str(approval.information.remote_address) == "127.0.0.1"
        if request.cookies.get("session") is None:
            approval.refuse(401, "Who are you?", [("WWW-Authenticate", 'Basic realm="here"')])
            return True
        approval.user = request.cookies["session"]
        approval.subprotocol = "second"
        approval.headers.append(("Set-Cookie", "seen=1"))
        return request.header("authorization") != "no"

    async def handle(web_socket: Any) -> None:
        await web_socket.send(f"{web_socket.information.user} {web_socket.information.protocol}")

    def set_up(listener: WebSocketListener) -> None:
        listener.approve = approve
        listener.control.subprotocols = ["first", "second"]
        listener.add_route("/chat", handle)
        listener.add_route("/open", handle, approve=lambda _approval: True)

    offered: Any = ["first", "second"]
    async with bound(set_up) as (listener, port):
        status, headers, body, ending = await answer_to(port, asking())
        assert (status, headers["www-authenticate"], body, ending) == (
            401,
            'basic realm="here"',
            b"Who are you?\n",
            FIN,
        )
        cookie = {"Cookie": "other=2; session=ann; session=bob"}
        async with client_of(port, "/chat", subprotocols=offered, additional_headers=cookie) as client:
            assert client.response is not None
            assert client.response.headers["Set-Cookie"] == "seen=1"
            assert await client.recv() == "ann second"
        refused = {**cookie, "Authorization": "no"}
        assert await refused_with(port, "/chat", subprotocols=offered, additional_headers=refused) == 403
        async with client_of(port, "/open") as client:
            assert await client.recv() == "None "
        assert listener.information.counters.answers == {401: 1, 403: 1}


def _raise(_approval: Any) -> bool:
    raise ValueError("a mistake")


def _choose(approval: Any) -> bool:
    approval.subprotocol = "nobody offered"
    return True


def _smuggle(approval: Any) -> bool:
    approval.headers.append(("X", "1\r\nSet-Cookie: evil"))
    return True


@pytest.mark.parametrize("approve", [_raise, _choose, _smuggle, lambda _approval: None, lambda approval: approval])
async def test_an_approve_that_fails_refuses_and_is_reported_once(approve: Any, expect_loop_errors: Any) -> None:
    def set_up(listener: WebSocketListener) -> None:
        listener.approve = approve
        listener.add_route("/chat", echo)

    async with bound(set_up) as (_, port):
        assert (await answer_to(port, asking()))[0] == 500
    (context,) = expect_loop_errors
    assert isinstance(context["exception"], (ValueError, TypeError, OSError))


async def test_a_slow_approve_has_a_deadline(monkeypatch: pytest.MonkeyPatch, expect_loop_errors: Any) -> None:
    monkeypatch.setattr(web_socket_accepting, "APPROVAL_TIMEOUT", 0.01)

    async def approve(_approval: Any) -> bool:
        await asyncio.Event().wait()
        return True

    def set_up(listener: WebSocketListener) -> None:
        listener.add_route("/chat", echo, approve=approve)

    async with bound(set_up) as (_, port):
        assert (await answer_to(port, asking()))[0] == 500
    (context,) = expect_loop_errors
    assert isinstance(context["exception"], TimeoutError)


# -- what is no WebSocket --------------------------------------------------------------------------------------------

ANSWERS = [
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426),
    (b"GET / HTTP/1.0\r\n\r\n", 505),
    (b"POST /chat HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 405),
    (REQUEST.replace(b"GET", b"HEAD"), 405),
    (REQUEST.replace(b"Version: 13", b"Version: 8"), 426),
    (REQUEST.replace(b"Host: localhost\r\n", b""), 400),
    (REQUEST.replace(b"Host: localhost", b"Host: a\r\nHost: b"), 400),
    (REQUEST.replace(b"dGhl", b"dGh"), 400),
    (asking("/chat", "Transfer-Encoding: chunked"), 400),
    (asking("/chat", "Content-Length: 5") + b"hello", 400),
    (asking("/chat", "Content-Length: 0", "Transfer-Encoding: chunked"), 400),
    (asking("/chat", "X : smuggled"), 400),
    (asking("/chat", "X: a\0b"), 400),
    (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500), 400),
    (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"Host: x\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000, 431),
]


@pytest.mark.parametrize(("request_", "status"), ANSWERS, ids=lambda value: str(value)[:60])
async def test_hostile_and_foreign_requests_are_answered_and_counted(request_: bytes, status: int) -> None:
    async with bound(lambda listener: listener.add_route("/chat", echo)) as (listener, port):
        answer = await answer_to(port, request_)
        assert answer[0] == status
        assert answer[1]["connection"] in {"close", "upgrade"}
        counters = listener.information.counters
        assert (counters.opened, counters.half_open, counters.answers) == (0, 0, {status: 1})


async def test_messages_behind_the_head_are_the_first_ones() -> None:
    async with bound(lambda listener: listener.add_route("/chat", echo)) as (_, port):
        with plain_client(port) as client:
            client.sendall(REQUEST + b"\x81\x82\0\0\0\0hi")
            data = b""
            while not data.endswith(b"\r\n\r\n\x81\x02hi"):
                data += await receive(client, 1)
            client.sendall(b"\x88\x80\0\0\0\0")
            assert await receive_ending(client) == (b"\x88\x00", FIN)


async def test_a_second_request_behind_the_first_one_is_no_message() -> None:
    async with bound(lambda listener: listener.add_route("/chat", echo)) as (_, port):
        with plain_client(port) as client:
            client.sendall(REQUEST + REQUEST)
            data, _ = await receive_ending(client)
            assert data.count(b"HTTP/1.1") == 1
            assert data.partition(b"\r\n\r\n")[2][2:4] == (1002).to_bytes(2, "big")


async def test_http_answers_plain_requests() -> None:
    seen: list[Any] = []

    async def http(head: Any) -> Any:
        seen.append((head.method, head.path, dict(head.headers)["host"]))
        return {
            "/text": "good",
            "/page": HttpAnswer(body=b"<p>", content_type="text/html", headers=[("Cache-Control", "no-store")]),
            "/teapot": HttpAnswer(status=418),
        }.get(head.path)

    def set_up(listener: WebSocketListener) -> None:
        listener.http = http
        listener.add_route("/chat", echo)

    async with bound(set_up) as (_, port):
        status, headers, body, ending = await answer_to(port, b"GET /text?x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (status, headers["content-length"], body, ending) == (200, "4", b"good", FIN)
        status, headers, body, _ = await answer_to(port, b"HEAD /page HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (status, headers["content-length"], body) == (200, "3", b"")
        assert (headers["content-type"], headers["cache-control"]) == ("text/html", "no-store")
        assert (await answer_to(port, b"GET /teapot HTTP/1.0\r\nHost: x\r\n\r\n"))[0] == 418
        assert (await answer_to(port, b"GET /else HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 426
        assert (await answer_to(port, b"POST /text HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"))[0] == 405
        assert (await answer_to(port, asking("/text")))[0] == 404
        assert [path for _, path, _ in seen] == ["/text", "/page", "/teapot", "/else"]
        curl = await asyncio.create_subprocess_exec(
            "curl", "-sS", "-i", f"http://127.0.0.1:{port}/text", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await curl.communicate()
        assert output.startswith(b"HTTP/1.1 200 OK\r\n")
        assert output.endswith(b"\r\n\r\ngood")


@pytest.mark.parametrize("answer", [7, HttpAnswer(status=101), HttpAnswer(headers=[("Connection", "keep-alive")])])
async def test_an_http_hook_that_fails_is_a_500(answer: Any, expect_loop_errors: Any) -> None:
    def set_up(listener: WebSocketListener) -> None:
        listener.http = lambda _head: answer
        listener.add_route("/chat", echo)

    async with bound(set_up) as (_, port):
        assert (await answer_to(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 500
    (context,) = expect_loop_errors
    assert isinstance(context["exception"], (TypeError, OSError))


# -- limits ----------------------------------------------------------------------------------------------------------


async def test_beyond_max_connections_clients_are_told_to_come_again() -> None:
    def set_up(listener: WebSocketListener) -> None:
        listener.control.max_connections = 2
        listener.http = lambda _head: "healthy"
        listener.add_route("/chat", echo)

    async with bound(set_up) as (listener, port):
        async with client_of(port, "/chat"), client_of(port, "/chat"):
            status, headers, _, _ = await answer_to(port, asking())
            assert (status, headers["retry-after"]) == (503, str(web_socket_accepting.RETRY_AFTER))
            assert (await answer_to(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200
        await until(lambda: listener.open_connections == 0)
        assert await refused_with(port, "/chat") == 101
        listener.control.max_connections = None


async def test_a_request_that_does_not_come_is_answered_with_408() -> None:
    def set_up(listener: WebSocketListener) -> None:
        listener.control.request_timeout = 0.05
        listener.add_route("/chat", echo)

    async with bound(set_up) as (listener, port):
        assert (await answer_to(port, REQUEST[:-2]))[0] == 408
        assert (await answer_to(port, b""))[0] == 408
        assert listener.information.counters.answers == {408: 2}


async def test_half_open_connections_are_bounded_and_the_oldest_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_socket_accepting, "HALF_OPEN_LIMIT", 3)
    async with bound(lambda listener: listener.add_route("/chat", echo)) as (listener, port):
        with plain_client(port) as first:
            first.sendall(REQUEST[:20])
            await until(lambda: listener.information.counters.half_open == 1)
            with plain_client(port) as second, plain_client(port):
                await until(lambda: listener.information.counters.half_open == 3)
                async with client_of(port, "/chat"):
                    assert (await receive_ending(first))[1] == RST
                    counters = listener.information.counters
                    assert (counters.evicted, counters.half_open, counters.opened) == (1, 2, 1)
                second.sendall(REQUEST)
                assert await receive(second, 12) == b"HTTP/1.1 101"
        await until(lambda: listener.information.counters.half_open == 0)
        counters = listener.information.counters
        assert (counters.incomplete, counters.evicted) == (1, 1)


async def test_those_who_never_read_hurt_nobody_else() -> None:
    async def flood(web_socket: Any) -> None:
        async for message in web_socket:
            for _ in range(message.count("x")):
                await web_socket.send(bytes(4096))

    async with (
        bound(lambda listener: listener.add_route("/chat", flood)) as (listener, port),
        AsyncExitStack() as stack,
    ):
        deaf = []
        for _ in range(3):
            client = stack.enter_context(plain_client(port, receive_buffer=4096))
            client.sendall(REQUEST + b"\x81\xfe\x10\x00\0\0\0\0" + b"x" * 4096)  # an answer of 16 MiB
            deaf.append(client)
        clients = [await stack.enter_async_context(client_of(port, "/chat")) for _ in range(10)]
        for client in clients:
            for _ in range(20):
                await client.send("x")
                assert len(await client.recv()) == 4096
        links = [link for link, _ in listener._core.links.values()]
        # Each awaited send waits, and so no queue holds more than the message that waits.
        assert sum(link.stream.queued_bytes > 0 for link in links) == 3
        assert max(link.stream.queued_bytes for link in links) <= 2 * 4096 + 100
        report = await listener.drain(2)
        assert (report.told, report.finished) == (13, 10)
        assert report.aborted == 3


# -- TLS, settings, states -------------------------------------------------------------------------------------------


async def test_over_tls() -> None:
    leaf = server_certificate()
    pem = leaf.private_key_and_cert_chain_pem.bytes()

    def set_up(listener: WebSocketListener) -> None:
        listener.control.server_certificate = Certificate.from_pem(pem)
        listener.add_route("/chat", echo)

    context = ssl.create_default_context()
    authority().configure_trust(context)
    async with bound(set_up) as (listener, port):
        url = f"wss://127.0.0.1:{port}/chat"
        async with websockets.connect(url, ssl=context, compression=None) as client:
            await client.send("x" * 100_000)
            assert await client.recv() == "x" * 100_000
        assert (await answer_to(port, REQUEST))[0] in {0, 400}  # plain text to a TLS port
        assert listener.information.counters.opened == 1


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("max_connections", 0, ValueError),
        ("max_connections", "1", TypeError),
        ("max_message_size", 0, ValueError),
        ("subprotocols", "chat", TypeError),
        ("subprotocols", ["a b"], OSError),
        ("subprotocols", ["a", "a"], OSError),
        ("origins", [7], TypeError),
        ("origins", ["foo"], OSError),
        ("origins", ["https://"], OSError),
        ("origins", ["example.com:443"], OSError),
        ("origins", ["https://example.com/page"], OSError),
        ("origins", ["https://ann@example.com"], OSError),
        ("origins", ["https://a.example,https://b.example"], OSError),
        ("request_timeout", 0, ValueError),
        ("ping_interval", -1, ValueError),
        ("ping_timeout", 0, ValueError),
        ("ping_timeout", float("nan"), ValueError),
    ],
)
def test_wrong_settings(name: str, value: Any, error: type[Exception]) -> None:
    control = WebSocketListener().control
    before = getattr(control, name)
    with pytest.raises(error):
        setattr(control, name, value)
    assert getattr(control, name) == before


async def test_states_and_wrong_arguments() -> None:
    listener = WebSocketListener()
    assert listener.control is listener.control
    assert listener.information is listener.information
    with pytest.raises(OSError, match="bind it first") as caught:
        listener.__aiter__()
    assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
    for wrong in ({"approve": 7}, {"http": 7}):
        for name, value in wrong.items():
            with pytest.raises(TypeError, match=name):
                setattr(listener, name, value)
    with pytest.raises(TypeError):
        listener.add_route("/", 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        listener.add_handler(None)  # type: ignore[arg-type]
    assert await listener.drain(0) == (0, 0, 0, 0, 0)
    with pytest.raises(OSError, match="WebSocketListener") as caught:
        listener.add_route("/", echo)
    assert caught.value.winerror == errors.RO_E_CLOSED
    with pytest.raises(OSError, match="WebSocketListener"):
        await listener.bind_service_name_async("0")


async def test_one_that_is_dropped_gives_its_port_back_with_a_warning() -> None:
    kept = [WebSocketListener()]
    kept[0].add_route("/chat", echo)
    await kept[0].bind_service_name_async("")
    port = int(kept[0].information.local_port)
    with pytest.warns(ResourceWarning, match="unclosed WebSocketListener") as caught:
        kept.clear()
    assert "test_web_socket_listener.py" in str(caught[0].message)
    with pytest.raises(ConnectionRefusedError), plain_client(port):
        pass


def test_in_a_plain_script() -> None:
    """Handlers run on worker threads, and may block."""
    import threading

    seen: list[Any] = []
    done = threading.Event()

    def handle(web_socket: Any) -> None:
        seen.append(threading.current_thread() is not threading.main_thread())
        web_socket.send(web_socket.receive().get()).get()
        seen.append(web_socket.receive().get())
        done.set()

    def approve(approval: Any) -> bool:
        seen.append(approval.request.path)
        return True

    with WebSocketListener() as listener:
        listener.approve = approve
        listener.add_route("/chat", handle)
        listener.bind_endpoint_async(LOCALHOST, "").get()
        port = int(listener.information.local_port)

        async def talk() -> None:
            async with client_of(port, "/chat") as client:
                await client.send("one")
                assert await client.recv() == "one"
                await client.send("two")
                assert await closing_of(client) == (1000, "")

        asyncio.run(talk())
        assert done.wait(PATIENCE)
    assert seen == ["/chat", True, "two"]
