"""WebSocketListener: who may connect, and what is answered to all others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import FIN, receive, receive_ending, until
from tests.sockets.web_socket_peers import (
    REQUEST,
    answer_to,
    asking,
    bound,
    client_of,
    echo,
    plain_client,
    refused_with,
)

from moorings.protocols.http_answers import HttpAnswer
from moorings.sockets import web_socket_accepting

if TYPE_CHECKING:
    from moorings import WebSocketListener

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
