from __future__ import annotations

import pytest

from moorings.foundation import scalars, system
from moorings.foundation.projection import Object


def test_object_static_is_the_metaclass() -> None:
    assert isinstance(Object, system.Object_Static)


def test_the_deprecated_name_warns() -> None:
    with pytest.warns(DeprecationWarning, match="use ReadableBuffer"):
        assert system.Buffer is scalars.ReadableBuffer
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        system.Nothing  # noqa: B018
