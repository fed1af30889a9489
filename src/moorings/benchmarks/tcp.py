"""This library and its peers over TCP, all in one run.

The peers are a program in C, asyncio, uvloop, aiofastnet, anyio and trio, each in its best idiom (`servers.py`) and
with the settings of the C library that suit it. For each scenario one server of each kind runs, with a load generator
of its own. A *round* measures each of them once for a moment, one after the other, and starts with another one each
time. The figure of a *pair* is the ratio of the processor time, user and system, that two servers used for one message
in the same round. The result is the median of the pairs, with its quartiles. Where many connections keep a server
busy, a pair counts only when both servers used 95 % of a processor. Halfway through the rounds all processes are
started anew; in bulk transfer, where the luck of a process with its memory makes 20 % and stays the same as long as it
lives, after every second round.

Servers stay on one processor and generators on another; with one processor only, no figure is worth much.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from moorings.benchmarks import instructions, memory
from moorings.benchmarks.echo import BUSY, LIMIT
from moorings.benchmarks.figures import Shows, Spread, spread
from moorings.benchmarks.processes import (
    SERVERS,
    BenchmarkError,
    LoadGenerator,
    Sample,
    Server,
    ServerKind,
    Workshop,
    has_package,
    raise_descriptor_limit,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

KIB, MIB = 1 << 10, 1 << 20
UNIT = 4 * MIB
BATCH = 100 * 100
AT_ONCE = 16
WARM_UP = 0.03
START_AGAIN = 2
ROUNDS_OF_BULK = 2


class Steps(Shows, Protocol):
    """Somebody who is told how far the run is."""

    def advance(self) -> None:
        """One server has been measured once more."""


@dataclass(frozen=True)
class Scenario:
    """What is done with each server: requests of some size, answers of some size, a number of connections."""

    name: str
    title: str
    role: str = "echo"
    request: int = 64
    answer: int = 64
    connections: int = 1
    churn: bool = False
    quick: bool = False
    message: str = "message"
    #: The MODE of load.c: "" is plain TCP.
    tls: str = ""
    #: Only measured where it is asked for.
    extra: bool = False

    @property
    def keeps_busy(self) -> bool:
        """Whether the servers can be kept busy all the time: then a pair counts only if they were."""
        return self.connections > 1 and not self.churn and self.answer < 64 * KIB

    @property
    def bulk(self) -> bool:
        """Whether the rate in bytes is what matters."""
        return max(self.request, self.answer) >= 64 * KIB

    def starts(self, pairs: int) -> int:
        """How many times all processes are started for this many rounds."""
        return max(START_AGAIN, pairs // ROUNDS_OF_BULK) if self.role in {"receive", "send"} else START_AGAIN


def echo_scenario(size: int, connections: int, *, quick: bool = False, tls: str = "") -> Scenario:
    """Requests that come back, on some connections."""
    text = f"{size // KIB} KiB" if size >= KIB else f"{size} B"
    many = "1 connection" if connections == 1 else f"{connections} connections"
    name = f"echo-{text.replace(' ', '').lower()}-{connections}"
    return Scenario(name, f"Echo of {text}, {many}", "echo", size, size, connections, quick=quick, tls=tls)


def bulk_scenarios(tls: str = "") -> tuple[Scenario, Scenario]:
    """As much as possible, in both directions."""
    return (
        Scenario("receive", "Receiving 4 MiB, 1 connection", "receive", UNIT, 1, quick=True, message="4 MiB", tls=tls),
        Scenario("send", "Sending 4 MiB, 1 connection", "send", 1, UNIT, quick=True, message="4 MiB", tls=tls),
    )


SCENARIOS = (
    echo_scenario(64, 1),
    echo_scenario(64, 50, quick=True),
    echo_scenario(4 * KIB, 1),
    echo_scenario(4 * KIB, 50),
    echo_scenario(64 * KIB, 1),
    echo_scenario(64 * KIB, 50),
    *bulk_scenarios(),
    Scenario(
        "connections", "Accept, echo of 64 B, close", connections=AT_ONCE, churn=True, quick=True, message="connection"
    ),
    Scenario("batch", "100 writes of 100 B for each request", "batch", 1, BATCH, quick=True, message="100 writes"),
)
MEMORY, INSTRUCTIONS = "memory", "instructions"
OURS = ("completed-uvloop", "moorings-uvloop", "face-uvloop", "completed-asyncio", "moorings-asyncio", "face-asyncio")
PURE = ("pure-uvloop", "pure-asyncio")
PEERS = (
    "c",
    "callbacks-uvloop",
    "streams-uvloop",
    "aiofastnet-callbacks-uvloop",
    "aiofastnet-streams-uvloop",
    "callbacks-asyncio",
    "streams-asyncio",
    "streams-asyncio-malloc",
    "anyio-uvloop",
    "trio",
)
#: Those of ours to which the tables compare, and what stands above the column.
AGAINST = (("moorings-uvloop", "moorings"), ("face-uvloop", "read/write"))
LIBRARIES = ("c", "asyncio", "uvloop", "aiofastnet", "anyio", "trio")


@dataclass(frozen=True)
class Contest:
    """What one command of `moorings bench` measures, and the servers that take part."""

    name: str
    scenarios: tuple[Scenario, ...]
    peers: tuple[str, ...]
    #: What `--peers` may name.
    libraries: tuple[str, ...]
    tls: str = ""
    ours: tuple[str, ...] = OURS
    pure: tuple[str, ...] = PURE
    servers: Mapping[str, ServerKind] = field(default_factory=lambda: SERVERS)

    @property
    def parts(self) -> dict[str, str]:
        """The titles of all parts, by name."""
        return {
            **{scenario.name: scenario.title for scenario in self.scenarios},
            MEMORY: "Memory for each idle connection",
            INSTRUCTIONS: "User-space instructions for one echo of 64 B, by callgrind",
        }

    def extra(self, name: str) -> bool:
        """Whether a part is only measured where it is asked for."""
        return any(scenario.extra for scenario in self.scenarios if scenario.name == name)

    def run(self, workshop: Workshop, plan: Plan, steps: Steps) -> Measured:
        """Measure a plan."""
        return Run(workshop, plan, steps).everything()

    def takes_part(self, scenario: Scenario, server: ServerKind) -> bool:  # noqa: ARG002 - some contests ask
        """Whether a server can do what a scenario wants."""
        return True

    def choose(
        self, peers: Iterable[str], *, pure: bool = False, has_c: bool = True
    ) -> tuple[list[ServerKind], dict[str, str]]:
        """The servers of ours and of these libraries that can run here; what is missing, with the command for it."""
        wanted = [self.servers[name] for name in (*self.ours, *(self.pure if pure else ()), *self.peers)]
        kept: list[ServerKind] = []
        missing: dict[str, str] = {}
        chosen = set(peers)
        for server in wanted:
            if not server.ours and server.library not in chosen:
                continue
            absent = [name for name in server.packages if not has_package(name)]
            missing.update({name: f"pip install {name}" for name in absent})
            if server.kind == "c" and not has_c:
                missing["a C compiler"] = "apt install gcc libc6-dev"
            elif not absent:
                kept.append(server)
        return kept, missing


TCP = Contest("tcp", SCENARIOS, PEERS, LIBRARIES)


@dataclass(frozen=True)
class Plan:
    """What to measure, and for how long."""

    parts: tuple[str, ...]
    servers: tuple[ServerKind, ...]
    pairs: int = 9
    seconds: float = 0.08
    idle_connections: int = 10_000
    contest: Contest = TCP

    @property
    def scenarios(self) -> list[Scenario]:
        return [scenario for scenario in self.contest.scenarios if scenario.name in self.parts]

    @property
    def attempts(self) -> int:
        """Rounds at most, while pairs are void."""
        return self.pairs + (self.pairs + 1) // 2

    @property
    def steps(self) -> int:
        """How many times `advance` is called, at the least."""
        others = len(self.servers) * (len(self.parts) - len(self.scenarios))
        return others + self.pairs * sum(len(self.taking_part(scenario)) for scenario in self.scenarios)

    def taking_part(self, scenario: Scenario) -> list[ServerKind]:
        """The servers that can do what a scenario wants."""
        return [server for server in self.servers if self.contest.takes_part(scenario, server)]


class Crowded(NamedTuple):
    """Median times of an answer in seconds, without and with clients that never read; the bytes that memory grew by."""

    before: float
    after: float
    growth: int


@dataclass
class Measured:
    """Everything that one run found out."""

    #: By scenario and server, a sample for each round.
    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict[tuple[str, str], list[Sample]])
    peaks: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    modes: dict[str, str] = field(default_factory=dict[str, str])
    growth: dict[str, memory.Growth] = field(default_factory=dict[str, memory.Growth])
    counted: dict[str, instructions.Counted] = field(default_factory=dict[str, instructions.Counted])
    idle_connections: int = 0
    #: With permessage-deflate, and what clients do to others that never read: in `ws` only.
    deflate_growth: dict[str, memory.Growth] = field(default_factory=dict[str, memory.Growth])
    crowds: dict[str, Crowded] = field(default_factory=dict[str, Crowded])

    def pairs(self, scenario: Scenario, ours: str, peer: str) -> tuple[list[float], int]:
        """The ratios of the pairs that count, and how many do not."""
        both = zip(
            self.samples.get((scenario.name, ours), []), self.samples.get((scenario.name, peer), []), strict=False
        )
        ratios: list[float] = []
        void = 0
        for mine, theirs in both:
            if scenario.keeps_busy and min(mine.busy, theirs.busy) < BUSY:
                void += 1
            else:
                ratios.append(mine.cpu / theirs.cpu)
        return ratios, void

    def ratio(self, scenario: Scenario, ours: str, peer: str) -> tuple[Spread | None, int]:
        """Median and quartiles of the pairs that count, and how many do not."""
        ratios, void = self.pairs(scenario, ours, peer)
        return (spread(ratios) if ratios else None), void


class Run:
    """Measures a plan, and tells somebody how far it is."""

    def __init__(self, workshop: Workshop, plan: Plan, steps: Steps) -> None:
        self.workshop = workshop
        self.plan = plan
        self.steps = steps
        self.measured = Measured()

    def everything(self) -> Measured:
        """All parts of the plan, one after the other."""
        for scenario in self.plan.scenarios:
            self.compete(scenario)
        if MEMORY in self.plan.parts:
            self.weigh()
        if INSTRUCTIONS in self.plan.parts:
            self.count()
        return self.measured

    def compete(self, scenario: Scenario) -> None:
        """Rounds of one scenario, until there are enough pairs that count."""
        done = 0
        starts = scenario.starts(self.plan.pairs)
        for part in range(starts):
            end = self.plan.pairs * (part + 1) // starts
            if end == done:
                continue
            last = end == self.plan.pairs
            with ExitStack() as stack:
                loads = self._start(stack, scenario)
                while done < end or (last and done < self.plan.attempts and self._missing(scenario)):
                    self._round(scenario, loads, done)
                    done += 1
                for _load, server in loads:
                    key = scenario.name, server.kind.name
                    self.measured.peaks[key] = max(self.measured.peaks.get(key, 0), server.memory()["Peak"])

    def _start(self, stack: ExitStack, scenario: Scenario) -> list[tuple[LoadGenerator, Server]]:
        """A server of each kind with its generator; they start on all processors."""
        kinds = self.plan.taking_part(scenario)
        self.steps.show(f"{scenario.title}: starting {len(kinds)} servers")

        def start(kind: ServerKind) -> tuple[LoadGenerator, Server]:
            return self._start_one(stack, scenario, kind)

        with ThreadPoolExecutor(len(self.workshop.cores)) as pool:
            loads = list(pool.map(start, kinds))
        for load, server in loads:
            self.measured.modes[server.kind.name] = server.mode
            if not scenario.churn:
                load.open(scenario.connections)
            self._sample(scenario, load, WARM_UP)
        return loads

    def _start_one(self, stack: ExitStack, scenario: Scenario, kind: ServerKind) -> tuple[LoadGenerator, Server]:
        server = stack.enter_context(Server(self.workshop, kind, role=scenario.role, unit=UNIT, tls=bool(scenario.tls)))
        load = LoadGenerator(self.workshop, server, scenario.request, scenario.answer, tls=scenario.tls)
        return stack.enter_context(load), server

    def _round(self, scenario: Scenario, loads: Sequence[tuple[LoadGenerator, Server]], number: int) -> None:
        first = number % len(loads)
        for load, server in (*loads[first:], *loads[:first]):
            self.steps.show(f"{scenario.title}: round {number + 1} of {self.plan.pairs}, {server.kind.label}")
            sample = self._sample(scenario, load, self.plan.seconds)
            self.measured.samples.setdefault((scenario.name, server.kind.name), []).append(sample)
            if number < self.plan.pairs:
                self.steps.advance()

    def _sample(self, scenario: Scenario, load: LoadGenerator, seconds: float) -> Sample:
        if scenario.churn:
            return load.churn(scenario.connections, seconds, LIMIT)
        return load.run(seconds, LIMIT)

    def _missing(self, scenario: Scenario) -> bool:
        """Whether pairs of ours with a peer are void that another round could make up for."""
        present = self.plan.taking_part(scenario)
        names = [server.name for server in present]
        ours = [server.name for server in present if server.ours]
        return any(
            len(self.measured.pairs(scenario, mine, peer)[0]) < self.plan.pairs
            for mine in ours
            for peer in names
            if peer not in ours
        )

    def weigh(self) -> None:
        """Memory for each idle connection."""
        connections = self.measured.idle_connections = self.allowed(self.plan.idle_connections)
        for server in self.plan.servers:
            tls = bool(self.plan.contest.tls)
            growth, mode = memory.measure(self.workshop, server, connections, self.steps, tls=tls)
            self.measured.growth[server.name] = growth
            self.measured.modes[server.name] = mode
            self.steps.advance()

    def allowed(self, wanted: int) -> int:
        """As many connections as descriptors allow."""
        spare = memory.WARM_UP + memory.SPARE_DESCRIPTORS
        allowed = raise_descriptor_limit(wanted + spare) - spare
        if allowed < 1:
            raise BenchmarkError("the limit of descriptors is too low for idle connections (see 'ulimit -Hn')")
        return min(wanted, allowed)

    def count(self) -> None:
        """Instructions for one echo of 64 bytes."""
        tls = self.plan.contest.tls
        self.measured.counted = instructions.per_message(self.workshop, self.plan.servers, self.steps.show, tls=tls)
        for _ in self.plan.servers:
            self.steps.advance()
