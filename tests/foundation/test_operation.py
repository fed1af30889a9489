"""Operations: the WinRT members, awaiting, asyncio's future protocol, blocking from plain scripts."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import turns, until
from tests.foundation.operations import CANCELED, COMPLETED, ERROR, Recorder, end, ended, started, wait_for

from moorings import AsyncStatus, errors
from moorings.foundation.async_info import (
    DataReaderLoadOperation,
    DataWriterStoreOperation,
    IAsyncAction,
    IAsyncActionWithProgress,
    IAsyncInfo,
    IAsyncOperation,
    IAsyncOperationWithProgress,
)
from moorings.foundation.home import current_home
from moorings.foundation.operation import (
    ACTION,
    ACTION_WITH_PROGRESS,
    LOAD,
    OPERATION,
    OPERATION_WITH_PROGRESS,
    STORE,
    Operation,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MEMBERS: dict[str, Callable[[Any], object]] = {
    "status": lambda operation: operation.status,
    "error_code": lambda operation: operation.error_code,
    "id": lambda operation: operation.id,
    "completed": lambda operation: operation.completed,
    "completed.setter": lambda operation: setattr(operation, "completed", print),
    "progress": lambda operation: operation.progress,
    "progress.setter": lambda operation: setattr(operation, "progress", print),
    "get_results": lambda operation: operation.get_results(),
    "get": lambda operation: operation.get(),
    "wait": lambda operation: operation.wait(1),
    "cancel": lambda operation: operation.cancel(),
    "result": lambda operation: operation.result(),
}


# -- interfaces ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "interfaces"),
    [
        (ACTION, {IAsyncAction}),
        (OPERATION, {IAsyncOperation}),
        (ACTION_WITH_PROGRESS, {IAsyncActionWithProgress}),
        (OPERATION_WITH_PROGRESS, {IAsyncOperationWithProgress}),
        (LOAD, {IAsyncOperation, DataReaderLoadOperation}),
        (STORE, {IAsyncOperation, DataWriterStoreOperation}),
    ],
)
async def test_isinstance_looks_at_the_kind(kind: int, interfaces: set[type]) -> None:
    operation = started(kind)
    every = {
        IAsyncAction,
        IAsyncActionWithProgress,
        IAsyncOperation,
        IAsyncOperationWithProgress,
        DataReaderLoadOperation,
        DataWriterStoreOperation,
    }
    assert isinstance(operation, IAsyncInfo)
    assert {interface for interface in every if isinstance(operation, interface)} == interfaces
    assert not isinstance("no operation", IAsyncInfo)


# -- IAsyncInfo ------------------------------------------------------------------------------------------------------


async def test_status_follows_the_state() -> None:
    operation = started()
    assert operation.status is AsyncStatus.STARTED
    end(operation, COMPLETED)
    assert operation.status is AsyncStatus.COMPLETED
    assert ended(CANCELED).status is AsyncStatus.CANCELED
    assert ended(ERROR).status is AsyncStatus.ERROR


async def test_an_operation_ends_once() -> None:
    operation = ended(COMPLETED)
    for state in (COMPLETED, CANCELED, ERROR):
        end(operation, state)
    assert operation.status is AsyncStatus.COMPLETED
    assert operation.get_results() == "result"


async def test_error_code() -> None:
    for operation in (started(), ended(COMPLETED)):
        assert operation.error_code == 0
    assert ended(CANCELED).error_code == errors.ERROR_CANCELLED
    assert ended(ERROR).error_code == errors.WSAECONNRESET
    foreign = started()
    foreign.finish(ERROR, None, ValueError("no HRESULT"))
    assert foreign.error_code == errors.E_FAIL


async def test_id_is_stable_and_unique() -> None:
    operations = [started() for _ in range(3)]
    numbers = [operation.id for operation in operations]
    assert len(set(numbers)) == 3
    assert 0 not in numbers
    assert [operation.id for operation in operations] == numbers


async def test_get_results() -> None:
    operation = started()
    with pytest.raises(OSError, match="before the operation has ended") as caught:
        operation.get_results()
    assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
    end(operation, COMPLETED)
    assert [operation.get_results(), operation.get_results()] == ["result", "result"]
    with pytest.raises(OSError) as caught:
        ended(CANCELED).get_results()
    assert caught.value.winerror == errors.ERROR_CANCELLED
    with pytest.raises(ConnectionResetError):
        ended(ERROR).get_results()


async def test_cancel() -> None:
    owner = Recorder()
    operation = started(owner=owner)
    assert operation.cancel() is None
    assert operation.status is AsyncStatus.CANCELED
    operation.cancel()
    assert owner.cancelled == [(False, None)]
    with pytest.raises(asyncio.CancelledError):
        await operation


async def test_cancel_without_an_owner() -> None:
    operation = Operation(current_home(), None, ACTION)
    operation.cancel()
    assert operation.status is AsyncStatus.CANCELED


async def test_cancel_of_an_ended_operation_does_nothing() -> None:
    operation = ended(COMPLETED)
    operation.cancel()
    assert operation.status is AsyncStatus.COMPLETED
    assert await operation == "result"


# -- close -----------------------------------------------------------------------------------------------------------


async def test_close_of_a_running_operation_is_refused() -> None:
    operation = started()
    with pytest.raises(OSError, match="still running") as caught:
        operation.close()
    assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
    assert operation.status is AsyncStatus.STARTED


@pytest.mark.parametrize("state", [COMPLETED, CANCELED, ERROR])
@pytest.mark.parametrize("member", MEMBERS)
async def test_after_close_every_member_is_illegal(state: int, member: str) -> None:
    operation = ended(state)
    operation.close()
    operation.close()
    with pytest.raises(OSError, match="after its close") as caught:
        MEMBERS[member](operation)
    assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL


async def test_after_close_awaiting_is_illegal() -> None:
    operation = ended(COMPLETED)
    operation.close()
    with pytest.raises(OSError, match="after its close"):
        await operation
    assert repr(operation) == "<Operation closed>"


async def test_close_lets_go_of_the_result() -> None:
    class Result:
        pass

    result = Result()
    alive = weakref.ref(result)
    operation = started()
    operation.finish(COMPLETED, result, None)
    del result
    assert alive() is not None
    operation.close()
    gc.collect()
    assert alive() is None


# -- completed and progress ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [COMPLETED, CANCELED, ERROR])
async def test_completed_is_called_once_with_operation_and_status(state: int) -> None:
    operation = started()
    calls: list[Any] = []
    operation.completed = lambda *arguments: calls.append(arguments)
    end(operation, state)
    assert calls == []  # not from within the code that ended it
    await turns(2)
    assert calls == [(operation, AsyncStatus(state))]


@pytest.mark.parametrize("state", [COMPLETED, CANCELED, ERROR])
async def test_completed_of_an_ended_operation_is_called_at_once(state: int) -> None:
    operation = ended(state)
    calls: list[Any] = []
    operation.completed = lambda *arguments: calls.append(arguments)
    assert calls == [(operation, AsyncStatus(state))]
    await turns(2)
    assert len(calls) == 1


@pytest.mark.parametrize("late", [False, True])
async def test_completed_may_be_assigned_once(late: bool) -> None:
    operation = ended(COMPLETED) if late else started()
    assert operation.completed is None
    operation.completed = handler = lambda *_: None
    assert operation.completed is handler
    with pytest.raises(OSError) as caught:
        operation.completed = print
    assert caught.value.winerror == errors.E_ILLEGAL_DELEGATE_ASSIGNMENT
    assert operation.completed is handler


@pytest.mark.parametrize("value", [None, 7, "text"])
async def test_handlers_must_be_callable(value: object) -> None:
    operation = started()
    with pytest.raises(TypeError):
        operation.completed = value
    with pytest.raises(TypeError):
        operation.progress = value


async def test_a_completed_handler_that_raises_is_reported_once(expect_loop_errors: list[dict[str, Any]]) -> None:
    operation = started()

    def handler(*_: object) -> None:
        raise LookupError("handler")

    operation.completed = handler
    end(operation, COMPLETED)
    assert await operation == "result"
    await until(lambda: expect_loop_errors)
    await turns(3)
    assert [type(context["exception"]) for context in expect_loop_errors] == [LookupError]


async def test_progress() -> None:
    operation = started()
    seen: list[Any] = []
    operation.report_progress(1)  # nobody listens
    operation.progress = lambda *arguments: seen.append(arguments)
    operation.report_progress(2)
    operation.report_progress(3)
    assert seen == []
    await turns(2)
    assert seen == [(operation, 2), (operation, 3)]


@pytest.mark.parametrize("kind", [ACTION, OPERATION, LOAD, STORE])
async def test_progress_exists_only_where_the_interface_has_it(kind: int) -> None:
    operation = started(kind)
    with pytest.raises(AttributeError):
        _ = operation.progress
    with pytest.raises(AttributeError):
        operation.progress = print


async def test_progress_comes_before_completed() -> None:
    order: list[str] = []
    operation = started()
    operation.completed = lambda *_: order.append("completed")
    operation.progress = lambda *_: order.append("progress")
    operation.report_progress(1)
    end(operation, COMPLETED)
    await turns(2)
    assert order == ["progress", "completed"]


# -- a matrix of everything at once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["await", "result", "callback", "completed"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("state", [COMPLETED, CANCELED, ERROR])
async def test_every_end_is_seen_by_every_way_of_looking(state: int, when: str, how: str) -> None:
    operation = started()
    if when == "before":
        end(operation, state)
    seen: list[object] = []
    if how == "await":
        task = asyncio.ensure_future(wait_for(operation))
        await turns(1)
        if when == "after":
            end(operation, state)
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        expected: Any = {COMPLETED: str, CANCELED: asyncio.CancelledError, ERROR: ConnectionResetError}[state]
        assert isinstance(outcome, expected)
        return
    if how == "callback":
        operation.add_done_callback(lambda ended_operation: seen.append(ended_operation.status))
    elif how == "completed":
        operation.completed = lambda _, status: seen.append(status)
    if when == "after":
        end(operation, state)
    await turns(2)
    if how == "result":
        seen.append(operation.status)
    assert seen == [AsyncStatus(state)]
