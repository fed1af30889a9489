"""`RevocationCheck`: that a TLS handshake asks whether the server's certificate was revoked, and whom."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from moorings import errors
from moorings.certificates.pem import split_pem

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RevocationCheck", "as_revocation"]

#: Octets of one file of revocation lists, in DER or PEM.
CRL_FILE_BYTES_LIMIT: Final = 64 * 1024 * 1024
#: What stands behind BEGIN in PEM.
CRL_LABEL: Final = b"X509 CRL"


class RevocationCheck:
    """Whom a TLS client asks whether a server's certificate was revoked. Nothing is fetched from the network.

    The server is always asked for its staple (the OCSP answer that it sends along, RFC 6066 section 8). `files` are
    lists (CRL) in PEM or DER, read again when they have changed; `crls` are lists as octets. What neither the staple
    nor a list of its issuer answers for is REVOCATION_INFORMATION_MISSING, an answer that cannot be used is
    REVOCATION_FAILURE; both may be ignored. REVOKED cannot. With `staple_required` a missing staple is
    REVOCATION_INFORMATION_MISSING even where a list has answered. Lists also speak about the authorities between.

    Errors: TypeError. A file that cannot be read fails the handshake with its OSError.
    """

    __slots__ = ("_crls", "_files", "_read", "staple_required")

    def __init__(
        self,
        *,
        files: Iterable[str | os.PathLike[str]] = (),
        crls: Iterable[bytes] = (),
        staple_required: bool = False,
    ) -> None:
        if isinstance(files, (str, bytes, os.PathLike)) or isinstance(crls, (str, bytes)):
            raise TypeError("files and crls take several, such as ['issuer.crl']")
        self._files = tuple(os.fspath(path) for path in files)
        self._crls = [list_ for data in crls for list_ in split_pem(bytes(data), CRL_LABEL)]
        self._read: dict[str, tuple[tuple[int, ...], list[bytes]]] = {}
        #: Whether the server must staple an answer.
        self.staple_required = bool(staple_required)

    def lists(self) -> Sequence[bytes]:
        """All lists in DER, as they are now. Errors: the OSError of a file; E_INVALIDARG for one without any list."""
        found = list(self._crls)
        for path in self._files:
            found += self._lists_of(path)
        return found

    def _lists_of(self, path: str) -> list[bytes]:
        try:
            with Path(path).open("rb") as file:
                status = os.fstat(file.fileno())
                state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
                kept = self._read.get(path)
                if kept is not None and kept[0] == state:
                    return kept[1]
                data = file.read(CRL_FILE_BYTES_LIMIT + 1)
        except OSError as error:
            raise errors.from_os_error(error, f"the revocation list {path} cannot be read: {error.strerror}") from error
        if len(data) > CRL_FILE_BYTES_LIMIT:
            raise errors.invalid_argument(f"the revocation list {path} has more than {CRL_FILE_BYTES_LIMIT} octets")
        found = split_pem(data, CRL_LABEL)
        if not found:
            raise errors.invalid_argument(f"{path} has no revocation list")
        self._read[path] = (state, found)
        return found

    def __repr__(self) -> str:
        needed = ", staple required" if self.staple_required else ""
        return f"<RevocationCheck: {len(self._files)} files, {len(self._crls)} lists{needed}>"


def as_revocation(value: Any, what: str) -> RevocationCheck | None:
    """A RevocationCheck: one; True (the server must staple); a path to a list, or several; None or False for none.

    Errors: TypeError.
    """
    if value is None or value is False:
        return None
    if value is True:
        return RevocationCheck()
    if isinstance(value, RevocationCheck):
        return value
    if isinstance(value, (str, os.PathLike)):
        return RevocationCheck(files=[cast("str", value)])
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
        paths: tuple[Any, ...] = tuple(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        if all(isinstance(path, (str, os.PathLike)) for path in paths):
            return RevocationCheck(files=paths)
    kind: str = type(cast("object", value)).__name__
    raise TypeError(f"{what} takes a RevocationCheck, True, or paths of revocation lists, not {kind}")
