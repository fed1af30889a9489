"""What a loop watches, for whoever looks from outside. Not on the hot path; the hub keeps no book for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moorings.engine.hub import Hub, Source
    from moorings.foundation.home import Home


def sources_of(home: Home) -> list[Source]:
    """All that has a descriptor in the hub of a home: streams, open or closing, and listeners. Home thread only.

    Some of them may end while the caller goes through them: `source.hub` is None then.
    """
    hub: Hub | None = home.engine
    return [] if hub is None else [source for source in hub.slots if source is not None]
