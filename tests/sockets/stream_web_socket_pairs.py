"""A StreamWebSocket and the ServerStreamWebSocket that it is connected to, over TCP and over TLS."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.engine.pairs import PATIENCE
from tests.engine.tls_pairs import server_certificate
from tests.sockets.tls_servers import trusts

import moorings
from moorings import Certificate, ServerStreamWebSocket, StreamWebSocket, Uri

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    MakePair = Callable[[], Awaitable[tuple[StreamWebSocket, ServerStreamWebSocket]]]

TRANSPORTS = ["TCP", "TLS 1.3"]


@asynccontextmanager
async def pairs_over(transport: str) -> AsyncIterator[MakePair]:
    """What makes pairs, connected as programs do it."""
    secure = transport != "TCP"
    settings: Any = {}
    if secure:
        settings["certificate"] = Certificate.from_pem(server_certificate().private_key_and_cert_chain_pem.bytes())
    async with moorings.listen(f"{'tls' if secure else 'tcp'}://127.0.0.1:0", **settings) as listener:
        connections = aiter(listener)

        async def make_pair() -> tuple[StreamWebSocket, ServerStreamWebSocket]:
            client = StreamWebSocket()
            if secure:
                client.control.trust_anchors = trusts()
            uri = Uri(f"{'wss' if secure else 'ws'}://localhost:{listener.port}/bytes")
            async with asyncio.timeout(PATIENCE):
                connecting = asyncio.ensure_future(client.connect_async(uri))
                server = await moorings.accept_stream_web_socket(await anext(connections))
                await connecting
            return client, server

        yield make_pair


@asynccontextmanager
async def pair_over(transport: str = "TCP") -> AsyncIterator[tuple[StreamWebSocket, ServerStreamWebSocket]]:
    """One pair; both are aborted at the end."""
    async with pairs_over(transport) as make_pair:
        client, server = await make_pair()
        try:
            yield client, server
        finally:
            client.abort()
            server.abort()
