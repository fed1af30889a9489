"""Limits that are large enough, and those that are not."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest
from tests.cli.checks.machines import write

from moorings.cli.checks import limits
from moorings.cli.checks.machine import Machine
from moorings.cli.checks.model import Finding, State, off, ok

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NO_LIMIT = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "finding"),
    [
        (20_000, 30_000, ok("20,000 now, up to 30,000")),
        (NO_LIMIT, NO_LIMIT, ok("no limit now, up to no limit")),
        (1024, 524_288, off("1,024 now, up to 524,288", "ulimit -n 524288")),
        (1024, NO_LIMIT, off("1,024 now, up to no limit", "ulimit -n 4096")),
    ],
)
def test_descriptors(soft: int, hard: int, finding: Finding) -> None:
    assert limits.descriptors(Machine(descriptor_limits=lambda: (soft, hard))) == finding


def test_few_descriptors_for_good() -> None:
    finding = limits.descriptors(Machine(descriptor_limits=lambda: (256, 1024)))
    assert (finding.state, finding.found) == (State.OFF, "256 now, up to 1,024")
    assert "limits.conf" in finding.install


def test_buffers(tmp_path: Path) -> None:
    write(tmp_path, "proc/sys/net/core/rmem_max", "4194304\n")
    write(tmp_path, "proc/sys/net/core/wmem_max", "212992\n")
    expected = "up to 4,194,304 bytes to receive (rmem_max), 212,992 to send (wmem_max)"
    assert limits.buffers(Machine(root=tmp_path)) == ok(expected)
    write(tmp_path, "proc/sys/net/core/wmem_max", "4096\n")
    finding = limits.buffers(Machine(root=tmp_path))
    assert (finding.state, "sysctl" in finding.install) == (State.OFF, True)


def test_buffers_in_a_container(tmp_path: Path) -> None:
    assert limits.buffers(Machine(root=tmp_path)).state is State.UNKNOWN


def test_accept_queue(tmp_path: Path) -> None:
    write(tmp_path, "proc/sys/net/core/somaxconn", "4096\n")
    assert limits.accept_queue(Machine(root=tmp_path)) == ok("4,096 connections may wait (somaxconn)")
    write(tmp_path, "proc/sys/net/core/somaxconn", "128\n")
    expected = off("only 128 connections may wait (somaxconn)", "sysctl net.core.somaxconn=4096")
    assert limits.accept_queue(Machine(root=tmp_path)) == expected


def test_local_ports(tmp_path: Path) -> None:
    write(tmp_path, "proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")
    assert limits.local_ports(Machine(root=tmp_path)) == ok("32768 to 60999, 28,232 ports")
    write(tmp_path, "proc/sys/net/ipv4/ip_local_port_range", "60000\t60999\n")
    finding = limits.local_ports(Machine(root=tmp_path))
    assert (finding.state, finding.found) == (State.OFF, "60000 to 60999, 1,000 ports")
    assert finding.install.startswith("sysctl net.ipv4.ip_local_port_range")


@pytest.mark.parametrize(
    "probe",
    [limits.descriptors, limits.buffers, limits.accept_queue, limits.local_ports],
    ids=lambda probe: probe.__name__,
)
def test_on_this_machine(probe: Callable[[Machine], Finding]) -> None:
    finding = probe(Machine())
    assert bool(finding.install) == (finding.state is State.OFF)
