"""Operations whose work is a coroutine: connecting, resolving, closing."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation import operation as operations
from moorings.foundation.operation import Operation, OperationOwner

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from moorings.foundation.home import Home

_COMPLETED = 1
_CANCELED = 2
_ERROR = 3


class Kind(IntEnum):
    """Which interface an operation has."""

    ACTION = operations.ACTION
    OPERATION = operations.OPERATION
    ACTION_WITH_PROGRESS = operations.ACTION_WITH_PROGRESS
    OPERATION_WITH_PROGRESS = operations.OPERATION_WITH_PROGRESS
    LOAD = operations.LOAD
    STORE = operations.STORE


class _TaskOwner(OperationOwner):
    """Drives one coroutine for one operation.

    The operation ends when the task has, so that whoever awaits it finds everything released. A cancelled task that
    finishes all the same is undone, like one that failed, or that never ran because it was cancelled before its start.
    """

    def __init__(self, home: Home, undo: Callable[[], object] | None) -> None:
        OperationOwner.__init__(self)
        self._home = home
        self._undo = undo
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False
        self._message: object = None

    def start(self, operation: Operation, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Start the coroutine on the home loop (home thread only)."""
        if self._cancelled:
            coroutine.close()
            self._end_cancelled(operation)
            return
        task = self._home.loop.create_task(coroutine)
        self._task = task

        def ended(ended_task: asyncio.Task[Any]) -> None:
            self._task = None
            self._ended(operation, ended_task)

        task.add_done_callback(ended)

    def _ended(self, operation: Operation, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self._end_cancelled(operation)
            return
        error = task.exception()
        if self._cancelled:
            self._end_cancelled(operation)
        elif error is None:
            self._undo = None
            operation.finish(_COMPLETED, task.result(), None)
        else:
            if not isinstance(error, OSError):
                error = errors.make(errors.E_FAIL, f"unexpected {type(error).__name__}: {error}", cause=error)
            self._call_undo()
            operation.finish(_ERROR, None, error)

    def _call_undo(self) -> None:
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def _end_cancelled(self, operation: Operation) -> None:
        self._call_undo()
        operation.finish(_CANCELED, None, operations.cancelled_error(self._message))

    def cancel_operation(self, operation: Operation, by_task: bool, message: object) -> None:  # noqa: ARG002
        self._cancelled = True
        self._message = message
        if self._task is not None:
            self._task.cancel()


def start_operation(
    home: Home,
    coroutine: Coroutine[Any, Any, Any],
    kind: int,
    *,
    undo: Callable[[], object] | None = None,
) -> Operation:
    """Start `coroutine` on the home loop now and return the operation that stands for it.

    An OSError of the coroutine ends the operation in ERROR. `op.cancel()`, and cancelling a task that awaits it, cancel
    the coroutine; the operation then ends in CANCELED once the coroutine has cleaned up, and awaiting it raises
    CancelledError. `undo` is called before an operation ends in ERROR or CANCELED, whether the coroutine has failed,
    has not run at all, was interrupted, or had succeeded in that very moment.
    """
    owner = _TaskOwner(home, undo)
    operation = Operation(home, owner, int(kind))
    try:
        home.usable("starting an operation")
        home.call(owner.start, operation, coroutine)
    except OSError:
        coroutine.close()
        raise
    return operation


def completed_operation(home: Home, kind: int, result: object = None) -> Operation:
    """An operation that has nothing left to do."""
    operation = Operation(home, None, int(kind))
    operation.finish(_COMPLETED, result, None)
    return operation
