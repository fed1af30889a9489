"""What `winrt.system` has, gathered from the modules of this room."""

from __future__ import annotations

import warnings
from typing import Any

from moorings.foundation import scalars
from moorings.foundation.hresult import HResult
from moorings.foundation.projection import Object
from moorings.foundation.projection import ObjectStatic as Object_Static
from moorings.foundation.winrt_array import Array

__all__ = ["Array", "HResult", "Object", "Object_Static", "__getattr__"]


def __getattr__(name: str) -> Any:
    if name == "Buffer":
        warnings.warn("winrt.system.Buffer is deprecated, use ReadableBuffer", DeprecationWarning, stacklevel=2)
        return scalars.ReadableBuffer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
