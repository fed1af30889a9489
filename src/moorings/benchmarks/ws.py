"""This library and its peers over WebSocket, all in one run: the rounds and ratios of `tcp.py`.

The servers are those of `ws_servers.py` and a program in C, which checks nothing and shows the floor. The generator is
`c/load.c` with `c/load_frames.h`: it sends one and the same masked frame, so that it costs next to nothing, and takes
any frames as the answer. Text is JSON. A compressed message is compressed by itself, without what came before.

`memory` counts idle connections that have had one message echoed. `slow-readers`: of many connections one in a hundred
sends without ever reading; the figure is the median time of an answer on the others, against the time before.
"""

from __future__ import annotations

import json
import os
import socket
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from moorings.benchmarks import memory
from moorings.benchmarks.figures import spread
from moorings.benchmarks.processes import BenchmarkError, LoadGenerator, Sample, Server, ServerKind, Workshop
from moorings.benchmarks.tcp import KIB, MEMORY, MIB, Contest, Crowded, Measured, Plan, Run, Scenario, Steps

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from moorings.benchmarks.figures import Shows

MEMORY_DEFLATE, SLOW_READERS = "memory-deflate", "slow-readers"
DEFLATE = 1
LIMIT = 10_000_000
CROWD, SLOW_SHARE = 5_000, 100
UNDER_WAY = 64
CROWD_ROUNDS = 5
#: What each client that never reads sends at most, if the server takes it: 4 KiB are in each message.
FLOOD = 8 * MIB
OPENING = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"


def _server(name: str, label: str, kind: str, loop: str = "uvloop", *, pure: bool = False) -> ServerKind:
    return ServerKind(name, label, kind, loop, pure=pure, program="ws_servers.py")


SERVERS = {
    server.name: server
    for server in (
        ServerKind("c", "C, epoll, no checks", "c", program="web_socket_server"),
        _server("event-uvloop", "moorings on uvloop, events", "moorings-event"),
        _server("awaited-uvloop", "moorings on uvloop, async for", "moorings-awaited"),
        _server("winrt-uvloop", "moorings on uvloop, output_stream", "moorings-winrt"),
        _server("event-asyncio", "moorings on asyncio, events", "moorings-event", "asyncio"),
        _server("awaited-asyncio", "moorings on asyncio, async for", "moorings-awaited", "asyncio"),
        _server("pure-event", "moorings on uvloop, events, pure", "moorings-event", pure=True),
        _server("pure-awaited", "moorings on uvloop, async for, pure", "moorings-awaited", pure=True),
        _server("picows-core", "picows on uvloop, call-backs", "picows-core"),
        _server("picows-websockets", "picows on uvloop, async for", "picows-websockets"),
        _server("aiohttp", "aiohttp on uvloop", "aiohttp"),
        _server("websockets", "websockets on uvloop", "websockets"),
    )
}
OURS = ("event-uvloop", "awaited-uvloop", "pure-event", "pure-awaited")
OTHERS_OF_OURS = ("winrt-uvloop", "event-asyncio", "awaited-asyncio")
PEERS = ("c", "picows-core", "picows-websockets", "aiohttp", "websockets")
#: What does not compress.
WITHOUT_DEFLATE = {"c", "picows-core"}


@dataclass(frozen=True)
class Conversation(Scenario):
    """What is sent."""

    text: bool = False
    deflate: bool = False
    #: Whether one connection asks, and all get the answer.
    cast: bool = False

    @property
    def keeps_busy(self) -> bool:
        return self.connections > 1 and self.request < 64 * KIB and not self.cast

    @cached_property
    def frames(self) -> bytes:
        """The FILE of load.c."""
        return opening(deflate=self.deflate) + frame(payload(self.request, text=self.text), self.text, self.deflate)


def payload(size: int, *, text: bool) -> bytes:
    """A message: JSON with numbers that differ, or bytes."""
    if not text:
        return (bytes(number * 167 % 251 for number in range(251)) * (size // 251 + 1))[:size]
    trades = [{"id": number, "price": number * 7919 % 100_003 / 100} for number in range(size // 20 + 4)]
    return json.dumps(trades).encode()[:size]


def opening(*, deflate: bool) -> bytes:
    """The request that opens a WebSocket."""
    return OPENING + (OFFER if deflate else b"") + b"\r\n"


def frame(data: bytes, text: bool, deflate: bool) -> bytes:
    """One masked frame."""
    if deflate:
        compressor = zlib.compressobj(wbits=-12)
        data = (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    key = os.urandom(4)
    size = len(data)
    head = bytes([0x80 | (0x40 if deflate else 0) | (1 if text else 2)])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
    masked = int.from_bytes(data, "big") ^ int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return head + key + masked.to_bytes(size, "big")


def echo(size: int, connections: int, *, quick: bool = False, tls: str = "", **more: bool) -> Conversation:
    """Messages that come back, on some connections."""
    text = f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB" if size >= KIB else f"{size} B"
    many = "1 connection" if connections == 1 else f"{connections} connections"
    kind = "text" if more.get("text") else "binary"
    marks = [mark for mark, there in (("deflate", more.get("deflate")), ("tls", tls)) if there]
    name = "-".join(["echo", text.replace(" ", "").lower(), kind, str(connections), *marks])
    title = ", ".join([f"Echo of {text} {kind}", many, *(mark if mark != "tls" else "TLS" for mark in marks)])
    return Conversation(
        name, title, "echo", size, size, connections, quick=quick, tls=tls, text=more.get("text", False),
        deflate=more.get("deflate", False), extra=more.get("extra", False),
    )  # fmt: skip


_CAST = Conversation(
    "broadcast", "Broadcast of 64 B text to 1,000", "cast", 64, 64, 1000, message="copy", text=True, cast=True
)
_CHOSEN = (
    echo(64, 50, quick=True),
    echo(64, 1),
    echo(64, 50, text=True),
    echo(4 * KIB, 50, text=True),
    echo(64 * KIB, 50, quick=True),
    echo(MIB, 1),
    echo(4 * KIB, 50, text=True, deflate=True),
    echo(64, 50, tls="full"),
    _CAST,
)
_NAMES = {scenario.name for scenario in _CHOSEN}
SCENARIOS = (
    *_CHOSEN,
    *(
        made
        for size in (64, 4 * KIB, 64 * KIB, MIB)
        for connections in (1, 50)
        for text in (False, True)
        for deflate in (False, True)
        for tls in ("", "full")
        if (made := echo(size, connections, text=text, deflate=deflate, tls=tls, extra=True)).name not in _NAMES
    ),
)


@dataclass(frozen=True)
class WebSocketContest(Contest):
    """Has parts of its own, and servers that cannot do everything."""

    @property
    def parts(self) -> dict[str, str]:
        others = f"The others, while 1 % of {CROWD:,} clients never read"
        return {
            **{scenario.name: scenario.title for scenario in self.scenarios},
            MEMORY: "Memory for each idle connection",
            MEMORY_DEFLATE: "Memory for each idle connection, with permessage-deflate",
            SLOW_READERS: others,
        }

    def takes_part(self, scenario: Scenario, server: ServerKind) -> bool:
        assert isinstance(scenario, Conversation)
        return not (scenario.deflate and server.name in WITHOUT_DEFLATE) and not (scenario.tls and server.kind == "c")

    def run(self, workshop: Workshop, plan: Plan, steps: Steps) -> Measured:
        if not workshop.has_c_frames:
            raise BenchmarkError("the load generator for WebSockets needs a C compiler (apt install gcc libc6-dev)")
        return WebSocketRun(workshop, plan, steps).everything()


WS = WebSocketContest(
    "ws",
    SCENARIOS,
    PEERS,
    ("c", "picows", "aiohttp", "websockets"),
    ours=OURS,
    pure=OTHERS_OF_OURS,
    servers=SERVERS,
)


class WebSocketRun(Run):
    """Measures a plan over WebSockets."""

    def everything(self) -> Measured:
        for scenario in self.plan.scenarios:
            self.compete(scenario)
        if MEMORY in self.plan.parts:
            self.weigh()
        if MEMORY_DEFLATE in self.plan.parts:
            self.weigh_deflate()
        if SLOW_READERS in self.plan.parts:
            self.crowd_all()
        return self.measured

    def _write(self, name: str, frames: bytes) -> Path:
        path = self.workshop.path / name
        if not path.exists():
            path.write_bytes(frames)
        return path

    def _start_one(self, stack: ExitStack, scenario: Scenario, kind: ServerKind) -> tuple[LoadGenerator, Server]:
        assert isinstance(scenario, Conversation)
        options = DEFLATE if scenario.deflate else 0
        server = stack.enter_context(
            Server(self.workshop, kind, role=scenario.role, unit=options, tls=bool(scenario.tls))
        )
        frames = self._write(scenario.name, scenario.frames)
        load = LoadGenerator(self.workshop, server, scenario.request, tls=scenario.tls, frames=frames)
        return stack.enter_context(load), server

    def _sample(self, scenario: Scenario, load: LoadGenerator, seconds: float) -> Sample:
        assert isinstance(scenario, Conversation)
        return load.cast(seconds, LIMIT) if scenario.cast else load.run(seconds, LIMIT)

    def weigh(self) -> None:
        self.measured.growth = self._weigh_all(self.plan.servers, deflate=False)

    def weigh_deflate(self) -> None:
        """Memory for each idle connection on which compressing was agreed."""
        kinds = [kind for kind in self.plan.servers if kind.name not in WITHOUT_DEFLATE]
        self.measured.deflate_growth = self._weigh_all(kinds, deflate=True)

    def _weigh_all(self, kinds: Sequence[ServerKind], *, deflate: bool) -> dict[str, memory.Growth]:
        connections = self.measured.idle_connections = self.allowed(self.plan.idle_connections)
        found: dict[str, memory.Growth] = {}
        for kind in kinds:
            found[kind.name] = weigh(self.workshop, kind, connections, self.steps, deflate=deflate)
            self.steps.advance()
        return found

    def crowd_all(self) -> None:
        """What clients that never read do to the others."""
        connections = self.allowed(CROWD)
        for kind in self.plan.servers:
            if kind.kind != "c":  # it would wait for them
                self.measured.crowds[kind.name] = self.crowd(kind, connections)
            self.steps.advance()

    def crowd(self, kind: ServerKind, connections: int) -> Crowded:
        """The times of one server."""
        scenario = Conversation("crowd", "", request=4 * KIB, connections=connections)
        frames = self._write(scenario.name, scenario.frames)
        with (
            Server(self.workshop, kind, role="echo") as server,
            LoadGenerator(self.workshop, server, scenario.request, frames=frames) as load,
        ):
            self.steps.show(f"{kind.label}: {connections} connections")
            load.open(connections)

            def median() -> float:
                samples = [load.some(UNDER_WAY, self.plan.seconds, LIMIT) for _ in range(CROWD_ROUNDS)]
                return spread([sample.p50 for sample in samples]).median

            median()
            before, small = median(), server.memory()["Rss"]
            load.mute(max(1, connections // SLOW_SHARE), FLOOD)
            return Crowded(before, median(), server.memory()["Rss"] - small)


class WebSocketCrowd(memory.Crowd):
    """Connections that have opened a WebSocket and had one echo each."""

    def __init__(self, port: int, *, deflate: bool) -> None:
        super().__init__(port)
        self.message = frame(payload(memory_size(deflate), text=True), text=True, deflate=deflate)
        self.opening = opening(deflate=deflate)

    def talk(self, fresh: Sequence[socket.socket], label: str) -> None:
        for connection in fresh:
            connection.sendall(self.opening)
        for connection in fresh:
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                piece = connection.recv(4096)
                answer += piece
                if not piece or not answer.startswith(b"HTTP/1.1 101"[: len(answer)]):
                    raise BenchmarkError(f"{label} refused a WebSocket: {answer!r}")
        for connection in fresh:
            connection.sendall(self.message)
        for connection in fresh:
            head = connection.recv(2, socket.MSG_WAITALL)
            size = head[1] if len(head) == 2 else 0
            if size == 126:
                size = int.from_bytes(connection.recv(2, socket.MSG_WAITALL), "big")
            if not size or len(connection.recv(size, socket.MSG_WAITALL)) != size:
                raise BenchmarkError(f"{label} ended a connection")


def memory_size(deflate: bool) -> int:
    """Bytes of the one message: with deflate as many as make both sides use their contexts."""
    return KIB if deflate else 64


def weigh(workshop: Workshop, kind: ServerKind, connections: int, progress: Shows, *, deflate: bool) -> memory.Growth:
    """What each idle connection adds to the memory of one server."""
    with Server(workshop, kind, role="echo", unit=DEFLATE if deflate else 0) as server:
        return memory.weigh(server, WebSocketCrowd(server.port, deflate=deflate), connections, progress)
