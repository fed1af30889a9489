"""The line server of docs/guides/server.md keeps its limits, and its client says what is wrong."""

from __future__ import annotations

import re
import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from tests.docs.claims import output_of
from tests.docs.programs import PATIENCE, Programs, own_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with own_port() as port:
        yield Programs("docs/guides/server.md", tmp_path, port)


def everything(connection: socket.socket) -> bytes:
    """What arrives until the end; a reset is an end too."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    return received


def test_line_protocol(programs: Programs) -> None:
    output = output_of(programs.block("line_client.py"))
    assert output is not None
    with programs.server("line_server.py") as process:
        assert programs.prints("line_client.py") == output.text
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
