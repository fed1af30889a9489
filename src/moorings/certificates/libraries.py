"""The compiled packages of the extra `tls`: imported when needed; an error names the extra where they are missing."""

from __future__ import annotations

from importlib import import_module

from moorings import errors

__all__ = ["TLS_EXTRA", "require"]

#: What installs the packages of this room.
TLS_EXTRA = "pip install 'moorings[tls]'"


def require(what: str, package: str = "cryptography") -> None:
    """Make sure that *package* can be imported; *what* says who needs it.

    Errors: ERROR_NOT_SUPPORTED 0x80070032, which names the extra.
    """
    try:
        import_module(package)
    except ImportError as error:
        missing = errors.not_supported(what, f"the package {package} ({TLS_EXTRA})")
        missing.__cause__ = error
        raise missing from error
