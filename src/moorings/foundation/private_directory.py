"""Directories that belong to this user and are closed to all others.

A directory is used only if it is a real one (no symbolic link), belongs to this user and is closed to all others. It is
opened once, checked as it is open, and used through its descriptor, so that nobody can exchange it in between.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["is_ours", "make_private", "opened"]


@contextmanager
def opened(directory: Path, *, looking: bool = False) -> Generator[int]:
    """A descriptor of a directory that is ours alone. OSError with the reason where it is not.

    Root may be `looking` into those of others.
    """
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not is_ours(status, looking=looking):
            raise PermissionError(errno.EPERM, "the directory belongs to somebody else", str(directory))
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise PermissionError(errno.EPERM, f"the directory has mode {mode:04o}, it must be 0700", str(directory))
        yield descriptor
    finally:
        os.close(descriptor)


def is_ours(status: os.stat_result, *, looking: bool = False) -> bool:
    """Whether a file belongs to this user; root may be `looking` at those of others."""
    user = os.geteuid()
    return status.st_uid == user or (looking and user == 0)


def make_private(directory: Path, depth: int) -> None:
    """Make the last `depth` parts of the path, closed to others, and check those that are there."""
    if depth > 1:
        make_private(directory.parent, depth - 1)
    with suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    with opened(directory):
        pass
