"""`moorings listen tls://...` and `moorings connect tls://...`: certificates of both sides, and what refusals say."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from OpenSSL import SSL
from tests.certificates.bad_certificates import BadChain
from tests.certificates.certificate_factory import make, make_crl, make_server, rsa_key
from tests.certificates.openssl_oracle import _server_context
from tests.cli.running import COMMAND, LISTENING, PATIENCE, Running, environment, objects, plain_server
from tests.sockets.tls_servers import authority, client_identity, server_certificate

from moorings.certificates.certificate import Certificate, identity_pem
from moorings.certificates.enums import CertificateErrorSeverity
from moorings.certificates.enums import ChainValidationResult as Result
from moorings.certificates.pem import to_pem
from moorings.certificates.validation import IGNORABLE
from moorings.cli import app

if TYPE_CHECKING:
    import socket
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


def connect(port: str, *arguments: str, host: str = "localhost") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "connect", f"tls://{host}:{port}", *arguments],
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
    assert "; --ca names whom to trust, --ignore INCOMPLETE_CHAIN lets it pass all the same\n" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_refusal_names_all_errors_and_the_next_step(files: Path) -> None:
    expired = authority().issue_cert("other.example", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    expired.private_key_and_cert_chain_pem.write_to_path(files / "expired.pem")
    with Running("listen", "tls://localhost:0", "--echo", "--cert", f"{files}/expired.pem") as server:
        port = server.wait_for(LISTENING, error=True).strip().rpartition(":")[2]
        done = connect(port, "--ca", f"{files}/ca.pem")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            f"moorings: localhost:{port}: the certificate for 'localhost' is not accepted: EXPIRED, INVALID_NAME; "
            f"'moorings cert show localhost:{port} --ca {files}/ca.pem' shows it; --server-name names the server "
            "otherwise, --ignore EXPIRED,INVALID_NAME lets it pass all the same\n"
        )
        only_one = connect(port, "--ca", f"{files}/ca.pem", "--ignore", "EXPIRED")
        assert only_one.returncode == 1
        assert "EXPIRED, INVALID_NAME" in only_one.stderr
        renamed = connect(port, "--server-name", "x.example")
        assert f"'moorings cert show localhost:{port} --server-name x.example' shows it" in renamed.stderr
        both = connect(port, "--ca", f"{files}/ca.pem", "--ignore", "expired,invalid-name")
        assert (both.returncode, both.stdout, both.stderr) == (0, "hello\n", "")
        named = connect(port, "--ca", f"{files}/ca.pem", "--ignore", "EXPIRED", "--server-name", "other.example")
        assert (named.returncode, named.stdout) == (0, "hello\n")


def test_an_error_that_is_fatal_has_another_next_step(files: Path) -> None:
    root = make("Root")
    (files / "root.pem").write_bytes(to_pem(root.der))
    weak = make_server(root, "localhost", key=rsa_key(1024))
    chain = BadChain((weak.der,), weak.key_pem, (root.der,), (), CertificateErrorSeverity.FATAL)
    with plain_server() as (listening, url):
        serving = threading.Thread(target=shake_hands_once, args=(listening, chain))
        serving.start()
        done = connect(url.rpartition(":")[2], "--ca", f"{files}/root.pem", host="127.0.0.1")
        serving.join(PATIENCE)
    assert done.returncode == 1
    assert "OTHER_ERRORS cannot be ignored: the server needs another certificate" in done.stderr
    assert "--ignore" not in done.stderr


def shake_hands_once(listening: socket.socket, chain: BadChain) -> None:
    peer, _ = listening.accept()
    with peer:
        server = SSL.Connection(_server_context(chain), peer)
        peer.setblocking(True)
        server.set_accept_state()
        with contextlib.suppress(SSL.Error):
            server.do_handshake()


@pytest.mark.parametrize("port", [["--cert", "{files}/server.pem", "--alpn", "h2,http/1.1"]], indirect=True)
def test_statistics_tell_what_was_agreed_on(port: str) -> None:
    done = connect(port, "--ignore", "INCOMPLETE_CHAIN", "--alpn", "http/1.1", "--stats")
    assert done.returncode == 0
    first = done.stderr.splitlines()[0]
    assert re.search(r", TLS 1\.3, TLS_\w+, ALPN http/1\.1, ignored INCOMPLETE_CHAIN$", first)
    told = objects(connect(port, "--ignore", "INCOMPLETE_CHAIN", "--stats", "--json").stderr, "connected")[0]
    assert (told["protection_level"], told["ignored"]) == ("TLS13", ["INCOMPLETE_CHAIN"])
    assert told["cipher"].startswith("TLS_")
    assert "alpn" not in told


def test_a_server_tells_who_came(files: Path) -> None:
    options = ["--echo", "--cert", f"{files}/server.pem", "--client-ca", f"{files}/ca.pem"]
    with Running("listen", "tls://localhost:0", *options) as server:
        port = server.wait_for(LISTENING, error=True).strip().rpartition(":")[2]
        assert connect(port, "--ca", f"{files}/ca.pem", "--client-cert", f"{files}/client.pem").returncode == 0
        line = server.wait_for(" came")
    assert re.search(r" came, TLS 1\.3, TLS_\w+, client certificate '.+'$", line)


def test_failed_handshakes_are_counted(files: Path) -> None:
    options = ["--echo", "--cert", f"{files}/server.pem", "--json"]
    with Running("listen", "tls://localhost:0", *options) as server:
        port = server.wait_for(LISTENING, error=True).strip().rpartition(":")[2]
        assert connect(port).returncode == 1
        assert connect(port, "--ca", f"{files}/ca.pem").returncode == 0
        server.wait_for('"went"')
        server.signal(signal.SIGTERM)
        code, out, _ = server.end(None)
    assert code == 0
    (drained,) = objects(out.decode(), "drained")
    assert (drained["accepted"], drained["handshakes_failed"]) == (1, 1)


def test_web_sockets(files: Path) -> None:
    """The same options, and the same words."""
    options = ["--cert", f"{files}/server.pem", "--client-ca", f"{files}/ca.pem"]
    with Running("listen", "wss://localhost:0/chat", "--echo", *options) as server:
        url = server.wait_for(LISTENING, error=True).removeprefix(LISTENING)
        place = url.removeprefix("wss://").removesuffix("/chat").replace("[::1]", "127.0.0.1")
        url = f"wss://{place}/chat".replace("127.0.0.1", "localhost")

        def connect_there(*arguments: str) -> tuple[int, str, str]:
            with Running("connect", url, "--wait", "0.3", *arguments) as client:
                code, out, error = client.end(b"hello\n")
                return code, out.decode(), error

        ours = ["--ca", f"{files}/ca.pem", "--cert", f"{files}/client.pem"]
        assert connect_there(*ours) == (0, "hello\n", "")
        assert " came, TLS 1.3, " in server.wait_for(" came")
        code, out, error = connect_there(*ours, "--stats")
        assert (code, out) == (0, "hello\n")
        assert re.match(rf"connected to {url} in [\d.]+ ms, TLS 1\.3, TLS_\w+", error)
        code, out, error = connect_there("--server-name", "x.example")
        assert (code, out) == (1, "")
        port = url.removesuffix("/chat").rpartition(":")[2]
        assert error.startswith(f"moorings: localhost:{port}: the certificate for 'x.example' is not accepted: ")
        assert f"'moorings cert show localhost:{port} --server-name x.example' shows it" in error
        code, _, error = connect_there(*ours, "--pin", "A" * 43 + "=")
        assert code == 1
        assert "does not have the pinned key" in error
        server.signal(signal.SIGTERM)
        code, out_bytes, _ = server.end(None)
    assert code == 0
    assert re.search(r"drained: opened 2, closed 2, aborted 0, handshakes failed [12]\n$", out_bytes.decode())


@pytest.mark.parametrize("command", ["listen", "connect"])
def test_without_the_extra(
    command: str, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert app.main([command, "tls://127.0.0.1:1", "--cert", f"{files}/server.pem"]) == 1
    told = "--cert is not possible on this machine: the package cryptography (pip install 'moorings[tls]') is missing"
    assert capsys.readouterr() == ("", f"moorings: {told}\n")


def test_pins(port: str, files: Path) -> None:
    trusted = ["--ca", f"{files}/ca.pem"]
    pin = Certificate((files / "chain.pem").read_bytes()).pin_sha256
    other = Certificate((files / "ca.pem").read_bytes()).pin_sha256
    assert connect(port, *trusted, "--pin", f"{'A' * 43}=,sha256//{pin}").stdout == "hello\n"
    assert connect(port, *trusted, "--pin", other).stdout == "hello\n"  # that of its authority
    done = connect(port, *trusted, "--pin", f"{'A' * 43}=")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"localhost:{port}: the certificate for 'localhost' does not have the pinned key; 'moor" in done.stderr
    assert done.stderr.endswith(f"; 'moorings cert show localhost:{port} --ca {files}/ca.pem' shows its pins\n")


def test_revocation(files: Path) -> None:
    root = make("Root")
    server = make_server(root, "localhost")
    (files / "root.pem").write_bytes(to_pem(root.der))
    (files / "known.pem").write_bytes(to_pem(server.der) + server.key_pem)
    (files / "revoked.crl").write_bytes(make_crl(root, server))
    (files / "good.crl").write_bytes(make_crl(root))
    with Running("listen", "tls://localhost:0", "--echo", "--cert", f"{files}/known.pem") as running:
        port = running.wait_for(LISTENING, error=True).strip().rpartition(":")[2]
        trusted = ["--ca", f"{files}/root.pem"]
        assert connect(port, *trusted, "--crl", f"{files}/good.crl").stdout == "hello\n"
        revoked = connect(port, *trusted, "--crl", f"{files}/revoked.crl")
        assert revoked.returncode == 1
        assert "REVOKED cannot be ignored" in revoked.stderr
        look = f"'moorings cert show localhost:{port} --ca {files}/root.pem --crl {files}/revoked.crl' shows it"
        assert look in revoked.stderr
        unknown = connect(port, *trusted, "--revocation")
        assert unknown.returncode == 1
        assert (
            f"--ca {files}/root.pem --revocation' shows it; --crl names a list of revocations, --ig" in unknown.stderr
        )
        lenient = connect(port, *trusted, "--revocation", "--ignore", "REVOCATION_INFORMATION_MISSING")
        assert lenient.stdout == "hello\n"


def test_secrets_are_logged_where_it_is_asked_for(files: Path) -> None:
    ours, theirs = files / "ours.log", files / "theirs.log"
    options = ["--echo", "--cert", f"{files}/server.pem", "--key-log", str(theirs)]
    with Running("listen", "tls://localhost:0", *options) as running:
        port = running.wait_for(LISTENING, error=True).strip().rpartition(":")[2]
        assert connect(port, "--ca", f"{files}/ca.pem", "--key-log", str(ours)).stdout == "hello\n"
    assert "CLIENT_TRAFFIC_SECRET_0 " in ours.read_text()
    assert set(ours.read_text().splitlines()) & set(theirs.read_text().splitlines())
    assert ours.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("", [*sorted(IGNORABLE)]), ("unt", [Result.UNTRUSTED]), ("EXPIRED,INV", [Result.INVALID_NAME]), ("x", [])],
)
def test_completion_of_errors(
    typed: str, offered: list[Result], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_MOORINGS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"moorings connect --ignore {typed}")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert app.main([]) == 0
    begun = typed.rpartition(",")[0]
    wanted = [f"plain,{begun + ',' if begun else ''}{each.name}" for each in offered]
    assert capsys.readouterr().out.split() == wanted


def test_a_file_without_authorities(port: str, files: Path) -> None:
    done = connect(port, "--ca", f"{files}/no.pem")
    assert done.returncode == 2
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
        ["connect", "tls://127.0.0.1:1", "--ca", "{files}/no.pem"],
        ["connect", "tls://127.0.0.1:1", "--ignore", "REVOKED"],
        ["connect", "tls://127.0.0.1:1", "--ignore", "UNTRUSTED,OTHER_ERRORS"],
        ["connect", "tls://127.0.0.1:1", "--ignore", "all"],
        ["connect", "tls://127.0.0.1:1", "--ignore", "success"],
        ["connect", "tls://127.0.0.1:1", "--server-name", "a..b"],
        ["connect", "tls://127.0.0.1:1", "--alpn", "ü"],
        ["connect", "tcp://127.0.0.1:1", "--ignore", "UNTRUSTED"],
        ["connect", "tcp://127.0.0.1:1", "--server-name", "x.example"],
        ["connect", "tcp://127.0.0.1:1", "--revocation"],
        ["connect", "tls://127.0.0.1:1", "--pin", "x"],
        ["connect", "tls://127.0.0.1:1", "--crl", "{files}/ca.pem"],
        ["listen", "tcp://127.0.0.1:0", "--key-log", "{files}/log"],
        ["listen", "udp://127.0.0.1:0", "--alpn", "h2"],
        ["listen", "tls://127.0.0.1:0", "--cert", "{files}/server.pem", "--ca", "{files}/no.pem"],
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
