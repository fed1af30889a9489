"""TLS as a byte stream: what differs from TCP."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import FIN, RST, clog, ending, receive_ending, reset, turns, until
from tests.engine.tls_pairs import VERSIONS, Wire, stream_and_wire, tls_pair

from moorings import Buffer, EndReason, errors
from moorings.engine.tls_stream import TLS_RUN_SIZE

if TYPE_CHECKING:
    from moorings import StreamSocket

both_versions = pytest.mark.parametrize("version", VERSIONS)
both_roles = pytest.mark.parametrize("client", [True, False], ids=["as client", "as server"])
NONE, PARTIAL = 0, 1


@both_versions
@both_roles
async def test_records_one_byte_at_a_time(version: str, client: bool) -> None:
    async with stream_and_wire(version, client=client) as (stream, wire):
        reading = asyncio.create_task(stream.read_exactly(7))
        for byte in wire.records(b"message"):
            await wire.send_raw(bytes([byte]))
            await turns(2)
        assert await reading == b"message"
        assert stream.counters.bytes_received == 7


@both_versions
async def test_plaintext_that_the_session_holds_counts_as_readable(version: str) -> None:
    async with stream_and_wire(version) as (stream, wire):
        await wire.send_raw(b"".join(wire.records(b"record %d," % number) for number in range(10)))
        pieces = [bytes(await stream.input_stream.read_async(Buffer(9), 9, NONE)) for _ in range(10)]
        assert b"".join(pieces) == b"".join(b"record %d," % number for number in range(10))
        assert stream.counters.receive_calls <= 3


@both_versions
async def test_what_comes_with_the_end_of_the_handshake_is_not_lost(version: str) -> None:
    """The server's first words may arrive in one segment with its last handshake message."""
    from tests.engine.pairs import connected_sockets
    from tests.engine.tls_pairs import client_session, secured, server_session

    ours, theirs = connected_sockets()
    with theirs:
        server = server_session(version)
        connecting = asyncio.create_task(secured(ours, client_session(version), client=True))
        wire = Wire(theirs, server)
        loop = asyncio.get_running_loop()
        while not server.step():
            if server.wants_send():
                await wire.send_raw(server.take_ciphertext())
            server.feed(await loop.sock_recv(theirs, 65536))
        greeting = server.take_ciphertext() + wire.records(b"greeting")
        await wire.send_raw(greeting)
        stream = await connecting
        assert await stream.read() == b"greeting"
        stream.abort()


@both_versions
@both_roles
async def test_an_end_without_close_notify_is_truncated(version: str, client: bool) -> None:
    async with stream_and_wire(version, client=client) as (stream, wire):
        await wire.send_raw(wire.records(b"all that came"))
        wire.plain.shutdown(socket.SHUT_WR)
        assert await stream.read() == b"all that came"
        for _ in range(2):
            with pytest.raises(ConnectionAbortedError, match="close_notify") as caught:
                await stream.read()
            assert caught.value.winerror == errors.WSAECONNABORTED
        assert stream.end_reason == EndReason.TRUNCATED


@both_versions
async def test_an_end_within_a_record_is_truncated(version: str) -> None:
    async with stream_and_wire(version) as (stream, wire):
        await wire.send_raw(wire.records(b"message")[:-3])
        wire.plain.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionAbortedError):
            await stream.read()
        assert stream.end_reason == EndReason.TRUNCATED


@both_versions
async def test_close_notify_is_a_clean_end(version: str) -> None:
    async with stream_and_wire(version) as (stream, wire):
        data = wire.records(b"last words")
        wire.session.close_notify()
        await wire.send_raw(data + wire.session.take_ciphertext())
        assert await stream.read() == b"last words"
        assert await stream.read() == b""
        assert stream.end_reason == EndReason.CLOSED_BY_PEER


@both_versions
async def test_a_reset_is_no_truncation(version: str) -> None:
    async with stream_and_wire(version) as (stream, wire):
        reset(wire.plain)
        with pytest.raises(ConnectionResetError):
            await stream.read()
        assert stream.end_reason == EndReason.RESET


@both_versions
@both_roles
async def test_close_says_close_notify_before_fin(version: str, client: bool) -> None:
    async with stream_and_wire(version, client=client) as (stream, wire):
        stream.write(b"last words")
        await stream.aclose()
        assert await wire.receive() == b"last words"
        assert await wire.receive() == b""
        assert await ending(wire.plain) == FIN


@both_versions
async def test_close_does_not_wait_for_a_silent_peer(version: str) -> None:
    """The peer never answers close_notify; nobody needs that."""
    async with stream_and_wire(version) as (stream, wire):
        stream.limits.close_timeout = 1000.0
        await stream.write(b"unread")
        await stream.aclose()
        assert stream.end_reason == EndReason.CLOSED_BY_US
        assert await wire.receive() == b"unread"


async def test_a_client_that_was_refused_after_its_handshake_closes_at_once() -> None:
    """In TLS 1.3 the server's refusal comes late, and what the client wrote meanwhile is never acknowledged."""
    async with stream_and_wire("TLS 1.3") as (stream, wire):
        stream.limits.close_timeout = 1000.0
        reset(wire.plain)
        stream.write(b"nobody reads this")
        await stream.aclose()
        assert stream.end_reason in {EndReason.CLOSED_BY_US, EndReason.ABORTED, EndReason.RESET}


@both_versions
@both_roles
async def test_session_tickets_are_no_unread_data(version: str, client: bool) -> None:
    """A client that never reads has the server's tickets in the kernel: it must end with FIN all the same."""
    async with stream_and_wire(version, client=client) as (stream, wire):
        await stream.write(b"a line")
        assert await wire.receive() == b"a line"
        await stream.aclose()
        assert await wire.receive() == b""
        assert await ending(wire.plain) == FIN


@both_versions
async def test_unread_data_resets_and_says_no_goodbye(version: str) -> None:
    async with stream_and_wire(version) as (stream, wire):
        await wire.send_raw(wire.records(b"never read"))
        await until(lambda: stream._connection.stream.readable)  # type: ignore[union-attr]
        await stream.aclose()
        assert await receive_ending(wire.plain) == (b"", RST)


@both_versions
async def test_a_record_that_was_changed_ends_the_connection(version: str) -> None:
    async with stream_and_wire(version) as (stream, wire):
        record = bytearray(wire.records(b"message"))
        record[-1] ^= 1
        await wire.send_raw(bytes(record))
        with pytest.raises(OSError, match="changed on its way") as caught:
            await stream.read()
        assert caught.value.winerror == errors.SEC_E_MESSAGE_ALTERED
        with pytest.raises(OSError, match="changed on its way"):
            await stream.write(b"late")
        assert stream.end_reason == EndReason.ABORTED
        with pytest.raises(Exception, match="bad record mac"):  # the alert arrives
            await wire.receive()


@both_versions
async def test_garbage_after_the_handshake(version: str) -> None:
    async with stream_and_wire(version) as (stream, wire):
        await wire.send_raw(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(OSError, match="TLS failed"):
            await stream.read()
        assert stream.end_reason == EndReason.ABORTED


@both_versions
async def test_un_awaited_writes_are_one_run_of_records(version: str) -> None:
    async with stream_and_wire(version) as (stream, wire):
        calls = stream.counters.send_calls
        for _ in range(100):
            stream.output_stream.write_async(b"x" * 100)
        await stream.flush()
        assert stream.counters.send_calls == calls + 1
        received = b""
        while len(received) < 10000:
            received += await wire.receive()
        assert received == b"x" * 10000


@both_versions
async def test_an_awaited_write_is_in_the_kernel(version: str) -> None:
    async with stream_and_wire(version) as (stream, _wire):
        size = 3 * TLS_RUN_SIZE + 1
        assert await stream.output_stream.write_async(bytes(size)) == size
        assert stream.counters.queued_bytes == 0
        assert stream.counters.bytes_sent == size


@both_versions
async def test_cancel_io_finishes_the_records_that_are_being_sent(version: str) -> None:
    async with tls_pair(version) as (one, other):
        await clog(one)
        waiting: Any = one.output_stream.write_async(b"never")
        await one.cancel_io_async()
        with pytest.raises(OSError) as caught:
            await waiting
        assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED
        one.write(b"the end")
        one.close()
        received = b""
        while piece := await other.read(1 << 20):
            received = (received + piece)[-100:]
        assert received.endswith(bytes(50) + b"the end")
        assert other.end_reason == EndReason.CLOSED_BY_PEER


@both_versions
async def test_a_half_closed_stream_still_reads_what_had_come(version: str) -> None:
    """Plaintext that waits in the session when close_notify goes out is not lost."""
    async with stream_and_wire(version) as (stream, wire):
        await wire.send_raw(wire.records(b"ab") + wire.records(b"cd"))
        assert bytes(await stream.input_stream.read_async(Buffer(1), 1, NONE)) == b"a"
        stream.end_writing()
        assert await wire.receive() == b""
        await wire.send_raw(wire.records(b"ef"))
        assert await stream.read_exactly(5) == b"bcdef"


@both_versions
@pytest.mark.parametrize("method", ["read", "read_exactly", "read_until"])
async def test_cancelling_reads_at_every_turn_loses_no_byte(version: str, method: str) -> None:
    source = random.Random(7)
    data = b"".join(source.randbytes(source.randrange(1, 200)).replace(b"\n", b"x") + b"\n" for _ in range(600))
    reads = {
        "read": lambda stream: stream.read(1000),
        "read_exactly": lambda stream: stream.read_exactly(700),
        "read_until": lambda stream: stream.read_until(),
    }

    async def send(stream: StreamSocket) -> None:
        for start in range(0, len(data), 1777):
            await stream.write(data[start : start + 1777])
        stream.end_writing()

    received = hashlib.sha256()
    cancelled = number = 0
    async with tls_pair(version) as (client, server), asyncio.TaskGroup() as group:
        group.create_task(send(client))
        while True:
            task = asyncio.create_task(reads[method](server))
            await turns(number % 7)
            number += 1
            task.cancel()
            try:
                piece = await task
            except asyncio.CancelledError:
                cancelled += 1
                continue
            except asyncio.IncompleteReadError as error:
                received.update(error.partial)
                break
            if not piece:
                break
            received.update(piece)
    assert received.digest() == hashlib.sha256(data).digest()
    assert cancelled > 0
