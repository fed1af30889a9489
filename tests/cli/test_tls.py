"""`moorings listen tls://...` and `moorings connect tls://...`: certificates of both sides, and what refusals say."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.cli.running import COMMAND, LISTENING, PATIENCE, Running, environment
from tests.sockets.tls_servers import authority, client_identity, server_certificate

from moorings.certificates.certificate import identity_pem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with PEM files."""
    server = server_certificate()
    server.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    server.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "client.pem").write_bytes(identity_pem(client_identity()))
    (tmp_path / "no.pem").write_text("nothing\n")
    return tmp_path


@pytest.fixture
def port(files: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The port of an echo server on the command line."""
    more: list[str] = [word.format(files=files) for word in getattr(request, "param", ())]
    identity = more or ["--cert", f"{files}/server.pem"]
    with Running("listen", "tls://localhost:0", "--echo", *identity) as server:
        line = server.wait_for(LISTENING, error=True)
        assert line.startswith("listening on tls://")
        yield line.strip().rpartition(":")[2]


def connect(port: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "connect", f"tls://localhost:{port}", *arguments],
        input="hello\n",
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_an_echo(port: str, files: Path) -> None:
    done = connect(port, "--ca", f"{files}/ca.pem")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


@pytest.mark.parametrize("port", [["--cert", "{files}/chain.pem", "--key", "{files}/key.pem"]], indirect=True)
def test_a_key_in_a_file_of_its_own(port: str, files: Path) -> None:
    assert connect(port, "--ca", f"{files}/ca.pem").stdout == "hello\n"


def test_a_server_that_nobody_vouches_for(port: str) -> None:
    done = connect(port)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the certificate for 'localhost' is not accepted" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_without_authorities(port: str, files: Path) -> None:
    done = connect(port, "--ca", f"{files}/no.pem")
    assert done.returncode in {1, 2}
    assert "no.pem" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("port", [["--cert", "{files}/server.pem", "--ca", "{files}/ca.pem"]], indirect=True)
def test_a_server_that_wants_to_know_its_clients(port: str, files: Path) -> None:
    known = connect(port, "--ca", f"{files}/ca.pem", "--cert", f"{files}/client.pem")
    assert (known.returncode, known.stdout) == (0, "hello\n")
    unknown = connect(port, "--ca", f"{files}/ca.pem")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["listen", "tls://127.0.0.1:0"],
        ["listen", "tls://127.0.0.1:0", "--key", "{files}/key.pem"],
        ["listen", "tcp://127.0.0.1:0", "--cert", "{files}/server.pem"],
        ["listen", "tls://127.0.0.1:0", "--cert", "{files}/missing.pem"],
        ["listen", "tls://127.0.0.1:0", "--cert", "{files}/no.pem"],
        ["listen", "tls://127.0.0.1:0", "--cert", "{files}/chain.pem"],
        ["listen", "tls://127.0.0.1:0", "--cert", "{files}/server.pem", "--join", "239.255.0.1"],
        ["connect", "udp://127.0.0.1:1", "--ca", "{files}/ca.pem"],
        ["connect", "tls://127.0.0.1:1", "--key", "{files}/key.pem"],
        ["connect", "tls://127.0.0.1:1", "--cert", "{files}/ca.pem"],
    ],
)
def test_wrong_arguments(words: list[str], files: Path) -> None:
    done = subprocess.run(
        [*COMMAND, *(word.format(files=files) for word in words)],
        stdin=subprocess.DEVNULL,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"moorings {words[0]}: ")
    assert done.stderr.count("\n") == 1
