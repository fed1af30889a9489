"""`moorings listen` as a process: one connection, many, the drain, and what it says."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.running import (
    PATIENCE,
    Running,
    dial,
    end_input,
    environment,
    listening,
    objects,
    receive_all,
    reset,
)
from tests.cli.terminals import terminal

if TYPE_CHECKING:
    from pathlib import Path

DRAINED = "drained: accepted {}, ended by themselves {}, aborted {}"


def is_refused(command: Running) -> bool:
    try:
        dial(command).close()
    except ConnectionRefusedError:
        return True
    return False


# -- one connection --------------------------------------------------------------------------------------------------


def test_the_first_connection_talks_and_ends_the_command() -> None:
    with listening() as command, dial(command) as client:
        client.sendall(b"question")
        assert command.process.stdout is not None
        assert command.process.stdout.read(8) == b"question"
        command.send(b"answer")
        end_input(command)
        assert receive_all(client) == b"answer"
        client.shutdown(socket.SHUT_WR)
        assert command.end(None) == (0, b"", "")


def test_others_are_refused() -> None:
    with listening() as command, dial(command) as client:
        client.sendall(b"x")
        assert command.process.stdout is not None
        command.process.stdout.read(1)
        assert is_refused(command)
        client.close()
        assert command.code() == 0


def test_without_input_it_only_receives() -> None:
    """A job in the background has /dev/null there; an early FIN would make some clients hang up."""
    with listening(stdin=subprocess.DEVNULL) as command, dial(command) as client:
        client.sendall(b"first")
        assert command.process.stdout is not None
        assert command.process.stdout.read(5) == b"first"
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        client.setblocking(True)
        client.sendall(b"second")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""
        assert command.end(None) == (0, b"second", "")


def test_a_file_is_sent_whole_to_a_client_that_says_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3 << 20))
    with source.open("rb") as opened, listening(stdin=opened) as command:
        with Running("connect", command.url, stdin=subprocess.DEVNULL) as client:
            assert client.end(None) == (0, source.read_bytes(), "")
        assert command.end(None) == (0, b"", "")


@pytest.mark.parametrize("url", ["tcp://[::1]:0", "tcp://[::1]:", "tcp://127.0.0.1:", "tcp://:0", "tcp://localhost:0"])
def test_the_bound_address_is_told_first(url: str) -> None:
    with listening(url=url) as command:
        assert re.fullmatch(r"tcp://(127\.0\.0\.1|\[::1?\]|0\.0\.0\.0):\d+", command.url)
        if "[::1]" in url:
            assert command.url.startswith("tcp://[::1]:")
        with Running("connect", command.url) as client:
            assert client.end(b"hello")[0] == 0
        assert command.end()[:2] == (0, b"hello")


def has_openbsd_nc() -> bool:
    """Whether nc is the one of OpenBSD, whose -N ends its side behind its standard input."""
    if shutil.which("nc") is None:
        return False
    return b"OpenBSD" in subprocess.run(["nc", "-h"], capture_output=True, check=False).stderr


@pytest.mark.skipif(not has_openbsd_nc(), reason="no nc here (Debian: netcat-openbsd)")
def test_nc_as_the_client() -> None:
    with listening(stdin=subprocess.DEVNULL) as command:
        port = command.url.rpartition(":")[2]
        done = subprocess.run(["nc", "-N", "127.0.0.1", port], input=b"from nc", timeout=PATIENCE, check=False)
        assert done.returncode == 0
        assert command.end(None) == (0, b"from nc", "")


def test_a_reset_is_told() -> None:
    with listening("--json") as command:
        client = dial(command)
        client.sendall(b"x")
        assert command.process.stdout is not None
        command.process.stdout.read(1)
        reset(client)
        assert command.code() == 1
        error = command.end()[2]
    assert objects(error, "summary")[0]["end_reason"] == "RESET"
    assert "reset the connection" in error.splitlines()[-1]


def test_statistics_are_lines() -> None:
    with listening("--stats", "--interval", "0.05") as command, dial(command) as client:
        client.sendall(b"12345")
        assert "connected with 127.0.0.1:" in command.wait_for("connected", error=True)
        command.wait_for("received 5 B", error=True)
        client.close()
        code, out, error = command.end()
    assert (code, out) == (0, b"12345")
    assert error.splitlines()[-1].endswith("ended: CLOSED_BY_PEER")


def test_keep_takes_one_after_the_other() -> None:
    with listening("--keep", stdin=subprocess.DEVNULL) as command, ExitStack() as clients:
        assert command.process.stdout is not None
        first, second = clients.enter_context(dial(command)), clients.enter_context(dial(command))
        second.sendall(b"second")
        first.sendall(b"first")
        assert command.process.stdout.read(5) == b"first"
        reset(first)
        assert command.process.stdout.read(6) == b"second"
        assert "reset the connection" in command.wait_for("moorings: ", error=True)
        second.close()
        third = clients.enter_context(dial(command))
        third.sendall(b"third")
        assert command.process.stdout.read(5) == b"third"
        third.close()
        command.signal(signal.SIGINT)
        assert command.code() == 130


def test_input_waits_for_the_client_that_comes() -> None:
    with listening("--keep") as command:
        command.send(b"for the first\n")
        with dial(command) as client:
            assert client.recv(100) == b"for the first\n"
            client.close()
        with dial(command) as client:
            client.sendall(b"x")
            assert command.process.stdout is not None
            command.process.stdout.read(1)
            command.send(b"for the second\n")
            assert client.recv(100) == b"for the second\n"
            command.signal(signal.SIGINT)
            assert command.code() == 130


# -- signals without --echo ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_while_nobody_is_there(number: int, code: int) -> None:
    with listening() as command:
        command.signal(number)
        assert command.code() == code
        said = command.end()[2]
    assert said == ("" if code else DRAINED.format(0, 0, 0) + "\n")


def test_control_c_ends_the_connection_at_once() -> None:
    with listening() as command, dial(command) as client:
        client.sendall(b"x")
        assert command.process.stdout is not None
        command.process.stdout.read(1)
        command.signal(signal.SIGINT)
        assert command.code() == 130
        assert command.end()[2] == ""
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_sigterm_waits_for_the_connection() -> None:
    with listening() as command, dial(command) as client:
        client.sendall(b"x")
        assert command.process.stdout is not None
        command.process.stdout.read(1)
        command.signal(signal.SIGTERM)
        command.wait_for("draining", error=True)
        client.sendall(b"more")
        client.close()
        assert command.code() == 0
        _, out, error = command.end()
    assert (out, error) == (b"more", DRAINED.format(1, 1, 0) + "\n")


def test_sigterm_aborts_at_the_deadline() -> None:
    with listening("--drain-timeout", "0.1", "--json") as command, dial(command) as client:
        client.sendall(b"x")
        assert command.process.stdout is not None
        command.process.stdout.read(1)
        command.signal(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert command.code() == 0
        error = command.end()[2]
    (drained,) = objects(error, "drained")
    assert (drained["accepted"], drained["ended"], drained["aborted"]) == (1, 0, 1)
    assert objects(error, "summary")[0]["end_reason"] == "ABORTED"


# -- echo ------------------------------------------------------------------------------------------------------------


def echoed(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    answer = b""
    while len(answer) < len(data):
        answer += client.recv(len(data) - len(answer))
    return answer


def test_echo_tells_who_came_and_went() -> None:
    with listening("--echo") as command:
        with dial(command) as first, dial(command) as second:
            assert echoed(second, b"12345") == b"12345"
            assert echoed(first, b"123") == b"123"
            host, port = first.getsockname()
            command.wait_for(f"{host}:{port} came")
            first.shutdown(socket.SHUT_WR)
            assert receive_all(first) == b""
            line = command.wait_for(f"{host}:{port} went")
            assert re.search(r"went: received 3 B, sent 3 B in \d+\.\d\d s, CLOSED_BY_PEER$", line)
            host, port = second.getsockname()
            reset(second)
            line = command.wait_for(f"{host}:{port} went")
            assert line.endswith(" RESET")
        command.signal(signal.SIGTERM)
        assert command.code() == 0
        code, out, error = command.end()
    assert (code, out.decode(), error) == (0, DRAINED.format(2, 2, 0) + "\n", "")


def test_echo_as_json() -> None:
    with listening("--echo", "--json", "--stats", "--interval", "0.05") as command:
        with dial(command) as client:
            assert echoed(client, b"12345") == b"12345"
            peer = f"127.0.0.1:{client.getsockname()[1]}"
            command.wait_for('"bytes_received": 5')
        command.wait_for('"event": "went"')
        command.signal(signal.SIGTERM)
        _, out, error = command.end()
    assert error == ""
    text = command.said.partition("\n")[2] + out.decode()
    assert [value["peer"] for value in objects(text, "came")] == [peer]
    (went,) = objects(text, "went")
    assert (went["bytes_received"], went["bytes_sent"], went["end_reason"]) == (5, 5, "CLOSED_BY_PEER")
    assert any(value["open"] == 1 and value["connections"][0]["peer"] == peer for value in objects(text, "statistics"))
    (drained,) = objects(text, "drained")
    assert drained == {"event": "drained", "accepted": 1, "ended": 1, "aborted": 0, "broken": 0, "handshakes_failed": 0}


def test_echo_keeps_to_max_connections() -> None:
    with listening("--echo", "--max-connections", "1") as command:
        with dial(command) as first, dial(command) as second:
            assert echoed(first, b"1") == b"1"
            second.sendall(b"2")
            first.close()
            assert second.recv(1) == b"2"
        command.signal(signal.SIGINT)
        assert command.code() == 130
        lines = command.end()[1].decode().splitlines()
    assert [line.split(" ")[1].rstrip(":") for line in lines[:-1]] == ["came", "went", "came", "went"]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_echo_drains(number: int, code: int, loop: str) -> None:
    with listening("--echo", "--loop", loop) as command, dial(command) as client:
        assert echoed(client, b"1") == b"1"
        command.signal(number)
        assert "draining: up to 10 s for 1 connection;" in command.wait_for("draining", error=True)
        assert is_refused(command)
        assert echoed(client, b"still served") == b"still served"
        client.close()
        assert command.code() == code
        assert command.end()[1].decode().endswith(DRAINED.format(1, 1, 0) + "\n")


def test_echo_aborts_the_rest_at_the_deadline() -> None:
    with listening("--echo", "--drain-timeout", "0.2") as command, dial(command) as stays, dial(command) as goes:
        for client in (stays, goes):
            assert echoed(client, b"1") == b"1"
        port = stays.getsockname()[1]
        goes.close()
        command.wait_for("went")
        command.signal(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            stays.recv(1)
        assert command.code() == 0
        out = command.end()[1].decode()
    assert out.endswith(DRAINED.format(2, 1, 1) + "\n")
    assert re.search(rf":{port} went: [^\n]* ABORTED\n", out)


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_aborts_at_once(second: int, code: int) -> None:
    with listening("--echo", "--drain-timeout", "3600") as command, dial(command) as client:
        assert echoed(client, b"1") == b"1"
        command.signal(signal.SIGTERM)
        command.wait_for("draining", error=True)
        command.signal(second)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert command.code() == code
        assert command.end()[1].decode().endswith(DRAINED.format(1, 0, 1) + "\n")


def test_echo_ends_idle_connections() -> None:
    with listening("--echo", "--idle-timeout", "0.5") as command, dial(command) as client:
        assert echoed(client, b"1") == b"1"
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert command.wait_for("went").endswith("ABORTED (idle)")
        command.signal(signal.SIGTERM)
        assert command.code() == 0


def test_echo_with_a_big_transfer() -> None:
    data = os.urandom(8 << 20)
    with listening("--echo") as command:
        with Running("connect", command.url) as client:
            assert client.end(data) == (0, data, "")
        command.signal(signal.SIGTERM)
        assert command.code() == 0


def test_echo_statistics_are_lines() -> None:
    with listening("--echo", "--stats", "--interval", "0.05") as command, dial(command) as client:
        assert echoed(client, b"12345") == b"12345"
        command.wait_for("1 open: ")
        line = command.wait_for(f"127.0.0.1:{client.getsockname()[1]}: ")
        for part in ("sent 5 B", "received 5 B", "RTT ", "bandwidth ", "queue "):
            assert part in line
        client.close()
        command.wait_for("0 open: ")
        command.signal(signal.SIGTERM)
        assert command.code() == 0


def test_echo_statistics_are_a_table_on_a_terminal() -> None:
    with (
        terminal() as screen,
        listening("--echo", "--stats", "--interval", "0.05", stdout=screen.end) as command,
        dial(command) as client,
    ):
        assert echoed(client, b"12345") == b"12345"
        peer = f"127.0.0.1:{client.getsockname()[1]}"
        screen.wait_for(f"{peer} came")
        screen.wait_for("RTT")
        screen.wait_for("1 open: ")
        client.close()
        screen.wait_for(f"{peer} went: received 5 B")
        command.signal(signal.SIGTERM)
        assert command.code() == 0
        screen.wait_for(DRAINED.format(1, 1, 0))


def come_and_go(command: Running) -> None:
    """A client of a server that ends when somebody comes: it may do so before the client knows that it is connected."""
    with suppress(ConnectionResetError):
        dial(command).close()


def test_a_full_disk_ends_the_echo_server() -> None:
    with open("/dev/full", "wb") as full, listening("--echo", stdout=full) as command:
        come_and_go(command)
        code, _, error = command.end()
    assert code == 1
    assert error.splitlines()[-1] == "moorings: standard output cannot be written: No space left on device"
    assert "Traceback" not in error


def test_the_reader_of_the_lines_may_go() -> None:
    with listening("--echo") as command:
        assert command.process.stdout is not None
        command.process.stdout.close()
        command.process.stdout = None
        come_and_go(command)
        assert command.code() == 141
        assert command.end()[2] == ""


# -- failures --------------------------------------------------------------------------------------------------------


def failure(*arguments: str, **options: Any) -> tuple[int, str]:
    """Code and complaint of a command that must fail; one line."""
    done = subprocess.run(
        [*Running.command("listen"), *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        stdin=subprocess.DEVNULL,
        **options,
    )
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("echo", [[], ["--echo"]], ids=["pipe", "echo"])
def test_port_in_use(echo: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, error = failure(f"tcp://127.0.0.1:{other.getsockname()[1]}", *echo)
    assert code == 1
    assert "another socket has that address and port" in error


def test_unknown_address() -> None:
    code, error = failure("tcp://192.0.2.1:0")
    assert code == 1
    assert "this machine does not have that address" in error


def test_unknown_host_and_service() -> None:
    assert failure("tcp://no-such-host.invalid:0")[0] == 1
    assert failure("tcp://127.0.0.1:no-such-service-name")[0] == 1


def test_privileged_port() -> None:
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as setting:
        if int(setting.read()) <= 1:
            pytest.skip("every port is free here")
    libc = ctypes.CDLL(None)
    # Without the right (prctl(2), capabilities(7)); who is not root has not got it anyway.
    code, error = failure("tcp://127.0.0.1:1", preexec_fn=lambda: libc.prctl(24, 10, 0, 0, 0))
    assert code == 1
    assert "ports below 1024 need privileges" in error


def test_a_scheme_that_comes_later() -> None:
    code, error = failure("rfcomm://127.0.0.1:0")
    assert code == 1
    assert "does not implement yet" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["127.0.0.1:80"],
        ["tcp://"],
        ["tcp://::1:80"],
        ["tcp://127.0.0.1:65536"],
        ["tcp://127.0.0.1:0", "--max-connections", "0", "--echo"],
        ["tcp://127.0.0.1:0", "--max-connections", "1"],
        ["tcp://127.0.0.1:0", "--echo", "--keep"],
        ["tcp://127.0.0.1:0", "--echo", "--quit-after", "1"],
        ["tcp://127.0.0.1:0", "--drain-timeout", "inf"],
        [],
    ],
)
def test_wrong_arguments(arguments: list[str]) -> None:
    code, error = failure(*arguments)
    assert code == 2
    assert error.startswith("moorings listen: ")
    assert error.endswith("see 'moorings listen --help'\n")
