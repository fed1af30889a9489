"""`winrt.runtime`: COM apartments, which Linux does not have. The functions check their arguments and do no more.

Source: PyWinRT `winrt.runtime`.
"""

from __future__ import annotations

from moorings.foundation.projection import OpenEnum, check_enum

__all__ = ["ApartmentType", "init_apartment", "uninit_apartment"]


class ApartmentType(OpenEnum):
    """Threading model of a COM apartment."""

    MULTI_THREADED = 0
    SINGLE_THREADED = 2


def init_apartment(apartment_type: ApartmentType, /) -> None:
    """Do nothing: every thread may use the objects of this library, whatever its apartment would be on Windows.

    On Windows blocking `get()` and `wait()` are refused in a single-threaded apartment; here they are not.
    """
    check_enum(apartment_type, ApartmentType, "apartment_type")


def uninit_apartment() -> None:
    """Do nothing, as `init_apartment` did nothing."""
