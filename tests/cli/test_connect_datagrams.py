"""`moorings connect udp://...` as a process, with a plain socket as its peer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.cli.running import PATIENCE, Running, end_input, listening, objects, read_until, terminal
from tests.sockets.datagram_peers import ADDRESSES, plain_peer, unused_port

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = "not delivered: nothing listens there"


def url_of(peer: socket.socket) -> str:
    host, port = peer.getsockname()[:2]
    return f"udp://[{host}]:{port}" if ":" in host else f"udp://{host}:{port}"


# -- what goes out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ADDRESSES)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_every_line_is_a_datagram(family: socket.AddressFamily, loop: str) -> None:
    with plain_peer(family) as peer, Running("connect", url_of(peer), "--wait", "0.1", "--loop", loop) as command:
        command.send(b"first\n\nthird\r\nno end")
        end_input(command)
        assert [peer.recv(100) for _ in range(4)] == [b"first\n", b"\n", b"third\r\n", b"no end"]
        assert command.end(None) == (0, b"", "")


def test_so_many_bytes_are_a_datagram(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(250)))
    with (
        plain_peer() as peer,
        source.open("rb") as opened,
        Running("connect", url_of(peer), "--size", "100", "--wait", "0.1", stdin=opened) as command,
    ):
        assert [len(peer.recv(1000)) for _ in range(3)] == [100, 100, 50]
        assert command.end(None) == (0, b"", "")


def test_a_line_goes_out_when_it_is_there() -> None:
    with plain_peer() as peer, Running("connect", url_of(peer), "--wait", "0") as command:
        command.send(b"half a line")
        command.send(b" and the rest\n")
        assert peer.recv(100) == b"half a line and the rest\n"
        assert command.end() == (0, b"", "")


def test_a_line_that_no_datagram_holds() -> None:
    """What stands before it has gone out."""
    with plain_peer() as peer, Running("connect", url_of(peer)) as command:
        code, out, error = command.end(b"fits\n" + b"x" * 65_507 + b"\n")
        assert peer.recv(100) == b"fits\n"
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(1)
    assert (code, out) == (1, b"")
    assert error == (
        "moorings: line 2 of standard input is longer than a datagram, 65507 bytes; cut by bytes with --size\n"
    )


@pytest.mark.parametrize("size", [65_507, 65_506])
def test_the_largest_datagram(size: int) -> None:
    with plain_peer() as peer, Running("connect", url_of(peer), "--wait", "0") as command:
        code, _, error = command.end(b"x" * (size - 1) + b"\n")
        assert (code, error) == (0, "")
        assert len(peer.recv(70_000)) == size


def test_many_datagrams_arrive_whole_and_in_order() -> None:
    with plain_peer() as peer, Running("connect", url_of(peer), "--size", "7", "--wait", "0") as command:
        data = os.urandom(700)
        for start in range(0, len(data), 70):
            command.send(data[start : start + 70])
            assert b"".join(peer.recv(100) for _ in range(10)) == data[start : start + 70]
        assert command.end() == (0, b"", "")


# -- what comes ------------------------------------------------------------------------------------------------------


def test_answers_are_awaited_after_the_end_of_input() -> None:
    with plain_peer() as peer, Running("connect", url_of(peer), "--wait", "2") as command:
        command.send(b"question\n")
        end_input(command)
        data, address = peer.recvfrom(100)
        assert data == b"question\n"
        assert command.process.stdout is not None
        for answer in (b"one", b"", b"two"):
            peer.sendto(answer, address)
            assert command.process.stdout.read(len(answer)) == answer
        assert command.end(None) == (0, b"", "")


def test_nobody_else_is_heard() -> None:
    with plain_peer() as peer, plain_peer() as stranger, Running("connect", url_of(peer), "--wait", "0.1") as command:
        command.send(b"question\n")
        _, address = peer.recvfrom(100)
        stranger.sendto(b"a lie", address)
        peer.sendto(b"answer", address)
        assert command.end() == (0, b"answer", "")


def test_who_sent_is_told() -> None:
    with plain_peer() as peer, Running("connect", url_of(peer), "--verbose", "--wait", "0.1") as command:
        command.send(b"question\n")
        peer.sendto(b"answer", peer.recvfrom(100)[1])
        assert command.end() == (0, b"answer", f"{url_of(peer).removeprefix('udp://')}: 6 B\n")


def test_output_may_be_a_file(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with (
        plain_peer() as peer,
        target.open("wb") as opened,
        Running("connect", url_of(peer), "--wait", "0.2", stdout=opened) as command,
    ):
        command.send(b"question\n")
        address = peer.recvfrom(100)[1]
        for number in range(100):
            peer.sendto(b"%d\n" % number, address)
        assert command.end() == (0, b"", "")
    assert target.read_bytes() == b"".join(b"%d\n" % number for number in range(100))


def has_way_to_groups() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("239.255.77.1", 9))
        except OSError:
            return False
    return True


@pytest.mark.skipif(not has_way_to_groups(), reason="no route to multicast groups")
def test_a_group_is_asked_and_its_members_answer() -> None:
    """Each answers from its own address."""
    with listening("--join", "239.255.77.1", "--echo", url="udp://0.0.0.0:0") as member:
        port = member.url.rpartition(":")[2]
        with Running("connect", f"udp://239.255.77.1:{port}", "--verbose", "--wait", "1") as command:
            code, out, error = command.end(b"who is there?\n")
    assert (code, out) == (0, b"who is there?\n")
    assert error.endswith(f":{port}: 14 B\n")
    assert not error.startswith("239.")


# -- a terminal ------------------------------------------------------------------------------------------------------


def test_a_terminal_types_lines() -> None:
    with (
        plain_peer() as peer,
        terminal() as (ours, theirs),
        Running("connect", url_of(peer), "--wait", "0.1", stdin=theirs, stdout=theirs, stderr=theirs) as command,
    ):
        os.write(ours, b"typed\n")
        data, address = peer.recvfrom(100)
        assert data == b"typed\n"
        peer.sendto(b"answered\n", address)
        assert b"answered" in read_until(ours, b"answered")
        os.write(ours, b"\x04")
        assert command.code() == 0


def test_statistics_are_one_line_on_a_terminal() -> None:
    with (
        plain_peer() as peer,
        terminal() as (ours, theirs),
        Running("connect", url_of(peer), "--stats", "--interval", "0.05", "--wait", "0", stderr=theirs) as command,
    ):
        shown = read_until(ours, b" s: in ") + read_until(ours, b" s: in ")
        assert b"\r" in shown
        assert b"\n" not in shown
        end_input(command)
        assert command.code() == 0
        assert b"sent 0 datagrams (0 B), received 0 datagrams" in read_until(ours, b"errors 0\r\n")


# -- statistics ------------------------------------------------------------------------------------------------------


def test_statistics_are_lines_elsewhere() -> None:
    with (
        plain_peer() as peer,
        Running("connect", url_of(peer), "--stats", "--interval", "0.05", "--wait", "0.1") as command,
    ):
        command.send(b"12345\n")
        peer.sendto(b"123", peer.recvfrom(100)[1])
        line = command.wait_for("received 1 pkt, sent 1 pkt", error=True)
        for part in (" s: in ", "pkt/s", "B/s, out ", "dropped 0, errors 0"):
            assert part in line
        code, out, error = command.end()
    assert (code, out) == (0, b"123")
    last = error.splitlines()[-1]
    assert last.startswith("sent 1 datagram (6 B), received 1 datagram (3 B) in ")
    assert last.endswith("; dropped 0, errors 0")


def test_a_summary_alone_as_json() -> None:
    with plain_peer() as peer, Running("connect", url_of(peer), "--json", "--wait", "0.2", "-v") as command:
        command.send(b"12345\n")
        peer.sendto(b"123", peer.recvfrom(100)[1])
        name = url_of(peer).removeprefix("udp://")
        code, out, error = command.end()
    assert (code, out) == (0, b"123")
    told, summary = objects(error)
    assert told == {"event": "datagram", "peer": name, "bytes": 3}
    assert summary.pop("seconds") > 0
    assert summary == {
        "event": "summary",
        "datagrams_sent": 1,
        "datagrams_received": 1,
        "bytes_sent": 6,
        "bytes_received": 3,
        "dropped": 0,
        "errors": 0,
    }


# -- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"anybody?", b"anybody?\nreally?\n"])
def test_nobody_listens_there(text: bytes) -> None:
    """It is known at once, so there is nothing to wait for."""
    with Running("connect", f"udp://127.0.0.1:{unused_port()}", "--wait", "3600") as command:
        code, out, error = command.end(text)
    assert (code, out) == (1, b"")
    assert error.count("\n") == 1
    assert NOBODY in error


def test_nobody_listens_there_as_json() -> None:
    with Running("connect", f"udp://127.0.0.1:{unused_port()}", "--json") as command:
        code, _, error = command.end(b"anybody?\n")
    assert code == 1
    failed, summary = objects(error)
    assert failed["event"] == "failed"
    assert NOBODY in failed["reason"]
    assert summary["errors"] == 1


def test_a_server_that_comes_later() -> None:
    """Nobody is there at first; that is told once, and ends nothing."""
    port = unused_port()
    with Running("connect", f"udp://127.0.0.1:{port}", "--wait", "0.2") as command:
        command.send(b"anybody?\n")
        assert NOBODY in command.wait_for("moorings:", error=True)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", port))
            peer.settimeout(PATIENCE)
            command.send(b"and now?\n")
            data, address = peer.recvfrom(100)
            assert data == b"and now?\n"
            peer.sendto(b"yes", address)
            assert command.process.stdout is not None
            assert command.process.stdout.read(3) == b"yes"
        command.send(b"still there?\n")
        assert NOBODY in command.wait_for("moorings:", error=True)
        assert command.end() == (0, b"", "")


def test_a_server_that_never_answers_is_no_failure() -> None:
    with plain_peer() as peer, Running("connect", url_of(peer), "--wait", "0.1") as command:
        assert command.end(b"a line for the log\n") == (0, b"", "")
        assert peer.recv(100) == b"a line for the log\n"


def test_the_reader_of_the_output_has_gone() -> None:
    with plain_peer() as peer, Running("connect", url_of(peer)) as command:
        command.send(b"question\n")
        address = peer.recvfrom(100)[1]
        assert command.process.stdout is not None
        command.process.stdout.close()
        command.process.stdout = None
        peer.sendto(b"answer", address)
        assert command.code() == 141
        assert command.end()[2] == ""


def test_a_full_disk() -> None:
    with (
        open("/dev/full", "wb") as full,
        plain_peer() as peer,
        Running("connect", url_of(peer), stdout=full) as command,
    ):
        command.send(b"question\n")
        peer.sendto(b"answer", peer.recvfrom(100)[1])
        assert command.code() == 1
        assert command.end()[2] == "moorings: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_quietly(number: int, code: int) -> None:
    with plain_peer() as peer, Running("connect", url_of(peer)) as command:
        command.send(b"question\n")
        peer.recv(100)
        command.signal(number)
        assert command.code() == code
        assert command.end()[1:] == (b"", "")


def failure(*arguments: str) -> tuple[int, str]:
    """Code and complaint of a command that must fail; one line."""
    with Running("connect", *arguments, stdin=subprocess.DEVNULL) as command:
        code, out, error = command.end(None)
    assert out == b""
    assert error.count("\n") == 1, error
    return code, error


def test_unknown_host() -> None:
    code, error = failure("udp://no-such-host.invalid:80")
    assert code == 1
    assert "no-such-host.invalid" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["udp://127.0.0.1"],
        ["udp://127.0.0.1:65536"],
        ["udp://::1:80"],
        ["udp://127.0.0.1:80", "--size", "0"],
        ["udp://127.0.0.1:80", "--size", "65508"],
        ["udp://127.0.0.1:80", "--wait", "-1"],
        ["udp://127.0.0.1:80", "--wait", "soon"],
    ],
)
def test_wrong_arguments(arguments: list[str]) -> None:
    code, error = failure(*arguments)
    assert code == 2
    assert error.startswith("moorings connect: ")
    assert error.endswith("see 'moorings connect --help'\n")


@pytest.mark.parametrize(
    ("scheme", "option", "others"),
    [
        ("udp", ["--idle-timeout", "1"], "tcp:// and tls://"),
        ("udp", ["--no-half-close"], "tcp:// and tls://"),
        ("udp", ["--finish-input"], "tcp:// and tls://"),
        ("tcp", ["--size", "10"], "udp:// and ws://"),
        ("tcp", ["--verbose"], "udp://"),
    ],
)
def test_options_of_the_other_kind(scheme: str, option: list[str], others: str) -> None:
    code, error = failure(f"{scheme}://127.0.0.1:80", *option)
    assert code == 2
    assert error == f"moorings connect: {option[0]} goes with {others} only; see 'moorings connect --help'\n"
