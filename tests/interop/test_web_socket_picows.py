"""picows as the client and the server of our WebSockets: its frames, and its face of the websockets package."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from tests.engine.tls_pairs import client_context
from tests.interop.peers_here import package
from tests.interop.web_socket_battery import cases
from tests.interop.web_socket_of_websockets import Websockets
from tests.interop.web_socket_pairs import (
    ANY_SIZE,
    Implementation,
    Message,
    Peer,
    PeerServer,
    QueuedPeer,
    Settings,
    cut,
    run,
    server_context,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tests.interop.web_socket_pairs import Scene

picows = package("picows")
Kind = picows.WSMsgType


def listener_of(peer: PicowsPeer) -> Any:
    """What picows calls; it can be derived only where picows is installed."""

    class Listener(picows.WSListener):  # type: ignore[misc]
        def on_ws_connected(self, transport: Any) -> None:
            peer.transport = transport
            peer.arrived.set()

        def on_ws_frame(self, _transport: Any, frame: Any) -> None:
            peer.take(frame.msg_type, frame.get_payload_as_bytes(), frame.fin)

        def on_ws_disconnected(self, _transport: Any) -> None:
            peer.note_end(1006, "")

    return Listener()


class PicowsPeer(QueuedPeer):
    """Either of its ends. It leaves fragments and the answer to a close frame to its user."""

    transport: Any

    def __init__(self, subprotocol: str = "") -> None:
        super().__init__()
        self.subprotocol = subprotocol
        self.arrived = asyncio.Event()
        self.parts: list[bytes] = []
        self.is_text = False

    def take(self, kind: Any, payload: bytes, is_final: bool) -> None:
        if kind == Kind.PONG:
            self.pong.set()
        elif kind == Kind.CLOSE:
            code, reason = (struct.unpack("!H", payload[:2])[0], payload[2:].decode()) if payload else (1005, "")
            self.note_end(code, reason)
            if not self.transport.is_close_frame_sent:
                self.transport.send(Kind.CLOSE, payload)
            self.transport.disconnect()
        elif kind in {Kind.TEXT, Kind.BINARY, Kind.CONTINUATION}:
            if kind != Kind.CONTINUATION:
                self.is_text = kind == Kind.TEXT
            self.parts.append(payload)
            if is_final:
                whole = b"".join(self.parts)
                self.parts.clear()
                self.messages.put_nowait(whole.decode() if self.is_text else whole)

    async def send(self, message: Message) -> None:
        await self.send_parts([message])

    async def send_parts(self, parts: Sequence[Message]) -> None:
        kind = Kind.TEXT if isinstance(parts[0], str) else Kind.BINARY
        for number, part in enumerate(parts):
            self.transport.send(Kind.CONTINUATION if number else kind, part, number == len(parts) - 1)

    async def ping(self) -> None:
        self.pong.clear()
        self.transport.send_ping(b"from picows")
        await self.pong.wait()

    async def close(self, code: int | None, reason: str) -> None:
        if code is None:
            self.transport.send(Kind.CLOSE, b"")
        else:
            self.transport.send_close(code, reason.encode())
        await self.transport.wait_disconnected()

    async def abort(self) -> None:
        cut(self.transport.underlying_transport)


class Picows(Implementation):
    # (Its frames are not compressed; its other face compresses.)
    lacks = frozenset({"no_deflate", "deflate", "deflate_with_context"})

    @asynccontextmanager
    async def connect(self, url: str, settings: Settings) -> AsyncIterator[Peer]:
        offer = settings.their_subprotocols
        peer = PicowsPeer()
        await picows.ws_connect(
            lambda: listener_of(peer),
            url,
            ssl_context=client_context() if settings.secure else None,
            max_frame_size=settings.their_limit or ANY_SIZE,
            extra_headers={"Sec-WebSocket-Protocol": ", ".join(offer)} if offer else None,
        )
        peer.subprotocol = peer.transport.response.headers.get("Sec-WebSocket-Protocol", "")
        try:
            yield peer
        finally:
            peer.transport.disconnect()
            with suppress(picows.WSProtocolError):  # the frame that was too long
                await peer.transport.wait_disconnected()

    @asynccontextmanager
    async def serve(self, settings: Settings) -> AsyncIterator[PeerServer]:
        arrived: asyncio.Queue[PicowsPeer] = asyncio.Queue()

        def answer(request: Any) -> Any:
            offered = request.headers.get("Sec-WebSocket-Protocol", "").replace(" ", "").split(",")
            chosen = next((each for each in offered if each in settings.their_subprotocols), "")
            peer = PicowsPeer(chosen)
            arrived.put_nowait(peer)
            more = {"Sec-WebSocket-Protocol": chosen} if chosen else None
            response = picows.WSUpgradeResponse.create_101_response(extra_headers=more)
            return picows.WSUpgradeResponseWithListener(response, listener_of(peer))

        async def accept() -> Peer:
            peer = await arrived.get()
            await peer.arrived.wait()
            return peer

        context = server_context() if settings.secure else None
        limit = settings.their_limit or ANY_SIZE
        server = await picows.ws_create_server(answer, "127.0.0.1", 0, ssl=context, max_frame_size=limit)
        try:
            yield PeerServer(server.sockets[0].getsockname()[1], accept)
        finally:
            server.close()
            await server.wait_closed()


PICOWS = Picows()
#: (It has no transport and no empty close frame, and tells no code where none came.)
OTHER_FACE = Websockets(
    package("picows.websockets"),
    frozenset(
        {
            "we_close_without_a_code",
            "they_close_without_a_code",
            "we_leave_without_a_word",
            "they_leave_without_a_word",
        }
    ),
)


@cases(PICOWS)
async def test_picows(role: str, check: Callable[[Scene], Awaitable[None]]) -> None:
    await run(PICOWS, role, check)


@cases(OTHER_FACE)
async def test_its_face_of_the_websockets_package(role: str, check: Callable[[Scene], Awaitable[None]]) -> None:
    await run(OTHER_FACE, role, check)
