"""aiohttp as the client and the server of our WebSockets."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.engine.tls_pairs import client_context
from tests.interop.peers_here import package
from tests.interop.web_socket_battery import cases
from tests.interop.web_socket_pairs import (
    ANY_SIZE,
    Implementation,
    Message,
    Peer,
    PeerServer,
    QueuedPeer,
    Settings,
    alongside,
    cut,
    run,
    server_context,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.interop.web_socket_pairs import Scene

aiohttp = package("aiohttp")
web = package("aiohttp.web")


class AiohttpPeer(QueuedPeer):
    """Either of aiohttp's ends. Pings and pongs are handled here, as it shows pongs only to those who do so."""

    def __init__(self, web_socket: Any, subprotocol: str, deflates: bool) -> None:
        super().__init__()
        self.web_socket = web_socket
        self.subprotocol = subprotocol
        self.deflates = deflates

    async def pump(self) -> None:
        kinds = aiohttp.WSMsgType
        code, reason = 1006, ""
        while True:
            message = await self.web_socket.receive()
            if message.type in {kinds.TEXT, kinds.BINARY}:
                self.messages.put_nowait(message.data)
            elif message.type == kinds.PING:
                await self.web_socket.pong(message.data)
            elif message.type == kinds.PONG:
                self.pong.set()
            else:
                if message.type == kinds.CLOSE:
                    code, reason = message.data or 1005, message.extra or ""
                break
        self.note_end(code, reason)

    async def send(self, message: Message) -> None:
        await (self.web_socket.send_str(message) if isinstance(message, str) else self.web_socket.send_bytes(message))

    async def ping(self) -> None:
        self.pong.clear()
        await self.web_socket.ping(b"from aiohttp")
        await self.pong.wait()

    async def close(self, code: int | None, reason: str) -> None:
        await self.web_socket.close(code=code, message=reason.encode())

    async def abort(self) -> None:
        cut(self.web_socket)


class Aiohttp(Implementation):
    # It has no way to send fragments, or an empty close frame.
    lacks = frozenset({"fragments_from_them", "they_close_without_a_code"})

    @asynccontextmanager
    async def connect(self, url: str, settings: Settings) -> AsyncIterator[Peer]:
        options = {"protocols": settings.their_subprotocols, "compress": 15 if settings.their_deflate else 0}
        limit = settings.their_limit or ANY_SIZE
        trust = client_context() if settings.secure else True
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, **options, max_msg_size=limit, autoping=False, ssl=trust) as web_socket,
        ):
            peer = AiohttpPeer(web_socket, web_socket.protocol or "", bool(web_socket.compress))
            async with alongside(peer.pump()):
                yield peer

    @asynccontextmanager
    async def serve(self, settings: Settings) -> AsyncIterator[PeerServer]:
        arrived: asyncio.Queue[Peer] = asyncio.Queue()

        async def handle(request: Any) -> Any:
            web_socket = web.WebSocketResponse(
                protocols=settings.their_subprotocols,
                compress=settings.their_deflate,
                max_msg_size=settings.their_limit or ANY_SIZE,
                autoping=False,
            )
            await web_socket.prepare(request)
            peer = AiohttpPeer(web_socket, web_socket.ws_protocol or "", bool(web_socket.compress))
            arrived.put_nowait(peer)
            await peer.pump()
            return web_socket

        application = web.Application()
        application.router.add_get("/", handle)
        runner = web.AppRunner(application, handle_signals=False)
        await runner.setup()
        try:
            context = server_context() if settings.secure else None
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
            await site.start()
            yield PeerServer(runner.addresses[0][1], arrived.get)
        finally:
            await runner.cleanup()


AIOHTTP = Aiohttp()


@cases(AIOHTTP)
async def test_aiohttp(role: str, check: Callable[[Scene], Awaitable[None]]) -> None:
    await run(AIOHTTP, role, check)
