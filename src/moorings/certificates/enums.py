"""Enumerations of `Windows.Security.Cryptography.Certificates`. Source: the WinRT reference page of each type."""

from __future__ import annotations

from moorings.errors import OpenEnum

__all__ = ["ChainValidationResult"]


class ChainValidationResult(OpenEnum):
    """One finding about a certificate chain.

    These may be listed in `ignorable_server_certificate_errors`: UNTRUSTED, EXPIRED, INCOMPLETE_CHAIN, WRONG_USAGE,
    INVALID_NAME, REVOCATION_INFORMATION_MISSING, REVOCATION_FAILURE. The others are fatal.
    """

    SUCCESS = 0
    UNTRUSTED = 1
    REVOKED = 2
    EXPIRED = 3
    INCOMPLETE_CHAIN = 4
    INVALID_SIGNATURE = 5
    WRONG_USAGE = 6
    INVALID_NAME = 7
    INVALID_CERTIFICATE_AUTHORITY_POLICY = 8
    BASIC_CONSTRAINTS_ERROR = 9
    UNKNOWN_CRITICAL_EXTENSION = 10
    REVOCATION_INFORMATION_MISSING = 11
    REVOCATION_FAILURE = 12
    OTHER_ERRORS = 13
