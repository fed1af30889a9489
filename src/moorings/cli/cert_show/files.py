"""Certificates in files: PEM, DER, PKCS #7 and PKCS #12. Needs `cryptography`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from moorings import Certificate, errors
from moorings.certificates.certificate import certificate_der, certificates_in, chain_ders, read_file
from moorings.certificates.pem import looks_like_pem

if TYPE_CHECKING:
    from collections.abc import Callable

#: How PKCS #12 begins: a sequence whose first element is the number 3 (RFC 7292 section 4). A certificate begins with
#: a sequence of a sequence.
_PFX = re.compile(rb"\x30(?:[\x00-\x7f]|\x80|\x81.|\x82..|\x83...|\x84....)\x02\x01\x03", re.DOTALL)
_KEY = re.compile(rb"-----BEGIN ([A-Z ]*)PRIVATE KEY-----")


class Held(NamedTuple):
    """What a file holds."""

    chain: tuple[bytes, ...]
    #: "PEM", "DER" (or PKCS #7 in DER), "PKCS #12".
    form: str
    #: What there is to say of a private key; "" where there is none.
    key: str


def read(path: str, octets: bytes | None, ask: Callable[[], str]) -> Held:
    """Read a file, or `octets` instead; `ask` gives the password of PKCS #12 that has one.

    Errors: OSError; E_INVALIDARG where there is no certificate, or the password is wrong.
    """
    data = read_file(Path(path)) if octets is None else octets
    if _PFX.match(data):
        return _of_identity(_open_pfx(data, path, ask), "PKCS #12")
    is_pem = looks_like_pem(data)
    chain = certificates_in(data, path)
    if not is_pem:  # such octets are taken for a certificate until somebody looks
        try:
            Certificate(chain[0])
        except OSError as error:
            raise errors.invalid_argument(f"{path} has no certificate, neither in PEM nor in DER") from error
    return Held(tuple(chain), "PEM" if is_pem else "DER", _key_in(data))


def _open_pfx(data: bytes, path: str, ask: Callable[[], str]) -> Certificate:
    for password in (None, ""):
        try:
            return Certificate.from_pfx(data, password)
        except OSError:
            continue
    try:
        return Certificate.from_pfx(data, ask())
    except errors.CodedError as error:
        raise errors.invalid_argument(f"{path}: {error.reason}") from error


def _of_identity(certificate: Certificate, form: str) -> Held:
    key = "there, and it belongs to the certificate" if certificate.has_private_key else ""
    return Held((certificate_der(certificate), *chain_ders(certificate)), form, key)


def _key_in(data: bytes) -> str:
    """Whether the key beside a certificate in PEM is its own; nobody is asked for a password for that."""
    found = _KEY.search(data)
    if found is None:
        return ""
    try:
        Certificate.from_pem(data)
    except OSError as error:
        if b"ENCRYPTED" in found[1] or b"ENCRYPTED" in data[found.end() : found.end() + 100]:
            return "there, encrypted"
        return str(getattr(error, "reason", error))
    return "there, and it belongs to the certificate"
