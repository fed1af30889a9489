"""Key log files: whose they may be, their mode, and what is written."""

from __future__ import annotations

import gc
import os
import ssl
import stat
from typing import TYPE_CHECKING

import pytest

from moorings import errors
from moorings.engine.key_log import KeyLogWriter, attach_key_log, check_key_log

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_made_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    before = os.umask(0)
    try:
        check_key_log(str(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"a line")
    check_key_log(str(path))
    assert path.read_bytes() == b"a line"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_one_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys"
    path.touch()
    path.chmod(mode)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for use in (check_key_log, KeyLogWriter, lambda path: attach_key_log(context, path)):
        with pytest.raises(PermissionError, match="chmod 600"):
            use(str(path))
    assert context.keylog_filename is None


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for wrong in (tmp_path, tmp_path / "pipe", "/dev/null"):
        with pytest.raises(OSError, match="no file") as caught:
            check_key_log(str(wrong))
        assert isinstance(caught.value, errors.CodedError)
        assert caught.value.winerror == errors.E_INVALIDARG
    with pytest.raises(FileNotFoundError, match="keys"):
        check_key_log(str(tmp_path / "nowhere" / "keys"))


def test_the_writer_appends_lines_and_gives_its_descriptor_back(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"# before\n")
    path.chmod(0o600)
    count = len(os.listdir("/proc/self/fd"))
    writer = KeyLogWriter(str(path))
    writer(None, b"CLIENT_RANDOM 00 11")
    writer(None, b"CLIENT_RANDOM 00 22")
    assert path.read_bytes() == b"# before\nCLIENT_RANDOM 00 11\nCLIENT_RANDOM 00 22\n"
    del writer
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == count
