from __future__ import annotations

from uuid import UUID

import pytest

from moorings.foundation.guid_helper import GuidHelper


def test_guids() -> None:
    first, second = GuidHelper.create_new_guid(), GuidHelper.create_new_guid()
    assert first.version == 4
    assert not GuidHelper.equals(first, second)
    assert GuidHelper.equals(first, UUID(str(first)))
    assert GuidHelper.empty == UUID(int=0)
    with pytest.raises(TypeError, match="target must be"):
        GuidHelper.equals("x", first)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot create"):
        GuidHelper()
