"""The server's handshake: requests of all kinds, and the answers to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import pytest
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from moorings import errors
from moorings.protocols.http_answers import HttpAnswer, RequestHead
from moorings.protocols.web_socket_deflate import server_settings
from moorings.protocols.web_socket_headers import HANDSHAKE_HEAD_LIMIT
from moorings.protocols.web_socket_request import (
    RequestRefused,
    ServerHandshake,
    UpgradeRequest,
    choose_subprotocol,
    judge_request,
    make_answer,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
GOOD = {
    "Host": "example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def request(*more: str, line: str = "GET /chat?x=1 HTTP/1.1", **changed: str | None) -> bytes:
    headers: dict[str, str | None] = GOOD | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join((line, *lines, *more, "", "")).encode()


def outcomes(data: bytes) -> list[UpgradeRequest | RequestRefused]:
    """Whole, and byte by byte."""
    whole = ServerHandshake().receive(data)
    slow = ServerHandshake()
    found = None
    for place in range(len(data)):
        assert found is None or place == len(data)
        found = slow.receive(data[place : place + 1])
        if isinstance(found, RequestRefused):
            break
    assert whole is not None
    assert found is not None
    return [whole, found]


def test_a_good_request() -> None:
    more = ("Origin: https://example.com", "Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Protocol: c", "X: \u00fc")
    for found in outcomes(request(*more, "Sec-WebSocket-Extensions: permessage-deflate, x; y=1")):
        assert isinstance(found, UpgradeRequest)
        assert (found.resource, found.path, found.host) == ("/chat?x=1", "/chat", "example.com")
        assert found.origin == "https://example.com"
        assert found.subprotocols == ("a", "b", "c")
        assert [offer.name for offer in found.extensions] == ["permessage-deflate", "x"]
        assert ("x", "\u00fc") in found.headers
        assert KEY not in repr(found)
        assert found.accept().answer == (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )


def test_what_comes_behind_the_head() -> None:
    server = ServerHandshake()
    found = server.receive(request() + b"\x81\x85" + bytes(HANDSHAKE_HEAD_LIMIT))
    assert isinstance(found, UpgradeRequest)
    assert found.rest == b"\x81\x85" + bytes(HANDSHAKE_HEAD_LIMIT)
    assert server.receive(b"more") is found


def test_websockets_accepts_the_answer() -> None:
    client = ClientProtocol(parse_uri("ws://example.com/"), subprotocols=["a", "b"])  # type: ignore[list-item]
    client.send_request(client.connect())
    found = ServerHandshake().receive(b"".join(client.data_to_send()))
    assert isinstance(found, UpgradeRequest)
    acceptance = found.accept(subprotocol=choose_subprotocol(found.subprotocols, ["x", "b"]), deflate=server_settings())
    assert acceptance.subprotocol == "b"
    client.receive_data(acceptance.answer)
    assert client.handshake_exc is None
    assert client.subprotocol == "b"
    assert choose_subprotocol(["a"], ["b"]) == ""


@pytest.mark.parametrize(
    "changed",
    [
        {"Upgrade": "WebSocket"},
        {"Upgrade": "h2c, websocket"},
        {"Upgrade": "h2c/1, websocket"},
        {"Connection": "keep-alive, upgrade"},
        {"Connection": ",, Upgrade ,"},
        {"Content-Length": "0"},
    ],
)
def test_requests_that_are_fine_too(changed: dict[str, str]) -> None:
    assert isinstance(ServerHandshake().receive(request(**changed)), UpgradeRequest)
    absolute = ServerHandshake().receive(request(line="GET http://example.com?q HTTP/1.1", **changed))
    assert isinstance(absolute, UpgradeRequest)
    assert absolute.resource == "/?q"


REFUSED: dict[str, tuple[bytes, int]] = {
    "no upgrade": (request(Upgrade=None), 426),
    "other upgrade": (request(Upgrade="h2c"), 426),
    "no connection": (request(Connection=None), 426),
    "other connection": (request(Connection="keep-alive"), 426),
    "odd connection": (request(Connection="a b, upgrade"), 426),
    "post": (request(line="POST / HTTP/1.1"), 405),
    "old http": (request(line="GET / HTTP/1.0"), 505),
    "no host": (request(Host=None), 400),
    "two hosts": (request("Host: b"), 400),
    "body": (request("Content-Length: 5"), 400),
    "chunks": (request("Transfer-Encoding: chunked"), 400),
    "no version": (request(Sec_WebSocket_Version=None), 400),
    "old version": (request(Sec_WebSocket_Version="8"), 426),
    "two versions": (request("Sec-WebSocket-Version: 13"), 426),
    "no key": (request(Sec_WebSocket_Key=None), 400),
    "short key": (request(Sec_WebSocket_Key="dGhl"), 400),
    "odd key": (request(Sec_WebSocket_Key=KEY[:-3] + "R=="), 400),
    "no base64": (request(Sec_WebSocket_Key="?" * 24), 400),
    "two keys": (request(f"Sec-WebSocket-Key: {KEY}"), 400),
    "two origins": (request("Origin: a", "Origin: b"), 400),
    "odd subprotocol": (request("Sec-WebSocket-Protocol: a b"), 400),
    "doubled subprotocol": (request("Sec-WebSocket-Protocol: a, a"), 400),
    "odd extension": (request("Sec-WebSocket-Extensions: ;"), 400),
    "odd target": (request(line="GET * HTTP/1.1"), 400),
    "other scheme": (request(line="GET ftp://a/ HTTP/1.1"), 400),
    "broken target": (request(line="GET http://[ HTTP/1.1"), 400),
    "fragment": (request(line="GET http://a/#b HTTP/1.1"), 400),
    "many headers": (request(*["X: y"] * 100), 431),
    "long header": (request("X: " + "y" * HANDSHAKE_HEAD_LIMIT), 431),
    "no http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "space before colon": (request("X : y"), 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_requests_that_are_refused(name: str) -> None:
    data, status = REFUSED[name]
    for found in outcomes(data):
        assert isinstance(found, RequestRefused)
        assert found.status == status
        answer = parsed(found.answer)
        assert answer.status_code == status
        headers = dict(answer.headers)
        if status == 426 or name == "no version":
            assert headers[b"sec-websocket-version"] == b"13"
        if status == 426:
            assert headers[b"upgrade"] == b"websocket"
        if status == 405:
            assert headers[b"allow"] == b"GET"


def parsed(answer: bytes) -> h11.Response:
    """An answer, read to its end."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(answer)
    response = connection.next_event()
    assert isinstance(response, h11.Response)
    while not isinstance(connection.next_event(), h11.EndOfMessage):
        pass
    assert connection.trailing_data == (b"", False)
    return response


def test_a_head_that_never_ends() -> None:
    server = ServerHandshake()
    fed = 0
    while (found := server.receive(b"GET / HTTP/1.1\r\n" if not fed else b"X: yyyy\r\n")) is None:
        fed += 1
    assert isinstance(found, RequestRefused)
    assert found.status == 431
    assert server.head_bytes <= HANDSHAKE_HEAD_LIMIT
    assert fed < HANDSHAKE_HEAD_LIMIT


def test_accepting_what_cannot_be() -> None:
    found = ServerHandshake().receive(request("Sec-WebSocket-Protocol: a"))
    assert isinstance(found, UpgradeRequest)
    for wrong in (
        lambda: found.accept(subprotocol="b"),
        lambda: found.accept(headers=[("Upgrade", "x")]),
        lambda: found.accept(headers=[("X", "a\r\nB: c")]),
        lambda: make_answer(200),
        lambda: make_answer(600),
        lambda: make_answer(403, headers=[("Content-Length", "9")]),
    ):
        with pytest.raises(OSError, match=r".") as caught:
            wrong()
        assert getattr(caught.value, "winerror", 0) == errors.E_INVALIDARG


def test_answers_of_the_program() -> None:
    answer = make_answer(403, "n\u00f6", [("X-Why", "because")])
    assert answer.endswith("\r\n\r\nn\u00f6".encode())
    headers = dict(parsed(answer).headers)
    assert headers[b"x-why"] == b"because"
    assert headers[b"connection"] == b"close"
    assert parsed(make_answer(499)).reason == b"Refused"


def test_a_head_that_somebody_else_has_read() -> None:
    headers = [(name.lower(), value) for name, value in GOOD.items()]
    found = judge_request("GET", "/x", "1.1", headers, b"rest")
    assert isinstance(found, UpgradeRequest)
    assert found.rest == b"rest"
    assert isinstance(judge_request("GET", "/x", "2", headers), RequestRefused)


# -- what the program asks of a request ------------------------------------------------------------------------------


def accepted(target: str = "/", host: str = "example.com", more: Sequence[tuple[str, str]] = ()) -> UpgradeRequest:
    """A request that keeps all the rules."""
    headers = [(name.lower(), value) for name, value in (GOOD | {"Host": host}).items()]
    found = judge_request("GET", target, "1.1", [*headers, *more])
    assert isinstance(found, UpgradeRequest)
    return found


def test_fields_cookies_and_headers_of_a_request() -> None:
    request = accepted(
        target="/a%20b?x=1&x=2&y=&z=a%26b+c",
        more=[("cookie", 'a=1; b="two" ; a=3; nonsense'), ("cookie", "c=4=5"), ("x-more", "1"), ("x-more", "2")],
    )
    assert request.path == "/a%20b"
    assert request.query == {"x": "1", "y": "", "z": "a&b c"}
    assert request.cookies == {"a": "1", "b": "two", "c": "4=5"}
    assert (request.header("X-More"), request.header("nothing")) == ("1, 2", None)
    assert accepted(target="/?" + "&".join(f"a{n}=1" for n in range(101))).query == {}


@pytest.mark.parametrize(
    ("host", "origin", "same"),
    [
        ("example.com", None, True),
        ("example.com", "https://example.com", True),
        ("Example.com:8080", "http://EXAMPLE.COM:8080", True),
        ("[::1]:80", "http://[::1]:80", True),
        ("example.com", "https://example.com:444", False),
        ("example.com", "https://example.com.evil", False),
        ("example.com", "https://evil@example.com", False),
        ("example.com", "example.com", False),
        ("example.com", "null", False),
        ("", "null", False),
        ("", "http://", False),
    ],
)
def test_the_same_origin(host: str, origin: str | None, same: bool) -> None:
    more = [] if origin is None else [("origin", origin)]
    assert accepted(host=host, more=more).is_same_origin == same


def test_the_head_is_kept_of_what_is_no_request_for_a_web_socket() -> None:
    handshake = ServerHandshake()
    outcome = handshake.receive(b"HEAD /health?x HTTP/1.0\r\nHost: x\r\nA: b\r\n\r\n")
    assert isinstance(outcome, RequestRefused)
    assert handshake.head == RequestHead("HEAD", "/health?x", "1.0", (("host", "x"), ("a", "b")))
    assert handshake.head.path == "/health"
    assert not handshake.head.wants_upgrade
    handshake = ServerHandshake()
    handshake.receive(b"nonsense\r\n\r\n")
    assert handshake.head is None


def test_answers_to_plain_requests() -> None:
    answer = HttpAnswer(body="ä", status=404, headers=[("X", "y")])
    head = b"HTTP/1.1 404 Not Found\r\nX: y\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
    assert answer.encode() == head + b"Content-Length: 2\r\n\r\n\xc3\xa4"
    assert answer.encode(with_body=False) == head + b"Content-Length: 2\r\n\r\n"
    wrong: list[HttpAnswer] = [
        HttpAnswer(status=101),
        HttpAnswer(status=600),
        HttpAnswer(headers=[("Content-Length", "7")]),
        HttpAnswer(headers=[("X", "a\r\nY: b")]),
        HttpAnswer(content_type="text/html\r\nY: b"),
    ]
    for each in wrong:
        with pytest.raises(OSError) as caught:
            each.encode()
        assert caught.value.winerror == errors.E_INVALIDARG
