"""A terminal for the tests: what is written to it comes out as text."""

from __future__ import annotations

import os
import pty
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 50.0
_CURSOR = re.compile(r"\x1b\[[0-9;?]*[A-KSThl]")
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:[34][0-8]|9[0-7]|10[0-7])(?:;[0-9;]*)?m")


class Terminal:
    """The screen's end of a pseudo terminal is read by a thread: the kernel's buffer for it is small."""

    def __init__(self) -> None:
        self._screen, self.end = pty.openpty()
        self._chunks: list[bytes] = []
        self._grown = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._screen, 65536)
            except OSError:  # EIO: nobody has the other end open
                chunk = b""
            with self._grown:
                self._chunks.append(chunk)
                self._ended = not chunk
                self._grown.notify_all()
            if not chunk:
                return

    def wait_for(self, text: str) -> None:
        """Until `text` has been written."""
        with self._grown:
            assert self._grown.wait_for(lambda: self._ended or text in self.text, PATIENCE)
            assert text in self.text

    def press(self, keys: str) -> None:
        """What the user types."""
        os.write(self._screen, keys.encode())

    def finish(self) -> None:
        """Nothing more will be written."""
        if self.end >= 0:
            os.close(self.end)
            self.end = -1
            self._reader.join()
            os.close(self._screen)

    @property
    def raw(self) -> str:
        return b"".join(self._chunks).decode(errors="replace")  # half a letter, so far

    @property
    def coloured(self) -> bool:
        return _COLOUR.search(self.raw) is not None

    @property
    def text(self) -> str:
        """What was written, without the movements of the cursor and without colours."""
        return _STYLE.sub("", _CURSOR.sub("", self.raw)).replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def terminal() -> Iterator[Terminal]:
    """A terminal whose `end` may be given to a process; read it after `finish()`."""
    made = Terminal()
    try:
        yield made
    finally:
        made.finish()


@contextmanager
def stream_of(opened: Terminal) -> Iterator[TextIO]:
    """The terminal as a text stream of this process; ends the terminal, too."""
    with open(opened.end, "w", encoding="utf-8", closefd=False) as stream:
        yield stream
    opened.finish()
