"""Whether the peer of a WebSocket lives: what counts as life, what does not, and what is sent unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import turns, until
from tests.engine.web_socket_pairs import RECEIVE, Told, link_and_peer

from moorings.engine.interface import EndReason
from moorings.engine.web_socket_life import BLOCKED_LOOP_TIME, Liveness
from moorings.protocols.web_error_status import INET_E_TIMEOUT

if TYPE_CHECKING:
    from moorings.engine.web_socket import WebSocketLink

TEXT = 1
BINARY = 2

INTERVAL = 1000.0
TIMEOUT = 500.0


def life_of(link: WebSocketLink) -> Any:
    assert isinstance(link.life, Liveness)
    return link.life


def pass_time(link: WebSocketLink, seconds: float) -> None:
    """As if the timer came in time, so many seconds later."""
    life = life_of(link)
    life.stop()
    for moment in ("_heard", "_probed", "_next_pong"):
        if getattr(life, moment):
            setattr(life, moment, getattr(life, moment) - seconds)
    life._due = link.home.loop.time()
    life.tick()


async def test_silence_is_probed_first_and_then_judged_with_its_numbers() -> None:
    async with link_and_peer(client=False, start=False) as (link, peer):
        told = Told(link)
        link.start(ping_interval=INTERVAL, ping_timeout=TIMEOUT)
        waiting = link.receive(RECEIVE)
        pass_time(link, INTERVAL - 1)
        assert life_of(link)._probed == 0.0
        pass_time(link, 2)
        assert await peer.next() == ("ping", b"")
        pass_time(link, TIMEOUT - 1)  # (the ping was acknowledged: from now on its time runs)
        assert link.stage == 0
        pass_time(link, TIMEOUT + 1)
        with pytest.raises(TimeoutError, match=r"nothing was heard for .* within 500 s") as caught:
            await waiting
        assert getattr(caught.value, "winerror", 0) == INET_E_TIMEOUT
        assert link.stream.end_reason == EndReason.TIMED_OUT
        assert link.stream.is_released()
        assert link.life is None
        assert told.closed == []


async def test_any_byte_that_arrives_is_life() -> None:
    async with link_and_peer(client=False, start=False) as (link, peer):
        link.start(ping_interval=INTERVAL, ping_timeout=TIMEOUT)
        pass_time(link, INTERVAL + 1)
        assert await peer.next() == ("ping", b"")
        await peer.send(b"\x82")  # half a head is enough
        await until(lambda: link.bytes_received == 1)
        for _ in range(3):
            pass_time(link, TIMEOUT + 1)
            life_of(link)._received = 0  # as if another byte came each time
        assert link.stage == 0


async def test_a_slow_upload_is_life_and_the_ping_behind_it_has_time() -> None:
    async with link_and_peer(client=True, start=False) as (link, peer):
        link.start(ping_interval=INTERVAL, ping_timeout=TIMEOUT)
        link.send(BINARY, bytes(30_000_000), True)
        await turns(3)
        pass_time(link, INTERVAL + 1)  # what the kernel has taken was acknowledged
        for _ in range(20):
            pass_time(link, INTERVAL + 1)
            assert link.stage == 0
            before = peer.payload_received
            while peer.payload_received < before + 1_000_000:
                data = await link.home.loop.sock_recv(peer.plain, 65536)
                peer.receive_bytes(data)
            await turns(5)
        assert link.stream.queued_bytes > 0


async def test_a_blocked_loop_is_no_silent_peer() -> None:
    async with link_and_peer(client=False, start=False) as (link, peer):
        link.start(ping_interval=INTERVAL, ping_timeout=TIMEOUT)
        pass_time(link, INTERVAL + 1)
        assert await peer.next() == ("ping", b"")
        life = life_of(link)
        life.stop()
        # The timer comes far too late, after the time of the ping.
        life._heard -= 10 * TIMEOUT
        life._probed -= 10 * TIMEOUT
        life._due = link.home.loop.time() - BLOCKED_LOOP_TIME - 10 * TIMEOUT
        life.tick()
        assert life.loop_blocks == 1
        assert link.stage == 0
        assert await peer.next() == ("ping", b"")  # a probe before the verdict


async def test_nothing_is_judged_while_the_program_does_not_take_its_messages() -> None:
    async with link_and_peer(client=False, start=False) as (link, peer):
        link.start(ping_interval=INTERVAL, ping_timeout=TIMEOUT)
        await peer.send(b"".join(peer.frames.message(TEXT, "") for _ in range(1000)))  # type: ignore[misc]
        await until(lambda: link.paused)
        for _ in range(5):
            pass_time(link, INTERVAL + TIMEOUT)
        assert link.stage == 0


async def test_pongs_that_nobody_asked_for_keep_to_their_interval() -> None:
    async with link_and_peer(client=True, start=False) as (link, peer):
        link.start(pong_interval=30.0)
        pass_time(link, 29)
        assert life_of(link).pongs_sent == 0
        pass_time(link, 2)
        assert await peer.next() == ("pong", b"")
        link.close(1000, "")
        assert link.life is None
        assert await peer.next() == ("close", 1000, "")
