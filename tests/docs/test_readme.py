"""Every program in the README runs, as the file that the README names."""

from __future__ import annotations

import re
import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from tests.docs.documents import ROOT, Block, blocks
from tests.docs.programs import PATIENCE, Programs, own_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

README = ROOT / "README.md"
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


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with own_port() as port:
        yield Programs("README.md", tmp_path, port)


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
