"""nginx as a peer: our client at its TLS server, its TLS proxy at ours; both versions, with certificates of clients."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import until
from tests.interop.nginx_process import needs_nginx, nginx
from tests.sockets.tls_servers import (
    LEVELS,
    LOCALHOST,
    VERSIONS,
    authority,
    bad_leaf,
    client_identity,
    server_certificate,
    trusting,
    trusts,
)

import moorings
from moorings import EndReason, StreamSocket
from moorings.certificates.certificate import Certificate, identity_pem
from moorings.certificates.enums import ChainValidationResult as Result
from winrt.windows.networking.sockets import SocketProtectionLevel

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_nginx

TLS13 = SocketProtectionLevel.TLS13
PROTOCOLS = {"TLS 1.2": "TLSv1.2", "TLS 1.3": "TLSv1.3"}
both_versions = pytest.mark.parametrize("version", VERSIONS)
both_paths = pytest.mark.parametrize("ignored", [[], [Result.EXPIRED]], ids=["fast path", "full path"])
with_certificates = pytest.mark.parametrize("asks", [False, True], ids=["without", "with client certificate"])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    server_certificate().private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "client.pem").write_bytes(identity_pem(client_identity()))
    bad_leaf().private_key_and_cert_chain_pem.write_to_path(tmp_path / "bad.pem")
    return tmp_path


async def echo(connection: StreamSocket) -> None:
    async for line in connection.lines():
        await connection.write(line + b"\n")


def serves(version: str, backend: int, *more: str, certificate: str = "server.pem") -> str:
    """A TLS server in front of a plain one."""
    settings = (
        f"ssl_certificate {certificate}",
        f"ssl_certificate_key {certificate}",
        f"ssl_protocols {PROTOCOLS[version]}",
        f"proxy_pass 127.0.0.1:{backend}",
        *more,
    )
    return " ssl; " + " ".join(f"{each};" for each in settings)


def proxies(version: str, backend: int, *more: str, name: str = "localhost") -> str:
    """A plain server in front of one with TLS."""
    settings = (
        f"proxy_pass 127.0.0.1:{backend}",
        "proxy_ssl on",
        "proxy_ssl_verify on",
        "proxy_ssl_trusted_certificate ca.pem",
        f"proxy_ssl_name {name}",
        "proxy_ssl_server_name on",
        f"proxy_ssl_protocols {PROTOCOLS[version]}",
        *more,
    )
    return "; " + " ".join(f"{each};" for each in settings)


@both_versions
@both_paths
@with_certificates
async def test_our_client(files: Path, version: str, ignored: list[Result], asks: bool) -> None:
    more = ("ssl_verify_client on", "ssl_client_certificate ca.pem") if asks else ()
    async with (
        moorings.listen("tcp://127.0.0.1:0", echo) as backend,
        nginx(files, serves(version, backend.port, *more)) as (port,),
    ):
        data = b"".join(b"%06d\n" % number for number in range(5_000))
        for count in range(2):
            ours = trusting(client_certificate=client_identity() if asks else None)
            ours.control.ignorable_server_certificate_errors.extend(ignored)
            await ours.connect_async(LOCALHOST, port, TLS13)
            assert ours.information.protection_level == LEVELS[version]
            assert ours.information.is_resumed == (count == 1 and not ignored)
            writing = asyncio.ensure_future(ours.write(data))
            assert await ours.read_exactly(len(data)) == data
            await writing
            await ours.aclose()
            assert ours.end_reason == EndReason.CLOSED_BY_US


@both_versions
async def test_our_client_without_the_certificate_that_it_asks_for(files: Path, version: str) -> None:
    more = ("ssl_verify_client on", "ssl_client_certificate ca.pem")
    async with (
        moorings.listen("tcp://127.0.0.1:0", echo) as backend,
        nginx(files, serves(version, backend.port, *more)) as (port,),
    ):
        ours = trusting()
        await ours.connect_async(LOCALHOST, port, TLS13)  # it says so afterwards, by closing
        assert await ours.read() == b""
        ours.close()


@both_versions
async def test_its_certificate_is_refused(files: Path, version: str) -> None:
    async with (
        moorings.listen("tcp://127.0.0.1:0", echo) as backend,
        nginx(files, serves(version, backend.port, certificate="bad.pem")) as (port,),
    ):
        ours = trusting()
        with pytest.raises(OSError, match="EXPIRED, INVALID_NAME"):
            await ours.connect_async(LOCALHOST, port, TLS13)
        ours.control.ignorable_server_certificate_errors.extend([Result.EXPIRED, Result.INVALID_NAME])
        await ours.connect_async(LOCALHOST, port, TLS13)
        await ours.write(b"a line\n")
        assert await ours.read_until() == b"a line\n"
        await ours.aclose()


@both_versions
@with_certificates
async def test_our_server(files: Path, version: str, asks: bool) -> None:
    seen: list[Any] = []

    async def serve(connection: StreamSocket) -> None:
        information = connection.information
        shown = information.client_certificate
        seen.append((information.protection_level, information.requested_server_name, shown and repr(shown)))
        await echo(connection)

    identity = Certificate.from_files(files / "server.pem")
    client_ca = trusts() if asks else None
    more = ("proxy_ssl_certificate client.pem", "proxy_ssl_certificate_key client.pem") if asks else ()
    async with (
        moorings.listen("tls://127.0.0.1:0", serve, certificate=identity, client_ca=client_ca) as server,
        nginx(files, proxies(version, server.port, *more)) as (port,),
    ):
        data = b"".join(b"%06d\n" % number for number in range(5_000))
        for _ in range(2):
            async with await moorings.connect(f"tcp://127.0.0.1:{port}") as plain:
                writing = asyncio.ensure_future(plain.write(data))
                assert await plain.read_exactly(len(data)) == data
                await writing
    assert seen == [(LEVELS[version], "localhost", repr(client_identity()) if asks else None)] * 2


@both_versions
async def test_our_server_is_refused_and_refuses(files: Path, version: str) -> None:
    identity = Certificate.from_files(files / "server.pem")
    async with (
        moorings.listen("tls://127.0.0.1:0", echo, certificate=identity, client_ca=trusts()) as server,
        nginx(files, proxies(version, server.port), proxies(version, server.port, name="other.example")) as ports,
    ):
        for count, port in enumerate(ports, 1):  # without a certificate; with another name
            async with await moorings.connect(f"tcp://127.0.0.1:{port}") as plain:
                assert await plain.read() == b""
            await until(lambda: server.listener.handshakes_failed == count)  # noqa: B023
        assert server.open_connections == 0
