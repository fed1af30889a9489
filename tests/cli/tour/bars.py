"""Progress that remembers what it was told."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    import pytest


class RecordedBar:
    def __init__(self, text: str, total: float | None, options: dict[str, Any]) -> None:
        self.text = text
        self.total = total
        self.options = options
        self.done = 0.0
        self.notes: list[str] = []

    def advance(self, amount: float = 1) -> None:
        self.done += amount

    def describe(self, text: str) -> None:
        self.text = text

    def note(self, text: str) -> None:
        self.notes.append(text)


def record_progress(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list[RecordedBar]:
    """All progress that `module` shows from now on."""
    bars: list[RecordedBar] = []

    @contextmanager
    def recorded(text: str, total: float | None = None, **options: Any) -> Iterator[RecordedBar]:
        bars.append(RecordedBar(text, total, options))
        yield bars[-1]

    monkeypatch.setattr(module, "progress", recorded)
    return bars
