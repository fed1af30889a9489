"""`moorings listen` and `moorings connect` as processes, and plain sockets to talk to them."""

from __future__ import annotations

import json
import os
import pty
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import moorings

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [sys.executable, "-W", "error", "-m", "moorings"]
PATIENCE = 40.0
LISTENING = "listening on "


def environment(**more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "LINES"}}
    return {**plain, "TERM": "xterm", "PYTHONPATH": str(Path(moorings.__file__).parents[1]), **more}


class Running:
    """A command that runs. Use it in a `with` statement: it is killed at the end, if it still runs then."""

    def __init__(self, *arguments: str, **options: Any) -> None:
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        self.process: subprocess.Popen[bytes] = subprocess.Popen([*COMMAND, *arguments], env=environment(), **streams)
        self.said = ""
        self.url = ""

    @staticmethod
    def command(name: str) -> list[str]:
        return [*COMMAND, name]

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        self.process.wait()

    def wait_for(self, text: str, *, error: bool = False) -> str:
        """Read lines until one has `text` in it; that line."""
        stream = self.process.stderr if error else self.process.stdout
        assert stream is not None
        while True:
            line = stream.readline().decode()
            assert line, f"{text!r} was never said, but {self.said!r}"
            self.said += line
            if text in line:
                return line.rstrip("\n")

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, data: bytes | None = b"") -> tuple[int, bytes, str]:
        """Send `data` and the end of standard input, wait; code, standard output, standard error."""
        out, error = self.process.communicate(data, timeout=PATIENCE)
        return self.process.returncode, out or b"", (error or b"").decode()

    def code(self) -> int:
        """Wait for the end, without ending standard input."""
        return self.process.wait(PATIENCE)


def end_input(command: Running) -> None:
    """What is read from standard input ends here."""
    assert command.process.stdin is not None
    command.process.stdin.close()
    command.process.stdin = None


def listening(*arguments: str, url: str = "tcp://127.0.0.1:0", **options: Any) -> Running:
    """`moorings listen`, once it listens."""
    running = Running("listen", url, *arguments, **options)
    try:
        running.url = running.wait_for(LISTENING, error=True).removeprefix(LISTENING)
    except BaseException:
        running.__exit__()
        raise
    return running


def dial(running: Running) -> socket.socket:
    """A plain socket, connected to `moorings listen`."""
    host, _, port = running.url.removeprefix("tcp://").rpartition(":")
    client = socket.create_connection((host.strip("[]"), int(port)), PATIENCE)
    client.settimeout(PATIENCE)
    return client


@contextmanager
def plain_server() -> Iterator[tuple[socket.socket, str]]:
    """A listening socket, and its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        yield server, f"tcp://127.0.0.1:{server.getsockname()[1]}"


def accept(server: socket.socket) -> socket.socket:
    client, _ = server.accept()
    client.settimeout(PATIENCE)
    return client


def receive_all(peer: socket.socket) -> bytes:
    """Everything up to the end of the stream."""
    pieces: list[bytes] = []
    while piece := peer.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def reset(peer: socket.socket) -> None:
    """Close with a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def objects(text: str, event: str = "") -> list[dict[str, Any]]:
    """The JSON objects among the lines, those of one event if it is named."""
    found: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [value for value in found if not event or value["event"] == event]


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a pseudo-terminal: ours, and the command's."""
    master, slave = pty.openpty()
    try:
        yield master, slave
    finally:
        for fd in (master, slave):
            os.close(fd)


def read_until(fd: int, text: bytes) -> bytes:
    """What a terminal shows, up to `text`."""
    shown = b""
    while text not in shown:
        shown += os.read(fd, 65536)
    return shown
