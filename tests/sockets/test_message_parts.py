"""Messages in parts: `receive_mode` PARTIAL_MESSAGE, by events and by `receive_part`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from tests.engine.pairs import PATIENCE, socket_and_peer
from tests.sockets.test_server_message_web_socket import REQUEST, serving

from moorings import MessagePart, MessageWebSocket, Uri, WebSocketCompression, accept_web_socket, errors
from moorings.protocols.web_error_status import INET_E_DISCONNECTED, WEB_E_RESOURCE_TOO_LARGE
from moorings.sockets.enums import MessageWebSocketReceiveMode, SocketMessageType

if TYPE_CHECKING:
    from moorings.sockets.server_message_web_socket import ServerMessageWebSocket

PARTIAL = MessageWebSocketReceiveMode.PARTIAL_MESSAGE
UTF8, BINARY = SocketMessageType.UTF8, SocketMessageType.BINARY


def frame(first: int, payload: bytes) -> bytes:
    return bytes([first, 0x80 | len(payload), 0, 0, 0, 0]) + payload


PIECES = [
    frame(0x01, "größ".encode()[:3]),
    frame(0x80, "größ".encode()[3:]),
    frame(0x82, b"") + frame(0x81, b"whole"),
    frame(0x02, b"a") + frame(0x89, b"") + frame(0x00, b"b"),
    frame(0x80, b""),
]
PARTS = [
    (UTF8, b"gr\xc3", False),
    (UTF8, b"\xb6\xc3\x9f", True),
    (BINARY, b"", True),
    (UTF8, b"whole", True),
    (BINARY, b"a", False),
    (BINARY, b"b", False),
    (BINARY, b"", True),
]


async def test_parts_come_as_they_came() -> None:
    async with asyncio.timeout(PATIENCE), socket_and_peer() as (ours, peer):
        peer.sendall(REQUEST)
        web_socket = await accept_web_socket(ours, receive_mode=PARTIAL)
        waiting = [web_socket.receive_part() for _ in PARTS]
        for piece in PIECES:
            peer.sendall(piece)
        parts = [await part for part in waiting]
        assert parts == PARTS
        assert all(type(part) is MessagePart for part in parts)
        for member in (web_socket.receive, lambda: anext(web_socket)):
            with pytest.raises(OSError, match="receive_part") as caught:
                await member()
            assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        web_socket.abort()


async def test_parts_come_as_events() -> None:
    seen: list[Any] = []
    ended = asyncio.Event()
    async with asyncio.timeout(PATIENCE), socket_and_peer() as (ours, peer):
        peer.sendall(REQUEST + b"".join(PIECES))
        web_socket = await accept_web_socket(ours, receive_mode=PARTIAL)

        def on_message(_sender: Any, args: Any) -> None:
            reader = args.get_data_reader()
            count = reader.unconsumed_buffer_length
            data = bytes(reader.read_byte() for _ in range(count))
            assert args.data == data
            assert ("message" if args.is_message_complete else "part") in repr(args)
            seen.append((args.message_type, data, args.is_message_complete))
            if len(seen) == len(PARTS):
                ended.set()

        web_socket.add_message_received(on_message)
        await ended.wait()
        assert seen == PARTS
        web_socket.abort()


async def test_the_limit_counts_for_all_parts_together() -> None:
    for by_event in (False, True):
        async with asyncio.timeout(PATIENCE), socket_and_peer() as (ours, peer):
            peer.sendall(REQUEST + frame(0x02, b"x" * 60) + frame(0x00, b"x" * 40) + frame(0x80, b"x"))
            web_socket = await accept_web_socket(ours, receive_mode=PARTIAL, max_message_size=100)
            events: asyncio.Queue[Any] = asyncio.Queue()
            if by_event:
                web_socket.add_message_received(lambda _sender, args, events=events: events.put_nowait(args))
            got = b""
            for _ in range(2):
                got += (await events.get()).data if by_event else (await web_socket.receive_part()).data
            assert got == b"x" * 100
            if by_event:
                args = await events.get()
                assert not args.is_message_complete
                with pytest.raises(OSError, match="100 are allowed") as caught:
                    args.get_data_reader()
            else:
                with pytest.raises(OSError, match="100 are allowed") as caught:
                    await web_socket.receive_part()
            assert caught.value.winerror == WEB_E_RESOURCE_TOO_LARGE
            web_socket.abort()


@pytest.mark.parametrize("compression", [False, WebSocketCompression()], ids=["plain", "compressed"])
async def test_a_big_message_of_another_implementation_comes_in_parts(compression: Any) -> None:
    message = b"".join(number.to_bytes(4, "big") for number in range(200_000))
    parts: list[MessagePart] = []

    async def handle(web_socket: ServerMessageWebSocket) -> None:
        while not parts or not parts[-1].is_message_complete:
            parts.append(await web_socket.receive_part())
        await web_socket.send("done")
        with pytest.raises(OSError, match="1000") as caught:
            await web_socket.receive_part()
        assert caught.value.winerror == INET_E_DISCONNECTED

    async with (
        asyncio.timeout(PATIENCE),
        serving(handle, receive_mode=PARTIAL, compression=compression) as url,
        websockets.connect(url) as client,
    ):
        await client.send(message)
        assert await client.recv() == "done"
    assert b"".join(part.data for part in parts) == message
    assert len(parts) > 2
    assert {part.is_message_complete for part in parts[:-1]} == {False}


async def test_whole_messages_have_no_parts() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.sendall(REQUEST)
        web_socket = await accept_web_socket(ours)
        with pytest.raises(OSError, match=r"receive\(\)") as caught:
            await web_socket.receive_part()
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        web_socket.abort()
    with pytest.raises(TypeError, match="receive_mode"):
        async with socket_and_peer() as (ours, _peer):
            await accept_web_socket(ours, receive_mode="parts")  # type: ignore[arg-type]


@pytest.mark.parametrize("by_event", [False, True])
async def test_a_message_web_socket_gets_parts_where_its_control_says_so(by_event: bool) -> None:
    parts: list[Any] = []
    ended = asyncio.Event()

    def on_message(_sender: Any, args: Any) -> None:
        parts.append((args.message_type, args.data, args.is_message_complete))
        if args.is_message_complete:
            ended.set()

    async def handle(web_socket: ServerMessageWebSocket) -> None:
        await web_socket.send(b"x" * 300_000)
        await web_socket.receive()

    async with asyncio.timeout(PATIENCE), serving(handle) as url:
        client = MessageWebSocket()
        assert client.control.receive_mode == MessageWebSocketReceiveMode.FULL_MESSAGE
        client.control.receive_mode = PARTIAL
        assert client.control.receive_mode == PARTIAL
        if by_event:
            client.add_message_received(on_message)
        await client.connect_async(Uri(url))
        with pytest.raises(OSError, match="receive_mode") as caught:
            client.control.receive_mode = PARTIAL
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        if by_event:
            await ended.wait()
        else:
            while not parts or not parts[-1].is_message_complete:
                parts.append(await client.receive_part())
        await client.send("done")
        await client.aclose()
    assert b"".join(part[1] for part in parts) == b"x" * 300_000
    assert len(parts) > 1
    assert {part[0] for part in parts} == {BINARY}
