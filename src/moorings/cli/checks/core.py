"""What the library runs on: Python, the form of the hot modules, the loop, TCP on the loopback interface."""

from __future__ import annotations

import asyncio
import platform
import ssl
import sys

import moorings
from moorings.cli.checks.machine import PATIENCE, Machine
from moorings.cli.checks.model import Finding, broken, missing, off, ok
from moorings.cli.output import describe_error

OLDEST_PYTHON = (3, 11)
LOOPBACK = "tcp://127.0.0.1"


def python(_machine: Machine) -> Finding:
    """Version and kind."""
    found = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.version_info < OLDEST_PYTHON:
        return broken(found, "Python 3.11 or newer (Debian 12: apt install python3)")
    return ok(found)


def hot_modules(machine: Machine) -> Finding:
    """Native or pure, and why."""
    native, reason = machine.native_mode()
    if native:
        return ok(f"native ({reason})")
    if machine.environ.get("MOORINGS_NATIVE") == "off":
        return off(reason, "unset MOORINGS_NATIVE")
    return missing(reason, "apt install gcc libc6-dev python3-dev, then install moorings again")


def tls(machine: Machine) -> Finding:
    """Which codec moves the bytes."""
    obstacle = machine.direct_tls()
    if not obstacle:
        return ok(f"{ssl.OPENSSL_VERSION}, called directly")
    found = f"{ssl.OPENSSL_VERSION}, through the module ssl ({obstacle})"
    if machine.environ.get("MOORINGS_DIRECT_TLS") == "off":
        return off(found, "unset MOORINGS_DIRECT_TLS")
    return ok(found)


def event_loop(machine: Machine) -> Finding:
    """Uvloop is an extra."""
    version = machine.find_version("uvloop")
    if version is None:
        return missing("asyncio's own loop only", "pip install 'moorings[uvloop]'")
    return ok(f"uvloop {version}, and asyncio's own loop")


def loopback(_machine: Machine) -> Finding:
    """The library talks to itself."""
    try:
        asyncio.run(echo())
    except (OSError, asyncio.IncompleteReadError) as error:
        return broken(f"no echo on {LOOPBACK}: {describe_error(error)}", "the loopback interface: ip link set lo up")
    return ok("an echo on the loopback interface works")


async def echo() -> None:
    """One echo on the loopback interface. Errors: OSError, asyncio.IncompleteReadError."""

    async def answer(connection: moorings.StreamSocket) -> None:
        await connection.write(await connection.read_exactly(5))

    async with (
        asyncio.timeout(PATIENCE),
        moorings.listen(f"{LOOPBACK}:0", answer, drain_timeout=0) as server,
        await moorings.connect(f"{LOOPBACK}:{server.port}") as client,
    ):
        await client.write(b"hello")
        await client.read_exactly(5)
