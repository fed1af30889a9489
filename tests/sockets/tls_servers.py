"""TLS servers and authorities to connect to: other people's, and raw ones that do what no good server does."""

from __future__ import annotations

import asyncio
import datetime
import functools
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trustme
from tests.engine.tls_pairs import VERSIONS, authority, client_context, server_certificate, server_context

from moorings.certificates.certificate import Certificate
from moorings.certificates.trust import TrustAnchors
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import SocketProtectionLevel, StreamSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = [
    "LEVELS",
    "LOCALHOST",
    "PATIENCE",
    "VERSIONS",
    "Served",
    "authority",
    "bad_leaf",
    "client_context",
    "client_identity",
    "server_certificate",
    "server_context",
    "serving",
    "trusting",
    "trusts",
    "trusts_nobody",
]

PATIENCE = 20.0
LOCALHOST = HostName("localhost")
LEVELS = {"TLS 1.2": SocketProtectionLevel.TLS12, "TLS 1.3": SocketProtectionLevel.TLS13}


@functools.cache
def trusts() -> TrustAnchors:
    """Those who trust our authority."""
    return TrustAnchors(certificates=[authority().cert_pem.bytes()])


@functools.cache
def trusts_nobody() -> TrustAnchors:
    return TrustAnchors(certificates=[trustme.CA().cert_pem.bytes()])


@functools.cache
def client_identity() -> Certificate:
    leaf = authority().issue_cert("client@example.org")
    return Certificate.from_pem(leaf.private_key_and_cert_chain_pem.bytes())


@functools.cache
def bad_leaf() -> trustme.LeafCert:
    """Expired, and for another name."""
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    return authority().issue_cert("other.example", not_after=past, not_before=past - datetime.timedelta(days=30))


def trusting(**settings: Any) -> StreamSocket:
    """A new socket that trusts our authority."""
    made = StreamSocket()
    made.control.trust_anchors = trusts()
    for name, value in settings.items():
        setattr(made.control, name, value)
    return made


class Served:
    """What a server of `serving` has seen."""

    def __init__(self) -> None:
        self.port = ""
        self.received: list[bytes] = []
        self.peers: list[dict[str, Any] | None] = []
        self.versions: list[str] = []
        self.resumed: list[bool] = []
        self.failures: list[BaseException] = []


async def _echo(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    tls = writer.get_extra_info("ssl_object")
    served.peers.append(tls.getpeercert())
    served.versions.append(tls.version())
    served.resumed.append(tls.session_reused)
    try:
        while data := await reader.read(65536):
            served.received.append(data)
            writer.write(data)
            await writer.drain()
    except (OSError, ssl.SSLError) as error:
        served.failures.append(error)
    finally:
        writer.close()


@asynccontextmanager
async def serving(
    context: ssl.SSLContext, handler: Callable[[Served, Any, Any], Awaitable[None]] = _echo
) -> AsyncIterator[Served]:
    """An echo server of asyncio's."""
    served = Served()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(served, reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    served.port = str(server.sockets[0].getsockname()[1])
    try:
        yield served
    finally:
        server.close()
        async with asyncio.timeout(PATIENCE):
            while tasks:
                await asyncio.wait(tasks)
            await server.wait_closed()
