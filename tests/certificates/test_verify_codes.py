from __future__ import annotations

import pytest

from moorings import errors
from moorings.certificates.enums import CertificateErrorSeverity, ChainValidationResult
from moorings.certificates.verify_codes import (
    IGNORABLE,
    hresult_of,
    result_of_verify_code,
    severity_of,
    sorted_results,
    worst_of,
)
from moorings.errors import SocketErrorStatus
from moorings.sockets.enums import SocketSslErrorSeverity

R = ChainValidationResult
S = SocketErrorStatus

#: result, what it reports, its status, whether it may be ignored
TABLE = [
    (R.UNTRUSTED, 0x800B0109, S.CERTIFICATE_UNTRUSTED_ROOT, True),
    (R.REVOKED, 0x80092010, S.CERTIFICATE_REVOKED, False),
    (R.EXPIRED, 0x800B0101, S.CERTIFICATE_EXPIRED, True),
    (R.INCOMPLETE_CHAIN, 0x800B010A, S.CERTIFICATE_UNTRUSTED_ROOT, True),
    (R.INVALID_SIGNATURE, 0x80096004, S.CERTIFICATE_IS_INVALID, False),
    (R.WRONG_USAGE, 0x800B0110, S.CERTIFICATE_WRONG_USAGE, True),
    (R.INVALID_NAME, 0x800B010F, S.CERTIFICATE_COMMON_NAME_IS_INCORRECT, True),
    (R.INVALID_CERTIFICATE_AUTHORITY_POLICY, 0x800B0113, S.CERTIFICATE_IS_INVALID, False),
    (R.BASIC_CONSTRAINTS_ERROR, 0x80096019, S.CERTIFICATE_IS_INVALID, False),
    (R.UNKNOWN_CRITICAL_EXTENSION, 0x800B0105, S.CERTIFICATE_IS_INVALID, False),
    (R.REVOCATION_INFORMATION_MISSING, 0x80092012, S.CERTIFICATE_NO_REVOCATION_CHECK, True),
    (R.REVOCATION_FAILURE, 0x80092013, S.CERTIFICATE_REVOCATION_SERVER_OFFLINE, True),
    (R.OTHER_ERRORS, 0x800B0108, S.CERTIFICATE_IS_INVALID, False),
]


@pytest.mark.parametrize(("result", "hresult", "status", "ignorable"), TABLE, ids=str)
def test_one_result(result: R, hresult: int, status: S, ignorable: bool) -> None:
    assert errors.unsigned(hresult_of([result])) == hresult
    assert errors.get_status(hresult) == status
    assert (result in IGNORABLE) == ignorable
    assert severity_of([result]).name == ("IGNORABLE" if ignorable else "FATAL")
    assert worst_of([result]) == result


def test_none() -> None:
    assert hresult_of([]) == errors.S_OK == hresult_of([R.SUCCESS])
    assert severity_of([]) == CertificateErrorSeverity.NONE
    assert worst_of([]) == R.SUCCESS


def test_the_first_fatal_one_is_reported() -> None:
    found = [R.OTHER_ERRORS, R.EXPIRED, R.BASIC_CONSTRAINTS_ERROR, R.EXPIRED]
    assert sorted_results(found) == (R.EXPIRED, R.BASIC_CONSTRAINTS_ERROR, R.OTHER_ERRORS)
    assert worst_of(found) == R.BASIC_CONSTRAINTS_ERROR
    assert severity_of(found) == CertificateErrorSeverity.FATAL


def test_without_a_fatal_one_the_first_is() -> None:
    assert worst_of([R.INVALID_NAME, R.UNTRUSTED]) == R.UNTRUSTED
    assert severity_of([R.INVALID_NAME, R.UNTRUSTED]) == CertificateErrorSeverity.IGNORABLE


def test_severities_are_those_of_the_sockets() -> None:
    assert {s.name: int(s) for s in CertificateErrorSeverity} == {s.name: int(s) for s in SocketSslErrorSeverity}


def test_an_unknown_result_is_fatal() -> None:
    assert severity_of([ChainValidationResult(99)]) == CertificateErrorSeverity.FATAL
    assert errors.unsigned(hresult_of([ChainValidationResult(99)])) == 0x800B0108


@pytest.mark.parametrize(
    ("code", "alone", "with_others"),
    [
        (0, R.SUCCESS, R.SUCCESS),
        (18, R.UNTRUSTED, R.UNTRUSTED),
        (20, R.INCOMPLETE_CHAIN, R.UNTRUSTED),
        (21, R.INCOMPLETE_CHAIN, R.UNTRUSTED),
        (2, R.INCOMPLETE_CHAIN, R.INCOMPLETE_CHAIN),
        (10, R.EXPIRED, R.EXPIRED),
        (47, R.OTHER_ERRORS, R.OTHER_ERRORS),
        (48, R.OTHER_ERRORS, R.OTHER_ERRORS),
        (66, R.OTHER_ERRORS, R.OTHER_ERRORS),
        (79, R.BASIC_CONSTRAINTS_ERROR, R.BASIC_CONSTRAINTS_ERROR),
        (9999, R.OTHER_ERRORS, R.OTHER_ERRORS),
    ],
)
def test_codes_of_openssl(code: int, alone: R, with_others: R) -> None:
    assert result_of_verify_code(code, sent_intermediates=False) == alone
    assert result_of_verify_code(code, sent_intermediates=True) == with_others
