"""Limits of this process and of the system that a busy program meets."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from moorings.cli.checks.model import Finding, State, off, ok

if TYPE_CHECKING:
    from moorings.cli.checks.machine import Machine

#: Below these a program with a few thousand connections runs into the limit. The kernel's defaults are above them.
ENOUGH_DESCRIPTORS = 4096
ENOUGH_ACCEPTS = 1024
ENOUGH_PORTS = 10_000
ENOUGH_BUFFER = 212_992

CORE = "proc/sys/net/core"
IPV4 = "proc/sys/net/ipv4"


def descriptors(machine: Machine) -> Finding:
    """How many this process may open."""
    soft, hard = machine.descriptor_limits()
    found = f"{_count(soft)} now, up to {_count(hard)}"
    if soft == resource.RLIM_INFINITY or soft >= ENOUGH_DESCRIPTORS:
        return ok(found)
    if hard == resource.RLIM_INFINITY or hard >= ENOUGH_DESCRIPTORS:
        return off(found, f"ulimit -n {ENOUGH_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard}")
    return off(found, "a higher limit in /etc/security/limits.conf, or LimitNOFILE= in the unit of a service")


def _count(limit: int) -> str:
    return "no limit" if limit == resource.RLIM_INFINITY else f"{limit:,}"


def buffers(machine: Machine) -> Finding:
    """How large a program may make the buffers of a socket, and how large TCP makes them by itself."""
    try:
        receive, send = machine.number(f"{CORE}/rmem_max"), machine.number(f"{CORE}/wmem_max")
    except FileNotFoundError:  # older kernels show these to the first network namespace only
        return Finding(State.UNKNOWN, "rmem_max and wmem_max are not shown in this container")
    found = f"up to {receive:,} bytes to receive (rmem_max), {send:,} to send (wmem_max)"
    if min(receive, send) >= ENOUGH_BUFFER:
        return ok(found)
    return off(found, f"sysctl net.core.rmem_max={ENOUGH_BUFFER} net.core.wmem_max={ENOUGH_BUFFER}")


def accept_queue(machine: Machine) -> Finding:
    """How many connections may wait to be accepted."""
    length = machine.number(f"{CORE}/somaxconn")
    if length >= ENOUGH_ACCEPTS:
        return ok(f"{length:,} connections may wait (somaxconn)")
    return off(f"only {length:,} connections may wait (somaxconn)", "sysctl net.core.somaxconn=4096")


def local_ports(machine: Machine) -> Finding:
    """How many connections one address can have to one server."""
    first, last = map(int, machine.read(f"{IPV4}/ip_local_port_range").split())
    found = f"{first} to {last}, {last - first + 1:,} ports"
    if last - first + 1 >= ENOUGH_PORTS:
        return ok(found)
    return off(found, "sysctl net.ipv4.ip_local_port_range='32768 60999'")
