"""Running a coroutine on another loop: results, errors, and cancelling that crosses the result."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import until

from moorings.foundation.at_home import run_at_home
from moorings.foundation.home import Home, current_home

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def other_home() -> Iterator[Home]:
    """The home of a loop that runs on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def home() -> Home:
        return current_home()

    async def settle() -> None:
        """A task whose cancelling is on its way ends before the loop does."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)

    try:
        yield asyncio.run_coroutine_threadsafe(home(), loop).result()
        asyncio.run_coroutine_threadsafe(settle(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def test_here_it_is_a_plain_call() -> None:
    async def work() -> asyncio.Task[Any] | None:
        return asyncio.current_task()

    assert await run_at_home(current_home(), work) is asyncio.current_task()


async def test_there_it_runs_on_the_other_loop() -> None:
    async def work() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    with other_home() as home:
        assert await run_at_home(home, work) is home.loop


@pytest.mark.parametrize("error", [KeyError("a"), EOFError(), OSError(5, "x"), asyncio.CancelledError("away")])
async def test_errors_come_back_as_they_are(error: BaseException) -> None:
    async def work() -> None:
        raise error

    with other_home() as home, pytest.raises(type(error)) as caught:
        await run_at_home(home, work)
    assert isinstance(error, asyncio.CancelledError) or caught.value is error


async def test_cancelling_reaches_the_task_there() -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with other_home() as home:
        task = asyncio.create_task(run_at_home(home, work))
        await until(started.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(cancelled.is_set)


async def test_every_result_is_taken_or_undone_exactly_once() -> None:
    """The cancelling and the result cross between two threads, at every distance."""
    taken: Counter[int] = Counter()
    undone: Counter[int] = Counter()
    made: Counter[int] = Counter()

    async def work(number: int, turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        made[number] += 1
        return number

    with other_home() as home:
        for number in range(300):
            task = asyncio.create_task(
                run_at_home(home, lambda: work(number, number % 5), lambda back: undone.update([back]))  # noqa: B023
            )
            for _ in range(number % 17):
                await asyncio.sleep(0)
            task.cancel()
            try:
                taken[await task] += 1
            except asyncio.CancelledError:
                continue
        await until(lambda: taken + undone == made)
    assert not taken & undone
    assert set(made.values()) == {1}


async def test_a_closed_home_says_so() -> None:
    with other_home() as home:
        pass

    async def work() -> None:
        raise AssertionError

    with pytest.raises(OSError, match="closed"):
        await run_at_home(home, work)


def test_a_home_that_this_thread_would_have_to_run_says_so() -> None:
    first = asyncio.new_event_loop()

    async def home() -> Home:
        return current_home()

    found = first.run_until_complete(home())

    async def use() -> None:
        async def work() -> None:
            raise AssertionError

        await run_at_home(found, work)

    with asyncio.Runner() as runner, pytest.raises(RuntimeError, match=r"one asyncio\.run"):
        runner.run(use())
    first.close()
