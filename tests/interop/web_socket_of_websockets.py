"""Peers made with the package websockets, or with another one that has its face."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.engine.tls_pairs import client_context
from tests.interop.web_socket_pairs import (
    ANY_SIZE,
    Implementation,
    Message,
    Peer,
    PeerServer,
    Settings,
    cut,
    server_context,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class WebsocketsPeer(Peer):
    """Either of its ends."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.subprotocol = connection.subprotocol or ""
        self.deflates = "permessage-deflate" in connection.response.headers.get("Sec-WebSocket-Extensions", "")

    async def send(self, message: Message) -> None:
        await self.connection.send(message)

    async def send_parts(self, parts: Sequence[Message]) -> None:
        await self.connection.send(parts)

    async def receive(self) -> Message:
        message: Message = await self.connection.recv()
        return message

    async def ping(self) -> None:
        await (await self.connection.ping())

    async def close(self, code: int | None, reason: str) -> None:
        await self.connection.close(code, reason)

    async def end(self) -> tuple[int, str]:
        await self.connection.wait_closed()
        return self.connection.close_code, self.connection.close_reason or ""

    async def abort(self) -> None:
        cut(self.connection.transport)


class Websockets(Implementation):
    """Of a module with `connect` and `serve`."""

    def __init__(self, module: Any, lacks: frozenset[str] = frozenset()) -> None:
        self.module = module
        self.lacks = lacks

    def options(self, settings: Settings) -> dict[str, Any]:
        return {
            "subprotocols": settings.their_subprotocols or None,
            "compression": "deflate" if settings.their_deflate else None,
            "max_size": settings.their_limit or ANY_SIZE,
        }

    @asynccontextmanager
    async def connect(self, url: str, settings: Settings) -> AsyncIterator[Peer]:
        trust = client_context() if settings.secure else None
        async with self.module.connect(url, ssl=trust, **self.options(settings)) as connection:
            yield WebsocketsPeer(connection)

    @asynccontextmanager
    async def serve(self, settings: Settings) -> AsyncIterator[PeerServer]:
        arrived: asyncio.Queue[Peer] = asyncio.Queue()

        async def handle(connection: Any) -> None:
            arrived.put_nowait(WebsocketsPeer(connection))
            await connection.wait_closed()

        context = server_context() if settings.secure else None
        async with self.module.serve(handle, "127.0.0.1", 0, ssl=context, **self.options(settings)) as server:
            (listener,) = server.sockets
            yield PeerServer(listener.getsockname()[1], arrived.get)
