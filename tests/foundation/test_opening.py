"""A call that opens something, as a coroutine and as a context manager."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import pytest

from moorings.foundation.opening import Opening, opening


class Door:
    def __init__(self) -> None:
        self.events = list[str]()

    async def __aenter__(self) -> Self:
        self.events.append("entered")
        return self

    async def __aexit__(self, kind: object, value: object, traceback: object) -> bool:
        self.events.append("left" if kind is None else f"left with {type(value).__name__}")
        return isinstance(value, KeyError)


@opening
async def open_door(failure: BaseException | None = None, *, pause: bool = False) -> Door:
    """Docs."""
    if pause:
        await asyncio.Event().wait()
    if failure is not None:
        raise failure
    return Door()


async def test_awaited_it_gives_what_was_opened_and_enters_nothing() -> None:
    assert (await open_door()).events == []


async def test_a_block_enters_and_leaves() -> None:
    async with open_door() as door:
        assert door.events == ["entered"]
    assert door.events == ["entered", "left"]


async def test_an_awaited_one_may_be_used_in_a_block() -> None:
    async with await open_door() as door:
        pass
    assert door.events == ["entered", "left"]


async def test_exceptions_of_the_block_reach_it_and_may_be_swallowed() -> None:
    async with open_door() as door:
        raise KeyError
    assert door.events[-1] == "left with KeyError"
    with pytest.raises(ValueError, match=r"^$"):
        async with open_door():
            raise ValueError


async def test_a_failure_to_open_enters_nothing() -> None:
    with pytest.raises(OSError, match="locked"):
        async with open_door(OSError("locked")):
            raise AssertionError


async def test_it_is_a_coroutine_for_asyncio() -> None:
    made: Opening[Any] = open_door()
    assert asyncio.iscoroutine(made)
    assert isinstance(await asyncio.create_task(made), Door)
    assert isinstance(await asyncio.wait_for(open_door(), 5), Door)
    assert len(await asyncio.gather(open_door(), open_door())) == 2
    async with asyncio.TaskGroup() as group:
        task = group.create_task(open_door())
    assert isinstance(task.result(), Door)


async def test_it_can_be_cancelled_while_it_opens() -> None:
    task = asyncio.create_task(open_door(pause=True))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def block() -> None:
        async with open_door(pause=True):
            raise AssertionError

    task_of_block = asyncio.create_task(block())
    await asyncio.sleep(0)
    task_of_block.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task_of_block


def test_it_runs_by_itself() -> None:
    assert isinstance(asyncio.run(open_door()), Door)


def test_one_that_nobody_awaits_warns_with_the_name_of_the_call() -> None:
    with pytest.warns(RuntimeWarning, match="open_door.* was never awaited"):
        open_door()


def test_the_call_keeps_its_name_and_words() -> None:
    assert open_door.__name__ == "open_door"
    assert open_door.__doc__ == "Docs."


def test_closed_before_it_began() -> None:
    open_door().close()
