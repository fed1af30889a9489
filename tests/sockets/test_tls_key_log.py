"""Key log files of handshakes: both paths, both roles, and that there is none unless somebody asks."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.interop.test_tls_openssl import FLAGS, running, s_server
from tests.sockets.tls_servers import (
    LOCALHOST,
    VERSIONS,
    authority,
    server_certificate,
    server_context,
    serving,
    trusting,
    trusts,
)

import moorings
from moorings import StreamSocket, errors
from moorings.certificates.certificate import Certificate
from moorings.certificates.enums import ChainValidationResult as Result
from moorings.sockets.enums import SocketProtectionLevel

if TYPE_CHECKING:
    from pathlib import Path

TLS13 = SocketProtectionLevel.TLS13
both_versions = pytest.mark.parametrize("version", VERSIONS)
both_paths = pytest.mark.parametrize("ignored", [[], [Result.EXPIRED]], ids=["fast path", "full path"])
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the command openssl")
LABELS = {
    "TLS 1.2": {"CLIENT_RANDOM"},
    "TLS 1.3": {
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_TRAFFIC_SECRET_0",
        "SERVER_TRAFFIC_SECRET_0",
        "EXPORTER_SECRET",
    },
}


def secrets(path: Path) -> dict[str, str]:
    """Label and random of each line, and its secret."""
    lines = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    assert all(len(line) == 3 for line in lines)
    return {f"{label} {random.lower()}": secret.lower() for label, random, secret in lines}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    server_certificate().private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path


async def echoed(ours: StreamSocket) -> None:
    await ours.write(b"abc\n")
    assert await ours.read_until() in {b"cba\n", b"abc\n"}
    await ours.aclose()


@needs_openssl
@both_versions
@both_paths
async def test_a_client_writes_what_openssl_writes(files: Path, version: str, ignored: list[Result]) -> None:
    async with s_server(files, version, "-rev", "-keylogfile", "theirs") as (_, port):
        ours = trusting(key_log=files / "ours")
        assert ours.control.key_log == str(files / "ours")
        ours.control.ignorable_server_certificate_errors.extend(ignored)
        await ours.connect_async(LOCALHOST, port, TLS13)
        await echoed(ours)
    found = secrets(files / "ours")
    assert {line.split()[0] for line in found} == LABELS[version]
    assert found.items() <= secrets(files / "theirs").items()
    assert stat.S_IMODE((files / "ours").stat().st_mode) == 0o600


@needs_openssl
@both_versions
async def test_a_server_writes_what_openssl_writes(files: Path, version: str) -> None:
    async def echo(connection: StreamSocket) -> None:
        async for line in connection.lines():
            await connection.write(line + b"\n")

    log = files / "ours"
    identity = Certificate.from_files(files / "server.pem")
    async with moorings.listen("tls://127.0.0.1:0", echo, certificate=identity, key_log=log) as listener:
        assert listener.listener.control.key_log == str(log)
        arguments = ("-connect", f"127.0.0.1:{listener.port}", "-servername", "localhost", "-CAfile", "ca.pem")
        command = ("openssl", "s_client", *arguments, FLAGS[version], "-keylogfile", "theirs")
        async with running(*command, cwd=files) as client:
            await client.say(b"a line of text\n")
            await client.until(b"a line of text\n")
        listener.listener.control.server_certificate = identity  # the new context has the log, too
        async with await moorings.connect(f"tls://localhost:{listener.port}", ca=trusts()) as ours:
            await echoed(ours)
        with pytest.raises(OSError, match="before binding"):
            listener.listener.control.key_log = ""
    found, theirs = secrets(log), secrets(files / "theirs")
    assert theirs.items() <= found.items()
    assert len(found) > len(theirs) > 0
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@both_paths
async def test_a_log_that_was_moved_away_is_made_anew(tmp_path: Path, ignored: list[Result]) -> None:
    log = tmp_path / "keys"
    async with serving(server_context("TLS 1.3")) as served:
        url = f"tls://localhost:{served.port}"
        counts = []
        for _ in range(3):
            async with await moorings.connect(url, ca=trusts(), ignore=ignored, key_log=str(log)) as ours:
                await ours.write(b"x")
            counts.append(len(secrets(log)))
            if len(counts) == 2:
                log.rename(tmp_path / "old")
    assert counts[1] == 2 * counts[0]
    assert counts[2] == counts[0]


@both_paths
async def test_nothing_is_written_that_nobody_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignored: list[Result]
) -> None:
    log = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    async with serving(server_context("TLS 1.3")) as served:
        url = f"tls://localhost:{served.port}"

        async def connect(**settings: Any) -> None:
            async with await moorings.connect(url, ca=trusts(), ignore=ignored, **settings) as ours:
                await ours.write(b"x")

        for settings in ({}, {"key_log": None}, {"key_log": False}):
            await connect(**settings)
        assert not log.exists()
        await connect(key_log=True)
        assert secrets(log)
        monkeypatch.delenv("SSLKEYLOGFILE")
        size = log.stat().st_size
        await connect(key_log=True)  # no variable, no log
        assert log.stat().st_size == size
    assert os.listdir(tmp_path) == ["keys"]


def test_python_that_ignores_the_environment_ignores_this_variable(tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from moorings.sockets.tls_settings import as_key_log as log\n"
    code += "print([log(True), log('here')])"
    environment = os.environ | {"SSLKEYLOGFILE": "elsewhere"}
    for flags, printed in (((), "['elsewhere', 'here']"), (("-E",), "['', 'here']"), (("-I",), "['', 'here']")):
        command = [sys.executable, *flags, "-c", code, "src"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
        assert done.stdout.strip() == printed


async def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.touch(0o644)
    loose.chmod(0o644)
    ours = trusting(key_log=loose)
    with pytest.raises(PermissionError, match="chmod 600"):
        await ours.connect_async(LOCALHOST, "1", TLS13)
    ours.control.key_log = tmp_path / "nowhere" / "keys"
    with pytest.raises(FileNotFoundError):
        await ours.connect_async(LOCALHOST, "1", TLS13)
    for wrong, kind in ((5, TypeError), (b"keys", TypeError), ("a\0b", OSError)):
        with pytest.raises(kind):
            ours.control.key_log = wrong  # type: ignore[assignment]
    ours.control.key_log = ""
    assert ours.control.key_log == ""
    ours.close()
    identity = Certificate.from_pem(server_certificate().private_key_and_cert_chain_pem.bytes())
    with pytest.raises(PermissionError):
        await moorings.listen("tls://127.0.0.1:0", certificate=identity, key_log=loose)
    for url in ("tcp://127.0.0.1:0", "udp://127.0.0.1:0"):
        with pytest.raises(OSError, match="are for 'tls://host:port'") as caught:
            moorings.listen(url, print, key_log=loose)
        assert caught.value.winerror == errors.E_INVALIDARG  # type: ignore[attr-defined]
