"""Operations across loops and threads: bridging, blocking, plain scripts, closed loops."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, connected_sockets, until
from tests.foundation.operations import CANCELED, COMPLETED, ERROR, QUEUED, Recorder, end, ended, started, wait_for

from moorings import AsyncStatus, StreamSocket, errors
from moorings.foundation.background import background_home
from moorings.foundation.operation import (
    OPERATION_WITH_PROGRESS,
    Operation,
    OperationOwner,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def home_of_scripts() -> Iterator[Any]:
    """The loop thread that a plain script gets, running."""
    home = background_home()
    yield home
    done = threading.Event()
    home.call(done.set)
    assert done.wait(PATIENCE)


# -- other loops and threads -----------------------------------------------------------------------------------------


def in_other_loop(function: Callable[[], Any]) -> Any:
    """Run a coroutine function on a loop of another thread while this one goes on; its outcome as a future."""
    return asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(function()))


async def test_awaiting_from_another_loop() -> None:
    owner = Recorder()
    operation = started(owner=owner)
    waiting = in_other_loop(lambda: wait_for(operation))
    await until(lambda: owner.waited)
    end(operation, COMPLETED)
    assert await waiting == "result"
    assert await in_other_loop(lambda: wait_for(operation)) == "result"
    failed = ended(ERROR)
    with pytest.raises(ConnectionResetError):
        await in_other_loop(lambda: wait_for(failed))


async def test_cancelling_a_task_of_another_loop() -> None:
    owner = Recorder()
    operation = started(owner=owner)

    async def give_up() -> str:
        try:
            async with asyncio.timeout(0.01):
                await operation
        except TimeoutError:
            return "timed out"
        return "not reached"

    assert await in_other_loop(give_up) == "timed out"
    await until(operation.done)
    assert [by_task for by_task, _ in owner.cancelled] == [True]


async def test_blocking_calls_from_another_thread() -> None:
    loop = asyncio.get_running_loop()
    owner = Recorder()
    operation = started(owner=owner)
    getting = [loop.run_in_executor(None, operation.get) for _ in range(3)]
    waiting = loop.run_in_executor(None, operation.wait, math.inf)
    await until(lambda: len(owner.waited) == 4)
    end(operation, COMPLETED)
    assert await asyncio.gather(*getting) == ["result"] * 3
    assert await waiting is AsyncStatus.COMPLETED


async def test_cancel_from_another_thread() -> None:
    operation = started()
    await asyncio.get_running_loop().run_in_executor(None, operation.cancel)
    with pytest.raises(asyncio.CancelledError):
        await operation


@pytest.mark.parametrize("member", ["get", "wait"])
async def test_blocking_on_the_loops_own_thread_is_refused(member: str) -> None:
    operation = started()
    with pytest.raises(RuntimeError, match="would wait for itself"):
        operation.get() if member == "get" else operation.wait(1)
    assert operation.status is AsyncStatus.STARTED


@pytest.mark.parametrize("state", [COMPLETED, CANCELED, ERROR])
async def test_blocking_calls_on_an_ended_operation_never_block(state: int) -> None:
    operation = ended(state)
    assert operation.wait(10) is AsyncStatus(state)
    if state == COMPLETED:
        assert operation.get() == "result"
    else:
        with pytest.raises(OSError) as caught:
            operation.get()
        assert caught.value.winerror == (errors.ERROR_CANCELLED if state == CANCELED else errors.WSAECONNRESET)


@pytest.mark.parametrize("timeout", [0, -1, -math.inf, math.nan])
async def test_wait_without_time_only_looks(timeout: float) -> None:
    owner = Recorder()
    operation = started(owner=owner)
    assert operation.wait(timeout) is AsyncStatus.STARTED
    assert owner.waited == [operation]


@pytest.mark.parametrize("timeout", [None, "long", [1]])
async def test_wait_takes_a_number(timeout: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        started().wait(timeout)


# -- plain scripts ---------------------------------------------------------------------------------------------------


def scripted(home: Any, owner: OperationOwner | None = None) -> Operation:
    operation = Operation(home, owner if owner is not None else Recorder(), OPERATION_WITH_PROGRESS)
    operation.options = QUEUED
    return operation


def test_get_in_a_plain_script(home_of_scripts: Any) -> None:
    operation = scripted(home_of_scripts)
    home_of_scripts.loop.call_soon_threadsafe(home_of_scripts.loop.call_later, 0.01, end, operation, COMPLETED)
    assert operation.get() == "result"
    failing = scripted(home_of_scripts)
    home_of_scripts.call(end, failing, ERROR)
    with pytest.raises(ConnectionResetError):
        failing.get()


def test_wait_in_a_plain_script(home_of_scripts: Any) -> None:
    operation = scripted(home_of_scripts)
    assert operation.wait(0.001) is AsyncStatus.STARTED
    assert operation.wait(0.001) is AsyncStatus.STARTED
    home_of_scripts.call(end, operation, COMPLETED)
    assert operation.wait(PATIENCE) is AsyncStatus.COMPLETED


def test_cancel_in_a_plain_script(home_of_scripts: Any) -> None:
    operation = scripted(home_of_scripts)
    operation.cancel()
    with pytest.raises(OSError) as caught:
        operation.get()
    assert caught.value.winerror == errors.ERROR_CANCELLED


def test_handlers_of_a_plain_script_run_on_a_worker(home_of_scripts: Any) -> None:
    operation = scripted(home_of_scripts)
    seen: list[tuple[str, object]] = []
    done = threading.Event()

    def progress(_: object, value: object) -> None:
        seen.append((threading.current_thread().name.split("-")[1], value))

    def completed(_: object, status: AsyncStatus) -> None:
        seen.append((threading.current_thread().name.split("-")[1], status))
        done.set()

    operation.progress = progress
    operation.completed = completed
    home_of_scripts.call(operation.report_progress, 1)
    home_of_scripts.call(end, operation, COMPLETED)
    assert done.wait(PATIENCE)
    assert seen == [("worker", 1), ("worker", AsyncStatus.COMPLETED)]


def test_completed_is_called_exactly_once_however_the_threads_meet(home_of_scripts: Any) -> None:
    """The handler is assigned here while the operation ends on its loop's thread."""
    calls: list[int] = []
    lock = threading.Lock()
    done = threading.Semaphore(0)

    def handler(number: int) -> Callable[..., None]:
        def completed(_operation: object, _status: object) -> None:
            with lock:
                calls.append(number)
            done.release()

        return completed

    for number in range(300):
        operation = scripted(home_of_scripts)
        home_of_scripts.call(end, operation, COMPLETED)
        operation.completed = handler(number)
    for _ in range(300):
        assert done.acquire(timeout=PATIENCE)
    flushed = threading.Event()
    home_of_scripts.call(flushed.set)
    assert flushed.wait(PATIENCE)
    assert sorted(calls) == list(range(300))


def test_threads_that_block_at_the_same_moment_are_all_woken(home_of_scripts: Any) -> None:
    for _ in range(20):
        operation = scripted(home_of_scripts)
        barrier = threading.Barrier(4)
        results: list[object] = []

        def work(
            operation: Operation = operation, barrier: threading.Barrier = barrier, into: list[object] = results
        ) -> None:
            barrier.wait(PATIENCE)
            into.append(operation.get())

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        barrier.wait(PATIENCE)
        home_of_scripts.call(end, operation, COMPLETED)
        for thread in threads:
            thread.join(PATIENCE)
        assert results == ["result"] * 3


def test_await_in_asyncio_of_an_operation_of_a_plain_script(home_of_scripts: Any) -> None:
    operation = scripted(home_of_scripts)
    home_of_scripts.loop.call_soon_threadsafe(home_of_scripts.loop.call_later, 0.01, end, operation, COMPLETED)
    assert asyncio.run(wait_for(operation)) == "result"


# -- a home loop that is closed --------------------------------------------------------------------------------------


def test_a_closed_home_loop_is_an_error_that_says_so() -> None:
    async def make() -> tuple[Operation, StreamSocket, Any]:
        ours, peer = connected_sockets()
        return started(), StreamSocket.from_socket(ours), peer

    operation, ours, peer = asyncio.run(make())

    def elsewhere(call: Callable[[], object]) -> BaseException | None:
        caught: list[BaseException] = []

        def work() -> None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - shown to the test
                caught.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(PATIENCE)
        return caught[0] if caught else None

    for call in (operation.get, lambda: operation.wait(1), operation.cancel, lambda: asyncio.run(wait_for(operation))):
        error = elsewhere(call)
        assert isinstance(error, OSError)
        assert error.winerror == errors.RO_E_CLOSED
        assert "closed" in str(error)
    ours.close()
    peer.close()


def test_a_home_loop_that_closes_while_another_loop_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorings.foundation.bridge._LOOK_AFTER_HOME", 0.01)
    waiting = threading.Event()
    made: list[Operation] = []
    release = threading.Event()

    class Waited(OperationOwner):
        def prepare_wait(self, operation: Operation) -> None:
            waiting.set()

    async def home() -> None:
        made.append(started(owner=Waited()))
        release.set()
        await asyncio.get_running_loop().run_in_executor(None, waiting.wait, PATIENCE)

    thread = threading.Thread(target=asyncio.run, args=(home(),))
    thread.start()
    assert release.wait(PATIENCE)
    with pytest.raises(OSError) as caught:
        asyncio.run(wait_for(made[0]))
    assert caught.value.winerror == errors.RO_E_CLOSED
    thread.join(PATIENCE)
