from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from tests.certificates.bad_certificates import intermediate, root
from tests.certificates.certificate_factory import DAY, NOW, make_server
from tests.certificates.test_certificate import SECRET, pfx

from moorings import errors
from moorings.certificates.certificate import Certificate
from moorings.certificates.enrollment import (
    CertificateEnrollmentManager,
    KeyAlgorithmNames,
    KeyStorageProviderNames,
    PfxImportParameters,
)
from moorings.certificates.enums import ExportOption, InstallOptions, KeyProtectionLevel
from moorings.certificates.stores import CertificateQuery, CertificateStores

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.usefixtures("nobody")
SERVER = make_server(intermediate())
DATA = base64.b64encode(pfx(SERVER, intermediate())).decode()
PLAIN: tuple[Any, ...] = (ExportOption.NOT_EXPORTABLE, KeyProtectionLevel.NO_CONSENT, InstallOptions.NONE, "named")


async def stored(name: str = "MY") -> Sequence[Certificate]:
    query = CertificateQuery()
    query.store_name = name
    query.include_expired_certificates = query.include_duplicates = True
    return await CertificateStores.find_all_async(query)


async def test_import_with_parameters() -> None:
    parameters = PfxImportParameters()
    await CertificateEnrollmentManager.import_pfx_data_async(DATA, SECRET, parameters)
    (found,) = await stored()
    assert found.has_private_key
    assert found.friendly_name == "my server"
    assert [item.subject for item in await stored("CA")] == ["Intermediate of the tests"]
    assert list(await stored("Root")) == []


@pytest.mark.parametrize("more", [(), (KeyStorageProviderNames.software_key_storage_provider,)])
async def test_import_with_many_arguments(more: tuple[str, ...]) -> None:
    await CertificateEnrollmentManager.import_pfx_data_async(DATA, SECRET, *PLAIN, *more)
    assert [item.friendly_name for item in await stored()] == ["named"]


async def test_names_of_the_3_line() -> None:
    with pytest.warns(DeprecationWarning, match="import_pfx_data_async"):
        await CertificateEnrollmentManager.import_pfx_data_to_ksp_async(DATA, SECRET, *PLAIN, "")
    with pytest.warns(DeprecationWarning, match="import_pfx_data_async"):
        await CertificateEnrollmentManager.import_pfx_data_to_ksp_with_parameters_async(
            DATA, SECRET, PfxImportParameters()
        )


async def test_wrong_password_and_data() -> None:
    with pytest.raises(OSError, match="password may be wrong") as error:
        await CertificateEnrollmentManager.import_pfx_data_async(DATA, "wrong", PfxImportParameters())
    assert error.value.winerror == errors.E_INVALIDARG  # type: ignore[attr-defined]
    for text in ("!", "ü"):
        with pytest.raises(OSError, match="not base64"):
            CertificateEnrollmentManager.import_pfx_data_async(text, SECRET, PfxImportParameters())
    assert list(await stored()) == []


async def test_what_needs_hardware_or_consent() -> None:
    parameters = PfxImportParameters()
    parameters.key_protection_level = KeyProtectionLevel.CONSENT_ONLY
    other = PfxImportParameters()
    other.key_storage_provider_name = KeyStorageProviderNames.platform_key_storage_provider
    for refused in (parameters, other):
        with pytest.raises(OSError) as error:
            CertificateEnrollmentManager.import_pfx_data_async(DATA, SECRET, refused)
        assert error.value.winerror == errors.ERROR_NOT_SUPPORTED  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [0, 2, 4, 5, 8])
def test_counts_of_arguments(count: int) -> None:
    with pytest.raises(TypeError, match="invalid parameter count"):
        CertificateEnrollmentManager.import_pfx_data_async(*("",) * count)


async def test_install_keeps_the_key() -> None:
    await CertificateEnrollmentManager.import_pfx_data_async(DATA, SECRET, PfxImportParameters())
    text = base64.encodebytes(SERVER.der).decode()
    await CertificateEnrollmentManager.install_certificate_async(text, InstallOptions.NONE)
    (found,) = await stored()
    assert found.has_private_key


async def test_delete_expired() -> None:
    old = make_server(root(), until=NOW - DAY)
    other = make_server(root(), "other.example", until=NOW - DAY)
    new = make_server(root())
    for made in (old, other):
        text = base64.b64encode(made.der).decode()
        await CertificateEnrollmentManager.install_certificate_async(text, InstallOptions.NONE)
    text = base64.b64encode(new.der).decode()
    await CertificateEnrollmentManager.install_certificate_async(text, InstallOptions.DELETE_EXPIRED)
    assert sorted(item.subject for item in await stored()) == ["other.example", "server.moorings.example"]


def test_parameters() -> None:
    parameters = PfxImportParameters()
    for name in ("container_name_prefix", "friendly_name", "key_storage_provider_name", "reader_name"):
        assert getattr(parameters, name) == ""
        setattr(parameters, name, "x")
        assert getattr(parameters, name) == "x"
        with pytest.raises(TypeError):
            setattr(parameters, name, None)
    parameters.exportable = 1  # type: ignore[assignment]
    assert parameters.exportable is ExportOption.EXPORTABLE
    parameters.install_options = InstallOptions.DELETE_EXPIRED
    assert parameters.install_options == InstallOptions.DELETE_EXPIRED
    assert parameters.key_protection_level == KeyProtectionLevel.NO_CONSENT


def test_names() -> None:
    assert KeyAlgorithmNames.ecdsa256 == Certificate(root().der).key_algorithm_name
    assert KeyAlgorithmNames.rsa == "RSA"
