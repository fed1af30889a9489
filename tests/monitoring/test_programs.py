"""Whole programs that call `moorings.monitor()` and forget it: how they are seen, and that nothing is left of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import moorings
from moorings.monitoring import lister

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moorings import ProgramSnapshot

PATIENCE = 50.0
ASYNC_PROGRAM = """
import asyncio, sys, moorings
async def main():
    moorings.monitor()
    async with (
        moorings.listen("tcp://127.0.0.1:0", drain_timeout=0) as listener,
        await moorings.connect(f"tcp://127.0.0.1:{listener.port}"),
    ):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""
PLAIN_PROGRAM = """
import sys, moorings
moorings.monitor(name="plain")
with moorings.StreamSocketListener() as listener:
    listener.bind_endpoint_async(moorings.HostName("127.0.0.1"), "").get()
    print("ready", flush=True)
    sys.stdin.readline()
"""
EARLY_PROGRAM = """
import asyncio, sys, moorings
moorings.monitor(name="early")
async def main():
    async with moorings.listen("tcp://127.0.0.1:0"):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""
FORKING_PROGRAM = """
import os, sys, moorings
watched = moorings.monitor(name="parent")
with moorings.StreamSocketListener() as listener:
    listener.bind_endpoint_async(moorings.HostName("127.0.0.1"), "").get()
    pid = os.fork()
    if pid == 0:
        assert watched.closed
        watched.close()
        with moorings.monitor(name="child") as own:
            print(own.path.name == f"{os.getpid()}-0.sock", flush=True)
        sys.exit()
    os.waitpid(pid, 0)
    print("ready", flush=True)
    sys.stdin.readline()
"""
FORKING_ASYNC_PROGRAM = """
import asyncio, os, sys, moorings
async def main():
    watched = moorings.monitor(name="parent")
    if os.fork() == 0:
        watched.close()
        os.close(1)
        sys.stdin.readline()
        os._exit(0)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""


@contextmanager
def running(program: str, runtime: Path, *arguments: str, ends_well: bool = True) -> Iterator[subprocess.Popen[str]]:
    """A program that says "ready" and then waits for a line; at the end it has complained about nothing."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(moorings.__file__).parents[1]),
        "XDG_RUNTIME_DIR": str(runtime),
    }
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line == "ready\n":
                    break
                assert line == "True\n"
            yield process
            _, complaints = process.communicate("\n", timeout=PATIENCE)
            if ends_well:
                assert (process.returncode, complaints) == (0, "")
        finally:
            if process.poll() is None:
                process.kill()


def place(runtime: Path) -> Path:
    return runtime / "moorings" / "monitor"


def only_program(runtime: Path) -> ProgramSnapshot:
    listing = asyncio.run(lister.ask_all([place(runtime)]))
    assert listing.unanswered == ()
    (program,) = listing.programs
    return program


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_an_asyncio_program(loop: str, tmp_path: Path) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with running(ASYNC_PROGRAM, tmp_path, loop) as process:
        program = only_program(tmp_path)
        assert (program.pid, program.name) == (process.pid, "python")
        assert [(report.loop, report.is_accepting) for report in program.listeners] == [(loop, False)]
        assert [report.loop for report in program.streams] == [loop]
    assert list(place(tmp_path).iterdir()) == []


def test_a_plain_program(tmp_path: Path) -> None:
    with running(PLAIN_PROGRAM, tmp_path):
        program = only_program(tmp_path)
        assert (program.name, [report.loop for report in program.sockets]) == ("plain", ["background"])
    assert list(place(tmp_path).iterdir()) == []


def test_a_program_that_calls_before_its_loop_runs(tmp_path: Path) -> None:
    with running(EARLY_PROGRAM, tmp_path):
        assert [report.loop for report in only_program(tmp_path).sockets] == ["asyncio"]
    assert list(place(tmp_path).iterdir()) == []


def test_a_forked_child_leaves_its_parents_monitor_alone(tmp_path: Path) -> None:
    with running(FORKING_PROGRAM, tmp_path) as process:
        program = only_program(tmp_path)
        assert (program.pid, program.name, len(program.sockets)) == (process.pid, "parent", 1)
    assert list(place(tmp_path).iterdir()) == []


def test_a_forked_child_that_lives_on_does_not_answer(tmp_path: Path) -> None:
    with running(FORKING_ASYNC_PROGRAM, tmp_path, ends_well=False) as process:
        assert only_program(tmp_path).pid == process.pid
        process.kill()
        process.wait(PATIENCE)
        # The child, which still waits for its line, keeps nothing open on which it could answer.
        assert asyncio.run(lister.ask_all([place(tmp_path)])) == lister.Listing(())
    assert list(place(tmp_path).iterdir()) == []


def test_a_killed_program_is_cleared_away(tmp_path: Path) -> None:
    with running(PLAIN_PROGRAM, tmp_path, ends_well=False) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
        assert len(list(place(tmp_path).iterdir())) == 1
        assert asyncio.run(lister.ask_all([place(tmp_path)])) == lister.Listing(())
    assert list(place(tmp_path).iterdir()) == []
