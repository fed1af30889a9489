"""The table of endings, walked from every stage with every event, on real connections in both roles."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, turns, until
from tests.engine.web_socket_pairs import NEXT, RECEIVE, RawPeer, Told, link_and_peer

from moorings.engine.web_socket import STEPS

if TYPE_CHECKING:
    from moorings.engine.web_socket import WebSocketLink

TEXT = 1
OPEN, CLOSING, CLOSED, DEAF, ENDED = STAGES = range(5)
EVENTS = ["close", "peer closes", "violation", "end", "silence", "timer"]

#: Where each event leads from each stage; a server's CLOSED is over at once, as it ends the connection itself.
LEADS = {
    OPEN: {"close": CLOSING, "peer closes": CLOSED, "violation": DEAF, "end": ENDED, "silence": ENDED},
    CLOSING: {"peer closes": CLOSED, "violation": ENDED, "end": ENDED, "timer": ENDED},
    CLOSED: {"end": ENDED, "timer": ENDED},
    DEAF: {"end": ENDED, "timer": ENDED},
    ENDED: {},
}
#: What `closed` has told then, where the program or the peer has said something.
BROKEN, PEER_CODE, OURS = 1006, 3000, 1000


def leads(stage: int, event: str, *, client: bool) -> int:
    following = LEADS[stage].get(event, stage)
    return ENDED if following == CLOSED and not client else following


def test_the_table_says_the_same() -> None:
    assert {(stage, event) for stage, rows in LEADS.items() for event in rows} == set(STEPS)
    for (stage, event), (_, following) in STEPS.items():
        assert LEADS[stage][event] == following


async def bring_to(link: WebSocketLink, peer: RawPeer, stage: int) -> None:
    match stage:
        case 1:
            link.close(1000, "")
            assert await peer.next() == ("close", 1000, "")
        case 2:
            await peer.send(peer.frames.close(PEER_CODE, "bye"))
            assert await peer.next() == ("close", PEER_CODE, "")
        case 3:
            await peer.send(b"\xff\xff")
            assert (await peer.next())[:2] == ("close", 1002)
        case 4:
            link.abort()
        case _:
            pass
    assert link.stage == stage


async def happen(link: WebSocketLink, peer: RawPeer, event: str) -> None:
    with suppress(ConnectionError):  # it may be gone
        match event:
            case "close":
                link.close(1001, "again")
            case "peer closes":
                code = b"\x0b\xb8"  # 3000, also where the peer has sent a close frame before
                await peer.send(b"\x88\x82\0\0\0\0" + code if peer.frames.is_client else b"\x88\x02" + code)
            case "violation":
                await peer.send(b"\xff\xff")
            case "end":
                with suppress(OSError):
                    peer.plain.shutdown(socket.SHUT_WR)
            case "silence":
                link.silent("for the test")
            case _:
                link._on_timer()


@pytest.mark.parametrize("client", [True, False], ids=["client", "server"])
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("stage", STAGES, ids=["open", "closing", "closed", "deaf", "ended"])
async def test_each_event_in_each_stage(stage: int, event: str, client: bool) -> None:
    if stage == CLOSED and not client:
        stage = ENDED
    async with link_and_peer(client=client) as (link, peer):
        told = Told(link)
        waiting = [link.receive(RECEIVE), link.receive(NEXT), link.ping(b"waiting")]
        await peer.next()
        await bring_to(link, peer, stage)
        before = link.protocol_failures, list(told.closed), link.stream.is_released()
        await happen(link, peer, event)
        wanted = leads(stage, event, client=client)
        if wanted != stage:
            await until(lambda: link.stage == wanted)
        await turns(5)
        assert link.stage == wanted
        check(link, told, stage, event, wanted)
        if wanted == stage:
            assert (link.protocol_failures, told.closed, link.stream.is_released()) == before
        for operation in waiting:
            assert operation.done() == (wanted != OPEN)
        if wanted == OPEN:
            await link.send(TEXT, "as before", True)
            assert await peer.next() == "as before"
        else:
            with pytest.raises(OSError):
                link.send(TEXT, "late", True)
            with pytest.raises((OSError, StopAsyncIteration)):
                await link.receive(NEXT)
        link.abort()
        for operation in waiting:
            with pytest.raises((OSError, StopAsyncIteration)):
                await operation
        assert link.timer is link.life is link.ping_head is link.receive_head is None
        assert link.stage == ENDED
        # And from the end nothing leads on.
        for late in EVENTS:
            await happen(link, peer, late)
        assert link.stage == ENDED
        assert len(told.closed) <= 1
        assert len(told.failed) <= 1


def check(link: WebSocketLink, told: Told, stage: int, event: str, wanted: int) -> None:
    """What was told, and whether a deadline runs, after the event."""
    running = wanted in {CLOSING, CLOSED, DEAF}
    assert (link.timer is not None) == running or stage == event == 0
    if running:
        assert link.life is None
    codes = [code for code, _ in told.closed]
    match stage, event:
        case 0, "peer closes":
            assert codes == [PEER_CODE]
        case 1, "peer closes":
            assert codes == [PEER_CODE]
        case 1, "violation" | "end" | "timer":
            assert codes == [BROKEN]
        case 2, _:
            assert codes == [PEER_CODE]
        case _:
            assert PEER_CODE not in codes or stage == ENDED
            assert BROKEN not in codes


@pytest.mark.parametrize("client", [True, False], ids=["client", "server"])
@pytest.mark.parametrize("second", EVENTS)
@pytest.mark.parametrize("first", EVENTS)
async def test_two_events_in_one_turn(first: str, second: str, client: bool) -> None:
    """Whatever comes together: it ends, is told once, and nothing is left."""
    async with link_and_peer(client=client) as (link, peer):
        told = Told(link)
        link.close_wait = 0.02
        waiting = link.receive(NEXT)
        await happen(link, peer, first)
        await happen(link, peer, second)
        if {first, second} == {"timer"}:
            link.close(OURS, "")
        with suppress(OSError):
            peer.plain.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(PATIENCE):
            await link.stream.wait_closed()
        await turns(3)
        assert link.stage == ENDED
        assert link.timer is link.life is None
        assert len(told.closed) + len(told.failed) <= 1
        caught: Any = None
        try:
            await waiting
        except (OSError, StopAsyncIteration) as error:
            caught = error
        assert caught is not None
