# ruff: noqa: ASYNC240 (short looks at a temporary directory)
from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

import pytest
from tests.certificates.bad_certificates import intermediate, root
from tests.certificates.certificate_factory import DAY, NOW, Made, ec_key, make, make_server

from moorings import errors
from moorings.certificates.certificate import Certificate, certificate_der, chain_ders, identity_pem
from moorings.certificates.pem import to_pem
from moorings.certificates.store_folders import STORE_FILE_BYTES_LIMIT
from moorings.certificates.stores import (
    CertificateQuery,
    CertificateStore,
    CertificateStores,
    StandardCertificateStoreNames,
    UserCertificateStore,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture
def folder(nobody: Path) -> Path:
    return nobody / "data" / "moorings" / "certs" / "MY"


def personal() -> CertificateStore:
    return CertificateStores.get_store_by_name(StandardCertificateStoreNames.personal)


def identity(made: Made) -> Certificate:
    return Certificate.from_pem(to_pem(made.der) + to_pem(intermediate().der) + made.key_pem)


def fingerprint(made: Made) -> str:
    return hashlib.sha256(made.der).hexdigest()


async def subjects(**wanted: object) -> list[str]:
    query = CertificateQuery()
    for name, value in wanted.items():
        if name == "enhanced_key_usages":
            query.enhanced_key_usages.append(str(value))
        else:
            setattr(query, name, value)
    return [certificate.subject for certificate in await CertificateStores.find_all_async(query)]


async def test_an_identity_comes_back_whole(folder: Path) -> None:
    made = make_server(intermediate())
    certificate = identity(made)
    certificate.friendly_name = "my server ✓"
    personal().add(certificate)
    (found,) = await CertificateStores.find_all_async()
    assert certificate_der(found) == made.der
    assert identity_pem(found) == identity_pem(certificate)
    assert found.has_private_key
    assert found.is_per_user
    assert found.store_name == "MY"
    assert found.friendly_name == "my server ✓"
    assert chain_ders(found) == (intermediate().der,)


async def test_modes(folder: Path) -> None:
    personal().add(identity(make_server(intermediate())))
    for directory in (folder, folder.parent, folder.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = list(folder.iterdir())
    assert {path.suffix for path in files} == {".pem", ".key", ".chain", ".name"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


async def test_friendly_name_of_a_stored_one(folder: Path) -> None:
    personal().add(Certificate(root().der))
    (found,) = await CertificateStores.find_all_async()
    found.friendly_name = "new"
    assert [item.friendly_name for item in await CertificateStores.find_all_async()] == ["new"]
    personal().delete(found)
    found.friendly_name = "gone"
    assert list(folder.iterdir()) == []


async def test_adding_again_keeps_the_key(folder: Path) -> None:
    made = make_server(intermediate())
    personal().add(identity(made))
    personal().add(Certificate(made.der))
    (found,) = await CertificateStores.find_all_async()
    assert found.has_private_key


async def test_delete(folder: Path) -> None:
    personal().add(identity(make_server(intermediate())))
    (found,) = await CertificateStores.find_all_async()
    personal().delete(found)
    assert list(folder.iterdir()) == []
    with pytest.raises(OSError, match="not in the store MY") as error:
        personal().delete(found)
    assert error.value.winerror == errors.ERROR_NOT_FOUND  # type: ignore[attr-defined]


async def test_user_stores(folder: Path) -> None:
    store = CertificateStores.get_user_store_by_name("my")
    assert store.name == "MY"
    certificate = Certificate(root().der)
    assert await store.request_delete_async(certificate) is False
    assert await store.request_add_async(certificate) is True
    assert await subjects() == ["Root of the tests"]
    assert await store.request_delete_async(certificate) is True
    assert await subjects() == []


async def test_queries(folder: Path) -> None:
    server = make_server(root(), "server.example")
    personal().add(identity(server))
    personal().add(Certificate(make("Old", key=ec_key(3), until=NOW - DAY).der))
    named = Certificate(make("Named", key=ec_key(4)).der)
    named.friendly_name = "Friend"
    personal().add(named)
    assert sorted(await subjects()) == ["Named", "server.example"]
    assert sorted(await subjects(include_expired_certificates=True)) == ["Named", "Old", "server.example"]
    assert await subjects(friendly_name="FRIEND") == ["Named"]
    assert await subjects(issuer_name="root of the tests") == ["server.example"]
    assert await subjects(thumbprint=hashlib.sha1(server.der).digest()) == ["server.example"]
    assert await subjects(hardware_only=True) == []
    # What restricts nothing fits any usage.
    assert sorted(await subjects(enhanced_key_usages="1.3.6.1.5.5.7.3.1")) == ["Named", "server.example"]
    assert await subjects(enhanced_key_usages="1.3.6.1.5.5.7.3.3") == ["Named"]
    assert await subjects(store_name="CA") == []


async def test_duplicates(folder: Path) -> None:
    for days in (10, 30, 20):
        personal().add(Certificate(make("Twice", key=ec_key(3), until=NOW + days * DAY).der))
    query = CertificateQuery()
    (newest,) = await CertificateStores.find_all_async(query)
    assert newest.valid_to == NOW + 30 * DAY
    query.include_duplicates = True
    assert len(await CertificateStores.find_all_async(query)) == 3


async def test_no_store_is_empty(nobody: Path) -> None:
    found: Sequence[Certificate] = await CertificateStores.find_all_async()
    assert list(found) == []
    assert not (nobody / "data").exists()


# -- what is refused ---------------------------------------------------------------------------------------------------


async def refusal() -> str:
    with pytest.raises(PermissionError) as error:
        await CertificateStores.find_all_async()
    assert error.value.winerror == errors.E_ACCESSDENIED  # type: ignore[attr-defined]
    return str(error.value)


async def test_a_loose_directory(folder: Path) -> None:
    personal().add(Certificate(root().der))
    folder.chmod(0o750)
    assert "mode 0750, it must be 0700" in await refusal()
    with pytest.raises(PermissionError):
        personal().add(Certificate(intermediate().der))


async def test_a_linked_directory(folder: Path) -> None:
    personal().add(Certificate(root().der))
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))
    with pytest.raises(OSError, match="cannot be used"):
        await CertificateStores.find_all_async()


async def test_a_loose_key(folder: Path) -> None:
    made = make_server(intermediate())
    personal().add(identity(made))
    (folder / f"{fingerprint(made)}.key").chmod(0o640)
    assert "mode 0640, it must be 0600" in await refusal()


async def test_a_certificate_that_others_may_change(folder: Path) -> None:
    personal().add(Certificate(root().der))
    (folder / f"{fingerprint(root())}.pem").chmod(0o662)
    assert "mode 0662" in await refusal()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_foreign_ownership(folder: Path) -> None:
    personal().add(Certificate(root().der))
    os.chown(folder / f"{fingerprint(root())}.pem", 12345, 12345)
    assert "no file of this user" in await refusal()
    os.chown(folder, 12345, 12345)
    assert "belongs to somebody else" in await refusal()


async def test_a_huge_file(folder: Path) -> None:
    personal().add(Certificate(root().der))
    with (folder / f"{fingerprint(root())}.pem").open("ab") as file:
        file.truncate(STORE_FILE_BYTES_LIMIT + 1)
    assert "octets" in await refusal()


async def test_a_pipe_in_place_of_a_file(folder: Path) -> None:
    personal().add(Certificate(root().der))
    os.mkfifo(folder / f"{'0' * 64}.pem", 0o600)
    assert "no file of this user" in await refusal()


async def test_other_files_are_passed_over(folder: Path) -> None:
    personal().add(Certificate(root().der))
    (folder / "notes.txt").write_text("hello")
    # Its name is not its digest, so somebody has changed it.
    (folder / f"{'0' * 64}.pem").write_bytes(to_pem(root().der))
    (folder / f"{'0' * 64}.pem").chmod(0o600)
    (folder / f"{'1' * 64}.pem").write_bytes(b"nonsense")
    (folder / f"{'1' * 64}.pem").chmod(0o600)
    assert await subjects() == ["Root of the tests"]


async def test_a_failed_write_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="No space left") as error:
        personal().add(Certificate(root().der))
    assert error.value.winerror == errors.ERROR_DISK_FULL  # type: ignore[attr-defined]
    assert list(folder.iterdir()) == []


# -- arguments ---------------------------------------------------------------------------------------------------------


def test_names() -> None:
    assert CertificateStores.get_store_by_name("root").name == "Root"
    assert CertificateStores.trusted_root_certification_authorities.name == "Root"
    assert CertificateStores.intermediate_certification_authorities.name == "CA"
    for call in (CertificateStores.get_store_by_name, CertificateStores.get_user_store_by_name):
        with pytest.raises(OSError, match="there are MY, CA, Root") as error:
            call("../..")
        assert error.value.winerror == errors.E_INVALIDARG  # type: ignore[attr-defined]
    query = CertificateQuery()
    query.store_name = "nowhere"
    with pytest.raises(OSError):
        CertificateStores.find_all_async(query)


def test_nothing_is_constructible() -> None:
    for kind in (CertificateStores, CertificateStore, UserCertificateStore, StandardCertificateStoreNames):
        with pytest.raises(TypeError, match="cannot create"):
            kind()


async def test_the_name_of_the_3_line(nobody: Path) -> None:
    with pytest.warns(DeprecationWarning, match="find_all_async"):
        assert list(await CertificateStores.find_all_with_query_async(CertificateQuery())) == []


def test_query_checks_its_members() -> None:
    query = CertificateQuery()
    for name in ("friendly_name", "issuer_name", "store_name", "thumbprint"):
        with pytest.raises(TypeError):
            setattr(query, name, 5)
