"""From a URI to an open WebSocket: requests, answers, credentials, time, addresses, and what errors say."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from tests.sockets.web_socket_servers import accepting, connected, key_of, scripted, status, upgrade

from moorings import HandshakeRefusedError, MessageWebSocket, PasswordCredential, WebSocketError, errors
from moorings.protocols.web_error_status import WebErrorStatus

CREDENTIAL = PasswordCredential("server", "Aladdin", "open sesame")


async def failing(url: str, web_socket: MessageWebSocket | None = None) -> Any:
    """The error of a connect, behind which the WebSocket is new again."""
    made = MessageWebSocket() if web_socket is None else web_socket
    with pytest.raises(OSError) as caught:
        await connected(url, made)
    made.set_request_header("X-Is-New", "yes")
    if web_socket is None:
        made.close()
    return caught.value


def web_status(error: Any) -> WebErrorStatus:
    return WebSocketError.get_status(error.winerror)


async def test_the_request_says_what_the_program_wants() -> None:
    async with scripted(accepting(more=b"Sec-WebSocket-Protocol: b\r\nX-Server: here\r\n")) as script:
        made = MessageWebSocket()
        made.set_request_header("X-One", "1")
        made.set_request_header("X-One", " 2 ")
        made.set_request_header("Origin", "https://example.org")
        made.control.supported_protocols.extend(["a", "b"])
        await connected(script.url, made)
        assert script.requests[0].startswith(b"GET /chat?room=1 HTTP/1.1\r\n")
        headers = script.headers()
        assert headers["host"] == [f"localhost:{script.port}"]
        assert headers["x-one"] == ["1", "2"]
        assert headers["origin"] == ["https://example.org"]
        assert headers["sec-websocket-protocol"] == ["a, b"]
        assert headers["sec-websocket-version"] == ["13"]
        assert "sec-websocket-extensions" not in headers
        assert made.information.protocol == "b"
        assert ("x-server", "here") in made.information.response_headers
        made.abort()


async def test_the_head_may_come_octet_by_octet_with_a_message_glued_behind_it() -> None:
    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = upgrade(head) + b"\x81\x02hi"
        for octet in data[:-3]:
            writer.write(bytes([octet]))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(data[-3:])
        await reader.read()

    async with scripted(answer) as script:
        made = await connected(script.url)
        assert await made.receive() == "hi"
        made.abort()


REFUSALS = [
    (status("404 Not Found", body=b"no such room"), 0x80190194, WebErrorStatus.NOT_FOUND, 404),
    (status("503 Later", "Retry-After: 7"), 0x801901F7, WebErrorStatus.SERVICE_UNAVAILABLE, 503),
    (status("418 Teapot"), 0x80190004, WebErrorStatus.UNEXPECTED_CLIENT_ERROR, 418),
    (status("599 Other"), 0x80190005, WebErrorStatus.UNEXPECTED_SERVER_ERROR, 599),
    (status("200 OK", body=b"<html>"), 0x80190001, WebErrorStatus.UNEXPECTED_STATUS_CODE, 200),
    (status("302 Found", "Location: wss://elsewhere/"), 0x8019012E, WebErrorStatus.FOUND, 302),
    (status("308 Moved"), 0x80190003, WebErrorStatus.UNEXPECTED_REDIRECTION, 308),
    (status("426 Upgrade Required", "Sec-WebSocket-Version: 8"), 0x83760005, WebErrorStatus.UNKNOWN, 426),
    (status("400 Bad Request", "Sec-WebSocket-Version: 8"), 0x83760005, WebErrorStatus.UNKNOWN, 400),
    (status("407 Proxy"), 0x80190197, WebErrorStatus.PROXY_AUTHENTICATION_REQUIRED, 407),
    (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 0x80072F78, WebErrorStatus.ERROR_HTTP_INVALID_SERVER_RESPONSE, 0),
    (b"HTTP/1.1 101 X\r\n\r\n", 0x80072F78, WebErrorStatus.ERROR_HTTP_INVALID_SERVER_RESPONSE, 101),
    (b"HTTP/1.1 101 X\r\nX: " + b"y" * 20_000, 0x80072F78, WebErrorStatus.ERROR_HTTP_INVALID_SERVER_RESPONSE, 0),
]


@pytest.mark.parametrize(("answer", "code", "expected", "http_status"), REFUSALS, ids=lambda value: f"{value}"[:30])
async def test_other_answers_are_refusals(answer: bytes, code: int, expected: WebErrorStatus, http_status: int) -> None:
    async with scripted(answer) as script:
        error = await failing(script.url)
        assert isinstance(error, HandshakeRefusedError)
        assert error.winerror == errors.signed(code)
        assert web_status(error) == expected
        assert error.http_status == http_status
        assert f"localhost:{script.port}" in error.reason
        assert len(script.requests) == 1


async def test_a_refusal_has_what_the_server_said() -> None:
    body = b"x" * 10_000
    async with scripted(status("503 Later", "Retry-After: 7", "X-Why: load", body=body)) as script:
        error = await failing(script.url)
        assert error.retry_after == 7
        assert error.body == body[:4096]
        assert ("x-why", "load") in error.headers
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is HandshakeRefusedError
        assert (again.winerror, again.http_status, again.body) == (error.winerror, 503, error.body)
    async with scripted(status("301 Moved", "Location: wss://other.example/chat")) as script:
        assert "redirects are not followed; connect to wss://other.example/chat" in (await failing(script.url)).reason
    async with scripted(b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\npart") as script:
        assert (await failing(script.url)).http_status == 404


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (b"Sec-WebSocket-Extensions: permessage-deflate\r\n", 0x83760003),
        (b"Sec-WebSocket-Extensions: x-other\r\n", 0x83760003),
        (b"Sec-WebSocket-Protocol: other\r\n", 0x83760004),
    ],
)
async def test_what_was_not_offered_is_not_accepted(more: bytes, code: int) -> None:
    async with scripted(accepting(more=more)) as script:
        made = MessageWebSocket()
        made.control.supported_protocols.append("mine")
        error = await failing(script.url, made)
        assert error.winerror == errors.signed(code)
        made.close()


async def test_a_wrong_key_is_refused() -> None:
    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert len(key_of(head)) == 24
        writer.write(upgrade(head, key="s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
        await reader.read()

    async with scripted(answer) as script:
        error = await failing(script.url)
        assert error.winerror == errors.ERROR_HTTP_INVALID_SERVER_RESPONSE
        assert "Sec-WebSocket-Accept" in error.reason
