"""WebSockets on connections whose request somebody else has read."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE, receive_ending, socket_and_peer
from tests.sockets.web_socket_peers import REQUEST, client_of, closing_of, echo

import moorings
from moorings import errors
from moorings.protocols.web_socket_request import RequestRefused, UpgradeRequest

PARTS = {
    "Host": "localhost",
    "Upgrade": "WebSocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "X-More": " a ",
}


def as_pairs(bytes_: bool) -> Any:
    if not bytes_:
        return list(PARTS.items())
    return [(name.encode(), value.encode()) for name, value in PARTS.items()]


@pytest.mark.parametrize("headers", [PARTS, as_pairs(False), as_pairs(True)], ids=["mapping", "text", "bytes"])
def test_a_request_from_its_parts(headers: Any) -> None:
    request = moorings.web_socket_request(target="/chat?a=b", headers=headers, rest=b"more")
    assert isinstance(request, UpgradeRequest)
    assert (request.path, request.query, request.host, request.rest) == ("/chat", {"a": "b"}, "localhost", b"more")
    assert request.header("x-more") == "a"


def test_a_request_from_its_bytes() -> None:
    request = moorings.web_socket_request(REQUEST + b"more")
    assert isinstance(request, UpgradeRequest)
    assert (request.path, request.rest) == ("/chat", b"more")
    refused = moorings.web_socket_request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert isinstance(refused, RequestRefused)
    assert refused.status == 426
    assert isinstance(moorings.web_socket_request(target="*", headers=PARTS), RequestRefused)
    assert isinstance(moorings.web_socket_request(method="POST", target="/", headers=PARTS), RequestRefused)
    for wrong in ({"head": REQUEST[:-2]}, {"head": REQUEST, "target": "/"}):
        with pytest.raises(OSError, match="head") as caught:
            moorings.web_socket_request(**wrong)  # type: ignore[arg-type]
        assert caught.value.winerror == errors.E_INVALIDARG


@pytest.mark.parametrize("behind", [b"", b"\x81\x82\0\0\0\0hi", b"\x81\x82\0\0"])
async def test_a_program_that_reads_http_itself(behind: bytes) -> None:
    """With the Python face: what has come behind the head stays in the socket."""
    async with socket_and_peer() as (ours, peer):
        peer.sendall(REQUEST + behind)
        head = await ours.read_until(b"\r\n\r\n")
        web_socket = await moorings.accept_web_socket(ours, request=moorings.web_socket_request(head))
        peer.sendall(b"\x81\x82\0\0\0\0hi"[len(behind) :])
        assert await web_socket.receive() == "hi"
        assert web_socket.information.request.path == "/chat"
        web_socket.abort()


async def test_a_program_that_has_read_too_much() -> None:
    """With a plain socket, which `adopt` takes over: the rest is given with the request."""
    listener = socket.create_server(("127.0.0.1", 0))
    with closing(listener), closing(socket.create_connection(listener.getsockname())) as client:
        served, _ = listener.accept()
        client.setblocking(False)
        client.sendall(REQUEST + b"\x81\x82\0\0\0\0o")
        head, rest = served.recv(65536).split(b"\r\n\r\n")
        lines = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
        request = moorings.web_socket_request(target="/x", headers=[(name, value) for name, value in lines], rest=rest)
        web_socket = await moorings.accept_web_socket(await moorings.adopt(served), request=request)
        client.sendall(b"k")
        assert await web_socket.receive() == "ok"
        web_socket.abort()


async def test_an_asyncio_server_that_hands_its_connection_over() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        connection = await moorings.adopt(writer)
        await echo(await moorings.accept_web_socket(connection, request=moorings.web_socket_request(head)))

    async with asyncio.timeout(PATIENCE), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with client_of(port) as client:
            await client.send("hello")
            assert await client.recv() == "hello"
        assert await closing_of(client) == (1000, "")


async def test_a_refusal_that_is_handed_over_is_answered() -> None:
    async with socket_and_peer() as (ours, peer):
        refused = moorings.web_socket_request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(OSError, match="answered with 426") as caught:
            await moorings.accept_web_socket(ours, request=refused)
        assert caught.value.winerror == errors.signed(0x80190000 + 4)
        assert (await receive_ending(peer))[0].startswith(b"HTTP/1.1 426 ")
