"""`moorings bench udp`: what a datagram costs, here and in the peers, in one run.

Each contestant is a process of its own that sends over loopback, receives, or both (`udp_contestants.py`, `c/udp.c`),
and tells the processor time, user and system, that it used. Where it only receives, or echoes, the other end is a
process too (`udp_driver.py`), whose time does not count. A round asks all of them once, one after the other, each
for a moment; the ratio of ours to a peer is the median over the rounds, with its quartiles.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from moorings.benchmarks.figures import Shows, Spread, spread
from moorings.benchmarks.processes import (
    HERE,
    BenchmarkError,
    Workshop,
    c_compiler,
    has_package,
    machine,
    python,
    search_path,
)
from moorings.benchmarks.report import version_of
from moorings.benchmarks.udp_contestants import DRIVEN

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

#: Changes with the shape of the document.
SCHEMA = 1
LIBRARIES = ("uvloop", "aiofastnet", "anyio")
PATIENCE = 30.0
PEERS = 1000


class Part(NamedTuple):
    """What is measured."""

    name: str
    title: str
    part: str
    size: int
    peers: int
    per: str


PARTS = (
    Part("batch-1200b", "Batches of 1,200 B to one peer, sent and received", "both", 1200, 1, "datagram"),
    Part("batch-64b", "Batches of 64 B to one peer, sent and received", "both", 64, 1, "datagram"),
    Part("exchange-64b", "Request and reply of 64 B, each awaited", "exchange", 64, 1, "datagram"),
    *(
        Part(f"{part}-{size}b{suffix}", f"{verb} of {size:,} B, {whom}", part, size, peers, "datagram")
        for part, verb in (("send", "Send only: datagrams"), ("receive", "Receive only: datagrams"), ("echo", "Echo"))
        for peers, suffix, whom in ((1, "", "one peer"), (PEERS, "-peers", f"{PEERS:,} peers in turn"))
        for size in (64, 1200)
    ),
)
#: What `--quick` measures where nothing is named.
QUICK = ("batch-1200b", "exchange-64b", "send-64b-peers", "receive-64b", "echo-64b-peers")


class Contestant(NamedTuple):
    """A program, and how it is called in tables."""

    name: str
    label: str
    kind: str
    loop: str = "asyncio"
    pure: bool = False

    @property
    def ours(self) -> bool:
        return self.kind == "moorings"


OURS = Contestant("moorings-uvloop", "moorings on uvloop", "moorings", "uvloop")
ALL = (
    OURS,
    Contestant("moorings-asyncio", "moorings on asyncio", "moorings", "asyncio"),
    Contestant("pure-uvloop", "moorings on uvloop, pure", "moorings", "uvloop", pure=True),
    Contestant("c-gso", "C, segmented and coalesced", "c:gso"),
    Contestant("c-mmsg", "C, sendmmsg and recvmmsg", "c:mmsg"),
    Contestant("c-plain", "C, sendto and recv", "c:plain"),
    Contestant("sockets", "Python's sockets, no loop", "sockets"),
    Contestant("endpoints-uvloop", "uvloop, endpoints", "endpoints", "uvloop"),
    Contestant("endpoints-asyncio", "asyncio, endpoints", "endpoints", "asyncio"),
    Contestant("aiofastnet-uvloop", "aiofastnet on uvloop, endpoints", "aiofastnet", "uvloop"),
    Contestant("aiofastnet-asyncio", "aiofastnet on asyncio, endpoints", "aiofastnet", "asyncio"),
    Contestant("anyio-uvloop", "anyio on uvloop", "anyio", "uvloop"),
)
#: Packages of contestants that may not be there, by kind or by loop.
PACKAGES = ("uvloop", "aiofastnet", "anyio")


class Sample(NamedTuple):
    """One turn of a contestant: per datagram, in seconds."""

    cpu: float
    rate: float
    mode: str


@dataclass
class Measured:
    """All turns, by part and contestant, in order."""

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict[tuple[str, str], list[Sample]])

    def ratio(self, part: str, ours: str, peer: str) -> Spread | None:
        mine, theirs = self.samples.get((part, ours), []), self.samples.get((part, peer), [])
        pairs = [a.cpu / b.cpu for a, b in zip(mine, theirs, strict=False)]
        return spread(pairs) if pairs else None


def choose(part: Part, *, has_c: bool) -> list[Contestant]:
    """Who can take part here."""
    found: list[Contestant] = []
    for entry in ALL:
        if entry.kind.startswith("c:") and (not has_c or part.part == "exchange"):
            continue
        if entry.kind == "c:gso" and (part.peers > 1 or part.part in DRIVEN):
            continue  # one peer's datagrams make a segment; those of the other end come one by one
        if any(name in entry[2:4] and not has_package(name) for name in PACKAGES):
            continue
        found.append(entry)
    return found


def missing() -> dict[str, str]:
    """What would be compared if it were installed."""
    absent = {name: f"pip install {name}" for name in PACKAGES if not has_package(name)}
    if c_compiler() is None:
        absent["C"] = "apt install gcc libc6-dev"
    return absent


def turn(workshop: Workshop, entry: Contestant, part: Part, seconds: float) -> Sample:
    """Let a contestant run once."""
    numbers = [part.part, str(part.size), str(part.peers), str(int(seconds * 1000))]
    if entry.kind.startswith("c:"):
        command = [str(workshop.path / "udp"), entry.kind[2:], *numbers]
    else:
        command = [*python(HERE / "udp_contestants.py"), entry.kind, entry.loop, *numbers]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    environment.pop("MOORINGS_NATIVE", None)
    if entry.ours:
        environment["PYTHONPATH"] = search_path()
    if entry.pure:
        environment["MOORINGS_NATIVE"] = "off"
    with _other_end(part) as descriptors:
        try:
            done = subprocess.run(
                [*command, *map(str, descriptors)],
                env=environment,
                capture_output=True,
                text=True,
                timeout=seconds + PATIENCE,
                check=False,
                pass_fds=descriptors,
            )
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError(f"{entry.label} did not end within {seconds + PATIENCE:g} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise BenchmarkError(f"{entry.label}: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return _sample(done.stdout)


@contextmanager
def _other_end(part: Part) -> Generator[tuple[int, ...]]:
    """The driver, where there has to be one, and the descriptor that leads to it; it ends with its last copy."""
    if part.part not in DRIVEN:
        yield ()
        return
    ours, theirs = socket.socketpair()
    with ours, theirs:
        driver = subprocess.Popen(
            [*python(HERE / "udp_driver.py"), part.part, str(part.size), str(part.peers), str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stderr=subprocess.DEVNULL,  # the contestant tells that it is alone
        )
        theirs.close()
        try:
            yield (ours.fileno(),)
        finally:
            ours.close()
            try:
                driver.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                driver.kill()
                driver.wait()


def _sample(answer: str) -> Sample:
    line = answer.strip().splitlines()[-1]
    if line.startswith("{"):
        found: dict[str, Any] = json.loads(line)
        sent, cpu, wall, mode = found["sent"], found["cpu"], found["wall"], str(found["mode"])
    else:
        sent, _, cpu, wall = map(int, line.split())
        mode = "C"
    return Sample(cpu / sent / 1e9, sent / (wall / 1e9), mode)


def compile_c(workshop: Workshop) -> bool:
    """Build the C program; False where that is not possible."""
    compiler = c_compiler()
    if compiler is None or shutil.which(compiler) is None:
        return False
    command = [compiler, "-O2", "-o", str(workshop.path / "udp"), str(HERE / "c" / "udp.c")]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run(workshop: Workshop, parts: Sequence[Part], pairs: int, seconds: float, steps: Shows) -> Measured:
    """All rounds of all parts."""
    has_c = compile_c(workshop)
    measured = Measured()
    for part in parts:
        for number in range(pairs):
            for entry in choose(part, has_c=has_c):
                steps.show(f"{part.title}: round {number + 1} of {pairs}, {entry.label}")
                measured.samples.setdefault((part.name, entry.name), []).append(turn(workshop, entry, part, seconds))
    return measured


def document(measured: Measured, parts: Sequence[Part], pairs: int, seconds: float) -> dict[str, Any]:
    """Everything that was measured; times in µs."""
    return {
        "schema": SCHEMA,
        "benchmark": "udp",
        "machine": machine(),
        "versions": {name: found for name in ("moorings", *LIBRARIES) if (found := version_of(name))},
        "pairs": pairs,
        "seconds": seconds,
        "missing": missing(),
        "parts": [_part(measured, part) for part in parts],
    }


def _part(measured: Measured, part: Part) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    ratios: list[dict[str, Any]] = []
    present = [entry for entry in ALL if (part.name, entry.name) in measured.samples]
    for entry in present:
        samples = measured.samples[part.name, entry.name]
        figures[entry.name] = {
            "label": entry.label,
            "mode": samples[0].mode,
            "cpu": spread([sample.cpu * 1e6 for sample in samples]).median,
            "rate": spread([sample.rate for sample in samples]).median,
        }
    for ours in (entry for entry in present if entry.ours):
        for peer in (entry for entry in present if not entry.ours):
            ratio = measured.ratio(part.name, ours.name, peer.name)
            if ratio is not None:
                ratios.append(
                    {
                        "ours": ours.name,
                        "peer": peer.name,
                        "median": ratio.median,
                        "quartiles": [ratio.low, ratio.high],
                        "pairs": ratio.size,
                    }
                )
    return {"name": part.name, "title": part.title, "figures": figures, "ratios": ratios}


def rows(part: dict[str, Any]) -> list[list[str]]:
    """A table of one part: the cheapest first, with the ratios of ours on uvloop and of ours in pure Python."""
    by_peer = {(entry["ours"], entry["peer"]): entry for entry in part["ratios"]}

    def ratio(ours: str, peer: str) -> str:
        entry = by_peer.get((ours, peer))
        if entry is None:
            return ""
        low, high = entry["quartiles"]
        return f"{entry['median']:.3g} [{low:.3g}, {high:.3g}]"

    ordered = sorted(part["figures"].items(), key=lambda item: item[1]["cpu"])
    return [
        [
            figures["label"],
            f"{figures['cpu']:.3f}",
            f"{figures['rate']:,.0f}",
            ratio(OURS.name, name),
            ratio("pure-uvloop", name),
        ]
        for name, figures in ordered
    ]


HEADINGS = ("contestant", "CPU µs/datagram", "per second", "moorings / it", "pure / it")
