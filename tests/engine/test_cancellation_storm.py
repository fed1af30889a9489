"""Cancelling at every loop turn under a checksum stream: what the two faces promise."""

from __future__ import annotations

import asyncio
import hashlib
import random
from typing import TYPE_CHECKING

import pytest
from tests.engine.pairs import socket_pair

from moorings import Buffer, EndReason, StreamSocket, errors

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

SIZE = 300_000
TURNS = 7
"""More loop turns than any of these calls takes from its start to the resumption of its task."""

READS: dict[str, Callable[[StreamSocket], Coroutine[object, object, bytes]]] = {
    "read": lambda stream: stream.read(1000),
    "read_exactly": lambda stream: stream.read_exactly(700),
    "read_until": lambda stream: stream.read_until(b"\n", 100_000),
}


def stream_of_lines(seed: int) -> bytes:
    source = random.Random(seed)
    data = bytearray()
    while len(data) < SIZE:
        data += source.randbytes(source.randrange(1, 200)).replace(b"\n", b"x") + b"\n"
    return bytes(data)


async def send(stream: StreamSocket, data: bytes) -> None:
    """Write in odd pieces; every third write is cancelled, which leaves it queued, and so are some flushes."""
    source = random.Random(5)
    start = 0
    while start < len(data):
        stop = start + source.randrange(1, 3000)
        piece = data[start:stop]
        start = stop

        async def write(piece: bytes = piece) -> None:
            await stream.write(piece)

        task = asyncio.create_task(write())
        await asyncio.sleep(0)  # it has begun: the bytes are queued
        if source.randrange(3) == 0:
            task.cancel()
        await asyncio.wait([task])
        if source.randrange(4) == 0:
            flushing = asyncio.create_task(stream.flush())
            await asyncio.sleep(0)
            flushing.cancel()
            await asyncio.wait([flushing])
    await stream.flush()
    stream.end_writing()


async def storm(client: StreamSocket, server: StreamSocket, method: str, data: bytes) -> None:
    """Send and receive, with cancelled calls on both sides: no byte is lost or comes twice."""
    received = hashlib.sha256()
    count = cancelled = number = 0
    async with asyncio.TaskGroup() as group:
        group.create_task(send(client, data))
        while True:
            task = asyncio.create_task(READS[method](server))
            for _ in range(number % TURNS):
                await asyncio.sleep(0)
            number += 1
            task.cancel()
            try:
                piece = await task
            except asyncio.CancelledError:
                cancelled += 1
                continue
            except asyncio.IncompleteReadError as error:
                piece = error.partial
                received.update(piece)
                count += len(piece)
                break
            if not piece:
                break
            received.update(piece)
            count += len(piece)
        assert server.end_reason == EndReason.CLOSED_BY_PEER
    assert cancelled > 20
    assert (count, received.hexdigest()) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("method", READS)
async def test_the_python_face_loses_and_repeats_no_byte(method: str) -> None:
    async with socket_pair() as (client, server):
        await storm(client, server, method, stream_of_lines(1))


async def cancelled_read(client: StreamSocket, server: StreamSocket, turns: int, arrives: bool) -> None:
    """Cancel a read_async after some turns: it has ended, or the connection has."""
    buffer = Buffer(4096)

    async def read() -> int:
        await server.input_stream.read_async(buffer, 4096, 1)
        return buffer.length

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    if arrives:
        await client.write(b"something")
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    try:
        assert await task == len(b"something")
    except asyncio.CancelledError:
        if buffer.length:
            # It had ended, and its task was cancelled before it could go on: the bytes are in the buffer.
            assert bytes(buffer) == b"something"
            assert server.end_reason == EndReason.OPEN
            return
        with pytest.raises(OSError) as caught:
            _ = server.input_stream
        assert caught.value.winerror == errors.RO_E_CLOSED  # type: ignore[attr-defined]
        try:
            assert await client.read() == b""
        except ConnectionResetError:
            assert arrives  # bytes were left unread
    else:
        # It had ended before the cancel: the connection lives.
        await client.write(b"more")
        assert await server.read() == b"more"


@pytest.mark.parametrize("turns", range(TURNS))
@pytest.mark.parametrize("arrives", [False, True])
async def test_a_cancelled_read_async_takes_the_connection_down(turns: int, arrives: bool) -> None:
    async with socket_pair() as (client, server):
        await cancelled_read(client, server, turns, arrives)


async def test_timeouts_of_asyncio_end_as_they_should() -> None:
    async with socket_pair() as (client, server):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await server.read()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.read(), 0.01)
        await client.write(b"alive")
        assert await asyncio.shield(asyncio.ensure_future(server.read())) == b"alive"
        first, second = await asyncio.gather(client.write(b"a"), client.write(b"b"))
        assert (first, second) == (1, 1)
        assert await server.read_exactly(2) == b"ab"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.input_stream.read_async(Buffer(10), 10, 0), 0.01)
        assert server.information.local_port != ""
        with pytest.raises(OSError, match="closed"):
            _ = server.input_stream
