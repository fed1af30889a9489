"""Python's own `ssl`, under asyncio, as a peer in both roles: both versions, with and without clients' certificates."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE, until
from tests.sockets.tls_servers import (
    LEVELS,
    LOCALHOST,
    VERSIONS,
    authority,
    client_context,
    client_identity,
    server_certificate,
    server_context,
    serving,
    trusting,
    trusts,
)

import moorings
from moorings import EndReason, StreamSocket
from moorings.certificates.certificate import Certificate
from moorings.certificates.enums import ChainValidationResult as Result
from moorings.sockets.tls_context import load_identity
from winrt.windows.networking.sockets import SocketProtectionLevel

TLS13 = SocketProtectionLevel.TLS13
DATA = b"".join(b"%06d\n" % number for number in range(5_000))
both_versions = pytest.mark.parametrize("version", VERSIONS)
both_paths = pytest.mark.parametrize("ignored", [[], [Result.EXPIRED]], ids=["fast path", "full path"])
with_certificates = pytest.mark.parametrize("asks", [False, True], ids=["without", "with client certificate"])


@both_versions
@both_paths
@with_certificates
async def test_as_the_server(version: str, ignored: list[Result], asks: bool) -> None:
    context = server_context(version)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        authority().configure_trust(context)
    async with serving(context) as served:
        ours = trusting(client_certificate=client_identity() if asks else None)
        ours.control.ignorable_server_certificate_errors.extend(ignored)
        await ours.connect_async(LOCALHOST, served.port, TLS13)
        writing = asyncio.ensure_future(ours.write(DATA))
        assert await ours.read_exactly(len(DATA)) == DATA
        await writing
        await ours.aclose()
        assert ours.information.protection_level == LEVELS[version]
        assert ours.end_reason == EndReason.CLOSED_BY_US
    assert [bool(peer) for peer in served.peers] == [asks]
    assert b"".join(served.received) == DATA
    assert served.failures == []


@both_versions
@with_certificates
async def test_as_the_client(version: str, asks: bool) -> None:
    seen: list[Any] = []

    async def serve(connection: StreamSocket) -> None:
        information = connection.information
        seen.append((information.protection_level, information.client_certificate is not None))
        while data := await connection.read():
            await connection.write(data)

    identity = Certificate.from_pem(server_certificate().private_key_and_cert_chain_pem.bytes())
    context = client_context(version)
    if asks:
        load_identity(context, client_identity())
    client_ca = trusts() if asks else None
    async with moorings.listen("tls://127.0.0.1:0", serve, certificate=identity, client_ca=client_ca) as listener:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", listener.port, ssl=context, server_hostname="localhost"
        )
        assert writer.get_extra_info("ssl_object").version() == version.replace("TLS ", "TLSv")
        writer.write(DATA)
        async with asyncio.timeout(PATIENCE):
            assert await reader.readexactly(len(DATA)) == DATA
            writer.close()
            await writer.wait_closed()
        await until(lambda: listener.open_connections == 0)
    assert seen == [(LEVELS[version], asks)]
    assert listener.report is not None
    assert listener.report.broken == 0


@both_versions
async def test_as_a_client_without_the_certificate_that_is_asked_for(version: str) -> None:
    identity = Certificate.from_pem(server_certificate().private_key_and_cert_chain_pem.bytes())
    async with moorings.listen("tls://127.0.0.1:0", print, certificate=identity, client_ca=trusts()) as listener:

        async def connect() -> None:
            reader, _ = await asyncio.open_connection(
                "127.0.0.1", listener.port, ssl=client_context(version), server_hostname="localhost"
            )
            await reader.readexactly(1)

        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect()
        await until(lambda: listener.listener.handshakes_failed == 1)
