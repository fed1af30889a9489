"""Asking all programs: the dead are cleared away, the silent and the hostile stop nobody."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.monitoring.samples import PROGRAM, short

import moorings
from moorings.monitoring import lister, wire
from moorings.monitoring.directory import open_listener

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = b"".join(wire.answer(PROGRAM, 100))


def pid_of_nobody() -> int:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        process.wait(30)
    return process.pid


def leave_socket(directory: Path, pid: int) -> Path:
    """What a program leaves that was killed."""
    listening, path = open_listener(directory)
    listening.close()
    return path.rename(path.with_name(f"{pid}-0.sock"))


@contextmanager
def program(directory: Path, answer: bytes | None) -> Iterator[None]:
    """A program that gives one answer, whatever it is asked; None is no answer at all."""
    listening, path = open_listener(directory)
    path.rename(path.with_name("1-0.sock"))
    listening.settimeout(20)

    def serve() -> None:
        client, _ = listening.accept()
        with client:
            client.settimeout(20)
            client.recv(1000)
            if answer is None:
                client.recv(1)
                return
            try:
                client.sendall(answer)
            except ConnectionError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        listening.close()


async def only_reason(directory: Path, deadline: float = 20) -> str:
    listing = await lister.ask_all([directory], deadline=deadline)
    assert listing.programs == ()
    (unanswered,) = listing.unanswered
    return unanswered.reason


async def test_who_says_that_it_is_somebody_else_is_not_believed(tmp_path: Path) -> None:
    lying = b"".join(wire.answer(PROGRAM._replace(pid=2), 100))
    with program(tmp_path / "m", lying):
        assert await only_reason(tmp_path / "m") == "it says that it is process 2"


async def test_nobody() -> None:
    assert await lister.ask_all([]) == lister.Listing(())


async def test_the_socket_of_a_dead_program_is_removed(tmp_path: Path) -> None:
    dead = leave_socket(tmp_path, pid_of_nobody())
    assert await lister.ask_all([tmp_path]) == lister.Listing(())
    assert not dead.exists()


async def test_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    living = leave_socket(tmp_path, os.getpid())
    assert await only_reason(tmp_path) == "it is there, and does not listen any more"
    assert living.exists()


async def test_one_that_goes_meanwhile(tmp_path: Path) -> None:
    gone = leave_socket(tmp_path, os.getpid())
    (found,), _ = lister.find([tmp_path])
    gone.unlink()
    assert await lister.ask(found) is None


async def test_a_silent_program_does_not_stop_the_others(tmp_path: Path) -> None:
    with program(tmp_path, None):
        async with moorings.monitor(name="good", directory=tmp_path):
            listing = await lister.ask_all([tmp_path], deadline=0.2)
    assert [found.name for found in listing.programs] == ["good"]
    assert listing.unanswered == (lister.Unanswered(1, "no answer within 0.2 s; its event loop may be blocked"),)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "it ended before it had answered"),
        (b"nonsense\n", "its answer is no JSON"),
        (GOOD[:-1], "it ended before it had answered"),
        (GOOD + GOOD, "its answer is no JSON"),
        (b"x" * 20_000 + b"\n", "its answer is too long"),
        (b"\n", "its answer is no JSON"),
    ],
)
async def test_hostile_answers(answer: bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ANSWER_LIMIT", 10_000)
    with program(tmp_path, answer):
        assert await only_reason(tmp_path) == reason


async def test_an_answer_for_ever(tmp_path: Path) -> None:
    with program(tmp_path, b"x" * (wire.ANSWER_LIMIT + 1_000_000)):
        assert await only_reason(tmp_path) == "its answer is too long"


async def test_something_that_is_no_socket(tmp_path: Path) -> None:
    os.mknod(tmp_path / "1-0.sock")
    assert "Socket operation" in await only_reason(tmp_path)


async def test_a_directory_that_is_not_used_is_told(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    reason = await only_reason(tmp_path)
    assert reason == f"{tmp_path} is not used: the directory has mode 0755, it must be 0700"


async def test_chosen_processes(tmp_path: Path) -> None:
    leave_socket(tmp_path, 1)
    async with moorings.monitor(name="me", directory=tmp_path):
        listing = await lister.ask_all([tmp_path], pids=[os.getpid()])
    assert [found.name for found in listing.programs] == ["me"]
    assert listing.unanswered == ()


async def test_the_number_of_programs_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lister, "PROGRAM_LIMIT", 1)
    async with moorings.monitor(directory=tmp_path), moorings.monitor(directory=tmp_path):
        listing = await lister.ask_all([tmp_path])
    assert len(listing.programs) == 1
    assert [found.reason for found in listing.unanswered] == ["1 more programs are not asked"]


async def test_a_full_queue(tmp_path: Path) -> None:
    listening, path = open_listener(tmp_path)
    waiting: list[socket.socket] = []
    try:
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            if client.connect_ex(short(path)):
                break
        assert await only_reason(tmp_path) == "too many others wait for its answer"
    finally:
        for client in waiting:
            client.close()
        listening.close()
    await asyncio.sleep(0)
