"""Starting TLS on an open connection."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import RST, ending, turns
from tests.engine.tls_pairs import Wire, server_session
from tests.sockets.peers import plain_listener, port_of
from tests.sockets.tls_servers import (
    LEVELS,
    LOCALHOST,
    VERSIONS,
    server_context,
    serving,
    trusting,
    trusts_nobody,
)

from moorings import DataReader, DataWriter, EndReason, errors
from moorings.certificates.enums import ChainValidationResult as Result
from moorings.engine.tls_codec import TlsSession
from moorings.engine.tls_handshake import shake_hands
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import SocketProtectionLevel, StreamSocket
from winrt.windows.storage.streams import Buffer, InputStreamOptions

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

Level = SocketProtectionLevel
both_versions = pytest.mark.parametrize("version", VERSIONS)


@asynccontextmanager
async def connected(**settings: Any) -> AsyncIterator[tuple[StreamSocket, socket.socket]]:
    """One of our sockets, connected in the clear to a plain one."""
    with plain_listener() as listening:
        ours = trusting(**settings)
        await ours.connect_async(HostName("127.0.0.1"), port_of(listening))
        peer, _ = listening.accept()
        with peer:
            peer.setblocking(False)
            try:
                yield ours, peer
            finally:
                ours.abort()


async def answer(peer: socket.socket, version: str) -> Wire:
    session = server_session(version)
    await shake_hands(peer, session, "the server")
    return Wire(peer, session)


@both_versions
async def test_streams_go_on_encrypted(version: str) -> None:
    loop = asyncio.get_running_loop()
    async with connected() as (ours, peer):
        inputs, outputs = ours.input_stream, ours.output_stream
        reader, writer = DataReader(inputs), DataWriter(outputs)
        writer.write_string("STARTTLS\r\n")
        await writer.store_async()
        assert await loop.sock_recv(peer, 100) == b"STARTTLS\r\n"
        await loop.sock_sendall(peer, b"220 go\r\n")
        await reader.load_async(8)
        assert reader.read_string(8) == "220 go\r\n"
        upgrading: Any = ours.upgrade_to_ssl_async(Level.TLS13, LOCALHOST)
        wire = await answer(peer, version)
        await upgrading
        assert ours.information.protection_level == LEVELS[version]
        assert ours.information.server_certificate is not None
        assert ours.input_stream is inputs
        assert ours.output_stream is outputs
        writer.write_string("secret")
        await writer.store_async()
        assert await wire.receive() == b"secret"
        await wire.send_raw(wire.records(b"answer"))
        await reader.load_async(6)
        assert reader.read_string(6) == "answer"
        assert ours.counters.bytes_received == 14
        assert ours.counters.bytes_sent == 16
        with pytest.raises(OSError, match="already") as caught:
            ours.upgrade_to_ssl_async(Level.TLS13, LOCALHOST)
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        await ours.aclose()
        assert await wire.receive() == b""
        assert ours.end_reason == EndReason.CLOSED_BY_US


@both_versions
async def test_limits_and_settings_stay(version: str) -> None:
    async with connected() as (ours, peer):
        ours.limits.close_timeout = 1.5
        ours.limits.write_queue_limit = 12345
        ours.control.min_protection_level = Level.TLS12
        upgrading: Any = ours.upgrade_to_ssl_async(Level.TLS13, LOCALHOST)
        await answer(peer, version)
        await upgrading
        assert (ours.limits.close_timeout, ours.limits.write_queue_limit) == (1.5, 12345)


@pytest.mark.parametrize("where", ["kernel", "stash"])
async def test_what_was_put_in_before_tls_is_refused(where: str) -> None:
    """The classic injection: bytes in the clear behind the server's answer must not look as if TLS had brought them."""
    loop = asyncio.get_running_loop()
    async with connected() as (ours, peer):
        await loop.sock_sendall(peer, b"220 go\r\n250 injected\r\n")
        if where == "stash":
            assert await ours.read_until(b"\n") == b"220 go\r\n"
        else:
            assert bytes(await ours.input_stream.read_async(Buffer(8), 8, InputStreamOptions.NONE)) == b"220 go\r\n"
        with pytest.raises(OSError, match="14 bytes had arrived unencrypted") as caught:
            await ours.upgrade_to_ssl_async(Level.TLS13, LOCALHOST)
        assert caught.value.winerror == errors.SEC_E_ILLEGAL_MESSAGE
        with pytest.raises(OSError) as caught:
            await ours.read()
        assert caught.value.winerror == errors.RO_E_CLOSED
        assert ours.end_reason == EndReason.ABORTED
        assert await ending(peer) == RST


async def test_what_comes_in_the_clear_during_the_handshake_is_no_tls() -> None:
    loop = asyncio.get_running_loop()
    async with connected() as (ours, peer):
        upgrading: Any = ours.upgrade_to_ssl_async(Level.TLS13, LOCALHOST)
        await loop.sock_recv(peer, 65536)
        await loop.sock_sendall(peer, b"250 injected\r\n")
        with pytest.raises(OSError, match="no TLS") as caught:
            await upgrading
        assert caught.value.winerror == errors.SEC_E_INVALID_TOKEN
        assert ours.end_reason == EndReason.ABORTED


@both_versions
async def test_a_refused_certificate_closes_the_socket_and_is_told(version: str) -> None:
    async with connected(trust_anchors=trusts_nobody()) as (ours, peer):
        upgrading: Any = ours.upgrade_to_ssl_async(Level.TLS13, LOCALHOST)
        session = TlsSession(server_context(version), server_side=True)
        await asyncio.gather(shake_hands(peer, session, "the server"), return_exceptions=True)
        with pytest.raises(OSError, match="not accepted"):
            await upgrading
        assert Result.INCOMPLETE_CHAIN in list(ours.information.server_certificate_errors)
        assert ours.information.server_certificate is not None
        with pytest.raises(OSError) as caught:
            ours.write(b"x")
        assert caught.value.winerror == errors.RO_E_CLOSED


@both_versions
async def test_errors_that_were_made_ignorable(version: str) -> None:
    async with connected(trust_anchors=trusts_nobody()) as (ours, peer):
        ours.control.ignorable_server_certificate_errors.append(Result.INCOMPLETE_CHAIN)
        upgrading: Any = ours.upgrade_to_ssl_async(Level.TLS13, LOCALHOST)
        wire = await answer(peer, version)
        await upgrading
        await ours.write(b"x")
        assert await wire.receive() == b"x"


@pytest.mark.parametrize("way", ["cancel", "close", "abort"])
async def test_an_upgrade_that_is_given_up(way: str) -> None:
    loop = asyncio.get_running_loop()
    async with connected() as (ours, peer):
        upgrading: Any = ours.upgrade_to_ssl_async(Level.TLS13, LOCALHOST)
        await loop.sock_recv(peer, 65536)
        await turns(2)
        with pytest.raises(OSError, match="busy") as caught:
            ours.input_stream  # noqa: B018
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        getattr(upgrading if way == "cancel" else ours, way)()
        with pytest.raises(asyncio.CancelledError):
            await upgrading
        assert await loop.sock_recv(peer, 10) == b""
        assert upgrading.status.name == "CANCELED"
        with pytest.raises(OSError) as caught:
            await ours.read()
        assert caught.value.winerror == errors.RO_E_CLOSED
        await ours.aclose()


async def test_when_it_cannot_be_done() -> None:
    async with connected() as (ours, _):
        for level, host, expected in (
            (Level.PLAIN_SOCKET, LOCALHOST, errors.E_INVALIDARG),
            (Level.UNSPECIFIED, LOCALHOST, errors.E_INVALIDARG),
            (Level.TLS13, None, errors.E_INVALIDARG),
            (Level.SSL3_ALLOW_WEAK_ENCRYPTION, LOCALHOST, errors.ERROR_NOT_SUPPORTED),
        ):
            with pytest.raises(OSError) as caught:
                ours.upgrade_to_ssl_async(level, host)  # type: ignore[arg-type]
            assert caught.value.winerror == expected
        ours.write(b"not sent yet")
        with pytest.raises(OSError, match="pending"):
            ours.upgrade_to_ssl_async(Level.TLS13, LOCALHOST)
        await ours.flush()
        ours.end_writing()
        with pytest.raises(OSError, match="both directions") as caught:
            ours.upgrade_to_ssl_async(Level.TLS13, LOCALHOST)
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL


async def test_a_peer_of_asyncio() -> None:
    """`StreamWriter.start_tls` on the other side."""
    context = server_context("TLS 1.3")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.drain()
        await writer.start_tls(context)
        writer.write((await reader.readline()).upper())
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        ours = trusting()
        await ours.connect_async(HostName("127.0.0.1"), str(server.sockets[0].getsockname()[1]))
        await ours.write(b"STARTTLS\n")
        assert await ours.read_until() == b"go\n"
        await ours.upgrade_to_ssl_async(Level.TLS12, LOCALHOST)
        await ours.write(b"message\n")
        assert await ours.read_until() == b"MESSAGE\n"
        await ours.aclose()


async def test_a_socket_that_is_tls_already() -> None:
    async with serving(server_context("TLS 1.3")) as served:
        ours = trusting()
        await ours.connect_async(LOCALHOST, served.port, Level.TLS13)
        with pytest.raises(OSError, match="started already") as caught:
            ours.upgrade_to_ssl_async(Level.TLS13, LOCALHOST)
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        await ours.aclose()


@both_versions
@pytest.mark.parametrize("accepts", [True, False], ids=["accepted", "refused"])
async def test_the_program_has_its_say_here_too(version: str, accepts: bool) -> None:
    async with connected() as (ours, peer):
        asked: list[bool] = []

        async def look(_: StreamSocket, args: Any) -> None:
            await turns(2)
            asked.append(args.server_certificate is not None)
            if not accepts:
                args.reject()

        ours.add_server_custom_validation_requested(look)  # while it is open
        upgrading: Any = ours.upgrade_to_ssl_async(Level.TLS13, LOCALHOST)
        if accepts:
            wire = await answer(peer, version)
            await upgrading
            await ours.write(b"secret")
            assert await wire.receive() == b"secret"
        else:
            with pytest.raises(OSError, match="ended the connection"):
                await answer(peer, version)
            with pytest.raises(OSError, match="the program refused"):
                await upgrading
            with pytest.raises(OSError, match="is closed"):
                ours.input_stream  # noqa: B018
        assert asked == [True]
