"""The package ws of Node.js as the client and the server of our WebSockets."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.tls_pairs import authority, server_certificate
from tests.interop.peers_here import needs, program
from tests.interop.web_socket_agents import HERE, AgentPeer, Talk
from tests.interop.web_socket_battery import cases
from tests.interop.web_socket_pairs import ANY_SIZE, Implementation, Peer, PeerServer, Settings, alongside, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.interop.web_socket_pairs import Scene

NODE = program("node", "nodejs")
#: Where Debian and npm put packages for everybody.
PACKAGES = tuple(map(Path, ("/usr/share/nodejs", "/usr/lib/node_modules", "/usr/local/lib/node_modules")))
HAS_WS = any((packages / "ws" / "package.json").exists() for packages in PACKAGES)
pytestmark = needs(NODE and HAS_WS, "Node.js with its package ws (Debian: nodejs node-ws)")


class Node(Implementation):
    def __init__(self) -> None:
        self.port = 0
        self.files = Path()

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
        """What carries out a request in an agent of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2 * ANY_SIZE)

        async def write(line: str) -> None:
            writer.write(line.encode() + b"\n")

        async def pump() -> None:
            while line := await reader.readline():
                talk.take(line)

        async def ask(op: str, **request: Any) -> Any:
            return await talk.request(op=op, **request)

        talk = Talk(write)
        try:
            async with alongside(pump()):
                yield ask
        finally:
            writer.close()
            await writer.wait_closed()

    def request(self, settings: Settings) -> dict[str, Any]:
        return {
            "protocols": settings.their_subprotocols,
            "deflate": settings.their_deflate,
            "limit": settings.their_limit or ANY_SIZE,
        }

    @asynccontextmanager
    async def connect(self, url: str, settings: Settings) -> AsyncIterator[Peer]:
        ca = str(self.files / "ca.pem")
        async with self.agent() as ask:
            yield AgentPeer(ask, await ask("connect", url=url, ca=ca, **self.request(settings)))

    @asynccontextmanager
    async def serve(self, settings: Settings) -> AsyncIterator[PeerServer]:
        pem = str(self.files / "server.pem") if settings.secure else None
        async with self.agent() as ask:
            served = await ask("serve", pem=pem, **self.request(settings))

            async def accept() -> Peer:
                return AgentPeer(ask, await ask("accept", server=served["number"]))

            yield PeerServer(served["port"], accept)


NODE_WS = Node()


@pytest.fixture(scope="module", autouse=True)
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One process for all tests: each connects to an agent of its own in it."""
    NODE_WS.files = tmp_path_factory.mktemp("node")
    authority().cert_pem.write_to_path(NODE_WS.files / "ca.pem")
    server_certificate().private_key_and_cert_chain_pem.write_to_path(NODE_WS.files / "server.pem")
    assert NODE is not None
    with subprocess.Popen(
        [NODE, HERE / "web_socket_node.js"],
        stdin=subprocess.PIPE,  # it ends with that
        stdout=subprocess.PIPE,
        env=os.environ | {"NODE_PATH": os.pathsep.join(map(str, PACKAGES))},
    ) as started:
        assert started.stdout is not None
        NODE_WS.port = int(started.stdout.readline())
        yield


@cases(NODE_WS)
async def test_node(role: str, check: Callable[[Scene], Awaitable[None]]) -> None:
    await run(NODE_WS, role, check)
