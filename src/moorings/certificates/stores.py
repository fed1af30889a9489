"""`CertificateStores`: the user's certificates, in folders below `$XDG_DATA_HOME/moorings/certs`.

`MY` holds certificates with private keys, `CA` authorities that help to build chains, `Root` authorities that this
user's programs trust beside the system's. See `store_folders` for the files.
"""

# pyright: reportPrivateUsage=false
# The functions below the classes make their objects; as methods they would be part of the public surface.

from __future__ import annotations

import hashlib
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.certificates.certificate import (
    Certificate,
    certificate_der,
    chain_ders,
    make_certificate,
    parsed_certificate,
    private_key,
)
from moorings.certificates.details import bytes_array
from moorings.certificates.libraries import require
from moorings.certificates.pem import split_pem, to_pem
from moorings.certificates.store_folders import STORE_NAMES, Entry, StoreFolder
from moorings.foundation.home import current_home
from moorings.foundation.projection import (
    Object,
    arities,
    check_object,
    check_str,
    final,
    invalid_parameter_count,
    not_constructible,
)
from moorings.foundation.task_operation import Kind, start_operation
from moorings.foundation.vectors import Vector, VectorView
from moorings.streams.views import bytes_view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableSequence, Sequence

    from moorings.foundation.async_info import IAsyncOperation
    from moorings.foundation.scalars import ReadableBuffer
    from moorings.foundation.winrt_array import Array

__all__ = [
    "CertificateQuery",
    "CertificateStore",
    "CertificateStores",
    "StandardCertificateStoreNames",
    "UserCertificateStore",
]


@final
@not_constructible
class StandardCertificateStoreNames(Object):
    """Names of the stores. All members are static. Source: WinRT StandardCertificateStoreNames."""

    __slots__ = ()
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.StandardCertificateStoreNames"

    personal = "MY"
    intermediate_certification_authorities = "CA"
    trusted_root_certification_authorities = "Root"


def _check_usage(value: Any) -> str:
    return check_str(value, "enhanced_key_usages")


@final
class CertificateQuery(Object):
    """Which certificates to find; what is not set finds all. Source: WinRT CertificateQuery."""

    __slots__ = (
        "__weakref__",
        "_friendly_name",
        "_issuer_name",
        "_store_name",
        "_thumbprint",
        "_usages",
        "hardware_only",
        "include_duplicates",
        "include_expired_certificates",
    )
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.CertificateQuery"

    def __init__(self) -> None:
        self._usages = Vector[str]((), _check_usage)
        self._friendly_name = self._issuer_name = self._store_name = ""
        self._thumbprint = b""
        #: True finds nothing: keys in hardware are not supported.
        self.hardware_only = False
        #: False (default) finds the newest only of certificates with the same subject, issuer and usages.
        self.include_duplicates = False
        #: False (default) finds certificates only that are valid now.
        self.include_expired_certificates = False

    @property
    def enhanced_key_usages(self) -> MutableSequence[str]:
        """Object identifiers that a certificate must have, if it is restricted at all; always the same list."""
        return self._usages

    @property
    def friendly_name(self) -> str:
        """The friendly name, compared without case; "" for any."""
        return self._friendly_name

    @friendly_name.setter
    def friendly_name(self, value: str) -> None:
        self._friendly_name = check_str(value, "friendly_name")

    @property
    def issuer_name(self) -> str:
        """The issuer's common name, compared without case; "" for any."""
        return self._issuer_name

    @issuer_name.setter
    def issuer_name(self, value: str) -> None:
        self._issuer_name = check_str(value, "issuer_name")

    @property
    def store_name(self) -> str:
        """The store: "MY", "CA" or "Root"; "" for MY."""
        return self._store_name

    @store_name.setter
    def store_name(self, value: str) -> None:
        self._store_name = check_str(value, "store_name")

    @property
    def thumbprint(self) -> Array[int]:
        """The SHA-1 digest of the certificate, as `Certificate.get_hash_value()` gives it; empty for any."""
        return bytes_array(self._thumbprint)

    @thumbprint.setter
    def thumbprint(self, value: Array[int] | ReadableBuffer) -> None:
        self._thumbprint = bytes(bytes_view(value, "thumbprint"))


@final
@not_constructible
class CertificateStore(Object):
    """One of the user's stores, for programs that change it at once. Source: WinRT CertificateStore."""

    __slots__ = ("__weakref__", "_folder")
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.CertificateStore"
    _folder: StoreFolder

    @property
    def name(self) -> str:
        """Which one it is: "MY", "CA" or "Root"."""
        return self._folder.name

    def add(self, certificate: Certificate, /) -> None:
        """Put a certificate into the store, with its private key and chain where it has them.

        One with the same octets is replaced. Errors: E_ACCESSDENIED 0x80070005 where the folder is not this user's
        alone; the OSError of the file system.
        """
        put_certificate(self._folder, check_object(certificate, Certificate, "certificate"))

    def delete(self, certificate: Certificate, /) -> None:
        """Remove a certificate and its private key. ERROR_NOT_FOUND 0x80070490 where it is not in the store."""
        wanted = check_object(certificate, Certificate, "certificate")
        if not self._folder.remove(parsed_certificate(wanted).fingerprint):
            raise errors.make(errors.ERROR_NOT_FOUND, f"{wanted!r} is not in the store {self.name}")


@final
@not_constructible
class UserCertificateStore(Object):
    """One of the user's stores. Windows asks the user before it changes one; here nobody is asked.

    Source: WinRT UserCertificateStore.
    """

    __slots__ = ("__weakref__", "_folder")
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.UserCertificateStore"
    _folder: StoreFolder

    @property
    def name(self) -> str:
        """Which one it is: "MY", "CA" or "Root"."""
        return self._folder.name

    def request_add_async(self, certificate: Certificate, /) -> IAsyncOperation[bool]:
        """Put a certificate into the store; True.

        Cancelling: it is in the store or not, and may be added again. Errors: those of `CertificateStore.add`.
        """
        wanted = check_object(certificate, Certificate, "certificate")

        async def work() -> bool:
            put_certificate(self._folder, wanted)
            return True

        return start_operation(current_home(), work(), Kind.OPERATION)

    def request_delete_async(self, certificate: Certificate, /) -> IAsyncOperation[bool]:
        """Remove a certificate and its private key; whether it was there.

        Cancelling: it is in the store or not, and may be removed again. Errors: OSError.
        """
        wanted = check_object(certificate, Certificate, "certificate")

        async def work() -> bool:
            return self._folder.remove(parsed_certificate(wanted).fingerprint)

        return start_operation(current_home(), work(), Kind.OPERATION)


def _store(kind: Any, name: str) -> Any:
    store = object.__new__(kind)
    store._folder = StoreFolder(_store_name(name))
    return store


def _store_name(name: str) -> str:
    found = next((known for known in STORE_NAMES if known.lower() == name.lower()), None)
    if found is None:
        raise errors.invalid_argument(f"there is no certificate store {name!r}; there are {', '.join(STORE_NAMES)}")
    return found


@final
@not_constructible
class CertificateStores(Object):
    """The user's certificate stores. All members are static. Source: WinRT CertificateStores."""

    __slots__ = ()
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.CertificateStores"

    #: The store CA.
    intermediate_certification_authorities: CertificateStore = _store(CertificateStore, "CA")
    #: The store Root.
    trusted_root_certification_authorities: CertificateStore = _store(CertificateStore, "Root")

    @staticmethod
    @arities(0, 1)
    def find_all_async(*arguments: Any) -> IAsyncOperation[Sequence[Certificate]]:
        """`find_all_async()`: all certificates of MY. `find_all_async(query)`: those that a CertificateQuery describes.

        Cancelling: nothing happened. Errors: E_INVALIDARG 0x80070057 for a store that does not exist; E_ACCESSDENIED
        0x80070005 where the folder is not this user's alone; ERROR_NOT_SUPPORTED 0x80070032 without the extra `tls`.
        """
        if len(arguments) > 1:
            raise invalid_parameter_count()
        query = check_object(arguments[0], CertificateQuery, "query") if arguments else None
        folder = StoreFolder(_store_name("MY" if query is None else query.store_name or "MY"))

        async def work() -> Sequence[Certificate]:
            found = read_store(folder)
            return VectorView(found if query is None else _select(found, query))

        return start_operation(current_home(), work(), Kind.OPERATION)

    @staticmethod
    @arities(1)
    def find_all_with_query_async(*arguments: Any) -> IAsyncOperation[Sequence[Certificate]]:
        """Deprecated PyWinRT 3.x name of `find_all_async`."""
        warnings.warn(
            "CertificateStores.find_all_with_query_async is deprecated, use find_all_async",
            DeprecationWarning,
            stacklevel=2,
        )
        if len(arguments) != 1:
            raise invalid_parameter_count()
        return CertificateStores.find_all_async(*arguments)

    @staticmethod
    def get_store_by_name(store_name: str, /) -> CertificateStore:
        """The store of that name, compared without case. E_INVALIDARG 0x80070057 where there is none."""
        store: CertificateStore = _store(CertificateStore, check_str(store_name, "store_name"))
        return store

    @staticmethod
    def get_user_store_by_name(store_name: str, /) -> UserCertificateStore:
        """The same store, for changes in WinRT's way for users. E_INVALIDARG 0x80070057 where there is none."""
        store: UserCertificateStore = _store(UserCertificateStore, check_str(store_name, "store_name"))
        return store


# -- for this room -----------------------------------------------------------------------------------------------------


def read_store(folder: StoreFolder) -> list[Certificate]:
    """The certificates of a store; files that hold none are passed over. Errors: OSError."""
    require("CertificateStores")
    from moorings.certificates.private_keys import read_key  # noqa: PLC0415 (needs cryptography)

    found: list[Certificate] = []
    for entry in folder.entries():
        ders = split_pem(entry.certificate)
        if not ders or hashlib.sha256(ders[0]).hexdigest() != entry.fingerprint:
            continue
        try:
            certificate = make_certificate(
                ders[0],
                chain=split_pem(entry.chain),
                store_name=folder.name,
                friendly_name=entry.friendly_name,
                rename=_renamer(folder, entry.fingerprint),
            )
            if entry.key is not None:
                certificate._key = read_key(entry.key, None, certificate._parsed, is_required=True)
        except errors.CodedError as error:
            if error.winerror != errors.E_INVALIDARG:
                raise
            continue
        found.append(certificate)
    return found


def _renamer(folder: StoreFolder, fingerprint: str) -> Callable[[str], None]:
    def rename(name: str) -> None:
        folder.rename(fingerprint, name)

    return rename


def put_certificate(folder: StoreFolder, certificate: Certificate) -> None:
    """Write a certificate with all that belongs to it into a store. Errors: OSError."""
    from moorings.certificates.private_keys import key_pem  # noqa: PLC0415 (needs cryptography)

    key = private_key(certificate)
    folder.put(
        Entry(
            parsed_certificate(certificate).fingerprint,
            to_pem(certificate_der(certificate)),
            None if key is None else key_pem(key),
            b"".join(map(to_pem, chain_ders(certificate))),
            certificate.friendly_name,
        )
    )


def _select(certificates: Iterable[Certificate], query: CertificateQuery) -> list[Certificate]:
    chosen = [certificate for certificate in certificates if _fits(certificate, query)]
    if query.include_duplicates:
        return chosen
    newest: dict[Any, Certificate] = {}
    for certificate in sorted(chosen, key=lambda item: item.valid_to):
        parsed = parsed_certificate(certificate)
        newest[parsed.subject_key, parsed.issuer_key, tuple(certificate.enhanced_key_usages)] = certificate
    return list(newest.values())


def _fits(certificate: Certificate, query: CertificateQuery) -> bool:
    now = datetime.now(UTC)
    usages = certificate.enhanced_key_usages
    return (
        not query.hardware_only
        and (query.include_expired_certificates or certificate.valid_from <= now <= certificate.valid_to)
        and query.friendly_name.lower() in {"", certificate.friendly_name.lower()}
        and query.issuer_name.lower() in {"", certificate.issuer.lower()}
        and bytes(query.thumbprint) in {b"", bytes(certificate.get_hash_value())}
        and (not usages or set(query.enhanced_key_usages) <= set(usages))
    )


def remove_expired(folder: StoreFolder, certificate: Certificate) -> None:
    """Remove the expired certificates with the subject of *certificate* from a store. Errors: OSError."""
    now = datetime.now(UTC)
    wanted = parsed_certificate(certificate)
    for old in map(parsed_certificate, read_store(folder)):
        if old.subject_key == wanted.subject_key and old.valid_to < now and old != wanted:
            folder.remove(old.fingerprint)
