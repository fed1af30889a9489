"""Every program in the README runs, as the file that the README names.

The text says port 1337. Each test puts a port of its own in its place: one that is bound and not listening, so that
nobody else gets it, while a server of ours, which sets SO_REUSEADDR, may listen there.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.docs.documents import ROOT, Block, all_blocks, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

README = ROOT / "README.md"
PATIENCE = 30.0
RUN_HERE = {
    "echo_server.py",
    "line_server.py",
    "line_client.py",
    "errors.py",
    "facts.py",
    "plain_client.py",
    "portable.py",
}
"""The programs that this module runs."""


def block_of(title: str) -> Block:
    return next(block for block in blocks(README) if block.title == title)


def output_of(title: str) -> str:
    """What the README says that a program prints: the first text block behind it."""
    found = blocks(README)
    position = found.index(block_of(title))
    return next(block.text for block in found[position:] if block.language == "text")


class Programs:
    """The programs of the README as files, with another port."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port

    def command(self, title: str, **replacements: str) -> list[str]:
        text = block_of(title).text.replace("1337", str(self.port))
        for old, new in replacements.items():
            assert text.count(old) == 1
            text = text.replace(old, new)
        path = self.directory / title
        path.write_text(text, encoding="utf-8")
        return [sys.executable, "-W", "error", str(path)]

    def run(self, title: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(title), capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment()
        )

    def prints(self, title: str) -> str:
        """What a program prints that ends well and complains about nothing."""
        result = self.run(title)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    @contextmanager
    def server(self, title: str, **replacements: str) -> Iterator[subprocess.Popen[str]]:
        command = self.command(title, **replacements)
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
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


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "src")}


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield Programs(tmp_path, reserved.getsockname()[1])


def everything(connection: socket.socket) -> bytes:
    """What arrives until the end; a reset is an end too."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    return received


def test_every_program_is_run() -> None:
    assert {block.title for block in blocks(README) if block.language == "python"} == RUN_HERE


def test_the_first_commands_are_the_demonstration_and_the_tests() -> None:
    first = next(block for block in blocks(README) if block.language == "sh")
    assert first.text == "make demo\nmake test\n"
    assert blocks(README)[0] == first


def test_the_echo_server_is_short() -> None:
    lines = [line for line in block_of("echo_server.py").text.splitlines() if line.strip()]
    assert len(lines) <= 8


def test_echo_server(programs: Programs) -> None:
    with programs.server("echo_server.py") as process:
        with programs.connect() as connection:
            for data in (b"hello", b"x" * 100_000):
                connection.sendall(data)
                received = b""
                while len(received) < len(data):
                    received += connection.recv(65536)
                assert received == data
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=PATIENCE)
    assert complaints.splitlines()[-1] == "KeyboardInterrupt"
    assert process.returncode == -signal.SIGINT


def test_line_protocol(programs: Programs) -> None:
    with programs.server("line_server.py") as process:
        assert programs.prints("line_client.py") == output_of("line_client.py")
        with programs.connect() as connection:
            connection.sendall(b"a\nb\nquit\nQUIT\nignored\n")
            assert everything(connection) == b"A\nB\nQUIT\nBYE\n"
        with programs.connect() as connection:
            connection.sendall(b"half a line")
        process.terminate()
        output, complaints = process.communicate(timeout=PATIENCE)
    assert complaints == ""
    assert output.splitlines() == [
        f"listening on port {programs.port}",
        "served 4 clients, 0 had to be cut off",
    ]
    assert process.returncode == 0


def test_line_server_has_limits(programs: Programs) -> None:
    replacements = {"asyncio.timeout(60)": "asyncio.timeout(0.2)", "drain_timeout=5": "drain_timeout=0.1"}
    with programs.server("line_server.py", **replacements) as process:
        with programs.connect() as connection:
            connection.sendall(b"x" * 1001)
            assert everything(connection) == b"ERROR the line is too long\n"
        with programs.connect() as connection:
            assert everything(connection) == b"ERROR nothing heard for a minute\n"
        process.send_signal(signal.SIGINT)
        output, complaints = process.communicate(timeout=PATIENCE)
    assert complaints == ""
    assert output.splitlines()[-1] == "served 3 clients, 0 had to be cut off"


def test_line_server_cuts_off_who_does_not_leave(programs: Programs) -> None:
    with (
        programs.server("line_server.py", **{"drain_timeout=5": "drain_timeout=0.1"}) as process,
        programs.connect() as idle,
    ):
        idle.sendall(b"a\n")
        assert idle.recv(9) == b"A\n"
        process.terminate()
        output, complaints = process.communicate(timeout=PATIENCE)
        assert everything(idle) == b""
    assert complaints == ""
    assert output.splitlines()[-1] == "served 2 clients, 1 had to be cut off"


def test_line_client_says_what_is_wrong(programs: Programs) -> None:
    result = programs.run("line_client.py")
    assert result.returncode == 1
    assert re.fullmatch(
        rf"ConnectionRefusedError: connecting to 127.0.0.1:{programs.port}: refused; nothing listens there, or .*\n",
        result.stderr,
    )
    with socket.create_server(("127.0.0.1", programs.port)) as silent:
        silent.settimeout(PATIENCE)

        def hang_up() -> None:
            with silent.accept()[0]:
                pass

        thread = threading.Thread(target=hang_up)
        thread.start()
        result = programs.run("line_client.py")
        thread.join()
    assert result.returncode == 1
    assert result.stderr.startswith(("IncompleteReadError: ", "ConnectionResetError: "))


def test_errors(programs: Programs) -> None:
    lines = programs.prints("errors.py").splitlines()
    assert lines[0].startswith("connecting to 127.0.0.1:1: refused; nothing listens there, or a firewall rejects it")
    assert lines[1:] == ["CONNECTION_REFUSED", "0x8007274d 111", "127.0.0.1:1 0.0 s ConnectionRefusedError"]


def test_clients_of_the_echo_server(programs: Programs) -> None:
    with programs.server("echo_server.py"):
        assert programs.prints("plain_client.py") == "hello\n"
        assert programs.prints("portable.py") == "hello\n"
        facts = programs.prints("facts.py").splitlines()
    assert facts[:2] == ["b'hello'", f"127.0.0.1 {programs.port}"]
    assert re.fullmatch(r"\d+ microseconds there and back", facts[2])
    assert re.fullmatch(r"\d+ bits per second", facts[3])
    assert facts[4].startswith("StreamCounters(bytes_received=5, bytes_sent=5, ")
    assert len(facts) == 5


def test_portable_program_without_a_server(programs: Programs) -> None:
    assert programs.prints("portable.py") == "CONNECTION_REFUSED\n"


def test_no_program_stands_elsewhere() -> None:
    """Other documents show fragments only; those that are whole programs belong to the README and to this module."""
    titled = {block.title for block in all_blocks() if block.title}
    assert titled == RUN_HERE
