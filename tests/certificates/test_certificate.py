from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from tests.certificates.bad_certificates import intermediate, root
from tests.certificates.certificate_factory import (
    CA_EXTENSIONS,
    Made,
    ec_key,
    make,
    make_server,
    name_of,
    rsa_key,
    server_extensions,
)

from moorings import errors
from moorings.certificates.certificate import (
    FILE_BYTES_LIMIT,
    Certificate,
    certificate_der,
    chain_ders,
    identity_pem,
    private_key,
)
from moorings.certificates.pem import to_pem

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus" / "certificates"
SECRET = "correct horse"


def encrypted(key: Any) -> bytes:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    return bytes(key.private_bytes(*form, serialization.BestAvailableEncryption(SECRET.encode())))


def pfx(made: Made, *others: Made, name: bytes = b"my server") -> bytes:
    encryption = serialization.BestAvailableEncryption(SECRET.encode())
    chain = [other.certificate for other in others]
    return pkcs12.serialize_key_and_certificates(name, made.key, made.certificate, chain, encryption)


@pytest.fixture(scope="module")
def server() -> Made:
    return make_server(intermediate())


def refused(error: pytest.ExceptionInfo[OSError]) -> bool:
    return error.value.winerror == errors.E_INVALIDARG  # type: ignore[attr-defined]


# -- construction ------------------------------------------------------------------------------------------------------


def test_from_der(server: Made) -> None:
    for blob in (server.der, bytearray(server.der), memoryview(server.der)):
        assert bytes(Certificate(blob).get_certificate_blob()) == server.der


def test_from_pem_text_with_its_chain(server: Made) -> None:
    certificate = Certificate(b"words before\n" + to_pem(server.der) + to_pem(intermediate().der))
    assert certificate_der(certificate) == server.der
    assert chain_ders(certificate) == (intermediate().der,)


def test_from_pkcs7() -> None:
    blob = (CORPUS / "bundle.p7b").read_bytes()
    # PKCS #7 holds a set: whichever comes first is the certificate.
    certificate = Certificate(blob)
    found = {certificate_der(certificate), *chain_ders(certificate)}
    assert found == {(CORPUS / "leaf.der").read_bytes(), (CORPUS / "root.der").read_bytes()}


@pytest.mark.parametrize(
    "blob", [b"", b"x", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----", bytes(FILE_BYTES_LIMIT + 1)]
)
def test_no_certificate(blob: bytes) -> None:
    with pytest.raises(OSError) as error:
        Certificate(blob)
    assert refused(error)


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError):
        Certificate("text")  # type: ignore[arg-type]
    with pytest.raises(OSError) as error:
        Certificate(None)  # type: ignore[arg-type]
    assert refused(error)
    with pytest.raises(TypeError):
        type("Subclass", (Certificate,), {})


# -- members -----------------------------------------------------------------------------------------------------------


def test_names_and_times(server: Made) -> None:
    certificate = Certificate(server.der)
    assert certificate.subject == "server.moorings.example"
    assert certificate.issuer == "Intermediate of the tests"
    assert certificate.valid_from == server.certificate.not_valid_before_utc
    assert certificate.valid_to.tzinfo is UTC
    number = int.from_bytes(bytes(certificate.serial_number), "big")
    assert number == server.certificate.serial_number


@pytest.mark.parametrize(("number", "octets"), [(1, b"\1"), (0x80, b"\x80"), (0x1FF, b"\1\xff")])
def test_serial_number(number: int, octets: bytes) -> None:
    assert bytes(Certificate(make("x", key=ec_key(3), serial_number=number).der).serial_number) == octets


def test_subject_without_common_name() -> None:
    organization = x509.Name(list(name_of("x"))[:1])
    assert Certificate(make(organization, key=ec_key(3)).der).subject == "Moorings tests"
    assert Certificate(make(x509.Name([]), key=ec_key(3)).der).subject == ""


def test_usages(server: Made) -> None:
    certificate = Certificate(server.der)
    assert list(certificate.enhanced_key_usages) == ["1.3.6.1.5.5.7.3.1"]
    assert certificate.key_usages.digital_signature
    assert not certificate.key_usages.key_certificate_sign
    authority = Certificate(root().der)
    assert authority.key_usages.key_certificate_sign
    assert authority.key_usages.crl_sign
    assert list(authority.enhanced_key_usages) == []
    assert not Certificate(make("x", extensions=()).der).key_usages.digital_signature


@pytest.mark.parametrize(
    ("key", "name", "signature"),
    [(ec_key(3), "ECDSA_P256", "sha256ECDSA"), (rsa_key(2048), "RSA", "sha256RSA")],
    ids=["EC", "RSA"],
)
def test_algorithms(key: Any, name: str, signature: str) -> None:
    certificate = Certificate(make("x", key=key).der)
    assert certificate.key_algorithm_name == name
    assert certificate.signature_algorithm_name == signature
    assert certificate.signature_hash_algorithm_name == "SHA256"


def test_alternative_names() -> None:
    info = Certificate((CORPUS / "leaf.der").read_bytes()).subject_alternative_name
    assert list(info.dns_name) == list(info.dns_names) == ["server.moorings.example", "*.a.moorings.example"]
    assert list(info.ip_address) == ["192.0.2.1"]
    assert list(info.email_name) == ["a@good.example"]
    assert list(info.url) == ["https://server.moorings.example/"]
    assert list(info.principal_name) == ["user"]
    assert list(info.distinguished_name) == ["CN=dir,O=Moorings tests"]
    assert info.extension.object_id == "2.5.29.17"
    assert bytes(info.extension.value)[:1] == b"\x30"


def test_without_alternative_names() -> None:
    info = Certificate(make("x").der).subject_alternative_name
    assert list(info.dns_name) == list(info.ip_address) == []
    assert bytes(info.extension.value) == b""


def test_hashes(server: Made) -> None:
    certificate = Certificate(server.der)
    assert bytes(certificate.get_hash_value()) == hashlib.sha1(server.der).digest()
    assert bytes(certificate.get_hash_value("sha1")) == hashlib.sha1(server.der).digest()
    assert bytes(certificate.get_hash_value("SHA256")) == hashlib.sha256(server.der).digest()
    with pytest.raises(OSError) as error:
        certificate.get_hash_value("MD5")
    assert refused(error)
    with pytest.raises(TypeError, match="invalid parameter count"):
        certificate.get_hash_value("SHA1", "SHA1")
    with pytest.warns(DeprecationWarning, match="get_hash_value"):
        assert len(certificate.get_hash_value_with_algorithm("SHA256")) == 32


def test_where_it_comes_from(server: Made) -> None:
    certificate = Certificate(server.der)
    assert certificate.friendly_name == ""
    certificate.friendly_name = "mine"
    assert certificate.friendly_name == "mine"
    with pytest.raises(TypeError):
        certificate.friendly_name = None  # type: ignore[assignment]
    assert certificate.store_name == ""
    assert not certificate.is_per_user
    assert not certificate.has_private_key
    assert not certificate.is_strongly_protected
    assert not certificate.is_security_device_bound
    assert certificate.key_storage_provider_name == ""


def test_equal_only_if_the_same(server: Made) -> None:
    assert Certificate(server.der) != Certificate(server.der)


def test_addresses_of_both_families() -> None:
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("2001:db8::1"))])
    extensions = (*server_extensions()[:-1], (names, False))
    info = Certificate(make_server(root(), extensions=extensions).der).subject_alternative_name
    assert list(info.ip_address) == ["2001:db8::1"]


# -- private keys ------------------------------------------------------------------------------------------------------


def test_from_pem(server: Made) -> None:
    for certificate in (
        Certificate.from_pem(to_pem(server.der) + server.key_pem),
        Certificate.from_pem(to_pem(server.der), server.key_pem),
        Certificate.from_pem(to_pem(server.der).decode(), server.key_pem.decode()),
        Certificate.from_pem(to_pem(server.der), encrypted(server.key), SECRET),
        Certificate.from_pem(to_pem(server.der), encrypted(server.key), SECRET.encode()),
    ):
        assert certificate.has_private_key
        assert certificate.key_storage_provider_name == "Microsoft Software Key Storage Provider"


def test_from_pem_without_key(server: Made) -> None:
    assert not Certificate.from_pem(to_pem(server.der)).has_private_key


@pytest.mark.parametrize("password", [None, "wrong"])
def test_wrong_passwords_say_nothing(server: Made, password: str | None) -> None:
    with pytest.raises(OSError, match="password") as error:
        Certificate.from_pem(to_pem(server.der), encrypted(server.key), password)
    assert refused(error)
    assert error.value.__cause__ is None


def test_a_key_of_somebody_else(server: Made) -> None:
    with pytest.raises(OSError, match="not the one of this certificate") as error:
        Certificate.from_pem(to_pem(server.der), root().key_pem)
    assert refused(error)
    with pytest.raises(OSError, match="no private key"):
        Certificate.from_pem(to_pem(server.der), to_pem(server.der))


def test_from_pfx(server: Made) -> None:
    certificate = Certificate.from_pfx(pfx(server, intermediate()), SECRET)
    assert certificate.has_private_key
    assert certificate.friendly_name == "my server"
    assert chain_ders(certificate) == (intermediate().der,)
    with pytest.raises(OSError) as error:
        Certificate.from_pfx(pfx(server), "wrong")
    assert refused(error)
    with pytest.raises(OSError) as error:
        Certificate.from_pfx(b"nonsense", None)
    assert refused(error)


def test_from_files(server: Made, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_bytes(to_pem(server.der))
    (tmp_path / "key.pem").write_bytes(encrypted(server.key))
    assert Certificate.from_files(tmp_path / "cert.pem", tmp_path / "key.pem", SECRET).has_private_key
    assert not Certificate.from_files(str(tmp_path / "cert.pem")).has_private_key
    with pytest.raises(FileNotFoundError, match="cannot be read"):
        Certificate.from_files(tmp_path / "none.pem")
    with (tmp_path / "big").open("wb") as file:
        file.truncate(FILE_BYTES_LIMIT + 1)
    with pytest.raises(OSError, match="octets") as error:
        Certificate.from_files(tmp_path / "big")
    assert refused(error)


def test_no_text_shows_the_key(server: Made) -> None:
    certificate = Certificate.from_pem(to_pem(server.der) + server.key_pem)
    fingerprint = hashlib.sha256(server.der).hexdigest()
    assert repr(certificate) == f"<Certificate 'server.moorings.example' SHA-256 {fingerprint[:16]}...>"
    assert str(certificate) == repr(certificate)


def test_identity_for_tls(server: Made) -> None:
    certificate = Certificate.from_pfx(pfx(server, intermediate()), SECRET)
    pem = identity_pem(certificate)
    assert pem.startswith(to_pem(server.der) + to_pem(intermediate().der))
    assert pem.endswith(b"-----END PRIVATE KEY-----\n")
    assert private_key(certificate) is not None
    with pytest.raises(OSError, match="no private key") as error:
        identity_pem(Certificate(server.der))
    assert refused(error)


def test_times_are_in_utc() -> None:
    since = datetime(2000, 1, 1, tzinfo=UTC)
    made = make("old", key=ec_key(3), since=since, until=datetime(2060, 1, 1, tzinfo=UTC), extensions=CA_EXTENSIONS)
    assert Certificate(made.der).valid_from == since
    assert Certificate(made.der).valid_to.year == 2060
