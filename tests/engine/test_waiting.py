"""Waiting for a descriptor that no stream has yet."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from tests.engine.pairs import connected_sockets

from moorings.engine.hub import current_hub
from moorings.engine.waiting import Readiness


async def test_one_registration_serves_all_waits_of_a_descriptor() -> None:
    ours, theirs = connected_sockets()
    ours.setblocking(False)
    with ours, theirs:
        ready = Readiness(ours.fileno())
        await ready.until_readable()  # nothing is known yet: try
        for _ in range(3):
            ready.drained()
            waiting = asyncio.ensure_future(ready.until_readable())
            await asyncio.sleep(0)
            assert not waiting.done()
            theirs.sendall(b"x")
            await waiting
            assert ours.recv(10) == b"x"
        assert ready in current_hub().slots
        ready.stop()
        ready.stop()
        assert ready not in current_hub().slots


async def test_an_end_that_came_with_the_last_bytes_is_waited_for_no_more() -> None:
    ours, theirs = connected_sockets()
    ours.setblocking(False)
    with ours:
        ready = Readiness(ours.fileno())
        ready.drained()
        theirs.sendall(b"last")
        theirs.shutdown(socket.SHUT_WR)
        await ready.until_readable()
        assert ours.recv(100) == b"last"
        ready.drained()
        await ready.until_readable()
        assert ours.recv(100) == b""
        ready.stop()
        theirs.close()


async def test_waiting_until_the_peer_has_taken_something() -> None:
    ours, theirs = connected_sockets(send_buffer=4096, receive_buffer=4096)
    ours.setblocking(False)
    with ours, theirs:
        ready = Readiness(ours.fileno())
        sent = 0
        for _ in range(2):
            with contextlib.suppress(BlockingIOError):
                while True:
                    sent += ours.send(bytes(65536))
            waiting = asyncio.ensure_future(ready.until_writable())
            await asyncio.sleep(0)
            assert not waiting.done()
            theirs.setblocking(False)
            while sent and not waiting.done():
                try:
                    sent -= len(theirs.recv(1 << 20))
                except BlockingIOError:
                    await asyncio.sleep(0)
            await waiting
        ready.stop()


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    ours, theirs = connected_sockets()
    with ours, theirs:
        ready = Readiness(ours.fileno())
        ready.drained()
        waiting = asyncio.ensure_future(ready.until_readable())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        theirs.sendall(b"x")
        await ready.until_readable()
        ready.stop()
