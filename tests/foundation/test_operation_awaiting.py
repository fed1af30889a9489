"""Operations as awaitables: tasks, asyncio's future protocol, re-use."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE, socket_and_peer, turns
from tests.foundation.operations import CANCELED, COMPLETED, ERROR, Recorder, end, ended, started, wait_for

from moorings import AsyncStatus, Buffer

# -- awaiting --------------------------------------------------------------------------------------------------------


async def test_awaiting_before_and_after_the_end() -> None:
    operation = started()
    waiting = asyncio.ensure_future(wait_for(operation))
    await turns(2)
    end(operation, COMPLETED)
    assert await waiting == "result"
    assert [await operation, await operation] == ["result", "result"]


@pytest.mark.parametrize("value", [None, 0, (), (1, 2), [1], ValueError("a value"), StopIteration(3)])
async def test_any_result(value: object) -> None:
    operation = started()
    operation.finish(COMPLETED, value, None)
    assert await operation is value
    later = started()
    waiting = asyncio.ensure_future(wait_for(later))
    await turns(1)
    later.finish(COMPLETED, value, None)
    assert await waiting is value


async def test_awaiting_a_failure_raises_it_each_time() -> None:
    operation = ended(ERROR)
    for _ in range(2):
        with pytest.raises(ConnectionResetError, match="gone"):
            await operation


async def test_awaiting_tells_the_owner() -> None:
    owner = Recorder()
    operation = started(owner=owner)
    waiting = asyncio.ensure_future(wait_for(operation))
    await turns(2)
    assert owner.waited == [operation]
    end(operation, COMPLETED)
    await waiting
    owner.waited.clear()
    await operation
    assert owner.waited == []


async def test_many_tasks_may_await_one_operation() -> None:
    operation = started()
    waiting = [asyncio.ensure_future(wait_for(operation)) for _ in range(5)]
    await turns(2)
    end(operation, COMPLETED)
    assert await asyncio.gather(*waiting) == ["result"] * 5


async def test_a_task_of_pure_python_may_await() -> None:
    from asyncio.tasks import _PyTask  # type: ignore[attr-defined]

    operation = started()
    waiting = _PyTask(wait_for(operation), loop=asyncio.get_running_loop())
    await turns(2)
    end(operation, COMPLETED)
    assert await waiting == "result"


async def test_the_waiting_task_keeps_its_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []
    operation = started()

    async def wait() -> None:
        variable.set("of the task")
        await wait_for(operation)
        seen.append(variable.get())

    waiting = asyncio.ensure_future(wait())
    await turns(2)
    end(operation, COMPLETED)
    await waiting
    assert seen == ["of the task"]
    assert variable.get() == "unset"


async def test_coroutine_close_while_awaiting_cancels() -> None:
    owner = Recorder()
    operation = started(owner=owner)

    async def wait() -> None:
        await operation

    coroutine = wait()
    coroutine.send(None)
    coroutine.close()
    assert owner.cancelled == [(True, None)]
    assert operation.done()


async def test_coroutine_close_releases_a_pending_read() -> None:
    async with socket_and_peer() as (ours, peer):
        coroutine = ours.read()
        coroutine.send(None)
        with pytest.raises(OSError, match="another read is pending"):
            await ours.read()
        coroutine.close()
        peer.send(b"abc")
        assert await ours.read() == b"abc"


async def test_a_dropped_task_releases_its_read() -> None:
    """A task that nobody holds is destroyed with its coroutine."""
    async with socket_and_peer() as (ours, peer):

        async def read() -> None:
            await ours.read()

        coroutine = read()
        coroutine.send(None)
        del coroutine
        gc.collect()
        peer.send(b"abc")
        assert await ours.read() == b"abc"


# -- asyncio's future protocol ---------------------------------------------------------------------------------------


async def test_it_is_no_asyncio_future_for_those_who_ask() -> None:
    operation = started()
    assert not asyncio.isfuture(operation)
    waiting = asyncio.ensure_future(wait_for(operation))
    await turns(2)
    assert not asyncio.isfuture(operation)
    end(operation, COMPLETED)
    await waiting


async def test_done_result_exception_cancelled() -> None:
    operation = started()
    assert operation.get_loop() is asyncio.get_running_loop()
    assert (operation.done(), operation.cancelled()) == (False, False)
    for member in (operation.result, operation.exception):
        with pytest.raises(asyncio.InvalidStateError):
            member()
    done = ended(COMPLETED)
    assert (done.done(), done.cancelled(), done.result(), done.exception()) == (True, False, "result", None)
    failed = ended(ERROR)
    assert isinstance(failed.exception(), ConnectionResetError)
    with pytest.raises(ConnectionResetError):
        failed.result()
    cancelled = ended(CANCELED)
    assert cancelled.cancelled()
    for member in (cancelled.result, cancelled.exception):
        with pytest.raises(asyncio.CancelledError):
            member()


async def test_callbacks_are_called_in_the_order_in_which_they_were_added() -> None:
    operation = started()
    order: list[object] = []
    operation.add_done_callback(lambda _: order.append(1))
    operation.add_done_callback(lambda _: order.append(2), context=contextvars.copy_context())
    waiting = asyncio.ensure_future(wait_for(operation))
    await turns(2)
    operation.add_done_callback(lambda _: order.append(3))
    end(operation, COMPLETED)
    assert order == []
    await waiting
    await turns(2)
    assert order == [1, 2, 3]
    operation.add_done_callback(order.append)
    assert len(order) == 3
    await turns(2)
    assert order[3] is operation


async def test_the_first_callback_of_a_socket_operation_comes_first() -> None:
    """Completed by an event of the loop, where waiting tasks are resumed at once."""
    async with socket_and_peer() as (ours, peer):
        order: list[int] = []
        operation: Any = ours.input_stream.read_async(Buffer(1), 1, 0)  # type: ignore[arg-type]
        for number in range(3):
            operation.add_done_callback(lambda _, number=number: order.append(number))
        peer.send(b"a")
        await operation
        await turns(2)
        assert order == [0, 1, 2]


async def test_remove_done_callback() -> None:
    operation = started()
    order: list[str] = []

    def first(_: object) -> None:
        order.append("first")

    def second(_: object) -> None:
        order.append("second")

    for callback in (first, second, first, first):
        operation.add_done_callback(callback)
    assert operation.remove_done_callback(first) == 3
    assert operation.remove_done_callback(first) == 0
    end(operation, COMPLETED)
    await turns(2)
    assert order == ["second"]


async def test_gather_wait_shield_as_completed_and_wait_for() -> None:
    operations = [started() for _ in range(5)]

    def finish() -> None:
        for number, operation in enumerate(operations):
            operation.finish(COMPLETED, number, None)

    asyncio.get_running_loop().call_later(0.001, finish)
    first, second, third, fourth, fifth = operations
    gathered = asyncio.gather(first, second)
    shielded = asyncio.shield(third)
    limited = asyncio.wait_for(fourth, PATIENCE)
    done, pending = await asyncio.wait({fifth}, timeout=PATIENCE)
    assert (done, pending) == ({fifth}, set())
    assert await gathered == [0, 1]
    assert await shielded == 2
    assert await limited == 3
    assert {await result for result in asyncio.as_completed(operations)} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("way", ["timeout", "wait_for", "task group", "cancel"])
async def test_cancelling_the_awaiting_task(way: str) -> None:
    owner = Recorder()
    operation = started(owner=owner)

    async def wait() -> None:
        await operation

    if way == "timeout":
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await operation
    elif way == "wait_for":
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(operation, 0.001)
    elif way == "task group":
        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
            async with asyncio.TaskGroup() as group:
                group.create_task(wait())
                await turns(2)
                raise LookupError("leave")
        assert [type(error) for error in caught.value.exceptions] == [LookupError]
    else:
        task = asyncio.ensure_future(wait())
        await turns(2)
        task.cancel("the message")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert owner.cancelled[0][1] == "the message"
    assert [by_task for by_task, _ in owner.cancelled] == [True]
    assert operation.status is AsyncStatus.CANCELED


async def test_shield_keeps_the_operation() -> None:
    operation = started()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.shield(operation)
    assert operation.status is AsyncStatus.STARTED
    end(operation, COMPLETED)
    assert await operation == "result"
    await turns(2)


async def test_cancel_between_completion_and_wake_up_keeps_the_result() -> None:
    """The operation has ended, the task has not heard of it: the task is cancelled, the operation is as it was."""
    operation = started()
    task = asyncio.ensure_future(wait_for(operation))
    await turns(2)
    end(operation, COMPLETED)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert operation.get_results() == "result"


# -- re-use ----------------------------------------------------------------------------------------------------------


async def test_an_operation_that_somebody_holds_is_not_used_again() -> None:
    async with socket_and_peer() as (ours, _peer):
        held: list[Any] = []
        for number in range(5):
            operation = ours.output_stream.write_async(bytes([number]))
            held.append(operation)
            await operation
        assert len({id(operation) for operation in held}) == 5
        assert [operation.get_results() for operation in held] == [1] * 5
        for _ in range(5):
            await ours.output_stream.write_async(b"x")
        assert [operation.status for operation in held] == [AsyncStatus.COMPLETED] * 5


async def test_a_used_operation_keeps_nothing_alive() -> None:
    async with socket_and_peer() as (ours, peer):
        buffer = Buffer(10)
        alive = weakref.ref(buffer)
        peer.send(b"abc")
        await ours.input_stream.read_async(buffer, 10, 1)  # type: ignore[arg-type]
        del buffer
        assert alive() is None
        data = Buffer(3)
        data.length = 3
        alive = weakref.ref(data)
        await ours.output_stream.write_async(data)
        del data
        assert alive() is None


async def test_a_fresh_operation_is_fresh() -> None:
    """What a used operation had (handlers, callbacks, identity, progress) does not show in the next one."""
    async with socket_and_peer() as (ours, _peer):
        await ours.output_stream.write_async(b"a")
        operation: Any = ours.output_stream.write_async(b"a")
        number = operation.id
        operation.completed = lambda *_: None
        operation.progress = lambda *_: None
        await operation
        del operation
        for _ in range(3):
            following: Any = ours.output_stream.write_async(b"a")
            assert following.completed is None
            assert following.progress is None
            assert following.id != number
            await following
