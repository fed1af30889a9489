"""`Windows.Foundation.GuidHelper`."""

from __future__ import annotations

import uuid
from typing import ClassVar

from moorings.foundation.projection import check_guid, final, not_constructible

__all__ = ["GuidHelper"]


@final
@not_constructible
class GuidHelper:
    """Static helpers for `uuid.UUID`, the Python form of a GUID."""

    #: The GUID of all zeros.
    empty: ClassVar[uuid.UUID] = uuid.UUID(int=0)

    @staticmethod
    def create_new_guid() -> uuid.UUID:
        """Return a new random GUID (version 4)."""
        return uuid.uuid4()

    @staticmethod
    def equals(target: uuid.UUID, value: uuid.UUID, /) -> bool:
        """Return whether both GUIDs are the same."""
        return check_guid(target, "target") == check_guid(value, "value")
