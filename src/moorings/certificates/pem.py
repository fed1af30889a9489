"""Certificates in text: the PEM form of RFC 7468, and DER beside it."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

__all__ = ["looks_like_pem", "split_pem", "to_pem"]

_MARK: Final = b"-----BEGIN "
_BLOCK: Final = re.compile(
    rb"-----BEGIN (?:X509 )?CERTIFICATE-----\s*([A-Za-z0-9+/=\s]*)-----END (?:X509 )?CERTIFICATE-----"
)


def looks_like_pem(data: bytes) -> bool:
    """Whether the octets have a PEM block, of whatever kind."""
    return _MARK in data


def split_pem(data: bytes) -> list[bytes]:
    """The certificates in *data* as DER: each CERTIFICATE block of PEM, or *data* itself where it has no PEM block.

    Nothing is checked but the base64 of a block, which is passed over where it is none.
    """
    if not looks_like_pem(data):
        return [data] if data else []
    found: list[bytes] = []
    for block in _BLOCK.finditer(data):
        try:
            found.append(base64.b64decode(b"".join(block[1].split()), validate=True))
        except binascii.Error:
            continue
    return found


def to_pem(der: bytes) -> bytes:
    """A certificate in PEM."""
    text = base64.b64encode(der)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join((b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""))
