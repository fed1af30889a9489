"""Private keys and the files that hold them. Nothing here ever puts a key into a text. Needs `cryptography`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12

from moorings import errors
from moorings.certificates.parsed import LIBRARY_ERRORS
from moorings.certificates.pem import looks_like_pem

if TYPE_CHECKING:
    from moorings.certificates.parsed import ParsedCertificate

__all__ = ["key_pem", "read_key", "read_pfx", "split_pkcs7"]

_KEY_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)
_PKCS7_MARK: Final = b"-----BEGIN PKCS7-----"
_SIGNED_DATA: Final = bytes.fromhex("06092a864886f70d010702")


def _octets(password: bytes | str | None) -> bytes | None:
    if isinstance(password, str):
        return password.encode()
    return None if password is None else bytes(password)


def read_key(
    source: bytes, password: bytes | str | None, certificate: ParsedCertificate, *, is_required: bool
) -> Any | None:
    """The private key in *source* that belongs to *certificate*; None where there is none and none is required.

    E_INVALIDARG 0x80070057 where it cannot be read, or is another certificate's. The reason of the underlying error is
    left out: it might quote the input.
    """
    secret = _octets(password)
    try:
        if looks_like_pem(source):
            block = _KEY_BLOCK.search(source)
            if block is None:
                if is_required:
                    raise errors.invalid_argument("the key's text has no private key")
                return None
            key: Any = serialization.load_pem_private_key(block[0] + b"\n", secret)
        else:
            key = serialization.load_der_private_key(source, secret)
    except LIBRARY_ERRORS:
        hint = "it may need a password" if secret is None else "the password may be wrong"
        raise errors.invalid_argument(f"the private key cannot be read; {hint}") from None
    if not _belongs(key, certificate):
        raise errors.invalid_argument("the private key is not the one of this certificate")
    return key


def _belongs(key: Any, certificate: ParsedCertificate) -> bool:
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    public = certificate.public_key
    return public is not None and key.public_key().public_bytes(*form) == public.public_bytes(*form)


def key_pem(key: Any) -> bytes:
    """A private key in PEM (PKCS #8), not encrypted."""
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


def read_pfx(data: bytes, password: bytes | str | None) -> tuple[bytes, Any, list[bytes], str]:
    """Certificate, key, chain and friendly name of PKCS #12. E_INVALIDARG 0x80070057 where it has no certificate."""
    try:
        bundle = pkcs12.load_pkcs12(data, _octets(password))
    except LIBRARY_ERRORS:
        raise errors.invalid_argument("the PKCS #12 data cannot be read; the password may be wrong") from None
    if bundle.cert is None:
        raise errors.invalid_argument("the PKCS #12 data has no certificate")
    encoding = serialization.Encoding.DER
    chain = [other.certificate.public_bytes(encoding) for other in bundle.additional_certs]
    name = (bundle.cert.friendly_name or b"").decode(errors="replace")
    return bundle.cert.certificate.public_bytes(encoding), bundle.key, chain, name


def split_pkcs7(data: bytes) -> list[bytes]:
    """The certificates of PKCS #7 (.p7b), in DER or PEM; none where the data is something else."""
    try:
        if _PKCS7_MARK in data:
            found = pkcs7.load_pem_pkcs7_certificates(data)
        elif _SIGNED_DATA in data[:32]:
            found = pkcs7.load_der_pkcs7_certificates(data)
        else:
            return []
    except LIBRARY_ERRORS:
        return []
    return [certificate.public_bytes(serialization.Encoding.DER) for certificate in found]
