"""`openssl s_server` and `openssl s_client`, and curl, as peers: both roles, both versions, key update."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from tests.engine.pairs import PATIENCE
from tests.interop.peers_here import needs, program
from tests.sockets.tls_servers import (
    LEVELS,
    LOCALHOST,
    VERSIONS,
    authority,
    client_identity,
    server_certificate,
    trusting,
    trusts,
)

import moorings
from moorings import EndReason, StreamSocket
from moorings.certificates.certificate import Certificate, identity_pem
from moorings.certificates.enums import ChainValidationResult
from winrt.windows.networking.sockets import SocketProtectionLevel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = needs(program("openssl"), "the command openssl")
both_versions = pytest.mark.parametrize("version", VERSIONS)
FLAGS = {"TLS 1.2": "-tls1_2", "TLS 1.3": "-tls1_3"}
TLS13 = SocketProtectionLevel.TLS13


@pytest.fixture
def files(tmp_path: Path) -> Path:
    server_certificate().private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "client.pem").write_bytes(identity_pem(client_identity()))
    return tmp_path


class Command:
    """A command that talks through its standard streams."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seen = b""

    async def until(self, pattern: bytes) -> re.Match[bytes]:
        """Read its output up to a line with `pattern`."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while not (found := re.search(pattern, self.seen)):
                piece = await self.process.stdout.read(1000)
                assert piece, f"it ended after {self.seen!r}"
                self.seen += piece
        self.seen = self.seen[found.end() :]
        return found

    async def say(self, text: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        await self.process.stdin.drain()

    def signal(self, number: int) -> None:
        """Not by the process object, which would look whether it has ended, and take that from asyncio's watcher."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    async def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            await self.process.communicate()


@asynccontextmanager
async def running(*arguments: str | Path, cwd: Path) -> AsyncIterator[Command]:
    process = await asyncio.create_subprocess_exec(
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=cwd,
    )
    command = Command(process)
    try:
        yield command
    finally:
        await command.end()


@asynccontextmanager
async def s_server(files: Path, version: str, *more: str) -> AsyncIterator[tuple[Command, str]]:
    arguments = ("openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", "server.pem", FLAGS[version], *more)
    async with running(*arguments, cwd=files) as command:
        found = await command.until(rb"ACCEPT [0-9.]+:([0-9]+)\n")
        yield command, found[1].decode()


async def echo(connection: StreamSocket) -> None:
    async for line in connection.lines():
        await connection.write(line + b"\n")


@both_versions
async def test_s_server(files: Path, version: str) -> None:
    async with s_server(files, version, "-rev") as (_, port):
        for resumed in (False, True):
            ours = trusting()
            await ours.connect_async(LOCALHOST, port, TLS13)
            assert ours.information.protection_level == LEVELS[version]
            assert ours.information.is_resumed == resumed
            await ours.write(b"abc\n")
            assert await ours.read_until() == b"cba\n"
            await ours.aclose()
            assert ours.end_reason == EndReason.CLOSED_BY_US


@both_versions
@pytest.mark.parametrize("ignored", [False, True], ids=["fast path", "full path"])
async def test_s_server_that_wants_a_certificate(files: Path, version: str, ignored: bool) -> None:
    async with s_server(files, version, "-Verify", "2", "-CAfile", "ca.pem", "-verify_return_error", "-rev") as (
        _,
        port,
    ):
        ours = trusting(client_certificate=client_identity())
        if ignored:
            ours.control.ignorable_server_certificate_errors.append(ChainValidationResult.EXPIRED)
        await ours.connect_async(LOCALHOST, port, TLS13)
        await ours.write(b"abc\n")
        assert await ours.read_until() == b"cba\n"
        await ours.aclose()


@both_versions
async def test_s_client(files: Path, version: str) -> None:
    identity = Certificate.from_files(files / "server.pem")
    async with moorings.listen("tls://127.0.0.1:0", echo, certificate=identity, client_ca=trusts()) as listener:
        arguments = ("-connect", f"127.0.0.1:{listener.port}", "-servername", "localhost", "-CAfile", "ca.pem")
        more = ("-verify_return_error", "-cert", "client.pem", FLAGS[version])
        async with running("openssl", "s_client", *arguments, *more, cwd=files) as command:
            await command.until(b"Verify return code: 0")
            await command.say(b"a line of text\n")
            await command.until(b"a line of text\n")
            if version == "TLS 1.3":
                await command.say(b"K\n")
                await command.until(b"KEYUPDATE")
                await command.say(b"after the key update\n")
                await command.until(b"after the key update\n")


@pytest.mark.parametrize("command", ["k", "K"], ids=["its keys", "keys of both"])
async def test_s_server_updates_keys(files: Path, command: str) -> None:
    """(s_server tells of it with -msg only, and takes a command only where it is alone in one read of its input.)"""
    async with s_server(files, "TLS 1.3", "-msg") as (server, port):
        ours = trusting()
        await ours.connect_async(LOCALHOST, port, TLS13)
        for number in range(3):
            reading = asyncio.create_task(ours.read_until())
            await server.say(command.encode() + b"\n")
            await server.until(b">>> TLS 1.3, Handshake .*, KeyUpdate")
            await server.say(b"after update %d\n" % number)
            assert await reading == b"after update %d\n" % number
            await ours.write(b"answer %d\n" % number)
            if command == "K":
                await server.until(b"<<< TLS 1.3, Handshake .*, KeyUpdate")
            await server.until(b"answer %d\n" % number)
        await ours.aclose()


@pytest.mark.parametrize("ignored", [False, True], ids=["fast path", "full path"])
async def test_s_server_asks_for_renegotiation(files: Path, ignored: bool) -> None:
    """It is told no; OpenSSL's servers end the connection then."""
    async with s_server(files, "TLS 1.2", "-msg") as (server, port):
        ours = trusting()
        if ignored:
            ours.control.ignorable_server_certificate_errors.append(ChainValidationResult.EXPIRED)
        await ours.connect_async(LOCALHOST, port, TLS13)
        await ours.write(b"before\n")
        await server.until(b"before\n")
        reading = asyncio.create_task(ours.read())
        await server.say(b"r\n")
        await server.until(b"<<< TLS 1.2, Alert .*, warning no_renegotiation")
        with pytest.raises(OSError, match="alert"):
            await reading
        assert ours.end_reason == EndReason.RESET
        await ours.aclose()


async def test_s_client_begins_to_renegotiate(files: Path) -> None:
    identity = Certificate.from_files(files / "server.pem")
    async with moorings.listen("tls://127.0.0.1:0", echo, certificate=identity) as listener:
        arguments = ("-connect", f"127.0.0.1:{listener.port}", "-CAfile", "ca.pem", "-tls1_2")
        async with running("openssl", "s_client", *arguments, "-msg", cwd=files) as command:
            await command.until(b"Verify return code")
            await command.say(b"before\n")
            await command.until(b"before\n")
            await command.say(b"R\n")
            await command.until(b"<<< TLS 1.2, Alert .*, warning no_renegotiation")


@both_versions
async def test_s_client_without_the_certificate_that_is_asked_for(files: Path, version: str) -> None:
    identity = Certificate.from_files(files / "server.pem")
    async with moorings.listen("tls://127.0.0.1:0", echo, certificate=identity, client_ca=trusts()) as listener:
        arguments = ("-connect", f"127.0.0.1:{listener.port}", "-CAfile", "ca.pem", FLAGS[version])
        async with running("openssl", "s_client", *arguments, cwd=files) as command:
            await command.until(b"alert (certificate required|handshake failure)")
        assert listener.listener.handshakes_failed == 1


@both_versions
@needs(program("curl"), "the command curl")
async def test_curl(files: Path, version: str) -> None:
    async def answer(connection: StreamSocket) -> None:
        await connection.read_until(b"\r\n\r\n")
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer")

    identity = Certificate.from_files(files / "server.pem")
    flags = {"TLS 1.2": ("--tls-max", "1.2"), "TLS 1.3": ("--tlsv1.3",)}[version]
    async with moorings.listen("tls://127.0.0.1:0", answer, certificate=identity, alpn=["http/1.1"]) as listener:
        url = f"https://localhost:{listener.port}/"
        async with running("curl", "-sS", "--cacert", "ca.pem", *flags, "--max-time", "20", url, cwd=files) as command:
            await command.until(b"answer")
            async with asyncio.timeout(PATIENCE):
                assert await command.process.wait() == 0
