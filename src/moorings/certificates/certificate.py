"""`Certificate`: an X.509 certificate, with its private key where there is one."""

# pyright: reportPrivateUsage=false
# The functions below the class are for this room and for TLS; as methods they would be part of the public surface.

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from moorings import errors
from moorings.certificates.details import bytes_array
from moorings.certificates.libraries import require
from moorings.certificates.pem import looks_like_pem, split_pem, to_pem
from moorings.foundation.home import current_home
from moorings.foundation.projection import (
    Object,
    arities,
    check_object,
    check_str,
    deprecated_alias,
    final,
    invalid_parameter_count,
)
from moorings.foundation.task_operation import Kind, start_operation
from moorings.foundation.vectors import VectorView
from moorings.streams.buffer import copy_of
from moorings.streams.views import bytes_view

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from moorings.certificates.chain import CertificateChain, ChainBuildingParameters
    from moorings.certificates.details import CertificateKeyUsages, SubjectAlternativeNameInfo
    from moorings.certificates.parsed import ParsedCertificate
    from moorings.foundation.async_info import IAsyncOperation
    from moorings.foundation.scalars import ReadableBuffer
    from moorings.foundation.winrt_array import Array
    from moorings.streams.buffer import Buffer

__all__ = ["Certificate"]

#: Octets of a file, a .p7b or a .pfx that is read for certificates.
FILE_BYTES_LIMIT: Final = 4 * 1024 * 1024
#: Certificates that a file may hold besides the first one.
BUNDLE_LIMIT: Final = 64

_HASHES: Final = {"SHA1": hashlib.sha1, "SHA256": hashlib.sha256}
_SOFTWARE_PROVIDER: Final = "Microsoft Software Key Storage Provider"


@final
class Certificate(Object):
    """An X.509 certificate. It does not change, apart from `friendly_name`, and may be used by several threads.

    `Certificate(cert_blob)` takes DER, PEM, or PKCS #7 (.p7b) in either form, of which it is the first certificate.
    With its private key it comes from `from_pem`, `from_pfx`, `from_files` or a store. Two objects are equal only if
    they are the same object; compare `get_hash_value("SHA256")`. Neither `repr` nor any error shows a private key.

    Errors: TypeError where no bytes-like object is given; E_INVALIDARG 0x80070057 for octets that hold no certificate;
    ERROR_NOT_SUPPORTED 0x80070032 without the extra `tls`. Source: WinRT Certificate; RFC 5280.
    """

    __slots__ = ("__weakref__", "_chain", "_friendly_name", "_is_per_user", "_key", "_parsed", "_rename", "_store_name")
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.Certificate"

    _parsed: ParsedCertificate
    _key: Any
    _chain: tuple[bytes, ...]
    _friendly_name: str
    _store_name: str
    _is_per_user: bool
    _rename: Callable[[str], None] | None

    def __new__(cls, cert_blob: ReadableBuffer, /) -> Certificate:
        """Understand the octets."""
        require("Certificate")
        data = bytes(bytes_view(cert_blob, "cert_blob"))
        ders = certificates_in(data, "cert_blob")
        return make_certificate(ders[0], chain=ders[1:])

    # -- the Python face ----------------------------------------------------------------------------------------------

    @classmethod
    def from_pem(
        cls, data: bytes | str, key: bytes | str | None = None, password: bytes | str | None = None
    ) -> Certificate:
        """A certificate in PEM, with its private key; *data* may hold more certificates, its chain.

        *key* is the private key in PEM or DER; None takes the one in *data*, if there is one. *password* is for an
        encrypted key. Errors: E_INVALIDARG 0x80070057 where there is no certificate, the key cannot be read, the
        password is wrong or missing, or the key is another certificate's.
        """
        require("Certificate.from_pem")
        from moorings.certificates.private_keys import read_key  # noqa: PLC0415 (needs cryptography)

        octets = data.encode() if isinstance(data, str) else bytes(data)
        ders = certificates_in(octets, "the PEM text")
        source = octets if key is None else key.encode() if isinstance(key, str) else bytes(key)
        certificate = make_certificate(ders[0], chain=ders[1:])
        certificate._key = read_key(source, password, certificate._parsed, is_required=key is not None)
        return certificate

    @classmethod
    def from_pfx(cls, data: bytes, password: bytes | str | None = None) -> Certificate:
        """The certificate, key and chain of a PKCS #12 file (.pfx, .p12).

        Errors: E_INVALIDARG 0x80070057 where it cannot be read, the password is wrong, or there is no certificate.
        """
        require("Certificate.from_pfx")
        from moorings.certificates.private_keys import read_pfx  # noqa: PLC0415 (needs cryptography)

        der, key, chain, name = read_pfx(bytes(data), password)
        certificate = make_certificate(der, chain=chain, key=key)
        certificate._friendly_name = name
        return certificate

    @classmethod
    def from_files(
        cls,
        cert_path: str | os.PathLike[str],
        key_path: str | os.PathLike[str] | None = None,
        password: bytes | str | None = None,
    ) -> Certificate:
        """As `from_pem`, from files; without *key_path* the key may stand in the certificate's file.

        Errors: those of `from_pem`; the OSError of a file that cannot be read.
        """
        data = read_file(Path(cert_path))
        key = None if key_path is None else read_file(Path(key_path))
        return cls.from_pem(data, key, password)

    def __repr__(self) -> str:
        return f"<Certificate {self.subject!r} SHA-256 {self._parsed.fingerprint[:16]}...>"

    # -- what it says -------------------------------------------------------------------------------------------------

    @property
    def subject(self) -> str:
        """The common name of the subject; its unit, organisation or address where it has none."""
        return str(_describing().display_name(self._parsed.parts.subject))

    @property
    def issuer(self) -> str:
        """The common name of the issuer, as `subject`."""
        return str(_describing().display_name(self._parsed.parts.issuer))

    @property
    def serial_number(self) -> Array[int]:
        """The serial number, most significant octet first."""
        number = self._parsed.parts.serial_number
        return bytes_array(number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True).lstrip(b"\0") or b"\0")

    @property
    def valid_from(self) -> datetime:
        """From when it is valid, in UTC."""
        return self._parsed.valid_from

    @property
    def valid_to(self) -> datetime:
        """Until when it is valid, in UTC."""
        return self._parsed.valid_to

    @property
    def enhanced_key_usages(self) -> Sequence[str]:
        """Object identifiers of what it may be used for; empty where it does not say."""
        return VectorView(_describing().usages(self._parsed))

    @property
    def key_usages(self) -> CertificateKeyUsages:
        """What its key may do; all False where it does not say."""
        found: CertificateKeyUsages = _describing().key_usages(self._parsed)
        return found

    @property
    def key_algorithm_name(self) -> str:
        """The kind of its public key, as in `KeyAlgorithmNames`; else an object identifier."""
        return str(_describing().key_algorithm(self._parsed))

    @property
    def signature_algorithm_name(self) -> str:
        """The algorithm of its signature, such as "sha256RSA"; else an object identifier."""
        return str(_describing().signature_algorithm(self._parsed))

    @property
    def signature_hash_algorithm_name(self) -> str:
        """The digest of its signature, such as "SHA256"; "" where it has none of its own, as Ed25519 has not."""
        return (self._parsed.hash_name or "").upper().replace("-", "")

    @property
    def subject_alternative_name(self) -> SubjectAlternativeNameInfo:
        """The names of its subject by kind, a new object each time."""
        found: SubjectAlternativeNameInfo = _describing().alternative_names(self._parsed)
        return found

    @property
    def pin_sha256(self) -> str:
        """The pin of its public key, for `moorings.connect(..., pin_sha256=...)`: 44 characters. Not in WinRT.

        It is the base64 of the SHA-256 of the SubjectPublicKeyInfo (RFC 7469 section 2.4), and stays when a certificate
        is renewed with the same key.
        """
        from moorings.certificates.pins import pin_of  # noqa: PLC0415 (only who pins pays for it)

        return pin_of(self._parsed)

    # -- where it comes from ------------------------------------------------------------------------------------------

    @property
    def friendly_name(self) -> str:
        """A name for people, "" by default. Setting that of a certificate from a store changes it there, too.

        Errors: TypeError for anything but a str; the OSError of the store.
        """
        return self._friendly_name

    @friendly_name.setter
    def friendly_name(self, value: str) -> None:
        name = check_str(value, "friendly_name")
        if self._rename is not None:
            self._rename(name)
        self._friendly_name = name

    @property
    def has_private_key(self) -> bool:
        """Whether the private key is there."""
        return self._key is not None

    @property
    def is_strongly_protected(self) -> bool:
        """False: no key of this library asks the user before it is used."""
        return False

    @property
    def is_security_device_bound(self) -> bool:
        """False: keys in tokens and TPMs are not supported."""
        return False

    @property
    def is_per_user(self) -> bool:
        """Whether it comes from a store of this user."""
        return self._is_per_user

    @property
    def store_name(self) -> str:
        """The store it comes from: "MY", "CA" or "Root"; "" for none."""
        return self._store_name

    @property
    def key_storage_provider_name(self) -> str:
        """`KeyStorageProviderNames.software_key_storage_provider` with a private key, else ""."""
        return "" if self._key is None else _SOFTWARE_PROVIDER

    # -- its octets ---------------------------------------------------------------------------------------------------

    def get_certificate_blob(self) -> Buffer:
        """The certificate in DER, a copy; without its private key."""
        return copy_of(self._parsed.der)

    @arities(0, 1)
    def get_hash_value(self, *arguments: Any) -> Array[int]:
        """The digest of the DER octets: `get_hash_value()` by SHA-1, `get_hash_value(hash_algorithm_name)` by that one.

        *hash_algorithm_name* is "SHA1" or "SHA256". Errors: E_INVALIDARG 0x80070057 for any other.
        """
        if len(arguments) > 1:
            raise invalid_parameter_count()
        name = check_str(arguments[0], "hash_algorithm_name") if arguments else "SHA1"
        make = _HASHES.get(name.upper())
        if make is None:
            raise errors.invalid_argument(f"hash_algorithm_name {name!r} is neither 'SHA1' nor 'SHA256'")
        return bytes_array(make(self._parsed.der).digest())

    get_hash_value_with_algorithm = deprecated_alias("get_hash_value")

    # -- its chain ----------------------------------------------------------------------------------------------------

    @arities(1, 2)
    def build_chain_async(self, *arguments: Any) -> IAsyncOperation[CertificateChain]:
        """Find the way to a root: `build_chain_async(certificates)`, `build_chain_async(certificates, parameters)`.

        *certificates* are those that may stand between, in any order; the user's store CA helps out. Nothing is fetched
        from the network. The chain comes back also where there is none: `CertificateChain.validate` tells.

        Cancelling: nothing happened. Errors: TypeError and E_INVALIDARG 0x80070057 for wrong arguments; the OSError of
        trusted certificates or stores that cannot be read.
        """
        if len(arguments) not in {1, 2}:
            raise invalid_parameter_count()
        from moorings.certificates import chain  # noqa: PLC0415 (it needs this module)

        given = _check_certificates(arguments[0])
        parameters: ChainBuildingParameters | None = None
        if len(arguments) == 2:
            parameters = check_object(arguments[1], chain.ChainBuildingParameters, "parameters")
        work = chain.build_chain(self, given, parameters)
        return start_operation(current_home(), work, Kind.OPERATION)

    build_chain_with_parameters_async = deprecated_alias("build_chain_async")


def _describing() -> Any:
    from moorings.certificates import describing  # noqa: PLC0415 (needs cryptography)

    return describing


def _check_certificates(value: Iterable[Certificate] | None) -> list[Certificate]:
    if value is None:
        raise errors.invalid_argument("certificates must not be None")
    return [check_object(item, Certificate, "certificates") for item in value]


# -- for this room and for TLS -----------------------------------------------------------------------------------------


def make_certificate(
    der: bytes,
    *,
    chain: Sequence[bytes] = (),
    key: Any = None,
    store_name: str = "",
    friendly_name: str = "",
    rename: Callable[[str], None] | None = None,
) -> Certificate:
    """A certificate of DER octets, such as a peer sent. E_INVALIDARG 0x80070057 where they are none."""
    require("Certificate")
    from moorings.certificates.parsed import MalformedCertificateError, parse  # noqa: PLC0415 (needs cryptography)

    certificate = object.__new__(Certificate)
    try:
        certificate._parsed = parse(der)
    except MalformedCertificateError as error:
        raise errors.invalid_argument(str(error)) from error
    certificate._key = key
    certificate._chain = tuple(chain)
    certificate._friendly_name = friendly_name
    certificate._store_name = store_name
    certificate._is_per_user = bool(store_name)
    certificate._rename = rename
    return certificate


def certificate_der(certificate: Certificate) -> bytes:
    """Its octets in DER."""
    return certificate._parsed.der


def parsed_certificate(certificate: Certificate) -> ParsedCertificate:
    """What the validator works with."""
    return certificate._parsed


def chain_ders(certificate: Certificate) -> tuple[bytes, ...]:
    """The other certificates that came with it, in DER: what to send behind it in a TLS handshake."""
    return certificate._chain


def private_key(certificate: Certificate) -> Any:
    """Its private key, an object of `cryptography`; None where it has none."""
    return certificate._key


def identity_pem(certificate: Certificate) -> bytes:
    """The certificate, its chain and its unencrypted private key in PEM, as `ssl` wants to load them.

    Keep it in memory (memfd_create(2)), never log it. E_INVALIDARG 0x80070057 where there is no private key.
    """
    if certificate._key is None:
        raise errors.invalid_argument(f"{certificate!r} has no private key")
    from moorings.certificates.private_keys import key_pem  # noqa: PLC0415 (needs cryptography)

    public = b"".join(to_pem(der) for der in (certificate._parsed.der, *certificate._chain))
    return public + key_pem(certificate._key)


def certificates_in(data: bytes, what: str) -> list[bytes]:
    """The certificates of a blob in DER, at least one; E_INVALIDARG 0x80070057 where there is none."""
    if len(data) > FILE_BYTES_LIMIT:
        raise errors.invalid_argument(f"{what} has more than {FILE_BYTES_LIMIT} octets")
    ders = split_pem(data)
    if not looks_like_pem(data) or not ders:
        from moorings.certificates.private_keys import split_pkcs7  # noqa: PLC0415 (needs cryptography)

        ders = split_pkcs7(data) or ders
    if not ders:
        raise errors.invalid_argument(f"{what} has no certificate")
    if len(ders) > BUNDLE_LIMIT + 1:
        raise errors.invalid_argument(f"{what} has more than {BUNDLE_LIMIT + 1} certificates")
    return ders


def read_file(path: Path) -> bytes:
    """A file of certificates or keys, within the limit. Errors: OSError; E_INVALIDARG 0x80070057 beyond the limit."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_LIMIT + 1)
    except OSError as error:
        raise errors.from_os_error(error, f"{path} cannot be read") from error
    if len(data) > FILE_BYTES_LIMIT:
        raise errors.invalid_argument(f"{path} has more than {FILE_BYTES_LIMIT} octets")
    return data
