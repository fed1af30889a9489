"""Keys and digests that are too weak: OpenSSL's security level 2, which Debian and Python's builds of OpenSSL use.

Level 2 asks for 112 bits: RSA and DSA keys from 2048 bits, elliptic curves from 224 bits, and no MD5 or SHA-1.
Source: SSL_CTX_set_security_level(3); NIST SP 800-57 part 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

if TYPE_CHECKING:
    from moorings.certificates.parsed import ParsedCertificate

__all__ = ["has_weak_digest", "has_weak_key"]

#: Bits of the modulus of RSA and DSA keys.
LEAST_MODULUS_BITS: Final = 2048
#: Bits of the order of an elliptic curve.
LEAST_CURVE_BITS: Final = 224
_WEAK_DIGESTS: Final = frozenset(("md2", "md4", "md5", "sha1"))


def has_weak_key(certificate: ParsedCertificate) -> bool:
    """Whether the public key has fewer than 112 bits of security, or cannot be read."""
    key = certificate.public_key
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        return key.key_size < LEAST_MODULUS_BITS
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.key_size < LEAST_CURVE_BITS
    return key is None


def has_weak_digest(certificate: ParsedCertificate) -> bool:
    """Whether the signature on the certificate uses MD5 or SHA-1."""
    return certificate.hash_name in _WEAK_DIGESTS
