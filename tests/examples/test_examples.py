"""Every example runs, prints what it says, and ends cleanly: by itself, or on Ctrl-C."""

from __future__ import annotations

import ast
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
from websockets.sync.client import connect as web_socket_client
from websockets.sync.server import ServerConnection, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PATIENCE = 30.0

PRINTS = {
    "adopt_asyncio": r"""asyncio read: b'first\\n'
adopted, read: b'second'
adopted, read: b'third'
round trip time known: True
client read: b'got second'
client read: b'got third'
""",
    "batching": r"""each write awaited: 100 system calls
one flush for all: 1 system call
""",
    "connect_errors": r"""class:  ConnectionRefusedError
status: CONNECTION_REFUSED
reason: connecting to localhost:\d+: .*
(    \S+:\d+ after \d+\.\d ms: connecting to .*: refused; .*
){1,2}class:  gaierror
status: (HOST_NOT_FOUND|NON_AUTHORITATIVE_HOST_NOT_FOUND)
reason: name 'no-such-host.invalid': .*
""",
    "line_protocol": r"""ADD 1 2     -> 3
ADD 1 two   -> ERROR only whole numbers can be added
PLEASE      -> ERROR write: ADD number number...
ADD 20 20 2 -> 42
""",
    "many_connects": r""" 190 220 ready
  10 CONNECTION_REFUSED
""",
    "plain_script": r"""hello
round trip time measured: True
""",
    "portable": r"""Hello, World!
CONNECTION_REFUSED
""",
    "statistics_view 0.1": r"""RTT .* µs .* out .* Mbit/s   sent .* MB in .* calls   queued [\d,]+
ended: CLOSED_BY_US
""",
    "thread_pool": r"""100 of 100 answers are right
""",
    "timeouts": r"""the answer took too long; 8 bytes of it are kept
read again: b'half an answer\\n'
the conversation took too long
""",
}
"""Examples that end by themselves, with their arguments, and what they print: regular expressions."""

SERVERS = {
    "echo_server",
    "echo_client",
    "chat_server",
    "chat_room",
    "reconnecting_client",
    "file_transfer",
    "graceful_shutdown",
}
"""Examples that have tests of their own below."""


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *map(str, arguments)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "src")}


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(name, *arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=environment(),
    )


class Server:
    """A running example that listens; `lines` are read as they come."""

    def __init__(self, process: subprocess.Popen[str], output: IO[str]) -> None:
        self.process = process
        self.output = output
        first = output.readline()
        match = re.fullmatch(r"listening on port (\d+)\n", first)
        assert match, first + process.communicate(timeout=PATIENCE)[1]
        self.port = int(match[1])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def end(self, number: int = signal.SIGINT) -> str:
        """Ctrl-C: the rest of the output. It has nothing to complain about, and ends with 0."""
        self.process.send_signal(number)
        output, complaints = self.process.communicate(timeout=PATIENCE)
        assert (self.process.returncode, complaints) == (0, "")
        return output


@contextmanager
def server(name: str, *arguments: object) -> Iterator[Server]:
    with subprocess.Popen(
        command(name, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        try:
            yield Server(process, process.stdout)
        finally:
            if process.poll() is None:
                process.kill()


def lines(connection: socket.socket, count: int) -> list[bytes]:
    with connection.makefile("rb") as file:
        return [file.readline() for _ in range(count)]


# -- all of them -----------------------------------------------------------------------------------------------------


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {entry.split(" ")[0] for entry in PRINTS} | SERVERS


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_docstrings_say_what_how_and_result(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert re.search(r"^Shows: ", text, re.MULTILINE)
    assert re.search(rf"^Run:    python examples/{path.name}", text, re.MULTILINE)
    assert re.search(r"^Prints: ", text, re.MULTILINE)


def test_the_index_names_each() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| \[(\w+\.py)\]\(\1\) \|", text, re.MULTILINE)) == sorted(
        path.name for path in EXAMPLES.glob("*.py")
    )


@pytest.mark.parametrize("entry", PRINTS)
def test_example(entry: str) -> None:
    result = run(*entry.split(" "))
    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(PRINTS[entry], result.stdout), result.stdout


# -- servers ---------------------------------------------------------------------------------------------------------


def test_echo() -> None:
    with server("echo_server", 0) as echo:
        result = run("echo_client", echo.port, "good", "morning")
        assert (result.returncode, result.stdout, result.stderr) == (0, "good morning\nCLOSED_BY_US\n", "")
        with echo.connect():
            assert echo.end() == ""


def test_echo_client_without_a_server() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        result = run("echo_client", reserved.getsockname()[1])
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("ConnectionRefusedError: connecting to 127.0.0.1")
    assert result.stderr.count("\n") == 1


def test_chat() -> None:
    with server("chat_server", 0) as chat, chat.connect() as ann:
        a = ann.getsockname()[1]
        assert chat.output.readline() == f"guest {a} has come\n"
        with chat.connect() as bob:
            b = bob.getsockname()[1]
            assert lines(ann, 1) == [f"guest {b} has come\n".encode()]
            ann.sendall(b"hello\n")
            assert lines(bob, 1) == [f"guest {a}: hello\n".encode()]
            bob.sendall(b"x" * 1001)
            assert lines(bob, 1) == [b"* that line was too long\n"]
            assert lines(ann, 1)[0].startswith(f"guest {b} has gone".encode())
        output = chat.end()
    assert output.splitlines()[0] == f"guest {b} has come"
    assert output.splitlines()[-1].startswith(f"guest {a} has gone")


def test_chat_room() -> None:
    with server("chat_room", 0) as chat:
        url = f"ws://127.0.0.1:{chat.port}/chat"
        with web_socket_client(f"{url}/ann", compression=None) as ann:
            with web_socket_client(f"{url}/b%C3%B6b", compression=None) as bob:
                assert ann.recv(PATIENCE) == "böb has come"
                ann.send("hello")
                assert bob.recv(PATIENCE) == "ann: hello"
            assert ann.recv(PATIENCE) == "böb has gone"
        assert chat.end() == ""


def test_reconnecting_client() -> None:
    """It comes back, says why it was lost, and gives up where the server does not want it."""
    answers = [("one", 1001, "restart"), ("two", 1000, "")]

    def serve_one(peer: ServerConnection) -> None:
        assert peer.recv(PATIENCE) == "hello"
        message, code, reason = answers.pop(0)
        peer.send(message)
        peer.close(code, reason)

    def judge(peer: ServerConnection, _request: object) -> object:
        return None if answers else peer.respond(403, "enough")

    with serve(serve_one, "127.0.0.1", 0, compression=None, process_request=judge) as made:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        result = run("reconnecting_client", f"ws://127.0.0.1:{made.socket.getsockname()[1]}/")
        made.shutdown()
        thread.join()
    assert result.stdout == ("connected\nreceived: one\nlost: closed with 1001 restart\nconnected\nreceived: two\n")
    assert result.returncode == 1
    assert "403" in result.stderr


def test_file_transfer(tmp_path: Path) -> None:
    sent, received = tmp_path / "data.bin", tmp_path / "received"
    sent.write_bytes(random.Random(1).randbytes(3_000_000))
    received.mkdir()
    with server("file_transfer", "receive", received, 0) as receiver:
        result = run("file_transfer", "send", sent, receiver.port)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == "sent data.bin, 3000000 bytes, checksum right\n"
        assert receiver.end() == "received data.bin, 3000000 bytes\n"
    assert (received / "data.bin").read_bytes() == sent.read_bytes()
    assert [path.name for path in received.iterdir()] == ["data.bin"]


def test_file_transfer_believes_nothing(tmp_path: Path) -> None:
    with server("file_transfer", "receive", tmp_path, 0) as receiver:
        errors = receiver.process.stderr
        assert errors is not None
        for header, complaint in (
            (b"5 ../evil\nhello", "failed: '../evil' is no plain file name\n"),
            (b"5 .hidden\nhello", "failed: '.hidden' is no plain file name\n"),
            (b"many x\n", "failed: the size 'many' is no number, or too big\n"),
            (b"99999999999999 x\n", "failed: the size '99999999999999' is no number, or too big\n"),
            (b"9 short\nhello", "failed: short: the connection ended 4 bytes too early\n"),
        ):
            with receiver.connect() as connection:
                connection.sendall(header)
                with suppress(OSError):  # it may have been reset already
                    connection.shutdown(socket.SHUT_WR)
                assert errors.readline() == complaint
        assert receiver.end() == ""
    assert list(tmp_path.iterdir()) == []


def test_file_transfer_usage() -> None:
    result = run("file_transfer")
    assert (result.returncode, result.stderr[:6]) == (1, "usage:")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_graceful_shutdown(number: int) -> None:
    with server("graceful_shutdown", 0, 20) as stopping, stopping.connect() as client:
        client.sendall(b"one\n")
        assert lines(client, 1) == [b"ONE\n"]
        stopping.process.send_signal(number)
        assert stopping.output.readline() == "stopping, 1 clients are connected\n"
        client.sendall(b"two\n")  # it may still finish
        assert lines(client, 1) == [b"TWO\n"]
        client.shutdown(socket.SHUT_WR)
        output, complaints = stopping.process.communicate(timeout=PATIENCE)
    assert (stopping.process.returncode, complaints) == (0, "")
    assert output == "accepted 1 in all; at the end 1 finished, 0 were cut off\n"


def test_graceful_shutdown_has_a_deadline() -> None:
    with server("graceful_shutdown", 0, 0.1) as stopping, stopping.connect() as client:
        client.sendall(b"one\n")
        assert lines(client, 1) == [b"ONE\n"]
        assert stopping.end().splitlines()[-1] == "accepted 1 in all; at the end 0 finished, 1 were cut off"


def test_the_live_view_ends_on_ctrl_c() -> None:
    with subprocess.Popen(
        command("statistics_view", 60), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("RTT ")
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=PATIENCE)
    assert (process.returncode, complaints) == (0, "")
