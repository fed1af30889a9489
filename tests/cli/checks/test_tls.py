"""What a machine has for TLS, and what it lacks."""

from __future__ import annotations

import ssl
import sys
from typing import TYPE_CHECKING

import pytest
from tests.sockets.tls_servers import authority

from moorings.cli.checks import tls
from moorings.cli.checks.machine import Machine
from moorings.cli.checks.model import State, missing, off, ok
from moorings.cli.checks.tls import Trusted

if TYPE_CHECKING:
    from pathlib import Path

EXTRA = "pip install 'moorings[tls]'"


def test_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(openssl_version=lambda: "OpenSSL 3.9.9")
    assert tls.openssl(machine) == ok("OpenSSL 3.9.9, TLS 1.2 and 1.3")
    monkeypatch.setattr(ssl, "HAS_TLSv1_3", False)
    advice = "a Python that was built with OpenSSL 1.1.1 or newer"
    assert tls.openssl(machine) == off("OpenSSL 3.9.9, without TLS 1.3", advice)
    assert ssl.OPENSSL_VERSION in tls.openssl(Machine()).found


def test_extra() -> None:
    everything = "cryptography 1.0, pyOpenSSL 1.0, service-identity 1.0"
    assert tls.extra(Machine(find_version=lambda _name: "1.0")) == ok(everything)
    half = Machine(find_version=lambda name: "1.0" if name == "cryptography" else None)
    assert tls.extra(half) == missing("no pyOpenSSL, no service-identity; cryptography 1.0", EXTRA)
    nothing = tls.extra(Machine(find_version=lambda _name: None))
    assert nothing == missing("no cryptography, no pyOpenSSL, no service-identity", EXTRA)


def test_trust() -> None:
    def found(trusted: Trusted, **variables: str) -> object:
        return tls.trust(Machine(environ=variables, trusted=lambda: trusted))

    assert found(Trusted(("/a", "/b"), 7)) == ok("7 authorities, in /a and /b")
    assert found(Trusted(("/x",), 1), SSL_CERT_FILE="/x") == ok("1 authority, in /x (SSL_CERT_FILE is /x)")
    assert found(Trusted(("/a",), 0)) == missing("none in /a", "apt install ca-certificates")
    empty = "there is no file and no directory of them"
    assert found(Trusted((), 0)) == missing(empty, "apt install ca-certificates")
    unset = missing(f"{empty} (SSL_CERT_DIR is /x)", "unset SSL_CERT_FILE SSL_CERT_DIR")
    assert found(Trusted((), 0), SSL_CERT_DIR="/x") == unset


@pytest.mark.parametrize("package", ["", "cryptography"])
def test_the_authorities_of_this_machine(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra and without it."""
    authority().cert_pem.write_to_path(tmp_path / "roots.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    if package:
        monkeypatch.setitem(sys.modules, package, None)
    assert tls.trusted_here() == Trusted((str(tmp_path / "roots.pem"),), 1)
    assert tls.trust(Machine()).state is State.OK
