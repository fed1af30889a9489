"""The pure twin of `_records.pyx`: sessions go on through the standard library's `ssl`."""

from __future__ import annotations

from typing import Any

__all__ = ["FAILED", "Records", "records_of", "status"]

FAILED = -1000000

#: Nothing that exists here.
Records = Any


def records_of(_session: Any) -> Any:
    """None: nobody takes the session's I/O over."""
    return None


def status() -> str:
    """Why OpenSSL's own calls are not used."""
    return "the hot modules are not compiled"
