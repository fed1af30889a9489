"""Authorities and certificates for tests, made quickly and with any defect. Keys are made once in a process."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVER_NAME = "server.moorings.example"
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)

_RSA_SHA256 = bytes.fromhex("06092a864886f70d01010b0500")
_RSA_SHA1 = bytes.fromhex("06092a864886f70d0101050500")
_RSA_MD5 = bytes.fromhex("06092a864886f70d0101040500")
WEAK_DIGESTS: dict[str, tuple[bytes, Any]] = {"sha1": (_RSA_SHA1, hashes.SHA1()), "md5": (_RSA_MD5, hashes.MD5())}


@functools.cache
def ec_key(number: int = 0) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@functools.cache
def rsa_key(bits: int, number: int = 0) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def key_pem(key: Any) -> bytes:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return bytes(key.private_bytes(*form))


def name_of(common_name: str, organization: str = "Moorings tests") -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def key_usage(*names: str) -> x509.KeyUsage:
    all_names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    assert set(names) <= set(all_names)
    return x509.KeyUsage(**{name: name in names for name in all_names})


@dataclass(frozen=True)
class Made:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        return key_pem(self.key)


CA_USAGE = key_usage("key_cert_sign", "crl_sign")
SERVER_USAGE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
#: (extension, critical), the usual ones of an authority and of a server.
CA_EXTENSIONS: tuple[tuple[x509.ExtensionType, bool], ...] = (
    (x509.BasicConstraints(ca=True, path_length=None), True),
    (CA_USAGE, True),
)


def server_extensions(*names: str) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    return (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (key_usage("digital_signature"), True),
        (SERVER_USAGE, False),
        (x509.SubjectAlternativeName([x509.DNSName(name) for name in names or (SERVER_NAME,)]), False),
    )


def make(
    common_name: str | x509.Name,
    issuer: Made | None = None,
    *,
    key: Any = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = CA_EXTENSIONS,
    since: datetime = NOW - 30 * DAY,
    until: datetime = NOW + 300 * DAY,
    key_identifiers: bool = True,
    serial_number: int | None = None,
) -> Made:
    """A certificate signed by *issuer*, or by itself. The defaults are those of an authority."""
    subject = common_name if isinstance(common_name, x509.Name) else name_of(common_name)
    key = key or ec_key()
    signer = key if issuer is None else issuer.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(serial_number or x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )
    if key_identifiers:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        extensions = (
            *extensions,
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (authority, False),
        )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Made(builder.sign(signer, hashes.SHA256()), key)


def make_server(issuer: Made | None, *names: str, **options: Any) -> Made:
    """A certificate for a server with these DNS names, without defect."""
    options.setdefault("extensions", server_extensions(*names))
    options.setdefault("key", ec_key(9))
    return make(names[0] if names else SERVER_NAME, issuer, **options)


# -- defects that no builder makes -----------------------------------------------------------------------------------


def _value(tag: int, contents: bytes) -> bytes:
    size = len(contents)
    if size < 0x80:
        return bytes((tag, size)) + contents
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + contents


def _algorithm_of(certificate: x509.Certificate) -> bytes:
    """The signature's algorithm in DER, which stands between the signed part and the signature."""
    der = certificate.public_bytes(serialization.Encoding.DER)
    rest = der[der.index(certificate.tbs_certificate_bytes) + len(certificate.tbs_certificate_bytes) :]
    return rest[: 2 + rest[1]]


def assemble(signed: bytes, algorithm: bytes, signature: bytes) -> bytes:
    return _value(0x30, signed + algorithm + _value(3, b"\0" + signature))


def spoil_signature(made: Made) -> bytes:
    """The certificate with a signature over something else: well-formed, and wrong."""
    certificate = made.certificate
    wrong = ec_key(77).sign(b"something else", ec.ECDSA(hashes.SHA256()))
    return assemble(certificate.tbs_certificate_bytes, _algorithm_of(certificate), wrong)


def sign_weakly(made: Made, issuer_key: rsa.RSAPrivateKey, digest: str) -> bytes:
    """The certificate, made with RSA and SHA-256, signed anew with MD5 or SHA-1."""
    algorithm, algorithm_hash = WEAK_DIGESTS[digest]
    signed = made.certificate.tbs_certificate_bytes
    assert signed.count(_RSA_SHA256) == 1
    signed = signed.replace(_RSA_SHA256, algorithm)
    return assemble(signed, _value(0x30, algorithm), issuer_key.sign(signed, padding.PKCS1v15(), algorithm_hash))


def change_signed_part(made: Made, issuer_key: ec.EllipticCurvePrivateKey, old: bytes, new: bytes) -> bytes:
    """The certificate with octets of its signed part exchanged, and signed again."""
    signed = made.certificate.tbs_certificate_bytes
    assert signed.count(old) == 1, signed.count(old)
    assert len(old) == len(new)
    signed = signed.replace(old, new)
    signature = issuer_key.sign(signed, ec.ECDSA(hashes.SHA256()))
    return assemble(signed, _algorithm_of(made.certificate), signature)


def make_version_1(common_name: str, issuer: Made, key: Any) -> bytes:
    """A certificate of version 1: without any extension, and so without a word on what it is for."""
    made = make(common_name, issuer, key=key, extensions=(), key_identifiers=False)
    signed = made.certificate.tbs_certificate_bytes
    marker = bytes.fromhex("a003020102")
    assert signed.count(marker) == 1
    body = signed[signed.index(marker) + len(marker) :]
    signed = _value(0x30, body)
    return assemble(signed, _algorithm_of(made.certificate), issuer.key.sign(signed, ec.ECDSA(hashes.SHA256())))


def make_crl(
    issuer: Made,
    *revoked: Made,
    since: datetime = NOW - DAY,
    until: datetime = NOW + DAY,
    key: Any = None,
) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(since).next_update(until)
    for made in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(made.certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(NOW - DAY).build())
    crl = builder.sign(key or issuer.key, hashes.SHA256())
    return crl.public_bytes(serialization.Encoding.DER)
