from __future__ import annotations

from moorings.foundation.geometry import Point, Rect, Size


def test_fields_are_32_bit_floats() -> None:
    assert Point(1, 2) == (1.0, 2.0)
    assert Size(width=3).height == 0.0
    assert Rect(1, 2, 3, 4).unpack() == (1.0, 2.0, 3.0, 4.0)
    assert Point(0.1).x != 0.1
