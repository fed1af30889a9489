"""`TrustAnchors`: whom to trust. The system's roots, files, or given certificates; read when first needed."""

from __future__ import annotations

import os
import re
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from moorings import errors
from moorings.certificates.libraries import require
from moorings.certificates.pem import split_pem
from moorings.certificates.store_folders import StoreFolder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from moorings.certificates.der import NameKey
    from moorings.certificates.parsed import ParsedCertificate

__all__ = ["TrustAnchors"]

#: Certificates in a directory have such names (openssl-rehash(1)); OpenSSL reads no others.
_HASHED_NAME: Final = re.compile(r"[0-9a-f]{8}\.[0-9]+\Z")


class TrustAnchors:
    """A set of certificates that end a chain: each counts as a root, self-signed or not.

    `files` hold PEM or DER, `directories` are laid out by `openssl rehash`, `certificates` are DER or PEM octets. All
    are read when the first chain is validated, and kept by this object; make a new one to read them again. Objects may
    be used by several threads. Where something cannot be read, the first use raises: the OSError of the file, or
    E_INVALIDARG 0x80070057 for octets that hold no certificate.
    """

    __slots__ = ("_by_subject", "_certificates", "_directories", "_files", "_is_system", "_lock", "_skips_broken")

    def __init__(
        self,
        *,
        files: Iterable[str | os.PathLike[str]] = (),
        directories: Iterable[str | os.PathLike[str]] = (),
        certificates: Iterable[bytes] = (),
    ) -> None:
        self._files = tuple(os.fspath(path) for path in files)
        self._directories = tuple(os.fspath(path) for path in directories)
        self._certificates = tuple(bytes(data) for data in certificates)
        self._is_system = self._skips_broken = False
        self._by_subject: dict[NameKey, list[ParsedCertificate]] | None = None
        self._lock = threading.Lock()

    @classmethod
    def system(cls, *, certificates: Iterable[bytes] = ()) -> TrustAnchors:
        """The roots that OpenSSL trusts on this machine, those in the user's store Root, and *certificates*.

        SSL_CERT_FILE and SSL_CERT_DIR stand in for the paths that OpenSSL was built with (openssl-env(7)). What does
        not exist there, or is no certificate, is passed over, as OpenSSL does.
        """
        paths = ssl.get_default_verify_paths()
        file = os.environ.get(paths.openssl_cafile_env) or paths.openssl_cafile
        places = os.environ.get(paths.openssl_capath_env) or paths.openssl_capath
        anchors = cls(
            files=[file] if Path(file).is_file() else (),
            directories=[place for place in places.split(os.pathsep) if place and Path(place).is_dir()],
            certificates=(*(entry.certificate for entry in StoreFolder("Root").entries()), *certificates),
        )
        anchors._is_system = anchors._skips_broken = True
        return anchors

    @property
    def is_system(self) -> bool:
        """Whether the roots of the system are among these."""
        return self._is_system

    @property
    def files(self) -> Sequence[str]:
        """The files that are read, as text for `load_verify_locations`."""
        return self._files

    @property
    def directories(self) -> Sequence[str]:
        """The directories that are read."""
        return self._directories

    def ders(self) -> list[bytes]:
        """All certificates in DER, in the order in which they were found."""
        return [anchor.der for found in self._index().values() for anchor in found]

    def named(self, subject: NameKey) -> Sequence[ParsedCertificate]:
        """The anchors with that subject."""
        return self._index().get(subject, ())

    def contains(self, certificate: ParsedCertificate) -> bool:
        """Whether this very certificate is an anchor."""
        return certificate in self.named(certificate.subject_key)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Make *context* trust these and, where it trusted nobody yet, nobody else.

        Errors: the OSError of a file; E_INVALIDARG 0x80070057 where there is no certificate.
        """
        places: list[tuple[str, dict[str, Any]]] = [(path, {"cafile": path}) for path in self._files]
        places += [(path, {"capath": path}) for path in self._directories]
        for data in self._certificates:
            places += [("a trusted certificate", {"cadata": der}) for der in split_pem(data)]
        for where, place in places:
            try:
                context.load_verify_locations(**place)
            except ssl.SSLError as error:
                # Before OSError, which it is, too: its number is OpenSSL's.
                if not self._skips_broken:
                    raise errors.invalid_argument(f"{where} has no certificate") from error
            except OSError as error:
                if not self._skips_broken:
                    raise errors.from_os_error(error, f"the trusted certificates in {where} cannot be read") from error

    def __repr__(self) -> str:
        kind = "the system's roots, " if self._is_system else ""
        return (
            f"<TrustAnchors: {kind}{len(self._files)} files, {len(self._directories)} directories, "
            f"{len(self._certificates)} certificates>"
        )

    # -- reading ------------------------------------------------------------------------------------------------------

    def _index(self) -> dict[NameKey, list[ParsedCertificate]]:
        with self._lock:
            if self._by_subject is None:
                self._by_subject = self._read()
            return self._by_subject

    def _read(self) -> dict[NameKey, list[ParsedCertificate]]:
        require("reading trusted certificates")
        from moorings.certificates.parsed import MalformedCertificateError, parse  # noqa: PLC0415 (needs cryptography)

        found: dict[NameKey, list[ParsedCertificate]] = {}
        seen: set[bytes] = set()
        for where, data in self._sources():
            for der in split_pem(data):
                if der in seen:
                    continue
                seen.add(der)
                try:
                    anchor = parse(der)
                except MalformedCertificateError as error:
                    if self._skips_broken:
                        continue
                    raise errors.invalid_argument(f"{where}: {error}") from error
                found.setdefault(anchor.subject_key, []).append(anchor)
        return found

    def _sources(self) -> Iterator[tuple[str, Any]]:
        for path in self._files:
            yield path, self._octets(Path(path))
        for place in self._directories:
            for entry in sorted(Path(place).iterdir()):
                if _HASHED_NAME.match(entry.name):
                    yield str(entry), self._octets(entry)
        for data in self._certificates:
            yield "a trusted certificate", data

    def _octets(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            if self._skips_broken:
                return b""
            raise errors.from_os_error(error, f"the trusted certificates in {path} cannot be read") from error
