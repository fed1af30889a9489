"""The setting `revocation`: what it takes, and files of lists that come and change."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from tests.certificates.certificate_factory import make, make_crl, make_server

from moorings import errors
from moorings.certificates.pem import split_pem
from moorings.certificates.revocation_check import RevocationCheck, as_revocation


def pem(*ders: bytes) -> bytes:
    blocks = [b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(der) + b"-----END X509 CRL-----\n" for der in ders]
    return b"# lists\n" + b"".join(blocks)


def lists() -> tuple[bytes, bytes]:
    root = make("Root")
    return make_crl(root), make_crl(root, make_server(root))


def test_lists_in_either_form_and_the_certificates_between_them_are_passed_over(tmp_path: Path) -> None:
    one, two = lists()
    certificate = make("Root").der
    text = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(certificate) + b"-----END CERTIFICATE-----\n"
    mixed = text + pem(one, two)
    (tmp_path / "mixed.pem").write_bytes(mixed)
    (tmp_path / "two.crl").write_bytes(two)
    check = RevocationCheck(files=[tmp_path / "mixed.pem", str(tmp_path / "two.crl")], crls=[one, pem(two)])
    assert list(check.lists()) == [one, two, one, two, two]
    assert split_pem(mixed) == [certificate]
    assert repr(check) == "<RevocationCheck: 2 files, 2 lists>"


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    one, two = lists()
    path = tmp_path / "list.crl"
    path.write_bytes(one)
    check = RevocationCheck(files=[path])
    first = check.lists()
    assert check.lists()[0] is first[0]
    path.write_bytes(two)
    assert list(check.lists()) == [two]
    other = tmp_path / "other.crl"
    other.write_bytes(one)
    other.replace(path)
    assert list(check.lists()) == [one]


def test_files_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moorings.certificates import revocation_check

    with pytest.raises(FileNotFoundError, match=r"no\.crl cannot be read"):
        RevocationCheck(files=[tmp_path / "no.crl"]).lists()
    path = tmp_path / "list.crl"
    for content in (b"", pem(*lists()).replace(b"X509 CRL", b"CERTIFICATE"), b"-----BEGIN X509 CRL-----\n"):
        path.write_bytes(content)
        with pytest.raises(OSError, match="no revocation list") as caught:
            RevocationCheck(files=[path]).lists()
        assert isinstance(caught.value, errors.CodedError)
        assert caught.value.winerror == errors.E_INVALIDARG
    monkeypatch.setattr(revocation_check, "CRL_FILE_BYTES_LIMIT", 10)
    path.write_bytes(lists()[0])
    with pytest.raises(OSError, match="more than 10 octets"):
        RevocationCheck(files=[path]).lists()


def test_what_the_setting_takes(tmp_path: Path) -> None:
    path = tmp_path / "list.crl"
    path.write_bytes(lists()[0])
    given = RevocationCheck(staple_required=True)
    assert as_revocation(given, "revocation") is given
    assert repr(given) == "<RevocationCheck: 0 files, 0 lists, staple required>"
    assert as_revocation(None, "revocation") is as_revocation(False, "revocation") is None
    nothing = as_revocation(True, "revocation")
    assert nothing is not None
    assert (nothing.lists(), nothing.staple_required) == ([], False)
    for paths in (path, str(path), [path], (str(path),)):
        check = as_revocation(paths, "revocation")
        assert check is not None
        assert list(check.lists()) == [lists_of(path)]


def lists_of(path: Path) -> bytes:
    return path.read_bytes()


@pytest.mark.parametrize("wrong", [5, b"octets", [b"octets"], [5], object()])
def test_wrong_types(wrong: Any) -> None:
    with pytest.raises(TypeError, match="revocation takes"):
        as_revocation(wrong, "revocation")


@pytest.mark.parametrize("settings", [{"files": "list.crl"}, {"files": Path("list.crl")}, {"crls": b"octets"}])
def test_several_are_needed(settings: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="several"):
        RevocationCheck(**settings)
