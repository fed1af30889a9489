"""Memory that one idle connection costs a server.

Opens thousands of connections to each server, sends one 64-byte message over each and waits for the echo. Then a task
of the server waits in a 64 KiB read on each of them (with call-backs: nothing waits). The figure is the growth of the
server's resident memory over the number of connections, once as the kernel counts it (Rss) and once with shared pages
by their share (Pss). A few connections made before show what the first one costs; they do not count.
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from moorings.benchmarks.figures import Progress, Shows, spread, table, verdict, write_json
from moorings.benchmarks.load import tls_context
from moorings.benchmarks.processes import (
    SERVERS,
    BenchmarkError,
    Server,
    ServerKind,
    Workshop,
    has_uvloop,
    machine,
    raise_descriptor_limit,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

MESSAGE = b"m" * 64
WARM_UP = 64
AT_ONCE = 100
CONNECT_TIMEOUT = 10.0
IP_BIND_ADDRESS_NO_PORT = 24  # <linux/in.h>
SPARE_DESCRIPTORS = 100
#: Connections from one source address; the kernel has some 28,000 ports for outgoing connections by default.
PER_ADDRESS = 20_000
BAR, AIM = 4.5, 3.0
DEFAULT_SERVERS = (
    "moorings-uvloop",
    "moorings-asyncio",
    "face-uvloop",
    "pure-uvloop",
    "callbacks-uvloop",
    "streams-uvloop",
    "streams-asyncio",
)
BARRED = {"moorings-uvloop", "moorings-asyncio"}
EXAMPLE = """example:
  python -m moorings.benchmarks.memory --connections 10000 --json memory.json
  python -m moorings.benchmarks.memory --server moorings-uvloop --server streams-uvloop

Exit codes: 0 measured, 1 a figure could not be measured, 2 bad arguments. A missed bar is told and is no failure."""


class Growth(NamedTuple):
    """Bytes for each connection."""

    rss: float
    pss: float


class Crowd:
    """Connections to one server that have had one echo each."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.context = context
        self.sockets: list[socket.socket] = []

    def grow(self, wanted: int, progress: Shows, label: str) -> None:
        """More connections, some at a time, until there are `wanted`."""
        while len(self.sockets) < wanted:
            progress.show(f"{label}: {len(self.sockets)} of {wanted} connections")
            self.talk([self.connect() for _ in range(min(AT_ONCE, wanted - len(self.sockets)))], label)

    def talk(self, fresh: Sequence[socket.socket], label: str) -> None:
        """A message and its echo over each."""
        for connection in fresh:
            connection.sendall(MESSAGE)
        for connection in fresh:
            # (Over TLS there is no MSG_WAITALL, and a record comes as a whole.)
            flags = () if self.context else (socket.MSG_WAITALL,)
            if connection.recv(len(MESSAGE), *flags) != MESSAGE:
                raise BenchmarkError(f"{label} ended a connection")

    def connect(self) -> socket.socket:
        connection = socket.socket()
        self.sockets.append(connection)
        place = len(self.sockets) - 1
        # The port is chosen when the peer is known, and closing leaves nothing behind: ports do not run out.
        connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.settimeout(CONNECT_TIMEOUT)
        connection.bind((f"127.0.0.{1 + len(self.sockets) // PER_ADDRESS}", 0))
        connection.connect(("127.0.0.1", self.port))
        if self.context is not None:
            connection = self.sockets[place] = self.context.wrap_socket(connection, server_hostname="localhost")
        return connection

    def close(self) -> None:
        for connection in self.sockets:
            connection.close()


def measure(
    workshop: Workshop, kind: ServerKind, connections: int, progress: Shows, *, tls: bool = False
) -> tuple[Growth, str]:
    """What each of `connections` connections adds to the memory of one server, and the mode it ran in."""
    with Server(workshop, kind, tls=tls) as server:
        crowd = Crowd(server.port, tls_context() if tls else None)
        return weigh(server, crowd, connections, progress), server.mode


def weigh(server: Server, crowd: Crowd, connections: int, progress: Shows) -> Growth:
    """What each of `connections` connections more adds to the memory of a server."""
    kind = server.kind
    try:
        crowd.grow(WARM_UP, progress, kind.label)
        before = server.memory()
        crowd.grow(WARM_UP + connections, progress, kind.label)
        after = server.memory()
    finally:
        crowd.close()
    return Growth(*((after[name] - before[name]) / connections for name in ("Rss", "Pss")))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m moorings.benchmarks.memory",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--connections", type=int, default=4000, metavar="N", help="1 to 40000, default 4000")
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="measure N times, take the median; default 3"
    )
    parser.add_argument("--server", action="append", choices=sorted(SERVERS), help="measure this one only; repeatable")
    parser.add_argument("--quick", action="store_true", help="1,000 connections, one round")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    options = parser.parse_args(arguments)
    if options.quick:
        options.connections, options.rounds = min(options.connections, 1000), 1
    if not 1 <= options.connections <= 40_000 or options.rounds < 1:
        parser.error("--connections must be 1 to 40000, --rounds at least 1")
    return options


def fit(connections: int) -> int:
    """As many connections as the limit of descriptors allows, which is raised first; says so when it is fewer."""
    limit = raise_descriptor_limit(connections + WARM_UP + SPARE_DESCRIPTORS)
    allowed = limit - WARM_UP - SPARE_DESCRIPTORS
    if allowed >= connections:
        return connections
    if allowed < 1:
        raise BenchmarkError(f"the limit of {limit} descriptors is too low (see 'ulimit -Hn')")
    print(f"note: only {allowed} connections, since this process may open {limit} descriptors (see 'ulimit -Hn')")
    return allowed


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    connections = fit(options.connections)
    names = options.server or DEFAULT_SERVERS
    kinds = [SERVERS[name] for name in names if SERVERS[name].loop != "uvloop" or has_uvloop()]
    if len(kinds) < len(names):
        print("note: uvloop is not installed: nothing on uvloop (pip install uvloop)")
    print(f"moorings memory benchmark: {connections} idle connections, {options.rounds} rounds")
    progress = Progress()
    results: list[dict[str, Any]] = []
    with Workshop() as workshop:
        try:
            for kind in kinds:
                if kind.kind == "c" and not workshop.has_c:
                    raise BenchmarkError("the C server needs a C compiler (apt install gcc)")
                rounds = [measure(workshop, kind, connections, progress) for _ in range(options.rounds)]
                results.append(
                    {
                        "server": kind.name,
                        "label": kind.label,
                        "mode": rounds[0][1],
                        "rss_bytes": spread([growth.rss for growth, _ in rounds]).median,
                        "pss_bytes": spread([growth.pss for growth, _ in rounds]).median,
                    }
                )
        finally:
            progress.clear()
    rows = [
        [
            entry["label"],
            f"{entry['rss_bytes'] / 1024:.2f}",
            f"{entry['pss_bytes'] / 1024:.2f}",
            verdict(entry["rss_bytes"] / 1024, BAR) + f", aim {AIM:g}" if entry["server"] in BARRED else "",
        ]
        for entry in results
    ]
    print("\n" + table(["server", "Rss KiB each", "Pss KiB each", ""], rows))
    if options.json:
        write_json(options.json, {"machine": machine(), "connections": connections, "servers": results})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchmarkError, OSError) as error:
        sys.exit(f"memory: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
