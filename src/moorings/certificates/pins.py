"""Pins: the SHA-256 of a public key, by which a program knows a server whatever the authorities say.

The digest is that of the SubjectPublicKeyInfo in DER, written in base64, as in RFC 7469 section 2.4, curl and OkHttp.
It stays the same when a certificate is renewed with the same key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from moorings import errors

if TYPE_CHECKING:
    from moorings.certificates.parsed import ParsedCertificate

__all__ = ["PINS_LIMIT", "check_pins", "pin_of"]

#: Pins that one connection may have; more than a few are a mistake.
PINS_LIMIT: Final = 64
#: How others begin a pin: curl, and OkHttp.
_PREFIXES: Final = ("sha256//", "sha256/")


def pin_of(certificate: ParsedCertificate) -> str:
    """The pin of a certificate's key: 44 characters."""
    return base64.b64encode(hashlib.sha256(certificate.parts.public_key_info).digest()).decode("ascii")


def check_pins(value: Any, what: str = "pin_sha256") -> tuple[str, ...]:
    """Pins as `pin_of` writes them: one, or several of which one must fit; () for None.

    Errors: TypeError; E_INVALIDARG for what is no base64 of 32 octets, and for more than PINS_LIMIT.
    """
    if value is None:
        return ()
    given: tuple[Any, ...] = (value,) if isinstance(value, str) else ()
    if not given:
        if isinstance(value, (bytes, bytearray, memoryview, os.PathLike)) or not isinstance(value, Iterable):
            raise TypeError(f"{what} takes pins as str, one or several, not {type(cast('object', value)).__name__}")
        given = tuple(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if len(given) > PINS_LIMIT:
        raise errors.invalid_argument(f"{what}: {len(given)} pins are more than {PINS_LIMIT}")
    return tuple(_check(pin, what) for pin in given)


def _check(pin: Any, what: str) -> str:
    if not isinstance(pin, str):
        raise TypeError(f"{what}: a pin is a str, not {type(pin).__name__}")
    text = pin
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    # A text that stands for the same octets in another way is refused, too: somebody has mistyped it.
    if len(digest) != hashlib.sha256().digest_size or base64.b64encode(digest).decode("ascii") != text:
        raise errors.invalid_argument(
            f"{what}: {pin!r} is no pin, which is the base64 of a SHA-256 digest; Certificate.pin_sha256 has it"
        )
    return text
