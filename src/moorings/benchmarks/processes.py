"""Servers and load generators as processes: starting, pinning, asking, measuring and ending them."""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib.util
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
#: Stock asyncio and aiofastnet allocate 256 KiB for each read. Beyond the first threshold the C library maps and unmaps
#: memory each time, beyond the second one it gives free memory back to the system; both cost more than the read.
MALLOC_SETTINGS = {"MALLOC_MMAP_THRESHOLD_": "8388608", "MALLOC_TRIM_THRESHOLD_": "33554432"}
#: Libraries that must be installed for a server.
PACKAGES = {"aiofastnet", "aiohttp", "anyio", "picows", "trio", "websockets"}
START_TIMEOUT = 30.0
ANSWER_TIMEOUT = 60.0


class BenchmarkError(Exception):
    """Something that keeps a figure from being measured."""


@dataclass(frozen=True)
class ServerKind:
    """A server program and its surroundings.

    With `malloc`, and (M) in its label, it runs with MALLOC_SETTINGS.
    """

    name: str
    label: str
    kind: str
    loop: str = ""
    pure: bool = False
    malloc: bool = False
    program: str = "servers.py"

    @property
    def ours(self) -> bool:
        return self.kind in {"face", "completed"} or self.kind.partition("-")[0] == "moorings"

    @property
    def library(self) -> str:
        """What a user of it would say that he uses: `moorings`, `c`, `asyncio`, `uvloop` or another package."""
        if self.ours:
            return "moorings"
        return self.loop if self.kind in {"callbacks", "streams"} else self.kind.partition("-")[0]

    @property
    def packages(self) -> list[str]:
        """What must be installed for it, besides this library."""
        found = [self.library] if self.library in PACKAGES else []
        return found + (["uvloop"] if self.loop == "uvloop" else [])

    def environment(self) -> dict[str, str]:
        """The environment of the process: hash seed fixed, compiled or pure as asked."""
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": search_path()}
        for name in (*MALLOC_SETTINGS, "MOORINGS_NATIVE"):
            environment.pop(name, None)
        if self.pure:
            environment["MOORINGS_NATIVE"] = "off"
        if self.malloc:
            environment.update(MALLOC_SETTINGS)
        return environment


SERVERS = {
    server.name: server
    for server in (
        ServerKind("c", "C, epoll", "c", program="epoll_server"),
        ServerKind("callbacks-uvloop", "uvloop, protocol call-backs", "callbacks", "uvloop"),
        ServerKind("streams-uvloop", "uvloop + asyncio streams", "streams", "uvloop"),
        ServerKind(
            "aiofastnet-callbacks-uvloop",
            "aiofastnet on uvloop, call-backs (M)",
            "aiofastnet-callbacks",
            "uvloop",
            malloc=True,
        ),
        ServerKind(
            "aiofastnet-streams-uvloop",
            "aiofastnet on uvloop, streams (M)",
            "aiofastnet-streams",
            "uvloop",
            malloc=True,
        ),
        ServerKind("callbacks-asyncio", "asyncio, protocol call-backs (M)", "callbacks", "asyncio", malloc=True),
        ServerKind("streams-asyncio", "asyncio streams", "streams", "asyncio"),
        ServerKind("streams-asyncio-malloc", "asyncio streams (M)", "streams", "asyncio", malloc=True),
        ServerKind("anyio-uvloop", "anyio on uvloop", "anyio", "uvloop"),
        ServerKind("anyio-asyncio", "anyio on asyncio", "anyio", "asyncio"),
        ServerKind("trio", "trio", "trio"),
        ServerKind("moorings-uvloop", "moorings on uvloop", "moorings", "uvloop"),
        ServerKind("moorings-asyncio", "moorings on asyncio", "moorings", "asyncio"),
        ServerKind("completed-uvloop", "moorings on uvloop, call-backs", "completed", "uvloop"),
        ServerKind("completed-asyncio", "moorings on asyncio, call-backs", "completed", "asyncio"),
        ServerKind("face-uvloop", "moorings on uvloop, read/write", "face", "uvloop"),
        ServerKind("face-asyncio", "moorings on asyncio, read/write", "face", "asyncio"),
        ServerKind("pure-uvloop", "moorings on uvloop, pure", "moorings", "uvloop", pure=True),
        ServerKind("pure-asyncio", "moorings on asyncio, pure", "moorings", "asyncio", pure=True),
    )
}


def search_path() -> str:
    """Where a child finds the library: where this process found it."""
    return os.pathsep.join([str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])


def python(program: Path) -> list[str]:
    """The command that runs a file of this package by itself: a peer's process does not load our library."""
    return [sys.executable, "-P", str(program)]


@functools.cache
def c_compiler() -> str | None:
    """The C compiler, or None."""
    candidates = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    return next((found for name in candidates if name and (found := shutil.which(name))), None)


class Workshop:
    """A directory with the compiled C programs, gone at the end."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="moorings-bench-")
        self.path = Path(self._directory.name)
        self.has_c = c_compiler() is not None
        if self.has_c:
            self.has_c = all(self._compile(name, f"{name}.c") for name in ("epoll_server", "load"))
        self.cores = processors()

    def _compile(self, name: str, *arguments: str) -> bool:
        command = [str(c_compiler()), "-O2", "-o", str(self.path / name), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE / "c")
        if done.returncode:
            print(f"benchmarks: {command[0]} failed, so Python takes the load on:\n{done.stderr}", file=sys.stderr)
        return done.returncode == 0

    @functools.cached_property
    def has_c_tls(self) -> bool:
        """Whether the load generator in C speaks TLS: OpenSSL's headers are there."""
        return self.has_c and self._compile("load_tls", "load.c", "-DWITH_TLS", "-lssl", "-lcrypto")

    @functools.cached_property
    def has_c_frames(self) -> bool:
        """Whether there is the server in C that speaks WebSocket; so does the generator then."""
        return self.has_c and self._compile("web_socket_server", "web_socket_server.c")

    @functools.cached_property
    def identity(self) -> Path:
        """A file with a certificate for localhost, of P-256, and its key; who made it does not matter."""
        path = self.path / "identity.pem"
        path.write_bytes(make_identity())
        return path

    def server_command(self, server: ServerKind, role: str, unit: int, *, tls: bool) -> list[str]:
        if server.kind == "c":
            return [str(self.path / server.program), role, str(unit)]
        identity = [str(self.identity)] if tls else []
        return [*python(HERE / server.program), server.kind, server.loop, role, str(unit), *identity]

    def load_command(
        self, port: int, pid: int, request: int, answer: int, spin: bool, *, tls: str = "", frames: Path | None = None
    ) -> list[str]:
        compiled = self.has_c_tls if tls else self.has_c
        program = [str(self.path / ("load_tls" if tls else "load"))] if compiled else python(HERE / "load.py")
        mode = [tls or "plain", str(frames)] if frames else [tls] if tls else []
        return [*program, *map(str, (port, pid, request, answer, int(spin))), *mode]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._directory.cleanup()


def make_identity() -> bytes:
    """A self-signed certificate for localhost, of P-256, and its key, as PEM."""
    if not has_package("cryptography"):
        raise BenchmarkError("TLS needs cryptography (pip install 'moorings[tls]')")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()) + certificate.public_bytes(encoding)


def processors() -> list[int]:
    """The processors this process may use: the server gets the first, the load generator the second."""
    return sorted(os.sched_getaffinity(0))


class Child:
    """A process that we talk to in lines over its standard input and output, and end by closing its input."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], core: int | None) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            bufsize=1,
            process_group=0,  # Ctrl-C is ours alone; the children end with their standard input
        )
        self.pid = self.process.pid
        if core is not None:
            self.pin(core)
        self.name = " ".join(Path(part).name for part in command[:5])

    def pin(self, core: int) -> None:
        """Keep all its threads on one processor."""
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})

    def line(self, timeout: float) -> str:
        """The next line of its output."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise BenchmarkError(f"{self.name} gave no answer (exit code {self.process.poll()})")
        return line

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line + "\n")
        except BrokenPipeError as error:
            raise BenchmarkError(f"{self.name} has gone (exit code {self.process.poll()})") from error

    def stop(self) -> None:
        """Close its input and wait; a process that stays is killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


class Server(Child):
    """A server that listens."""

    def __init__(
        self,
        workshop: Workshop,
        server: ServerKind,
        *,
        role: str = "echo",
        unit: int = 0,
        tls: bool = False,
        prefix: Sequence[str] = (),
        timeout: float = START_TIMEOUT,
    ) -> None:
        """`role` and `unit` are those of servers.py; `prefix` is a command that runs it."""
        cores = workshop.cores
        core = cores[0] if len(cores) > 1 and not prefix else None
        command = workshop.server_command(server, role, unit, tls=tls)
        super().__init__([*prefix, *command], server.environment(), None)
        try:
            answer: dict[str, Any] = json.loads(self.line(timeout))
            if core is not None:
                self.pin(core)  # only now, so that several can start at the same time
        except BaseException:
            self.stop()
            raise
        self.kind = server
        self.port = int(answer["port"])
        self.mode = str(answer["mode"])

    def memory(self) -> dict[str, int]:
        """Resident memory in bytes: `Rss` now, `Pss` (shared pages by their share), `Peak` so far."""
        found: dict[str, int] = {}
        for file, names in (("smaps_rollup", {"Rss": "Rss", "Pss": "Pss"}), ("status", {"VmHWM": "Peak"})):
            for line in Path(f"/proc/{self.pid}/{file}").read_text(encoding="ascii", errors="replace").splitlines():
                name, _, value = line.partition(":")
                if name in names:
                    found[names[name]] = int(value.split()[0]) * 1024
        return found


@dataclass(frozen=True)
class Sample:
    """One run of the load generator; times in seconds."""

    messages: int
    wall: float
    server: float
    client: float
    p50: float
    p99: float

    @property
    def cpu(self) -> float:
        """Processor time of the server for one message."""
        return self.server / self.messages

    @property
    def busy(self) -> float:
        """Share of one processor that the server used."""
        return self.server / self.wall

    @property
    def rate(self) -> float:
        return self.messages / self.wall


class LoadGenerator(Child):
    """Connections to one server, with one request under way on each."""

    def __init__(
        self,
        workshop: Workshop,
        server: Server,
        size: int,
        answer: int | None = None,
        *,
        tls: str = "",
        calm: bool = False,
        frames: Path | None = None,
    ) -> None:
        """Requests of `size` bytes, answers of `answer`, by default the same; `tls` is the MODE of load.c.

        With `calm` it neither spins nor keeps to one processor. `frames` is the FILE of load.c, for WebSockets.
        """
        core = workshop.cores[1] if len(workshop.cores) > 1 and not calm else None
        environment = {**os.environ, "PYTHONPATH": search_path()}
        settings = (server.port, server.pid, size, answer or size, core is not None)
        command = workshop.load_command(*settings, tls=tls, frames=frames)
        super().__init__(command, environment, core)

    def open(self, connections: int) -> None:
        self.say(f"open {connections}")
        self.line(ANSWER_TIMEOUT)

    def run(self, seconds: float, limit: int) -> Sample:
        """Send for `seconds`, at most `limit` messages."""
        return self._figures(f"run {int(seconds * 1000)} {limit}", seconds)

    def churn(self, slots: int, seconds: float, limit: int) -> Sample:
        """The same with a connection for each request, `slots` at a time; closes those that are open."""
        return self._figures(f"churn {slots} {int(seconds * 1000)} {limit}", seconds)

    def some(self, slots: int, seconds: float, limit: int) -> Sample:
        """The same with so many requests under way, on one connection after the other (in C only)."""
        return self._figures(f"some {slots} {int(seconds * 1000)} {limit}", seconds)

    def cast(self, seconds: float, limit: int) -> Sample:
        """One connection asks, all get the answer; the messages are these answers (in C only)."""
        return self._figures(f"cast {int(seconds * 1000)} {limit}", seconds)

    def mute(self, connections: int, size: int) -> None:
        """Let the last connections send up to `size` bytes each, and never read again (in C only)."""
        self.say(f"mute {connections} {size}")
        self.line(ANSWER_TIMEOUT)

    def _figures(self, command: str, seconds: float) -> Sample:
        self.say(command)
        return sample_of(self.line(seconds + ANSWER_TIMEOUT))


def sample_of(line: str) -> Sample:
    """The figures of load.c."""
    fields = [int(field) for field in line.split()]
    return Sample(fields[0], *(field / 1e9 for field in fields[1:]))


def raise_descriptor_limit(wanted: int) -> int:
    """Allow `wanted` descriptors, or as many as the hard limit does; children inherit it. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def has_package(name: str) -> bool:
    """Whether a package is installed."""
    return importlib.util.find_spec(name) is not None


def has_uvloop() -> bool:
    """Whether uvloop is installed."""
    return has_package("uvloop")


def machine() -> dict[str, Any]:
    """What a reader of the figures needs to know about this machine."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "processors": len(processors()),
        "kernel": os.uname().release,
        "python": sys.version.split()[0],
        "compiler": c_compiler(),
        "load_average": os.getloadavg()[0],
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
