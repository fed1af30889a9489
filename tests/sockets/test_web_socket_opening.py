"""From a URI to an open WebSocket: requests, answers, credentials, time, addresses, and what errors say."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import pickle
import socket
import struct
from contextlib import suppress
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE, turns
from tests.sockets.peers import refused_port, silent_port
from tests.sockets.web_socket_servers import accepting, connected, key_of, scripted, status, upgrade

import moorings
from moorings import HandshakeRefusedError, MessageWebSocket, PasswordCredential, WebSocketError, errors
from moorings.names.endpoints import Candidate
from moorings.names.racing import attempts_of
from moorings.protocols.http_authentication import parse_challenges
from moorings.protocols.web_error_status import (
    INET_E_CANNOT_CONNECT,
    INET_E_CONNECTION_ABORTED,
    INET_E_CONNECTION_RESET,
    INET_E_TIMEOUT,
    WebErrorStatus,
    web_error,
)

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
    async with scripted(b"HTTP/1.1 404 " + b"long " * 3000 + b"\r\n\r\n") as script:
        assert len((await failing(script.url)).reason) < 400
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


PLAIN = "Content-Type: text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (status("404 Not Found"), "GET /chat with 404 Not Found; does it serve a WebSocket at this path?"),
        (status("200 OK", "Content-Type: text/html", body=b"<p>"), "with 200 OK; is it a WebSocket server?"),
        (status("403 No", PLAIN, body="zu groß\n\nso".encode()), 'GET /chat with 403 No; it says "zu groß so"'),
        (status("404 No", PLAIN, body=b"no room"), '"no room"; does it serve a WebSocket at this path?'),
        (status("403 No", PLAIN, body=b" \n"), "GET /chat with 403 No"),
        (status("403 No", PLAIN, "Content-Encoding: gzip", body=b"\x1f\x8b"), "GET /chat with 403 No"),
        (status("403 No", "Content-Type: text/html", body=b"<p>no"), "GET /chat with 403 No"),
        (status("403 No", PLAIN, body=b"\x1b]0;x\x07 \xff\xe2\x80\xae"), '"\\x1b]0;x\\x07 \ufffd\\u202e"'),
        (status("503 \x1b[2Jx\x9b", "Location: \x1b"), "GET /chat with 503 \\x1b[2JxÂ\\x9b"),
        (status("301 Moved", "Location: ws://\x1b[31m"), "connect to ws://\\x1b[31m if you trust it"),
        (status("426 No", "Sec-WebSocket-Version: \x1b"), "it speaks version \\x1b only"),
        (status("403 No", PLAIN, body=b"x" * 4000), f'403 No; it says "{"x" * 200}..."'),
    ],
)
async def test_what_is_said_of_a_refusal(answer: bytes, said: str) -> None:
    async with scripted(answer) as script:
        reason = (await failing(script.url)).reason
    assert reason.endswith(said)
    assert reason.isprintable()
    assert "room=1" not in reason


async def test_what_is_asked_for_is_shown_in_short() -> None:
    async with scripted(status("404 No")) as script:
        reason = (await failing(f"{script.url.partition('?')[0]}{'y' * 1000}")).reason
    assert f"GET /chat{'y' * 95}... with 404 No; " in reason


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


# -- credentials -----------------------------------------------------------------------------------------------------

CHALLENGES = {
    "Basic": 'Basic realm="here"',
    "Digest": 'Digest realm="here", nonce="n1", qop="auth", algorithm=SHA-256, opaque="o"',
    "both": 'Basic realm="here", Digest realm="here", nonce="n1", algorithm=SHA-256, qop="auth"',
}


def digest_of(fields: dict[str, str]) -> str:
    """What the server computes."""

    def digest(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    secret, request = digest("Aladdin:here:open sesame"), digest("GET:/chat?room=1")
    return digest(f"{secret}:n1:{fields['nc']}:{fields['cnonce']}:auth:{request}")


@pytest.mark.parametrize("kind", CHALLENGES)
async def test_a_challenge_is_answered_once_on_a_new_connection(kind: str) -> None:
    async with scripted(status("401 No", f"WWW-Authenticate: {CHALLENGES[kind]}", body=b"no"), accepting()) as script:
        made = MessageWebSocket()
        made.control.server_credential = CREDENTIAL
        made.set_request_header("Authorization", "Bearer of the program")
        await connected(script.url, made)
        made.abort()
        assert len(script.requests) == 2
        assert script.headers(0)["authorization"] == ["Bearer of the program"]
        (answer,) = script.headers()["authorization"]
        if kind == "Basic":
            assert answer == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        else:
            (challenge,) = parse_challenges([answer])
            fields = dict(challenge.parameters)
            assert (challenge.scheme, fields["username"], fields["uri"]) == ("digest", "Aladdin", "/chat?room=1")
            assert fields["response"] == digest_of(fields)


@pytest.mark.parametrize(
    ("challenge", "credential", "said", "requests"),
    [
        (CHALLENGES["Digest"], CREDENTIAL, "does not accept the user name and password", 2),
        (CHALLENGES["Basic"], None, "set control.server_credential", 1),
        ("Negotiate", CREDENTIAL, "it asks for Negotiate, and Basic and Digest can be answered", 1),
    ],
)
async def test_a_challenge_that_is_not_met(challenge: str, credential: Any, said: str, requests: int) -> None:
    async with scripted(status("401 No", f"WWW-Authenticate: {challenge}")) as script:
        made = MessageWebSocket()
        made.control.server_credential = credential
        error = await failing(script.url, made)
        assert web_status(error) == WebErrorStatus.UNAUTHORIZED
        assert said in error.reason
        assert "open sesame" not in error.reason
        assert len(script.requests) == requests
        made.close()


async def test_a_credential_that_basic_cannot_carry_leaves_no_connection() -> None:
    gone = asyncio.Event()

    async def answer(_head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(status("401 No", f"WWW-Authenticate: {CHALLENGES['Basic']}", body=b"no"))
        with suppress(ConnectionResetError):
            assert await reader.read(1) == b""
        gone.set()

    async with asyncio.timeout(PATIENCE), scripted(answer) as script:
        made = MessageWebSocket()
        made.control.server_credential = PasswordCredential("here", "a:b", "open sesame")
        error = await failing(script.url, made)
        assert getattr(error, "winerror", 0) == errors.E_INVALIDARG
        assert "open sesame" not in str(error)
        await gone.wait()


async def test_cancel_at_every_turn_of_an_answer_to_a_challenge() -> None:
    """Descriptors that are left are found by the suite."""

    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"Authorization: Basic" in head:
            await accepting(rest=b"\x81\x02hi")(head, reader, writer)
        else:
            writer.write(status("401 No", f"WWW-Authenticate: {CHALLENGES['Basic']}", body=b"no"))

    async with asyncio.timeout(PATIENCE), scripted(answer) as script:
        made = MessageWebSocket()
        made.control.server_credential = CREDENTIAL
        for turn in range(300):
            connecting = made.connect_async(moorings.Uri(script.url))
            await turns(turn)
            connecting.cancel()
            try:
                await connecting
            except asyncio.CancelledError:
                made.set_request_header("X-Is-New", "yes")
            else:
                break
        assert turn > 10
        assert await made.receive() == "hi"
        made.abort()


# -- time and addresses ----------------------------------------------------------------------------------------------


def hasty(seconds: float = 0.1) -> MessageWebSocket:
    """A WebSocket that gives each address so much time."""
    made = MessageWebSocket()
    made._connection.connect_timeout = seconds
    return made


async def silence(_head: bytes, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_server_that_says_nothing_or_stops_in_mid_head() -> None:
    async def half(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(upgrade(head)[:60])
        await reader.read()

    for answer in (silence, half):
        async with scripted(answer) as script:
            made = hasty()
            error = await failing(script.url, made)
            assert isinstance(error, TimeoutError)
            assert error.winerror == INET_E_TIMEOUT
            assert "the request was not answered within 0.1 s" in error.reason
            assert f"127.0.0.1:{script.port}" in [attempt.address for attempt in attempts_of(error)]
            made.close()


async def test_a_refusal_need_not_be_whole() -> None:
    async def part(_head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(status("403 No", body=b"x" * 100)[:-60])
        await reader.read()

    async with scripted(part) as script:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("moorings.sockets.web_socket_opening.REFUSAL_BODY_TIMEOUT", 0.05)
            error = await failing(script.url)
        assert error.http_status == 403
        assert error.body == b"x" * 40


async def test_a_port_that_does_not_answer() -> None:
    with silent_port() as port:
        made = hasty()
        error = await failing(f"ws://127.0.0.1:{port}/", made)
        assert isinstance(error, TimeoutError)
        assert error.winerror == INET_E_TIMEOUT
        made.close()


async def test_a_server_that_hangs_up_or_resets() -> None:
    for before in (b"", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: webso"):
        async with scripted(before) as script:
            error = await failing(script.url)
            assert isinstance(error, ConnectionAbortedError)
            assert error.winerror == INET_E_CONNECTION_ABORTED
            assert "ended before the server had answered" in error.reason

    async def reset(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with scripted(reset) as script:
        error = await failing(script.url)
        assert isinstance(error, ConnectionResetError)
        assert error.winerror == INET_E_CONNECTION_RESET


async def test_where_nobody_listens_and_where_nobody_is() -> None:
    with refused_port() as port:
        error = await failing(f"ws://127.0.0.1:{port}/")
        assert isinstance(error, ConnectionRefusedError)
        assert web_status(error) == WebErrorStatus.CANNOT_CONNECT
        assert f"127.0.0.1:{port}" in error.reason
        assert error.attempts
    error = await failing("ws://no-such-name.invalid/")
    assert isinstance(error, socket.gaierror)
    assert web_status(error) == WebErrorStatus.HOST_NAME_NOT_RESOLVED
    assert "no-such-name.invalid" in error.reason


def test_codes_of_what_connecting_says() -> None:
    """Beside those that the tests above meet."""
    no_route = web_error(errors.from_errno(errno.EHOSTUNREACH, "no way"))
    assert (getattr(no_route, "winerror", 0), no_route.errno) == (INET_E_CANNOT_CONNECT, errno.EHOSTUNREACH)
    assert not isinstance(no_route, ConnectionRefusedError)
    assert isinstance(web_error(errors.from_errno(errno.ECONNREFUSED, "no")), ConnectionRefusedError)
    files = errors.from_errno(errno.EMFILE, "too many")
    assert web_error(files) is files
    plain = OSError("x")
    assert web_error(plain) is plain
    certificate = errors.make(errors.CERT_E_EXPIRED, "old")
    certificate.certificate_errors = ("EXPIRED",)
    assert getattr(web_error(certificate), "certificate_errors", None) == ("EXPIRED",)


def several(monkeypatch: pytest.MonkeyPatch, count: int, port: int) -> None:
    """Let every host have so many addresses, 127.0.0.1 the last."""

    async def candidates(*_arguments: Any, **_settings: Any) -> list[Candidate]:
        addresses = [f"127.0.0.{number}" for number in range(count, 0, -1)]
        return [Candidate(socket.AF_INET, (address, port), address, port) for address in addresses]

    monkeypatch.setattr("moorings.sockets.opening.endpoint_candidates", candidates)


async def test_an_address_that_says_nothing_leaves_the_others_their_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.read()
        writer.close()

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    for first in (say_nothing, hang_up):
        async with scripted(accepting()) as script:
            server = await asyncio.start_server(first, "127.0.0.2", script.port)
            async with server:
                several(monkeypatch, 3, script.port)  # nobody listens at the first
                made = await connected(script.url, hasty(0.5))
                assert made.information.remote_address is not None
                assert made.information.remote_address.display_name == "127.0.0.1"
                made.abort()


async def test_all_addresses_fail_each_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(silence) as script:
        several(monkeypatch, 2, script.port)
        made = hasty()
        error = await failing(script.url, made)
        assert [attempt.address for attempt in attempts_of(error)] == [f"127.0.0.{n}:{script.port}" for n in (1, 2)]
        assert "all 2 addresses failed" in error.reason
        assert web_status(error) == WebErrorStatus.TIMEOUT
        made.close()


async def test_an_answer_is_the_verdict_on_all_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(status("403 No")) as script:
        several(monkeypatch, 3, script.port)
        assert (await failing(script.url)).http_status == 403
        assert len(script.requests) == 1


async def test_five_addresses_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with refused_port() as port:
        several(monkeypatch, 7, int(port))
        error = await failing("ws://localhost/")
        assert [attempt.address for attempt in attempts_of(error)] == [f"127.0.0.{n}:{port}" for n in range(7, 2, -1)]


# -- proxies ---------------------------------------------------------------------------------------------------------


async def test_a_tunnel_is_a_way_to_the_server() -> None:
    asked: list[Any] = []

    async with scripted(accepting(rest=b"\x81\x02hi")) as script:

        async def tunnel(host: str, port: int) -> Any:
            asked.append((host, port))
            connection = await moorings.connect(f"tcp://127.0.0.1:{script.port}")
            kept.append(connection)
            return connection._stream("tunnel")

        kept: list[Any] = []
        made = MessageWebSocket()
        made._connection.tunnel = tunnel
        await connected("ws://far.example/", made)
        assert asked == [("far.example", 80)]
        assert await made.receive() == "hi"
        assert script.headers()["host"] == ["far.example"]
        made.abort()

    async def broken(_host: str, _port: int) -> Any:
        raise errors.make(errors.WSAECONNREFUSED, "the proxy does not listen")

    made = MessageWebSocket()
    made._connection.tunnel = broken
    assert isinstance(await failing("ws://far.example/", made), ConnectionRefusedError)

    async def stuck(_host: str, _port: int) -> Any:
        await asyncio.Event().wait()

    made._connection.tunnel = stuck
    made._connection.connect_timeout = 0.05
    assert "the proxy was not answered" in (await failing("ws://far.example/", made)).reason
    made.close()
