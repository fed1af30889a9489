"""The machine as the checks see it. Tests put another one in its place."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import ssl
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import moorings
from moorings.cli.checks.tls import Trusted, trusted_here

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Seconds that a check waits for another program, or for the loopback interface.
PATIENCE = 2.0
#: Where Debian puts daemons; not everybody's PATH has these.
DAEMON_DIRECTORIES = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/libexec/bluetooth", "/usr/lib/bluetooth")


def find_program(name: str) -> str | None:
    """Where a program or a daemon is."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(DAEMON_DIRECTORIES))


def find_version(distribution: str) -> str | None:
    """The version of an installed Python package."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def descriptor_limits() -> tuple[int, int]:
    """Soft and hard limit of open descriptors; RLIM_INFINITY where there is none."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def direct_tls() -> str:
    """Why TLS does not call OpenSSL itself, "" where it does."""
    leaves: Any = import_module("moorings.engine." + ("_records" if moorings.native_mode()[0] else "_pure_records"))
    return str(leaves.status())


@dataclass(frozen=True)
class Machine:
    """Where the checks get what they know."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    open_socket: Callable[..., socket.socket] = socket.socket
    find_program: Callable[[str], str | None] = find_program
    find_version: Callable[[str], str | None] = find_version
    descriptor_limits: Callable[[], tuple[int, int]] = descriptor_limits
    openssl_version: Callable[[], str] = lambda: ssl.OPENSSL_VERSION
    trusted: Callable[[], Trusted] = trusted_here
    native_mode: Callable[[], tuple[bool, str]] = moorings.native_mode
    direct_tls: Callable[[], str] = direct_tls

    def read(self, path: str) -> str:
        """A small file, `path` without the leading slash. Errors: OSError."""
        return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()

    def number(self, path: str) -> int:
        """A file with a number. Errors: OSError; ValueError where it holds something else."""
        return int(self.read(path))

    def answers(self, path: str) -> bool:
        """Whether somebody accepts connections at the socket file `path`."""
        with self.open_socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE)
            try:
                client.connect(str(self.root / path))
            except OSError:
                return False
            return True
