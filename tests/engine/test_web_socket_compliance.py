"""The Autobahn list over real connections: an echo of ours, in both roles, against a scripted peer.

`tests/protocols/test_compliance.py` has the list for the codec alone. Here the answers count: each message comes back,
each ping has its pong, each close frame its answer with the same code, and what is wrong ends the connection with the
right code, behind the answers to what came before. Nothing less is accepted: no case is "non-strict".
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE
from tests.engine.web_socket_pairs import RawPeer, link_and_peer
from tests.protocols.compliance_cases import CASES, Case
from tests.protocols.frames import BINARY, EVERYTHING, MESSAGES, TEXT, Frame, wire
from tests.protocols.test_web_socket_deflate import ANY, FILLERS, FRAGMENTS, OFFERS, SIZES

from moorings.protocols.web_socket_deflate import (
    DeflateParameters,
    accept_offer,
    make_codecs,
    parse_extensions,
)
from moorings.protocols.web_socket_frames import UNLIMITED
from moorings.protocols.web_socket_sending import FrameSender

if TYPE_CHECKING:
    from moorings.engine.web_socket import WebSocketLink

ROLES = pytest.mark.parametrize("client", [False, True], ids=["server", "client"])
ENDED = 4


def echo(link: WebSocketLink) -> None:
    """Answer each message with itself."""

    def answer(message: Any) -> None:
        link.send(TEXT if isinstance(message, str) else BINARY, message, True)

    link.handler = answer


def expected_answers(case: Case, *, client: bool) -> list[Any]:
    """What the peer has to get, in this order; pongs and echoes each in their own."""
    answers: list[Any] = []
    for event in case.events:
        match event:
            case ("message", _, payload):
                answers.append(payload)
            case ("ping", payload):
                answers.append(("pong", payload))
            case ("close", code, _):
                answers += [("close", code, ""), *([] if client else ["FIN"])]
            case ("fail", code):
                answers += [("close", int(code)), "FIN"]
            case _:
                assert event[0] == "pong"
    return answers


async def answers_of(peer: RawPeer, count: int) -> list[Any]:
    """What comes; of a close frame that tells of a failure only the code."""
    found: list[Any] = []
    for _ in range(count):
        answer = await peer.next()
        if isinstance(answer, tuple) and answer[0] == "close" and answer[2]:
            assert answer[1] in {1002, 1007}
            answer = answer[:2]
        found.append(answer)
    return found


def by_kind(answers: list[Any]) -> list[list[Any]]:
    """Pongs may overtake the echo of a message that came with their ping; nothing else overtakes anything."""
    pongs = [answer for answer in answers if isinstance(answer, tuple) and answer[0] == "pong"]
    return [pongs, [answer for answer in answers if answer not in pongs]]


@ROLES
@pytest.mark.parametrize("cut", ["whole", "by octets"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
async def test_case(case: Case, cut: str, client: bool) -> None:
    async with link_and_peer(client=client, start=False) as (link, peer):
        echo(link)
        link.start()
        data = wire(case.frames, masked=not client)
        wanted = expected_answers(case, client=client)
        if cut == "whole":
            sending = asyncio.ensure_future(peer.send(data))
        else:
            sending = asyncio.ensure_future(_send_by_octets(peer, data))
        found = await answers_of(peer, len(wanted))
        await sending
        if len(case.frames) > 1 and found[-1:] == ["RST"] and case.events[-1][0] == "close":
            found[-1] = "FIN"  # what the peer sends behind its close frame is not read, and the kernel tells it so
        assert by_kind(found) == by_kind(wanted)
        if case.events[-1][0] in {"close", "fail"}:
            with suppress(OSError):  # where it was reset meanwhile
                peer.plain.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(PATIENCE):
                await link.stream.wait_closed()
            assert link.stage == ENDED
        else:
            # The connection is as good as before.
            await peer.send(peer.frames.message(TEXT, "and on"))  # type: ignore[arg-type]
            assert await peer.next() == "and on"
        assert peer.got == []


async def _send_by_octets(peer: RawPeer, data: bytes) -> None:
    """One by one, each in a system call of its own where that is not too much."""
    step = 1 if len(data) < 2000 else 997
    peer.plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for place in range(0, len(data), step):
        try:
            await peer.send(data[place : place + step])
        except ConnectionError:
            return  # it has said what is wrong, and does not listen any more
        await asyncio.sleep(0)


# -- section 9: limits and performance -------------------------------------------------------------------------------


@ROLES
@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("size", [65536, 262144, 1048576, *([4194304, 8388608, 16777216] if EVERYTHING else [])])
async def test_section_9_sizes(kind: int, size: int, client: bool) -> None:
    """9.1 to 9.6: big messages, whole, in fragments of several sizes, and chopped."""
    payload: Any = "*" * size if kind == TEXT else b"\xfe" * size
    async with link_and_peer(client=client, start=False) as (link, peer):
        echo(link)
        link.start()
        for fragment in (size, 65536, 1024, 64):
            if size // fragment > (65536 if EVERYTHING else 4096):
                continue
            data = b"".join(
                joined(peer.frames.fragment(kind, payload[place : place + fragment], place + fragment >= size))
                for place in range(0, size, fragment)
            )
            sending = asyncio.ensure_future(peer.send(data))
            assert await peer.next() == payload
            await sending
        chop = 1024
        data = joined(peer.frames.message(kind, payload))

        async def send_chopped() -> None:
            for place in range(0, len(data), chop):
                await peer.send(data[place : place + chop])

        sending = asyncio.ensure_future(send_chopped())
        assert await peer.next() == payload
        await sending


def joined(frame: Any) -> bytes:
    return frame if isinstance(frame, bytes) else frame[0] + bytes(frame[1])


@ROLES
@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024, 4096])
async def test_section_9_many(kind: int, size: int, client: bool) -> None:
    """9.7 and 9.8: many messages, one after the other, each echoed before the next."""
    payload: Any = "*" * size if kind == TEXT else b"*" * size
    async with link_and_peer(client=client, start=False) as (link, peer):
        echo(link)
        link.start()
        for _ in range(MESSAGES):
            await peer.send(joined(peer.frames.message(kind, payload)))
            assert await peer.next() == payload
        assert (link.messages_received, link.sender.messages_sent) == (MESSAGES, MESSAGES)


# -- sections 12 and 13: compression ---------------------------------------------------------------------------------


def compressing(peer: RawPeer, agreed: DeflateParameters, *, client: bool) -> RawPeer:
    """The peer with the other half of what was agreed."""
    inflater, deflater = make_codecs(agreed, client, ANY, limit=UNLIMITED, ratio_limit=1 << 20)
    made = RawPeer(peer.plain, client=client)
    made.inflater = inflater
    made.frames = FrameSender(client, deflater=deflater)
    return made


@ROLES
@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize("section", OFFERS)
async def test_sections_12_and_13(section: str, filler: str, client: bool) -> None:
    accepted = accept_offer(ANY, parse_extensions(OFFERS[section]))
    assert accepted is not None
    agreed = accepted[0]
    inflater, deflater = make_codecs(agreed, client, ANY, ratio_limit=1 << 20)
    async with link_and_peer(client=client, start=False, inflater=inflater, deflater=deflater) as (link, raw):
        echo(link)
        link.start()
        peer = compressing(raw, agreed, client=not client)
        for size in SIZES:
            kind, payload = FILLERS[filler](size)
            for _ in range(MESSAGES if size < 2000 else MESSAGES // (1 if EVERYTHING else 25)):
                await peer.send(joined(peer.frames.message(kind, payload)))
                assert await peer.next() == payload
        for size, fragment in FRAGMENTS:
            kind, payload = FILLERS[filler](size)
            for place in range(0, len(payload), fragment):
                last = place + fragment >= len(payload)
                await peer.send(joined(peer.frames.fragment(kind, payload[place : place + fragment], last)))
            assert await peer.next() == payload
        await peer.send(wire([Frame(8, (1000).to_bytes(2, "big"))], masked=not client))
        assert await peer.next() == ("close", 1000, "")
