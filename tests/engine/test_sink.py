"""Streams that give what arrives instead of being read: TCP, TLS, TLS over another stream."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.layer_pairs import layered_pair
from tests.engine.pairs import PATIENCE, socket_and_peer, socket_pair
from tests.engine.tls_pairs import tls_pair

from moorings import Buffer, InputStreamOptions, StreamSocket, errors
from moorings.engine.interface import EndReason
from moorings.foundation.home import TURN_BYTES_LIMIT
from moorings.protocols.sink import Sink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

TRANSPORTS = ["TCP", "TLS 1.2", "TLS 1.3", "TLS over TLS"]


@asynccontextmanager
async def pair(transport: str) -> AsyncIterator[tuple[StreamSocket, StreamSocket]]:
    if transport == "TCP":
        opened: Any = socket_pair()
    elif transport == "TLS over TLS":
        opened = layered_pair("TLS 1.3", "TLS 1.3")
    else:
        opened = tls_pair(transport)
    async with opened as (ours, theirs):
        yield ours, theirs


class Collector(Sink):
    """Keeps what it is given."""

    def __init__(self, on_taken: Callable[[bytes], object] | None = None) -> None:
        super().__init__()
        self.data = bytearray()
        self.pieces = 0
        self.ends = 0
        self.changed = asyncio.Event()
        self.on_taken = on_taken

    def take(self, block: Any, count: int) -> None:
        self.take_bytes(bytes(memoryview(getattr(block, "view", block))[:count]))

    def take_bytes(self, data: bytes) -> None:
        self.data += data
        self.pieces += 1
        self.changed.set()
        if self.on_taken is not None:
            self.on_taken(data)

    def ended(self) -> None:
        self.ends += 1
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


def stream_of(connected: StreamSocket) -> Any:
    stream = connected._connection.stream
    assert stream is not None
    return stream


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_everything_arrives_in_order_and_then_the_end(transport: str) -> None:
    noise = random.Random(1).randbytes(3_000_000)
    async with pair(transport) as (ours, theirs):
        sink = Collector()
        stream_of(ours).give_to(sink)
        for start in range(0, len(noise), 70_001):
            await theirs.write(noise[start : start + 70_001])
        theirs.close()
        await sink.until(lambda: sink.ends > 0)
        assert hashlib.sha256(sink.data).digest() == hashlib.sha256(noise).digest()
        assert sink.ends == 1
        assert ours.end_reason == EndReason.CLOSED_BY_PEER
        assert stream_of(ours).bytes_received == len(noise)
        assert stream_of(ours).sink is None


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_no_piece_is_bigger_than_the_sink_takes(transport: str) -> None:
    noise = random.Random(2).randbytes(500_000)
    async with pair(transport) as (ours, theirs):
        biggest = 0

        def taken(data: bytes) -> None:
            nonlocal biggest
            biggest = max(biggest, len(data))

        sink = Collector(taken)
        sink.piece = 10_000
        stream_of(ours).give_to(sink)
        theirs.write(noise)
        theirs.close()
        await sink.until(lambda: sink.ends > 0)
        assert sink.data == noise
        assert biggest <= 10_000


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_nobody_has_read_comes_first(transport: str) -> None:
    async with pair(transport) as (ours, theirs):
        await theirs.write(b"line\nrest")
        assert await ours.read_until(b"\n") == b"line\n"
        sink = Collector()
        stream_of(ours).give_to(sink)
        assert sink.pieces == 0  # never in the middle of the call
        await theirs.write(b" and more")
        await sink.until(lambda: len(sink.data) == 13)
        assert sink.data == b"rest and more"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_paused_sink_gets_nothing_and_the_peer_has_to_wait(transport: str) -> None:
    async with pair(transport) as (ours, theirs):
        sink = Collector(lambda _data: setattr(sink, "paused", True))
        stream_of(ours).give_to(sink)
        size = 60_000_000  # more than the kernel keeps for both sides
        writing = asyncio.ensure_future(theirs.write(b"p" * size))
        await sink.until(lambda: sink.pieces > 0)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert sink.pieces == 1
        assert not writing.done()
        sink.on_taken = None
        sink.paused = False
        stream_of(ours).resume_sink()
        assert await writing == size
        await sink.until(lambda: len(sink.data) == size)


async def test_pausing_after_each_piece_loses_nothing() -> None:
    noise = random.Random(2).randbytes(2_000_000)
    async with socket_pair() as (ours, theirs):
        stream = stream_of(ours)

        def pause(_data: bytes) -> None:
            sink.paused = True
            asyncio.get_running_loop().call_soon(go_on)

        def go_on() -> None:
            sink.paused = False
            stream.resume_sink()

        sink = Collector(pause)
        stream.give_to(sink)
        await theirs.write(noise)
        await sink.until(lambda: len(sink.data) == len(noise))
        assert sink.data == noise


async def test_a_reset_ends_it_with_the_error() -> None:
    async with socket_and_peer() as (ours, peer):
        sink = Collector()
        stream_of(ours).give_to(sink)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        await sink.until(lambda: sink.ends > 0)
        assert isinstance(stream_of(ours).read_error, ConnectionResetError)
        assert ours.end_reason == EndReason.RESET


@pytest.mark.parametrize("transport", ["TLS 1.2", "TLS 1.3"])
async def test_a_truncated_stream_ends_it_with_the_error(transport: str) -> None:
    async with pair(transport) as (ours, theirs):
        sink = Collector()
        stream_of(ours).give_to(sink)
        await theirs.write(b"before")
        await sink.until(lambda: len(sink.data) == 6)
        socket.socket(fileno=stream_of(theirs).fd).detach()  # (the number is still theirs)
        with socket.socket(fileno=stream_of(theirs).fd) as borrowed:
            borrowed.shutdown(socket.SHUT_WR)
            borrowed.detach()
        await sink.until(lambda: sink.ends > 0)
        assert ours.end_reason == EndReason.TRUNCATED
        assert stream_of(ours).read_error is not None


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_ending_it_from_within_is_the_last_that_is_given(end: str) -> None:
    async with socket_pair() as (ours, theirs):
        sink = Collector(lambda _data: getattr(ours, end)())
        stream_of(ours).give_to(sink)
        await theirs.write(b"x" * 3_000_000)
        await sink.until(lambda: sink.pieces > 0)
        async with asyncio.timeout(PATIENCE):
            await stream_of(ours).wait_closed()
        assert sink.pieces == 1
        assert sink.ends == 0  # who ends the stream knows


async def test_one_sink_may_hand_over_to_the_next() -> None:
    async with socket_pair() as (ours, theirs):
        second = Collector()
        first = Collector(lambda _data: stream_of(ours).give_to(second))
        stream_of(ours).give_to(first)
        await theirs.write(b"one")
        await first.until(lambda: first.pieces == 1)
        await theirs.write(b"two")
        await second.until(lambda: second.pieces == 1)
        assert (first.data, second.data) == (b"one", b"two")


async def test_reads_go_on_after_it() -> None:
    async with socket_pair() as (ours, theirs):
        sink = Collector()
        stream_of(ours).give_to(sink)
        await theirs.write(b"one")
        await sink.until(lambda: sink.pieces == 1)
        stream_of(ours).give_to(None)
        await theirs.write(b"two")
        assert await ours.read_exactly(3) == b"two"


async def test_reading_and_giving_at_the_same_time_are_refused() -> None:
    async with socket_pair() as (ours, theirs):
        pending = asyncio.ensure_future(ours.read_exactly(3))
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="while a read is pending") as caught:
            stream_of(ours).give_to(Collector())
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        await theirs.write(b"one")
        assert await pending == b"one"
        sink = Collector()
        stream_of(ours).give_to(sink)
        for read in (ours.read(1), ours.input_stream.read_async(Buffer(1), 1, InputStreamOptions.NONE)):
            with pytest.raises(OSError, match="takes it all") as caught:
                await read
            assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        await theirs.write(b"two")
        await sink.until(lambda: sink.data == b"two")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_flood_lets_others_run(transport: str) -> None:
    """Within one turn no more is given than the budgets of its call-backs; then others have theirs."""
    async with pair(transport) as (ours, theirs):
        turn = 0
        given: dict[int, int] = {}

        def count(data: bytes) -> None:
            given[turn] = given.get(turn, 0) + len(data)

        sink = Collector(count)
        stream_of(ours).give_to(sink)
        size = 8_000_000
        writing = asyncio.ensure_future(theirs.write(b"f" * size))
        async with asyncio.timeout(PATIENCE):
            while len(sink.data) < size:
                turn += 1
                await asyncio.sleep(0)
        await writing
        assert max(given.values()) <= 4 * TURN_BYTES_LIMIT


@pytest.mark.parametrize("transport", ["TCP", "TLS 1.3"])
async def test_the_descriptor_stays_while_somebody_is_given_what_arrives(transport: str) -> None:
    async with pair(transport) as (ours, theirs):
        sink = Collector()
        stream_of(ours).give_to(sink)
        with pytest.raises(OSError, match=r"pending|TLS") as caught:
            stream_of(ours).detach()
        assert caught.value.winerror in {errors.E_ILLEGAL_METHOD_CALL, errors.ERROR_NOT_SUPPORTED}
        await theirs.write(b"goes on")
        await sink.until(lambda: sink.data == b"goes on")


async def test_the_base_has_nothing_to_say() -> None:
    sink = Sink()
    for call in (lambda: sink.take_bytes(b""), sink.ended):
        with pytest.raises(NotImplementedError):
            call()
