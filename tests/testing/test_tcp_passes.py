"""TCP passes the check-suite for streams."""

from __future__ import annotations

import pytest
from tests.engine.pairs import connected_sockets

import moorings
from moorings import StreamSocket
from moorings.testing.stream_checks import STREAM_CHECKS, Check, check_stream, run_check


async def small_pair() -> tuple[StreamSocket, StreamSocket]:
    """Small kernel buffers, so that filling them is quick."""
    ours, theirs = connected_sockets(send_buffer=65536, receive_buffer=65536)
    return StreamSocket.from_socket(ours), StreamSocket.from_socket(theirs)


@pytest.mark.parametrize("swapped", [False, True], ids=["one-way", "swapped"])
@pytest.mark.parametrize("check", STREAM_CHECKS, ids=lambda check: check.__name__)
async def test_tcp(check: Check, swapped: bool) -> None:
    await run_check(check, small_pair, swapped=swapped)


async def test_connected_and_accepted_sockets() -> None:
    """As programs make them, with buffers that the kernel makes as large as it likes."""
    async with moorings.listen("tcp://127.0.0.1:0") as listener:
        connections = aiter(listener)

        async def make_pair() -> tuple[StreamSocket, StreamSocket]:
            client = await moorings.connect(f"tcp://127.0.0.1:{listener.port}")
            return client, await anext(connections)

        await check_stream(make_pair)
