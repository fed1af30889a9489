"""libcurl, by way of curl_cffi, as the client of our WebSockets."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE
from tests.engine.tls_pairs import authority
from tests.interop.peers_here import package
from tests.interop.web_socket_battery import cases
from tests.interop.web_socket_pairs import Implementation, Message, QueuedPeer, Scene, Settings, alongside, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from tests.interop.web_socket_pairs import Peer

curl_cffi = package("curl_cffi")
Flag = curl_cffi.CurlWsFlag


class CurlPeer(QueuedPeer):
    def __init__(self, web_socket: Any) -> None:
        super().__init__()
        self.web_socket = web_socket

    async def pump(self) -> None:
        code, reason = 1006, ""
        while True:
            try:
                data, flags = await self.web_socket.recv()
            except curl_cffi.CurlError:
                break
            if flags & Flag.CLOSE:
                code, reason = int.from_bytes(data[:2]) or 1005, data[2:].decode()
                break
            self.messages.put_nowait(data.decode() if flags & Flag.TEXT else data)
        self.note_end(code, reason)

    async def send(self, message: Message) -> None:
        await self.web_socket.send(message, Flag.TEXT if isinstance(message, str) else Flag.BINARY)

    async def send_parts(self, parts: Sequence[Message]) -> None:
        kind = Flag.TEXT if isinstance(parts[0], str) else Flag.BINARY
        for part in parts[:-1]:
            await self.web_socket.send(part, kind | Flag.CONT)
        await self.web_socket.send(parts[-1], kind)

    async def close(self, code: int | None, reason: str) -> None:
        await self.web_socket.close(code, reason)

    async def abort(self) -> None:
        self.web_socket.terminate()


class Curl(Implementation):
    # It has no compression and no close without a code, shows no pongs and no subprotocol, and tells nobody its limit.
    lacks = frozenset(
        {
            "a_subprotocol",
            "deflate",
            "deflate_with_context",
            "no_deflate",
            "pings_from_them",
            "pings_from_us",
            "they_close_without_a_code",
            "too_long_for_them",
        }
    )
    roles = ("our server",)

    def __init__(self) -> None:
        self.trusts = ""

    @asynccontextmanager
    async def connect(self, url: str, settings: Settings) -> AsyncIterator[Peer]:
        offer = settings.their_subprotocols
        headers = {"Sec-WebSocket-Protocol": ", ".join(offer)} if offer else None
        async with curl_cffi.AsyncSession(verify=self.trusts or True) as session:
            web_socket = await session.ws_connect(url, headers=headers)
            peer = CurlPeer(web_socket)
            async with alongside(peer.pump()):
                yield peer
            await web_socket.close()


CURL = Curl()


@pytest.fixture(autouse=True)
def certificates(tmp_path: Path) -> None:
    CURL.trusts = str(tmp_path / "ca.pem")
    authority().cert_pem.write_to_path(CURL.trusts)


@cases(CURL)
async def test_curl(role: str, check: Callable[[Scene], Awaitable[None]]) -> None:
    await run(CURL, role, check)


async def test_its_pong_goes_out_with_its_next_message() -> None:
    async with asyncio.timeout(PATIENCE), Scene(CURL, "our server").pair() as (ours, theirs):
        ping = ours.ping()
        await ours.send("behind the ping")
        assert await theirs.receive() == "behind the ping"
        await theirs.send("now")  # (Since libcurl 8.21 a pong waits for that.)
        assert await ours.receive() == "now"
        assert await ping > 0
        await theirs.web_socket.ping(b"from curl")
        await theirs.send("behind its ping")
        assert await ours.receive() == "behind its ping"
        assert ours._link.pings_received == 1


async def test_it_gets_its_subprotocol() -> None:
    scene = Scene(CURL, "our server")
    settings = {"our_subprotocols": ("chat.v2", "chat"), "their_subprotocols": ("other", "chat")}
    async with asyncio.timeout(PATIENCE), scene.pair(**settings) as pair:
        assert pair.our_subprotocol == "chat"
