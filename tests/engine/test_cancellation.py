"""Every awaitable is cancelled, at every loop turn and between completion and wake-up, while a checksum stream runs.

The Python face loses and repeats no byte and keeps the connection. The `_async` names take it down, as documented.
"""

from __future__ import annotations

import asyncio
import random
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import (
    FIN,
    PATIENCE,
    RST,
    connected_sockets,
    ending,
    receive_ending,
    socket_and_peer,
    turns,
    until,
)

import moorings
from moorings import Buffer, EndReason, StreamSocket, errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    Make = Callable[[], Coroutine[Any, Any, Any]]

TURNS = 6
"""More loop turns than anything here takes between start and end, when its bytes are there."""


# -- kinds of tasks --------------------------------------------------------------------------------------------------


def task_factories() -> dict[str, Any]:
    def pure(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        return asyncio.tasks._PyTask(coroutine, loop=loop, **options)  # type: ignore[attr-defined]

    factories: dict[str, Any] = {"C tasks": None, "Python tasks": pure}
    if sys.version_info >= (3, 12):
        factories["eager tasks"] = asyncio.eager_task_factory
    return factories


@pytest.fixture(params=task_factories())
def tasks(request: pytest.FixtureRequest) -> Any:
    """A task of pure Python cannot be resumed within the event: completion and wake-up are a loop turn apart."""
    return task_factories()[request.param]


# -- ways of cancelling ----------------------------------------------------------------------------------------------

NOTHING = object()


async def by_cancel(make: Make, patience: int) -> Any:
    task = asyncio.ensure_future(make())
    await turns(patience)
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return NOTHING


async def by_timeout(make: Make, patience: int) -> Any:
    loop = asyncio.get_running_loop()

    async def limited() -> Any:
        try:
            async with asyncio.timeout(None) as limit:
                started.set_result(limit)
                return await make()
        except TimeoutError:
            return NOTHING

    started: asyncio.Future[asyncio.Timeout] = loop.create_future()
    task = asyncio.ensure_future(limited())
    limit = await started
    await turns(patience)
    if not task.done():
        limit.reschedule(loop.time())
    return await task


async def by_wait_for(make: Make, patience: int) -> Any:
    try:
        return await asyncio.wait_for(make(), patience / 20000)
    except TimeoutError:
        return NOTHING


async def by_task_group(make: Make, patience: int) -> Any:
    async def fail() -> None:
        await turns(patience)
        raise LookupError("leave")

    task: asyncio.Task[Any] | None = None
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(make())
            group.create_task(fail())
    except* LookupError:
        pass
    assert task is not None
    return NOTHING if task.cancelled() else task.result()


async def by_gather(make: Make, patience: int) -> Any:
    task = asyncio.ensure_future(make())
    both = asyncio.gather(task, asyncio.Event().wait())
    await turns(patience)
    both.cancel()
    await asyncio.wait([task])
    with pytest.raises(asyncio.CancelledError):
        await both
    return NOTHING if task.cancelled() else task.result()


async def by_shield(make: Make, patience: int) -> Any:
    """Only the waiting ends, what is shielded goes on."""
    inner = asyncio.ensure_future(make())
    outer = asyncio.ensure_future(_wait(asyncio.shield(inner)))
    await turns(patience)
    outer.cancel()
    await asyncio.wait([outer])
    return await inner


async def _wait(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


WAYS = [by_cancel, by_timeout, by_wait_for, by_task_group, by_gather, by_shield]


# -- the Python face: reading ----------------------------------------------------------------------------------------


async def next_line(ours: StreamSocket) -> bytes:
    async for line in ours.lines():
        return line + b"\n"
    raise asyncio.IncompleteReadError(b"", None)


READS: dict[str, Callable[[StreamSocket], Coroutine[Any, Any, bytes]]] = {
    "read": lambda ours: ours.read(700),
    "read_exactly": lambda ours: ours.read_exactly(333),
    "read_until": lambda ours: ours.read_until(b"\n"),
    "lines": next_line,
}


def checksum_stream(seed: int, size: int) -> bytes:
    """Lines that no two places have in common, so that a lost, repeated or exchanged byte shows."""
    chance = random.Random(seed)
    data = b"".join(b"%d:%s\n" % (number, b"x" * chance.randrange(120)) for number in range(size // 60))
    return data + b"x" * (332 - len(data) % 333) + b"\n"  # whole for `read_exactly(333)` too


async def send_in_pieces(peer: socket.socket, data: bytes, seed: int) -> None:
    chance = random.Random(seed)
    loop = asyncio.get_running_loop()
    position = 0
    while position < len(data):
        size = chance.choice((1, 2, 10, 100, 500))
        await loop.sock_sendall(peer, data[position : position + size])
        position += size
        await turns(chance.randrange(3 * TURNS))
    peer.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", READS)
async def test_reading_loses_and_repeats_no_byte(kind: str, way: Any, tasks: Any) -> None:
    asyncio.get_running_loop().set_task_factory(tasks)
    data = checksum_stream(1, 9000)
    async with socket_and_peer() as (ours, peer):
        sending = asyncio.ensure_future(send_in_pieces(peer, data, 2))
        received = bytearray()
        cancelled = 0
        chance = random.Random(3)
        while len(received) < len(data):
            result = await way(lambda: READS[kind](ours), chance.randrange(TURNS))
            if result is NOTHING:
                cancelled += 1
            else:
                assert result
                received += result
            assert ours.end_reason in {EndReason.OPEN, EndReason.CLOSED_BY_PEER}
        await sending
        assert bytes(received) == data
        assert await ours.read() == b""
        assert cancelled > 2 or way is by_shield
    asyncio.get_running_loop().set_task_factory(None)


@pytest.mark.parametrize("patience", range(TURNS))
@pytest.mark.parametrize("kind", READS)
async def test_cancelled_at_this_turn_exactly(kind: str, patience: int, tasks: Any) -> None:
    """The bytes come before the read begins, while it waits, and in the turn in which it is cancelled."""
    asyncio.get_running_loop().set_task_factory(tasks)
    message = b"m" * 332 + b"\n"
    gaps = 0
    async with socket_and_peer() as (ours, peer):
        for sent_at in range(-1, patience + 1):
            if sent_at < 0:
                peer.send(message)
            task = asyncio.ensure_future(READS[kind](ours))
            for turn in range(patience + 1):
                if turn == sent_at:
                    peer.send(message)
                if turn < patience:
                    await turns(1)
            waiter = getattr(task, "_fut_waiter", None)  # tasks of pure Python show what they wait for
            gaps += waiter is not None and waiter.done()
            task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            rest = b"" if isinstance(outcome, BaseException) else outcome
            async with asyncio.timeout(PATIENCE):
                rest += await ours.read_exactly(len(message) - len(rest))
            assert rest == message
    if getattr(tasks, "__name__", "") == "pure" and patience >= 2:
        assert gaps > 0  # cancelled between the end of what it waited for and its wake-up
    asyncio.get_running_loop().set_task_factory(None)


async def test_reading_while_the_turn_is_used_up() -> None:
    """One byte at a time out of what is there: every 64th read has to wait for its turn, and is cancelled there."""
    data = checksum_stream(4, 6000)
    async with socket_and_peer() as (ours, peer):
        await asyncio.get_running_loop().sock_sendall(peer, data)
        received = bytearray()
        while len(received) < len(data):

            async def read_some(received: bytearray = received) -> None:
                while len(received) < len(data):
                    received += await ours.read(1)

            task = asyncio.ensure_future(read_some())
            await turns(1)
            task.cancel()
            await asyncio.wait([task])
        assert bytes(received) == data


async def test_a_read_that_never_gets_time_still_gets_its_turn() -> None:
    """Polled without patience: a used up turn must not starve it for ever, although no event brings a new one."""
    async with socket_and_peer() as (ours, peer):
        peer.send(b"ab")
        assert await ours.read(1) == b"a"
        ours._connection.stream.home.immediate = 1000  # type: ignore[union-attr]
        for attempt in range(5):
            result = await by_cancel(lambda: ours.read(1), 1)
            if result is not NOTHING:
                assert result == b"b"
                assert attempt > 0
                return
        raise AssertionError("there was a byte, and no read got it")


# -- the Python face: writing ----------------------------------------------------------------------------------------


async def receive_slowly(peer: socket.socket, seed: int) -> bytes:
    chance = random.Random(seed)
    data = bytearray()
    while chunk := await asyncio.get_running_loop().sock_recv(peer, chance.choice((100, 5000, 100000))):
        data += chunk
        await turns(chance.randrange(3))
    return bytes(data)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", ["write", "write and flush", "flush"])
async def test_writing_loses_and_repeats_no_byte(kind: str, way: Any, tasks: Any) -> None:
    """A cancelled write stays queued: each piece arrives, once, in order."""
    asyncio.get_running_loop().set_task_factory(tasks)
    chance = random.Random(5)
    async with socket_and_peer(send_buffer=16384) as (ours, peer):
        receiving = asyncio.ensure_future(receive_slowly(peer, 6))
        pieces: list[bytes] = []
        cancelled = 0
        for number in range(60):
            piece = b"%d:" % number + chance.randbytes(chance.choice((0, 1, 1000, 20000)))

            async def write(piece: bytes = piece) -> Any:
                pieces.append(piece)
                operation = ours.write(piece)
                if kind == "write":
                    return await operation
                if kind == "flush":
                    return await ours.flush()
                return await asyncio.gather(operation, ours.flush())

            if await way(write, chance.randrange(TURNS)) is NOTHING:
                cancelled += 1
        ours.close()
        received = await receiving
        assert received == b"".join(pieces)
        assert ours.end_reason == EndReason.CLOSED_BY_US
    asyncio.get_running_loop().set_task_factory(None)


async def test_both_directions_in_one_storm(tasks: Any) -> None:
    """An echo through cancelled reads and writes on both sides."""
    asyncio.get_running_loop().set_task_factory(tasks)
    data = checksum_stream(7, 30000)
    one, other = connected_sockets(send_buffer=16384)
    async with StreamSocket.from_socket(one) as first, StreamSocket.from_socket(other) as second:
        chance = random.Random(8)

        async def copy() -> None:
            while True:
                piece = await by_cancel(lambda: second.read(chance.randrange(1, 3000)), chance.randrange(TURNS))
                if piece is NOTHING:
                    continue
                if not piece:
                    second.end_writing()
                    return
                await by_cancel(lambda piece=piece: _wait(second.write(piece)), chance.randrange(TURNS))

        async def send() -> None:
            for start in range(0, len(data), 1000):
                piece = data[start : start + 1000]
                await by_cancel(lambda piece=piece: _wait(first.write(piece)), chance.randrange(TURNS))
            first.end_writing()

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            group.create_task(copy())
            group.create_task(send())
            received = bytearray()
            while True:
                piece = await by_cancel(lambda: first.read(2000), chance.randrange(TURNS))
                if piece == b"":
                    break
                if piece is not NOTHING:
                    received += piece
        assert bytes(received) == data
    asyncio.get_running_loop().set_task_factory(None)


# -- the WinRT names -------------------------------------------------------------------------------------------------


def cancelled_by(how: str, operation: Any) -> Any:
    """Something to await that ends when the operation was cancelled this way."""
    if how == "op.cancel()":
        operation.cancel()
        return operation
    task = asyncio.ensure_future(_wait(operation))

    async def then_cancel() -> Any:
        await turns(1)
        task.cancel()
        return await task

    return then_cancel()


@pytest.mark.parametrize("how", ["op.cancel()", "task.cancel()"])
@pytest.mark.parametrize("patience", range(3))
@pytest.mark.parametrize("state", ["nothing there", "part there", "more unread", "answer unread by the peer"])
async def test_read_async_takes_the_connection_down(state: str, patience: int, how: str) -> None:
    ours, peer = connected_sockets()
    with peer:
        stream_socket = StreamSocket.from_socket(ours)
        operation: Any = stream_socket.input_stream.read_async(Buffer(9), 9, 0)  # type: ignore[arg-type]
        if state == "part there":
            peer.send(b"part")
        elif state == "more unread":
            following: Any = stream_socket.input_stream.read_async(Buffer(9), 9, 0)  # type: ignore[arg-type]
            peer.send(b"part")
            operation, following = following, operation
        await turns(patience)
        stream = stream_socket._connection.stream
        assert stream is not None
        unread = state != "nothing there" and stream.bytes_received == 0
        if state == "answer unread by the peer":
            await stream_socket.write(b"answer")
            assert await asyncio.get_running_loop().sock_recv(peer, 100) == b"answer"
            unread = False
        with pytest.raises(OSError if how == "op.cancel()" else asyncio.CancelledError) as caught:
            await cancelled_by(how, operation)
        if how == "op.cancel()":
            assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED  # type: ignore[attr-defined]
            assert operation.status.name == "ERROR"
        with pytest.raises(OSError) as refused:
            stream_socket.write(b"late")
        assert refused.value.winerror == errors.RO_E_CLOSED
        found = await ending(peer)
        if unread and how == "op.cancel()":
            assert found == RST
        elif state in {"nothing there", "answer unread by the peer"}:
            assert found == FIN
        assert stream.is_released()


@pytest.mark.parametrize("how", ["op.cancel()", "task.cancel()"])
@pytest.mark.parametrize("patience", range(3))
@pytest.mark.parametrize("which", ["only", "first", "last"])
async def test_write_async_takes_the_connection_down(which: str, patience: int, how: str) -> None:
    ours, peer = connected_sockets()
    with peer:
        stream_socket = StreamSocket.from_socket(ours)
        size = 16 << 20
        count = 1 if which == "only" else 3
        operations: list[Any] = [stream_socket.output_stream.write_async(bytes(size)) for _ in range(count)]
        operation = operations[0 if which == "first" else -1]
        await turns(patience)
        with pytest.raises(OSError if how == "op.cancel()" else asyncio.CancelledError):
            await cancelled_by(how, operation)
        for other in operations:
            if other is not operation:
                with pytest.raises(OSError) as caught:
                    await other
                assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
        data, found = await receive_ending(peer)
        assert found == RST
        assert len(data) < count * size
        assert stream_socket.end_reason == EndReason.ABORTED
        assert stream_socket.counters.queued_bytes == 0


@pytest.mark.parametrize("how", ["op.cancel()", "task.cancel()"])
async def test_flush_async_may_be_cancelled(how: str) -> None:
    async with socket_and_peer() as (ours, peer):
        size = 16 << 20
        write = ours.output_stream.write_async(bytes(size))
        flush = ours.output_stream.flush_async()
        with pytest.raises(asyncio.CancelledError):
            await cancelled_by(how, flush)
        ours.close()
        data, found = await receive_ending(peer)
        assert (len(data), found) == (size, FIN)
        assert await write == size


@pytest.mark.parametrize("patience", range(TURNS))
async def test_read_async_that_is_cancelled_at_its_end_is_whole_or_torn_down(patience: int, tasks: Any) -> None:
    """Either the read had ended, then the caller's buffer has the bytes and the connection lives; or it had not."""
    asyncio.get_running_loop().set_task_factory(tasks)
    ours, peer = connected_sockets()
    with peer:
        stream_socket = StreamSocket.from_socket(ours)
        buffer = Buffer(9)
        operation: Any = stream_socket.input_stream.read_async(buffer, 9, 1)  # type: ignore[arg-type]
        task = asyncio.ensure_future(_wait(operation))
        await turns(1)
        peer.send(b"abc")
        await turns(patience)
        task.cancel()
        await asyncio.wait([task])
        if operation.status.name == "COMPLETED":
            assert bytes(buffer) == b"abc"
            await stream_socket.write(b"alive")
            stream_socket.close()
        else:
            assert operation.status.name == "CANCELED"
            assert await ending(peer) == RST
    asyncio.get_running_loop().set_task_factory(None)


# -- connecting, accepting, closing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [by_cancel, by_timeout, by_task_group, by_gather], ids=lambda way: way.__name__)
async def test_connecting_leaves_nothing_behind(way: Any, tasks: Any) -> None:
    """Cancelled at every turn; what was connected is returned or closed. The harness looks for descriptors."""
    asyncio.get_running_loop().set_task_factory(tasks)

    async def serve(connection: StreamSocket) -> None:
        with suppress(ConnectionResetError):  # a cancelled connect lets go of what it has with a reset
            await connection.read()

    async with moorings.listen("tcp://127.0.0.1:0", serve) as listener:
        for patience in range(12):
            client = await way(lambda: moorings.connect(f"tcp://127.0.0.1:{listener.port}"), patience)
            if client is not NOTHING:
                await client.write(b"works")
                await client.aclose()
        await until(lambda: listener.open_connections == 0)
    asyncio.get_running_loop().set_task_factory(None)


@pytest.mark.parametrize("way", [by_cancel, by_timeout, by_task_group, by_gather], ids=lambda way: way.__name__)
async def test_accepting_loses_no_connection(way: Any, tasks: Any) -> None:
    asyncio.get_running_loop().set_task_factory(tasks)
    async with moorings.listen("tcp://127.0.0.1:0") as listener:
        connections = aiter(listener)
        chance = random.Random(9)
        clients: list[socket.socket] = []
        seen: list[bytes] = []

        async def take() -> Any:
            return await anext(connections)

        for number in range(30):
            client = socket.create_connection(("127.0.0.1", listener.port))
            client.send(b"%03d" % number)
            clients.append(client)
        while len(seen) < 30:
            connection = await way(take, chance.randrange(TURNS))
            if connection is not NOTHING:
                seen.append(await connection.read_exactly(3))
                connection.close()
        assert seen == [b"%03d" % number for number in range(30)]
        for client in clients:
            client.close()
    asyncio.get_running_loop().set_task_factory(None)


@pytest.mark.parametrize("queue", ["empty", "full"])
@pytest.mark.parametrize("patience", range(TURNS))
async def test_closing_that_is_cancelled_is_closing(patience: int, queue: str, tasks: Any) -> None:
    asyncio.get_running_loop().set_task_factory(tasks)
    ours, peer = connected_sockets()
    with peer:
        stream_socket = StreamSocket.from_socket(ours)
        stream = stream_socket._connection.stream
        assert stream is not None
        if queue == "full":
            stream_socket.write(bytes(16 << 20))
        task = asyncio.ensure_future(stream_socket.aclose())
        await turns(patience)
        task.cancel()
        await asyncio.wait([task])
        if not stream.is_released():  # cancelled before its first step: nothing has happened
            assert patience == 0
            await by_cancel(stream_socket.aclose, TURNS)
        assert stream.is_released()
        assert await ending(peer) == (RST if queue == "full" else FIN)
    asyncio.get_running_loop().set_task_factory(None)
