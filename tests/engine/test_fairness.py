"""A loop of writes that the kernel takes at once must let the rest of the loop run."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
from tests.engine.pairs import receive, stream_and_peer

from moorings.engine.stream_writing import WRITE_FLUSH_MARK
from moorings.foundation.home import IMMEDIATE_LIMIT, TURN_BYTES_LIMIT

if TYPE_CHECKING:
    from moorings.engine.tcp_stream import TcpStream

CALLBACKS_PER_TURN = 3
"""Callbacks of the hub that may run in one turn of the loop, each with a new budget: events, turn, flush."""


async def sent_between_turns(stream: TcpStream, size: int, total: int) -> int:
    """Send `total` bytes in awaited writes of `size` bytes; the most that went out between two looks at it."""
    seen = [0]

    async def look() -> None:
        while seen[-1] < total:
            await asyncio.sleep(0)
            seen.append(stream.bytes_sent)

    async def write() -> None:
        data = bytes(size)
        for _ in range(total // size):
            await stream.write(data, size)

    async with asyncio.TaskGroup() as group:
        group.create_task(look())
        group.create_task(write())
    return max(after - before for before, after in itertools.pairwise(seen))


async def test_big_write_beyond_the_budget_waits_for_the_next_turn() -> None:
    with stream_and_peer() as (stream, peer):
        stream.home.turn_bytes = TURN_BYTES_LIMIT
        operation = stream.write(bytes(WRITE_FLUSH_MARK), WRITE_FLUSH_MARK)
        assert stream.send_calls == 0
        assert not operation.done()
        await operation
        assert stream.bytes_sent == WRITE_FLUSH_MARK
        await receive(peer, WRITE_FLUSH_MARK)


@pytest.mark.parametrize("size", [WRITE_FLUSH_MARK, WRITE_FLUSH_MARK // 4, 100])
async def test_loop_of_writes_lets_others_run(size: int) -> None:
    most = min(TURN_BYTES_LIMIT + WRITE_FLUSH_MARK, (IMMEDIATE_LIMIT + 1) * size)
    total = 3 * CALLBACKS_PER_TURN * most // size * size
    with stream_and_peer() as (stream, peer):
        async with asyncio.TaskGroup() as group:
            group.create_task(receive(peer, total))
            between = await sent_between_turns(stream, size, total)
        assert between <= CALLBACKS_PER_TURN * most
