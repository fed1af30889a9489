"""What a program asks of TLS, and what came of it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from moorings import errors
from moorings.sockets.enums import SocketProtectionLevel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moorings.certificates.certificate import Certificate
    from moorings.certificates.enums import ChainValidationResult
    from moorings.certificates.revocation_check import RevocationCheck
    from moorings.certificates.trust import TrustAnchors

__all__ = [
    "DEFAULT_TLS",
    "HANDSHAKE_TIMEOUT",
    "ServerTlsSettings",
    "TlsFacts",
    "TlsSettings",
    "as_anchors",
    "as_certificate",
    "as_key_log",
    "check_alpn",
    "check_transferable",
    "facts_of",
    "level_of_version",
]

#: Bytes of a protocol name in ALPN (RFC 7301 section 3.1).
ALPN_NAME_LIMIT = 255
#: Bytes of all names together.
ALPN_LIST_LIMIT = 65535
#: Seconds that a listener gives a client for its handshake.
HANDSHAKE_TIMEOUT = 60.0


class TlsSettings(NamedTuple):
    """What StreamSocketControl has beside WinRT's members."""

    anchors: TrustAnchors | None = None
    """Whom to trust; None is the system."""
    server_name: str = ""
    """The name to ask for and to check; "" is the host that was connected to."""
    alpn: tuple[str, ...] = ()
    """Application protocols, the best one first."""
    pins: tuple[str, ...] = ()
    """Keys of which the server, or an authority above it, must have one, as `certificates.pins` writes them."""
    revocation: RevocationCheck | None = None
    """Whom to ask whether the server's certificate was revoked; None asks nobody."""
    key_log: str = ""
    """The file that gets the secrets of the session; "" for none."""
    transferable: bool = False
    """Whether the connection may move to another process later."""


#: What all connections share that ask for nothing.
DEFAULT_TLS = TlsSettings()


class TlsFacts(NamedTuple):
    """What is known about a handshake, whether it went well or not."""

    level: SocketProtectionLevel = SocketProtectionLevel.PLAIN_SOCKET
    chain: tuple[bytes, ...] = ()
    """What the peer sent, as DER, its own certificate first."""
    errors: tuple[ChainValidationResult, ...] = ()
    cipher: str = ""
    alpn: str = ""
    requested_name: str = ""
    resumed: bool = False


@dataclass(slots=True)
class ServerTlsSettings:
    """What StreamSocketListenerControl has beside WinRT's members."""

    certificate: Certificate | None = None
    client_anchors: TrustAnchors | None = None
    alpn: tuple[str, ...] = ()
    transferable: bool = False
    handshake_timeout: float = HANDSHAKE_TIMEOUT
    key_log: str = ""


def facts_of(session: Any, *, asked_for_certificate: bool = True) -> TlsFacts:
    """What a session says of itself after its handshake. Servers ask only some clients for certificates."""
    return TlsFacts(
        level_of_version(session.version()),
        tuple(session.peer_chain()) if asked_for_certificate else (),
        (),
        session.cipher(),
        session.alpn(),
        session.requested_name(),
        session.resumed(),
    )


_LEVELS = {
    "TLSv1": SocketProtectionLevel.TLS10,
    "TLSv1.1": SocketProtectionLevel.TLS11,
    "TLSv1.2": SocketProtectionLevel.TLS12,
    "TLSv1.3": SocketProtectionLevel.TLS13,
}


def level_of_version(version: str) -> SocketProtectionLevel:
    """The level that names a version."""
    return _LEVELS.get(version, SocketProtectionLevel.PLAIN_SOCKET)


def check_alpn(names: Iterable[str]) -> tuple[str, ...]:
    """Names for ALPN. Errors: TypeError; E_INVALIDARG for a name that is empty, too long, or not ASCII."""
    if isinstance(names, str):
        raise TypeError("alpn takes several names, such as ('h2', 'http/1.1')")
    found = tuple(names)
    for name in found:
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"a protocol name is a str, not {type(name).__name__}")
        if not name or not name.isascii() or len(name) > ALPN_NAME_LIMIT:
            raise errors.invalid_argument(f"alpn: {name!r} is no protocol name of 1 to {ALPN_NAME_LIMIT} ASCII letters")
    if sum(len(name) + 1 for name in found) > ALPN_LIST_LIMIT:
        raise errors.invalid_argument(f"alpn: the names have more than {ALPN_LIST_LIMIT} bytes")
    return found


def check_transferable(value: object) -> bool:
    """Whether a connection may move. Errors: ERROR_NOT_SUPPORTED where it may, and the extra `tls` is missing."""
    if value:
        from moorings.certificates.libraries import require  # noqa: PLC0415 (only those who use TLS pay for it)

        require("moving a TLS connection")
    return bool(value)


def as_certificate(value: Any, what: str) -> Certificate | None:
    """A Certificate with its key: one, a path to a PEM file with both, or a pair of paths; None for None.

    Errors: TypeError; E_INVALIDARG where it cannot be read or has no private key; the OSError of a file.
    """
    from moorings.certificates.certificate import Certificate  # noqa: PLC0415 (needs the extra `tls`)

    if value is None:
        return None
    made: Certificate
    paths: list[Any] = [value] if isinstance(value, (str, os.PathLike)) else []
    if isinstance(value, tuple):
        paths = [*value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, Certificate):
        made = value
    elif len(paths) in {1, 2}:
        made = Certificate.from_files(*paths)
    else:
        kind: str = type(cast("object", value)).__name__
        raise TypeError(f"{what} takes a Certificate, a path, or a pair of paths, not {kind}")
    if not made.has_private_key:
        raise errors.invalid_argument(f"{what}: the certificate has no private key; give its key file, too")
    return made


def as_anchors(value: Any, what: str) -> TrustAnchors | None:
    """Whom to trust: TrustAnchors, a path to a file or directory, octets in PEM or DER; None for None (the system).

    Errors: TypeError; FileNotFoundError where there is nothing at the path.
    """
    from moorings.certificates.trust import TrustAnchors  # noqa: PLC0415 (only those who use TLS pay for it)

    if value is None or isinstance(value, TrustAnchors):
        return value
    if isinstance(value, (bytes, bytearray)):
        return TrustAnchors(certificates=[bytes(value)])
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{what} takes TrustAnchors, a path, or octets in PEM, not {type(value).__name__}")
    path = Path(value)  # pyright: ignore[reportUnknownArgumentType]
    if not path.exists():
        raise errors.make(errors.E_FILE_NOT_FOUND, f"{what}: there is no {path}")
    return TrustAnchors(directories=[path]) if path.is_dir() else TrustAnchors(files=[path])


#: The environment variable that names a key log file, for browsers, curl and Python's own default contexts.
_KEY_LOG_VARIABLE = "SSLKEYLOGFILE"


def as_key_log(value: Any) -> str:
    """The path of a key log file: a path, or True for what SSLKEYLOGFILE names; "" for None, False, "" and without it.

    As Python's own, True does not look at the environment under `python -E` and `-I`. Errors: TypeError; E_INVALIDARG
    for what is no path.
    """
    if value is None or value is False:
        return ""
    if value is True:
        return "" if sys.flags.ignore_environment else os.environ.get(_KEY_LOG_VARIABLE, "")
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"key_log takes a path or True, not {type(value).__name__}")
    path: Any = os.fspath(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if not isinstance(path, str):
        raise TypeError("key_log takes a path as str")
    if "\0" in path:
        raise errors.invalid_argument(f"key_log: {path!r} is no path")
    return path
