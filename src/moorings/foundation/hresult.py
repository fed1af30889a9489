"""`HResult`, and the constants of `winrt.system.hresult`. All numbers are signed, as in `OSError.winerror`."""

from __future__ import annotations

import warnings
from typing import Final, Self, SupportsIndex

from moorings.errors import (
    E_ACCESSDENIED,
    E_BOUNDS,
    E_CHANGED_STATE,
    E_FAIL,
    E_ILLEGAL_DELEGATE_ASSIGNMENT,
    E_ILLEGAL_METHOD_CALL,
    E_ILLEGAL_STATE_CHANGE,
    E_INVALIDARG,
    E_NOINTERFACE,
    E_NOTIMPL,
    E_OUTOFMEMORY,
    S_OK,
    hresult_name,
    signed,
    unsigned,
)
from moorings.foundation.projection import check_int, final

__all__ = [
    "CLASS_E_CLASSNOTAVAILABLE",
    "CO_E_NOTINITIALIZED",
    "E_ACCESSDENIED",
    "E_BOUNDS",
    "E_CHANGED_STATE",
    "E_FAIL",
    "E_ILLEGAL_DELEGATE_ASSIGNMENT",
    "E_ILLEGAL_METHOD_CALL",
    "E_ILLEGAL_STATE_CHANGE",
    "E_INVALIDARG",
    "E_NOINTERFACE",
    "E_NOTIMPL",
    "E_OUTOFMEMORY",
    "HResult",
    "PYWINRT_E_UNRAISABLE_PYTHON_EXCEPTION",
    "REGDB_E_CLASSNOTREG",
    "RPC_E_WRONG_THREAD",
    "S_OK",
    "WIN32_ERROR_CANCELLED",
    "WIN32_ERROR_FILE_NOT_FOUND",
]

CLASS_E_CLASSNOTAVAILABLE: Final = signed(0x80040111)
CO_E_NOTINITIALIZED: Final = signed(0x800401F0)
REGDB_E_CLASSNOTREG: Final = signed(0x80040154)
RPC_E_WRONG_THREAD: Final = signed(0x8001010E)
WIN32_ERROR_FILE_NOT_FOUND: Final = signed(0x80070002)
WIN32_ERROR_CANCELLED: Final = signed(0x800704C7)
PYWINRT_E_UNRAISABLE_PYTHON_EXCEPTION: Final = signed(0xA0EE4005)


@final
class HResult(int):
    """A signed 32-bit result code; negative numbers are failures. Its repr shows the usual unsigned form.

    TypeError for objects that are no integers, OverflowError outside of 32 bits signed.
    """

    __slots__ = ()

    def __new__(cls, value: SupportsIndex, /) -> Self:
        """Make an HResult of *value*."""
        return super().__new__(cls, check_int(value, 32, "value"))

    @property
    def value(self) -> int:
        """The number, as in PyWinRT 3.x. Deprecated: the HResult itself is an int."""
        warnings.warn("HResult.value is deprecated, use the HResult itself", DeprecationWarning, stacklevel=2)
        return int(self)

    def __repr__(self) -> str:
        name = hresult_name(self)
        return f"HResult(0x{unsigned(self):08X}{', ' + name if name else ''})"
