from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from moorings.foundation.private_directory import is_ours, make_private, opened

if TYPE_CHECKING:
    from pathlib import Path


def test_made_closed_to_others(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "b", 2)
    for directory in (tmp_path / "a", tmp_path / "a" / "b"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    make_private(tmp_path / "a" / "b", 2)


def test_open_to_others(tmp_path: Path) -> None:
    directory = tmp_path / "open"
    directory.mkdir(0o755)
    with pytest.raises(PermissionError, match="mode 0755, it must be 0700"), opened(directory):
        pass
    with pytest.raises(PermissionError):
        make_private(directory / "inner", 2)


def test_no_link_and_no_file(tmp_path: Path) -> None:
    make_private(tmp_path / "real", 1)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(NotADirectoryError), opened(tmp_path / name):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_of_somebody_else(tmp_path: Path) -> None:
    make_private(tmp_path / "theirs", 1)
    os.chown(tmp_path / "theirs", 12345, 12345)
    with pytest.raises(PermissionError, match="somebody else"), opened(tmp_path / "theirs"):
        pass
    with opened(tmp_path / "theirs", looking=True) as descriptor:
        assert not is_ours(os.fstat(descriptor))
        assert is_ours(os.fstat(descriptor), looking=True)
