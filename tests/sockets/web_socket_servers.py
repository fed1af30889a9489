"""Servers that answer the request for a WebSocket as a test wants it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from tests.engine.pairs import PATIENCE

import moorings
from moorings import MessageWebSocket, Uri
from moorings.protocols.web_socket_headers import accept_key

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from moorings import ServerMessageWebSocket


class Script:
    """What the server has seen."""

    def __init__(self) -> None:
        self.port = 0
        self.scheme = "ws"
        self.requests: list[bytes] = []
        self.ends: list[bytes] = []

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}/chat?room=1"

    def headers(self, number: int = -1) -> dict[str, list[str]]:
        """The headers of a request, by their names in lower case."""
        found: dict[str, list[str]] = {}
        for line in self.requests[number].decode().split("\r\n")[1:-2]:
            name, _, value = line.partition(": ")
            found.setdefault(name.lower(), []).append(value)
        return found


def key_of(head: bytes) -> str:
    lines = head.decode().split("\r\n")
    return next(line.partition(": ")[2] for line in lines if line.lower().startswith("sec-websocket-key"))


def upgrade(head: bytes, *, more: bytes = b"", key: str | None = None) -> bytes:
    """The answer that opens a WebSocket, with `more` header lines."""
    key = accept_key(key_of(head)) if key is None else key
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + key.encode() + b"\r\n" + more + b"\r\n"
    )


def status(line: str, *headers: str, body: bytes = b"") -> bytes:
    """Another answer, such as `status("404 Not Found")`."""
    lines = [f"HTTP/1.1 {line}", f"Content-Length: {len(body)}", *headers]
    return "".join(f"{each}\r\n" for each in lines).encode() + b"\r\n" + body


def accepting(*, more: bytes = b"", rest: bytes = b"") -> Any:
    """Open the WebSocket, and wait for the client's end."""

    async def answer(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(upgrade(head, more=more) + rest)
        await reader.read()

    return answer


@asynccontextmanager
async def scripted(*answers: Any, context: ssl.SSLContext | None = None) -> AsyncIterator[Script]:
    """A server that gives its n-th connection the n-th answer, and every later one the last.

    An answer is bytes, behind which the server ends the connection, or a function of the request and the two streams.
    """
    script = Script()
    script.scheme = "ws" if context is None else "wss"
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                answer = answers[min(len(script.requests), len(answers) - 1)]
                script.requests.append(head)
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(head, reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    script.port = server.sockets[0].getsockname()[1]
    try:
        yield script
    finally:
        server.close()
        async with asyncio.timeout(PATIENCE):
            while tasks:
                await asyncio.wait(tasks)
            await server.wait_closed()


async def connected(url: str, web_socket: MessageWebSocket | None = None) -> MessageWebSocket:
    """A MessageWebSocket that is open."""
    made = MessageWebSocket() if web_socket is None else web_socket
    async with asyncio.timeout(PATIENCE):
        await made.connect_async(Uri(url))
    return made


async def echo(web_socket: ServerMessageWebSocket) -> None:
    async for message in web_socket:
        await web_socket.send(message)


@asynccontextmanager
async def serving(handle: Callable[[ServerMessageWebSocket], Any] = echo, **settings: Any) -> AsyncIterator[str]:
    """A server of ours; gives its URL."""
    async with asyncio.timeout(PATIENCE), moorings.listen("ws://127.0.0.1:0", handle, **settings) as listening:
        yield f"ws://127.0.0.1:{listening.port}/chat"


def code_of(caught: Any) -> int:
    code: int = caught.value.winerror
    return code
