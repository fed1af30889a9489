"""`moorings connect` as a process: what goes through it, how it ends, and what it says."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import select
import signal
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from tests.cli.running import (
    PATIENCE,
    Running,
    accept,
    listening,
    objects,
    plain_server,
    read_until,
    receive_all,
    reset,
    terminal,
)
from tests.sockets.peers import refused_port, silent_port

if TYPE_CHECKING:
    from pathlib import Path

BIG = 24 << 20
BLOCK = random.Random(3).randbytes(1 << 20)


def unread(peer: socket.socket) -> bytes:
    """Wait until something has arrived; it stays."""
    return peer.recv(1, socket.MSG_PEEK)


# -- what goes through -----------------------------------------------------------------------------------------------


def test_the_end_of_input_half_closes_and_the_answer_still_comes() -> None:
    with plain_server() as (server, url), Running("connect", url) as command:
        with accept(server) as peer:
            command.send(b"question\n")
            assert command.process.stdin is not None
            command.process.stdin.close()
            command.process.stdin = None
            assert receive_all(peer) == b"question\n"
            peer.sendall(b"an answer after the end\n")
        assert command.end(None) == (0, b"an answer after the end\n", "")


def test_input_may_be_a_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(BLOCK)
    with (
        plain_server() as (server, url),
        source.open("rb") as opened,
        Running("connect", url, stdin=opened) as command,
    ):
        with accept(server) as peer:
            assert receive_all(peer) == BLOCK
        assert command.end(None) == (0, b"", "")


def test_output_may_be_a_file(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with (
        plain_server() as (server, url),
        target.open("wb") as opened,
        Running("connect", url, stdout=opened, stdin=subprocess.DEVNULL) as command,
    ):
        with accept(server) as peer:
            peer.sendall(BLOCK)
        assert command.end(None) == (0, b"", "")
    assert target.read_bytes() == BLOCK


def test_closed_standard_streams(tmp_path: Path) -> None:
    """No connection gets the number of a standard stream, and nothing of the data goes astray."""
    with plain_server() as (server, url):
        command = Running("connect", url, stdin=None, stdout=None, preexec_fn=lambda: (os.close(0), os.close(1)))
        with command:
            with accept(server) as peer:
                peer.sendall(b"for nobody")
                peer.shutdown(socket.SHUT_WR)
                assert receive_all(peer) == b""
            assert command.end(None) == (0, b"", "")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_both_ways_at_once_with_checksums(loop: str) -> None:
    """Through two commands, and through pipes on both sides."""
    with listening("--loop", loop) as server, Running("connect", server.url, "--loop", loop) as client:
        sums: dict[str, str] = {}

        def feed(command: Running, name: str) -> None:
            digest = hashlib.sha256()
            with_input = command.process.stdin
            assert with_input is not None
            for number in range(BIG >> 20):
                piece = BLOCK[number:] + name.encode()
                digest.update(piece)
                with_input.write(piece)
            with_input.close()
            sums[f"sent by {name}"] = digest.hexdigest()

        def drain(command: Running, name: str) -> None:
            digest = hashlib.sha256()
            output = command.process.stdout
            assert output is not None
            while piece := output.read(1 << 18):
                digest.update(piece)
            sums[f"read from {name}"] = digest.hexdigest()

        ends = (("server", server), ("client", client))
        threads = [threading.Thread(target=work, args=(end, name)) for name, end in ends for work in (feed, drain)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert sums["sent by server"] == sums["read from client"]
        assert sums["sent by client"] == sums["read from server"]
        for command in (server, client):
            assert command.code() == 0


def test_pipes_are_widened() -> None:
    """With 64 KiB at a time, handing over between threads would set the pace."""
    with plain_server() as (server, url), Running("connect", url) as command:
        with accept(server) as peer:
            peer.sendall(b"x")
            assert command.process.stdout is not None
            assert command.process.stdin is not None
            command.process.stdout.read(1)
            for pipe in (command.process.stdin, command.process.stdout):
                assert fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) == 256 << 10
        assert command.code() == 0


def test_a_slow_reader_holds_the_sender_up() -> None:
    """Memory stays bounded: the command takes from its input no more than the buffers on the way hold."""
    with plain_server() as (server, url):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        with open("/dev/zero", "rb") as endless, Running("connect", url, stdin=endless, stdout=None) as command:
            with accept(server) as peer:
                unread(peer)
                peak = before = 0
                for _ in range(200):
                    status = f"/proc/{command.process.pid}/status"
                    with open(status, encoding="ascii") as lines:
                        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
                    before = before or peak
                    peer.recv(1000)
                assert peak - before < 32 << 10  # KiB
                reset(peer)
            assert command.code() == 1


def test_a_slow_reader_of_the_output_holds_the_server_up() -> None:
    with plain_server() as (server, url), Running("connect", url) as command:
        with accept(server) as peer:
            peer.setblocking(False)
            sent = 0
            # Nobody reads the command's output, so there must come an end.
            while select.select([], [peer], [], 0.5)[1]:
                sent += peer.send(BLOCK)
                assert sent < 64 << 20
            peer.setblocking(True)
            peer.shutdown(socket.SHUT_WR)
            code, out, error = command.end()
        assert (code, len(out), error) == (0, sent, "")


def test_a_server_that_ends_early_gets_the_rest_of_the_input() -> None:
    """It may only have half-closed: nobody can tell from outside."""
    with plain_server() as (server, url), Running("connect", url) as command, accept(server) as peer:
        peer.shutdown(socket.SHUT_WR)
        command.send(b"said afterwards")
        assert peer.recv(4) == b"said"
        command.process.stdin.close()  # type: ignore[union-attr]
        command.process.stdin = None
        assert receive_all(peer) == b" afterwards"
        assert command.end(None) == (0, b"", "")


def test_a_silent_pipe_is_not_waited_for_once_the_server_has_ended() -> None:
    with plain_server() as (server, url), Running("connect", url) as command:
        accept(server).close()
        assert command.code() == 0


def test_finish_input_waits_for_a_slow_pipe() -> None:
    with plain_server() as (server, url), Running("connect", url, "--finish-input", "--stats") as command:
        with accept(server) as peer:
            peer.shutdown(socket.SHUT_WR)
            for _ in range(2):  # longer than the patience without the option
                command.wait_for(" s: ", error=True)
            command.send(b"late")
            assert command.process.stdin is not None
            command.process.stdin.close()
            command.process.stdin = None
            assert receive_all(peer) == b"late"
        assert command.end(None)[0] == 0


def test_no_half_close() -> None:
    with (
        plain_server() as (server, url),
        Running("connect", url, "--no-half-close", stdin=subprocess.DEVNULL) as command,
    ):
        with accept(server) as peer:
            peer.sendall(b"x")
            command.process.stdout.read(1)  # type: ignore[union-attr]
            peer.setblocking(False)
            with pytest.raises(BlockingIOError):
                peer.recv(1)
        assert command.end(None) == (0, b"", "")


def test_quit_after_does_not_wait_for_a_silent_server() -> None:
    with (
        plain_server() as (server, url),
        Running("connect", url, "--quit-after", "0.1") as command,
        accept(server) as peer,
    ):
        peer.sendall(b"an answer")
        assert command.end(b"question") == (0, b"an answer", "")
        assert receive_all(peer) == b"question"


# -- a terminal ------------------------------------------------------------------------------------------------------


def test_a_terminal_types_and_ends_with_the_server() -> None:
    with (
        plain_server() as (server, url),
        terminal() as (ours, theirs),
        Running("connect", url, stdin=theirs, stdout=theirs, stderr=theirs) as command,
    ):
        with accept(server) as peer:
            os.write(ours, b"typed\n")
            assert peer.recv(100) == b"typed\n"
            peer.sendall(b"answered\n")
            assert b"answered" in read_until(ours, b"answered")
            assert not fcntl.fcntl(theirs, fcntl.F_GETFL) & os.O_NONBLOCK
        assert command.code() == 0
        assert not fcntl.fcntl(theirs, fcntl.F_GETFL) & os.O_NONBLOCK


def test_a_terminal_ends_its_input_with_control_d() -> None:
    with (
        plain_server() as (server, url),
        terminal() as (ours, theirs),
        Running("connect", url, stdin=theirs) as command,
    ):
        with accept(server) as peer:
            os.write(ours, b"typed\n\x04")
            assert receive_all(peer) == b"typed\n"
        assert command.code() == 0


def test_statistics_are_one_line_on_a_terminal() -> None:
    with (
        plain_server() as (server, url),
        terminal() as (ours, theirs),
        Running("connect", url, "--stats", "--interval", "0.05", stderr=theirs) as command,
    ):
        with accept(server):
            assert b"connected to 127.0.0.1:" in read_until(ours, b"\n")
            shown = read_until(ours, b" s: RTT ")
            shown += read_until(ours, b" s: RTT ")
            assert b"\r" in shown
            assert b"\n" not in shown
        assert command.code() == 0
        assert b"ended: CLOSED_BY_PEER" in read_until(ours, b"ended: CLOSED_BY_PEER")


# -- statistics ------------------------------------------------------------------------------------------------------


def test_statistics_are_lines_elsewhere() -> None:
    with plain_server() as (server, url), Running("connect", url, "--stats", "--interval", "0.05") as command:
        with accept(server) as peer:
            command.wait_for("connected to 127.0.0.1:", error=True)
            command.send(b"12345")
            line = command.wait_for("sent 5 B", error=True)
            for part in (" s: RTT ", "sent 5 B, received 0 B", "B/s out", "RTT ", "bandwidth ", "queue "):
                assert part in line
            assert peer.recv(100) == b"12345"
            peer.sendall(b"123")
        code, out, error = command.end()
    assert (code, out) == (0, b"123")
    last = error.splitlines()[-1]
    assert last.startswith("sent 5 B, received 3 B in ")
    assert "retransmits" in last
    assert last.endswith("ended: CLOSED_BY_PEER")


def test_statistics_as_json() -> None:
    with plain_server() as (server, url), Running("connect", url, "--stats", "--json", "--interval", "0.05") as command:
        with accept(server) as peer:
            command.send(b"12345")
            command.wait_for('"bytes_sent": 5', error=True)
            assert peer.recv(100) == b"12345"
            peer.sendall(b"123")
        code, out, error = command.end()
    assert (code, out) == (0, b"123")
    text = command.said + error
    assert len(objects(text)) == len(text.splitlines())
    (connected,) = objects(text, "connected")
    assert connected["peer"] == url.removeprefix("tcp://")
    facts = objects(text, "statistics")[-1]
    assert set(facts) == {
        "event",
        "seconds",
        "bytes_sent",
        "bytes_received",
        "sent_per_second",
        "received_per_second",
        "round_trip_time_us",
        "lowest_round_trip_time_us",
        "outbound_bits_per_second",
        "inbound_bits_per_second",
        "queued_bytes",
        "unacknowledged_bytes",
        "unread_bytes",
    }
    (summary,) = objects(text, "summary")
    assert summary["bytes_sent"] == 5
    assert summary["bytes_received"] == 3
    assert summary["end_reason"] == "CLOSED_BY_PEER"
    assert summary["retransmits"] == 0


def test_a_summary_alone_as_json() -> None:
    with plain_server() as (server, url), Running("connect", url, "--json") as command:
        accept(server).close()
        code, _, error = command.end()
    assert code == 0
    assert [value["event"] for value in objects(error)] == ["summary"]


# -- failures --------------------------------------------------------------------------------------------------------


def failure(*arguments: str, data: bytes = b"") -> tuple[int, str]:
    """Code and complaint of a command that must fail; one line."""
    with Running("connect", *arguments) as command:
        code, out, error = command.end(data)
    assert out == b""
    assert error.count("\n") == 1, error
    return code, error


def test_refused() -> None:
    with refused_port() as port:
        code, error = failure(f"tcp://127.0.0.1:{port}")
    assert code == 1
    assert "refused" in error


def test_unknown_host() -> None:
    code, error = failure("tcp://no-such-host.invalid:80")
    assert code == 1
    assert "no-such-host.invalid" in error


def test_no_connection_in_time() -> None:
    with silent_port() as port:
        code, error = failure(f"tcp://127.0.0.1:{port}", "--timeout", "0.2")
    assert code == 1
    assert "no connection within 0.2 s" in error


def test_a_scheme_that_comes_later() -> None:
    code, error = failure("rfcomm://127.0.0.1:80")
    assert code == 1
    assert "does not implement yet" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["127.0.0.1:80"],
        ["tcp://127.0.0.1"],
        ["tcp://::1:80"],
        ["http://127.0.0.1:80"],
        ["tcp://127.0.0.1:65536"],
        ["tcp://127.0.0.1:80", "--timeout", "nan"],
        ["tcp://127.0.0.1:80", "--timeout", "-1"],
        ["tcp://127.0.0.1:80", "--interval", "0"],
        ["tcp://127.0.0.1:80", "--idle-timeout", "soon"],
        [],
    ],
)
def test_wrong_arguments(arguments: list[str]) -> None:
    code, error = failure(*arguments)
    assert code == 2
    assert error.startswith("moorings connect: ")
    assert error.endswith("see 'moorings connect --help'\n")


def test_reset_while_data_is_on_its_way() -> None:
    with (
        plain_server() as (server, url),
        open("/dev/zero", "rb") as endless,
        Running("connect", url, "--stats", "--interval", "60", stdin=endless) as command,
    ):
        with accept(server) as peer:
            unread(peer)
            reset(peer)
        code, out, error = command.end(None)
    assert (code, out) == (1, b"")
    assert "reset the connection" in error.splitlines()[-1]
    assert error.splitlines()[-2].endswith("ended: RESET")


def test_reset_after_everything_was_delivered() -> None:
    with plain_server() as (server, url), Running("connect", url) as command:
        peer = accept(server)
        command.send(b"all")
        command.process.stdin.close()  # type: ignore[union-attr]
        command.process.stdin = None
        assert receive_all(peer) == b"all"
        peer.sendall(b"answer")
        assert command.process.stdout is not None
        assert command.process.stdout.read(6) == b"answer"
        reset(peer)
        code, out, error = command.end(None)
    assert (code, out) == (1, b"")
    assert "reset the connection" in error


def test_data_that_a_server_did_not_take_after_its_end() -> None:
    """It has closed altogether: what is sent now is answered with a reset, behind its last byte."""
    with plain_server() as (server, url), Running("connect", url, "--finish-input", "--json") as command:
        peer = accept(server)
        peer.sendall(b"bye")
        peer.close()
        assert command.process.stdout is not None
        assert command.process.stdout.read(3) == b"bye"
        code, _, error = command.end(b"too late")
    assert code == 1
    assert objects(error, "summary")[0]["end_reason"] == "RESET"
    assert "sending failed" in error.splitlines()[-1]


def test_idle_timeout() -> None:
    with plain_server() as (server, url), Running("connect", url, "--idle-timeout", "0.2") as command:
        with accept(server) as peer:
            assert command.code() == 1
            with pytest.raises(ConnectionResetError):
                peer.recv(1)
        assert "nothing came or went for 0.2 s" in command.end()[2]


def test_input_that_cannot_be_read(tmp_path: Path) -> None:
    with (
        (tmp_path / "write only").open("wb") as unreadable,
        plain_server() as (server, url),
        Running("connect", url, stdin=unreadable) as command,
        accept(server),
    ):
        code, _, error = command.end(None)
    assert (code, error) == (1, "moorings: standard input cannot be read: Bad file descriptor\n")


def test_output_that_cannot_be_written() -> None:
    with (
        plain_server() as (server, url),
        open("/dev/full", "wb") as full,
        Running("connect", url, stdout=full, stdin=subprocess.DEVNULL) as command,
        accept(server) as peer,
    ):
        peer.sendall(b"x")
        code, _, error = command.end(None)
    assert (code, error) == (1, "moorings: standard output cannot be written: No space left on device\n")


def test_the_reader_of_the_output_may_go() -> None:
    """Noticed with the next byte, while nothing else moves."""
    with plain_server() as (server, url), Running("connect", url) as command, accept(server) as peer:
        command.process.stdout.close()  # type: ignore[union-attr]
        command.process.stdout = None
        peer.sendall(b"x")
        assert command.code() == 141
        assert command.end()[2] == ""


# -- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cuts_a_pipe_off(number: int, code: int, loop: str) -> None:
    """A FIN would tell the server that it has everything."""
    with (
        plain_server() as (server, url),
        Running("connect", url, "--json", "--loop", loop) as command,
        accept(server) as peer,
    ):
        command.send(b"a part")
        assert peer.recv(100) == b"a part"
        command.signal(number)
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
        assert command.code() == code
        error = command.end()[2]
        assert [value["end_reason"] for value in objects(error)] == ["ABORTED"]
        assert error.count("\n") == 1


def test_control_c_while_nobody_reads_the_output() -> None:
    """A thread sits in a write then; it does not hold the end."""
    with plain_server() as (server, url), Running("connect", url) as command, accept(server) as peer:
        while select.select([], [peer], [], 0.2)[1]:
            peer.send(BLOCK)
        command.signal(signal.SIGINT)
        assert command.code() == 130


def test_control_c_while_connecting() -> None:
    with (
        silent_port() as port,
        terminal() as (ours, theirs),
        Running("connect", f"tcp://127.0.0.1:{port}", stderr=theirs) as command,
    ):
        read_until(ours, b"connecting to tcp://127.0.0.1:")
        command.signal(signal.SIGINT)
        assert command.code() == 130


def test_control_c_says_goodbye_for_who_typed() -> None:
    with (
        plain_server() as (server, url),
        terminal() as (ours, theirs),
        Running("connect", url, stdin=theirs) as command,
        accept(server) as peer,
    ):
        os.write(ours, b"typed\n")
        assert peer.recv(100) == b"typed\n"
        command.signal(signal.SIGINT)
        assert peer.recv(1) == b""
        assert command.code() == 130


def test_help_has_examples_and_exit_codes() -> None:
    with Running("connect", "--help") as command:
        code, out, error = command.end()
    assert (code, error) == (0, "")
    for part in (b"Examples:", b"--stats", b"Exit codes:"):
        assert part in out
