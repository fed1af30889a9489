"""A certificate as the validator sees it: what can be read of it, read once, and what cannot.

Every octet may come from a hostile peer. `parse` refuses what is no certificate with `MalformedCertificateError`; what
is wrong further inside (an extension that does not parse, a key of an unknown kind) is kept as a fact, so that the
validator can name all errors and not only the first. Needs `cryptography`. Source: RFC 5280 section 4.
"""

from __future__ import annotations

import hashlib
import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa

from moorings.certificates.der import name_key, split_certificate

if TYPE_CHECKING:
    from datetime import datetime

    from moorings.certificates.der import CertificateParts, NameKey

__all__ = [
    "CERTIFICATE_BYTES_LIMIT",
    "LIBRARY_ERRORS",
    "MalformedCertificateError",
    "ParsedCertificate",
    "check_signature",
    "issued",
    "may_have_issued",
    "parse",
    "verifies",
]

#: Octets of one certificate; real ones have one to ten thousand.
CERTIFICATE_BYTES_LIMIT: Final = 128 * 1024

#: Bits of a DSA key that is used: checking with longer ones takes long. OpenSSL itself refuses RSA keys beyond 16,384.
DSA_KEY_BITS_LIMIT: Final = 4096

#: What `cryptography` raises for input that it does not take. A warning is an error where the program says so.
LIBRARY_ERRORS: Final = (
    ValueError,
    TypeError,
    OverflowError,
    LookupError,
    InternalError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    Warning,
)

_E = TypeVar("_E", bound=x509.ExtensionType)


class MalformedCertificateError(ValueError):
    """These octets are no X.509 certificate in DER."""


class ParsedCertificate:
    """One certificate with the facts that validation needs. Two are equal when their octets are."""

    __slots__ = (
        "_key",
        "der",
        "extensions",
        "extensions_are_valid",
        "issuer_key",
        "parts",
        "subject_key",
        "valid_from",
        "valid_to",
        "version_is_3",
        "x509",
    )

    def __init__(self, der: bytes) -> None:
        if len(der) > CERTIFICATE_BYTES_LIMIT:
            raise MalformedCertificateError(f"a certificate has more than {CERTIFICATE_BYTES_LIMIT} octets")
        self.der = der
        try:
            self.parts: CertificateParts = split_certificate(der)
            # The library warns about serial numbers below one, which some old roots have. It is not for us to say so.
            quiet = warnings.catch_warnings() if self.parts.serial_number <= 0 else nullcontext()
            with quiet:
                if self.parts.serial_number <= 0:
                    warnings.simplefilter("ignore")
                self._read_all(der)
        except LIBRARY_ERRORS as error:
            raise MalformedCertificateError(f"this is no certificate: {error}") from error

    def _read_all(self, der: bytes) -> None:
        self._key: Any = _ABSENT
        self.x509 = x509.load_der_x509_certificate(der)
        self.subject_key: NameKey = name_key(self.parts.subject)
        self.issuer_key: NameKey = name_key(self.parts.issuer)
        self.valid_from: datetime = self.x509.not_valid_before_utc
        self.valid_to: datetime = self.x509.not_valid_after_utc
        self.version_is_3 = self.x509.version is x509.Version.v3
        self.extensions: dict[str, x509.Extension[Any]] = {}
        try:
            self.extensions = {extension.oid.dotted_string: extension for extension in self.x509.extensions}
            self.extensions_are_valid = True
        except LIBRARY_ERRORS:
            self.extensions_are_valid = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ParsedCertificate) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)

    def extension(self, kind: type[_E]) -> _E | None:
        """The extension of this kind, or None."""
        found = self.extensions.get(kind.oid.dotted_string)
        return found.value if found is not None and isinstance(found.value, kind) else None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the octets, in hexadecimal."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def is_self_issued(self) -> bool:
        """Whether subject and issuer have the same name."""
        return self.subject_key == self.issuer_key

    @property
    def looks_self_signed(self) -> bool:
        """Whether it names itself as its issuer, by name and, where it has them, by key identifiers."""
        return self.is_self_issued and may_have_issued(self, self)

    @property
    def public_key(self) -> Any:
        """The public key, or None where it is of an unknown kind or broken."""
        if self._key is _ABSENT:
            try:
                self._key = self.x509.public_key()
            except LIBRARY_ERRORS:
                self._key = None
        return self._key

    @property
    def hash_name(self) -> str | None:
        """The digest of the signature, such as "sha256"; None where it has none of its own, or is unknown."""
        try:
            algorithm = self.x509.signature_hash_algorithm
        except LIBRARY_ERRORS:
            return None
        return None if algorithm is None else algorithm.name


_ABSENT: Final = object()


def parse(der: bytes) -> ParsedCertificate:
    """Understand a certificate in DER. Errors: MalformedCertificateError, whatever the octets are."""
    return ParsedCertificate(bytes(der))


def may_have_issued(issuer: ParsedCertificate, child: ParsedCertificate) -> bool:
    """Whether names and key identifiers allow that *issuer* issued *child*. No signature is checked."""
    if issuer.subject_key != child.issuer_key:
        return False
    authority = child.extension(x509.AuthorityKeyIdentifier)
    if authority is None:
        return True
    subject = issuer.extension(x509.SubjectKeyIdentifier)
    if authority.key_identifier is not None and subject is not None and authority.key_identifier != subject.digest:
        return False
    serial = authority.authority_cert_serial_number
    return serial is None or serial == issuer.parts.serial_number


def issued(issuer: ParsedCertificate, child: ParsedCertificate) -> bool:
    """Whether *issuer* issued *child*: names, key identifiers and the signature fit."""
    return may_have_issued(issuer, child) and verifies(child, issuer)


def verifies(child: ParsedCertificate, issuer: ParsedCertificate) -> bool:
    """Whether the signature of *child* is that of the key of *issuer*."""
    certificate = child.x509
    if child.parts.inner_algorithm != child.parts.outer_algorithm:
        return False
    try:
        algorithm = certificate.signature_hash_algorithm
        parameters = certificate.signature_algorithm_parameters
        return check_signature(
            issuer.public_key, certificate.signature, certificate.tbs_certificate_bytes, algorithm, parameters
        )
    except LIBRARY_ERRORS:
        return False


def check_signature(key: Any, signature: bytes, signed: bytes, algorithm: Any, parameters: Any = None) -> bool:
    """Whether *signature* over *signed* is that of *key*. Unknown kinds of keys verify nothing."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, parameters or padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(algorithm))
        elif isinstance(key, dsa.DSAPublicKey):
            if key.key_size > DSA_KEY_BITS_LIMIT:
                return False
            key.verify(signature, signed, algorithm)
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            if algorithm is not None:
                return False
            key.verify(signature, signed)
        else:
            return _verify_other(key, signature, signed)
    except (*LIBRARY_ERRORS, InvalidSignature, AttributeError):
        # AttributeError: a digest is named that does not exist for this kind of key.
        return False
    return True


def _verify_other(key: Any, signature: bytes, signed: bytes) -> bool:
    """Keys that newer versions of `cryptography` know, such as ML-DSA, sign without parameters."""
    verify = getattr(key, "verify", None)
    if verify is None:
        return False
    verify(signature, signed)
    return True
