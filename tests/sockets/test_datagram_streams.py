"""DatagramSocket on an event loop: sending, one by one and in batches."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from tests.sockets.datagram_peers import Received, bound, plain_peer, port_of
from tests.sockets.peers import FAMILIES, code

from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import DatagramSocket, SocketError, SocketErrorStatus
from winrt.windows.storage.streams import Buffer, DataReader, DataWriter, InputStreamOptions

if TYPE_CHECKING:
    from collections.abc import Callable

LOCALHOST = HostName("127.0.0.1")


async def test_many_peers_at_once() -> None:
    ours = DatagramSocket()
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(plain_peer(family)) for family in FAMILIES * 5]
        streams = [
            await ours.get_output_stream_async(HostName(peer.getsockname()[0]), str(peer.getsockname()[1]))
            for peer in peers
        ]
        assert ours.information.local_port == ""
        for number, stream in enumerate(streams):
            stream.write_async(b"%d" % number)
        assert await streams[0].flush_async() is True
        assert [int(peer.recv(10)) for peer in peers] == list(range(10))
        ports = {peer.getsockname()[1] for peer in peers}
        assert port_of(ours) not in ports
    ours.close()


async def test_empty_and_long_datagrams() -> None:
    ours = DatagramSocket()
    with plain_peer() as peer:
        await ours.connect_async(LOCALHOST, str(peer.getsockname()[1]))
        stream = ours.output_stream
        assert await stream.write_async(b"") == 0
        assert peer.recv(10) == b""
        assert await stream.write_async(bytes(65507)) == 65507
        assert len(peer.recv(70000)) == 65507
        for size in (65508, 100_000):
            with pytest.raises(OSError) as caught:
                await stream.write_async(bytes(size))
            assert SocketError.get_status(caught.value.winerror) == SocketErrorStatus.MESSAGE_TOO_LONG  # type: ignore[attr-defined]
        assert await stream.flush_async() is True
        assert await stream.write_async(b"lives on") == 8
        assert peer.recv(10) == b"lives on"
    ours.close()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, Buffer])
async def test_what_can_be_written(kind: Any) -> None:
    data = kind(b"data") if kind is not Buffer else Buffer(10)
    if kind is Buffer:
        data.length = 4
        memoryview(data)[:4] = b"data"
    ours = DatagramSocket()
    with plain_peer() as peer:
        await ours.connect_async(LOCALHOST, str(peer.getsockname()[1]))
        assert await ours.output_stream.write_async(data) == 4
        assert await ours.send(data) == 4
        assert (peer.recv(10), peer.recv(10)) == (b"data", b"data")
    ours.close()


async def test_data_writer_and_data_reader() -> None:
    """The way of the Windows samples: one store is one datagram, and the reader goes on where it was."""
    received = Received(lambda args: args)
    server = await bound(received)
    client = DatagramSocket()
    await client.connect_async(LOCALHOST, server.information.local_port)
    writer = DataWriter(client.output_stream)
    writer.write_uint32(5)
    writer.write_string("hello")
    assert await writer.store_async() == 9
    writer.write_string("second")
    await writer.store_async()
    writer.detach_stream()
    first, second = await received.wait(2)
    reader = first.get_data_reader()
    assert reader.unconsumed_buffer_length == 9
    assert reader.read_uint32() == 5
    assert first.get_data_reader() is reader
    assert reader.read_string(reader.unconsumed_buffer_length) == "hello"
    stream = first.get_data_stream()
    other = DataReader(first.get_data_stream())
    assert await other.load_async(100) == 9
    other.close()
    into = await stream.read_async(Buffer(4), 4, InputStreamOptions.NONE)
    assert bytes(into) == b"\0\0\0\5"
    assert bytes(await stream.read_async(Buffer(100), 100, InputStreamOptions.NONE)) == b"hello"
    assert (await stream.read_async(Buffer(1), 1, InputStreamOptions.NONE)).length == 0
    with pytest.raises(OSError) as caught:
        stream.read_async(Buffer(1), 2, InputStreamOptions.NONE)
    assert code(caught.value) == "E_INVALIDARG"
    stream.close()
    with pytest.raises(OSError) as caught:
        stream.read_async(Buffer(1), 1, InputStreamOptions.NONE)
    assert code(caught.value) == "RO_E_CLOSED"
    assert second.get_data_reader().read_string(6) == "second"
    client.close()
    server.close()


async def one_await_each(stream: Any, data: bytes, count: int) -> None:
    for _ in range(count):
        await stream.write_async(data)


async def gathered(stream: Any, data: bytes, count: int) -> None:
    await asyncio.gather(*[stream.write_async(data) for _ in range(count)])


async def flushed(stream: Any, data: bytes, count: int) -> None:
    for _ in range(count):
        stream.write_async(data)
    assert await stream.flush_async() is True


@pytest.mark.parametrize(("form", "calls"), [(one_await_each, 32), (gathered, 1), (flushed, 1)])
async def test_batched_sends(form: Callable[[Any, bytes, int], Any], calls: int) -> None:
    """The three forms of the Sockets guide: what is awaited together goes out in one system call."""
    with plain_peer() as peer:
        ours = DatagramSocket()
        await ours.connect_async(LOCALHOST, str(peer.getsockname()[1]))
        await form(ours.output_stream, bytes(1000), 32)
        assert ours.counters.send_calls == calls
        assert ours.counters.datagrams_sent == 32
        assert ours.counters.bytes_sent == 32_000
        assert ours.counters.segmented == (0 if calls == 32 else 32)
        assert [len(peer.recv(2000)) for _ in range(32)] == [1000] * 32
        ours.close()


async def test_batches_arrive_as_single_datagrams() -> None:
    received = Received(lambda args: len(args.data))
    server = await bound(received)
    client = await bound()
    for _ in range(100):
        client.send(bytes(1200), ("127.0.0.1", port_of(server)))
    client.send(bytes(7), ("127.0.0.1", port_of(server)))
    await client.flush()
    assert await received.wait(101) == [1200] * 100 + [7]
    counters = server.counters
    assert (counters.datagrams_received, counters.bytes_received) == (101, 120_007)
    assert counters.coalesced <= 101
    assert counters.receive_calls < 101
    client.close()
    server.close()


async def test_a_full_write_queue_refuses() -> None:
    ours = DatagramSocket()
    ours.limits.write_queue_limit = 1000
    with plain_peer() as peer:
        to = peer.getsockname()
        ours.send(bytes(600), to)
        with pytest.raises(OSError, match="await writes") as caught:
            ours.send(bytes(600), to)
        assert code(caught.value) == "WSAENOBUFS"
        assert ours.counters.refused == 1
        await ours.flush()
        ours.limits.write_queue_limit = 10_000
        ours.send(bytes(600), to)
        await ours.send(bytes(600), to)
        assert [len(peer.recv(1000)) for _ in range(3)] == [600] * 3
    ours.close()


async def test_a_cancelled_write_is_not_sent() -> None:
    with plain_peer() as peer:
        ours = await bound()
        first = ours.send(b"first", peer.getsockname())
        second = ours.send(b"second", peer.getsockname())
        first.cancel()
        assert await second == 6
        assert peer.recv(10) == b"second"
        ours.close()
