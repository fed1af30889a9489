"""Two small answers to two threads that want the same thing at the same moment."""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Gate:
    """`lock`, which a forked child renews: there, nobody may be left to release it. Made once per module."""

    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = Lock()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.lock = Lock()


class Once:
    """A handler that two threads may want to call, and only one of them does."""

    __slots__ = ("_claims", "handler")

    def __init__(self, handler: Callable[..., object]) -> None:
        self.handler = handler
        self._claims = [True]

    def claim(self) -> bool:
        """True for the first caller, on whatever thread."""
        try:
            return self._claims.pop()
        except IndexError:
            return False
