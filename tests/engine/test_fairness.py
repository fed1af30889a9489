"""A loop of writes that the kernel takes at once must let the rest of the loop run."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
from tests.engine.pairs import receive, stream_and_peer

from moorings.engine.hub import Hub, Source
from moorings.engine.stream_writing import WRITE_FLUSH_MARK
from moorings.foundation.home import IMMEDIATE_LIMIT, TURN_BYTES_LIMIT, current_home

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
        # (Bytes that cannot change are handed over instead: see test_stream_writing.)
        operation = stream.write(bytearray(WRITE_FLUSH_MARK), WRITE_FLUSH_MARK)
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


class Greedy(Source):
    """Something that always has more to do than one turn's budget allows."""

    def __init__(self, hub: Hub) -> None:
        Source.__init__(self)
        self.hub = hub
        self.served = 0
        self.ended = False

    def on_turn(self) -> None:
        assert self.hub is not None
        if self.ended:
            return
        if self.hub.home.has_budget():
            self.served += 1
            self.hub.home.turn_bytes += TURN_BYTES_LIMIT // 4
        self.hub.defer(self)


async def test_a_budget_that_serves_only_some_goes_round() -> None:
    hub = Hub(current_home())
    sources = [Greedy(hub) for _ in range(10)]
    for source in sources:
        hub.defer(source)
    turns = 50
    for _ in range(turns):
        await asyncio.sleep(0)
    for source in sources:
        source.ended = True
    await asyncio.sleep(0)
    served = [source.served for source in sources]
    assert max(served) - min(served) <= 1, served
    assert sum(served) >= 4 * (turns - 2)
