"""Certificate errors as results: severity, HRESULT, and the numbers that OpenSSL's verification gives.

Nothing here needs `cryptography`. Sources: the WinRT reference of `ChainValidationResult` and
`SocketSslErrorSeverity`; openssl-verification-options(1); `openssl/x509_vfy.h`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from moorings import errors
from moorings.certificates.enums import CertificateErrorSeverity, ChainValidationResult

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["IGNORABLE", "hresult_of", "result_of_verify_code", "severity_of", "sorted_results", "worst_of"]

_Result = ChainValidationResult

#: The results that a program may list as ignorable.
IGNORABLE: Final = frozenset(
    (
        _Result.UNTRUSTED,
        _Result.EXPIRED,
        _Result.INCOMPLETE_CHAIN,
        _Result.WRONG_USAGE,
        _Result.INVALID_NAME,
        _Result.REVOCATION_INFORMATION_MISSING,
        _Result.REVOCATION_FAILURE,
    )
)

_HRESULTS: Final = {
    _Result.SUCCESS: errors.S_OK,
    _Result.UNTRUSTED: errors.CERT_E_UNTRUSTEDROOT,
    _Result.REVOKED: errors.CRYPT_E_REVOKED,
    _Result.EXPIRED: errors.CERT_E_EXPIRED,
    _Result.INCOMPLETE_CHAIN: errors.CERT_E_CHAINING,
    _Result.INVALID_SIGNATURE: errors.TRUST_E_CERT_SIGNATURE,
    _Result.WRONG_USAGE: errors.CERT_E_WRONG_USAGE,
    _Result.INVALID_NAME: errors.CERT_E_CN_NO_MATCH,
    _Result.INVALID_CERTIFICATE_AUTHORITY_POLICY: errors.CERT_E_INVALID_POLICY,
    _Result.BASIC_CONSTRAINTS_ERROR: errors.TRUST_E_BASIC_CONSTRAINTS,
    _Result.UNKNOWN_CRITICAL_EXTENSION: errors.CERT_E_CRITICAL,
    _Result.REVOCATION_INFORMATION_MISSING: errors.CRYPT_E_NO_REVOCATION_CHECK,
    _Result.REVOCATION_FAILURE: errors.CRYPT_E_REVOCATION_OFFLINE,
    _Result.OTHER_ERRORS: errors.CERT_E_MALFORMED,
}

#: OpenSSL's X509_V_ERR numbers; "not an authority" was 24 before OpenSSL 3.0 and is 79 since. What is not listed is
#: OTHER_ERRORS, such as 22 (chain too long), 41 (invalid extension), 47 and 48 (name constraints), 66 to 68 (weak keys
#: and digests).
_VERIFY_CODES: Final = {
    0: _Result.SUCCESS,
    2: _Result.INCOMPLETE_CHAIN,
    3: _Result.REVOCATION_INFORMATION_MISSING,
    4: _Result.INVALID_SIGNATURE,
    5: _Result.REVOCATION_FAILURE,
    6: _Result.INVALID_SIGNATURE,
    7: _Result.INVALID_SIGNATURE,
    8: _Result.REVOCATION_FAILURE,
    9: _Result.EXPIRED,
    10: _Result.EXPIRED,
    11: _Result.REVOCATION_FAILURE,
    12: _Result.REVOCATION_FAILURE,
    15: _Result.REVOCATION_FAILURE,
    16: _Result.REVOCATION_FAILURE,
    18: _Result.UNTRUSTED,
    19: _Result.UNTRUSTED,
    20: _Result.INCOMPLETE_CHAIN,
    21: _Result.INCOMPLETE_CHAIN,
    23: _Result.REVOKED,
    24: _Result.BASIC_CONSTRAINTS_ERROR,
    25: _Result.BASIC_CONSTRAINTS_ERROR,
    26: _Result.WRONG_USAGE,
    27: _Result.UNTRUSTED,
    28: _Result.UNTRUSTED,
    32: _Result.WRONG_USAGE,
    33: _Result.REVOCATION_FAILURE,
    34: _Result.UNKNOWN_CRITICAL_EXTENSION,
    35: _Result.REVOCATION_FAILURE,
    36: _Result.REVOCATION_FAILURE,
    42: _Result.INVALID_CERTIFICATE_AUTHORITY_POLICY,
    43: _Result.INVALID_CERTIFICATE_AUTHORITY_POLICY,
    44: _Result.REVOCATION_FAILURE,
    54: _Result.REVOCATION_FAILURE,
    62: _Result.INVALID_NAME,
    64: _Result.INVALID_NAME,
    73: _Result.REVOCATION_INFORMATION_MISSING,
    74: _Result.REVOCATION_FAILURE,
    75: _Result.REVOCATION_FAILURE,
    76: _Result.INVALID_SIGNATURE,
    77: _Result.INVALID_SIGNATURE,
    78: _Result.INVALID_SIGNATURE,
    79: _Result.BASIC_CONSTRAINTS_ERROR,
    80: _Result.BASIC_CONSTRAINTS_ERROR,
    89: _Result.BASIC_CONSTRAINTS_ERROR,
}
#: Without a way to a root, it depends on what the server sent.
_NO_ISSUER: Final = frozenset((20, 21))


def result_of_verify_code(code: int, *, sent_intermediates: bool) -> ChainValidationResult:
    """The result that an OpenSSL verify code stands for; OTHER_ERRORS for codes that have none of their own.

    *sent_intermediates*: whether the server sent more than its own certificate. A chain that ends without a root is
    then UNTRUSTED, else INCOMPLETE_CHAIN.
    """
    if sent_intermediates and code in _NO_ISSUER:
        return ChainValidationResult.UNTRUSTED
    return _VERIFY_CODES.get(code, ChainValidationResult.OTHER_ERRORS)


def sorted_results(results: Iterable[ChainValidationResult]) -> tuple[ChainValidationResult, ...]:
    """Each result once, in the order of their numbers, without SUCCESS."""
    return tuple(ChainValidationResult(number) for number in sorted({int(result) for result in results} - {0}))


def severity_of(results: Iterable[ChainValidationResult]) -> CertificateErrorSeverity:
    """The worst of *results*: NONE for none, IGNORABLE where all are ignorable, else FATAL."""
    found = sorted_results(results)
    if not found:
        return CertificateErrorSeverity.NONE
    return CertificateErrorSeverity.IGNORABLE if IGNORABLE.issuperset(found) else CertificateErrorSeverity.FATAL


def worst_of(results: Iterable[ChainValidationResult]) -> ChainValidationResult:
    """The one that stands for all *results*: the first fatal one, else the first; SUCCESS for none."""
    found = sorted_results(results)
    if not found:
        return ChainValidationResult.SUCCESS
    return next((result for result in found if result not in IGNORABLE), found[0])


def hresult_of(results: Iterable[ChainValidationResult]) -> int:
    """The (signed) HRESULT that reports *results*: that of `worst_of`, S_OK for none."""
    return _HRESULTS.get(worst_of(results), errors.CERT_E_MALFORMED)
