"""The load generator in Python, for machines without a C compiler; `c/load.c` says what it does and what it answers.

Usage: `python load.py PORT SERVER_PID REQUEST_SIZE ANSWER_SIZE SPIN [MODE]`. Over TLS it shakes hands on one connection
at a time.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import ssl
import sys
import time
from typing import Any

CAPACITY = 1 << 20
PIECE = 256 << 10
SETTLE = 0.002
SOURCES = 200
IP_BIND_ADDRESS_NO_PORT = 24  # <linux/in.h>


class Load:
    """Connections with one request under way on each."""

    def __init__(self, port: int, server_pid: int, request_size: int, answer_size: int, spin: bool) -> None:
        self.port = port
        # clock_getcpuclockid(3): the processor clock of another process
        self.server_clock = (~server_pid << 3) | 2
        self.request = b"m" * request_size
        self.answer_size = answer_size
        self.spin = spin
        self.epoll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self.sources = itertools.cycle(f"127.0.0.{last}" for last in range(1, SOURCES + 1))

    def open(self, wanted: int) -> None:
        for connection in self.sockets.values():
            connection.close()
        self.sockets.clear()
        for _ in range(wanted):
            self.open_connection()

    def open_connection(self) -> int:
        connection = self.connected()
        self.epoll.register(connection, select.EPOLLIN)
        self.sockets[connection.fileno()] = connection
        return connection.fileno()

    def connected(self) -> socket.socket:
        connection = socket.socket()
        connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.bind((next(self.sources), 0))
        connection.connect(("127.0.0.1", self.port))
        return connection

    def close_connection(self, fd: int) -> None:
        self.sockets.pop(fd).close()

    def ask(self, fd: int) -> None:
        self.sockets[fd].sendall(self.request)

    def hear(self, fd: int, rest: int) -> int:
        """How many bytes of the answer are still to come."""
        data = self.sockets[fd].recv(min(rest, PIECE))
        if not data:
            sys.exit("load: the server ended a connection")
        if data[-1:] != b"m":
            sys.exit("load: the answer is wrong")
        return rest - len(data)

    def run(self, seconds: float, limit: int, churn: int = 0) -> str:
        clock = time.monotonic_ns
        timeout = 0 if self.spin else 10.0
        samples: list[int] = []
        answered = asked = 0
        server_before, own_before = time.clock_gettime_ns(self.server_clock), time.process_time_ns()
        before = now = clock()
        end = before + int(seconds * 1e9)
        sent_at: dict[int, int] = {}
        slots = [self.open_connection() for _ in range(min(churn, limit))] if churn else list(self.sockets)
        for fd in slots[:limit]:
            asked += 1
            sent_at[fd] = now
            self.ask(fd)
        missing = dict.fromkeys(sent_at, self.answer_size)
        pending = asked
        while pending:
            events = self.epoll.poll(timeout)
            now = clock()
            if now > end + 10_000_000_000:
                sys.exit("load: no answer for 10 s")
            for ready, _mask in events:
                fd = ready
                missing[fd] = self.hear(fd, missing[fd])
                if missing[fd]:
                    continue
                answered += 1
                if len(samples) < CAPACITY:
                    samples.append(now - sent_at[fd])
                if churn:
                    self.close_connection(fd)
                if asked == limit or now >= end:
                    pending -= 1
                    continue
                asked += 1
                if churn:
                    now = clock()
                    fd = self.open_connection()
                sent_at[fd] = now
                missing[fd] = self.answer_size
                self.ask(fd)
        wall, own_used = clock() - before, time.process_time_ns() - own_before
        time.sleep(SETTLE)
        server_used = time.clock_gettime_ns(self.server_clock) - server_before
        samples.sort()
        middle, late = (samples[len(samples) // 2], samples[len(samples) * 99 // 100]) if samples else (0, 0)
        return f"{answered} {wall} {server_used} {own_used} {middle} {late}"


class TlsLoad(Load):
    """The same over TLS 1.3; `mode` as in c/load_tls.h. (Python chooses cipher and curve for all servers alike.)"""

    def __init__(self, mode: str, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.resuming = mode == "resumed"
        self.kept: ssl.SSLSession | None = None
        self.context = tls_context()

    def connected(self) -> socket.socket:
        plain = super().connected()
        offered = self.kept
        connection = self.context.wrap_socket(plain, server_hostname="localhost", session=offered)
        if offered is not None and not connection.session_reused:
            sys.exit("load: the server does not resume")
        return connection

    def close_connection(self, fd: int) -> None:
        connection = self.sockets.pop(fd)
        assert isinstance(connection, ssl.SSLSocket)
        if self.resuming and self.kept is None:
            self.kept = connection.session  # the ticket came before the answer
        with contextlib.suppress(OSError):
            connection.setblocking(False)
            connection.unwrap()  # says goodbye, and does not wait for the answer
        connection.close()


def tls_context() -> ssl.SSLContext:
    """A client's context for TLS 1.3, which does not check certificates: that costs the server nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def main(port: str, server_pid: str, request_size: str, answer_size: str, spin: str, mode: str = "") -> int:
    settings = (int(port), int(server_pid), int(request_size), int(answer_size), spin == "1")
    load = TlsLoad(mode, *settings) if mode else Load(*settings)
    for line in sys.stdin:
        match line.split():
            case ["open", wanted]:
                load.open(int(wanted))
                print(f"ok {len(load.sockets)}", flush=True)
            case ["run", milliseconds, limit]:
                print(load.run(int(milliseconds) / 1000, int(limit)), flush=True)
            case ["churn", slots, milliseconds, limit]:
                load.open(0)
                print(load.run(int(milliseconds) / 1000, int(limit), int(slots)), flush=True)
            case ["quit"]:
                return 0
            case _:
                return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:7]))
