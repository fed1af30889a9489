from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from tests.certificates.bad_certificates import intermediate, root, stranger
from tests.certificates.certificate_factory import SERVER_NAME, make_server

from moorings import errors
from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.parsed import parse
from moorings.certificates.pem import to_pem
from moorings.certificates.trust import TrustAnchors
from moorings.certificates.validation import find_errors

if TYPE_CHECKING:
    from pathlib import Path


def trusts(anchors: TrustAnchors) -> bool:
    return find_errors(make_server(root()).der, (), server_name=SERVER_NAME, anchors=anchors) == ()


def test_der_pem_and_files(tmp_path: Path) -> None:
    (tmp_path / "roots.pem").write_bytes(to_pem(stranger().der) + to_pem(root().der))
    (tmp_path / "root.der").write_bytes(root().der)
    assert trusts(TrustAnchors(certificates=[root().der]))
    assert trusts(TrustAnchors(certificates=[to_pem(root().der)]))
    assert trusts(TrustAnchors(files=[tmp_path / "roots.pem"]))
    assert trusts(TrustAnchors(files=[str(tmp_path / "root.der")]))
    assert not trusts(TrustAnchors(certificates=[stranger().der]))
    assert not trusts(TrustAnchors())


def test_directories_have_hashed_names(tmp_path: Path) -> None:
    (tmp_path / "root.pem").write_bytes(to_pem(root().der))
    assert not trusts(TrustAnchors(directories=[tmp_path]))
    (tmp_path / "0a1b2c3d.0").write_bytes(to_pem(root().der))
    assert trusts(TrustAnchors(directories=[tmp_path]))


def test_read_once_and_late(tmp_path: Path) -> None:
    path = tmp_path / "roots.pem"
    anchors = TrustAnchors(files=[path])
    path.write_bytes(to_pem(root().der))
    assert trusts(anchors)
    path.unlink()
    assert trusts(anchors)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="cannot be read"):
        trusts(TrustAnchors(files=[tmp_path / "none"]))
    with pytest.raises(OSError, match="no certificate") as error:
        trusts(TrustAnchors(certificates=[b"nonsense"]))
    assert error.value.winerror == errors.E_INVALIDARG  # type: ignore[attr-defined]


def test_the_system_is_where_the_environment_says(nobody: Path) -> None:
    assert not trusts(TrustAnchors.system())
    (nobody / "file").write_bytes(
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + to_pem(root().der)
    )
    assert trusts(TrustAnchors.system())
    (nobody / "file").write_bytes(b"")
    (nobody / "directory" / "0a1b2c3d.0").write_bytes(to_pem(root().der))
    assert trusts(TrustAnchors.system())
    assert trusts(TrustAnchors.system(certificates=[stranger().der]))


def test_a_system_without_roots(monkeypatch: pytest.MonkeyPatch, nobody: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(nobody / "missing"))
    monkeypatch.setenv("SSL_CERT_DIR", str(nobody / "missing"))
    anchors = TrustAnchors.system()
    assert anchors.is_system
    assert list(anchors.files) == list(anchors.directories) == anchors.ders() == []


def test_contains_and_order() -> None:
    anchors = TrustAnchors(certificates=[root().der, stranger().der, root().der])
    assert anchors.ders() == [root().der, stranger().der]
    assert anchors.contains(parse(root().der))
    assert not anchors.contains(parse(intermediate().der))
    assert repr(anchors) == "<TrustAnchors: 0 files, 0 directories, 3 certificates>"


def test_into_a_context(tmp_path: Path) -> None:
    (tmp_path / "roots.pem").write_bytes(to_pem(stranger().der))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    TrustAnchors(files=[tmp_path / "roots.pem"], directories=[tmp_path], certificates=[root().der]).load_into(context)
    assert set(context.get_ca_certs(binary_form=True)) == {stranger().der, root().der}


def test_into_a_context_what_cannot_be_read(tmp_path: Path, nobody: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(FileNotFoundError, match="cannot be read"):
        TrustAnchors(files=[tmp_path / "none"]).load_into(context)
    for anchors in (TrustAnchors(files=[nobody / "file"]), TrustAnchors(certificates=[b"nonsense"])):
        with pytest.raises(OSError, match="no certificate") as error:
            anchors.load_into(context)
        assert error.value.winerror == errors.E_INVALIDARG  # type: ignore[attr-defined]
    # The system's file is empty here, and passed over.
    TrustAnchors.system(certificates=[root().der]).load_into(context)
    assert context.get_ca_certs(binary_form=True) == [root().der]


def test_certificates_with_settings_of_openssl_are_passed_over(tmp_path: Path) -> None:
    """`openssl x509 -trustout` writes more into such a block than the certificate."""
    text = to_pem(root().der).replace(b" CERTIFICATE", b" TRUSTED CERTIFICATE")
    assert TrustAnchors(certificates=[text + to_pem(stranger().der)]).ders() == [stranger().der]


def test_trusted_leaf() -> None:
    """A server's own certificate may be what is trusted."""
    server = make_server(stranger())
    found = find_errors(server.der, (), server_name=SERVER_NAME, anchors=TrustAnchors(certificates=[server.der]))
    assert found == ()
    other = make_server(stranger())
    anchors = TrustAnchors(certificates=[other.der])
    assert find_errors(server.der, (), server_name=None, anchors=anchors) == (ChainValidationResult.INCOMPLETE_CHAIN,)
