"""Cancelling at every loop turn over a WebSocket of bytes: what a cancelled call leaves behind."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest
from tests.engine.test_cancellation_storm import READS, TURNS, cancelled_read, storm, stream_of_lines
from tests.engine.test_tls_storm import storm_of_big_pieces
from tests.engine.web_socket_pairs import web_socket_sockets
from tests.sockets.stream_web_socket_pairs import pairs_over

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from moorings import StreamSocket

over = pytest.mark.parametrize("below", ["TCP", "TLS 1.3"])


@asynccontextmanager
async def pair(below: str) -> AsyncIterator[tuple[StreamSocket, StreamSocket]]:
    client, server = await web_socket_sockets(below)
    try:
        yield client, server
    finally:
        client.abort()
        server.abort()


@over
@pytest.mark.parametrize("method", READS)
@pytest.mark.parametrize("swapped", [False, True], ids=["to the server", "to the client"])
async def test_the_python_face_loses_and_repeats_no_byte(below: str, method: str, swapped: bool) -> None:
    async with pair(below) as both:
        one, other = both[::-1] if swapped else both
        await storm(one, other, method, stream_of_lines(1))


@over
async def test_big_pieces_lose_and_repeat_no_byte(below: str) -> None:
    async with pair(below) as (client, server):
        await storm_of_big_pieces(client, server)


@over
@pytest.mark.parametrize("arrives", [False, True])
async def test_a_cancelled_read_async_takes_the_connection_down(below: str, arrives: bool) -> None:
    async with pairs_over(below) as make_pair:
        for number in range(TURNS):
            client, server = await make_pair()
            one, other = (client, server) if number % 2 else (server, client)
            await cancelled_read(cast("StreamSocket", one), cast("StreamSocket", other), number, arrives)
            client.abort()
            server.abort()
