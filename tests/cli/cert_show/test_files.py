"""Certificates in files of every form."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
    pkcs12,
)
from tests.certificates.certificate_factory import Made, ec_key, make, make_server

from moorings.certificates.pem import to_pem
from moorings.cli.cert_show.files import read

if TYPE_CHECKING:
    from pathlib import Path

ROOT = make("Root")
SERVER = make_server(ROOT)
OTHER_KEY = ec_key(77)
BELONGS = "there, and it belongs to the certificate"


def never() -> str:
    raise AssertionError("nobody needs a password here")


def pfx(password: bytes | None, made: Made = SERVER) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return pkcs12.serialize_key_and_certificates(b"name", made.key, made.certificate, [ROOT.certificate], encryption)


def key_pem(key: object, password: bytes | None = None, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return bytes(key.private_bytes(Encoding.PEM, form, encryption))  # type: ignore[attr-defined]


def test_pem_and_der() -> None:
    assert read("x", to_pem(SERVER.der) + to_pem(ROOT.der), never) == ((SERVER.der, ROOT.der), "PEM", "")
    assert read("x", SERVER.der, never) == ((SERVER.der,), "DER", "")


@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
def test_pkcs_7(form: Encoding) -> None:
    octets = pkcs7.serialize_certificates([SERVER.certificate, ROOT.certificate], form)
    assert set(read("x", octets, never).chain) == {SERVER.der, ROOT.der}


def test_pkcs_12_without_a_password() -> None:
    assert read("x", pfx(None), never) == ((SERVER.der, ROOT.der), "PKCS #12", BELONGS)


def test_pkcs_12_with_an_empty_password(tmp_path: Path) -> None:
    (tmp_path / "both.pem").write_bytes(to_pem(SERVER.der) + to_pem(ROOT.der) + key_pem(SERVER.key))
    made = tmp_path / "made.p12"
    subprocess.run(
        ["openssl", "pkcs12", "-export", "-in", tmp_path / "both.pem", "-out", made, "-passout", "pass:"], check=True
    )
    assert read(str(made), None, never) == ((SERVER.der, ROOT.der), "PKCS #12", BELONGS)


def test_pkcs_12_with_a_password() -> None:
    assert read("x", pfx(b"secret"), lambda: "secret").chain == (SERVER.der, ROOT.der)
    with pytest.raises(OSError, match=r"id\.p12: .*password may be wrong"):
        read("id.p12", pfx(b"secret"), lambda: "other")


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (key_pem(SERVER.key), BELONGS),
        (key_pem(OTHER_KEY), "the private key is not the one of this certificate"),
        (key_pem(SERVER.key, b"secret"), "there, encrypted"),
        (key_pem(SERVER.key, b"secret", PrivateFormat.TraditionalOpenSSL), "there, encrypted"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "the private key cannot be read"),
    ],
)
def test_what_is_said_of_a_key(key: bytes, told: str) -> None:
    assert read("x", to_pem(SERVER.der) + key, never).key.startswith(told)


@pytest.mark.parametrize("octets", [b"", b"text", key_pem(SERVER.key), b"\x30\x03\x02\x01\x05", SERVER.der[:-3]])
def test_no_certificate(octets: bytes) -> None:
    with pytest.raises(OSError, match=r"some\.pem has no certificate"):
        read("some.pem", octets, never)


def test_too_big() -> None:
    with pytest.raises(OSError, match="more than"):
        read("x", b"0" * (4 * 1024 * 1024 + 1), never)
