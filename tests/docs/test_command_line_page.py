"""docs/command-line.md: its commands run in a shell, its tables are those of the commands."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from tests.certificates.certificate_factory import make, make_server
from tests.docs.claims import commands_of
from tests.docs.documents import Block, blocks_of, code_words, table
from tests.docs.programs import environment, own_port
from tests.docs.test_programs import without_numbers
from tests.sockets.tls_servers import authority, server_certificate
from websockets.sync.client import connect as web_socket_client

from moorings import DatagramSocket
from moorings.certificates.pem import to_pem
from moorings.cli import cert, connect, listen
from moorings.cli.connect_datagrams import WAIT
from moorings.cli.datagram_statistics import DatagramFacts, DatagramMeter
from moorings.cli.options import CONNECTIONS_ONLY, MESSAGES_ONLY, TCP_ONLY, UDP_ONLY, WEB_SOCKETS_ONLY
from moorings.cli.statistics_line import Facts
from moorings.cli.web_socket_pipes import WAIT as WEB_SOCKET_WAIT
from moorings.cli.web_socket_statistics import MessageFacts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import click

PAGE = "docs/command-line.md"
PATIENCE = 50.0
SHELL = [block for block in blocks_of(PAGE) if block.language == "sh"]
LINES = [line for block in SHELL for line in commands_of(block)]
CONNECTS = [line for line in LINES if "moorings connect tcp://127.0.0.1:1337" in line]
LISTENS = [line for line in LINES if line.startswith("moorings listen tcp://127.0.0.1:1337")]
UDP_CONNECTS = [line for line in LINES if "moorings connect udp://127.0.0.1:1337" in line]
UDP_LISTENS = [line for line in LINES if line.startswith("moorings listen udp://")]
WEB_SOCKET_CONNECTS = [line for line in LINES if "moorings connect ws://" in line]
WEB_SOCKET_LISTENS = [line for line in LINES if line.startswith("moorings listen ws://")]
TLS_LINES = [line for line in LINES if "tls://" in line]
MAKING = [line for line in LINES if line.startswith("openssl ")]
CERT_LINES = [line for line in LINES if line.startswith("moorings cert show")]
REQUEST = b"request\n" * 1000


class Shell:
    """A directory with the files of the page, and a `moorings` command, on a port of its own."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        command = directory / "bin" / "moorings"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m moorings "$@"\n')
        command.chmod(0o755)
        (directory / "request").write_bytes(REQUEST)
        (directory / "directory").mkdir()
        (directory / "directory" / "file").write_bytes(REQUEST)
        self.environment = environment()
        self.environment["PATH"] = f"{command.parent}:{self.environment['PATH']}"

    def start(self, script: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["bash", "-c", script.replace("1337", str(self.port))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            env=self.environment,
        )

    def run(self, script: str) -> str:
        with self.start(f"set -e -o pipefail\n{script}") as process:
            out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, out
        return out.decode()

    @contextmanager
    def serving(self, line: str) -> Iterator[subprocess.Popen[bytes]]:
        """A server, once it listens; killed at the end, if it still runs then."""
        with self.start(f"exec {line}") as process:
            try:
                assert process.stdout is not None
                first = process.stdout.readline().decode()
                assert re.fullmatch(
                    rf"listening on (tcp|tls|udp|ws)://(127\.0\.0\.1|\[::1?\]|0\.0\.0\.0):{self.port}(/chat)?\n", first
                )
                yield process
            finally:
                process.kill()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with own_port() as port:
        yield Shell(tmp_path, port)


def dial(shell: Shell) -> socket.socket:
    return socket.create_connection(("127.0.0.1", shell.port), PATIENCE)


def exchange(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    assert client.recv(len(data), socket.MSG_WAITALL) == data


def test_every_line_is_run_here() -> None:
    scripts = [line for block in SHELL if "&" in block.text for line in commands_of(block)]
    web_sockets = WEB_SOCKET_CONNECTS + WEB_SOCKET_LISTENS
    assert sorted(
        CONNECTS + LISTENS + UDP_CONNECTS + UDP_LISTENS + TLS_LINES + CERT_LINES + MAKING + scripts + web_sockets
    ) == sorted(LINES)
    assert len(WEB_SOCKET_CONNECTS) >= 4
    assert len(WEB_SOCKET_LISTENS) >= 4
    assert len(CONNECTS) >= 4
    assert len(LISTENS) >= 4
    assert len(UDP_CONNECTS) >= 3
    assert len(UDP_LISTENS) >= 5


def test_tls(shell: Shell) -> None:
    authority().cert_pem.write_to_path(shell.directory / "ca.pem")
    server_certificate().private_key_and_cert_chain_pem.write_to_path(shell.directory / "server.pem")
    listening, *connecting = TLS_LINES[:-1]
    assert len(connecting) >= 3
    with shell.serving(listening):
        for line in connecting:
            assert "hello\n" in shell.run(f"printf 'hello\\n' | {line}")


def test_a_certificate_to_try_things_out(shell: Shell) -> None:
    (making,) = MAKING
    shell.run(making)
    with shell.serving(TLS_LINES[0]):
        assert shell.run(f"printf 'hello\\n' | {TLS_LINES[-1]}") == "hello\n"


@pytest.fixture
def certified(shell: Shell) -> Shell:
    """The shell with the files of the page, from an authority that looks like one."""
    root = make("Root")
    server = make_server(root, "localhost")
    (shell.directory / "ca.pem").write_bytes(to_pem(root.der))
    (shell.directory / "server.pem").write_bytes(to_pem(server.der) + server.key_pem)
    return shell


@pytest.mark.parametrize("line", CERT_LINES)
def test_cert_show(line: str, certified: Shell) -> None:
    with certified.serving(TLS_LINES[0]):
        printed = certified.run(line)
    if "--json" in line:
        assert json.loads(printed)["ok"] is True
    else:
        assert "acceptable" in printed


def test_shown_certificate(certified: Shell) -> None:
    """The same labels; what is found differs."""
    with certified.serving(TLS_LINES[0]):
        printed = certified.run(CERT_LINES[0])
    labels = [re.split(r"  +", line)[0] for line in printed.splitlines()]
    assert labels == [re.split(r"  +", line)[0] for line in shown("about ").text.rstrip("\n").splitlines()]


@pytest.mark.parametrize("line", CONNECTS)
def test_connect(line: str, shell: Shell) -> None:
    with shell.serving("moorings listen tcp://127.0.0.1:1337 --echo"):
        printed = shell.run(line)
    if "> answer" in line:
        assert (shell.directory / "answer").read_bytes() == REQUEST
    elif "printf" in line:
        assert "hello\n" in printed
    elif "tar" in line:
        assert b"directory/file" in (shell.directory / "echo.tar").read_bytes()
    else:
        assert printed.encode() == REQUEST


@pytest.mark.parametrize("line", LISTENS)
def test_listen(line: str, shell: Shell) -> None:
    with shell.serving(line) as process:
        with dial(shell) as client:
            if "--echo" in line:
                exchange(client, b"hello\n")
            else:
                client.sendall(b"hello\n")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        if "--echo" in line or "--keep" in line:
            process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    if "received" in line:
        assert (shell.directory / "received").read_bytes() == b"hello\n"


@pytest.mark.parametrize("line", UDP_CONNECTS)
def test_connect_with_datagrams(line: str, shell: Shell) -> None:
    with shell.serving("moorings listen udp://127.0.0.1:1337 --echo"):
        printed = shell.run(line)
    if "> answer" in line:
        assert (shell.directory / "answer").read_bytes() == REQUEST
        assert "dropped 0, errors 0" in printed
    else:
        assert "hello\n" in printed
    if "--json" in line:
        assert '"event": "datagram"' in printed
        assert '"event": "summary"' in printed


@pytest.mark.parametrize("line", UDP_LISTENS)
def test_listen_for_datagrams(line: str, shell: Shell) -> None:
    with shell.serving(line) as process:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE)
            client.connect(("127.0.0.1", shell.port))
            client.send(b"hello\n")
            if "--echo" in line:
                assert client.recv(100) == b"hello\n"
        if "--quit-after" not in line:
            process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    assert "received 1 datagram (6 B)" in out.decode()
    if "received" in line:
        assert (shell.directory / "received").read_bytes() == b"hello\n"


@pytest.mark.parametrize("line", WEB_SOCKET_CONNECTS)
def test_connect_with_web_sockets(line: str, shell: Shell) -> None:
    with shell.serving("moorings listen ws://127.0.0.1:1337/chat --echo --subprotocol chat"):
        printed = shell.run(line)
    if "> answer" in line:
        assert (shell.directory / "answer").read_bytes() == REQUEST
    elif "printf" in line:
        assert "\nhello\n" in printed
        assert "sent 1 message (" in printed
    elif "< request" in line:
        assert printed.encode() == REQUEST


@pytest.mark.parametrize("line", WEB_SOCKET_LISTENS)
def test_listen_for_web_sockets(line: str, shell: Shell) -> None:
    many = "--echo" in line or "--broadcast" in line
    origin: Any = "https://example.com" if "--origin" in line else None
    with shell.serving(line) as process:
        url = f"ws://127.0.0.1:{shell.port}/chat"
        with (
            web_socket_client(url, origin=origin, compression=None) as client,
            web_socket_client(url, compression=None) if many else nullcontext() as other,
        ):
            client.send("hello")
            if "--echo" in line:
                assert client.recv(PATIENCE) == "hello"
            elif other is not None:
                assert other.recv(PATIENCE) == "hello"
        if many or "--keep" in line:
            process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    if "received" in line:
        assert (shell.directory / "received").read_bytes() == b"hello\n"


def test_the_guide_to_udp(shell: Shell) -> None:
    """Its two commands, one for each terminal."""
    server, client = (
        line for block in blocks_of("docs/guides/udp.md") if block.language == "sh" for line in commands_of(block)
    )
    with shell.serving(server):
        printed = shell.run(client)
    assert "hello\n" in printed
    assert "received 1 datagram (6 B)" in printed


def test_shown_counts(shell: Shell) -> None:
    with shell.serving("moorings listen udp://127.0.0.1:1337 --echo --verbose") as process:
        shell.run("printf 'hello\\nworld\\n' | moorings connect udp://127.0.0.1:1337 --wait 0.2")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE)
    block = next(block for block in blocks_of(PAGE) if block.language == "text" and "datagrams (" in block.text)
    assert without_numbers(out.decode()) == without_numbers(block.text)


def test_script(shell: Shell) -> None:
    (script,) = (block for block in SHELL if "&" in block.text)
    shell.run(script.text)
    assert (shell.directory / "received").read_bytes() == REQUEST


def shown(first_words: str) -> Block:
    (found,) = (block for block in blocks_of(PAGE) if block.language == "text" and block.text.startswith(first_words))
    return found


def test_shown_summary(shell: Shell) -> None:
    (line,) = (line for line in CONNECTS if line.endswith("--stats"))
    with shell.serving("moorings listen tcp://127.0.0.1:1337 --echo"):
        # Which of two streams comes first is not ours to say.
        printed = sorted(without_numbers(shell.run(line)).splitlines())
    assert printed == sorted(without_numbers(shown("connected to").text).splitlines())


def test_shown_drain(shell: Shell) -> None:
    with (
        shell.serving("moorings listen tcp://127.0.0.1:1337 --echo --drain-timeout 0.1") as process,
        dial(shell) as ends,
        dial(shell) as stays,
    ):
        exchange(ends, b"hello\n")
        exchange(stays, b"hello\n")
        ends.shutdown(socket.SHUT_WR)
        assert ends.recv(1) == b""
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    lines = [line for line in out.decode().splitlines() if not line.startswith("draining")]
    assert without_numbers("\n".join(lines)) == without_numbers(shown("127.0.0.1:40122 came").text.rstrip("\n"))


def options_of(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts if option.startswith("--")}


@pytest.mark.parametrize(
    ("name", "command"), [("connect", connect.command), ("listen", listen.command), ("cert show", cert.show)]
)
def test_options_are_those_of_the_command(name: str, command: click.Command) -> None:
    rows = table(PAGE, f"option of {name}", "meaning")
    assert {option for row in rows for option in code_words(row[f"option of {name}"])} == options_of(command)
    for row in rows:
        default = re.search(r"; ([\d.]+)$", row["meaning"])
        parameter = next(each for each in command.params if code_words(row[f"option of {name}"])[0] in each.opts)
        if default is not None:
            assert parameter.default == float(default[1])


def test_which_options_fit_which_scheme() -> None:
    for name, command in (("connect", connect.command), ("listen", listen.command)):
        for row in table(PAGE, f"option of {name}", "meaning"):
            parameter = next(each for each in command.params if code_words(row[f"option of {name}"])[0] in each.opts)
            assert (parameter.name in TCP_ONLY) == row["meaning"].startswith("TCP")
            assert (parameter.name in UDP_ONLY | MESSAGES_ONLY) == row["meaning"].startswith("UDP")
            assert (parameter.name in WEB_SOCKETS_ONLY) == row["meaning"].startswith("WebSockets")
            if parameter.name in CONNECTIONS_ONLY:
                assert "not UDP" in row["meaning"]


def test_the_wait_for_answers() -> None:
    (row,) = (row for row in table(PAGE, "option of connect", "meaning") if "--wait" in row["option of connect"])
    assert row["meaning"].endswith(f"; over UDP and WebSockets {WAIT:g}")
    assert WEB_SOCKET_WAIT == WAIT


def test_values_of_the_events() -> None:
    rows = {row["event"]: code_words(row["values"]) for row in table(PAGE, "event", "values")}
    assert set(Facts._fields) <= set(rows["`statistics`"])
    assert set(DatagramFacts._fields) == set(rows["`statistics`, over UDP"])
    assert set(MessageFacts._fields) == set(rows["`statistics`, over WebSockets"]) - {"--echo", "--broadcast"}
    summary = set(DatagramMeter(DatagramSocket()).summary())
    assert summary == set(rows["`summary`, over UDP"])


def test_exit_codes() -> None:
    rows = {row["code"] for row in table(PAGE, "code", "meaning")}
    for command in (connect.command, listen.command, cert.show):
        assert command.epilog is not None
        told = command.epilog.partition("Exit codes:")[2]
        assert set(re.findall(r"\b(\d+) (?=[a-zA-Z])", told)) == rows
