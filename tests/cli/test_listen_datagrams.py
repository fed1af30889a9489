"""`moorings listen udp://...` as a process, with plain sockets as its clients."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.cli.running import PATIENCE, Running, listening, objects, read_until, terminal
from tests.cli.test_listen import failure
from tests.sockets.datagram_peers import plain_peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

COUNTS = r"sent {} \({}\), received {} \({}\) in \d+\.\d\d s; dropped 0, errors {}"


def server(*arguments: str, url: str = "udp://127.0.0.1:0", **options: Any) -> Running:
    return listening(*arguments, url=url, **options)


@contextmanager
def client_of(command: Running) -> Iterator[socket.socket]:
    """A plain socket, connected to the command."""
    host, _, port = command.url.removeprefix("udp://").rpartition(":")
    with socket.socket(socket.AF_INET6 if "[" in host else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect((host.strip("[]"), int(port)))
        yield client


def name_of(client: socket.socket) -> str:
    host, port = client.getsockname()
    return f"{host}:{port}"


def read(command: Running, count: int) -> bytes:
    assert command.process.stdout is not None
    return command.process.stdout.read(count)


def counts(sent: str, received: str, errors: int = 0) -> str:
    """What the counts look like: `sent` and `received` are such as "1 datagram, 6 B"."""
    out, out_bytes = sent.split(", ")
    into, into_bytes = received.split(", ")
    return COUNTS.format(out, out_bytes, into, into_bytes, errors)


# -- standard input and output ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_comes_goes_to_standard_output(loop: str) -> None:
    with server("--loop", loop) as command, client_of(command) as first, client_of(command) as second:
        for client, data in ((first, b"one"), (second, b"two"), (first, b""), (first, b"three")):
            client.send(data)
            assert read(command, len(data)) == data
        command.signal(signal.SIGTERM)
        assert command.code() == 0
        code, out, error = command.end()
    assert (code, out) == (0, b"")
    assert re.fullmatch(counts("0 datagrams, 0 B", "4 datagrams, 11 B") + "\n", error)


@pytest.mark.parametrize("url", ["udp://[::1]:0", "udp://127.0.0.1:", "udp://:0", "udp://localhost:0"])
def test_the_bound_address_is_told_first(url: str) -> None:
    with server(url=url) as command:
        assert re.fullmatch(r"udp://(127\.0\.0\.1|\[::1?\]|0\.0\.0\.0):\d+", command.url)
        with client_of(command) as client:
            client.send(b"hello")
            assert read(command, 5) == b"hello"


def test_input_goes_to_the_last_sender() -> None:
    with server() as command, client_of(command) as first, client_of(command) as second:
        command.send(b"for the first\n")
        first.send(b"1")
        assert first.recv(100) == b"for the first\n"
        second.send(b"2")
        assert read(command, 2) == b"12"
        command.send(b"for the second\nand more\n")
        assert [second.recv(100), second.recv(100)] == [b"for the second\n", b"and more\n"]
        command.signal(signal.SIGTERM)
        assert command.code() == 0
        assert re.fullmatch(counts("3 datagrams, 38 B", "2 datagrams, 2 B") + "\n", command.end()[2])


def test_input_by_bytes() -> None:
    with server("--size", "4") as command, client_of(command) as client:
        client.send(b"1")
        command.send(b"12345678")
        assert [client.recv(100), client.recv(100)] == [b"1234", b"5678"]


def test_a_sender_that_has_gone_is_told_once_and_ends_nothing() -> None:
    with server() as command, client_of(command) as stays:
        with client_of(command) as goes:
            goes.send(b"1")
            assert read(command, 1) == b"1"
        command.send(b"lost\n")
        assert "not delivered: nothing listens there" in command.wait_for("moorings: ", error=True)
        stays.send(b"2")
        assert read(command, 1) == b"2"
        command.send(b"heard\n")
        assert stays.recv(100) == b"heard\n"
        command.signal(signal.SIGTERM)
        assert command.code() == 0
        assert re.fullmatch(counts("2 datagrams, 11 B", "2 datagrams, 2 B", 1) + "\n", command.end()[2])


def test_senders_are_told() -> None:
    with server("--verbose") as command, client_of(command) as client:
        client.send(b"12345")
        assert command.wait_for("127", error=True) == f"{name_of(client)}: 5 B"


def test_it_goes_on_after_the_end_of_input() -> None:
    with server(stdin=subprocess.DEVNULL) as command, client_of(command) as client:
        for data in (b"one", b"two"):
            client.send(data)
            assert read(command, 3) == data


def test_quit_after_ends_it_when_nobody_sends_any_more() -> None:
    with server("--quit-after", "0.2", stdin=subprocess.DEVNULL) as command, client_of(command) as client:
        client.send(b"all")
        code, out, error = command.end(None)
    assert (code, out) == (0, b"all")
    assert re.fullmatch(counts("0 datagrams, 0 B", "1 datagram, 3 B") + "\n", error)


def test_what_came_before_the_signal_is_written() -> None:
    with server() as command, client_of(command) as client:
        for number in range(50):
            client.send(b"%02d" % number)
        command.signal(signal.SIGTERM)
        code, out, _ = command.end()
    assert (code, out) == (0, b"".join(b"%02d" % number for number in range(50)))


def test_control_c_tells_the_counts() -> None:
    with server() as command:
        command.signal(signal.SIGINT)
        assert command.code() == 130
        assert re.fullmatch(counts("0 datagrams, 0 B", "0 datagrams, 0 B") + "\n", command.end()[2])


def test_the_reader_of_the_output_has_gone() -> None:
    with server() as command, client_of(command) as client:
        assert command.process.stdout is not None
        command.process.stdout.close()
        command.process.stdout = None
        client.send(b"hello")
        assert command.code() == 141
        assert command.end()[2] == ""


def test_statistics_as_json() -> None:
    with server("--stats", "--json", "--verbose", "--interval", "0.05") as command, client_of(command) as client:
        client.send(b"12345")
        peer = name_of(client)
        command.wait_for('"datagrams_received": 1', error=True)
        command.signal(signal.SIGTERM)
        assert command.code() == 0
        text = command.said + command.end()[2]
    lines = text.splitlines()
    assert len(objects(text)) == len(lines) - 1, "all but 'listening on'"
    assert objects(text, "datagram") == [{"event": "datagram", "peer": peer, "bytes": 5}]
    assert set(objects(text, "statistics")[-1]) == {
        "event",
        "seconds",
        "datagrams_sent",
        "datagrams_received",
        "bytes_sent",
        "bytes_received",
        "datagrams_sent_per_second",
        "datagrams_received_per_second",
        "sent_per_second",
        "received_per_second",
        "dropped",
        "errors",
        "queued_bytes",
    }
    (summary,) = objects(text, "summary")
    assert (summary["datagrams_received"], summary["bytes_received"], summary["dropped"]) == (1, 5, 0)


def has_loopback_groups() -> bool:
    """Whether the system lets datagrams for a group go through the loopback interface."""
    with plain_peer() as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        try:
            probe.sendto(b"", ("239.255.77.2", receiver.getsockname()[1]))
        except OSError:
            return False
    return True


@pytest.mark.skipif(not has_loopback_groups(), reason="no multicast on the loopback interface")
def test_groups_are_joined() -> None:
    with server("--join", "239.255.77.2", "--join", "239.255.77.3", url="udp://0.0.0.0:0") as command:
        port = int(command.url.rpartition(":")[2])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            for group in ("239.255.77.2", "239.255.77.4", "239.255.77.3"):
                client.sendto(group.encode()[-1:], (group, port))
        assert read(command, 2) == b"23"


# -- echo ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_everything_comes_back(number: int, code: int, loop: str) -> None:
    with server("--echo", "--loop", loop) as command, client_of(command) as first, client_of(command) as second:
        for client in (first, second):
            for data in (b"hello", b"", b"x" * 65_507):
                client.send(data)
                assert client.recv(70_000) == data
        command.signal(number)
        assert command.code() == code
        _, out, error = command.end()
    assert error == ""
    assert re.fullmatch(counts("6 datagrams, 131 kB", "6 datagrams, 131 kB") + "\n", out.decode())


def test_echo_tells_what_comes() -> None:
    with server("--echo", "--verbose") as command, client_of(command) as client:
        client.send(b"12345")
        assert client.recv(100) == b"12345"
        assert command.wait_for("127") == f"{name_of(client)}: 5 B"


def test_a_client_that_has_gone_does_not_hurt_others() -> None:
    with server("--echo", "--stats", "--interval", "0.05") as command, client_of(command) as stays:
        command.signal(signal.SIGSTOP)
        with client_of(command) as goes:
            goes.send(b"1")
        command.signal(signal.SIGCONT)
        command.wait_for("dropped 0, errors 1;")
        stays.send(b"2")
        assert stays.recv(100) == b"2"
        command.signal(signal.SIGTERM)
        assert command.code() == 0
        last = command.end()[1].decode().splitlines()[-1]
        assert re.fullmatch(counts("2 datagrams, 2 B", "2 datagrams, 2 B", 1), last)


def test_echo_statistics_are_lines() -> None:
    with server("--echo", "--stats", "--interval", "0.05") as command, client_of(command) as client:
        client.send(b"12345")
        assert client.recv(100) == b"12345"
        line = command.wait_for("received 1 pkt, sent 1 pkt")
        assert "dropped 0, errors 0" in line


def test_echo_statistics_are_one_line_on_a_terminal() -> None:
    with (
        terminal() as (ours, theirs),
        server("--echo", "--stats", "--interval", "0.05", stdout=theirs) as command,
        client_of(command) as client,
    ):
        client.send(b"12345")
        assert client.recv(100) == b"12345"
        assert b"\n" not in read_until(ours, b" s: in ") + read_until(ours, b" s: in ")
        command.signal(signal.SIGTERM)
        assert command.code() == 0
        assert b"received 1 datagram (5 B)" in read_until(ours, b"errors 0\r\n")


def test_the_reader_of_the_lines_may_go() -> None:
    with server("--echo", "--verbose") as command, client_of(command) as client:
        assert command.process.stdout is not None
        command.process.stdout.close()
        command.process.stdout = None
        client.send(b"hello")
        assert command.code() == 141
        assert command.end()[2] == ""


def test_a_full_disk_ends_the_echo_server() -> None:
    with open("/dev/full", "wb") as full, server("--echo", "--verbose", stdout=full) as command:
        with client_of(command) as client:
            client.send(b"hello")
        code, _, error = command.end()
    assert (code, error) == (1, "moorings: standard output cannot be written: No space left on device\n")


def test_connect_talks_to_listen() -> None:
    with server("--echo") as command, Running("connect", command.url, "--wait", "1") as client:
        assert client.end(b"one\ntwo\n") == (0, b"one\ntwo\n", "")


# -- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("echo", [[], ["--echo"]], ids=["pipe", "echo"])
def test_port_in_use(echo: list[str]) -> None:
    with plain_peer() as other:
        code, error = failure(f"udp://127.0.0.1:{other.getsockname()[1]}", *echo)
    assert code == 1
    assert "another socket has that address and port" in error


def test_unknown_address() -> None:
    code, error = failure("udp://192.0.2.1:0")
    assert code == 1
    assert "this machine does not have that address" in error


def test_an_ipv6_group_on_an_ipv4_socket() -> None:
    code, error = failure("udp://127.0.0.1:0", "--join", "ff02::7701")
    assert code == 1
    assert "ff02::7701 is an IPv6 group" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["udp://"],
        ["udp://::1:80"],
        ["udp://127.0.0.1:65536"],
        ["udp://127.0.0.1:0", "--join", "127.0.0.1"],
        ["udp://127.0.0.1:0", "--join", "not a host"],
        ["udp://127.0.0.1:0", "--size", "0"],
        ["udp://127.0.0.1:0", "--echo", "--size", "10"],
        ["udp://127.0.0.1:0", "--echo", "--quit-after", "1"],
    ],
)
def test_wrong_arguments(arguments: list[str]) -> None:
    code, error = failure(*arguments)
    assert code == 2
    assert error.startswith("moorings listen: ")
    assert error.endswith("see 'moorings listen --help'\n")


@pytest.mark.parametrize(
    ("scheme", "option", "complaint"),
    [
        ("udp", ["--keep"], "does not go with udp://"),
        ("udp", ["--max-connections", "1"], "does not go with udp://"),
        ("udp", ["--drain-timeout", "10"], "does not go with udp://"),
        ("udp", ["--idle-timeout", "1"], "goes with tcp:// and tls:// only"),
        ("udp", ["--no-half-close"], "goes with tcp:// and tls:// only"),
        ("udp", ["--finish-input"], "goes with tcp:// and tls:// only"),
        ("tcp", ["--join", "239.255.77.2"], "goes with udp:// only"),
        ("tcp", ["--size", "10"], "goes with udp:// and ws:// only"),
        ("tcp", ["--verbose"], "goes with udp:// only"),
    ],
)
@pytest.mark.parametrize("echo", [[], ["--echo"]], ids=["pipe", "echo"])
def test_options_of_the_other_kind(scheme: str, option: list[str], complaint: str, echo: list[str]) -> None:
    code, error = failure(f"{scheme}://127.0.0.1:0", *echo, *option)
    assert code == 2
    assert error == f"moorings listen: {option[0]} {complaint}; see 'moorings listen --help'\n"
