"""Compression, limits and counters of WebSockets, with `websockets` as the peer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import websockets
from tests.engine.pairs import PATIENCE, socket_pair, until
from tests.sockets.test_server_message_web_socket import echo, serving
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from moorings import WebSocketCompression, accept_web_socket, errors
from moorings.engine.web_socket_life import FRAME_TIMEOUT
from moorings.protocols.web_socket_deflate import DeflateSettings, server_settings
from moorings.protocols.web_socket_frames import MESSAGE_LIMIT
from moorings.sockets.web_socket_settings import WebSocketSizes, deflate_settings

if TYPE_CHECKING:
    from moorings.sockets.server_message_web_socket import ServerMessageWebSocket

SMALL = WebSocketCompression(window_bits=9, peer_window_bits=10, context_takeover=True, smallest=0)


def test_settings_by_role() -> None:
    assert deflate_settings(False, True) is deflate_settings(False, False) is None
    assert deflate_settings(True, False) == server_settings()
    mixed = WebSocketCompression(9, 10, True, False, 1, 2, 3)
    assert deflate_settings(mixed, False) == DeflateSettings(False, True, 9, 10, 2, 3, 1)
    assert deflate_settings(mixed, True) == DeflateSettings(True, False, 10, 9, 2, 3, 1)
    with pytest.raises(OSError, match="window_bits is 8") as caught:
        deflate_settings(mixed._replace(window_bits=8), True)
    assert getattr(caught.value, "winerror", 0) == errors.E_INVALIDARG
    with pytest.raises(TypeError, match="a bool or a WebSocketCompression"):
        deflate_settings("yes", True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", WebSocketSizes._fields)
@pytest.mark.parametrize("wrong", [0, -1, 1 << 64, 1.0, "1", True])
def test_sizes_out_of_range_are_refused(name: str, wrong: Any) -> None:
    with pytest.raises(OSError, match=name) as caught:
        WebSocketSizes(**{name: wrong}).check()
    assert getattr(caught.value, "winerror", 0) == errors.E_INVALIDARG


async def test_wrong_settings_leave_the_socket_alone() -> None:
    async with socket_pair() as (ours, theirs):
        with pytest.raises(OSError, match="max_frame_size"):
            await accept_web_socket(ours, max_frame_size=0)
        with pytest.raises(OSError, match="level"):
            await accept_web_socket(ours, compression=WebSocketCompression(level=10))
        await ours.write(b"fine")
        assert await theirs.read_exactly(4) == b"fine"


@pytest.mark.parametrize("theirs", ["default", "all"])
@pytest.mark.parametrize("compression", [True, SMALL], ids=["default", "small"])
async def test_it_compresses_with_another_implementation(compression: Any, theirs: str) -> None:
    factory = ClientPerMessageDeflateFactory(
        client_max_window_bits=True,
        **({} if theirs == "default" else {"server_max_window_bits": 9, "server_no_context_takeover": True}),
    )
    async with (
        asyncio.timeout(PATIENCE),
        serving(echo, compression=compression) as url,
        websockets.connect(url, compression=None, extensions=[factory]) as client,
    ):
        assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"]
        for message in ("", "größer " * 100, b"", b"\0\1", "x" * 70_000, bytes(range(256)) * 1000, "größer " * 100):
            await client.send(message)
            assert await client.recv() == message
        await client.send(["in " * 100, "many ", "parts"])
        assert await client.recv() == "in " * 100 + "many parts"


async def test_it_does_not_compress_unless_asked_by_both() -> None:
    async with asyncio.timeout(PATIENCE), serving(echo) as url, websockets.connect(url) as client:
        assert client.protocol.extensions == []
    async with (
        asyncio.timeout(PATIENCE),
        serving(echo, compression=True) as url,
        websockets.connect(url, compression=None) as client,
    ):
        assert client.protocol.extensions == []
        await client.send("x" * 1000)
        assert await client.recv() == "x" * 1000


@pytest.mark.parametrize(
    ("limits", "payload"),
    [
        ({"max_message_size": 1000}, "x" * 1001),
        ({"max_frame_size": 500}, "x" * 501),
        ({"max_message_size": 1000, "compression": True}, "x" * 1001),
        ({"max_inflated_message_size": 1000, "compression": True}, "x" * 1001),
        ({"max_inflation_ratio": 10, "compression": True}, "x" * 2_000_000),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else str(len(value)),
)
async def test_the_four_limits(limits: Any, payload: str) -> None:
    failures: list[Any] = []

    async def handle(web_socket: ServerMessageWebSocket) -> None:
        with pytest.raises(OSError, match="close code 1009"):
            await web_socket.receive()
        failures.append(web_socket.counters.protocol_failures)
        await web_socket.aclose()

    async with asyncio.timeout(PATIENCE), serving(handle, **limits) as url, websockets.connect(url) as client:
        await client.send(payload)
        with pytest.raises(websockets.ConnectionClosedError) as caught:
            await client.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009
        await until(lambda: failures)
    assert failures == [1]


async def test_limits_may_change_and_counters_count() -> None:
    seen: list[Any] = []

    async def handle(web_socket: ServerMessageWebSocket) -> None:
        limits = web_socket.limits
        seen.append((limits.max_message_size, limits.max_frame_size, limits.max_inflated_message_size))
        assert limits.max_inflation_ratio == 200
        limits.max_message_size = limits.max_frame_size = 2000
        limits.max_inflated_message_size = 3000
        limits.max_inflation_ratio = 20
        limits.close_wait = 3.0
        assert (limits.max_inflated_message_size, limits.max_inflation_ratio, limits.close_wait) == (3000, 20, 3.0)
        assert limits.write_queue_limit == 67108864
        assert limits.frame_timeout == FRAME_TIMEOUT
        limits.frame_timeout = 12.0
        assert limits.frame_timeout == 12.0
        for name in ("max_message_size", "max_frame_size", "max_inflated_message_size", "max_inflation_ratio"):
            for wrong in (0, 1 << 63):
                with pytest.raises(ValueError, match=name):
                    setattr(limits, name, wrong)
            with pytest.raises(TypeError):
                setattr(limits, name, "1")
        for wrong in (-1, float("inf"), float("nan")):
            for name in ("close_wait", "frame_timeout"):
                with pytest.raises(ValueError, match=name):
                    setattr(limits, name, wrong)
        async for message in web_socket:
            assert web_socket.counters.waiting_messages == 0
            await web_socket.send(message)
        seen.append(web_socket.counters)
        await web_socket.aclose()

    async with asyncio.timeout(PATIENCE), serving(handle, compression=True) as url:
        async with websockets.connect(url) as client:
            for text in ("x" * 3000, "y", "z" * 1000):
                await client.send(text)
                assert await client.recv() == text
            await (await client.ping())
            await client.close()
        await until(lambda: len(seen) == 2)
    assert seen[0] == (MESSAGE_LIMIT,) * 3
    counters = seen[1]
    assert (counters.messages_received, counters.messages_sent) == (3, 3)
    assert counters.inflated_bytes == 4001
    assert counters.deflated_bytes == 4000
    assert 0 < counters.payload_received < 200
    assert 0 < counters.payload_sent < 200
    assert counters.bytes_received > counters.payload_received
    assert (counters.pings_received, counters.pings_waiting, counters.pings_unanswered) == (1, 0, 0)
    assert counters.queued_bytes in {0, 4}  # the answer to the close frame
    assert (counters.unfinished_bytes, counters.waiting_bytes) == (0, 0)
    assert (counters.writes_refused, counters.times_paused, counters.messages_discarded) == (0, 0, 0)
    assert (counters.protocol_failures, counters.compression_memory) == (0, 0)


async def test_without_compression_its_limits_are_zero_and_cannot_be_set() -> None:
    async def handle(web_socket: ServerMessageWebSocket) -> None:
        limits = web_socket.limits
        limits.max_inflated_message_size = limits.max_inflation_ratio = 7
        counters = web_socket.counters
        await web_socket.send(
            f"{limits.max_inflated_message_size} {limits.max_inflation_ratio} "
            f"{counters.inflated_bytes} {counters.deflated_bytes} {counters.compression_memory}"
        )
        await web_socket.aclose()

    async with asyncio.timeout(PATIENCE), serving(handle) as url, websockets.connect(url) as client:
        assert await client.recv() == "0 0 0 0 0"


async def test_kept_contexts_show_in_the_counters() -> None:
    async def handle(web_socket: ServerMessageWebSocket) -> None:
        await web_socket.send(await web_socket.receive())
        await web_socket.send(str(web_socket.counters.compression_memory))
        await web_socket.aclose()

    keep = WebSocketCompression(9, 9, True, True, memory_level=1)
    async with (
        asyncio.timeout(PATIENCE),
        serving(handle, compression=keep) as url,
        websockets.connect(url) as client,
    ):
        await client.send("x" * 1000)
        assert await client.recv() == "x" * 1000
        memory = int(str(await client.recv()))
    # A window of 512 bytes with what zlib needs beside it, and four times that with a table of 1 KiB.
    assert 7000 < memory < 20_000
