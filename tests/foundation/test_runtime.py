from __future__ import annotations

import pytest

from moorings.foundation.runtime import ApartmentType, init_apartment, uninit_apartment


def test_apartments_are_accepted_and_checked() -> None:
    for kind in (ApartmentType.MULTI_THREADED, ApartmentType.SINGLE_THREADED, 2):
        init_apartment(kind)  # type: ignore[arg-type]
        uninit_apartment()
    with pytest.raises(TypeError):
        init_apartment("MULTI_THREADED")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        init_apartment(apartment_type=ApartmentType.MULTI_THREADED)  # type: ignore[call-arg]
