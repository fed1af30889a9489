"""What people and programs read of a certificate, in WinRT's words. Needs `cryptography`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from moorings.certificates.der import DerError, name_attributes, oid_text, text_of_string
from moorings.certificates.details import CertificateKeyUsages, SubjectAlternativeNameInfo
from moorings.certificates.parsed import LIBRARY_ERRORS

if TYPE_CHECKING:
    from moorings.certificates.parsed import ParsedCertificate

__all__ = ["alternative_names", "display_name", "key_algorithm", "key_usages", "signature_algorithm", "usages"]

#: What stands for a name, the first that is there: common name, unit, organisation, e-mail address.
_DISPLAYED: Final = ("2.5.4.3", "2.5.4.11", "2.5.4.10", "1.2.840.113549.1.9.1")
_PRINCIPAL_NAME: Final = "1.3.6.1.4.1.311.20.2.3"
#: Windows names elliptic curve keys by their size.
_CURVES: Final = {"secp256r1": "ECDSA_P256", "secp384r1": "ECDSA_P384", "secp521r1": "ECDSA_P521"}
_KINDS: Final = {
    "1.2.840.113549.1.1.10": "RSASSA-PSS",
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
}
_FAMILIES: Final = (("1.2.840.113549.1.1.", "RSA"), ("1.2.840.10045.4.", "ECDSA"), ("1.2.840.10040.4.", "DSA"))
_KEY_USAGES: Final = {
    "crl_sign": "crl_sign",
    "data_encipherment": "data_encipherment",
    "digital_signature": "digital_signature",
    "key_agreement": "key_agreement",
    "key_certificate_sign": "key_cert_sign",
    "key_encipherment": "key_encipherment",
    "non_repudiation": "content_commitment",
}


def display_name(name: bytes) -> str:
    """The common name of a name in DER; else its unit, organisation or address; "" where it has none of these."""
    try:
        found = {oid_text(oid): value for relative in name_attributes(name) for oid, value in relative}
    except DerError:
        return ""
    texts = (found.get(oid) for oid in _DISPLAYED)
    return next((text for text in texts if isinstance(text, str)), "")


def usages(certificate: ParsedCertificate) -> list[str]:
    """The object identifiers of the extended key usage; empty where there is none."""
    extension = certificate.extension(x509.ExtendedKeyUsage)
    return [] if extension is None else [usage.dotted_string for usage in extension]


def key_usages(certificate: ParsedCertificate) -> CertificateKeyUsages:
    """The key usage as WinRT has it."""
    found = CertificateKeyUsages()
    extension = certificate.extension(x509.KeyUsage)
    if extension is not None:
        for ours, theirs in _KEY_USAGES.items():
            setattr(found, ours, getattr(extension, theirs))
        found.encipher_only = extension.key_agreement and extension.encipher_only
    return found


def key_algorithm(certificate: ParsedCertificate) -> str:
    """The kind of the public key: RSA, DSA, ECDSA_P256, ..., else the object identifier of its algorithm."""
    key = certificate.public_key
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA"
    if isinstance(key, dsa.DSAPublicKey):
        return "DSA"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _CURVES.get(key.curve.name, "ECDSA")
    oid = certificate.parts.key_algorithm_oid
    return _KINDS.get(oid, oid)


def signature_algorithm(certificate: ParsedCertificate) -> str:
    """The algorithm of the signature as Windows names it, such as sha256RSA; else its object identifier."""
    oid = certificate.x509.signature_algorithm_oid.dotted_string
    if oid in _KINDS:
        return _KINDS[oid]
    family = next((name for prefix, name in _FAMILIES if oid.startswith(prefix)), None)
    digest = certificate.hash_name
    return oid if family is None or digest is None else digest.replace("-", "") + family


def alternative_names(certificate: ParsedCertificate) -> SubjectAlternativeNameInfo:
    """The subject alternative name as WinRT has it; empty where there is none."""
    found = SubjectAlternativeNameInfo()
    extension = certificate.extensions.get(x509.SubjectAlternativeName.oid.dotted_string)
    if extension is None:
        return found
    found.extension.is_critical = extension.critical
    lists: dict[type[Any], Any] = {
        x509.DNSName: found.dns_names,
        x509.RFC822Name: found.email_names,
        x509.IPAddress: found.ip_addresses,
        x509.UniformResourceIdentifier: found.urls,
    }
    for name in extension.value:
        target = lists.get(name.__class__)
        if target is not None:
            target.append(str(name.value))
        elif isinstance(name, x509.DirectoryName):
            found.distinguished_names.append(name.value.rfc4514_string())
        elif isinstance(name, x509.OtherName) and name.type_id.dotted_string == _PRINCIPAL_NAME:
            found.principal_names.append(text_of_string(name.value))
    with suppress(*LIBRARY_ERRORS):
        found.extension.value = extension.value.public_bytes()
    return found
