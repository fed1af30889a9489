"""All checks, and how they are run: at the same time, each in a thread of its own, with one deadline."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from moorings.cli.checks import core, kernel, limits, services, tls, tools
from moorings.cli.checks.model import Check, Finding, State
from moorings.cli.output import describe_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moorings.cli.checks.machine import Machine

#: Seconds after which a check that has not ended is given up.
DEADLINE = 10.0

CHECKS = (
    Check("Python", "everything", core.python, core=True),
    Check("TCP", "everything", core.loopback, core=True),
    Check("hot modules", "speed", core.hot_modules),
    Check("TLS", "speed of TLS", core.tls),
    Check("event loop", "speed", core.event_loop),
    Check("IPv6", "connections over IPv6", kernel.ipv6),
    Check("TCP_INFO", "round trip times and bandwidth of a connection", kernel.tcp_info),
    Check("descriptors", "many connections; each needs one", limits.descriptors),
    Check("socket buffers", "throughput over long distances", limits.buffers),
    Check("accept queue", "many clients that connect at the same time", limits.accept_queue),
    Check("local ports", "many connections to one server", limits.local_ports),
    Check("UDP GSO", "many datagrams in one send", kernel.gso, used=False),
    Check("UDP GRO", "many datagrams in one receive", kernel.gro, used=False),
    Check("OpenSSL", "tls:// connections", tls.openssl),
    Check("tls extra", "TLS servers, and all that is wrong with a certificate", tls.extra),
    Check("trust store", "servers whose authority is known here", tls.trust),
    Check("kernel TLS", "TLS connections that another process can take over", kernel.kernel_tls),
    Check("Bluetooth", "RFCOMM sockets", kernel.bluetooth, used=False),
    Check("BlueZ", "finding and pairing Bluetooth devices", services.bluez, used=False),
    Check("wpa_supplicant", "Wi-Fi Direct", services.wpa_supplicant, used=False),
    Check("Avahi", "services of the local network (DNS-SD)", services.avahi, used=False),
    Check("proxy", "connections through a proxy", services.proxy, used=False),
    Check("compiler", "hot modules, and the peers in C of moorings bench", tools.compiler),
    Check("ss", "the kernel's own list of sockets", tools.program("ss", "iproute2")),
    Check("strace", "system calls in benchmarks, failing ones in tests", tools.program("strace", "strace")),
    Check("browser", "the browser of moorings demo, and of tests of WebSockets", tools.browser),
    Check("valgrind", "instructions in moorings bench", tools.program("valgrind", "valgrind")),
)


def run_checks(checks: Sequence[Check], machine: Machine) -> Iterator[tuple[Check, Finding]]:
    """What each check found, in the order of `checks`; a check that fails or hangs does not hold up the others."""
    deadline = time.monotonic() + DEADLINE
    runs = [_Run(check, machine) for check in checks]
    for run in runs:
        run.start()
    for run in runs:
        run.join(max(0.0, deadline - time.monotonic()))
        yield run.check, run.finding


class _Run(threading.Thread):
    """One check in its thread; as a daemon, since nothing can end one that hangs."""

    def __init__(self, check: Check, machine: Machine) -> None:
        super().__init__(name=f"check {check.name}", daemon=True)
        self.check = check
        self.finding = Finding(State.UNKNOWN, "no answer in time")
        self._machine = machine

    def run(self) -> None:
        try:
            self.finding = self.check.probe(self._machine)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one check, the others count
            self.finding = Finding(State.UNKNOWN, f"the check failed: {type(error).__name__}: {describe_error(error)}")
