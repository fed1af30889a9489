"""`CertificateEnrollmentManager`: putting certificates and PKCS #12 files into the stores; names of algorithms."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.certificates.certificate import Certificate, certificate_der, chain_ders, make_certificate, private_key
from moorings.certificates.enums import ExportOption, InstallOptions, KeyProtectionLevel
from moorings.certificates.store_folders import StoreFolder
from moorings.certificates.stores import put_certificate, remove_expired
from moorings.foundation.home import current_home
from moorings.foundation.projection import (
    Object,
    arities,
    check_enum,
    check_object,
    check_str,
    deprecated_alias,
    final,
    invalid_parameter_count,
    not_constructible,
)
from moorings.foundation.task_operation import Kind, start_operation

if TYPE_CHECKING:
    from moorings.foundation.async_info import IAsyncAction

__all__ = ["CertificateEnrollmentManager", "KeyAlgorithmNames", "KeyStorageProviderNames", "PfxImportParameters"]


@final
@not_constructible
class KeyAlgorithmNames(Object):
    """Names of kinds of keys. All members are static. Source: WinRT KeyAlgorithmNames."""

    __slots__ = ()
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.KeyAlgorithmNames"

    dsa = "DSA"
    ecdh = "ECDH"
    ecdh256 = "ECDH_P256"
    ecdh384 = "ECDH_P384"
    ecdh521 = "ECDH_P521"
    ecdsa = "ECDSA"
    ecdsa256 = "ECDSA_P256"
    ecdsa384 = "ECDSA_P384"
    ecdsa521 = "ECDSA_P521"
    rsa = "RSA"


@final
@not_constructible
class KeyStorageProviderNames(Object):
    """Names of what keeps keys. All members are static; only the software provider is here.

    Source: WinRT KeyStorageProviderNames.
    """

    __slots__ = ()
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.KeyStorageProviderNames"

    passport_key_storage_provider = "Microsoft Passport Key Storage Provider"
    platform_key_storage_provider = "Microsoft Platform Crypto Provider"
    smartcard_key_storage_provider = "Microsoft Smart Card Key Storage Provider"
    software_key_storage_provider = "Microsoft Software Key Storage Provider"


@final
class PfxImportParameters(Object):
    """How to import a PKCS #12 file. Source: WinRT PfxImportParameters."""

    __slots__ = (
        "__weakref__",
        "_container_name_prefix",
        "_exportable",
        "_friendly_name",
        "_install_options",
        "_key_protection_level",
        "_key_storage_provider_name",
        "_reader_name",
    )
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.PfxImportParameters"

    def __init__(self) -> None:
        self._container_name_prefix = self._friendly_name = self._key_storage_provider_name = self._reader_name = ""
        self._exportable = ExportOption.NOT_EXPORTABLE
        self._install_options = InstallOptions.NONE
        self._key_protection_level = KeyProtectionLevel.NO_CONSENT

    @property
    def container_name_prefix(self) -> str:
        """Kept, and without effect: keys have no containers here."""
        return self._container_name_prefix

    @container_name_prefix.setter
    def container_name_prefix(self, value: str) -> None:
        self._container_name_prefix = check_str(value, "container_name_prefix")

    @property
    def exportable(self) -> ExportOption:
        """Kept, and without effect: the key is a file of this user, which this user can read."""
        return self._exportable

    @exportable.setter
    def exportable(self, value: ExportOption) -> None:
        self._exportable = check_enum(value, ExportOption, "exportable")

    @property
    def friendly_name(self) -> str:
        """The friendly name to give; "" (default) keeps the one in the file."""
        return self._friendly_name

    @friendly_name.setter
    def friendly_name(self, value: str) -> None:
        self._friendly_name = check_str(value, "friendly_name")

    @property
    def install_options(self) -> InstallOptions:
        """DELETE_EXPIRED removes expired certificates of the same subject."""
        return self._install_options

    @install_options.setter
    def install_options(self, value: InstallOptions) -> None:
        self._install_options = check_enum(value, InstallOptions, "install_options")

    @property
    def key_protection_level(self) -> KeyProtectionLevel:
        """NO_CONSENT (default); any other fails in the import."""
        return self._key_protection_level

    @key_protection_level.setter
    def key_protection_level(self, value: KeyProtectionLevel) -> None:
        self._key_protection_level = check_enum(value, KeyProtectionLevel, "key_protection_level")

    @property
    def key_storage_provider_name(self) -> str:
        """The software provider, or "" (default) for it; any other fails in the import."""
        return self._key_storage_provider_name

    @key_storage_provider_name.setter
    def key_storage_provider_name(self, value: str) -> None:
        self._key_storage_provider_name = check_str(value, "key_storage_provider_name")

    @property
    def reader_name(self) -> str:
        """Kept, and without effect: there are no smart cards here."""
        return self._reader_name

    @reader_name.setter
    def reader_name(self, value: str) -> None:
        self._reader_name = check_str(value, "reader_name")


@final
@not_constructible
class CertificateEnrollmentManager(Object):
    """Puts certificates into the user's stores. All members are static. Source: WinRT CertificateEnrollmentManager."""

    __slots__ = ()
    _winrt_name_ = "Windows.Security.Cryptography.Certificates.CertificateEnrollmentManager"

    @staticmethod
    @arities(3, 6, 7)
    def import_pfx_data_async(*arguments: Any) -> IAsyncAction:
        """Put the certificate, key and chain of a PKCS #12 file, in base64, into the store MY.

        `import_pfx_data_async(pfx_data, password, pfx_import_parameters)`, or `(pfx_data, password, exportable,
        key_protection_level, install_option, friendly_name[, key_storage_provider])`; see `PfxImportParameters`.

        Cancelling: it is in the store or not, and may be imported again. Errors: E_INVALIDARG 0x80070057 where the data
        cannot be read or the password is wrong; ERROR_NOT_SUPPORTED 0x80070032 for a protected key, another provider,
        or without the extra `tls`; those of `CertificateStore.add`.
        """
        if len(arguments) not in {3, 6, 7}:
            raise invalid_parameter_count()
        text, password = check_str(arguments[0], "pfx_data"), check_str(arguments[1], "password")
        if len(arguments) == 3:
            parameters = check_object(arguments[2], PfxImportParameters, "pfx_import_parameters")
        else:
            parameters = _parameters(*arguments[2:])
        _require_software_key(parameters)
        data = _from_base64(text, "pfx_data")

        async def work() -> None:
            certificate = Certificate.from_pfx(data, password)
            if parameters.friendly_name:
                certificate.friendly_name = parameters.friendly_name
            _install(certificate, parameters.install_options)

        return start_operation(current_home(), work(), Kind.ACTION)

    import_pfx_data_to_ksp_async = deprecated_alias("import_pfx_data_async")
    import_pfx_data_to_ksp_with_parameters_async = deprecated_alias("import_pfx_data_async")

    @staticmethod
    def install_certificate_async(certificate: str, install_option: InstallOptions, /) -> IAsyncAction:
        """Put a certificate, in base64 as an authority answers it (DER or PKCS #7), into the store MY.

        A private key that is there already for the same certificate stays. Cancelling: it is in the store or not, and
        may be installed again. Errors: E_INVALIDARG 0x80070057 where there is no certificate; those of
        `CertificateStore.add`.
        """
        data = _from_base64(check_str(certificate, "certificate"), "certificate")
        options = check_enum(install_option, InstallOptions, "install_option")

        async def work() -> None:
            _install(Certificate(data), options)

        return start_operation(current_home(), work(), Kind.ACTION)


def _parameters(
    exportable: Any, level: Any, options: Any, friendly_name: Any, provider: Any = ""
) -> PfxImportParameters:
    parameters = PfxImportParameters()
    parameters.exportable = exportable
    parameters.key_protection_level = level
    parameters.install_options = options
    parameters.friendly_name = friendly_name
    parameters.key_storage_provider_name = provider
    return parameters


def _require_software_key(parameters: PfxImportParameters) -> None:
    if parameters.key_protection_level != KeyProtectionLevel.NO_CONSENT:
        raise errors.not_supported("importing a key whose use needs consent", "somebody who asks the user")
    provider = parameters.key_storage_provider_name
    if provider not in {"", KeyStorageProviderNames.software_key_storage_provider}:
        raise errors.not_supported("importing a key", f"the key storage provider {provider!r}")


def _from_base64(text: str, name: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise errors.invalid_argument(f"{name} is not base64") from None


def _install(certificate: Certificate, options: InstallOptions) -> None:
    """Put the certificate into MY and the authorities of its chain into CA."""
    folder = StoreFolder("MY")
    if options & InstallOptions.DELETE_EXPIRED:
        remove_expired(folder, certificate)
    put_certificate(folder, certificate)
    if private_key(certificate) is not None:
        authorities = StoreFolder("CA")
        for der in chain_ders(certificate):
            if der != certificate_der(certificate):
                put_certificate(authorities, make_certificate(der))
