"""`moorings cert show`: what it prints, and how it ends."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from cryptography.x509.oid import NameOID
from tests.certificates.certificate_factory import DAY, NOW, make, make_crl, make_server, server_extensions
from tests.cli.running import COMMAND, LISTENING, PATIENCE, Running, environment, plain_server, read_until
from tests.cli.terminals import stream_of, terminal
from tests.sockets.tls_servers import authority, server_certificate

from moorings.certificates.pem import to_pem
from moorings.cli import app
from moorings.cli.cert import PASSWORD_BYTES_LIMIT, place_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOT = make("Root")
HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202ebad\r\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with files of certificates."""
    server = make_server(ROOT, "localhost")
    both = to_pem(server.der) + to_pem(ROOT.der)
    (tmp_path / "both.pem").write_bytes(both)
    (tmp_path / "root.pem").write_bytes(to_pem(ROOT.der))
    (tmp_path / "expired.pem").write_bytes(to_pem(make_server(ROOT, "localhost", until=NOW - 3 * DAY).der))
    (tmp_path / "bundle.p12").write_bytes(
        pkcs12.serialize_key_and_certificates(
            None, server.key, server.certificate, [ROOT.certificate], BestAvailableEncryption(b"secret")
        )
    )
    (tmp_path / "password").write_bytes(b"secret\r\nwhatever\n")
    (tmp_path / "nothing.pem").write_bytes(b"nothing\n")
    server_certificate().private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority().cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path


@contextmanager
def echo_server(files: Path, *options: str) -> Iterator[str]:
    """`moorings listen tls://`; its port."""
    with Running("listen", "tls://localhost:0", "--echo", "--cert", f"{files}/server.pem", *options) as server:
        yield server.wait_for(LISTENING, error=True).strip().rpartition(":")[2]


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    plain: dict[str, Any] = {"stdin": subprocess.DEVNULL, "env": environment(), "timeout": PATIENCE, "text": True}
    command = [*COMMAND, "cert", "show", *arguments]
    return subprocess.run(command, **(plain | options), capture_output=True, check=False)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The same, in this process: code, standard output and error."""
    code = app.main(["cert", "show", *arguments])
    return (code, *capsys.readouterr())


def rows(text: str) -> dict[str, str]:
    """The first table."""
    lines = text.partition("\n\n")[0].splitlines()
    width = lines[0].index("found")
    return {line[:width].strip(): line[width:] for line in lines[1:]}


# -- servers ---------------------------------------------------------------------------------------------------------


def test_a_server_that_is_trusted(files: Path) -> None:
    with echo_server(files, "--alpn", "h2") as port:
        done = run(f"localhost:{port}", "--ca", f"{files}/ca.pem", "--alpn", "x,h2")
    assert (done.returncode, done.stderr) == (0, "")
    found = rows(done.stdout)
    assert found["server"].startswith(f"localhost:{port}, at ")
    assert found["protocol"].startswith("TLS 1.3, TLS_")
    assert found["ALPN"] == "h2 (offered: x, h2)"
    assert found["certificate of clients"] == "not asked for"
    assert found["trusted"] == f"{files}/ca.pem"
    assert found["leads to"].endswith(", which is trusted")
    assert found["verdict"] == "acceptable"
    assert found["expires"].startswith("in ")
    assert "certificate 1  its own\n" in done.stdout
    assert "\nnames          localhost, IP 127.0.0.1\n" in done.stdout


def test_a_server_that_is_not(files: Path) -> None:
    with echo_server(files) as port:
        done = run(f"tls://localhost:{port}/", "--server-name", "other.example")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "the certificate for 'other.example' is not acceptable: INCOMPLETE_CHAIN, INVALID_NAME\n"
    )
    assert done.stderr.count("\n") == 1
    assert rows(done.stdout)["verdict"] == "not acceptable, severity IGNORABLE"
    assert "INVALID_NAME      yes             it is for other names than 'other.example'\n" in done.stdout
    assert "\npin            " in done.stdout


def test_a_server_that_needs_a_certificate_of_ours(files: Path) -> None:
    with echo_server(files, "--client-ca", f"{files}/ca.pem") as port:
        done = run(f"localhost:{port}", "--ca", f"{files}/ca.pem")
    assert (done.returncode, done.stderr) == (0, "")
    assert rows(done.stdout)["certificate of clients"] == "asked for"


def test_json_of_a_server(files: Path) -> None:
    with echo_server(files) as port:
        done = run(f"localhost:{port}", "--json", "--server-name", "other.example")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["ok"], found["kind"], found["severity"]) == (False, "server", "IGNORABLE")
    assert [(each["name"], each["ignorable"]) for each in found["errors"]] == [
        ("INCOMPLETE_CHAIN", True),
        ("INVALID_NAME", True),
    ]
    assert (found["protocol"], found["alpn"], found["client_certificate_requested"]) == ("TLSv1.3", None, False)
    assert found["address"].endswith(f":{port}")
    assert found["name_checked"] == "other.example"
    (certificate,) = found["certificates"]
    assert certificate["names"] == ["localhost", "IP 127.0.0.1"]
    assert len(certificate["pin"]) == 44
    assert certificate["days_left"] == found["expires_in_days"] > 0
    assert found["trusted_root"] is None


def test_what_pem_prints_can_be_trusted(files: Path) -> None:
    with echo_server(files) as port:
        first = run(f"localhost:{port}", "--pem")
        assert first.returncode == 1
        (files / "taken.pem").write_text(first.stdout)
        assert run(f"localhost:{port}", "--ca", f"{files}/taken.pem").returncode == 0
    assert first.stdout.startswith("-----BEGIN CERTIFICATE-----\n")


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, error = shown(capsys, "127.0.0.1:1")
    assert (code, out) == (1, "")
    assert error.startswith("moorings: connecting to 127.0.0.1:1: refused")


def test_nobody_who_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with plain_server() as (_, url):
        code, out, error = shown(capsys, url.removeprefix("tcp://"), "--timeout", "0.1")
    assert (code, out) == (1, "")
    assert "no TLS handshake within 0.1 s" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("example.com:443", ("example.com", "443")),
        ("[::1]:443", ("::1", "443")),
        ("tls://example.com:https", ("example.com", "https")),
        ("https://example.com", ("example.com", "443")),
        ("HTTPS://example.com/path?x", ("example.com", "443")),
        ("https://[::1]/", ("::1", "443")),
        ("wss://example.com:8443/chat?room=1", ("example.com", "8443")),
        ("WSS://example.com/chat", ("example.com", "443")),
        ("https://[::1]:8443/", ("::1", "8443")),
        ("-", None),
    ],
)
def test_places(target: str, place: tuple[str, str] | None) -> None:
    assert place_of(target) == place


def test_a_file_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd:443").write_text("")
    assert place_of("odd:443") is None


@pytest.mark.parametrize("target", ["example.com", "no.pem", "/no/file:1", "a:b:c", "tcp://example.com:1", "ws://x:1"])
def test_neither_file_nor_place(target: str) -> None:
    with pytest.raises((click.BadParameter, OSError)):
        place_of(target)


# -- files -----------------------------------------------------------------------------------------------------------


def test_a_chain_in_a_file(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both, root = f"{files}/both.pem", f"{files}/root.pem"
    code, out, error = shown(capsys, both, "--ca", root, "--server-name", "localhost")
    assert (code, error) == (0, "")
    assert rows(out)["name"] == "localhost"
    assert "certificate 2  root\n" in out
    code, out, error = shown(capsys, both)
    assert (code, rows(out)["name"]) == (1, "not checked")
    assert error == f"moorings: {both}: the certificate is not acceptable: UNTRUSTED\n"
    assert rows(out)["leads to"].endswith("CN=Root, which vouches for itself")


def test_an_expired_one(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = shown(capsys, f"{files}/expired.pem", "--ca", f"{files}/root.pem")
    assert code == 1
    assert rows(out)["expires"].startswith("expired 3 days ago (")


@pytest.mark.parametrize(
    ("revoked", "told"), [(True, ["REVOKED"]), (False, []), (None, ["REVOCATION_INFORMATION_MISSING"])]
)
def test_revocation(revoked: bool | None, told: list[str], files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = make_server(ROOT, "localhost")
    (files / "leaf.pem").write_bytes(to_pem(server.der))
    (files / "list.crl").write_bytes(make_crl(ROOT, *([server] if revoked else [])))
    asking = ["--revocation"] if revoked is None else ["--crl", f"{files}/list.crl"]
    code, out, _ = shown(capsys, f"{files}/leaf.pem", "--ca", f"{files}/root.pem", "--json", *asking)
    found = json.loads(out)
    assert (code, [each["name"] for each in found["errors"]]) == (int(bool(told)), told)
    assert (found["revocation_asked"], found["stapled"]) == (True, False)


def test_standard_input(files: Path) -> None:
    done = run("-", "--ca", f"{files}/root.pem", stdin=None, input=(files / "both.pem").read_text())
    assert (done.returncode, rows(done.stdout)["file"]) == (0, "standard input, PEM")


def test_a_password_from_a_file(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = [f"{files}/bundle.p12", "--ca", f"{files}/root.pem"]
    code, out, error = shown(capsys, *bundle, "--password-file", f"{files}/password")
    assert (code, error) == (0, "")
    assert rows(out)["private key"] == "there, and it belongs to the certificate"
    code, _, error = shown(capsys, *bundle, "--password-file", f"{files}/nothing.pem")
    assert code == 1
    assert "the password may be wrong" in error
    done = run(*bundle, "--password-file", "-", stdin=None, input="secret\n")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_password_without_a_terminal(files: Path) -> None:
    done = run(f"{files}/bundle.p12")
    assert (done.returncode, done.stdout) == (1, "")
    assert "needs a password, and there is no terminal to ask on: use --password-file" in done.stderr


def test_a_password_that_is_asked_for(files: Path) -> None:
    """The prompt is on the terminal, and what is typed is not."""
    command = [*COMMAND, "cert", "show", f"{files}/bundle.p12", "--ca", f"{files}/root.pem"]
    pid, screen = pty.fork()
    if pid == 0:
        os.execve(command[0], command, environment())
    try:
        before = read_until(screen, b"Password of ")
        os.write(screen, b"secret\n")
        after = read_until(screen, b"SHA-256")
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(screen)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b"secret" not in before + after


def test_a_password_that_is_no_text(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "password").write_bytes(b"\xff" * PASSWORD_BYTES_LIMIT)
    code, _, error = shown(capsys, f"{files}/bundle.p12", "--password-file", f"{files}/password")
    assert code == 1
    assert "is no text in UTF-8" in error


# -- hostile certificates --------------------------------------------------------------------------------------------


@pytest.fixture
def hostile(tmp_path: Path) -> str:
    """A certificate whose names would do something to a terminal."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOSTILE), x509.NameAttribute(NameOID.TITLE, "[red]x[/]")])
    names = x509.SubjectAlternativeName([x509.DNSName("a\x1b[31m, good.example"), x509.DNSName("x\x00.example")])
    made = make(name, None, extensions=(*server_extensions()[:3], (names, False)))
    path = tmp_path / "hostile.pem"
    path.write_bytes(to_pem(made.der))
    return str(path)


def test_control_characters_are_escaped(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, error = shown(capsys, hostile)
    assert code == 1
    assert all(line.isprintable() for line in (out + error).splitlines()), ascii(out + error)
    assert r"CN\=" not in out
    assert r"\x1b[2J\x1b]0\;owned\x07\u202ebad\r\n" in out
    assert "'a\\\\x1b[31m, good.example'" in out or "'a\\x1b[31m, good.example'" in out
    code, out, _ = shown(capsys, hostile, "--json")
    assert code == 1
    assert out.isascii()
    assert "\x1b" not in out
    assert HOSTILE.replace(";", "\\;") in json.loads(out)["certificates"][0]["subject"]


def test_control_characters_on_a_terminal(hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with terminal() as made:
        with stream_of(made) as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", io.StringIO())
            assert app.main(["cert", "show", hostile]) == 1
        assert "\x1b[2J" not in made.raw
        assert "\x1b]0" not in made.raw
        assert "\u202e" not in made.raw
        assert "[red]x[/]" in made.text
        assert max(map(len, made.text.splitlines())) <= 80
        joined = "".join(made.text.split())
        assert "…" not in joined


# -- wrong arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere.pem"], "'nowhere.pem' is no file that is there; a server is HOST:PORT, as in nowhere.pem:443;"),
        (["{files}/both.pem", "--pem", "--json"], "--pem and --json exclude each other"),
        (["{files}/both.pem", "--alpn", "h2"], "--alpn is for servers"),
        (["{files}/both.pem", "--starttls", "smtp"], "--starttls is for servers"),
        (["127.0.0.1:1", "--password-file", "{files}/password"], "--password-file is for files"),
        (["-", "--password-file", "-"], "standard input cannot be both"),
        (["127.0.0.1:1", "--ca", "{files}/nothing.pem"], "nothing.pem"),
        (["127.0.0.1:1", "--ca", "{files}/missing.pem"], "missing.pem"),
        (["127.0.0.1:1", "--starttls", "gopher"], "gopher"),
        (["127.0.0.1:1", "--timeout", "x"], "'x' is not a number of seconds"),
        (["127.0.0.1:1", "--server-name", "a..b"], "a label between dots is empty"),
        (["127.0.0.1:1", "--alpn", "h\u00fc"], "no protocol name"),
        (["127.0.0.1:1", "--password", "x"], "no such option"),
    ],
)
def test_wrong_arguments(words: list[str], told: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, error = shown(capsys, *(word.format(files=files) for word in words))
    assert (code, out) == (2, "")
    assert told in error
    assert error.startswith("moorings cert show: ")
    assert error.count("\n") == 1


def test_a_misspelt_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["cert", "shwo"]) == 2
    told = "moorings cert: no such command 'shwo'; did you mean 'show'?; see 'moorings cert --help'\n"
    # click before 8.2 makes no guess
    assert capsys.readouterr().err.replace("'shwo'; see", "'shwo'; did you mean 'show'?; see") == told


def test_a_file_without_a_certificate(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, error = shown(capsys, f"{files}/nothing.pem")
    assert (code, out) == (1, "")
    assert error == f"moorings: {files}/nothing.pem has no certificate, neither in PEM nor in DER\n"


@pytest.mark.parametrize("package", ["cryptography", "OpenSSL"])
def test_without_the_extra(package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    code, out, error = shown(capsys, "127.0.0.1:1")
    assert (code, out) == (1, "")
    assert "pip install 'moorings[tls]'" in error
    assert error.count("\n") == 1
