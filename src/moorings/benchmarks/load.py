"""The load generator in Python, for machines without a C compiler; `c/load.c` says what it does and what it answers.

Usage: `python load.py PORT SERVER_PID MESSAGE_SIZE SPIN`.
"""

from __future__ import annotations

import select
import socket
import sys
import time

CAPACITY = 1 << 20
SETTLE = 0.002


class Load:
    """Connections with one message under way on each."""

    def __init__(self, port: int, server_pid: int, size: int, spin: bool) -> None:
        self.port = port
        # clock_getcpuclockid(3): the processor clock of another process
        self.server_clock = (~server_pid << 3) | 2
        self.message = b"m" * size
        self.spin = spin
        self.epoll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}

    def open(self, wanted: int) -> None:
        for connection in self.sockets.values():
            connection.close()
        self.sockets.clear()
        for _ in range(wanted):
            connection = socket.create_connection(("127.0.0.1", self.port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.epoll.register(connection, select.EPOLLIN)
            self.sockets[connection.fileno()] = connection

    def run(self, seconds: float, limit: int) -> str:
        message, size, sockets = self.message, len(self.message), self.sockets
        poll, clock = self.epoll.poll, time.monotonic_ns
        timeout = 0 if self.spin else 10.0
        received = dict.fromkeys(sockets, 0)
        samples: list[int] = []
        answered = asked = 0
        server_before, own_before = time.clock_gettime_ns(self.server_clock), time.process_time_ns()
        before = now = clock()
        end = before + int(seconds * 1e9)
        give_up = end + 10_000_000_000
        sent_at: dict[int, int] = {}
        for fd, connection in sockets.items():
            if asked == limit:
                break
            asked += 1
            sent_at[fd] = now
            connection.send(message)
        pending = asked
        while pending:
            events = poll(timeout)
            now = clock()
            if now > give_up:
                sys.exit("load: no answer for 10 s")
            for fd, _mask in events:
                connection = sockets[fd]
                count = len(connection.recv(size - received[fd]))
                if not count:
                    sys.exit("load: the server ended a connection")
                received[fd] += count
                if received[fd] < size:
                    continue
                received[fd] = 0
                answered += 1
                if len(samples) < CAPACITY:
                    samples.append(now - sent_at[fd])
                if asked < limit and now < end:
                    asked += 1
                    sent_at[fd] = now
                    connection.send(message)
                else:
                    pending -= 1
        wall, own_used = clock() - before, time.process_time_ns() - own_before
        time.sleep(SETTLE)
        server_used = time.clock_gettime_ns(self.server_clock) - server_before
        samples.sort()
        middle, late = (samples[len(samples) // 2], samples[len(samples) * 99 // 100]) if samples else (0, 0)
        return f"{answered} {wall} {server_used} {own_used} {middle} {late}"


def main(port: int, server_pid: int, size: int, spin: int) -> int:
    load = Load(port, server_pid, size, bool(spin))
    for line in sys.stdin:
        match line.split():
            case ["open", wanted]:
                load.open(int(wanted))
                print(f"ok {len(load.sockets)}", flush=True)
            case ["run", milliseconds, limit]:
                print(load.run(int(milliseconds) / 1000, int(limit)), flush=True)
            case ["quit"]:
                return 0
            case _:
                return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:5])))
