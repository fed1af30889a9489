"""Fuzz target: any octets are a request, an answer or a challenge, or refused with a reason; however they are cut."""

from __future__ import annotations

from typing import Any

from moorings.foundation.uri import Uri
from moorings.protocols.http_authentication import answer_challenges, parse_challenges
from moorings.protocols.web_socket_deflate import client_settings, server_settings
from moorings.protocols.web_socket_handshake import Accepted, ClientHandshake, Refused, target_of
from moorings.protocols.web_socket_headers import HANDSHAKE_HEAD_LIMIT, accept_key
from moorings.protocols.web_socket_request import RequestRefused, ServerHandshake, UpgradeRequest

_TARGET = target_of(Uri("ws://example.com/chat"))


def one_input(data: bytes) -> None:
    """Take octets as what a client sends, as what a server answers, and as a header that wants credentials."""
    _as_request(data)
    _as_answer(data)
    value = answer_challenges(parse_challenges([data.decode("latin-1")]), "user", "word", "GET", "/")
    assert value is None or not set(value) & {"\r", "\n", "\0"}


def _as_request(data: bytes) -> None:
    results: list[Any] = []
    for step in (1 << 20, 7):
        server = ServerHandshake()
        found = None
        for place in range(0, len(data), step):
            found = server.receive(data[place : place + step])
            if found is not None:
                break
        assert server.head_bytes <= HANDSHAKE_HEAD_LIMIT
        results.append(found)
        if isinstance(found, UpgradeRequest):
            assert found.accept(deflate=server_settings()).answer.endswith(b"\r\n\r\n")
        elif found is not None:
            assert 400 <= found.status < 600
    whole, cut = results
    assert type(whole) is type(cut)
    if isinstance(whole, RequestRefused):
        assert whole == cut or whole.status == 400
    elif isinstance(whole, UpgradeRequest):
        assert (whole.headers, whole.resource) == (cut.headers, cut.resource)


def _as_answer(data: bytes) -> None:
    """The octets may say `{accept}` where the answer to our key belongs."""
    client = ClientHandshake(_TARGET, subprotocols=["chat"], deflate=client_settings())
    key = client.request.decode().partition("Sec-WebSocket-Key: ")[2][:24]
    outcome = client.receive(data.replace(b"{accept}", accept_key(key).encode())) or client.end()
    if isinstance(outcome, Accepted):
        assert outcome.subprotocol in {"", "chat"}
        return
    assert isinstance(outcome, Refused)
    assert outcome.hresult < 0
    assert len(outcome.body) <= 4096
    assert outcome.status is not None
    assert outcome.retry_after is None or outcome.retry_after != ""
