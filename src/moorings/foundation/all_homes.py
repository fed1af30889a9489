"""The loops of this process on which objects of this library live, for whoever looks at all of them."""

# pyright: reportPrivateUsage=false
# The registry itself is for finding one home, by its loop.

from __future__ import annotations

from typing import TYPE_CHECKING

from moorings.foundation.home import registry

if TYPE_CHECKING:
    from moorings.foundation.home import Home


def live_homes() -> list[Home]:
    """Every home whose loop is not closed; from any thread."""
    with registry._lock:
        homes = list(registry._homes.values())
    return [home for home in homes if not home.dropped and not home.loop.is_closed()]
