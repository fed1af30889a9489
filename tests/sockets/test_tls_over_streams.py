"""TLS as a client over a stream that stands already: through a proxy's tunnel, as proxies will use it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, turns
from tests.sockets.tls_servers import (
    LEVELS,
    LOCALHOST,
    VERSIONS,
    server_certificate,
    server_context,
    serving,
    trusting,
    trusts_nobody,
)

import moorings
from moorings import EndReason, StreamSocket, errors
from moorings.certificates.certificate import Certificate
from moorings.certificates.enums import ChainValidationResult as Result
from moorings.foundation.home import current_home
from moorings.monitoring.gathering import look_now
from moorings.sockets.connection import Connection
from moorings.sockets.stream_socket import accepted_socket
from moorings.sockets.tls_client import ClientHandshake, check_ignorable
from winrt.windows.networking.sockets import SocketProtectionLevel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from moorings.sockets.tls_settings import TlsFacts

both_versions = pytest.mark.parametrize("version", VERSIONS)
ANSWER = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()


async def tunnel(_served: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A proxy that knows CONNECT."""
    request = await reader.readuntil(b"\r\n\r\n")
    port = int(request.split()[1].rpartition(b":")[2])
    there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(ANSWER)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(pipe(reader, there_writer))
            group.create_task(pipe(there_reader, writer))
    except* OSError:
        pass
    finally:
        there_writer.close()
        writer.close()


class Tunnel:
    """A connection to a proxy that has agreed to CONNECT, and what TLS over it becomes."""

    def __init__(self, outer: StreamSocket, port: str) -> None:
        self.outer = outer
        self.port = port
        self.lower: Any = outer._connection.stream
        self.connection = Connection(trusting()._connection.settings)

    async def secure(self, level: SocketProtectionLevel = SocketProtectionLevel.TLS13, ask: Any = None) -> StreamSocket:
        connection = self.connection
        connection.home = home = current_home()
        ignorable = check_ignorable(connection, "secure")
        handshake = ClientHandshake(home, connection, level, LOCALHOST, self.port, ignorable, ask)
        stream = await handshake.run_over(self.lower)
        connection.opened(stream, self.outer._connection.remote_sockaddr)
        return accepted_socket(connection, None)


@asynccontextmanager
async def tunnelled(below: str, version: str) -> AsyncIterator[Tunnel]:
    context = None if below == "TCP" else server_context(below)
    async with serving(server_context(version)) as target, serving(context, tunnel) as proxy:  # type: ignore[arg-type]
        outer = trusting()
        if below == "TCP":
            await outer.connect_async(LOCALHOST, proxy.port)
        else:
            await outer.connect_async(LOCALHOST, proxy.port, LEVELS[below])
        await outer.write(f"CONNECT localhost:{target.port} HTTP/1.1\r\n\r\n".encode())
        assert await outer.read_until(b"\r\n\r\n") == ANSWER
        made = Tunnel(outer, target.port)
        try:
            yield made
        finally:
            if made.connection.stream is not None:
                made.connection.stream.abort()
            outer.abort()
            assert made.lower.is_released()


@pytest.fixture(params=["TCP", "TLS 1.2", "TLS 1.3"])
def below(request: pytest.FixtureRequest) -> Iterator[str]:
    return request.param  # type: ignore[no-any-return]


@both_versions
async def test_through_a_tunnel(below: str, version: str) -> None:
    async with tunnelled(below, version) as tunnel:
        inner = await tunnel.secure()
        assert inner.information.protection_level == LEVELS[version]
        assert inner.information.server_certificate is not None
        data = bytes(range(256)) * 2000
        writing = asyncio.ensure_future(inner.write(data))
        assert await inner.read_exactly(len(data)) == data
        await writing
        await inner.aclose()
        assert (inner.end_reason, tunnel.outer.end_reason) == (EndReason.CLOSED_BY_US, EndReason.CLOSED_BY_US)


@both_versions
async def test_a_certificate_that_is_refused(below: str, version: str) -> None:
    async with tunnelled(below, version) as tunnel:
        tunnel.connection.settings.tls = tunnel.connection.settings.tls._replace(anchors=trusts_nobody())
        with pytest.raises(OSError, match="INCOMPLETE_CHAIN") as caught:
            await tunnel.secure()
        assert caught.value.winerror == errors.CERT_E_CHAINING  # type: ignore[attr-defined]
        assert not tunnel.lower.is_open()
        assert tunnel.connection.tls is not None
        assert tunnel.connection.tls.errors == (Result.INCOMPLETE_CHAIN,)


@both_versions
async def test_pins_and_the_last_word_count_here_too(below: str, version: str) -> None:
    """Nothing of the inner session goes out before: the far server hears no more than a ClientHello."""
    ours = Certificate.from_pem(server_certificate().cert_chain_pems[0].bytes()).pin_sha256
    for pins, accepts in (((ours,), True), ((ours,), False), ((ours[:3] + ours[4:],), True)):
        async with tunnelled(below, version) as tunnel:
            tunnel.connection.settings.tls = tunnel.connection.settings.tls._replace(pins=pins)
            asked: list[int] = []

            async def ask(facts: TlsFacts, what: str) -> None:
                before = tunnel.lower.bytes_sent
                await turns(3)
                asked.append(tunnel.lower.bytes_sent - before)  # noqa: B023
                if not accepts:  # noqa: B023
                    raise errors.make(errors.TRUST_E_SUBJECT_NOT_TRUSTED, what)

            if pins == (ours,) and accepts:
                inner = await tunnel.secure(ask=ask)
                await inner.write(b"question")
                assert await inner.read() == b"question"
                await inner.aclose()
            else:
                with pytest.raises(OSError) as caught:
                    await tunnel.secure(ask=ask)
                code = errors.CERT_E_UNTRUSTEDCA if accepts else errors.TRUST_E_SUBJECT_NOT_TRUSTED
                assert caught.value.winerror == code  # type: ignore[attr-defined]
                assert not tunnel.lower.is_open()
            assert asked == ([0] if pins == (ours,) else [])


async def test_errors_that_are_ignored(below: str) -> None:
    """On the full path, with pyOpenSSL."""
    async with tunnelled(below, "TLS 1.3") as tunnel:
        tunnel.connection.settings.tls = tunnel.connection.settings.tls._replace(anchors=trusts_nobody())
        tunnel.connection.ignorable_errors = [Result.INCOMPLETE_CHAIN]
        inner = await tunnel.secure()
        await inner.write(b"question")
        assert await inner.read() == b"question"
        await inner.aclose()


async def test_what_was_put_in_before_is_refused(below: str) -> None:
    """Bytes behind the proxy's answer that nobody has read are no part of TLS, and are not dropped silently."""
    async with tunnelled(below, "TLS 1.3") as tunnel:
        tunnel.outer._connection.stream.unread(b"220 injected\r\n")  # type: ignore[union-attr]
        with pytest.raises(OSError, match="14 bytes had arrived unencrypted") as caught:
            await tunnel.secure()
        assert caught.value.winerror == errors.SEC_E_ILLEGAL_MESSAGE  # type: ignore[attr-defined]
        assert not tunnel.lower.is_open()


async def test_a_handshake_that_is_cancelled_ends_the_tunnel() -> None:
    async with moorings.listen("tcp://127.0.0.1:0", lambda _: asyncio.Event().wait()) as silent:
        outer = await moorings.connect(f"tcp://127.0.0.1:{silent.port}")
        tunnel = Tunnel(outer, str(silent.port))
        securing = asyncio.ensure_future(tunnel.secure())
        await turns(5)
        securing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await securing
        assert tunnel.lower.is_released()
        async with asyncio.timeout(PATIENCE):
            await silent.drain(0)


async def test_a_monitor_tells_of_one_connection(below: str) -> None:
    """What lies below is no second socket of the program."""
    async with tunnelled(below, "TLS 1.3") as tunnel:
        before = len(look_now(current_home()))
        tunnel.lower.label = tunnel.connection
        inner = await tunnel.secure()
        await inner.write(b"abc")
        assert await inner.read() == b"abc"
        found = look_now(current_home())
        assert len(found) == before == 1
        assert (found[0].bytes_sent, found[0].bytes_received) == (3, 3)  # type: ignore[union-attr]
        await inner.aclose()
