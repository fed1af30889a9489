"""Cancelling at every loop turn over TLS: what a cancelled call leaves behind, on a descriptor and as a layer."""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.layer_pairs import layered_pair, stream_below
from tests.engine.pairs import PATIENCE, connected_sockets, turns
from tests.engine.test_cancellation_storm import READS, TURNS, cancelled_read, storm, stream_of_lines
from tests.engine.tls_pairs import VERSIONS, client_session, server_certificate, server_session, tls_pair
from tests.sockets.tls_servers import LEVELS, LOCALHOST, trusting

import moorings
from moorings import Certificate, EndReason, SocketProtectionLevel, errors
from moorings.engine.tls_handshake import shake_hands, shake_hands_over
from moorings.sockets.connection import State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from moorings import StreamSocket

both_versions = pytest.mark.parametrize("version", VERSIONS)
LAYERS = [("TCP", "TLS 1.2"), ("TCP", "TLS 1.3"), ("TLS over TLS", "TLS 1.3")]
EVERY_PAIR = [("", "TLS 1.2"), ("", "TLS 1.3"), *LAYERS]
every_pair = pytest.mark.parametrize(("below", "version"), EVERY_PAIR)
MANY_TURNS = 400
"""More loop turns than any handshake takes from its start to its end, where both ends are on one loop."""


@asynccontextmanager
async def pair(below: str, version: str) -> AsyncIterator[tuple[StreamSocket, StreamSocket]]:
    """Two of our sockets over TLS, on a descriptor where `below` is empty."""
    async with layered_pair(below, version) if below else tls_pair(version) as both:
        yield both


@every_pair
@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize("swapped", [False, True], ids=["to the server", "to the client"])
async def test_the_python_face_loses_and_repeats_no_byte(below: str, version: str, method: str, swapped: bool) -> None:
    data = stream_of_lines(1)
    if below:
        data = data[:100_000]
    async with pair(below, version) as both:
        one, other = both[::-1] if swapped else both
        await storm(one, other, method, data)


async def storm_of_big_pieces(client: StreamSocket, server: StreamSocket) -> None:
    """Back-pressure in both directions, `cancel_io` in between: no byte is lost or comes twice."""
    chance = random.Random(3)
    data = chance.randbytes(4_000_000)

    async def send() -> None:
        start = 0
        while start < len(data):
            piece = data[start : start + chance.randrange(1, 300_000)]
            start += len(piece)
            client.write(piece)
            flushing = asyncio.ensure_future(client.flush())
            await turns(chance.randrange(4))
            flushing.cancel()
            await asyncio.wait([flushing])
            if chance.randrange(3) == 0:
                await client.flush()
        await client.flush()
        client.end_writing()

    received = bytearray()
    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        number = 0
        while True:
            reading = asyncio.create_task(server.read(200_000))
            await turns(number % TURNS)
            number += 1
            if number % 5 == 0:
                await server.cancel_io_async()
            reading.cancel()
            try:
                piece = await reading
            except asyncio.CancelledError:
                continue
            except OSError as error:
                assert getattr(error, "winerror", None) == errors.ERROR_OPERATION_ABORTED  # noqa: PT017
                continue
            if not piece:
                break
            received += piece
    assert server.end_reason == EndReason.CLOSED_BY_PEER
    assert len(received) == len(data)
    assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()


@every_pair
async def test_big_pieces_lose_and_repeat_no_byte(below: str, version: str) -> None:
    async with pair(below, version) as (client, server):
        await storm_of_big_pieces(client, server)


@every_pair
@pytest.mark.parametrize("arrives", [False, True])
async def test_a_cancelled_read_async_takes_the_connection_down(below: str, version: str, arrives: bool) -> None:
    for number in range(TURNS):
        async with pair(below, version) as (client, server):
            await cancelled_read(client, server, number, arrives)


@every_pair
async def test_a_cancelled_write_async_takes_the_connection_down(below: str, version: str) -> None:
    """Or it had ended: then the peer has all of it."""
    for number in range(TURNS):
        async with pair(below, version) as (client, server):
            reading = asyncio.create_task(server.read_exactly(2_000_000))

            async def write(client: StreamSocket = client) -> None:
                await client.output_stream.write_async(bytes(2_000_000))

            task = asyncio.create_task(write())
            await asyncio.sleep(0)
            await turns(number)
            task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                with pytest.raises(ConnectionResetError):
                    await reading
                assert client.end_reason == EndReason.ABORTED
            else:
                assert await reading == bytes(2_000_000)
                assert client.end_reason == EndReason.OPEN


@every_pair
@pytest.mark.parametrize("size", [1000, 8_000_000])
async def test_a_cancelled_close_is_an_end_or_a_reset(below: str, version: str, size: int) -> None:
    """Never a clean end of a part."""
    for number in range(TURNS):
        async with pair(below, version) as (client, server):

            async def collect(server: StreamSocket = server) -> int:
                received = 0
                while piece := await server.read(1 << 20):
                    received += len(piece)
                return received

            client.write(bytes(size))
            closing = asyncio.create_task(client.aclose())
            await asyncio.sleep(0)
            reading = asyncio.create_task(collect())
            await turns(number)
            closing.cancel()
            await asyncio.wait([closing])
            stream: Any = client._connection.stream
            assert stream.is_released()
            try:
                assert await reading == size
            except ConnectionResetError:
                assert client.end_reason == EndReason.ABORTED
            else:
                assert server.end_reason == EndReason.CLOSED_BY_PEER


# -- handshakes ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving() -> AsyncIterator[Any]:
    async def echo(connection: StreamSocket) -> None:
        async for line in connection.lines():
            await connection.write(line + b"\n")

    identity = Certificate.from_pem(server_certificate().private_key_and_cert_chain_pem.bytes())
    async with moorings.listen("tls://127.0.0.1:0", echo, certificate=identity) as listener:
        yield listener


@both_versions
@pytest.mark.parametrize("ignored", [False, True], ids=["fast path", "full path"])
async def test_a_cancelled_connect_leaves_the_socket_new(version: str, ignored: bool) -> None:
    """At every turn; and the very same socket connects in the end."""
    async with serving() as listener:
        ours = trusting()
        if ignored:
            ours.control.ignorable_server_certificate_errors.append(moorings.ChainValidationResult.EXPIRED)
        cancelled = 0
        for number in range(MANY_TURNS):

            async def connect() -> None:
                await ours.connect_async(LOCALHOST, str(listener.port), LEVELS[version])

            connecting = asyncio.create_task(connect())
            await turns(number)
            connecting.cancel()
            await asyncio.wait([connecting])
            if not connecting.cancelled():
                connecting.result()
                break
            cancelled += 1
            if ours._connection.state == State.OPEN:
                break  # it had succeeded, and its task was cancelled before it could go on
            with pytest.raises(OSError, match="connect it first"):
                _ = ours.input_stream
            assert ours.information.protection_level == SocketProtectionLevel.PLAIN_SOCKET
        else:
            await ours.connect_async(LOCALHOST, str(listener.port), LEVELS[version])
        assert cancelled > 3
        assert ours.information.protection_level == LEVELS[version]
        await ours.write(b"a line\n")
        assert await ours.read_until() == b"a line\n"
        await ours.aclose()


@both_versions
async def test_a_cancelled_upgrade_closes_the_socket(version: str) -> None:
    cancelled = 0
    for number in range(1, 60):  # (in the first turn the upgrade begins)
        ours_plain, theirs = connected_sockets()
        with theirs:
            theirs.setblocking(False)
            session = server_session(version)
            ours = trusting()
            ours.abort()
            ours = moorings.StreamSocket.from_socket(ours_plain)
            _trust_ours(ours)

            async def upgrade(ours: StreamSocket = ours) -> None:
                await ours.upgrade_to_ssl_async(LEVELS[version], LOCALHOST)

            answering = asyncio.create_task(shake_hands(theirs, session, "the server"))
            upgrading = asyncio.create_task(upgrade())
            await turns(number)
            upgrading.cancel()
            await asyncio.wait([upgrading])
            if upgrading.cancelled() and ours._connection.state != State.OPEN:
                cancelled += 1
                with pytest.raises(OSError) as caught:
                    await ours.read()
                assert caught.value.winerror == errors.RO_E_CLOSED  # type: ignore[attr-defined]
            else:
                assert ours.information.protection_level == LEVELS[version]
            answering.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await answering
            ours.abort()
    assert cancelled > 3


def _trust_ours(ours: StreamSocket) -> None:
    """A socket that was taken over has no settings of TLS that may still be changed."""
    ours._connection.settings.tls = trusting()._connection.settings.tls


@pytest.mark.parametrize(("below", "version"), LAYERS)
async def test_a_cancelled_handshake_of_a_layer_can_be_ended(below: str, version: str) -> None:
    """The stream below is still the caller's, who ends it."""
    finished = cancelled = 0
    for number in range(0, 60, 3):
        ours, theirs = connected_sockets()
        lower, other = await asyncio.gather(
            stream_below(ours, below, client=True), stream_below(theirs, below, client=False)
        )
        answering = asyncio.create_task(shake_hands_over(other, server_session(version), "the server"))
        shaking = asyncio.create_task(shake_hands_over(lower, client_session(version), "the client"))
        await turns(number)
        shaking.cancel()
        await asyncio.wait([shaking])
        if shaking.cancelled():
            cancelled += 1
        else:
            finished += 1
        lower.abort()
        assert lower.is_released()
        async with asyncio.timeout(PATIENCE):
            with suppress(OSError):
                await answering
        other.abort()
    assert cancelled > 0
    assert finished > 0
