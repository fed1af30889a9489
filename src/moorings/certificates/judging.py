"""The rules that one path is judged by, and the choice of the best path. See `validation` for the whole."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.name_constraints import NameBudget, violates_name_constraints
from moorings.certificates.name_matching import matches_name
from moorings.certificates.path_building import PathEnd, PathSearch
from moorings.certificates.policies import violates_policies
from moorings.certificates.revocation import Revocations
from moorings.certificates.strength import has_weak_digest, has_weak_key
from moorings.certificates.verify_codes import IGNORABLE, sorted_results

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from moorings.certificates.parsed import ParsedCertificate
    from moorings.certificates.path_building import TrustPath
    from moorings.certificates.trust import TrustAnchors

__all__ = ["Judgement", "Rules", "judge"]

_Result = ChainValidationResult

#: Extensions whose meaning is checked here, or that need no check to be safe.
_KNOWN_EXTENSIONS: Final = frozenset(
    (
        x509.AuthorityKeyIdentifier.oid.dotted_string,
        x509.BasicConstraints.oid.dotted_string,
        x509.CertificatePolicies.oid.dotted_string,
        x509.CRLDistributionPoints.oid.dotted_string,
        x509.ExtendedKeyUsage.oid.dotted_string,
        x509.InhibitAnyPolicy.oid.dotted_string,
        x509.KeyUsage.oid.dotted_string,
        x509.NameConstraints.oid.dotted_string,
        x509.PolicyConstraints.oid.dotted_string,
        x509.SubjectAlternativeName.oid.dotted_string,
        x509.SubjectKeyIdentifier.oid.dotted_string,
        "2.5.29.33",  # policy mappings
    )
)
#: "Server gated cryptography" of old authorities counts as server authentication, as it does for OpenSSL.
_SERVER_USAGES: Final = frozenset(
    (ExtendedKeyUsageOID.SERVER_AUTH.dotted_string, "1.3.6.1.4.1.311.10.3.3", "2.16.840.1.113730.4.1")
)
_CLIENT_USAGES: Final = frozenset((ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string,))

_ENDS: Final[dict[PathEnd, set[ChainValidationResult]]] = {
    PathEnd.TRUSTED: set(),
    PathEnd.SELF_SIGNED: {_Result.UNTRUSTED},
    PathEnd.TOO_LONG: {_Result.OTHER_ERRORS},
}


class Rules(NamedTuple):
    """What a path is judged for."""

    now: datetime
    server_name: str | None
    purpose: str
    has_intermediates: bool
    check_revocation: bool = False
    crls: tuple[bytes, ...] = ()
    ocsp_response: bytes | None = None


class Judgement(NamedTuple):
    """The best path (leaf first; empty where the leaf is no certificate) and what is wrong with it."""

    path: tuple[ParsedCertificate, ...]
    errors: tuple[ChainValidationResult, ...]
    is_trusted: bool


def judge(
    leaf: ParsedCertificate, intermediates: Sequence[ParsedCertificate], anchors: TrustAnchors, rules: Rules
) -> Judgement:
    """Find the best path from *leaf* and what is wrong with it."""
    search = PathSearch(leaf, intermediates, anchors)
    revocations = Revocations(rules.crls, rules.ocsp_response, rules.now) if rules.check_revocation else None
    names = NameBudget()
    of_leaf = _errors_of_leaf(leaf, rules)
    best: Judgement | None = None
    for path in search.paths():
        found = of_leaf | _errors_of_path(path, search, rules, names)
        if revocations is not None:
            found |= revocations.find(path.certificates)
        judged = Judgement(path.certificates, sorted_results(found), path.end is PathEnd.TRUSTED)
        if best is None or _badness(judged) < _badness(best):
            best = judged
        if found == of_leaf:
            break
    assert best is not None
    if search.exhausted and set(best.errors) != of_leaf:
        # There may be a better path behind the limit, so the errors of this one are not the whole truth.
        return best._replace(errors=sorted_results((*best.errors, _Result.OTHER_ERRORS)))
    return best


def _badness(judged: Judgement) -> tuple[bool, bool, int]:
    """Smaller is better: nothing fatal, a trusted end, few errors."""
    return not IGNORABLE.issuperset(judged.errors), not judged.is_trusted, len(judged.errors)


def _errors_of_leaf(leaf: ParsedCertificate, rules: Rules) -> set[ChainValidationResult]:
    """What is wrong with the certificate on whatever path."""
    found: set[ChainValidationResult] = set()
    if rules.server_name is not None and not matches_name(leaf, rules.server_name):
        found.add(_Result.INVALID_NAME)
    usage = leaf.extension(x509.KeyUsage)
    if rules.purpose == "server":
        allowed = usage is None or usage.digital_signature or usage.key_encipherment or usage.key_agreement
    elif rules.purpose == "client":
        allowed = usage is None or usage.digital_signature or usage.key_agreement
    else:
        allowed = True
    if not allowed:
        found.add(_Result.WRONG_USAGE)
    return found


def _errors_of_path(path: TrustPath, search: PathSearch, rules: Rules, names: NameBudget) -> set[ChainValidationResult]:
    certificates = path.certificates
    found: set[ChainValidationResult] = set()
    if path.end is PathEnd.NO_ISSUER:
        found.add(_Result.UNTRUSTED if rules.has_intermediates else _Result.INCOMPLETE_CHAIN)
    else:
        found |= _ENDS[path.end]
    for position, certificate in enumerate(certificates):
        found |= _errors_of_certificate(certificate, rules)
        if position and not _is_authority(certificate, is_root=_is_root(path, position)):
            found.add(_Result.BASIC_CONSTRAINTS_ERROR)
        if position and not _may_sign_certificates(certificate):
            found.add(_Result.WRONG_USAGE)
        if not _is_root(path, position) and has_weak_digest(certificate):
            found.add(_Result.OTHER_ERRORS)
    if _exceeds_path_length(certificates):
        found.add(_Result.BASIC_CONSTRAINTS_ERROR)
    for child, issuer in pairwise(certificates):
        if not search.is_signed(child, issuer):
            found.add(_Result.INVALID_SIGNATURE)
    if violates_name_constraints(certificates, names):
        found.add(_Result.OTHER_ERRORS)
    below_anchor = certificates if path.end is PathEnd.NO_ISSUER else certificates[:-1]
    if violates_policies(below_anchor):
        found.add(_Result.INVALID_CERTIFICATE_AUTHORITY_POLICY)
    return found


def _is_root(path: TrustPath, position: int) -> bool:
    """Whether the certificate there ends the path as a root, trusted or not: nobody vouches for it but itself."""
    return position == len(path.certificates) - 1 and path.end in {PathEnd.TRUSTED, PathEnd.SELF_SIGNED}


def _errors_of_certificate(certificate: ParsedCertificate, rules: Rules) -> set[ChainValidationResult]:
    """What is wrong with one certificate wherever it stands."""
    found: set[ChainValidationResult] = set()
    if not certificate.valid_from <= rules.now <= certificate.valid_to:
        found.add(_Result.EXPIRED)
    if not certificate.extensions_are_valid or (certificate.extensions and not certificate.version_is_3):
        found.add(_Result.OTHER_ERRORS)
    if any(extension.critical and oid not in _KNOWN_EXTENSIONS for oid, extension in certificate.extensions.items()):
        found.add(_Result.UNKNOWN_CRITICAL_EXTENSION)
    if has_weak_key(certificate):
        found.add(_Result.OTHER_ERRORS)
    if not _has_usage(certificate, rules.purpose):
        found.add(_Result.WRONG_USAGE)
    return found


def _has_usage(certificate: ParsedCertificate, purpose: str) -> bool:
    """Whether the extended key usage, where there is one, names the purpose. "Any usage" does not, as for OpenSSL."""
    usages = certificate.extension(x509.ExtendedKeyUsage)
    if usages is None or purpose == "any":
        return True
    wanted = _SERVER_USAGES if purpose == "server" else _CLIENT_USAGES
    return any(usage.dotted_string in wanted for usage in usages)


def _is_authority(certificate: ParsedCertificate, *, is_root: bool) -> bool:
    """Whether it says that it may issue certificates. Roots of old need not say so."""
    constraints = certificate.extension(x509.BasicConstraints)
    if constraints is None:
        return is_root and (not certificate.version_is_3 or certificate.extension(x509.KeyUsage) is not None)
    return constraints.ca and _may_sign_certificates(certificate)


def _may_sign_certificates(certificate: ParsedCertificate) -> bool:
    usage = certificate.extension(x509.KeyUsage)
    return usage is None or usage.key_cert_sign


def _exceeds_path_length(certificates: Sequence[ParsedCertificate]) -> bool:
    """Whether an authority has more authorities below it than it may; self-issued ones do not count."""
    below = 0
    for certificate in certificates[1:]:
        constraints = certificate.extension(x509.BasicConstraints)
        if constraints is not None and constraints.path_length is not None and below > constraints.path_length:
            return True
        below += not certificate.is_self_issued
    return False
