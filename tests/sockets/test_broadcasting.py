"""One message for many WebSockets: what each peer gets, and what becomes of those that do not keep up."""

from __future__ import annotations

import asyncio
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, socket_and_peer
from tests.engine.web_socket_pairs import RawPeer

import moorings
from moorings import Broadcaster, broadcast, errors
from moorings.protocols.web_socket_deflate import DeflateParameters, Deflater, server_settings
from moorings.sockets.broadcasting import BROADCAST_QUEUE_MARK
from moorings.sockets.server_message_web_socket import ServerMessageWebSocket, accept_web_socket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Peer(RawPeer):
    """A raw client behind its handshake."""

    async def read_answer(self) -> None:
        loop = asyncio.get_running_loop()
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await loop.sock_recv(self.plain, 1)


@asynccontextmanager
async def accepted(**buffers: int) -> AsyncIterator[tuple[ServerMessageWebSocket, Peer]]:
    async with socket_and_peer(**buffers) as (ours, plain):
        plain.sendall(REQUEST)
        web_socket = await accept_web_socket(ours)
        peer = Peer(plain, client=True)
        peer.is_client = True
        await peer.read_answer()
        yield web_socket, peer


@asynccontextmanager
async def one_that_is_behind() -> AsyncIterator[tuple[ServerMessageWebSocket, Peer]]:
    """Its peer reads nothing, and more than the mark is queued."""
    async with accepted(send_buffer=4096, receive_buffer=4096) as (web_socket, peer):
        web_socket.send(bytes(8 * BROADCAST_QUEUE_MARK))
        await asyncio.sleep(0)
        assert web_socket._link.stream.queued_bytes > BROADCAST_QUEUE_MARK
        yield web_socket, peer


async def test_each_gets_the_message_in_its_order() -> None:
    async with accepted() as (first, one), accepted() as (second, two):
        first.send("before")
        for message in ("größer", b"bytes", bytearray(b"array"), b"", "x" * 70_000):
            assert broadcast([first, second], message) == (2, 0, 0, 0, ())
        second.send("behind")
        assert await one.next() == "before"
        for peer in (one, two):
            assert [await peer.next() for _ in range(5)] == ["größer", b"bytes", b"array", b"", "x" * 70_000]
        assert await two.next() == "behind"


async def test_the_frame_is_the_same_object_in_all_queues() -> None:
    async with accepted() as (first, _one), accepted() as (second, _two):
        broadcast(iter([first, second]), "shared")
        queued = [each._link.stream.write_head.buffer for each in (first, second)]
        assert queued[0] is queued[1]
        assert queued[0] == b"\x81\x06shared"
        sender = first._link.sender
        assert (sender.messages_sent, sender.frames_sent, sender.payload_sent) == (1, 1, 6)


async def test_a_peer_that_is_behind_is_skipped_and_the_others_are_not() -> None:
    async with one_that_is_behind() as (slow, _peer), accepted() as (fast, peer):
        result = broadcast([slow, fast], "news")
        assert result == (1, 1, 0, 0, (slow,))
        assert await peer.next() == "news"
        assert broadcast([slow], "news", mark=2**40).sent == 1
        queued = slow._link.stream.queued_bytes
        slow._link.stream.queue_limit = queued
        assert broadcast([slow], "news", mark=2**40).skipped == 1, "the queue's own limit holds, too"
        assert slow._link.stream.queued_bytes == queued
        assert not slow._link.stream.has_gap(), "nothing was refused: the program's own sends go on"


async def test_a_peer_that_is_behind_is_closed_where_the_program_says_so() -> None:
    async with one_that_is_behind() as (slow, peer):
        assert broadcast([slow], "news", overflow="close") == (0, 0, 1, 0, (slow,))
        assert broadcast([slow], "news", overflow="close").gone == 1
        assert len(await peer.next()) == 8 * BROADCAST_QUEUE_MARK
        assert await peer.next() == ("close", 1008, "too slow for what is sent")
        slow.abort()


async def test_a_message_over_the_mark_goes_to_whom_nothing_is_queued_for() -> None:
    async with accepted() as (web_socket, peer):
        assert broadcast([web_socket], b"123456789", mark=5).sent == 1
        assert broadcast([web_socket], b"1", mark=5).skipped == 1
        assert await peer.next() == b"123456789"


async def test_nothing_comes_between_the_frames_of_a_message() -> None:
    async with accepted() as (web_socket, peer):
        link = web_socket._link
        link.send_fragment(1, "one ", False, True)
        assert broadcast([web_socket], "news", overflow="close") == (0, 1, 0, 0, (web_socket,))
        link.send_fragment(1, "message", True, True)
        assert broadcast([web_socket], "news").sent == 1
        assert [await peer.next(), await peer.next()] == ["one message", "news"]


async def test_nothing_comes_behind_a_message_that_was_refused_unnoticed() -> None:
    async with one_that_is_behind() as (web_socket, _peer):
        web_socket._link.stream.queue_limit = 1
        refused = web_socket.send("lost")
        web_socket._link.stream.queue_limit = 2**40
        assert broadcast([web_socket], "news", mark=2**40).skipped == 1
        with pytest.raises(OSError, match="queued"):
            await refused
        assert broadcast([web_socket], "news", mark=2**40).sent == 1


async def test_those_that_have_ended_are_counted() -> None:
    async with accepted() as (closed, _one), accepted() as (left, two), accepted() as (reset, three):
        closed.close()
        two.plain.sendall(b"\x88\x80\0\0\0\0")
        with pytest.raises(OSError, match="1005"):
            await left.receive()
        three.plain.close()
        with pytest.raises(ConnectionError):
            await reset.receive()
        assert broadcast([closed, left, reset], "news") == (0, 0, 0, 3, ())
        closed.abort()


def compressing(web_socket: ServerMessageWebSocket, *, keeps_context: bool, bits: int = 12) -> Deflater:
    parameters = DeflateParameters(server_no_context_takeover=not keeps_context, server_max_window_bits=bits)
    made = Deflater(parameters, False, server_settings())
    web_socket._link.sender.deflater = made
    return made


async def test_it_is_compressed_once_for_each_set_of_parameters() -> None:
    text = "again and again " * 100
    async with accepted() as (first, _1), accepted() as (same, _2), accepted() as (other, _3), accepted() as (kept, _4):
        deflaters = [compressing(each, keeps_context=False) for each in (first, same)]
        compressing(other, keeps_context=False, bits=10)
        compressing(kept, keeps_context=True)
        broadcast([first, same, other, kept], text)
        frames = [each._link.stream.write_head.buffer for each in (first, same, other, kept)]
        assert frames[0] is frames[1]
        assert frames[2] is not frames[0]
        assert frames[3] == b"\x81\x7e\x06\x40" + text.encode()
        for frame, bits in ((frames[0], 12), (frames[2], 10)):
            assert frame[0] == 0xC1
            assert zlib.decompressobj(-bits).decompress(frame[2:] + b"\0\0\xff\xff") == text.encode()
        counted = {(deflater.bytes_in, deflater.bytes_out) for deflater in deflaters}
        assert counted == {(1600, len(frames[0]) - 2)}
        broadcast([first], "short")
        assert first._link.stream.write_tail.buffer == b"\x81\x05short"


async def test_clients_mask_each_their_own() -> None:
    async with accepted() as (first, _one), accepted() as (second, _two):
        for each in (first, second):
            each._link.sender.is_client = True
        assert broadcast([first, second], "masked").sent == 2
        frames = [each._link.stream.write_head.buffer for each in (first, second)]
        assert frames[0] != frames[1]
        for frame in frames:
            assert frame[:2] == b"\x81\x86"
            assert bytes(byte ^ frame[2 + place % 4] for place, byte in enumerate(frame[6:])) == b"masked"


async def test_from_another_thread_it_blocks_until_their_loop_has_done_it() -> None:
    async with accepted() as (web_socket, peer):
        result = await asyncio.to_thread(broadcast, [web_socket], "from elsewhere")
        assert result.sent == 1
        assert await peer.next() == "from elsewhere"


async def test_another_loop_may_not_wait_for_this_one() -> None:
    async def on_another_loop(web_socket: Any) -> None:
        broadcast([web_socket], "from elsewhere")

    async with accepted() as (web_socket, peer):
        with pytest.raises(OSError, match="another loop") as caught:
            await asyncio.to_thread(lambda: asyncio.run(on_another_loop(web_socket)))
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        assert broadcast([web_socket], "from here").sent == 1
        assert await peer.next() == "from here"


async def test_wrong_arguments_are_refused_and_nothing_is_sent() -> None:
    wrong: Any = "wait"
    async with accepted() as (web_socket, peer):
        with pytest.raises(ValueError, match="'skip' or 'close'"):
            broadcast([web_socket], "x", overflow=wrong)
        with pytest.raises(ValueError, match="mark"):
            broadcast([web_socket], "x", mark=-1)
        with pytest.raises(OSError, match="UTF-8") as caught:
            broadcast([web_socket], "\ud800")
        assert getattr(caught.value, "winerror", 0) == errors.E_INVALIDARG
        with pytest.raises(TypeError, match="web_sockets"):
            broadcast([web_socket, wrong], "x")
        with pytest.raises(TypeError, match="a message must be str or bytes-like, not int"):
            broadcast([web_socket], wrong and 7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match="overflow"):
            Broadcaster(overflow=wrong)
        broadcast([web_socket], "right")
        assert await peer.next() == "right"


async def test_a_hundred_sockets_get_it_without_a_task() -> None:
    async def accept(connection: Any) -> None:
        web_socket = await accept_web_socket(connection)
        room.add(web_socket)
        if len(room) == count:
            full.set()
        async for _ in web_socket:
            pass

    room = Broadcaster()
    full = asyncio.Event()
    count = 100
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE), moorings.listen("tcp://127.0.0.1:0", accept, drain_timeout=0) as listening:
        connections = [await moorings.connect(f"tcp://127.0.0.1:{listening.port}") for _ in range(count)]
        for connection in connections:
            await connection.write(REQUEST)
            await connection.read_until(b"\r\n\r\n")
        await full.wait()
        tasks = asyncio.all_tasks(loop)
        assert room.send("to all").sent == count
        assert asyncio.all_tasks(loop) == tasks
        for connection in connections:
            assert await connection.read_exactly(8) == b"\x81\x06to all"
            connection.abort()


async def test_a_room_forgets_those_that_have_ended() -> None:
    room = Broadcaster(overflow="close")
    async with accepted() as (first, one), accepted() as (second, _two), one_that_is_behind() as (slow, _peer):
        for each in (first, first, second, slow):
            room.add(each)
        assert len(room) == 3
        assert set(room) == {first, second, slow}
        assert room.send("news", without=[second]) == (1, 0, 1, 0, (slow,))
        assert await one.next() == "news"
        assert slow not in room
        with room.joined(slow):
            assert slow not in room, "it is closing"
        room.discard(second)
        with room.joined(second):
            assert second in room
        assert second not in room
        room.add(second)
        second.close()
        assert repr(room) == "<Broadcaster to 1>"
        assert room.send("more").sent == 1
        assert (room.sent, room.skipped, room.closed) == (2, 0, 1)
        with pytest.raises(TypeError):
            room.add("no WebSocket")
        second.abort()
        slow.abort()


async def test_a_room_to_which_nobody_speaks_does_not_grow() -> None:
    room = Broadcaster()
    for _ in range(1000):
        ended: Any = object.__new__(ServerMessageWebSocket)
        ended._link = FakeLink()
        room.add(ended)
        ended._link.stage = 4
    assert len(room._members) <= 128
    room.add(ended)
    assert ended not in room, "it has ended"


class FakeLink:
    """As much of one as a room looks at."""

    stage = 0
    write_error = None

    @property
    def stream(self) -> FakeLink:
        return self


async def test_one_that_is_not_open_yet_is_a_mistake() -> None:
    new = moorings.MessageWebSocket()
    async with accepted() as (web_socket, peer):
        for act in (lambda: broadcast([web_socket, new], "x"), lambda: Broadcaster().add(new)):
            with pytest.raises(OSError, match="while it is new") as caught:
                act()
            assert getattr(caught.value, "winerror", 0) == errors.E_ILLEGAL_METHOD_CALL
        broadcast([web_socket], "right")
        assert await peer.next() == "right"
