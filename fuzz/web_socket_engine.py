"""Fuzz target: any octets arrive at a WebSocket of the engine, which tells, answers and ends as the codec says.

The first octet says how: role, parts, compression, a handler or receives, and how the octets are cut.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from fuzz.web_socket_frames import LIMIT, Listener, told_of

from moorings import StreamSocket
from moorings.engine.web_socket import WebSocketLink
from moorings.protocols.web_socket_deflate import DeflateParameters, client_settings, make_codecs
from moorings.protocols.web_socket_frames import FrameReceiver

ALSO = ("web_socket_frames",)
_NEXT = 2
_ENDED = 4


class _Answers(FrameReceiver):
    """What the peer gets has to be frames by the rules, and nothing behind a close frame."""

    def __init__(self, is_client: bool) -> None:
        super().__init__(is_client)
        self.pings = 0

    def on_message(self, kind: int, payload: Any) -> None:
        raise AssertionError(f"nobody sent the message {kind} {payload!r}")

    def on_pong(self, payload: bytes) -> None:
        assert len(payload) <= 125
        self.pings += 1


def one_input(data: bytes) -> None:
    """Take octets in pieces, and compare with what the codec alone tells."""
    how, stream = (data[0] if data else 0), data[1:]
    wanted = Listener(bool(how & 1), False, False)
    if how & 4:
        wanted.inflater = _codecs(bool(how & 1))[0]
    events = told_of([stream], wanted)
    link, told, answers = asyncio.run(_through_the_engine(how, stream))
    assert told == [event[1:] for event in events if event[0] == "message"]
    last = events[-1] if events else ("",)
    assert link.protocol_failures == (last[0] == "fail")
    if last[0] == "fail":
        assert int(link.failure.close_code) == last[1]
    assert link.close_code == (last[1] if last[0] == "close" else 0)
    assert answers.pings <= sum(event[0] == "ping" for event in events)
    assert answers.closed == (last[0] in {"fail", "close"})


def _codecs(is_client: bool) -> tuple[Any, Any]:
    return make_codecs(DeflateParameters(), is_client, client_settings(), limit=LIMIT, ratio_limit=1200)


async def _through_the_engine(how: int, stream: bytes) -> tuple[Any, list[Any], _Answers]:
    is_client, partial = bool(how & 1), bool(how & 2)
    ours, theirs = _connected()
    with theirs:
        made = StreamSocket.from_socket(ours)
        lower: Any = made._connection.stream
        inflater, deflater = _codecs(is_client) if how & 4 else (None, None)
        link = WebSocketLink(
            lower,
            is_client,
            partial=partial,
            frame_limit=LIMIT,
            message_limit=LIMIT,
            inflater=inflater,
            deflater=deflater,
        )
        told: list[Any] = []
        reading: asyncio.Task[None] | None = None
        if how & 8:
            link.handler = told.append
        else:
            reading = asyncio.ensure_future(_read(link, told))
        link.start()
        step = (1 << 20, 1, 7, 100)[how >> 4 & 3]
        for place in range(0, len(stream), step):
            try:
                theirs.sendall(stream[place : place + step])
            except ConnectionError:
                break  # it has closed, and does not listen any more
            await asyncio.sleep(0)
        while link.bytes_received < len(stream) and link.stage == 0 and not link.closed and link.failure is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        link.abort()
        if reading is not None:
            await reading
        assert link.stage == _ENDED
        assert link.receive_head is link.ping_head is link.timer is link.life is None
        return link, _joined(told) if partial else _typed(told), _heard(theirs, not is_client)


async def _read(link: WebSocketLink, told: list[Any]) -> None:
    try:
        while True:
            told.append(await link.receive(_NEXT))
    except (OSError, StopAsyncIteration):
        return


def _typed(told: list[Any]) -> list[Any]:
    return [(1 if isinstance(message, str) else 2, message) for message in told]


def _joined(told: list[Any]) -> list[Any]:
    found: list[Any] = []
    parts = b""
    for kind, part, is_final in told:
        parts += part
        assert part or is_final
        if is_final:
            found.append((kind, parts.decode() if kind == 1 else parts))
            parts = b""
    return found


def _heard(theirs: socket.socket, is_client: bool) -> _Answers:
    answers = _Answers(is_client)
    theirs.setblocking(False)
    try:
        while got := theirs.recv(65536):
            assert not answers.closed
            answers.receive_bytes(got)
    except (BlockingIOError, ConnectionResetError):
        pass
    return answers


def _connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs
