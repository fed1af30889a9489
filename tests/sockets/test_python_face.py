"""The Python face of a connected socket: reading, writing, cancelling, fairness, use from other loops and threads."""

from __future__ import annotations

import asyncio
import threading
from array import array
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import (
    PATIENCE,
    connected_sockets,
    receive,
    socket_and_peer,
    socket_pair,
    turns,
    until,
)

from moorings import EndReason, StreamSocket, errors
from moorings.foundation.home import IMMEDIATE_LIMIT
from winrt.windows.storage.streams import Buffer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator


# -- reading ---------------------------------------------------------------------------------------------------------


async def test_read_gives_what_is_there() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.send(b"hello world")
        assert await ours.read(5) == b"hello"
        assert await ours.read(0) == b""
        assert await ours.read() == b" world"
        assert type(await asyncio.gather(ours.read(), send_later(peer, b"x"))) is list


async def send_later(peer: Any, data: bytes) -> None:
    await turns(3)
    peer.send(data)


async def test_read_exactly_waits_for_all() -> None:
    async with socket_and_peer() as (ours, peer):
        reading = asyncio.create_task(ours.read_exactly(6))
        for byte in b"abcdef":
            assert not reading.done()
            peer.send(bytes([byte]))
            await until(lambda: ours.counters.unread_bytes or reading.done())
            await turns(2)
        assert await reading == b"abcdef"


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"--end--"])
async def test_read_until_finds_a_separator_that_was_split_anywhere(separator: bytes) -> None:
    async with socket_and_peer() as (ours, peer):
        for cut in range(len(separator) + 1):
            reading = asyncio.create_task(ours.read_until(separator))
            peer.send(b"text" + separator[:cut])
            await turns(4)
            peer.send(separator[cut:] + b"more")
            assert await reading == b"text" + separator
            assert await ours.read_exactly(4) == b"more"


async def test_read_until_with_a_limit() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.send(b"12345678\n")
        with pytest.raises(asyncio.LimitOverrunError) as caught:
            await ours.read_until(b"\n", 8)
        assert caught.value.consumed == 9
        assert await ours.read_until(b"\n", 9) == b"12345678\n"
        peer.send(b"no end in sight")
        with pytest.raises(asyncio.LimitOverrunError):
            await ours.read_until(b"\n", 8)
        assert await ours.read_exactly(15) == b"no end in sight"


async def test_lines() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.send(b"one\ntwo\r\n\n\r\nthr\ree\nlast")
        peer.close()
        assert [line async for line in ours.lines()] == [b"one", b"two", b"", b"", b"thr\ree", b"last"]


async def test_lines_with_a_limit_and_a_break() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.send(b"short\n" + b"x" * 100 + b"\nrest\n")
        async for line in ours.lines(50):
            assert line == b"short"
            break
        with pytest.raises(asyncio.LimitOverrunError):
            _ = [line async for line in ours.lines(50)]
        assert await ours.read_until(b"\n") == b"x" * 100 + b"\n"
        assert await ours.read_exactly(5) == b"rest\n"


READS: list[Callable[[StreamSocket], Awaitable[bytes]]] = [
    lambda ours: ours.read(5),
    lambda ours: ours.read_exactly(5),
    lambda ours: ours.read_until(b"\n"),
    lambda ours: anext(ours.lines()),
]


@pytest.mark.parametrize("read", READS, ids=["read", "read_exactly", "read_until", "lines"])
async def test_a_second_read_is_refused_and_harms_nobody(read: Callable[[StreamSocket], Awaitable[bytes]]) -> None:
    async with socket_and_peer() as (ours, peer):
        first = asyncio.create_task(ours.read_exactly(4))
        await turns(1)
        with pytest.raises(OSError, match="another read is pending") as caught:
            await read(ours)
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        peer.send(b"data")
        assert await first == b"data"


@pytest.mark.parametrize("read", READS, ids=["read", "read_exactly", "read_until", "lines"])
@pytest.mark.parametrize("parts", [[b"da"], [b"da", b"ta"], [b"data\n"]])
async def test_a_read_cancelled_at_any_turn_takes_nothing(
    read: Callable[[StreamSocket], Awaitable[bytes]], parts: list[bytes]
) -> None:
    """Also when the cancelling comes between the completion and the wake-up."""
    for count in range(8):
        async with socket_and_peer() as (ours, peer):
            reading = asyncio.ensure_future(read(ours))
            for number, part in enumerate(parts):
                peer.send(part)
                await turns(count if number == len(parts) - 1 else 2)
            taken = b""
            if reading.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await reading
            else:
                taken = reading.result()
                if not taken.endswith(b"\n") and read is READS[3]:
                    taken += b"\n"  # lines() leaves the end out
            peer.send(b".")
            rest = b"".join(parts)[len(taken) :] + b"."
            assert await ours.read_exactly(len(rest)) == rest
            assert ours.end_reason == EndReason.OPEN


async def test_timeout_around_a_read_keeps_the_connection() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.send(b"half")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ours.read_exactly(8)
        peer.send(b"done")
        assert await ours.read_exactly(8) == b"halfdone"


async def test_two_readers_never_see_a_false_end() -> None:
    """One that is woken for bytes that another has taken meanwhile goes on waiting."""
    async with socket_and_peer() as (ours, peer):
        loop = asyncio.get_running_loop()
        # Tasks written in Python are woken a loop turn later, and not at once.
        first: Any = asyncio.tasks._PyTask(ours.read(), loop=loop)  # type: ignore[attr-defined]
        await turns(2)
        stream = ours._connection.stream
        peer.send(b"for the second")
        await until(stream.stash_size)
        assert not first.done()
        assert await ours.read() == b"for the second"
        await turns(5)
        assert not first.done()
        peer.send(b"for the first")
        assert await first == b"for the first"


async def test_a_reader_of_a_full_buffer_lets_others_run() -> None:
    """Reads that would never wait give way after 64 of them."""
    async with socket_and_peer() as (ours, peer):
        data = bytes(4096)
        await asyncio.get_running_loop().sock_sendall(peer, data)
        await until(lambda: ours.counters.bytes_received == 0)
        assert await ours.read_exactly(1) == b"\0"
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while ours.counters.unread_bytes:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        reads = 0
        while ours.counters.unread_bytes:
            await ours.read(1)
            reads += 1
        await ticking
        assert ticks >= reads // IMMEDIATE_LIMIT - 1


# -- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"1234",
        bytearray(b"1234"),
        memoryview(b"1234"),
        memoryview(b"1x2x3x4x")[::2],
        memoryview(b"1234").cast("B", (2, 2)),
        array("B", b"1234"),
    ],
)
async def test_write_takes_bytes_like_objects(data: Any) -> None:
    async with socket_and_peer() as (ours, peer):
        assert await ours.write(data) == 4
        assert await receive(peer, 4) == b"1234"


@pytest.mark.parametrize("data", [b"", bytearray(), array("I")])
async def test_write_of_nothing(data: Any) -> None:
    async with socket_and_peer() as (ours, _):
        assert await ours.write(data) == 0


async def test_write_takes_a_buffer_and_copies_what_may_change() -> None:
    async with socket_and_peer() as (ours, peer):
        buffer = Buffer(10)
        buffer.length = 4
        memoryview(buffer)[:] = b"1234"
        mutable = bytearray(b"5678")
        ours.write(buffer)
        ours.write(mutable)
        memoryview(buffer)[:] = b"xxxx"
        mutable[:] = b"xxxx"
        await ours.flush()
        assert await receive(peer, 8) == b"12345678"


async def test_cancelled_write_stays_queued() -> None:
    async with socket_and_peer(send_buffer=4096, receive_buffer=4096) as (ours, peer):
        data = bytes(range(256)) * 4096

        async def write() -> None:
            await ours.write(data)

        writing = asyncio.create_task(write())
        await until(lambda: ours.counters.bytes_sent > 0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        ours.write(b"behind")
        assert await receive(peer, len(data) + 6) == data + b"behind"
        assert ours.end_reason == EndReason.OPEN


async def test_flush_waits_and_may_be_cancelled() -> None:
    async with socket_and_peer(send_buffer=4096, receive_buffer=4096) as (ours, peer):
        await ours.flush()
        ours.write(bytes(1 << 20))
        flushing = asyncio.create_task(ours.flush())
        await turns(3)
        flushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flushing
        flushing = asyncio.create_task(ours.flush())
        assert len(await receive(peer, 1 << 20)) == 1 << 20
        await flushing
        assert ours.counters.queued_bytes == 0


# -- other loops and threads -----------------------------------------------------------------------------------------


class OtherLoop:
    """An event loop on a thread of its own, where the test's sockets do not live."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="other loop")

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))


@contextmanager
def other_loop() -> Iterator[OtherLoop]:
    other = OtherLoop()
    other.thread.start()
    try:
        yield other
    finally:
        other.loop.call_soon_threadsafe(other.loop.stop)
        other.thread.join()
        other.loop.close()


async def use_everything(ours: StreamSocket) -> list[object]:
    """Read and write with every member of the Python face."""
    await ours.write(b"request")
    ours.write(b" and more")
    await ours.flush()
    found: list[object] = [await ours.read_exactly(4), await ours.read_until(b"\n"), await ours.read(100)]
    ours.end_writing()
    await ours.flush()
    found.extend([line async for line in ours.lines()])
    await ours.aclose()
    return found


async def test_every_member_from_another_loop() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.send(b"text line\nrest")
        with other_loop() as other:
            using = asyncio.create_task(other.run(use_everything(ours)))
            assert await receive(peer, 16) == b"request and more"
            await until(lambda: ours.counters.unread_bytes == 0 and ours.counters.bytes_received == 14)
            peer.send(b"one\ntwo\n")
            peer.shutdown(1)
            assert await using == [b"text", b" line\n", b"rest", b"one", b"two"]
        assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""
        assert ours.end_reason == EndReason.CLOSED_BY_PEER


async def test_errors_cross_loops_unchanged() -> None:
    async with socket_and_peer() as (ours, peer):
        with other_loop() as other:
            peer.send(b"abc")
            peer.shutdown(1)
            with pytest.raises(asyncio.IncompleteReadError) as incomplete:
                await other.run(ours.read_exactly(5))
            assert incomplete.value.partial == b"abc"
            with pytest.raises(ValueError, match="negative"):
                await other.run(ours.read(-1))
            ours.close()
            with pytest.raises(OSError) as caught:
                await other.run(ours.read())
            assert caught.value.winerror == errors.RO_E_CLOSED


async def cancelled_after(turns_before: int, ours: StreamSocket, go: threading.Event) -> bytes:
    """On the other loop: start a read, let the test send, cancel; what it took all the same."""
    reading = asyncio.ensure_future(ours.read_exactly(3))
    await asyncio.sleep(0)
    go.set()
    for _ in range(turns_before):
        await asyncio.sleep(0)
    reading.cancel()
    try:
        return await reading
    except asyncio.CancelledError:
        return b""


async def test_a_read_cancelled_on_another_loop_loses_nothing() -> None:
    """The cancelling and the bytes may cross between the two threads."""
    with other_loop() as other:
        for count in range(30):
            async with socket_and_peer() as (ours, peer):
                go = threading.Event()
                running = asyncio.create_task(other.run(cancelled_after(count * 3, ours, go)))
                await until(go.is_set)
                peer.send(b"abc")
                taken = await running
                peer.send(b".")
                rest = b"abc"[len(taken) :] + b"."
                stream = ours._connection.stream
                await until(lambda: not stream.reading())  # noqa: B023 - the cancelling is on its way
                assert await ours.read_exactly(len(rest)) == rest


async def test_async_operations_from_another_loop_and_thread() -> None:
    async with socket_pair() as (first, second):
        with other_loop() as other:

            async def exchange() -> bytes:
                await first.output_stream.write_async(b"ping")
                await first.output_stream.flush_async()
                return bytes(await second.input_stream.read_async(Buffer(4), 4, 0))

            assert await other.run(exchange()) == b"ping"

            async def cancel() -> str:
                reading = first.input_stream.read_async(Buffer(4), 4, 0)
                waiting = asyncio.ensure_future(wait_for(reading))
                await asyncio.sleep(0)
                await first.cancel_io_async()
                return await waiting

            assert await other.run(cancel()) == "ERROR_OPERATION_ABORTED"

        def block() -> bytes:
            second.output_stream.write_async(b"pong").get()
            return bytes(first.input_stream.read_async(Buffer(4), 4, 0).get())

        assert await asyncio.to_thread(block) == b"pong"


async def wait_for(operation: Any) -> str:
    try:
        await operation
    except OSError as error:
        return errors.hresult_name(error.winerror)  # type: ignore[attr-defined]
    return ""


async def test_close_abort_and_detach_from_another_thread() -> None:
    for end in ("close", "abort", "detach"):
        plain, peer = connected_sockets()
        ours = StreamSocket.from_socket(plain)
        given_away = await asyncio.to_thread(getattr(ours, end))
        if given_away is not None:
            StreamSocket.from_socket(given_away.fd).abort()
        with peer:
            try:
                assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""
            except ConnectionResetError:
                assert end != "close"
        with pytest.raises(OSError) as caught:
            ours.write(b"x")
        assert caught.value.winerror == errors.RO_E_CLOSED


async def test_one_thread_of_two_wins_a_connect() -> None:
    from tests.sockets.peers import plain_listener, port_of

    from winrt.windows.networking import HostName

    with plain_listener() as listening:
        for _ in range(20):
            ours = StreamSocket()
            barrier = threading.Barrier(2)

            def connect(ours: StreamSocket = ours, barrier: threading.Barrier = barrier) -> str:
                barrier.wait()
                try:
                    ours.connect_async(HostName("127.0.0.1"), port_of(listening)).get()
                except OSError as error:
                    return errors.hresult_name(error.winerror)  # type: ignore[attr-defined]
                return "connected"

            outcomes = await asyncio.gather(asyncio.to_thread(connect), asyncio.to_thread(connect))
            assert sorted(outcomes) == ["E_ILLEGAL_METHOD_CALL", "connected"]
            await ours.aclose()
            listening.accept()[0].close()
