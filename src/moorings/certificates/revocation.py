"""Whether a certificate was revoked, from CRLs and a stapled OCSP answer that the caller has. Nothing is fetched.

Sources: RFC 5280 sections 5 and 6.3; RFC 6960.
"""

from __future__ import annotations

from datetime import timedelta
from enum import IntEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from moorings.certificates.der import name_key
from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.parsed import LIBRARY_ERRORS, MalformedCertificateError, check_signature, issued, parse
from moorings.certificates.strength import has_weak_digest, has_weak_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from moorings.certificates.parsed import ParsedCertificate

__all__ = ["Revocations"]

#: Octets of one CRL; the longest on the Internet have some ten million.
CRL_BYTES_LIMIT: Final = 32 * 1024 * 1024
#: CRLs that are looked at for one chain.
CRLS_LIMIT: Final = 64
#: Octets of a stapled OCSP answer, the most that a TLS record of its kind is given here.
OCSP_BYTES_LIMIT: Final = 64 * 1024
#: Answers about single certificates in one OCSP answer.
OCSP_ANSWERS_LIMIT: Final = 64
#: How far the clocks of a responder and of this machine may differ.
CLOCK_SKEW: Final = timedelta(minutes=5)

_KNOWN_CRL_EXTENSIONS: Final = frozenset(
    (
        x509.CRLNumber.oid.dotted_string,
        x509.AuthorityKeyIdentifier.oid.dotted_string,
        x509.IssuingDistributionPoint.oid.dotted_string,
        x509.FreshestCRL.oid.dotted_string,
    )
)


class _Answer(IntEnum):
    """What is known; the greater number wins, but GOOD beats FAILURE."""

    MISSING = 0
    FAILURE = 1
    GOOD = 2
    REVOKED = 3


_RESULTS: Final = {
    _Answer.MISSING: ChainValidationResult.REVOCATION_INFORMATION_MISSING,
    _Answer.FAILURE: ChainValidationResult.REVOCATION_FAILURE,
    _Answer.REVOKED: ChainValidationResult.REVOKED,
}


class Revocations:
    """The CRLs and the OCSP answer for one validation, understood once."""

    def __init__(self, crls: Sequence[bytes], ocsp_response: bytes | None, now: datetime) -> None:
        self._now = now
        self._ocsp = ocsp_response
        self._crls: list[tuple[Any, Any]] = []
        self._broken = len(crls) > CRLS_LIMIT
        for data in crls[:CRLS_LIMIT]:
            try:
                if len(data) > CRL_BYTES_LIMIT:
                    raise ValueError("the CRL is too long")
                crl = x509.load_der_x509_crl(data)
                self._crls.append((name_key(crl.issuer.public_bytes()), crl))
            except LIBRARY_ERRORS:
                self._broken = True

    def find(self, path: Sequence[ParsedCertificate]) -> set[ChainValidationResult]:
        """What CRLs and OCSP say about the certificates of *path* (leaf first), except the last one, its anchor.

        The leaf must be answered for. The authorities between are looked up in the CRLs that are there; that there is
        none for them is no finding, as a stapled answer speaks about the leaf alone.
        """
        if len(path) < 2:
            return {ChainValidationResult.REVOCATION_INFORMATION_MISSING} if path else set()
        answer = max(self._from_crls(path[0], path[1]), self._from_ocsp(path[0], path[1]))
        found: set[ChainValidationResult] = set()
        if answer in _RESULTS:
            found.add(_RESULTS[answer])
        for child, issuer in pairwise(path[1:]):
            answer = self._from_crls(child, issuer)
            if answer in {_Answer.REVOKED, _Answer.FAILURE}:
                found.add(_RESULTS[answer])
        return found

    # -- CRLs ---------------------------------------------------------------------------------------------------------

    def _from_crls(self, child: ParsedCertificate, issuer: ParsedCertificate) -> _Answer:
        worst = _Answer.FAILURE if self._broken else _Answer.MISSING
        for name, crl in self._crls:
            if name == child.issuer_key:
                worst = max(worst, self._from_crl(crl, child, issuer))
        return worst

    def _from_crl(self, crl: Any, child: ParsedCertificate, issuer: ParsedCertificate) -> _Answer:
        try:
            if not _applies(crl, child):
                return _Answer.MISSING
            if not self._is_current(crl.last_update_utc, crl.next_update_utc):
                return _Answer.FAILURE
            usage = issuer.extension(x509.KeyUsage)
            if usage is not None and not usage.crl_sign:
                return _Answer.FAILURE
            algorithm, parameters = crl.signature_hash_algorithm, crl.signature_algorithm_parameters
            if not check_signature(
                issuer.public_key, crl.signature, crl.tbs_certlist_bytes, algorithm, parameters
            ) or _is_weak(algorithm):
                return _Answer.FAILURE
            entry = crl.get_revoked_certificate_by_serial_number(child.parts.serial_number)
            if entry is None or _is_withdrawn(entry):
                return _Answer.GOOD
        except LIBRARY_ERRORS:
            return _Answer.FAILURE
        return _Answer.REVOKED

    def _is_current(self, since: datetime, until: datetime | None) -> bool:
        return since - CLOCK_SKEW <= self._now and (until is None or self._now <= until + CLOCK_SKEW)

    # -- OCSP ---------------------------------------------------------------------------------------------------------

    def _from_ocsp(self, child: ParsedCertificate, issuer: ParsedCertificate) -> _Answer:
        if self._ocsp is None:
            return _Answer.MISSING
        try:
            if len(self._ocsp) > OCSP_BYTES_LIMIT:
                return _Answer.FAILURE
            response = ocsp.load_der_ocsp_response(self._ocsp)
            if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
                return _Answer.FAILURE
            if not self._is_signed(response, issuer):
                return _Answer.FAILURE
            return self._status(response, child, issuer)
        except LIBRARY_ERRORS:
            return _Answer.FAILURE

    def _status(self, response: ocsp.OCSPResponse, child: ParsedCertificate, issuer: ParsedCertificate) -> _Answer:
        worst = _Answer.FAILURE
        for count, single in enumerate(response.responses):
            if count >= OCSP_ANSWERS_LIMIT:
                return _Answer.FAILURE
            if not _is_about(single, child, issuer) or not self._is_current(
                single.this_update_utc, single.next_update_utc
            ):
                continue
            if single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
                return _Answer.REVOKED
            if single.certificate_status is ocsp.OCSPCertStatus.GOOD:
                worst = _Answer.GOOD
        return worst

    def _is_signed(self, response: ocsp.OCSPResponse, issuer: ParsedCertificate) -> bool:
        """Whether the issuer signed the answer, or somebody whom the issuer made its responder."""
        if _is_weak(response.signature_hash_algorithm):
            return False
        return any(
            check_signature(
                signer.public_key, response.signature, response.tbs_response_bytes, response.signature_hash_algorithm
            )
            for signer in self._signers(response, issuer)
        )

    def _signers(self, response: ocsp.OCSPResponse, issuer: ParsedCertificate) -> Iterator[ParsedCertificate]:
        yield issuer
        for certificate in response.certificates[:2]:
            try:
                signer = parse(certificate.public_bytes(Encoding.DER))
            except MalformedCertificateError:
                continue
            usages = signer.extension(x509.ExtendedKeyUsage)
            if usages is None or ExtendedKeyUsageOID.OCSP_SIGNING not in usages:
                continue
            is_strong = not has_weak_key(signer) and not has_weak_digest(signer)
            if is_strong and self._is_current(signer.valid_from, signer.valid_to) and issued(issuer, signer):
                yield signer


def _is_weak(algorithm: hashes.HashAlgorithm | None) -> bool:
    return isinstance(algorithm, hashes.MD5 | hashes.SHA1)


def _is_withdrawn(entry: Any) -> bool:
    """Whether a CRL entry takes a revocation back."""
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return False
    return reason is x509.ReasonFlags.remove_from_crl


def _applies(crl: Any, child: ParsedCertificate) -> bool:
    """Whether this CRL would list the certificate. Raises ValueError where that cannot be said."""
    for extension in crl.extensions:
        if extension.critical and extension.oid.dotted_string not in _KNOWN_CRL_EXTENSIONS:
            raise ValueError("the CRL has an unknown critical extension")
    try:
        point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    except x509.ExtensionNotFound:
        return True
    if point.indirect_crl or point.only_some_reasons or point.only_contains_attribute_certs:
        raise ValueError("indirect and partial CRLs are not supported")
    constraints = child.extension(x509.BasicConstraints)
    is_authority = constraints is not None and constraints.ca
    if (point.only_contains_user_certs and is_authority) or (point.only_contains_ca_certs and not is_authority):
        return False
    if point.full_name is None and point.relative_name is None:
        return True
    named = child.extension(x509.CRLDistributionPoints) or ()
    return any(name in (place.full_name or ()) for place in named for name in point.full_name or ())


def _is_about(single: Any, child: ParsedCertificate, issuer: ParsedCertificate) -> bool:
    """Whether a single OCSP answer is about *child* of *issuer*."""
    if single.serial_number != child.parts.serial_number:
        return False
    name, key = _digests(single.hash_algorithm, issuer)
    return bool(single.issuer_name_hash == name and single.issuer_key_hash == key)


def _digests(algorithm: hashes.HashAlgorithm, issuer: ParsedCertificate) -> tuple[bytes, bytes]:
    """The digests of an issuer's name and of the bits of its key, as OCSP has them."""
    name = hashes.Hash(algorithm)
    name.update(issuer.parts.subject)
    key = hashes.Hash(algorithm)
    key.update(issuer.parts.public_key_bits)
    return name.finalize(), key.finalize()
