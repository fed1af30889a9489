"""The client's handshake: the request, and what each answer means."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from websockets.http11 import Request as PeerRequest
from websockets.server import ServerProtocol

from moorings import Uri, errors
from moorings.protocols import web_socket_handshake
from moorings.protocols.web_error_status import WebErrorStatus, get_web_status, hresult_of_http_status
from moorings.protocols.web_socket_deflate import client_settings
from moorings.protocols.web_socket_handshake import (
    REFUSAL_BODY_LIMIT,
    Accepted,
    ClientHandshake,
    Refused,
    target_of,
)
from moorings.protocols.web_socket_headers import HANDSHAKE_HEAD_LIMIT, accept_key, is_key, request_header
from moorings.protocols.web_socket_request import ServerHandshake, UpgradeRequest

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET = target_of(Uri("ws://example.com/chat?x=1"))
OFFERED = ("chat", "superchat")


def code_of(caught: pytest.ExceptionInfo[OSError]) -> int:
    return getattr(caught.value, "winerror", 0)


# -- where to --------------------------------------------------------------------------------------------------------

TARGETS = {
    "ws://example.com": (False, "example.com", 80, "example.com", "/"),
    "WSS://Example.COM:443/a/../b?q=%20#": None,
    "wss://example.com:443/b?q=1": (True, "example.com", 443, "example.com", "/b?q=1"),
    "ws://example.com:8080?q": (False, "example.com", 8080, "example.com:8080", "/?q"),
    "wss://[2001:db8::1]:8443/ä": (True, "2001:db8::1", 8443, "[2001:db8::1]:8443", "/%C3%A4"),
    "ws://[::1]/": (False, "::1", 80, "[::1]", "/"),
    "ws://bücher.example/": (False, "xn--bcher-kva.example", 80, "xn--bcher-kva.example", "/"),
    "http://example.com/": None,
    "ws://user@example.com/": None,
    "ws://@example.com/": None,
    "ws://example.com/#": None,
    "ws://example.com/#x": None,
}


@pytest.mark.parametrize("text", TARGETS)
def test_targets(text: str) -> None:
    expected = TARGETS[text]
    if expected is not None:
        assert target_of(Uri(text)) == expected
        return
    with pytest.raises(OSError, match=r"scheme|fragment|user information") as caught:
        target_of(Uri(text))
    assert code_of(caught) == errors.E_INVALIDARG


# -- the request -----------------------------------------------------------------------------------------------------


def test_the_request() -> None:
    client = ClientHandshake(
        TARGET,
        headers=[("X-One", " 1 "), ("x-one", "zwei ü"), ("Origin", "https://example.com")],
        subprotocols=OFFERED,
        deflate=client_settings(),
        authorization="Basic eDp5",
    )
    lines = client.request.decode().split("\r\n")
    key = lines[4].removeprefix("Sec-WebSocket-Key: ")
    assert is_key(key)
    assert lines == [
        "GET /chat?x=1 HTTP/1.1",
        "Host: example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: chat, superchat",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "X-One: 1",
        "x-one: zwei ü",
        "Origin: https://example.com",
        "Authorization: Basic eDp5",
        "",
        "",
    ]
    assert ClientHandshake(TARGET).request != ClientHandshake(TARGET).request


def test_websockets_accepts_the_request() -> None:
    client = ClientHandshake(TARGET, subprotocols=OFFERED, deflate=client_settings())
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

    server = ServerProtocol(subprotocols=["superchat"], extensions=[ServerPerMessageDeflateFactory()])  # type: ignore[list-item]
    server.receive_data(client.request)
    (request,) = server.events_received()
    assert isinstance(request, PeerRequest)
    server.send_response(server.accept(request))
    outcome = client.receive(b"".join(server.data_to_send()))
    assert isinstance(outcome, Accepted)
    assert outcome.subprotocol == "superchat"
    assert outcome.deflate is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "x") for name in ("Host", "upgrade", "Connection", "Sec-WebSocket-Key", "sec-websocket-anything")),
        *((name, "x") for name in ("Content-Length", "Transfer-Encoding", "", "a b", "a:", "ä", "a\r\nb", "a\0")),
        *(("X", value) for value in ("a\r\nB: c", "a\n", "\r", "\0", "\x7f", "\ud800")),
    ],
)
def test_headers_that_are_refused(name: str, value: str) -> None:
    with pytest.raises(OSError, match=r"header") as caught:
        ClientHandshake(TARGET, headers=[(name, value)])
    assert code_of(caught) == errors.E_INVALIDARG
    if name == "X":
        with pytest.raises(OSError, match=r"header"):
            ClientHandshake(TARGET, authorization=value)
    assert request_header("X-Tab", "\ta\tb ") == ("X-Tab", "a\tb")


@pytest.mark.parametrize("names", [["a", "a"], [""], ["a b"], ["a,b"], ["ä"], ["a\r\n"]])
def test_subprotocols_that_are_refused(names: list[str]) -> None:
    with pytest.raises(OSError, match="subprotocol") as caught:
        ClientHandshake(TARGET, subprotocols=names)
    assert code_of(caught) == errors.E_INVALIDARG


# -- the answer ------------------------------------------------------------------------------------------------------


def key_of(client: ClientHandshake) -> str:
    return client.request.decode().split("Sec-WebSocket-Key: ")[1].split("\r\n")[0]


def answer_to(client: ClientHandshake, *more: str, **changed: str | None) -> bytes:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept_key(key_of(client))}
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}  # type: ignore[misc]
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join(("HTTP/1.1 101 Switching Protocols", *lines, *more, "", "")).encode()


def fed(client: ClientHandshake, data: bytes, step: int) -> Accepted | Refused | None:
    outcome = None
    for place in range(0, len(data), step):
        outcome = client.receive(data[place : place + step])
        if outcome is not None and not isinstance(outcome, Accepted):
            break
    return outcome


def outcomes(make: Callable[[ClientHandshake], bytes], *, deflate: bool = True) -> list[Accepted | Refused]:
    """Of one answer, whole and byte by byte; an end behind it."""
    found: list[Accepted | Refused] = []
    for step in (1 << 20, 1):
        client = ClientHandshake(TARGET, subprotocols=OFFERED, deflate=client_settings() if deflate else None)
        outcome = fed(client, make(client), step)
        found.append(outcome or client.end())
    return found


def test_accepted() -> None:
    client = ClientHandshake(TARGET)
    outcome = client.receive(b"HTTP/1.1 100 Continue\r\n\r\n" + answer_to(client, "X: y", "X: \xfc") + b"\x81\x00rest")
    assert isinstance(outcome, Accepted)
    assert (outcome.subprotocol, outcome.deflate, outcome.rest) == ("", None, b"\x81\x00rest")
    assert outcome.headers[-2:] == (("x", "y"), ("x", "\xfc"))
    assert client.receive(b"more") is outcome
    assert client.end() is outcome
    for answer in (
        outcomes(lambda client: answer_to(client, Upgrade="WebSocket", Connection="keep-alive, UPGRADE")),
        outcomes(lambda client: answer_to(client, "Sec-WebSocket-Protocol: chat")),
        outcomes(lambda client: answer_to(client, "Sec-WebSocket-Extensions: permessage-deflate")),
    ):
        assert all(isinstance(each, Accepted) for each in answer)


INVALID = errors.ERROR_HTTP_INVALID_SERVER_RESPONSE
WRONG_101: dict[str, tuple[dict[str, str | None], tuple[str, ...], int]] = {
    "no upgrade": ({"Upgrade": None}, (), INVALID),
    "other upgrade": ({"Upgrade": "h2c"}, (), INVALID),
    "two upgrades": ({"Upgrade": "websocket, h2c"}, (), INVALID),
    "no connection": ({"Connection": None}, (), INVALID),
    "other connection": ({"Connection": "close"}, (), INVALID),
    "no accept": ({"Sec_WebSocket_Accept": None, "Sec-WebSocket-Accept": None}, (), INVALID),
    "wrong accept": ({"Sec-WebSocket-Accept": accept_key("x")}, (), INVALID),
    "two accepts": ({}, ("Sec-WebSocket-Accept: x",), INVALID),
    "other subprotocol": ({}, ("Sec-WebSocket-Protocol: other",), errors.signed(0x83760004)),
    "subprotocol in another case": ({}, ("Sec-WebSocket-Protocol: Chat",), errors.signed(0x83760004)),
    "two subprotocols": ({}, ("Sec-WebSocket-Protocol: chat, superchat",), errors.signed(0x83760004)),
    "two headers": ({}, ("Sec-WebSocket-Protocol: chat",) * 2, errors.signed(0x83760004)),
    "other extension": ({}, ("Sec-WebSocket-Extensions: x",), errors.signed(0x83760003)),
    "wrong parameter": ({}, ("Sec-WebSocket-Extensions: permessage-deflate; x",), errors.signed(0x83760003)),
    "twice": ({}, ("Sec-WebSocket-Extensions: permessage-deflate",) * 2, errors.signed(0x83760003)),
    "malformed": ({}, ("Sec-WebSocket-Extensions: ;",), INVALID),
    "many headers": ({}, ("X: y",) * 100, INVALID),
}


@pytest.mark.parametrize("name", WRONG_101)
def test_101_that_is_none(name: str) -> None:
    changed, more, hresult = WRONG_101[name]
    for outcome in outcomes(lambda client: answer_to(client, *more, **changed)):
        assert isinstance(outcome, Refused)
        assert (outcome.hresult, outcome.http_status) == (hresult, 101)
        assert outcome.status == get_web_status(hresult)


def test_what_was_not_offered() -> None:
    for outcome in outcomes(
        lambda client: answer_to(client, "Sec-WebSocket-Extensions: permessage-deflate"), deflate=False
    ):
        assert isinstance(outcome, Refused)
        assert outcome.hresult == errors.signed(0x83760003)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 OK\r\nA B: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * HANDSHAKE_HEAD_LIMIT,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    ],
    ids=lambda data: repr(data[:24]),
)
def test_what_is_no_answer(data: bytes) -> None:
    for outcome in outcomes(lambda _: data):
        assert isinstance(outcome, Refused)
        if outcome.hresult != errors.signed(0x80072EFE):  # it never ended, and waited for more
            assert (outcome.hresult, outcome.http_status) == (INVALID, 0)


def test_an_end_before_the_answer() -> None:
    for data in (b"", b"HTTP/1.1 2"):
        client = ClientHandshake(TARGET)
        client.receive(data)
        outcome = client.end()
        assert (outcome.hresult, outcome.status) == (errors.signed(0x80072EFE), WebErrorStatus.CONNECTION_ABORTED)  # type: ignore[union-attr]


STATUSES = {
    200: WebErrorStatus.UNEXPECTED_STATUS_CODE,
    204: WebErrorStatus.UNEXPECTED_STATUS_CODE,
    301: WebErrorStatus.MOVED_PERMANENTLY,
    306: WebErrorStatus.UNEXPECTED_REDIRECTION,
    308: WebErrorStatus.UNEXPECTED_REDIRECTION,
    400: WebErrorStatus.BAD_REQUEST,
    401: WebErrorStatus.UNAUTHORIZED,
    404: WebErrorStatus.NOT_FOUND,
    426: WebErrorStatus.UNEXPECTED_CLIENT_ERROR,
    429: WebErrorStatus.UNEXPECTED_CLIENT_ERROR,
    503: WebErrorStatus.SERVICE_UNAVAILABLE,
    511: WebErrorStatus.UNEXPECTED_SERVER_ERROR,
}


@pytest.mark.parametrize("status", STATUSES)
def test_refusals(status: int) -> None:
    body = b"" if status == 204 else b"why not"
    data = f"HTTP/1.1 {status} Reason\r\nContent-Length: {len(body)}\r\nRetry-After: 7\r\n\r\n".encode() + body
    for outcome in outcomes(lambda _: data):
        assert isinstance(outcome, Refused)
        assert (outcome.status, outcome.http_status, outcome.body) == (STATUSES[status], status, body)
        assert outcome.text == f"the server answered GET /chat with {status} Reason"
        assert outcome.retry_after == 7
        assert ("retry-after", "7") in outcome.headers


@pytest.mark.parametrize("status", [400, 426])
def test_other_versions(status: int) -> None:
    data = f"HTTP/1.1 {status} x\r\nSec-WebSocket-Version: 8, 7\r\nContent-Length: 0\r\n\r\n".encode()
    for outcome in outcomes(lambda _: data):
        assert isinstance(outcome, Refused)
        assert outcome.hresult == errors.signed(0x83760005)
        assert "version 8, 7 only" in outcome.text


@pytest.mark.parametrize("status", [400, 426])
def test_a_server_of_our_version_that_got_another_request(status: int) -> None:
    """As behind a proxy that was not told of upgrades."""
    data = f"HTTP/1.1 {status} x\r\nSec-WebSocket-Version: 8, 13\r\nContent-Length: 0\r\n\r\n".encode()
    for outcome in outcomes(lambda _: data):
        assert isinstance(outcome, Refused)
        assert outcome.hresult == hresult_of_http_status(status)
        assert "a proxy may have dropped Upgrade" in outcome.text


def test_moments_to_retry() -> None:
    def moment(value: str) -> object:
        return Refused(0, "", 503, (("retry-after", value),)).retry_after

    assert moment("Wed, 21 Oct 2026 07:28:00 GMT") == datetime(2026, 10, 21, 7, 28, tzinfo=UTC)
    assert [moment(text) for text in ("soon", "-1", "1.5", "9" * 10, "")] == [None] * 5
    assert moment("Wed, 21 Oct 99999999999999999999 07:28:00 GMT") is None
    assert moment("Wed, 21 Oct 2026 07:28:00 +99999999999999") is None
    assert Refused(0, "").retry_after is None


def test_bodies_are_bounded() -> None:
    head = b"HTTP/1.1 500 x\r\nContent-Length: 1000000\r\n\r\n"
    client = ClientHandshake(TARGET)
    assert client.receive(head + b"a" * 100) is None
    assert client.refusal_begun
    outcome = client.receive(b"b" * 100_000)
    assert isinstance(outcome, Refused)
    assert outcome.body == b"a" * 100 + b"b" * (REFUSAL_BODY_LIMIT - 100)
    stopped = ClientHandshake(TARGET)
    stopped.receive(head + b"abc")
    assert stopped.end().body == b"abc"  # type: ignore[union-attr]
    wrong = ClientHandshake(TARGET)
    outcome = wrong.receive(b"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n")
    assert isinstance(outcome, Refused)
    assert (outcome.http_status, outcome.body) == (500, b"abc")


def test_hresults_of_all_statuses() -> None:
    named = {int(status) for status in WebErrorStatus if status >= 300}
    for status in range(100, 600):
        found = get_web_status(hresult_of_http_status(status))
        assert found == (status if status in named else 18 if status < 300 else 17 + status // 100 - 1)


def test_both_ends_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_socket_handshake.os, "urandom", lambda count: b"the sample nonce"[:count])
    client = ClientHandshake(TARGET, subprotocols=OFFERED, deflate=client_settings(), headers=[("Origin", "null")])
    assert accept_key(base64.b64encode(b"the sample nonce").decode()) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3
    request = ServerHandshake().receive(client.request)
    assert isinstance(request, UpgradeRequest)
    acceptance = request.accept(subprotocol="superchat", deflate=client_settings(), headers=[("X", "y")])
    outcome = client.receive(acceptance.answer + b"first")
    assert isinstance(outcome, Accepted)
    assert (outcome.subprotocol, outcome.deflate) == ("superchat", acceptance.deflate)
    assert outcome.rest == b"first"
    assert ("x", "y") in outcome.headers
