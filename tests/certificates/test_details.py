from __future__ import annotations

import pytest

from moorings.certificates.details import CertificateExtension, CertificateKeyUsages, SubjectAlternativeNameInfo


def test_extension() -> None:
    extension = CertificateExtension()
    assert (extension.object_id, bytes(extension.value), extension.is_critical) == ("", b"", False)
    extension.object_id = "1.2.3"
    extension.value = b"\x05\x00"
    extension.is_critical = True
    assert (extension.object_id, bytes(extension.value), extension.is_critical) == ("1.2.3", b"\x05\x00", True)
    with pytest.raises(TypeError):
        extension.object_id = 5  # type: ignore[assignment]
    with pytest.raises(TypeError):
        extension.value = "text"  # type: ignore[assignment]


@pytest.mark.parametrize(("size", "head"), [(3, "0c03"), (127, "0c7f"), (128, "0c8180"), (300, "0c82012c")])
def test_encode_value(size: int, head: str) -> None:
    extension = CertificateExtension()
    extension.encode_value("x" * size)
    assert bytes(extension.value) == bytes.fromhex(head) + b"x" * size


def test_key_usages_start_without_any() -> None:
    usages = CertificateKeyUsages()
    assert not any(getattr(usages, name) for name in vars(CertificateKeyUsages) if name.islower() and name[0] != "_")
    usages.key_agreement = True
    assert usages.key_agreement


def test_names_are_lists_and_views() -> None:
    info = SubjectAlternativeNameInfo()
    view = info.dns_name
    info.dns_names.append("a.example")
    assert list(view) == ["a.example"]
    assert not hasattr(view, "append")
    with pytest.raises(TypeError):
        info.urls.append(5)  # type: ignore[arg-type]
    assert info.extension.object_id == "2.5.29.17"
