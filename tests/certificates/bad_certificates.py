"""Servers' certificates with each kind of defect, and what is to be found in them.

`make(kind)` gives a `BadChain`: what the server sends, its key, whom to trust, and the exact set of errors. The kinds
are made when asked for and kept for the process. Some have no defect at all: they look like one.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.certificates.certificate_factory import (
    CA_EXTENSIONS,
    CA_USAGE,
    DAY,
    NOW,
    SERVER_NAME,
    Made,
    change_signed_part,
    ec_key,
    key_pem,
    key_usage,
    make_crl,
    make_server,
    make_version_1,
    name_of,
    rsa_key,
    server_extensions,
    sign_weakly,
    spoil_signature,
)
from tests.certificates.certificate_factory import make as make_certificate

from moorings.certificates.enums import CertificateErrorSeverity, ChainValidationResult

if TYPE_CHECKING:
    from collections.abc import Callable

R = ChainValidationResult


@dataclass(frozen=True)
class BadChain:
    """What a server with that defect sends, and what is wrong with it."""

    #: DER, the server's own certificate first, as it is sent.
    chain: tuple[bytes, ...]
    key_pem: bytes
    #: DER of whom the client trusts.
    roots: tuple[bytes, ...]
    expected: tuple[ChainValidationResult, ...]
    severity: CertificateErrorSeverity
    #: The name that the client asks for.
    server_name: str = SERVER_NAME
    #: DER; with `check_revocation` the client asks them.
    crls: tuple[bytes, ...] = ()
    ocsp_response: bytes | None = None
    check_revocation: bool = False
    #: Whether a TLS server of OpenSSL takes the chain at all.
    can_be_served: bool = True
    #: Whether the server must lower its security level to 0 to present it.
    needs_weak_server: bool = False
    #: What OpenSSL finds beside the expected, and what it does not find.
    more_in_openssl: tuple[ChainValidationResult, ...] = ()
    less_in_openssl: tuple[ChainValidationResult, ...] = ()


_MAKERS: dict[str, Callable[[], BadChain]] = {}


def _kind(maker: Callable[[], BadChain]) -> Callable[[], BadChain]:
    _MAKERS[maker.__name__] = maker
    return maker


@functools.cache
def make(kind: str) -> BadChain:
    """The chain of that kind."""
    return _MAKERS[kind]()


def _severity(expected: tuple[ChainValidationResult, ...]) -> CertificateErrorSeverity:
    ignorable = {1, 3, 4, 6, 7, 11, 12}
    if not expected:
        return CertificateErrorSeverity.NONE
    is_fatal = any(int(result) not in ignorable for result in expected)
    return CertificateErrorSeverity.FATAL if is_fatal else CertificateErrorSeverity.IGNORABLE


def bad(
    server: Made | bytes, *expected: ChainValidationResult, sent: tuple[Made | bytes, ...] = (), **options: object
) -> BadChain:
    """A chain with the root as the only trusted one, unless `roots` says otherwise."""
    ders = tuple(item if isinstance(item, bytes) else item.der for item in (server, *sent))
    key = key_pem(ec_key(9)) if isinstance(server, bytes) else server.key_pem
    options.setdefault("roots", (root().der,))
    values = {"key_pem": key, **options}
    return BadChain(chain=ders, expected=expected, severity=_severity(expected), **values)  # type: ignore[arg-type]


@functools.cache
def root() -> Made:
    return make_certificate("Root of the tests", key=ec_key(1))


@functools.cache
def intermediate() -> Made:
    return make_certificate("Intermediate of the tests", root(), key=ec_key(2))


def other_extensions(
    *replaced: x509.ExtensionType, critical: bool = False, base: tuple[tuple[x509.ExtensionType, bool], ...] = ()
) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """The usual extensions of a server with some exchanged or added."""
    kinds = {extension.oid for extension in replaced}
    kept = tuple(pair for pair in base or server_extensions() if pair[0].oid not in kinds)
    return (*kept, *((extension, critical) for extension in replaced))


# -- nothing wrong ---------------------------------------------------------------------------------------------------


@_kind
def good() -> BadChain:
    return bad(make_server(intermediate()), sent=(intermediate(),))


@_kind
def wrong_order() -> BadChain:
    lower = make_certificate("Lower authority", intermediate(), key=ec_key(3))
    return bad(make_server(lower), sent=(root(), intermediate(), lower))


@_kind
def good_wildcard() -> BadChain:
    return bad(make_server(root(), "*.moorings.example"))


@_kind
def one_of_two_paths_expired() -> BadChain:
    """A cross-signed authority: the first way up has expired, the second has not."""
    old = make_certificate("Crossed authority", root(), key=ec_key(4), until=NOW - DAY)
    new = make_certificate("Crossed authority", root(), key=ec_key(4))
    return bad(make_server(old), sent=(old, new))


@_kind
def trusted_intermediate() -> BadChain:
    return bad(make_server(intermediate()), roots=(intermediate().der,))


@_kind
def not_revoked() -> BadChain:
    server, other = make_server(root()), make_server(root(), "other.moorings.example")
    return bad(server, crls=(make_crl(root(), other),), check_revocation=True)


# -- time ------------------------------------------------------------------------------------------------------------


@_kind
def expired() -> BadChain:
    return bad(make_server(root(), until=NOW - DAY), R.EXPIRED)


@_kind
def not_yet_valid() -> BadChain:
    return bad(make_server(root(), since=NOW + DAY), R.EXPIRED)


@_kind
def expired_intermediate() -> BadChain:
    old = make_certificate("Expired authority", root(), key=ec_key(3), until=NOW - DAY)
    return bad(make_server(old), R.EXPIRED, sent=(old,))


@_kind
def expired_root() -> BadChain:
    old = make_certificate("Expired root", key=ec_key(3), until=NOW - DAY)
    return bad(make_server(old), R.EXPIRED, roots=(old.der,))


# -- names -----------------------------------------------------------------------------------------------------------


@_kind
def wrong_name() -> BadChain:
    return bad(make_server(root(), "other.moorings.example"), R.INVALID_NAME)


@_kind
def address_as_name() -> BadChain:
    """The address stands there as a DNS name, which no address is."""
    return bad(make_server(root(), "127.0.0.1"), R.INVALID_NAME, server_name="127.0.0.1")


@_kind
def name_as_address() -> BadChain:
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    return bad(make_server(root(), extensions=other_extensions(names)), R.INVALID_NAME)


@_kind
def wrong_address() -> BadChain:
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.2"))])
    server = make_server(root(), extensions=other_extensions(names))
    return bad(server, R.INVALID_NAME, server_name="127.0.0.1")


@_kind
def common_name_only() -> BadChain:
    extensions = tuple(pair for pair in server_extensions() if not isinstance(pair[0], x509.SubjectAlternativeName))
    return bad(make_server(root(), extensions=extensions), R.INVALID_NAME)


@_kind
def wildcard_for_two_labels() -> BadChain:
    return bad(make_server(root(), "*.example"), R.INVALID_NAME)


@_kind
def wildcard_within_a_label() -> BadChain:
    return bad(make_server(root(), "serv*.moorings.example"), R.INVALID_NAME)


@_kind
def wildcard_in_the_middle() -> BadChain:
    return bad(make_server(root(), "server.*.example"), R.INVALID_NAME)


@_kind
def wildcard_too_high() -> BadChain:
    return bad(make_server(root(), "*.example"), R.INVALID_NAME, server_name="moorings.example")


@_kind
def nul_in_name() -> BadChain:
    """A careless reader of C strings sees the server's name."""
    return bad(make_server(root(), f"{SERVER_NAME}\0.attacker.example"), R.INVALID_NAME)


# -- trust -----------------------------------------------------------------------------------------------------------


@functools.cache
def stranger() -> Made:
    return make_certificate("Unknown root", key=ec_key(5))


@_kind
def self_signed() -> BadChain:
    return bad(make_server(None), R.UNTRUSTED)


@_kind
def unknown_root() -> BadChain:
    return bad(make_server(stranger()), R.UNTRUSTED, sent=(stranger(),))


@_kind
def unknown_root_not_sent() -> BadChain:
    return bad(make_server(stranger()), R.INCOMPLETE_CHAIN)


@_kind
def unknown_root_of_intermediate() -> BadChain:
    authority = make_certificate("Unknown intermediate", stranger(), key=ec_key(6))
    return bad(make_server(authority), R.UNTRUSTED, sent=(authority,))


@_kind
def missing_intermediate() -> BadChain:
    return bad(make_server(intermediate()), R.INCOMPLETE_CHAIN)


@_kind
def missing_upper_intermediate() -> BadChain:
    lower = make_certificate("Lower authority", intermediate(), key=ec_key(3))
    return bad(make_server(lower), R.UNTRUSTED, sent=(lower,))


# -- signatures and keys ---------------------------------------------------------------------------------------------


@_kind
def bad_signature() -> BadChain:
    return bad(spoil_signature(make_server(root())), R.INVALID_SIGNATURE)


@_kind
def bad_signature_of_intermediate() -> BadChain:
    return bad(make_server(intermediate()), R.INVALID_SIGNATURE, sent=(spoil_signature(intermediate()),))


@_kind
def namesake_of_root() -> BadChain:
    """Signed by somebody who calls himself like the root."""
    impostor = make_certificate("Root of the tests", key=ec_key(7), key_identifiers=False)
    return bad(make_server(impostor, key_identifiers=False), R.INVALID_SIGNATURE)


@_kind
def weak_key() -> BadChain:
    return bad(make_server(root(), key=rsa_key(1024)), R.OTHER_ERRORS, needs_weak_server=True)


@_kind
def weak_key_of_intermediate() -> BadChain:
    weak = make_certificate("Weak authority", root(), key=rsa_key(1024))
    return bad(make_server(weak), R.OTHER_ERRORS, sent=(weak,))


@functools.cache
def rsa_root() -> Made:
    return make_certificate("Root with RSA", key=rsa_key(2048))


@_kind
def weak_signature() -> BadChain:
    der = sign_weakly(make_server(rsa_root()), rsa_root().key, "sha1")
    return bad(der, R.OTHER_ERRORS, roots=(rsa_root().der,), needs_weak_server=True)


@_kind
def weak_signature_of_intermediate() -> BadChain:
    authority = make_certificate("Authority signed with MD5", rsa_root(), key=ec_key(3))
    der = sign_weakly(authority, rsa_root().key, "md5")
    return bad(make_server(authority), R.OTHER_ERRORS, sent=(der,), roots=(rsa_root().der,), needs_weak_server=True)


@_kind
def weak_signature_of_root() -> BadChain:
    """Nobody looks at the signature of a root."""
    der = sign_weakly(rsa_root(), rsa_root().key, "sha1")
    return bad(make_server(rsa_root()), roots=(der,))


# -- what a certificate is for ---------------------------------------------------------------------------------------


@_kind
def wrong_usage() -> BadChain:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return bad(make_server(root(), extensions=other_extensions(usage)), R.WRONG_USAGE)


@_kind
def wrong_key_usage() -> BadChain:
    return bad(make_server(root(), extensions=other_extensions(key_usage("crl_sign"), critical=True)), R.WRONG_USAGE)


@_kind
def wrong_usage_of_intermediate() -> BadChain:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    extensions = other_extensions(usage, base=CA_EXTENSIONS)
    authority = make_certificate("Authority for mail", root(), key=ec_key(3), extensions=extensions)
    return bad(make_server(authority), R.WRONG_USAGE, sent=(authority,))


@_kind
def no_authority() -> BadChain:
    """An ordinary server signed another one's certificate."""
    server = make_server(root(), "other.moorings.example", key=ec_key(3))
    return bad(make_server(server), R.WRONG_USAGE, R.BASIC_CONSTRAINTS_ERROR, sent=(server,))


@_kind
def no_basic_constraints() -> BadChain:
    authority = make_certificate("Unconstrained", root(), key=ec_key(3), extensions=())
    return bad(
        make_server(authority),
        R.BASIC_CONSTRAINTS_ERROR,
        sent=(authority,),
        more_in_openssl=(R.WRONG_USAGE,),
    )


@_kind
def version_1_intermediate() -> BadChain:
    der = make_version_1("Authority of version 1", root(), ec_key(3))
    authority = Made(x509.load_der_x509_certificate(der), ec_key(3))
    return bad(
        make_server(authority),
        R.BASIC_CONSTRAINTS_ERROR,
        sent=(der,),
        more_in_openssl=(R.WRONG_USAGE,),
    )


@_kind
def no_right_to_sign() -> BadChain:
    extensions = other_extensions(key_usage("crl_sign"), critical=True, base=CA_EXTENSIONS)
    authority = make_certificate("Authority for lists only", root(), key=ec_key(3), extensions=extensions)
    return bad(make_server(authority), R.WRONG_USAGE, R.BASIC_CONSTRAINTS_ERROR, sent=(authority,))


@_kind
def path_too_long() -> BadChain:
    limited = ((x509.BasicConstraints(ca=True, path_length=0), True), (CA_USAGE, True))
    upper = make_certificate("Last authority", root(), key=ec_key(3), extensions=limited)
    lower = make_certificate("One too many", upper, key=ec_key(4))
    return bad(make_server(lower), R.BASIC_CONSTRAINTS_ERROR, sent=(lower, upper))


@_kind
def endless_path() -> BadChain:
    authorities = [root()]
    for number in range(20):
        authorities.append(make_certificate(f"Authority {number}", authorities[-1], key=ec_key(100 + number)))
    sent = tuple(reversed(authorities[1:]))
    return bad(make_server(authorities[-1]), R.OTHER_ERRORS, sent=sent, less_in_openssl=(R.OTHER_ERRORS,))


# -- constraints, policies, extensions -------------------------------------------------------------------------------


def _constrained(constraints: x509.NameConstraints) -> BadChain:
    extensions = (*CA_EXTENSIONS, (constraints, True))
    authority = make_certificate("Constrained authority", root(), key=ec_key(3), extensions=extensions)
    return bad(make_server(authority), R.OTHER_ERRORS, sent=(authority,))


@_kind
def name_not_permitted() -> BadChain:
    return _constrained(x509.NameConstraints([x509.DNSName("elsewhere.example")], None))


@_kind
def name_excluded() -> BadChain:
    return _constrained(x509.NameConstraints(None, [x509.DNSName("moorings.example")]))


@_kind
def subject_excluded() -> BadChain:
    organization = x509.Name(list(name_of("x"))[:1])
    return _constrained(x509.NameConstraints(None, [x509.DirectoryName(organization)]))


_UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.57264.99.1"), b"\x05\x00")


@_kind
def unknown_critical_extension() -> BadChain:
    server = make_server(root(), extensions=(*server_extensions(), (_UNKNOWN, True)))
    return bad(server, R.UNKNOWN_CRITICAL_EXTENSION)


@_kind
def unknown_critical_extension_of_intermediate() -> BadChain:
    extensions = (*CA_EXTENSIONS, (_UNKNOWN, True))
    authority = make_certificate("Odd authority", root(), key=ec_key(3), extensions=extensions)
    return bad(make_server(authority), R.UNKNOWN_CRITICAL_EXTENSION, sent=(authority,))


@_kind
def broken_extension() -> BadChain:
    """Basic constraints that are no sequence."""
    made = make_server(root())
    oid = bytes.fromhex("0603551d13")
    der = change_signed_part(
        made, root().key, oid + bytes.fromhex("0101ff04023000"), oid + bytes.fromhex("0101ff04023100")
    )
    # Where one extension cannot be read, none counts: there is no name either. OpenSSL finds no issuer for it.
    differences = {"more_in_openssl": (R.INCOMPLETE_CHAIN,), "less_in_openssl": (R.INVALID_NAME, R.OTHER_ERRORS)}
    return bad(der, R.INVALID_NAME, R.OTHER_ERRORS, **differences)


@_kind
def policy_missing() -> BadChain:
    """The authority demands a policy that the server's certificate does not have."""
    policy = x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.4.1.57264.99.2"), None)
    extensions = (
        *CA_EXTENSIONS,
        (x509.CertificatePolicies([policy]), False),
        (x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None), True),
    )
    authority = make_certificate("Authority with a policy", root(), key=ec_key(3), extensions=extensions)
    # OpenSSL looks at policies only where it is told to.
    expected = R.INVALID_CERTIFICATE_AUTHORITY_POLICY
    return bad(make_server(authority), expected, sent=(authority,), less_in_openssl=(expected,))


# -- octets ----------------------------------------------------------------------------------------------------------


@_kind
def truncated() -> BadChain:
    return bad(make_server(root()).der[:-7], R.OTHER_ERRORS, can_be_served=False)


@_kind
def garbage() -> BadChain:
    return bad(b"\x30\x82\x01\x00" + bytes(range(256)), R.OTHER_ERRORS, can_be_served=False)


@_kind
def garbage_beside() -> BadChain:
    return bad(make_server(root()), R.OTHER_ERRORS, sent=(b"no certificate",), can_be_served=False)


# -- revocation ------------------------------------------------------------------------------------------------------


@_kind
def revoked() -> BadChain:
    server = make_server(root())
    return bad(server, R.REVOKED, crls=(make_crl(root(), server),), check_revocation=True)


@_kind
def revoked_intermediate() -> BadChain:
    authority = make_certificate("Revoked authority", root(), key=ec_key(3))
    crls = (make_crl(root(), authority), make_crl(authority))
    options = {"crls": crls, "check_revocation": True, "less_in_openssl": (R.REVOKED,)}
    return bad(make_server(authority), R.REVOKED, sent=(authority,), **options)


@_kind
def revocation_unknown() -> BadChain:
    return bad(make_server(root()), R.REVOCATION_INFORMATION_MISSING, check_revocation=True)


@_kind
def revocation_list_expired() -> BadChain:
    crl = make_crl(root(), since=NOW - 3 * DAY, until=NOW - DAY)
    return bad(make_server(root()), R.REVOCATION_FAILURE, crls=(crl,), check_revocation=True)


@_kind
def revocation_list_forged() -> BadChain:
    crl = make_crl(root(), key=ec_key(7))
    return bad(make_server(root()), R.REVOCATION_FAILURE, crls=(crl,), check_revocation=True)


def ocsp_answer(server: Made, issuer: Made, status: ocsp.OCSPCertStatus, *, signer: Made | None = None) -> bytes:
    signer = signer or issuer
    is_revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        server.certificate,
        issuer.certificate,
        hashes.SHA256(),
        status,
        NOW - DAY,
        NOW + DAY,
        NOW - DAY if is_revoked else None,
        None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    if signer is not issuer:
        builder = builder.certificates([signer.certificate])
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@_kind
def revoked_by_ocsp() -> BadChain:
    server = make_server(root())
    answer = ocsp_answer(server, root(), ocsp.OCSPCertStatus.REVOKED)
    differences = {"more_in_openssl": (R.REVOCATION_INFORMATION_MISSING,), "less_in_openssl": (R.REVOKED,)}
    return bad(server, R.REVOKED, ocsp_response=answer, check_revocation=True, **differences)


# -- several at once -------------------------------------------------------------------------------------------------


@_kind
def expired_self_signed_for_another() -> BadChain:
    server = make_server(None, "other.moorings.example", until=NOW - DAY)
    return bad(server, R.UNTRUSTED, R.EXPIRED, R.INVALID_NAME)


@_kind
def ignorable_and_fatal() -> BadChain:
    server = make_server(root(), until=NOW - DAY, extensions=(*server_extensions(), (_UNKNOWN, True)))
    return bad(server, R.EXPIRED, R.UNKNOWN_CRITICAL_EXTENSION)


KINDS = tuple(_MAKERS)
