"""What there is to say about a certificate, and about the verdict on a chain. Needs `cryptography`.

Every text here may come from a hostile peer; whoever prints it makes it printable.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from moorings.certificates.der import DerError, name_attributes, oid_text
from moorings.certificates.describing import (
    alternative_names,
    key_algorithm,
    key_usages,
    signature_algorithm,
    usages,
)
from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.parsed import LIBRARY_ERRORS, MalformedCertificateError, parse
from moorings.certificates.pins import pin_of
from moorings.certificates.validation import find_path, result_of_verify_code
from moorings.certificates.verify_codes import IGNORABLE, severity_of, sorted_results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moorings.certificates.details import CertificateKeyUsages
    from moorings.certificates.parsed import ParsedCertificate
    from moorings.certificates.revocation_check import RevocationCheck
    from moorings.certificates.trust import TrustAnchors

_Result = ChainValidationResult

#: What each error says, in plain words.
MEANINGS = {
    _Result.UNTRUSTED: "no authority that is trusted vouches for it",
    _Result.REVOKED: "its authority has revoked it",
    _Result.EXPIRED: "it, or a certificate above it, has expired or is not valid yet",
    _Result.INCOMPLETE_CHAIN: "who issued it is not known; the certificates in between were not sent",
    _Result.INVALID_SIGNATURE: "a signature is wrong: it was changed, or is forged",
    _Result.WRONG_USAGE: "it is for another use",
    _Result.INVALID_NAME: "it is for other names",
    _Result.INVALID_CERTIFICATE_AUTHORITY_POLICY: "it breaks a policy of its authority",
    _Result.BASIC_CONSTRAINTS_ERROR: "a certificate above it may not issue certificates, or not so many in a row",
    _Result.UNKNOWN_CRITICAL_EXTENSION: "it has an extension that must be understood, and is not known",
    _Result.REVOCATION_INFORMATION_MISSING: "nothing tells whether it was revoked",
    _Result.REVOCATION_FAILURE: "what tells whether it was revoked cannot be used",
    _Result.OTHER_ERRORS: "it is malformed, weak (key or digest), or for names that its authority may not vouch for",
}
#: Attributes of names as people write them (RFC 4519).
_ATTRIBUTES = {
    "2.5.4.3": "CN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}
_USAGES = {
    "1.3.6.1.5.5.7.3.1": "server",
    "1.3.6.1.5.5.7.3.2": "client",
    "1.3.6.1.5.5.7.3.3": "code signing",
    "1.3.6.1.5.5.7.3.4": "e-mail",
    "1.3.6.1.5.5.7.3.8": "time stamping",
    "1.3.6.1.5.5.7.3.9": "OCSP signing",
    "2.5.29.37.0": "any",
}
_SPECIAL = re.compile(r'([,+"\\<>;=])')
_DAY = 86400


class CertificateFacts(NamedTuple):
    """One certificate. Texts are "" and lists empty where it does not say."""

    der: bytes
    #: What it is in the chain: "its own", "its own, self-signed", "authority", "root", "other".
    role: str
    sha256: str
    #: Why it cannot be read; then nothing below says anything.
    problem: str = ""
    subject: str = ""
    issuer: str = ""
    names: tuple[str, ...] = ()
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    #: Whole days until it expires, below zero when it has.
    days_left: int = 0
    serial: str = ""
    key: str = ""
    signature: str = ""
    #: What it may be used for: those of the extended key usage, and those of the key usage.
    usages: tuple[str, ...] = ()
    key_usages: tuple[str, ...] = ()
    #: Digest of the public key, as pins are written (RFC 7469): SHA-256 in base64.
    pin: str = ""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        values = self._asdict()
        del values["der"]
        if self.problem:
            return {name: values[name] for name in ("role", "sha256", "problem")}
        del values["problem"]
        times = {
            name: None if values[name] is None else moment_text(values[name]) for name in ("valid_from", "valid_to")
        }
        return {**values, **times}


class Verdict(NamedTuple):
    """What is wrong with a chain, and where it leads."""

    errors: tuple[ChainValidationResult, ...]
    #: Subjects from the certificate up; the last one is trusted where `is_trusted`.
    path: tuple[str, ...]
    is_trusted: bool
    is_self_signed: bool
    #: The first end of a certificate on that path; None where nothing can be read.
    expires: datetime | None

    @property
    def severity(self) -> str:
        """The worst of the errors: NONE, IGNORABLE or FATAL."""
        return severity_of(self.errors).name

    def expires_in_days(self, now: datetime) -> int | None:
        """Whole days, below zero when it has expired."""
        return None if self.expires is None else days_until(self.expires, now)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "ok": not self.errors,
            "severity": self.severity,
            "errors": [
                {"name": each.name, "number": int(each), "ignorable": each in IGNORABLE, "meaning": MEANINGS[each]}
                for each in self.errors
            ],
            "path": list(self.path),
            "trusted_root": self.path[-1] if self.is_trusted else None,
        }


def moment_text(moment: datetime) -> str:
    """A moment in UTC, for people and programs."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def days_until(moment: datetime, now: datetime) -> int:
    """Whole days until `moment`, rounded down."""
    return int((moment - now).total_seconds() // _DAY)


def judge(
    chain: Sequence[bytes],
    anchors: TrustAnchors,
    *,
    server_name: str | None,
    verify_codes: Sequence[int] = (),
    revocation: RevocationCheck | None = None,
    staple: bytes = b"",
    now: datetime | None = None,
) -> Verdict:
    """The verdict on a chain, its own certificate first; without a name, of whatever use.

    With `revocation` its lists and the `staple` have to answer whether the certificate was revoked.
    `verify_codes` is what OpenSSL found. It counts where the offline validator has no objection: a connection would be
    refused then, too.
    """
    found = find_path(
        chain[0],
        chain[1:],
        server_name=server_name,
        anchors=anchors,
        purpose="any" if server_name is None else "server",
        now=now,
        crls=() if revocation is None else revocation.lists(),
        ocsp_response=staple or None,
        check_revocation=revocation is not None,
    )
    named = found.errors
    if not named:
        named = sorted_results(result_of_verify_code(code, sent_intermediates=len(chain) > 1) for code in verify_codes)
    path = tuple(subject_of(each) for each in found.path)
    expires = min((each.valid_to for each in found.path), default=None)
    is_self_signed = bool(found.path) and found.path[-1].looks_self_signed
    return Verdict(named, path, found.is_trusted, is_self_signed, expires)


def describe(der: bytes, role: str, now: datetime) -> CertificateFacts:
    """All that is shown of a certificate, whatever it is."""
    fingerprint = hashlib.sha256(der).hexdigest()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd about a certificate is no trouble of this program
        try:
            parsed = parse(der)
        except MalformedCertificateError as error:
            return CertificateFacts(der, role, fingerprint, problem=str(error))
        return CertificateFacts(
            der,
            role,
            fingerprint,
            subject=subject_of(parsed),
            issuer=_name_text(parsed.parts.issuer),
            names=_names(parsed),
            valid_from=parsed.valid_from,
            valid_to=parsed.valid_to,
            days_left=days_until(parsed.valid_to, now),
            serial=f"{parsed.parts.serial_number:x}",
            key=_key(parsed),
            signature=signature_algorithm(parsed),
            usages=tuple(_USAGES.get(oid, oid) for oid in usages(parsed)),
            key_usages=_key_usages(key_usages(parsed)),
            pin=pin_of(parsed),
        )


def roles(chain: Sequence[bytes]) -> list[str]:
    """What each certificate of a chain is: the first one is whom it is all about."""
    found: list[str] = []
    for position, der in enumerate(chain):
        role = "its own" if not position else "other"
        with suppress(MalformedCertificateError):
            parsed = parse(der)
            if parsed.looks_self_signed:
                role = "root" if position else "its own, self-signed"
            elif position and _is_authority(parsed):
                role = "authority"
        found.append(role)
    return found


def _is_authority(parsed: ParsedCertificate) -> bool:
    constraints = parsed.extension(x509.BasicConstraints)
    return constraints is not None and constraints.ca


def subject_of(parsed: ParsedCertificate) -> str:
    """The whole name of the subject."""
    return _name_text(parsed.parts.subject)


def _name_text(name: bytes) -> str:
    """A distinguished name, the way RFC 4514 writes it, in the order of the certificate."""
    try:
        relatives = [
            "+".join(f"{_attribute_text(oid)}={_value_text(value)}" for oid, value in relative)
            for relative in name_attributes(name)
        ]
    except DerError:
        return f"#{name.hex()}"
    return ", ".join(relatives)


def _attribute_text(oid: bytes) -> str:
    dotted = oid_text(oid)
    return _ATTRIBUTES.get(dotted, dotted)


def _value_text(value: object) -> str:
    if isinstance(value, bytes):
        return f"#{value.hex()}"
    return _SPECIAL.sub(r"\\\1", str(value))


def _names(parsed: ParsedCertificate) -> tuple[str, ...]:
    """The names of the subject alternative name; what is no DNS name says what it is."""
    try:
        found = alternative_names(parsed)
    except LIBRARY_ERRORS:
        return ()
    kinds = (
        ("", found.dns_names),
        ("IP ", found.ip_addresses),
        ("e-mail ", found.email_names),
        ("URI ", found.urls),
        ("user ", found.principal_names),
        ("directory ", found.distinguished_names),
    )
    return tuple(f"{kind}{_quoted(name)}" for kind, names in kinds for name in names)


def _quoted(name: str) -> str:
    """A name that cannot be taken for several, or for something else."""
    return name if name.isprintable() and re.fullmatch(r"[^\s,'\"]+", name) else repr(name)


def _key(parsed: ParsedCertificate) -> str:
    key = parsed.public_key
    kind = key_algorithm(parsed)
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        return f"{kind}, {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey) and kind == "ECDSA":
        return f"{kind}, {key.curve.name}"
    return kind if key is not None else f"{kind}, which cannot be read"


def _key_usages(found: CertificateKeyUsages) -> tuple[str, ...]:
    return tuple(
        name.replace("_", " ") for name in found.__slots__ if not name.startswith("_") and getattr(found, name)
    )
