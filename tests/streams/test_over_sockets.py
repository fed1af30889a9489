"""DataReader and DataWriter on the streams of real TCP connections."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.streams.scripted import fails

import moorings
from moorings import errors
from moorings.foundation.async_status import AsyncStatus
from moorings.foundation.background import background_home
from moorings.names.host_name import HostName
from moorings.sockets.stream_socket import StreamSocket
from moorings.sockets.stream_socket_listener import StreamSocketListener
from moorings.streams.data_reader import DataReader
from moorings.streams.data_writer import DataWriter
from moorings.streams.enums import InputStreamOptions, UnicodeEncoding
from moorings.streams.random_access import InMemoryRandomAccessStream, RandomAccessStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[StreamSocket, StreamSocket]]:
    """Two sockets that are connected to each other."""
    listening = await moorings.listen("tcp://127.0.0.1:0")
    client = await moorings.connect(f"tcp://127.0.0.1:{listening.port}")
    server = await anext(aiter(listening))
    listening.close()
    try:
        async with client, server:
            yield client, server
    finally:
        await listening.drain(1)


async def until_received(connection: StreamSocket, count: int) -> None:
    while connection._stream("test").bytes_received < count:  # noqa: ASYNC110 (nothing tells about a part of a load)
        await asyncio.sleep(0)


async def test_messages_there_and_back() -> None:
    async with pair() as (client, server):
        with (
            DataWriter(client.output_stream) as writer,
            DataReader(server.input_stream) as reader,
            DataWriter(server.output_stream) as answer,
            DataReader(client.input_stream) as result,
        ):
            for text in ("a", "héllo", "😀" * 100):
                writer.write_uint32(writer.measure_string(text))
                writer.write_string(text)
                assert await writer.store_async() == 4 + len(text.encode())
                assert await reader.load_async(4) == 4
                count = reader.read_uint32()
                assert await reader.load_async(count) == count
                answer.unicode_encoding = UnicodeEncoding.UTF16_L_E
                units = answer.write_string(reader.read_string(count))
                await answer.store_async()
                assert await answer.flush_async() is True
                await result.load_async(2 * units)
                result.unicode_encoding = UnicodeEncoding.UTF16_L_E
                assert result.read_string(units) == text


async def test_random_sizes_under_load() -> None:
    chance = random.Random(7)
    data = chance.randbytes(1_500_000)

    async with pair() as (client, server):

        async def send() -> None:
            with DataWriter(client.output_stream) as writer:
                at = 0
                while at < len(data):
                    size = chance.randrange(1, 60_000)
                    writer.write_bytes(data[at : at + size])
                    at += size
                    await writer.store_async()

        async def receive() -> bytes:
            received = bytearray()
            with DataReader(server.input_stream) as reader:
                while True:
                    reader.input_stream_options = InputStreamOptions(chance.randrange(4))
                    loaded = await reader.load_async(chance.randrange(1, 200_000))
                    if not loaded:
                        return bytes(received)
                    size = chance.randrange(reader.unconsumed_buffer_length + 1)
                    received += bytes(reader.read_buffer(size))
                    if chance.random() < 0.5:
                        received += bytes(reader.detach_buffer())

        _, received = await asyncio.gather(send(), receive())
        assert len(data) - len(received) < 200_000  # what the reader had not taken yet
        assert data.startswith(received)


async def test_the_end_and_the_python_face() -> None:
    async with pair() as (client, server):
        with DataWriter(client.output_stream) as writer:
            writer.write_string("one\r\ntwo\nrest")
            await writer.store_async()
        with DataReader(server.input_stream) as reader:
            assert await reader.read_exactly(1) == b"o"
            assert [line async for line in reader.lines()] == [b"ne", b"two", b"rest"]
            assert await reader.load_async(5) == 0


async def test_read_ahead_stays_in_the_stream() -> None:
    async with pair() as (client, server):
        await client.write(b"abcdef")
        reader = DataReader(server.input_stream)
        reader.input_stream_options = InputStreamOptions.READ_AHEAD
        assert await reader.load_async(2) == 2
        assert reader.unconsumed_buffer_length == 2
        reader.detach_stream()
        assert await server.read_exactly(4) == b"cdef"


async def test_a_cancelled_load_keeps_bytes_and_takes_the_connection_down() -> None:
    async with pair() as (client, server):
        with DataReader(server.input_stream) as reader:
            await client.write(b"ab")
            load = reader.load_async(4)
            await until_received(server, 2)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(load, 0.01)
            assert reader.read_string(2) == "ab"
            with fails(errors.RO_E_CLOSED):
                reader.load_async(1)


async def test_a_cancelled_read_of_the_python_face_keeps_both() -> None:
    async with pair() as (client, server):
        with DataReader(server.input_stream) as reader:
            await client.write(b"ab")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read_exactly(4), 0.05)
            await client.write(b"cd")
            assert await reader.read_exactly(4) == b"abcd"


async def test_cancel_io_loses_and_repeats_nothing() -> None:
    async with pair() as (client, server):
        with DataReader(server.input_stream) as reader:
            await client.write(b"ab")
            load = reader.load_async(4)
            await until_received(server, 2)
            await server.cancel_io_async()
            with fails(errors.ERROR_OPERATION_ABORTED):
                await load
            await client.write(b"cd")
            assert await reader.load_async(4 - reader.unconsumed_buffer_length) > 0
            assert reader.read_string(4) == "abcd"


async def test_what_came_before_a_reset_is_kept() -> None:
    async with pair() as (client, server):
        with DataReader(server.input_stream) as reader:
            await client.write(b"ab")
            load = reader.load_async(4)
            await until_received(server, 2)
            client.abort()
            assert await load == 2
            assert reader.read_string(2) == "ab"
            with pytest.raises(ConnectionResetError):
                await reader.load_async(1)


async def test_stores_after_the_peer_has_gone_fail() -> None:
    async with pair() as (client, server):
        with DataWriter(client.output_stream) as writer:
            server.abort()

            async def store_on() -> None:
                for _ in range(1000):
                    writer.write_bytes(b"x" * 1000)
                    await writer.store_async()

            with pytest.raises(OSError):
                await store_on()


async def test_detached_streams_stay_open() -> None:
    async with pair() as (client, server):
        writer, reader = DataWriter(client.output_stream), DataReader(server.input_stream)
        writer.detach_stream()
        reader.detach_stream()
        writer.close()
        reader.close()
        await client.write(b"ab")
        assert await server.read(9) == b"ab"


async def test_copying_between_connections_and_memory() -> None:
    data = random.Random(3).randbytes(300_000)
    source, target = InMemoryRandomAccessStream(), InMemoryRandomAccessStream()
    await source.write_async(data)
    source.seek(0)
    async with pair() as (client, server):
        sent = RandomAccessStream.copy_and_close_async(source, client.output_stream)
        received = RandomAccessStream.copy_async(server.input_stream, target)
        assert await sent == len(data)
        assert await received == len(data)
    with DataReader(target.get_input_stream_at(0)) as reader:
        await reader.load_async(len(data))
        assert bytes(reader.read_buffer(len(data))) == data


def test_a_plain_script_echoes() -> None:
    """Loads and stores by `get()`, in two threads, over the library's own loop."""
    listener = StreamSocketListener()
    served, closed = threading.Event(), threading.Event()
    kept: list[object] = []

    def serve(_: Any, args: Any) -> None:
        with (
            args.socket as connection,
            DataReader(connection.input_stream) as reader,
            DataWriter(connection.output_stream) as writer,
        ):
            kept.append(connection)
            while reader.load_async(4).get() == 4:
                count = reader.read_uint32()
                assert reader.load_async(count).get() == count
                writer.write_string(reader.read_string(count).upper())
                writer.store_async().get()
        served.set()

    listener.add_connection_received(serve)
    listener.bind_service_name_async("0").get()
    with StreamSocket() as client:
        kept.append(client)
        client.connect_async(HostName("127.0.0.1"), listener.information.local_port).get()
        with DataWriter(client.output_stream) as writer, DataReader(client.input_stream) as reader:
            for text in ("one", "two", "x" * 10_000):
                writer.write_uint32(writer.measure_string(text))
                writer.write_string(text)
                store = writer.store_async()
                assert store.wait(10) == AsyncStatus.COMPLETED
                assert reader.load_async(len(text)).get() == len(text)
                assert reader.read_string(len(text)) == text.upper()
            writer.detach_stream().close()
            assert served.wait(10)
    listener.close()
    background_home().loop.call_soon_threadsafe(closed.set)
    assert closed.wait(10)
