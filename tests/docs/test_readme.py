"""Every program in the README runs, as the file that the README names."""

from __future__ import annotations

import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.docs.documents import ROOT, blocks, read
from tests.docs.programs import PATIENCE, Programs, environment, interrupt, own_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

README = ROOT / "README.md"
RUN_HERE = {"echo_server.py", "client.py", "line_protocol.py"}
"""The programs that this module runs."""
LINES = 165
"""The README is a first page: what is longer has a page of its own."""


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with own_port() as port:
        yield Programs("README.md", tmp_path, port)


def test_every_program_is_run() -> None:
    assert {block.title for block in blocks(README) if block.language == "python"} == RUN_HERE


def test_it_stays_short() -> None:
    assert len(read("README.md").splitlines()) <= LINES


def test_the_first_commands_are_the_demonstration_and_the_tests() -> None:
    first = next(block for block in blocks(README) if block.language == "sh")
    assert first.text == "make demo\nmake test\n"
    assert blocks(README)[0] == first


def test_the_first_page_has_the_same_server(programs: Programs, tmp_path: Path) -> None:
    page = Programs("docs/index.md", tmp_path, programs.port)
    assert page.block("echo_server.py").text == programs.block("echo_server.py").text


def test_it_links_to_every_page() -> None:
    pages = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md")}
    missing = {page for page in pages if not page.startswith("docs/reference/")} - set(
        re.findall(r"\]\(([^)#]+)\)", read("README.md"))
    )
    assert missing == set(), "the section Documentation of README.md lists every page"


def test_the_echo_server_is_short(programs: Programs) -> None:
    lines = [line for line in programs.block("echo_server.py").text.splitlines() if line.strip()]
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


def test_client(programs: Programs) -> None:
    with (
        programs.server("echo_server.py") as server,
        subprocess.Popen(
            programs.command("client.py"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment() | {"PYTHONUNBUFFERED": "1"},
        ) as client,
    ):
        assert client.stdout is not None
        for _ in range(2):
            assert re.fullmatch(r"\d+ µs there and back\n", client.stdout.readline())
        assert interrupt(client) == (-signal.SIGINT, "")
        assert interrupt(server) == (-signal.SIGINT, "")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_line_protocol(programs: Programs, ending: signal.Signals) -> None:
    with subprocess.Popen(
        programs.command("line_protocol.py"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "answer: b'HELLO\\n'\n"
        with programs.connect(process) as connection:
            connection.sendall(b"x" * 2000)
            assert connection.makefile("rb").readline().startswith(b"ERROR")
        process.send_signal(ending)
        rest, complaints = process.communicate(timeout=PATIENCE)
    assert (process.returncode, rest, complaints) == (0, "served 2 clients, cut off 0\n", "")
