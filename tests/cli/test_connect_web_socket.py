"""`moorings connect ws://...` as a process, with the websockets package as its server."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.running import PATIENCE, Running, accept, objects, plain_server, read_until, terminal
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def server(handler: Callable[[ServerConnection], None], **options: Any) -> Iterator[str]:
    """A server on a thread, and its URL."""
    options = {"compression": None, **options}
    with serve(handler, "127.0.0.1", 0, **options) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        try:
            scheme = "wss" if "ssl" in options else "ws"
            yield f"{scheme}://127.0.0.1:{made.socket.getsockname()[1]}/chat?room=1"
        finally:
            made.shutdown()
            thread.join()


def echo(peer: ServerConnection) -> None:
    for message in peer:
        peer.send(message)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_lines_are_messages_and_answers_are_awaited(loop: str) -> None:
    with server(echo) as url, Running("connect", url, "--loop", loop, "--wait", "0.5") as command:
        assert command.end("größer\n\nend".encode()) == (0, "größer\n\nend\n".encode(), "")


def test_binary_goes_both_ways_unchanged(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    source = tmp_path / "source"
    source.write_bytes(data)
    with (
        server(echo) as url,
        source.open("rb") as opened,
        Running("connect", url, "--binary", "--wait", "1", stdin=opened) as command,
    ):
        assert command.end(None) == (0, data, "")


def test_the_request_says_what_the_options_say() -> None:
    seen: list[Any] = []

    def handle(peer: ServerConnection) -> None:
        assert peer.request is not None
        seen.append((peer.request.path, peer.request.headers["X-Token"], peer.subprotocol))
        seen.append(peer.request.headers.get("Sec-WebSocket-Extensions"))

    offered: Any = ["b"]
    arguments = ["--header", "X-Token: a: b ", "--subprotocol", "a", "--subprotocol", "b", "--compression"]
    with server(handle, subprotocols=offered) as url, Running("connect", url, *arguments) as command:
        assert command.end()[0] == 0
    assert seen[0] == ("/chat?room=1", "a: b", "b")
    assert seen[1].startswith("permessage-deflate")


def test_a_terminal_gets_marks_types_and_the_end() -> None:
    def handle(peer: ServerConnection) -> None:
        assert peer.recv(PATIENCE) == "typed"
        peer.send("two\nlines")
        peer.send(b"\x01\x02")
        peer.close(1000, "bye")

    with (
        server(handle) as url,
        terminal() as (master, slave),
        Running("connect", url, stdin=slave, stdout=slave, stderr=slave) as command,
    ):
        os.write(master, b"typed\n")
        text = read_until(master, b"bye")
        assert b"< two\r\n  lines\r\n< binary, 2 B: 01 02\r\n" in text
        assert b"closed with 1000 bye" in text
        assert command.code() == 0


@pytest.mark.parametrize(
    ("code", "reason", "exit_code", "said"),
    [
        (1000, "bye", 0, ""),
        (1001, "", 0, ""),
        (1011, "no", 1, "the peer has closed with 1011 no\n"),
        (4000, "ä\x1b", 1, "the peer has closed with 4000 ä\\x1b\n"),
    ],
)
def test_the_code_of_the_end_is_that_of_the_command(code: int, reason: str, exit_code: int, said: str) -> None:
    def handle(peer: ServerConnection) -> None:
        peer.send("last words")
        peer.close(code, reason)

    with server(handle) as url, Running("connect", url) as command:
        assert command.code() == exit_code
        _, out, error = command.end()
    assert out == b"last words\n"
    assert error.endswith(said)
    assert error.count("\n") == bool(said)


def test_a_connection_that_breaks_is_one_line_behind_what_came() -> None:
    def handle(peer: ServerConnection) -> None:
        peer.send("last words")
        peer.socket.shutdown(socket.SHUT_RDWR)

    with server(handle) as url, Running("connect", url) as command:
        assert command.code() == 1
        _, out, error = command.end()
    assert out == b"last words\n"
    assert error.startswith("moorings: ")
    assert "ended without a close frame" in error
    assert error.count("\n") == 1


def test_ctrl_c_says_goodbye() -> None:
    codes: list[int] = []
    greeted = threading.Event()

    def handle(peer: ServerConnection) -> None:
        peer.send("hello")
        greeted.set()
        with pytest.raises(ConnectionClosed) as caught:
            peer.recv(PATIENCE)
        codes.append(caught.value.rcvd.code if caught.value.rcvd is not None else 0)

    with server(handle) as url, Running("connect", url) as command:
        command.wait_for("hello")
        command.signal(signal.SIGINT)
        assert command.code() == 130
        assert command.process.stderr is not None
        assert command.process.stderr.read() == b""
    assert codes == [1005]


def test_statistics_and_the_summary() -> None:
    with server(echo, subprotocols=["chat"]) as url:  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
        arguments = ["connect", url, "--stats", "--interval", "0.05", "--subprotocol", "chat", "--wait", "0.2"]
        with Running(*arguments, "--json") as command:
            command.send(b"one\n")
            command.wait_for("one")
            command.wait_for('"event": "statistics"', error=True)
            code, _, error = command.end(b"two\n")
            told = command.said + error
        (connected,) = objects(told, "connected")
        assert connected["subprotocol"] == "chat"
        (summary,) = objects(told, "summary")
        assert (summary["messages_sent"], summary["messages_received"], summary["close_code"]) == (2, 2, 1000)
        assert summary["round_trip_time_us"] > 0
        assert code == 0
        with Running(*arguments) as command:
            command.send(b"one\n")
            command.wait_for("RTT ", error=True)
            code, _, error = command.end()
        assert code == 0
        assert "sent 1 message (" in error.splitlines()[-1]


def test_a_refusal_is_one_line() -> None:
    with (
        plain_server() as (listener, url),
        Running("connect", url.replace("tcp:", "ws:")) as command,
        accept(listener) as peer,
    ):
        peer.recv(65536)
        peer.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        code, out, error = command.end()
    assert (code, out) == (1, b"")
    assert "403 Forbidden" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ws://127.0.0.1:1/#top"], "invalid value for URL"),
        (["ws://127.0.0.1:1", "--header", "nonsense"], "'nonsense' is no header; write it as 'Name: value'"),
        (["ws://127.0.0.1:1", "--header", "Host: x"], "the library's own"),
        (
            ["ws://127.0.0.1:1", "--subprotocol", "a b"],
            "invalid value for --subprotocol: 'a b' is no name of a subprotocol",
        ),
        (
            ["ws://127.0.0.1:1", *("--subprotocol", "a") * 2],
            "invalid value for --subprotocol: a subprotocol is there twice",
        ),
        (["ws://127.0.0.1:1", "--ignore", "EXPIRED"], "--ignore goes with tls:// and wss:// only"),
        (["wss://127.0.0.1:1", "--alpn", "h2"], "--alpn does not go with wss://"),
        (["ws://127.0.0.1:1", "--finish-input"], "--finish-input goes with tcp:// and tls:// only"),
        (["tcp://127.0.0.1:1", "--binary"], "--binary goes with ws:// and wss:// only"),
        (["ws://127.0.0.1:1", "--size", "7"], "--size goes with --binary"),
    ],
)
def test_wrong_arguments(arguments: list[str], said: str) -> None:
    with Running("connect", *arguments) as command:
        code, out, error = command.end()
    assert (code, out) == (2, b"")
    assert said in error
    assert error.count("\n") == 1


def test_input_that_is_no_text_is_an_error_behind_what_was_sent() -> None:
    got: list[Any] = []

    def handle(peer: ServerConnection) -> None:
        got.extend(peer)

    with server(handle) as url, Running("connect", url) as command:
        code, _, error = command.end(b"text\n\xff\n")
    assert code == 1
    assert error == "moorings: line 2 of standard input is not UTF-8; --binary sends bytes\n"
    assert got == ["text"]
