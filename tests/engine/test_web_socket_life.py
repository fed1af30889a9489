"""Whether the peer of a WebSocket lives: what counts as life, what does not, and what is sent unasked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, turns, until
from tests.engine.web_socket_pairs import RECEIVE, Told, link_and_peer, link_of, transport_pair

from moorings.engine.interface import EndReason
from moorings.engine.web_socket_life import BLOCKED_LOOP_TIME, FRAME_TIMEOUT, LOOKS, Liveness
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
    for moment in ("_heard", "_probed", "_next_pong", "_next_look", "_going"):
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


async def test_pings_go_on_after_their_interval_however_long_an_answer_may_take() -> None:
    async with link_and_peer(client=True, start=False) as (link, peer), asyncio.timeout(PATIENCE):
        link.start(ping_interval=0.05, ping_timeout=INTERVAL, frame_timeout=0.0)
        for _ in range(3):
            assert await peer.next() == ("ping", b"")
            await peer.send(b"\x8a\x00")


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
        link.start(ping_interval=INTERVAL, ping_timeout=TIMEOUT, frame_timeout=0.0)
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


# -- the time of a frame ---------------------------------------------------------------------------------------------

LOOK = FRAME_TIMEOUT / LOOKS + 0.001


def quiet_for(monkeypatch: pytest.MonkeyPatch, seconds: float, acknowledged: int = 0) -> None:
    """What the kernel says: since when nothing has come, and how much was acknowledged."""
    monkeypatch.setattr(Liveness, "_read", lambda _: (acknowledged, seconds))


async def test_by_default_every_web_socket_has_the_time_of_a_frame() -> None:
    async with link_and_peer(client=True) as (link, _peer):
        assert life_of(link).frame_timeout == FRAME_TIMEOUT == 30.0
        assert 0 < life_of(link)._due - link.home.loop.time() <= FRAME_TIMEOUT / LOOKS
    async with link_and_peer(client=True, start=False) as (link, _peer):
        link.start(frame_timeout=0.0)
        assert link.life is None


BEGUN = [b"\x82", b"\x82\xfe\x01", b"\x82\x85\0\0\0\0abc", b"\x89\x85\0\0\0\0abc", b"\x02\x85\0\0\0\0abc"]


@pytest.mark.parametrize("begun", BEGUN, ids=bytes.hex)
async def test_the_rest_of_a_frame_has_to_come(begun: bytes) -> None:
    async with link_and_peer(client=False, start=False) as (link, peer):
        told = Told(link)
        link.start(frame_timeout=0.06)
        waiting = link.receive(RECEIVE)
        await peer.send(begun)
        with pytest.raises(TimeoutError, match=r"nothing has come of the rest of a frame for 0\.[01] s") as caught:
            async with asyncio.timeout(PATIENCE):
                await waiting
        assert getattr(caught.value, "winerror", 0) == INET_E_TIMEOUT
        assert link.stream.end_reason == EndReason.TIMED_OUT
        assert link.stream.is_released()
        assert told.closed == []
        assert await peer.next() == "RST"


async def test_between_frames_there_is_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between the frames of one message."""
    quiet_for(monkeypatch, 1000.0)
    async with link_and_peer(client=False) as (link, peer):
        await peer.send(peer.frames.fragment(TEXT, "one", False))  # type: ignore[arg-type]
        await until(lambda: link.message_begun() == TEXT)
        for _ in range(10):
            pass_time(link, LOOK)
        assert link.stage == 0


async def test_a_slow_frame_is_life_for_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with link_and_peer(client=False) as (link, peer):
        await peer.send(b"\x82\xff\0\0\0\0\0\x01\0\0" + b"\0\0\0\0" + b"x")
        await until(link.frame_begun)
        for ago in (0.0, 5.0, 15.0, 25.0, 29.9) * 20:
            quiet_for(monkeypatch, ago)
            pass_time(link, LOOK)
        assert link.stage == 0
        assert 0 < life_of(link)._due - link.home.loop.time() <= 0.1  # it looks again when the time would be up
        quiet_for(monkeypatch, 30.0)
        pass_time(link, 0.1)
        assert link.stage == 4


async def test_a_frame_that_waits_for_our_own_program_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet_for(monkeypatch, 1000.0)
    async with link_and_peer(client=False) as (link, peer):
        messages = [peer.frames.message(TEXT, str(number)) for number in range(1000)]
        await peer.send(b"".join(messages) + b"\x82")  # type: ignore[arg-type]
        await until(lambda: link.paused)
        pass_time(link, LOOK)
        pass_time(link, LOOK)
        for _ in messages:
            await link.receive(RECEIVE)
        await until(link.frame_begun)
        pass_time(link, LOOK)  # the first look after the pause
        assert link.stage == 0
        pass_time(link, LOOK)
        assert link.stage == 4


async def test_a_blocked_loop_is_no_slow_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet_for(monkeypatch, 1000.0)
    async with link_and_peer(client=False) as (link, peer):
        await peer.send(b"\x82")
        await until(link.frame_begun)
        pass_time(link, LOOK)
        life = life_of(link)
        for _ in range(3):
            life.stop()
            life._next_look = life._due = link.home.loop.time() - 10 * FRAME_TIMEOUT
            life.tick()
            assert link.stage == 0


@pytest.mark.parametrize("transport", ["TCP", "TLS 1.3"])
async def test_a_peer_that_takes_nothing_of_a_frame_has_its_time_to_go_on(transport: str) -> None:
    async with transport_pair(transport) as (ours, theirs):
        link = link_of(ours, client=True)
        link.start(frame_timeout=0.06)
        with pytest.raises(TimeoutError, match="taken nothing of what is being sent") as caught:
            async with asyncio.timeout(PATIENCE):
                await link.send(BINARY, bytes(60_000_000), True)
        assert link.stage == 4
        assert getattr(caught.value, "winerror", 0) == INET_E_TIMEOUT
        with pytest.raises(TimeoutError, match="taken nothing of what is being sent"):
            link.send(BINARY, b"late", True)
        theirs.abort()


async def test_a_slow_upload_is_life_for_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with link_and_peer(client=True) as (link, _peer):
        link.send(BINARY, bytes(30_000_000), True)
        await turns(3)
        for acknowledged in range(1000):
            quiet_for(monkeypatch, 1000.0, acknowledged // 3)
            pass_time(link, LOOK)
        assert link.stage == 0
        for _ in range(LOOKS):
            pass_time(link, LOOK)
        assert link.stage == 4


async def test_the_time_of_a_frame_may_change() -> None:
    async with link_and_peer(client=False) as (link, peer):
        life = life_of(link)
        life.change_frame_timeout(0.0)
        assert life._timer is None
        life.change_frame_timeout(0.05)
        waiting = link.receive(RECEIVE)
        await peer.send(b"\x82")
        with pytest.raises(TimeoutError, match="rest of a frame"):
            async with asyncio.timeout(PATIENCE):
                await waiting
