"""Network namespaces with a cable between them, and programs in them that are told what to do line by line."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.docs.documents import ROOT
from tests.engine.pairs import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)


@contextmanager
def machines(letters: str) -> Iterator[list[str]]:
    """Network namespaces, one for each letter."""
    if shutil.which("ip") is None:
        pytest.skip("no ip command")
    names = [f"moorings-{os.getpid()}-{letter}" for letter in letters]
    with ExitStack() as stack:
        for name in names:
            try:
                run("ip", "netns", "add", name)
            except subprocess.CalledProcessError:
                pytest.skip("network namespaces are not permitted")
            stack.callback(run, "ip", "netns", "delete", name)
        yield names


def connect(first: str, second: str, cable: str = "cable") -> None:
    """Put a cable between two namespaces; both ends have its name."""
    try:
        run("ip", "-n", first, "link", "add", cable, "type", "veth", "peer", "name", cable, "netns", second)
    except subprocess.CalledProcessError:
        pytest.skip("no veth here")


@contextmanager
def namespaces() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a cable between them."""
    with machines("ab") as (first, second):
        connect(first, second)
        for number, name in enumerate((first, second), 1):
            run("ip", "-n", name, "address", "add", f"192.0.2.{number}/24", "dev", "cable")
            run("ip", "-n", name, "link", "set", "cable", "up")
        yield first, second


class Node:
    """A program in a namespace."""

    def __init__(self, namespace: str, program: str) -> None:
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, "-W", "error", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin = self.process.stdin
        self.stdout = self.process.stdout
        self.rest = b""

    def line(self, patience: float = PATIENCE) -> str:
        """The next line that it prints; "" when none comes in time."""
        deadline = time.monotonic() + patience
        while b"\n" not in self.rest:
            if not select.select([self.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return ""
            data = os.read(self.stdout.fileno(), 4096)
            assert data, "the program has ended"
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode()

    def tell(self, line: str) -> None:
        """Give it a line."""
        self.stdin.write(f"{line}\n".encode())
        self.stdin.flush()

    def end(self) -> None:
        self.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.stdout.close()
