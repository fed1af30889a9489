"""TLS over another stream: what differs from TLS on a descriptor. Mostly over scripted streams, without a network."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from tests.engine.layer_pairs import STACKS, Peer, layer, layered_pair, layered_socket, layered_sockets, stream_below
from tests.engine.pairs import connected_sockets, turns
from tests.engine.test_endings import in_child
from tests.engine.tls_pairs import VERSIONS, server_session, shaken

from moorings import Buffer, EndReason, errors
from moorings.engine.hub import current_hub
from moorings.engine.layered_tls import LayeredTlsStream
from moorings.engine.tls_codec import TlsFailure
from moorings.engine.tls_stream import TLS_RUN_SIZE
from moorings.testing.scripted import END, ScriptedStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moorings import StreamSocket

both_versions = pytest.mark.parametrize("version", VERSIONS)
NONE, PARTIAL, READ_AHEAD = 0, 1, 2


@contextmanager
def scripted(version: str, *, client: bool = True, **options: Any) -> Iterator[tuple[LayeredTlsStream, Peer]]:
    """A layer over a scripted stream, after the handshake, and its peer."""
    sessions = shaken(version)
    mine, other = sessions if client else sessions[::-1]
    lower = ScriptedStream(**options)
    peer = Peer(lower, other)
    stream = LayeredTlsStream(current_hub(), lower, "the layer", mine)
    try:
        yield stream, peer
    finally:
        stream.abort()
        assert stream.is_released()
        assert lower.is_released()


async def read(stream: LayeredTlsStream, count: int, options: int = PARTIAL) -> bytes:
    return bytes(await stream.read(Buffer(count), count, options))


async def socket_and_layer(ours: socket.socket, theirs: socket.socket, below: str) -> tuple[StreamSocket, Any]:
    """A client socket with TLS over `below`, and the server's layer without a socket."""

    async def server() -> LayeredTlsStream:
        return await layer(await stream_below(theirs, below, client=False), server_session(), client=False)

    return await asyncio.gather(layered_socket(ours, below, "TLS 1.3", client=True), server())


async def read_to_end(stream: LayeredTlsStream) -> None:
    while await read(stream, 100):
        pass


# -- reading ---------------------------------------------------------------------------------------------------------


@both_versions
@pytest.mark.parametrize("client", [True, False], ids=["as client", "as server"])
@pytest.mark.parametrize("suspend", [False, True])
async def test_records_cut_anywhere(version: str, client: bool, suspend: bool) -> None:
    with scripted(version, client=client, suspend=suspend) as (stream, peer):
        for cut in range(40):
            record = peer.records(b"message")
            peer.lower.feed(*(piece for piece in (record[:cut], record[cut:]) if piece))
            assert await read(stream, 7, NONE) == b"message"
        reading = stream.read(Buffer(7), 7, NONE)
        for byte in peer.records(b"message"):
            peer.lower.feed(bytes([byte]))
            await turns(1)
        assert bytes(await reading) == b"message"


@both_versions
async def test_nothing_is_read_below_before_somebody_reads_here(version: str) -> None:
    with scripted(version) as (stream, peer):
        peer.lower.feed(peer.records(b"message"))
        await turns(5)
        assert peer.lower.receive_calls == 0
        assert await read(stream, 7) == b"message"
        assert peer.lower.receive_calls == 1


@both_versions
async def test_a_cancelled_read_loses_nothing(version: str) -> None:
    with scripted(version) as (stream, peer):
        record = peer.records(b"message")
        for byte in record:
            filling = asyncio.ensure_future(stream.fill())
            await turns(1)
            filling.cancel()
            peer.lower.feed(bytes([byte]))
            await turns(2)
        assert await stream.fill() == 7
        assert stream.take_stash(100) == b"message"


@both_versions
async def test_an_end_without_close_notify_is_truncated(version: str) -> None:
    with scripted(version) as (stream, peer):
        peer.lower.feed(peer.records(b"all that came"), END)
        assert await read(stream, 100) == b"all that came"
        for _ in range(2):
            with pytest.raises(ConnectionAbortedError, match="close_notify") as caught:
                await read(stream, 100)
            assert caught.value.winerror == errors.WSAECONNABORTED  # type: ignore[attr-defined]
        assert stream.end_reason == EndReason.TRUNCATED


@both_versions
async def test_every_cut_is_truncated_and_only_close_notify_is_an_end(version: str) -> None:
    for cut in range(0, 60, 3):
        with scripted(version) as (stream, peer):
            whole = peer.records(b"message") + peer.goodbye()
            peer.lower.feed(*(piece for piece in (whole[:cut],) if piece), END)
            with pytest.raises(ConnectionAbortedError):
                await read_to_end(stream)
            assert stream.end_reason == EndReason.TRUNCATED
    with scripted(version) as (stream, peer):
        peer.lower.feed(peer.records(b"message") + peer.goodbye())
        assert [await read(stream, 100) for _ in range(3)] == [b"message", b"", b""]
        assert stream.end_reason == EndReason.CLOSED_BY_PEER


@both_versions
async def test_a_failure_below_is_told_as_it_is(version: str) -> None:
    with scripted(version) as (stream, peer):
        peer.lower.feed(peer.records(b"last words"), ConnectionResetError(errno.ECONNRESET, "reset"))
        assert await read(stream, 100) == b"last words"
        for _ in range(2):
            with pytest.raises(ConnectionResetError) as caught:
                await read(stream, 100)
            assert caught.value.winerror == errors.WSAECONNRESET  # type: ignore[attr-defined]
        assert stream.end_reason == EndReason.RESET
        with pytest.raises(ConnectionResetError):
            await stream.write(b"late", 4)


@both_versions
async def test_a_truncation_below_is_a_truncation_here(version: str) -> None:
    """TLS over TLS, and the outer one is cut off."""
    ours, theirs = connected_sockets()
    with theirs:
        client, peer = await socket_and_layer(ours, theirs, version)
        reading = asyncio.ensure_future(client.read())
        await turns(3)
        with socket.socket(fileno=os.dup(peer.fd)) as copy:
            copy.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionAbortedError):
            await reading
        assert client.end_reason == EndReason.TRUNCATED
        client.abort()
        peer.abort()


# -- writing ---------------------------------------------------------------------------------------------------------


@both_versions
async def test_un_awaited_writes_are_one_run_and_one_write_below(version: str) -> None:
    with scripted(version) as (stream, peer):
        for _ in range(100):
            stream.write(b"x" * 100, 100)
        assert peer.lower.send_log == []
        assert await stream.flush() is True
        assert len(peer.lower.send_log) == 1
        assert peer.received() == b"x" * 10000


@both_versions
async def test_un_awaited_writes_go_out_at_the_end_of_the_turn(version: str) -> None:
    with scripted(version) as (stream, peer):
        stream.write(b"unwatched", 9)
        await turns(2)
        assert peer.received() == b"unwatched"


@both_versions
async def test_an_awaited_write_goes_out_at_once(version: str) -> None:
    with scripted(version) as (stream, peer):
        stream.write(b"first,", 6)
        operation = stream.write(b"second", 6)
        stream.prepare_wait(operation)
        assert operation.done()
        assert peer.received() == b"first,second"
        assert stream.bytes_sent == 12
        assert stream.queued_bytes == 0


@both_versions
async def test_back_pressure_reaches_through(version: str) -> None:
    """Nothing is encrypted ahead of what the stream below takes: one run at a time."""
    with scripted(version, sends=[None]) as (stream, peer):
        size = 5 * TLS_RUN_SIZE
        operation = stream.write(bytes(size), size)
        await turns(10)
        assert not operation.done()
        assert stream.queued_bytes == size
        assert TLS_RUN_SIZE < peer.lower.queued_bytes < 2 * TLS_RUN_SIZE
        peer.lower.let_send(1000, None)
        await turns(10)
        assert stream.queued_bytes == size
        peer.lower.let_send()
        assert await operation == size
        assert peer.received() == bytes(size)


@both_versions
async def test_sends_of_any_size_below(version: str) -> None:
    with scripted(version, sends=[1, 2, 3] * 100) as (stream, peer):
        data = os.urandom(3 * TLS_RUN_SIZE + 17)
        assert await stream.write(data, len(data)) == len(data)
        assert peer.received() == data


@both_versions
async def test_a_send_that_fails_below_fails_the_writes_here(version: str) -> None:
    with scripted(version, sends=[10, None, ConnectionResetError(errno.ECONNRESET, "reset")]) as (stream, peer):
        first, second = stream.write(b"first", 5), stream.write(b"second", 6)
        flushing = stream.flush()
        await turns(3)
        peer.lower.let_send()
        for operation in (first, second):
            with pytest.raises(ConnectionResetError):
                await operation
        assert await flushing is False
        assert stream.end_reason == EndReason.RESET
        assert stream.queued_bytes == 0


@both_versions
async def test_cancel_io_keeps_the_records_whole(version: str) -> None:
    with scripted(version, sends=[None]) as (stream, peer):
        size = 2 * TLS_RUN_SIZE
        sending, waiting, reading = stream.write(bytes(size), size), stream.write(b"never", 5), stream.fill()
        await turns(3)
        stream.cancel_io()
        assert await sending == size  # a part of it is on its way
        for operation in (waiting, reading):
            with pytest.raises(OSError) as caught:
                await operation
            assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED  # type: ignore[attr-defined]
        stream.write(b"the end", 7)
        peer.lower.let_send()
        assert await stream.flush() is True
        assert peer.received() == bytes(size) + b"the end"
        peer.lower.feed(peer.records(b"still read"))
        assert await read(stream, 100) == b"still read"


# -- ending ----------------------------------------------------------------------------------------------------------


@both_versions
@pytest.mark.parametrize("client", [True, False], ids=["as client", "as server"])
async def test_close_says_close_notify_and_closes_below(version: str, client: bool) -> None:
    with scripted(version, client=client) as (stream, peer):
        stream.write(b"last words", 10)
        stream.close()
        await stream.wait_closed()
        assert peer.received() == b"last wordsEND"
        assert peer.lower.ended_writing
        assert (stream.end_reason, peer.lower.end_reason) == (EndReason.CLOSED_BY_US, EndReason.CLOSED_BY_US)


@both_versions
async def test_half_closing_half_closes_below(version: str) -> None:
    with scripted(version) as (stream, peer):
        stream.write(b"question", 8)
        stream.shut_writing()
        assert peer.received() == b"questionEND"
        assert peer.lower.ended_writing
        peer.lower.feed(peer.records(b"answer"))
        assert await read(stream, 100) == b"answer"


@both_versions
async def test_unread_bytes_abort_below_and_say_no_goodbye(version: str) -> None:
    with scripted(version) as (stream, peer):
        peer.lower.feed(peer.records(b"never read"))
        stream.close()
        assert stream.is_released()
        assert peer.received() == b""
        assert peer.lower.end_reason == EndReason.ABORTED
        assert stream.end_reason == EndReason.CLOSED_BY_US


@both_versions
async def test_close_ends_at_its_deadline(version: str) -> None:
    with scripted(version, sends=[None]) as (stream, peer):
        stream.close_timeout = 0.02
        waiting = stream.write(b"never sent", 10)
        stream.close()
        await stream.wait_closed()
        with pytest.raises(OSError) as caught:
            await waiting
        assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED  # type: ignore[attr-defined]
        assert (stream.end_reason, peer.lower.end_reason) == (EndReason.ABORTED, EndReason.ABORTED)


@both_versions
async def test_the_deadline_counts_below_as_well(version: str) -> None:
    """The stream below may have seconds of its own; this one's are what was asked for."""
    ours, theirs = connected_sockets(send_buffer=65536, receive_buffer=65536)
    with theirs:
        client, peer = await socket_and_layer(ours, theirs, "TCP")
        lower = client._connection.stream.lower  # type: ignore[union-attr]
        lower.close_timeout = 1000.0
        client.limits.close_timeout = 0.02
        client.write(bytes(16 << 20))
        await client.aclose()
        assert lower.is_released()
        assert client.end_reason == EndReason.ABORTED
        peer.abort()


async def test_an_end_below_ends_this_one() -> None:
    with scripted("TLS 1.3") as (stream, peer):
        told: list[object] = []
        stream.on_release = told.append
        reading, writing = stream.fill(), stream.write(b"never", 5)
        peer.lower.abort()
        for operation in (reading, writing):
            with pytest.raises(OSError) as caught:
                await operation
            assert caught.value.winerror == errors.ERROR_OPERATION_ABORTED  # type: ignore[attr-defined]
        assert stream.end_reason == EndReason.ABORTED
        assert told == [stream]


async def test_nothing_of_it_can_be_given_away() -> None:
    with scripted("TLS 1.3") as (stream, peer):
        with pytest.raises(OSError, match="over another stream") as caught:
            stream.detach()
        assert caught.value.winerror == errors.ERROR_NOT_SUPPORTED  # type: ignore[attr-defined]
        assert peer.lower.is_open()


@both_versions
async def test_a_record_that_was_changed_ends_it_with_an_alert(version: str) -> None:
    with scripted(version) as (stream, peer):
        record = bytearray(peer.records(b"message"))
        record[-1] ^= 1
        peer.lower.feed(bytes(record))
        with pytest.raises(OSError, match="changed on its way") as caught:
            await read(stream, 100)
        assert caught.value.winerror == errors.SEC_E_MESSAGE_ALTERED  # type: ignore[attr-defined]
        await turns(2)
        with pytest.raises(TlsFailure, match="bad record mac"):
            peer.received()


@pytest.mark.parametrize(("below", "version"), STACKS)
async def test_endpoints_and_statistics_are_those_of_the_lowest_descriptor(below: str, version: str) -> None:
    async with layered_pair(below, version) as (client, server):
        await client.write(b"abc")
        assert await server.read() == b"abc"
        assert client.information.local_port == server.information.remote_port
        assert client.information.round_trip_time_statistics is not None
        await client.aclose()
        assert client.information.local_port == server.information.remote_port
        assert await server.read() == b""


@pytest.mark.parametrize(("below", "version"), STACKS)
@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
def test_the_end_of_the_loop_waits_for_what_was_written(below: str, version: str, loop_kind: str) -> None:
    factory = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}[loop_kind]
    received: list[bytes] = []

    async def main() -> None:
        client, server = await layered_sockets(below, version)
        client.write(bytes(3000000))
        client.close()
        reading.append(asyncio.ensure_future(collect(server)))
        await asyncio.sleep(0)

    async def collect(server: StreamSocket) -> None:
        async with server:
            try:
                while piece := await server.read():
                    received.append(piece)
            except asyncio.CancelledError:
                while piece := await server.read():
                    received.append(piece)

    reading: list[asyncio.Task[None]] = []
    with asyncio.Runner(loop_factory=factory) as runner:  # type: ignore[arg-type]
        runner.run(main())
    assert sum(map(len, received)) == 3000000


@pytest.mark.parametrize("then", ["close", "abort", "drop", "new loop"])
@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
def test_a_loop_that_is_closed_without_ceremony(loop_kind: str, then: str) -> None:
    loop: asyncio.AbstractEventLoop = asyncio.SelectorEventLoop() if loop_kind == "asyncio" else uvloop.new_event_loop()
    ours, theirs = connected_sockets()

    async def main() -> list[Any]:
        client, server = await socket_and_layer(ours, theirs, "TLS 1.3")
        client.write(bytes(16 << 20))
        client.close()
        return [client, server]

    held = loop.run_until_complete(main())
    loop.close()
    stream = held[0]._connection.stream
    lowest = stream.lower
    assert not stream.is_released()
    if then == "close":
        held[0].close()
    elif then == "abort":
        held[0].abort()
    elif then == "drop":
        held[0] = None
    else:

        async def something() -> None:
            current_hub()

        asyncio.run(something())
    held[-1].abort()
    assert stream.is_released()
    assert lowest.is_released()


async def test_the_parent_goes_on_after_fork_and_the_child_is_refused() -> None:
    async with layered_pair("TLS 1.3", "TLS 1.2") as (client, server):
        reading = asyncio.ensure_future(server.read())
        await turns(3)
        stream = client._connection.stream

        def child() -> None:
            assert stream is not None
            assert stream.is_released()
            with pytest.raises(OSError) as caught:
                client.write(b"from the child")
            assert caught.value.winerror == errors.RO_E_CLOSED  # type: ignore[attr-defined]

        in_child(child)
        await client.write(b"from the parent")
        assert await reading == b"from the parent"
        await client.aclose()
        assert await server.read() == b""
