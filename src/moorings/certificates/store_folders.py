"""Certificate stores as folders: `MY`, `CA` and `Root` below `$XDG_DATA_HOME/moorings/certs`.

A store is a directory of mode 0700 that belongs to this user. Certificates are PEM files named by the SHA-256 of their
DER octets, `.pem`; beside one may stand its private key (`.key`, PKCS #8, mode 0600), its chain (`.chain`, PEM), and
its friendly name (`.name`, UTF-8). Every file is written under another name and then renamed, so that a reader finds
all of it or nothing. A directory or key that others may read, or that belongs to somebody else, is refused.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from moorings import errors
from moorings.foundation.private_directory import is_ours, make_private, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["STORE_NAMES", "Entry", "StoreFolder"]

#: The stores; their names are compared without case.
STORE_NAMES: Final = ("MY", "CA", "Root")
#: Certificates of one store that are looked at.
STORE_CERTIFICATES_LIMIT: Final = 4096
#: Octets of one file of a store.
STORE_FILE_BYTES_LIMIT: Final = 1024 * 1024

_CERTIFICATE: Final = re.compile(r"([0-9a-f]{64})\.pem\Z")
_KINDS: Final = (".key", ".chain", ".name", ".pem")
#: moorings, certs, and the store itself.
_OWN_PARTS: Final = 3


class Entry(NamedTuple):
    """One certificate of a store. `key` is PEM or None."""

    fingerprint: str
    certificate: bytes
    key: bytes | None
    chain: bytes
    friendly_name: str


class StoreFolder:
    """The folder of one store; it is made when something is put into it."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def path(self) -> Path:
        """Where it is, by the environment of this moment."""
        home = os.environ.get("XDG_DATA_HOME", "")
        base = Path(home) if os.path.isabs(home) else Path.home() / ".local" / "share"
        return base / "moorings" / "certs" / self.name

    def entries(self) -> Iterator[Entry]:
        """Its certificates, none where the folder is not there. Errors: OSError, E_ACCESSDENIED 0x80070005."""
        path = self.path
        if not path.is_dir():
            return
        for name in self._names(path)[:STORE_CERTIFICATES_LIMIT]:
            entry = self._entry(path, name)
            if entry is not None:
                yield entry

    def put(self, entry: Entry) -> None:
        """Write a certificate; one with the same octets is replaced, but keeps a key that the new one lacks."""
        path = self.path
        try:
            path.parents[_OWN_PARTS - 1].mkdir(mode=0o700, parents=True, exist_ok=True)
            make_private(path, _OWN_PARTS)
            with opened(path) as directory:
                # The certificate last: a key without it is never seen.
                if entry.key is not None:
                    _write(directory, entry.fingerprint + ".key", entry.key)
                if entry.chain:
                    _write(directory, entry.fingerprint + ".chain", entry.chain)
                _write(directory, entry.fingerprint + ".name", entry.friendly_name.encode())
                _write(directory, entry.fingerprint + ".pem", entry.certificate)
        except OSError as error:
            raise self._refusal(error) from error

    def rename(self, fingerprint: str, friendly_name: str) -> None:
        """Change the friendly name of a certificate; nothing happens where it is gone."""
        try:
            with opened(self.path) as directory:
                if _read(directory, fingerprint + ".pem") is not None:
                    _write(directory, fingerprint + ".name", friendly_name.encode())
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._refusal(error) from error

    def remove(self, fingerprint: str) -> bool:
        """Remove a certificate with its key; whether it was there."""
        found = False
        try:
            with opened(self.path) as directory:
                for kind in reversed(_KINDS):
                    with suppress(FileNotFoundError):
                        os.unlink(fingerprint + kind, dir_fd=directory)
                        found = found or kind == ".pem"
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._refusal(error) from error
        return found

    def _names(self, path: Path) -> list[str]:
        try:
            with opened(path) as directory:
                matches = map(_CERTIFICATE.match, sorted(os.listdir(f"/proc/self/fd/{directory}")))
        except OSError as error:
            raise self._refusal(error) from error
        return [match[1] for match in matches if match is not None]

    def _entry(self, path: Path, fingerprint: str) -> Entry | None:
        try:
            with opened(path) as directory:
                certificate, key, chain, name = (
                    _read(directory, fingerprint + kind) for kind in (".pem", ".key", ".chain", ".name")
                )
        except OSError as error:
            raise self._refusal(error) from error
        if certificate is None:
            return None  # somebody has removed it just now
        return Entry(fingerprint, certificate, key, chain or b"", (name or b"").decode(errors="replace"))

    def _refusal(self, error: OSError) -> OSError:
        reason = f"the certificate store {self.name} in {self.path} cannot be used: {error.strerror}"
        if isinstance(error, PermissionError):
            return errors.make(errors.E_ACCESSDENIED, reason)
        return errors.from_os_error(error, reason)


def _read(directory: int, name: str) -> bytes | None:
    """A file of an open directory; None where it is not there. PermissionError where others could have made it."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not is_ours(status):
            raise PermissionError(1, f"{name} is no file of this user", name)
        loose = 0o077 if name.endswith(".key") else 0o022
        if status.st_mode & loose:
            raise PermissionError(1, f"{name} has mode {stat.S_IMODE(status.st_mode):04o}, it must be 0600", name)
        data = file.read(STORE_FILE_BYTES_LIMIT + 1)
    if len(data) > STORE_FILE_BYTES_LIMIT:
        raise PermissionError(1, f"{name} has more than {STORE_FILE_BYTES_LIMIT} octets", name)
    return data


def _write(directory: int, name: str, data: bytes) -> None:
    """Write a file of an open directory, mode 0600, in one step for readers."""
    temporary = f".{name}.{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
