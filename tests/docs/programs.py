"""Runs the programs of a document as the files that it names.

The text says port 1337. Each test puts a port of its own in its place: one that is bound and not listening, so that
nobody else gets it, while a server of ours, which sets SO_REUSEADDR, may listen there.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.docs.documents import ROOT, blocks_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.docs.documents import Block

PATIENCE = 30.0
PORT = "1337"


def environment() -> dict[str, str]:
    path = os.pathsep.join((str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])))
    return os.environ | {"PYTHONPATH": path, "NO_COLOR": "1"}


@contextmanager
def own_port() -> Iterator[int]:
    """A port that is kept for a server of ours."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


class Programs:
    """The programs of one document as files, with another port."""

    def __init__(self, document: str, directory: Path, port: int) -> None:
        self.document = document
        self.directory = directory
        self.port = port

    def block(self, title: str) -> Block:
        return next(block for block in blocks_of(self.document) if block.title == title)

    def command(self, title: str, **replacements: str) -> list[str]:
        text = self.block(title).text.replace(PORT, str(self.port))
        for old, new in replacements.items():
            assert text.count(old) == 1
            text = text.replace(old, new)
        path = self.directory / title
        path.write_text(text, encoding="utf-8")
        return [sys.executable, "-W", "error", str(path)]

    def run(self, title: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(title),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=environment(),
            cwd=self.directory,
        )

    def prints(self, title: str) -> str:
        """What a program prints that ends well and complains about nothing."""
        result = self.run(title)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    @contextmanager
    def server(self, title: str, **replacements: str) -> Iterator[subprocess.Popen[str]]:
        with self.serving(self.command(title, **replacements)) as process:
            yield process

    @contextmanager
    def serving(self, command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
        """A process that listens on the port."""
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            cwd=self.directory,
        ) as process:
            try:
                self.connect(process).close()
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def connect(self, process: subprocess.Popen[str] | None = None) -> socket.socket:
        """A connection to the server, once it listens."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), PATIENCE)
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                assert process is None or process.poll() is None, process.communicate()[1]
                threading.Event().wait(0.02)


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str]:
    """End a server with Ctrl-C: its exit code, and its complaints without the traceback of KeyboardInterrupt."""
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=PATIENCE)
    if complaints.startswith("Traceback") and complaints.splitlines()[-1] == "KeyboardInterrupt":
        complaints = ""
    return process.returncode, complaints
