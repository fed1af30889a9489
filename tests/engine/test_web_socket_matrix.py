"""The endings matrix of WebSockets: kinds of peer times ways to end, over TCP and TLS, in both roles.

As for the streams below (`test_endings.py`, `test_tls_endings.py`), each cell ends within its deadline, tells the peer
the truth, and leaves nothing: the harness around each test looks for descriptors, tasks, threads, log records and calls
of the loop's exception handler.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, connected_sockets, reset, turns, until
from tests.engine.tls_pairs import Wire, client_session, secured, server_session
from tests.engine.web_socket_pairs import RECEIVE, RawPeer, Told, link_of

from moorings import EndReason, StreamSocket
from moorings.engine.tls_handshake import shake_hands

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from moorings.engine.web_socket import WebSocketLink

TEXT, BINARY = 1, 2
CLOSED, ENDED = 2, 4
SHORT = 0.02
FULL = 16 << 20

KINDS = ["TCP", "TLS 1.2", "TLS 1.3"]
PEERS = [
    "answers",
    "is silent",
    "answers and stays",
    "closes first",
    "closes at the same time",
    "resets",
    "half-closes",
    "breaks the rules",
    "reads late",
    "sends without end",
    "leaves our buffer full",
]
WAYS = ["close", "close with a code", "abort", "cancel", "stream closed below"]
every_cell = pytest.mark.parametrize("kind", KINDS)
both_roles = pytest.mark.parametrize("client", [True, False], ids=["client", "server"])


class TlsPeer(RawPeer):
    """The raw peer with a TLS session of its own."""

    def __init__(self, wire: Wire, *, client: bool) -> None:
        super().__init__(wire.plain, client=client)
        self.wire = wire

    async def send(self, data: bytes) -> None:
        await self.wire.send_raw(self.wire.records(data))

    async def next(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            while not self.got:
                try:
                    data = await self.wire.receive()
                except ConnectionResetError:
                    return "RST"
                except EOFError:
                    return "cut off"
                if not data:
                    return "FIN"
                self.receive_bytes(data)
        return self.got.pop(0)


@asynccontextmanager
async def link_and_raw(kind: str, *, client: bool) -> AsyncIterator[tuple[WebSocketLink, RawPeer]]:
    ours, theirs = connected_sockets()
    theirs.setblocking(False)
    peer: RawPeer
    if kind == "TCP":
        made = StreamSocket.from_socket(ours)
        peer = RawPeer(theirs, client=not client)
    else:
        mine, other = client_session(kind), server_session(kind)
        if not client:
            mine, other = server_session(kind), client_session(kind)
        made, _ = await asyncio.gather(secured(ours, mine, client=client), shake_hands(theirs, other, "the wire"))
        peer = TlsPeer(Wire(theirs, other), client=not client)
    link = link_of(made, client=client)
    link.start()
    try:
        yield link, peer
    finally:
        made.abort()
        theirs.close()


async def behave(link: WebSocketLink, peer: RawPeer, how: str) -> None:
    """Bring the connection to where the ending begins."""
    impatient = {"is silent", "sends without end", "leaves our buffer full", "breaks the rules"}
    link.close_wait = link.stream.close_timeout = SHORT if how in impatient else 1000.0
    match how:
        case "answers":
            await link.send(TEXT, "question", True)
            assert await peer.next() == "question"
            await peer.send(_joined(peer.frames.message(TEXT, "answer")))
            assert await link.receive(RECEIVE) == "answer"
        case "closes first":
            await peer.send(peer.frames.close(4000, "bye"))
            await until(lambda: link.close_code)
        case "resets":
            reset(peer.plain)
            await turns(3)
        case "half-closes":
            if isinstance(peer, TlsPeer):
                peer.wire.session.close_notify()
                await peer.wire.send_raw(peer.wire.session.take_ciphertext())
            peer.plain.shutdown(socket.SHUT_WR)
            await turns(3)
        case "breaks the rules":
            await peer.send(b"\xff\xff")
            await until(lambda: link.protocol_failures)
        case "reads late":
            for number in range(100):
                link.send(TEXT, f"unread {number}", True)
        case "leaves our buffer full":
            link.send(BINARY, bytes(FULL), True)
            await turns(3)
            await until(lambda: link.stream.write_blocked)
        case _:
            pass


def _joined(frame: Any) -> bytes:
    return frame if isinstance(frame, bytes) else frame[0] + bytes(frame[1])


async def _answer(link: WebSocketLink, peer: RawPeer, how: str) -> None:
    """Read to the end, and answer a close frame."""
    while (got := await peer.next()) not in {"FIN", "RST", "cut off"}:
        if not isinstance(got, tuple) or got[0] != "close":
            continue
        if not peer.frames.close_sent:
            await peer.send(peer.frames.close_answer(got[1]))
        if how == "answers and stays":
            await until(lambda: link.stage >= CLOSED)
            if link.stage == CLOSED:
                link._arm(SHORT, link._on_timer)  # instead of the rest of the close wait
            return
        if not peer.frames.is_client:
            _leave(peer)


async def meanwhile(link: WebSocketLink, peer: RawPeer, how: str) -> None:
    """What the peer does while we end."""
    with suppress(ConnectionError, asyncio.CancelledError):
        match how:
            case "answers" | "reads late" | "closes first" | "half-closes" | "answers and stays":
                await _answer(link, peer, how)
            case "closes at the same time":
                if not peer.frames.close_sent:
                    await peer.send(peer.frames.close(4001, ""))
                _leave(peer)
            case "sends without end":
                while True:
                    await peer.send(_joined(peer.frames.message(BINARY, bytes(10_000))))
            case _:
                pass


def _leave(peer: RawPeer) -> None:
    with suppress(OSError):
        if isinstance(peer, TlsPeer):
            peer.wire.session.close_notify()
            peer.plain.send(peer.wire.session.take_ciphertext())
        peer.plain.shutdown(socket.SHUT_WR)


async def end(link: WebSocketLink, way: str) -> None:
    match way:
        case "close":
            link.close()
        case "close with a code":
            link.close(4002, "enough")
        case "abort":
            link.abort()
        case "stream closed below":
            link.stream.close()
        case _:
            link.close()
            waiting = asyncio.ensure_future(_wait(link))
            await turns(2)
            waiting.cancel()
            await asyncio.wait([waiting])


async def _wait(link: WebSocketLink) -> None:
    await link.stream.wait_closed()


@both_roles
@every_cell
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", PEERS)
async def test_ending(how: str, way: str, kind: str, client: bool) -> None:
    async with link_and_raw(kind, client=client) as (link, peer):
        told = Told(link)
        await behave(link, peer, how)
        waiting = link.receive(RECEIVE)
        acting = asyncio.ensure_future(meanwhile(link, peer, how))
        async with asyncio.timeout(PATIENCE):
            await end(link, way)
            await link.stream.wait_closed()
        acting.cancel()
        await asyncio.wait([acting])
        assert link.stage == ENDED
        assert link.timer is link.life is None
        assert link.stream.is_released()
        assert link.stream.end_reason != EndReason.OPEN
        with pytest.raises(OSError):
            await waiting
        with pytest.raises(OSError):
            link.send(TEXT, "late", True)
        check(told, link, how, way)


def check(told: Told, link: WebSocketLink, how: str, way: str) -> None:
    """Who is told what: `closed` once where the program or the peer closed, never where it just broke."""
    codes = [code for code, _ in told.closed]
    assert len(codes) <= 1
    assert len(told.failed) <= 1
    if how == "closes first":
        assert codes == [4000]
    elif how in {"resets", "half-closes", "breaks the rules"}:
        assert codes == []
    elif way in {"abort", "stream closed below"}:
        assert codes in ([], [4001], [4002], [1005], [1006])
        assert codes == [] or how == "closes at the same time" or way == "stream closed below"
    elif how in {"answers", "answers and stays", "reads late"}:
        wanted = {"close": [1005], "close with a code": [4002]}
        assert way == "cancel" or codes == wanted[way]
    elif how == "closes at the same time":
        assert way == "cancel" or codes == [4001]
    else:
        assert way == "cancel" or codes == [1006]


@both_roles
@every_cell
async def test_the_close_wait_is_the_only_timer(kind: str, client: bool) -> None:
    """With it at zero everything ends in the next loop turns, with a reset."""
    async with link_and_raw(kind, client=client) as (link, peer):
        link.close_wait = 0.0
        link.close(1000, "")
        await turns(4)
        async with asyncio.timeout(PATIENCE):
            await link.stream.wait_closed()
        assert await peer.next() == ("close", 1000, "")
        assert await peer.next() in {"RST", "cut off"}


@both_roles
@every_cell
async def test_everything_sent_before_the_close_arrives(kind: str, client: bool) -> None:
    async with link_and_raw(kind, client=client) as (link, peer):
        link.send(BINARY, bytes(3_000_000), True)
        for number in range(100):
            link.send(TEXT, str(number), True)
        link.close(1001, "all")
        assert await peer.next() == bytes(3_000_000)
        assert [await peer.next() for _ in range(100)] == [str(number) for number in range(100)]
        assert await peer.next() == ("close", 1001, "all")
        await peer.send(peer.frames.close_answer(1001))
        if client:
            _leave(peer)
        assert await peer.next() == "FIN"
        async with asyncio.timeout(PATIENCE):
            await link.stream.wait_closed()
        assert link.close_code == 1001
