"""Plain lines on standard output; coloured on a terminal only."""

from __future__ import annotations

import os
import sys

from moorings.cli.output import drop, on_terminal

_COLOURS = {"server": "32", "client": "36", "browser": "35", "note": "33", "FAILED": "31;1", "title": "1"}
_WIDTH = 7


class Console:
    """Writes lines that say who did what. Colours follow https://no-color.org.

    When the reader of the output goes, as `head` does, further lines are dropped and `gone` turns True. A `quiet`
    console drops all of them.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.gone = False
        self._quiet = quiet
        self._coloured = on_terminal() and not os.environ.get("NO_COLOR")

    def title(self, text: str) -> None:
        """A heading, with an empty line before it."""
        self._write("\n" + self._paint("title", text))

    def line(self, text: str = "") -> None:
        """A line of its own."""
        self._write(text)

    def say(self, who: str, text: str) -> None:
        """What the server, or the client, did."""
        self._write(f"  {self._paint(who, who.ljust(_WIDTH))} {text}")

    def _paint(self, style: str, text: str) -> str:
        code = _COLOURS.get(style)
        return f"\x1b[{code}m{text}\x1b[0m" if self._coloured and code else text

    def _write(self, text: str) -> None:
        if self.gone or self._quiet:
            return
        try:
            print(text, flush=True)
        except BrokenPipeError:
            self.gone = True
            drop(sys.stdout)
