"""Our WebSockets over ASGI, with uvicorn as the server and `websockets` as the client."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.docs.documents import ROOT
from tests.engine.pairs import PATIENCE
from tests.interop.peers_here import package
from tests.sockets.web_socket_peers import client_of, closing_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

package("uvicorn")


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    """A process of uvicorn on a listening socket of ours: whoever connects early only waits."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uvicorn", "--fd", str(listening.fileno()), "--ws", "websockets-sansio"),
            *("--log-level", "warning", "tests.interop.asgi_application:application"),
            cwd=ROOT,
            pass_fds=[listening.fileno()],
            stderr=asyncio.subprocess.PIPE,
        )
    try:
        yield port
        process.terminate()
        _, complaints = await process.communicate()
        assert complaints == b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_uvicorn_serves_our_web_sockets() -> None:
    offered: Any = ["one", "two"]
    async with asyncio.timeout(3 * PATIENCE), served() as port:
        async with client_of(port, "/a%20b?x=1", subprotocols=offered, open_timeout=PATIENCE) as client:
            assert client.subprotocol == "two"
            assert await client.recv() == "/a%20b?x=1 two"
            for message in ("", "größer", b"", b"\0\1", "x" * 70_000, b"y" * 300_000):
                await client.send(message)
                assert await client.recv() == message
        async with client_of(port) as client:
            await client.send("leave")
            assert await client.recv() == "/ "
            assert await closing_of(client) == (3001, "left")
        async with client_of(port) as client:
            await client.recv()
            client.transport.abort()  # the server sees a reset: the handler's block ends quietly
