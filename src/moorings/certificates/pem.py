"""Certificates in text: the PEM form of RFC 7468, and DER beside it."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

__all__ = ["looks_like_pem", "split_pem", "to_pem"]

_MARK: Final = b"-----BEGIN "
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]*)-----END \1-----")
_CERTIFICATE: Final = b"CERTIFICATE"
#: Other names of the same.
_LABELS: Final = {b"X509 CERTIFICATE": _CERTIFICATE}


def looks_like_pem(data: bytes) -> bool:
    """Whether the octets have a PEM block, of whatever kind."""
    return _MARK in data


def split_pem(data: bytes, label: bytes = _CERTIFICATE) -> list[bytes]:
    """The certificates in *data* as DER: each CERTIFICATE block of PEM, or *data* itself where it has no PEM block.
    Or what else *label* names, such as "X509 CRL".

    Nothing is checked but the base64 of a block, which is passed over where it is none.
    """
    if not looks_like_pem(data):
        return [data] if data else []
    found: list[bytes] = []
    for block in _BLOCK.finditer(data):
        if _LABELS.get(block[1], block[1]) != label:
            continue
        try:
            found.append(base64.b64decode(b"".join(block[2].split()), validate=True))
        except binascii.Error:
            continue
    return found


def to_pem(der: bytes) -> bytes:
    """A certificate in PEM."""
    text = base64.b64encode(der)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join((b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""))
