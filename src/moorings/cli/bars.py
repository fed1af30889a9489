"""Progress drawn with rich; `output.progress` decides whether there is a terminal to draw on."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import progress as rich_progress
from rich.text import Text

from moorings.cli.output import console, on_terminal

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from rich.console import RenderableType


#: Drawings a second.
FRAMES = 20


class Rate(rich_progress.ProgressColumn):
    """Bytes a second: lately, or from the beginning where "lately" is too short."""

    def render(self, task: rich_progress.Task) -> Text:
        """The cell."""
        speed = task.finished_speed or task.speed or (task.completed / task.elapsed if task.elapsed else 0)
        return Text(f"{speed / 1e6:,.0f} MB/s" if speed else "", style="progress.data.speed")


class Bar(rich_progress.Progress):
    """One bar, and a line of measurements below it.

    Rich draws in a thread. How far things are is looked up when it draws: telling it costs next to
    nothing, so that a program may tell of each message.
    """

    def __init__(self, text: str, total: float | None, *, unit: str, keep: bool) -> None:
        columns: list[rich_progress.ProgressColumn] = [
            rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(),
        ]
        if unit == "bytes":
            columns += [rich_progress.DownloadColumn(binary_units=True), Rate()]
        elif total is not None:
            columns += [rich_progress.MofNCompleteColumn()]
        columns.append(rich_progress.TimeElapsedColumn())
        self.amount_done = 0.0
        self.text = text
        self.note = ""
        self._only: rich_progress.TaskID | None = None
        super().__init__(
            *columns,
            console=console(error=True),
            transient=not keep,
            refresh_per_second=FRAMES,
            # While a bar is drawn, rich prints above it what goes to standard output; into a pipe it must go as it is.
            redirect_stdout=on_terminal(sys.stdout),
        )
        self._only = self.add_task(text, total=total)

    def get_renderables(self) -> Iterable[RenderableType]:
        """What is drawn: the bar as it stands now, and the line below it."""
        if self._only is not None:
            self.update(self._only, completed=self.amount_done, description=self.text)
        yield from super().get_renderables()
        if self.note:
            yield Text(self.note, no_wrap=True, overflow="ellipsis")


class _Handle:
    """`output.Progress` of a bar, without the rest of rich's interface."""

    def __init__(self, view: Bar) -> None:
        self._view = view

    def advance(self, amount: float = 1) -> None:
        self._view.amount_done += amount

    def describe(self, text: str) -> None:
        self._view.text = text

    def note(self, text: str) -> None:
        self._view.note = text


@contextmanager
def bar(text: str, total: float | None, *, unit: str, keep: bool) -> Generator[_Handle]:
    """A bar while the block runs."""
    view = Bar(text, total, unit=unit, keep=keep)
    try:  # not `with view`: Ctrl-C while it starts would leave the cursor hidden
        view.start()
        yield _Handle(view)
    finally:
        view.stop()
