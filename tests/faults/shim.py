"""System calls that fail on demand: one interface for the plan of pure mode and for the library in LD_PRELOAD."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from moorings.engine.datagram_port import DatagramPort
from moorings.engine.hub import Hub
from moorings.testing.faults import CALLS, FaultPlan, faulty

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = Path(__file__).with_name("fault_shim.c")
VARIABLE = "MOORINGS_FAULTS"
_RULE = struct.Struct("=iiiiqq")


class Faults(Protocol):
    """What the cases use. `target` is a socket, a listener, or the hub."""

    def fail(self, target: Any, call: str, code: int, *, on: int = 1, times: int = 1) -> None: ...
    def shorten(self, target: Any, call: str, limit: int) -> None: ...
    def watch(self, target: Any, *calls: str) -> None: ...
    def count(self, target: Any, call: str) -> int: ...
    def close(self) -> None: ...


class PlannedFaults:
    """In this process, by `moorings.testing.faults`."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._plans: dict[int, FaultPlan] = {}

    def _plan(self, target: Any) -> FaultPlan:
        if id(target) not in self._plans:
            self._plans[id(target)] = self._stack.enter_context(faulty(target, FaultPlan()))
        return self._plans[id(target)]

    def fail(self, target: Any, call: str, code: int, *, on: int = 1, times: int = 1) -> None:
        self._plan(target).fail(call, code, on=on, times=times if times >= 0 else float("inf"))

    def shorten(self, target: Any, call: str, limit: int) -> None:
        self._plan(target).shorten(call, limit)

    def watch(self, target: Any, *_calls: str) -> None:
        self._plan(target).calls.clear()

    def count(self, target: Any, call: str) -> int:
        return self._plan(target).calls[call]

    def close(self) -> None:
        self._stack.close()


class PreloadedFaults:
    """By the library that stands in LD_PRELOAD."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)

    def _set(self, target: Any, call: str, *, skip: int = 0, times: int = 0, code: int = 0, limit: int = 0) -> None:
        _RULE.pack_into(self._memory, CALLS.index(call) * _RULE.size, descriptor(target), skip, times, code, limit, 0)

    def fail(self, target: Any, call: str, code: int, *, on: int = 1, times: int = 1) -> None:
        self._set(target, call, skip=on - 1, times=times, code=code)

    def shorten(self, target: Any, call: str, limit: int) -> None:
        self._set(target, call, times=-1, limit=limit)

    def watch(self, target: Any, *calls: str) -> None:
        for call in calls:
            self._set(target, call)

    def count(self, target: Any, call: str) -> int:
        fd, *_, count = _RULE.unpack_from(self._memory, CALLS.index(call) * _RULE.size)
        assert fd == descriptor(target), "another descriptor is watched"
        return int(count)

    def close(self) -> None:
        for number in range(len(CALLS)):
            _RULE.pack_into(self._memory, number * _RULE.size, -1, 0, 0, 0, 0, 0)
        self._memory.close()


def descriptor(target: Any) -> int:
    """The number that the system calls of a target carry."""
    if isinstance(target, Hub):
        assert target.epoll is not None
        return int(target.epoll.fileno())
    if isinstance(target, DatagramPort):
        return int(target.fd)
    accepting = getattr(target, "_accepting", None)
    return int(accepting.acceptor.fd if accepting is not None else target._connection.stream.fd)


def find_faults() -> Faults:
    """The faults of this process."""
    path = os.environ.get(VARIABLE)
    return PlannedFaults() if path is None else PreloadedFaults(path)


def build_shim(directory: Path) -> Path:
    """Compile the library. CalledProcessError, FileNotFoundError where there is no compiler."""
    library = directory / "fault_shim.so"
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", str(SOURCE), "-o", str(library), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library


def shim_environment(directory: Path) -> Mapping[str, str]:
    """The variables of a process that runs under the library."""
    control = directory / "rules"
    control.write_bytes(_RULE.pack(-1, 0, 0, 0, 0, 0) * len(CALLS))
    return {"LD_PRELOAD": str(build_shim(directory)), VARIABLE: str(control)}
