"""Fuzz target: any text is a host name with stable forms, or refused with E_INVALIDARG."""

from __future__ import annotations

from moorings import errors
from moorings.names.host_text import parse_host_text


def one_input(data: bytes) -> None:
    """Take octets as UTF-8; what is no UTF-8 becomes lone surrogates, which a str can hold as well."""
    text = data.decode("utf-8", errors="surrogateescape")
    try:
        parsed = parse_host_text(text)
    except OSError as error:
        if getattr(error, "winerror", None) != errors.E_INVALIDARG:
            raise
        return
    again = parse_host_text(parsed.canonical)
    if again.canonical != parsed.canonical or again.type is not parsed.type or not parsed.canonical.isascii():
        raise AssertionError(f"{text!r} gives {parsed}, which gives {again}")
