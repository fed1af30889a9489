"""The structs `Point`, `Size` and `Rect` of `Windows.Foundation`; only `PropertyValue` uses them here."""

from __future__ import annotations

from moorings.foundation.projection import final
from moorings.foundation.winrt_struct import WinRTStruct, single_field

__all__ = ["Point", "Rect", "Size"]


@final
class Point(WinRTStruct):
    """A point in two dimensions, in device-independent pixels."""

    x: float = single_field("Horizontal position.", default=0)
    y: float = single_field("Vertical position.", default=0)


@final
class Size(WinRTStruct):
    """A width and a height, in device-independent pixels."""

    width: float = single_field("Width.", default=0)
    height: float = single_field("Height.", default=0)


@final
class Rect(WinRTStruct):
    """A rectangle: its upper left corner and its size, in device-independent pixels."""

    x: float = single_field("Horizontal position of the upper left corner.", default=0)
    y: float = single_field("Vertical position of the upper left corner.", default=0)
    width: float = single_field("Width.", default=0)
    height: float = single_field("Height.", default=0)
