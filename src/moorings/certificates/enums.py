"""Enumerations of `Windows.Security.Cryptography.Certificates`. Source: the WinRT reference page of each type."""

from __future__ import annotations

from enum import IntFlag

from moorings.errors import OpenEnum

__all__ = [
    "CertificateChainPolicy",
    "CertificateErrorSeverity",
    "ChainValidationResult",
    "EnrollKeyUsages",
    "ExportOption",
    "InstallOptions",
    "KeyProtectionLevel",
    "KeySize",
]


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


class CertificateErrorSeverity(OpenEnum):
    """The worst of a list of `ChainValidationResult`; the numbers are those of `SocketSslErrorSeverity`."""

    NONE = 0
    IGNORABLE = 1
    FATAL = 2


class CertificateChainPolicy(OpenEnum):
    """What a chain is validated for. SSL checks it as a TLS server's, with its name where one is given."""

    BASE = 0
    SSL = 1
    NT_AUTHENTICATION = 2
    MICROSOFT_ROOT = 3


class EnrollKeyUsages(IntFlag):
    """What the key of a certificate request may do."""

    NONE = 0
    DECRYPTION = 1
    SIGNING = 2
    KEY_AGREEMENT = 4
    ALL = 16777215


class ExportOption(OpenEnum):
    """Whether an imported private key may leave the store again."""

    NOT_EXPORTABLE = 0
    EXPORTABLE = 1


class InstallOptions(IntFlag):
    """DELETE_EXPIRED removes expired certificates of the same subject when a new one is installed."""

    NONE = 0
    DELETE_EXPIRED = 1


class KeyProtectionLevel(OpenEnum):
    """What using a private key asks of the user. This library knows NO_CONSENT only."""

    NO_CONSENT = 0
    CONSENT_ONLY = 1
    CONSENT_WITH_PASSWORD = 2
    CONSENT_WITH_FINGERPRINT = 3


class KeySize(OpenEnum):
    """Sizes of RSA keys in bits."""

    INVALID = 0
    RSA2048 = 2048
    RSA4096 = 4096
