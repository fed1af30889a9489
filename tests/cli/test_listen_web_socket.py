"""`moorings listen ws://...` as a process, with the websockets package as its client."""

from __future__ import annotations

import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.running import PATIENCE, Running, end_input, listening, objects
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
URL = "ws://127.0.0.1:0"


@contextmanager
def client(running: Running, **options: Any) -> Iterator[ClientConnection]:
    with connect(running.url, compression=None, open_timeout=PATIENCE, close_timeout=PATIENCE, **options) as opened:
        yield opened


@contextmanager
def silent_client(running: Running) -> Iterator[socket.socket]:
    """One that has shaken hands, and says nothing on its own."""
    host, _, port = running.url.removeprefix("ws://").rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE) as peer:
        peer.sendall(REQUEST)
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += peer.recv(1)
        yield peer


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_one_client_talks_to_standard_input_and_output(loop: str) -> None:
    with listening("--loop", loop, url=f"{URL}/chat") as command:
        assert command.url.endswith("/chat")
        with client(command) as peer:
            command.send("größer\r\n\nhalf".encode())
            assert [peer.recv(PATIENCE) for _ in range(2)] == ["größer", ""]
            command.send(b" a line")
            end_input(command)
            assert peer.recv(PATIENCE) == "half a line"
            peer.send("text")
            peer.send(b"\x00bytes\n")
            peer.send("end")
        assert command.end(None) == (0, b"text\n\x00bytes\nend\n", "")


def test_with_keep_one_client_comes_after_the_other_and_others_get_503() -> None:
    with listening("--keep", "--stats", url=URL) as command:
        for number in range(2):
            with client(command) as peer:
                command.wait_for("connected with 127.0.0.1:", error=True)
                with pytest.raises(InvalidStatus, match="503"), client(command):
                    pass
                peer.send(f"I am {number}")
            assert "received 1 message" in command.wait_for("sent 0 messages", error=True)
        with client(command) as peer:
            peer.close(4000, "bad")
        assert command.wait_for("moorings: ", error=True).endswith("the peer has closed with 4000 bad")
        command.signal(signal.SIGTERM)
        code, out, error = command.end(None)
    assert (code, out) == (0, b"I am 0\nI am 1\n")
    assert error.endswith("drained: opened 3, closed 3, aborted 0, refused 2\n")


def test_without_keep_others_are_refused() -> None:
    with listening(url=URL) as command, client(command) as peer:
        command.send(b"hello\n")
        assert peer.recv(PATIENCE) == "hello"
        with pytest.raises(ConnectionRefusedError), client(command):
            pass


def test_binary_sends_what_is_read() -> None:
    with listening("--binary", "--size", "3", url=URL) as command, client(command) as peer:
        command.send(b"ab\ncd")
        assert peer.recv(PATIENCE) == b"ab\n"
        end_input(command)
        assert peer.recv(PATIENCE) == b"cd"


def test_echo_tells_who_came_and_went_and_drains_with_1001() -> None:
    with listening("--echo", "--drain-timeout", "30", url=URL) as command, client(command) as first:
        with client(command) as second:
            for message in ("text", b"bytes"):
                second.send(message)
                assert second.recv(PATIENCE) == message
        command.wait_for("came")
        went = command.wait_for("went")
        assert "CLOSED_BY_US (closed with 1000)" in went
        command.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as caught:
            first.recv(PATIENCE)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001
        code, out, error = command.end(None)
    assert code == 0
    assert out.decode().splitlines()[-1] == "drained: opened 2, closed 2, aborted 0"
    assert error == "draining: up to 30 s for 1 connection; once more aborts\n"


def test_a_second_signal_aborts_a_client_that_does_not_answer() -> None:
    with listening("--echo", "--json", url=URL) as command, silent_client(command) as peer:
        command.signal(signal.SIGTERM)
        command.wait_for("draining", error=True)
        assert peer.recv(2) == b"\x88\x02"
        command.signal(signal.SIGTERM)
        code, out, _ = command.end(None)
    assert code == 143
    (drained,) = objects(out.decode(), "drained")
    counts = {"opened": 1, "closed": 0, "aborted": 1, "broken": 0, "refused": {}, "handshakes_failed": 0}
    assert drained == {"event": "drained", **counts}


def test_broadcast_sends_to_all_others_and_input_to_all() -> None:
    with (
        listening("--broadcast", url=URL) as command,
        client(command) as first,
        client(command) as second,
    ):
        for _ in range(2):
            command.wait_for("came")
        first.send("from the first")
        assert second.recv(PATIENCE) == "from the first"
        command.send(b"news\n")
        assert [each.recv(PATIENCE) for each in (first, second)] == ["news", "news"]
        end_input(command)
        second.send(b"on it goes")
        assert first.recv(PATIENCE) == b"on it goes"
        command.signal(signal.SIGTERM)
        assert b"goes" not in command.end(None)[1]


def test_max_connections_subprotocols_and_origins() -> None:
    arguments = ["--echo", "--max-connections", "1", "--subprotocol", "b", "--subprotocol", "a"]
    with listening(*arguments, "--origin", "https://good.example:443", url=URL) as command:
        with pytest.raises(InvalidStatus, match="403"), client(command, origin="https://evil.example"):
            pass
        good: Any = "https://good.example"
        with client(command, origin=good, subprotocols=["a", "b"]) as peer:
            assert peer.subprotocol == "b"
            with pytest.raises(InvalidStatus, match="503"), client(command, origin=good):
                pass


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([URL, "--idle-timeout", "5"], "--idle-timeout goes with tcp:// and tls:// only"),
        ([URL, "--verbose"], "--verbose goes with udp:// only"),
        ([URL, "--cert", "tests/cli/self_signed.pem"], "--cert goes with tls:// and wss:// only"),
        (["wss://127.0.0.1:0"], "a TLS server needs a certificate: --cert"),
        ([URL, "--echo", "--broadcast"], "--broadcast does not go with --echo"),
        ([URL, "--broadcast", "--keep"], "--keep does not go with --broadcast"),
        ([URL, "--size", "5"], "--size goes with --binary: a line is a text message"),
        (["tcp://127.0.0.1:0", "--broadcast"], "--broadcast goes with ws:// and wss:// only"),
        (["tcp://127.0.0.1:0", "--size", "5"], "--size goes with udp:// and ws:// only"),
        (["ws://127.0.0.1:0/chat#top"], "invalid value for URL"),
        ([URL, "--subprotocol", "a b"], "invalid value for --subprotocol: 'a b' is no name of a subprotocol"),
        ([URL, "--origin", "foo"], "invalid value for --origin: 'foo' is no origin; write scheme and host"),
        ([URL, "--max-connections", "7"], "--max-connections goes with --echo or --broadcast"),
    ],
)
def test_wrong_arguments(arguments: list[str], said: str) -> None:
    with Running("listen", *arguments) as command:
        code, out, error = command.end()
    assert (code, out) == (2, b"")
    assert said in error
    assert error.count("\n") == 1
