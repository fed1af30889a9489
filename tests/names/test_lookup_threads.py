"""Look-up threads: sharing, deadlines, abandoned look-ups, limits."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from moorings.names.lookup_threads import LookupsBusyError, LookupThreads, LookupTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONG = 30.0
SOURCE = Path(__file__).parents[2] / "src"


class Gate:
    """A blocking function that waits until it is opened, and counts its calls."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        self.entered.release()
        assert self.opened.wait(LONG)
        return "result"

    async def wait_entered(self) -> None:
        await asyncio.to_thread(self.entered.acquire)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():  # noqa: ASYNC110 - a thread ends; nobody could set an event
            await asyncio.sleep(0.001)


async def test_result_and_exception() -> None:
    threads = LookupThreads()
    assert await threads.run("a", lambda: 42, LONG) == 42
    with pytest.raises(ZeroDivisionError):
        await threads.run("a", lambda: 1 // 0, LONG)
    await eventually(lambda: threads.counts["running"] == 0)


async def test_work_is_done_on_daemon_threads() -> None:
    threads = LookupThreads()
    thread = await threads.run("a", threading.current_thread, LONG)
    assert thread is not threading.current_thread()
    assert thread.daemon
    assert thread.name.startswith("moorings-resolver-")


async def test_the_same_key_shares_one_look_up(gate: Gate) -> None:
    threads = LookupThreads()
    tasks = [asyncio.create_task(threads.run("a", gate, LONG)) for _ in range(5)]
    await gate.wait_entered()
    gate.opened.set()
    assert await asyncio.gather(*tasks) == ["result"] * 5
    assert gate.calls == 1
    await threads.run("a", gate, LONG)
    assert gate.calls == 2  # nothing is cached


async def test_a_deadline_ends_the_waiting(gate: Gate) -> None:
    threads = LookupThreads()
    with pytest.raises(LookupTimeoutError):
        await threads.run("a", gate, 0.01)
    assert threads.counts["abandoned"] == 1
    gate.opened.set()
    await eventually(lambda: threads.counts["abandoned"] == 0)


async def test_a_timeout_error_of_the_function_is_its_own() -> None:
    def raises() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await LookupThreads().run("a", raises, LONG)


async def test_stuck_look_ups_do_not_block_others(gate: Gate) -> None:
    threads = LookupThreads(limit=2)
    for key in ("a", "b"):
        with pytest.raises(LookupTimeoutError):
            await threads.run(key, gate, 0.01)
    assert await threads.run("c", lambda: "quick", LONG) == "quick"


async def test_a_queued_look_up_starts_when_one_before_it_is_abandoned(gate: Gate) -> None:
    threads = LookupThreads(limit=1)
    stuck = asyncio.create_task(threads.run("a", gate, LONG))
    await gate.wait_entered()
    queued = asyncio.create_task(threads.run("b", lambda: "quick", LONG))
    await asyncio.sleep(0)
    assert threads.counts == {"threads": 1, "running": 1, "queued": 1, "abandoned": 0}
    stuck.cancel()
    assert await queued == "quick"
    with pytest.raises(asyncio.CancelledError):
        await stuck


async def test_never_more_than_the_limit_run(gate: Gate) -> None:
    threads = LookupThreads(limit=3)
    tasks = [asyncio.create_task(threads.run(number, gate, LONG)) for number in range(8)]
    for _ in range(3):
        await gate.wait_entered()
    assert threads.counts == {"threads": 3, "running": 3, "queued": 5, "abandoned": 0}
    assert gate.calls == 3
    gate.opened.set()
    assert await asyncio.gather(*tasks) == ["result"] * 8
    assert gate.calls == 8
    assert threads.counts["threads"] == 3


async def test_an_abandoned_look_up_can_be_joined_again(gate: Gate) -> None:
    threads = LookupThreads()
    with pytest.raises(LookupTimeoutError):
        await threads.run("a", gate, 0.01)
    again = asyncio.create_task(threads.run("a", gate, LONG))
    await asyncio.sleep(0)
    gate.opened.set()
    assert await again == "result"
    assert gate.calls == 1
    await eventually(lambda: threads.counts["running"] == threads.counts["abandoned"] == 0)


async def test_cancelling_a_queued_look_up_takes_it_out(gate: Gate) -> None:
    threads = LookupThreads(limit=1)
    first = asyncio.create_task(threads.run("a", gate, LONG))
    await gate.wait_entered()
    second = asyncio.create_task(threads.run("b", pytest.fail, LONG))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert threads.counts["queued"] == 0
    gate.opened.set()
    assert await first == "result"


async def test_one_of_several_waiters_may_leave(gate: Gate) -> None:
    threads = LookupThreads()
    stays = asyncio.create_task(threads.run("a", gate, LONG))
    leaves = asyncio.create_task(threads.run("a", gate, LONG))
    await gate.wait_entered()
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    assert threads.counts["abandoned"] == 0
    gate.opened.set()
    assert await stays == "result"


async def test_all_threads_stuck_fails_at_once(gate: Gate) -> None:
    threads = LookupThreads(limit=1, thread_limit=2)
    for key in ("a", "b"):
        with pytest.raises(LookupTimeoutError):
            await threads.run(key, gate, 0.01)
    with pytest.raises(LookupsBusyError, match="all 2 look-up threads are stuck"):
        await threads.run("c", pytest.fail, LONG)
    gate.opened.set()
    await eventually(lambda: threads.counts["abandoned"] == 0)
    assert await threads.run("c", lambda: "quick", LONG) == "quick"


async def test_the_queue_is_bounded(gate: Gate) -> None:
    threads = LookupThreads(limit=1, queue_limit=1)
    first = asyncio.create_task(threads.run("a", gate, LONG))
    await gate.wait_entered()
    second = asyncio.create_task(threads.run("b", gate, LONG))
    await asyncio.sleep(0)
    with pytest.raises(LookupsBusyError, match="1 look-ups are already waiting"):
        await threads.run("c", pytest.fail, LONG)
    gate.opened.set()
    assert await asyncio.gather(first, second) == ["result"] * 2


async def test_idle_threads_end() -> None:
    threads = LookupThreads(idle_seconds=0.01)
    thread = await threads.run("a", threading.current_thread, LONG)
    await eventually(lambda: not thread.is_alive())
    assert threads.counts["threads"] == 0
    assert await threads.run("a", lambda: 1, LONG) == 1


async def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    threads = LookupThreads()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(LookupsBusyError, match="no more threads"):
            await threads.run("a", pytest.fail, LONG)
    assert await threads.run("a", lambda: 1, LONG) == 1


def test_a_loop_that_closed_meanwhile_is_passed_over(gate: Gate) -> None:
    threads = LookupThreads(limit=1)

    async def leave() -> None:
        task = asyncio.create_task(threads.run("a", gate, LONG))
        await gate.wait_entered()
        del task

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    pending = asyncio.all_tasks(loop)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    gate.opened.set()
    assert asyncio.run(threads.run("b", lambda: "quick", LONG)) == "quick"
    for task in pending:
        task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_two_loops_share_one_instance() -> None:
    threads = LookupThreads()
    results: list[int] = []

    def ask(number: int) -> None:
        results.append(asyncio.run(threads.run("a", lambda: number, LONG)))

    runners = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    assert len(results) == 4


def test_a_forked_child_starts_anew(gate: Gate) -> None:
    threads = LookupThreads(limit=1)

    async def with_fork() -> int:
        stuck = asyncio.create_task(threads.run("a", gate, LONG))
        await gate.wait_entered()
        child = os.fork()
        if child == 0:
            os._exit(_in_child(threads))
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        gate.opened.set()
        await stuck
        return os.waitstatus_to_exitcode(status)

    assert asyncio.run(with_fork()) == 0


def _in_child(threads: LookupThreads) -> int:
    asyncio._set_running_loop(None)
    with suppress(Exception):
        return 0 if asyncio.run(threads.run("a", lambda: "quick", LONG)) == "quick" else 1
    return 2


STUCK_AT_EXIT = """
import asyncio, threading
from moorings.names.lookup_threads import LookupThreads, LookupTimeoutError

async def main():
    try:
        await LookupThreads().run("a", threading.Event().wait, 0.01)
    except LookupTimeoutError:
        print("gave up")

asyncio.run(main())
"""


def test_a_stuck_look_up_does_not_hold_back_the_end_of_the_program() -> None:
    result = subprocess.run(
        [sys.executable, "-c", STUCK_AT_EXIT],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert (result.stdout, result.stderr, result.returncode) == ("gave up\n", "", 0)
