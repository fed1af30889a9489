"""A check, and what it found."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from moorings.cli.checks.machine import Machine


class State(Enum):
    """How something stands."""

    #: It is there and works.
    OK = "ok"
    #: It is there, and switched off or too small.
    OFF = "off"
    #: It is not there.
    MISSING = "missing"
    #: The library needs it, and it does not work.
    BROKEN = "broken"
    #: The check itself failed, or got no answer in time.
    UNKNOWN = "unknown"


class Finding(NamedTuple):
    """What a check found."""

    state: State
    found: str
    #: What to install or to do about it, as one would type it where possible.
    install: str = ""


class Check(NamedTuple):
    """One thing to look at."""

    name: str
    #: What it is for.
    purpose: str
    probe: Callable[[Machine], Finding]
    #: Without it the library does not work: the exit code says so.
    core: bool = False
    #: False for what only future versions of the library use.
    used: bool = True


def ok(found: str) -> Finding:
    """It is there and works."""
    return Finding(State.OK, found)


def off(found: str, install: str) -> Finding:
    """It is there, and switched off or too small."""
    return Finding(State.OFF, found, install)


def missing(found: str, install: str) -> Finding:
    """It is not there."""
    return Finding(State.MISSING, found, install)


def broken(found: str, install: str) -> Finding:
    """The library needs it, and it does not work."""
    return Finding(State.BROKEN, found, install)
