"""Connections between a WebSocket of ours and one of another implementation, in both roles."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from tests.engine.pairs import PATIENCE
from tests.engine.tls_pairs import server_certificate
from tests.sockets.tls_servers import trusts

import moorings
from moorings.certificates.certificate import Certificate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from moorings import WebSocketCompression

Message: TypeAlias = str | bytes

#: Bytes of a message that are taken where no limit is wanted.
ANY_SIZE = 8 << 20

NO_CODE = (1005, "")
NO_CLOSE_FRAME = (1006, "")


@dataclass(frozen=True)
class Settings:
    """Of one connection; what is `our_…` is the business of our end, `their_…` of the other. A limit of 0 is none."""

    our_subprotocols: tuple[str, ...] = ()
    their_subprotocols: tuple[str, ...] = ()
    our_limit: int = 0
    their_limit: int = 0
    our_deflate: WebSocketCompression | bool = False
    their_deflate: bool = False
    secure: bool = False


class Peer(ABC):
    """One end of a connection, made with another implementation."""

    #: What was agreed on.
    subprotocol = ""
    deflates = False

    @abstractmethod
    async def send(self, message: Message) -> None: ...

    async def send_parts(self, parts: Sequence[Message]) -> None:
        """Send one message in fragments."""
        raise NotImplementedError

    @abstractmethod
    async def receive(self) -> Message: ...

    async def ping(self) -> None:
        """Send a ping and wait for its pong."""
        raise NotImplementedError

    @abstractmethod
    async def close(self, code: int | None, reason: str) -> None:
        """Close with a code, or with an empty close frame."""

    @abstractmethod
    async def end(self) -> tuple[int, str]:
        """Wait for the end; code and reason of our close frame, 1005 for an empty one, 1006 for none."""

    async def abort(self) -> None:
        """End without a close frame."""
        raise NotImplementedError


class QueuedPeer(Peer):
    """A peer whose messages come by callbacks, or to a task."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.ended: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self.pong = asyncio.Event()

    async def receive(self) -> Message:
        return await self.messages.get()

    def note_end(self, code: int, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result((code, reason))

    async def end(self) -> tuple[int, str]:
        return await asyncio.shield(self.ended)


def server_context() -> ssl.SSLContext:
    """For their servers: without what ours record."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_certificate().configure_cert(context)
    return context


def cut(transport: Any) -> None:
    """End a connection of asyncio's below whoever has it."""
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as below:
        below.shutdown(socket.SHUT_RDWR)


@asynccontextmanager
async def alongside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do something else during the block."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class PeerServer(NamedTuple):
    port: int
    accept: Callable[[], Awaitable[Peer]]


class Implementation(ABC):
    """Makes peers. `lacks` names the checks of the battery for which it has nothing."""

    lacks: frozenset[str] = frozenset()
    roles: tuple[str, ...] = ("our server", "our client")
    #: For `moorings.listen`.
    server_options: Mapping[str, Any] = MappingProxyType({})
    #: Close codes that it may send.
    codes: tuple[int, ...] = (1000, 1001, 1011, 3000, 4999)

    @abstractmethod
    def connect(self, url: str, settings: Settings) -> AbstractAsyncContextManager[Peer]: ...

    def serve(self, settings: Settings) -> AbstractAsyncContextManager[PeerServer]:
        raise NotImplementedError


class Pair(NamedTuple):
    ours: Any
    theirs: Peer

    @property
    def our_subprotocol(self) -> str:
        return str(self.ours.information.protocol)


def our_client(url: str, settings: Settings) -> Any:
    """Our client, for `async with`."""
    return moorings.connect(
        url,
        ca=trusts() if settings.secure else None,
        subprotocols=settings.our_subprotocols,
        max_message_size=settings.our_limit or ANY_SIZE,
        compression=settings.our_deflate,
    )


@asynccontextmanager
async def our_server(settings: Settings, **more: Any) -> AsyncIterator[tuple[str, Callable[[], Awaitable[Any]]]]:
    """A server of ours: its URL, and what gives the next WebSocket that it accepted."""
    arrived: asyncio.Queue[Any] = asyncio.Queue()
    done = asyncio.Event()

    async def handle(accepted: Any) -> None:
        arrived.put_nowait(accepted)
        await done.wait()

    scheme = "wss" if settings.secure else "ws"
    if settings.secure:
        pem = server_certificate().private_key_and_cert_chain_pem.bytes()
        more["certificate"] = Certificate.from_pem(pem)
    async with moorings.listen(
        f"{scheme}://127.0.0.1:0",
        handle,
        subprotocols=settings.our_subprotocols,
        max_message_size=settings.our_limit or ANY_SIZE,
        compression=settings.our_deflate,
        **more,
    ) as listening:
        try:
            yield f"{scheme}://localhost:{listening.port}/", arrived.get
        finally:
            done.set()


@dataclass
class Scene:
    """Where the checks get their connections from."""

    implementation: Implementation
    role: str

    @asynccontextmanager
    async def pairs(self, count: int, **settings: Any) -> AsyncIterator[list[Pair]]:
        """Several connections at once, all of one server."""
        wanted = Settings(**settings)
        async with AsyncExitStack() as kept:
            made: list[Pair] = []
            if self.role == "our server":
                url, next_accepted = await kept.enter_async_context(
                    our_server(wanted, **self.implementation.server_options)
                )
                for _ in range(count):
                    theirs = await kept.enter_async_context(self.implementation.connect(url, wanted))
                    made.append(Pair(await next_accepted(), theirs))
            else:
                server = await kept.enter_async_context(self.implementation.serve(wanted))
                for _ in range(count):
                    url = f"{'wss' if wanted.secure else 'ws'}://localhost:{server.port}/"
                    ours = await kept.enter_async_context(our_client(url, wanted))
                    made.append(Pair(ours, await server.accept()))
            yield made

    @asynccontextmanager
    async def pair(self, **settings: Any) -> AsyncIterator[Pair]:
        """One connection."""
        async with self.pairs(1, **settings) as (made,):
            yield made


async def run(implementation: Implementation, role: str, check: Callable[[Scene], Awaitable[None]]) -> None:
    async with asyncio.timeout(PATIENCE):
        await check(Scene(implementation, role))
