"""Writing the secrets of TLS sessions to a file, for Wireshark and its like. Whoever reads it reads the connections.

The format is that of NSS (SSLKEYLOGFILE, draft-ietf-tls-keylogfile): one line for each secret. Nothing is written
unless a program asks for it by name. The file belongs to this user alone: it is made with mode 0600, and one that
others could read or that is somebody else's is refused.
"""

from __future__ import annotations

import errno
import os
import stat
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from moorings import errors

if TYPE_CHECKING:
    import ssl
    from collections.abc import Generator

__all__ = ["KeyLogWriter", "attach_key_log", "check_key_log"]

_MODE = 0o600
_OTHERS = 0o077


def check_key_log(path: str) -> None:
    """Make the file at `path` where there is none, and see whether it can be used.

    Errors: the OSError of the file; E_INVALIDARG for what is no file; E_ACCESSDENIED for one that others could read.
    """
    with _opened(path):
        return


def attach_key_log(context: ssl.SSLContext, path: str) -> None:
    """Let the sessions of a context of the standard library write to the log. Errors: as `check_key_log`."""
    with _opened(path) as descriptor:
        # Through the descriptor: it is this very file then, with this mode, whatever stands at the path by now.
        context.keylog_filename = f"/proc/self/fd/{descriptor}"


class KeyLogWriter:
    """The callback for contexts of pyOpenSSL. Errors of making one: as `check_key_log`."""

    __slots__ = ("__weakref__", "_descriptor")

    def __init__(self, path: str) -> None:
        with _opened(path) as descriptor:
            self._descriptor = os.dup(descriptor)
        weakref.finalize(self, os.close, self._descriptor)

    def __call__(self, _connection: Any, line: bytes) -> None:
        with suppress(OSError):  # OpenSSL, which has called us, takes no error; a full disk ends no handshake
            os.write(self._descriptor, line + b"\n")


@contextmanager
def _opened(path: str) -> Generator[int]:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, _MODE)
    except OSError as error:
        if error.errno in {errno.ENXIO, errno.EISDIR}:
            raise errors.invalid_argument(f"key log {path}: it is no file") from error
        raise errors.from_os_error(error, f"key log {path} cannot be written: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise errors.invalid_argument(f"key log {path}: it is no file")
        if found.st_uid != os.geteuid() or found.st_mode & _OTHERS:
            reason = f"key log {path}: others could read it; whose it is and its mode (chmod 600) must keep them out"
            raise errors.make(errors.E_ACCESSDENIED, reason)
        yield descriptor
    finally:
        os.close(descriptor)
