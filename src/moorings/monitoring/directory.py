"""Where the sockets of monitored programs stand, and who may put something there.

A directory is used only if it is a real one (no symbolic link), belongs to this user and is closed to all others. It is
opened once, checked as it is open, and used through its descriptor, so that nobody can exchange it in between, and so
that its path may be longer than the 108 bytes of a socket's address.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from moorings.foundation.private_directory import is_ours, make_private, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Monitors that one process may have open in one directory.
MONITOR_LIMIT = 64
#: Connections that wait until the program looks at them.
CLIENT_QUEUE = 8

_NAME = re.compile(r"([1-9][0-9]{0,9})-([0-9]{1,4})\.sock", re.ASCII)
_FALLBACK = "/tmp"


class Place(NamedTuple):
    """The socket of one program in a directory."""

    path: Path
    pid: int


def usual_directories() -> list[Path]:
    """Where programs of this user listen: the first of these that can be used."""
    found: list[Path] = []
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and os.path.isdir(runtime):
        found.append(Path(runtime, "moorings", "monitor"))
    found.append(Path(_FALLBACK, f"moorings-{os.getuid()}", "monitor"))
    return found


def open_listener(directory: Path | None) -> tuple[socket.socket, Path]:
    """A listening socket of mode 0600 in `directory` (None: the usual one), and its path.

    Errors: OSError when there is no place for it.
    """
    if directory is not None:
        return _listen_in(directory, 1)
    *preferred, last = usual_directories()
    for place in preferred:
        with suppress(OSError):
            return _listen_in(place, 2)
    return _listen_in(last, 2)


def _listen_in(directory: Path, depth: int) -> tuple[socket.socket, Path]:
    directory = Path(os.path.abspath(directory))
    make_private(directory, depth)
    with opened(directory) as descriptor:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The file gets the mode that the socket has when it is bound, less the umask.
            os.fchmod(listening.fileno(), 0o600)
            path = directory / _bind(listening, descriptor)
            try:
                listening.listen(CLIENT_QUEUE)
                listening.setblocking(False)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        except BaseException:
            listening.close()
            raise
        return listening, path


def _bind(listening: socket.socket, directory: int) -> str:
    """Bind to the first free name of this process; the name."""
    for number in range(MONITOR_LIMIT):
        name = f"{os.getpid()}-{number}.sock"
        try:
            listening.bind(f"/proc/self/fd/{directory}/{name}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        return name
    raise OSError(errno.EADDRINUSE, f"this process has {MONITOR_LIMIT} monitors")


def places(directory: Path) -> Iterator[Place]:
    """The sockets in a directory, by process. OSError when it is not there, or not ours alone."""
    with opened(directory, looking=True) as descriptor:
        names = sorted(os.listdir(f"/proc/self/fd/{descriptor}"))
    for name in names:
        match = _NAME.fullmatch(name)
        if match is not None:
            yield Place(directory / name, int(match[1]))


def connect(client: socket.socket, place: Place) -> int:
    """Start to connect to a place; the error number as `connect_ex` gives it."""
    with opened(place.path.parent, looking=True) as descriptor:
        status = os.stat(place.path.name, dir_fd=descriptor, follow_symlinks=False)
        if not stat.S_ISSOCK(status.st_mode) or not is_ours(status, looking=True):
            return errno.ENOTSOCK
        return client.connect_ex(f"/proc/self/fd/{descriptor}/{place.path.name}")


def remove_if_dead(place: Place) -> bool:
    """Remove the socket of a program that refuses and is gone; True when it is gone."""
    try:
        os.kill(place.pid, 0)
    except ProcessLookupError:
        # Not where root only looks into somebody else's directory.
        with suppress(OSError), opened(place.path.parent) as descriptor:
            os.unlink(place.path.name, dir_fd=descriptor)
        return True
    except OSError:
        return False  # somebody else's process has the number now
    return False
