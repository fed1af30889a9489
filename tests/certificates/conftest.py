from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user and a system that trust nobody yet: an empty file, an empty directory, no stores."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "directory").mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "file"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "directory"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path
