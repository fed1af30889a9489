from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, x25519
from tests.certificates.bad_certificates import R, intermediate, root
from tests.certificates.certificate_factory import DAY, NOW, SERVER_NAME, Made, make_server, name_of, rsa_key

from moorings.certificates import parsed
from moorings.certificates.der import DerError, oid_text
from moorings.certificates.parsed import MalformedCertificateError, check_signature, may_have_issued, parse, verifies
from moorings.certificates.trust import TrustAnchors
from moorings.certificates.validation import find_errors

SIGNED = b"signed"
SHA = hashes.SHA256()


def signed_by(key: Any, algorithm: Any = None, parameters: Any = None) -> Made:
    """A root with a key of that kind."""
    builder = x509.CertificateBuilder().subject_name(name_of("Any kind")).issuer_name(name_of("Any kind"))
    builder = builder.public_key(key.public_key()).serial_number(5)
    builder = builder.not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Made(builder.sign(key, algorithm, rsa_padding=parameters), key)


@pytest.mark.parametrize(
    ("key", "algorithm", "parameters"),
    [
        (ed25519.Ed25519PrivateKey.generate(), None, None),
        (ed448.Ed448PrivateKey.generate(), None, None),
        (ec.generate_private_key(ec.SECP384R1()), hashes.SHA384(), None),
        (rsa_key(2048), hashes.SHA256(), None),
        (rsa_key(2048), hashes.SHA256(), padding.PSS(padding.MGF1(hashes.SHA256()), 32)),
    ],
    ids=["Ed25519", "Ed448", "P-384", "RSA", "RSA-PSS"],
)
def test_kinds_of_keys(key: Any, algorithm: Any, parameters: Any) -> None:
    certificate = parse(signed_by(key, algorithm, parameters).der)
    assert verifies(certificate, certificate)
    assert not verifies(certificate, parse(root().der))
    assert not verifies(parse(root().der), certificate)


def test_dsa_and_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    key = dsa.generate_private_key(1024)
    signature = key.sign(SIGNED, SHA)
    assert check_signature(key.public_key(), signature, SIGNED, SHA)
    assert not check_signature(key.public_key(), signature, b"other", SHA)
    monkeypatch.setattr(parsed, "DSA_KEY_BITS_LIMIT", 1000)
    assert not check_signature(key.public_key(), signature, SIGNED, SHA)


def test_keys_that_sign_nothing() -> None:
    assert not check_signature(x25519.X25519PrivateKey.generate().public_key(), b"", SIGNED, SHA)
    assert not check_signature(None, b"", SIGNED, SHA)
    edwards = ed25519.Ed25519PrivateKey.generate()
    assert not check_signature(edwards.public_key(), edwards.sign(SIGNED), SIGNED, SHA)


def test_who_may_have_issued() -> None:
    server, above, top = (parse(made.der) for made in (make_server(intermediate()), intermediate(), root()))
    assert may_have_issued(above, server)
    assert not may_have_issued(top, server)
    assert top.looks_self_signed
    assert not above.looks_self_signed


def test_equal_by_octets() -> None:
    first, second = parse(root().der), parse(bytearray(root().der))
    assert first == second
    assert len({first, second}) == 1
    assert first != root().der


def test_a_serial_number_below_one_is_no_reason_to_warn() -> None:
    """The library's warning would be an error here."""
    made = make_server(root(), serial_number=1)
    # The number is the first value after the version.
    der = made.der.replace(bytes.fromhex("a003020102020101"), bytes.fromhex("a003020102020100"), 1)
    assert parse(der).parts.serial_number == 0
    anchors = TrustAnchors(certificates=[root().der])
    assert find_errors(der, (), server_name=SERVER_NAME, anchors=anchors) == (R.INVALID_SIGNATURE,)


@pytest.mark.parametrize("data", [b"", b"\x30", b"\x30\x80", b"\x30\x03\x02\x01\x01", bytes(200)])
def test_malformed(data: bytes) -> None:
    with pytest.raises(MalformedCertificateError):
        parse(data)


@pytest.mark.parametrize(("octets", "text"), [("2a0304", "1.2.3.4"), ("551d13", "2.5.29.19"), ("883703", "2.999.3")])
def test_object_identifiers(octets: str, text: str) -> None:
    assert oid_text(bytes.fromhex(octets)) == text


@pytest.mark.parametrize("octets", ["", "80", "2a80", "2a" + "ff" * 30 + "01"])
def test_no_object_identifiers(octets: str) -> None:
    with pytest.raises(DerError):
        oid_text(bytes.fromhex(octets))
