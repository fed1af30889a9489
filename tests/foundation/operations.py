"""Operations without a socket, for tests."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.engine.pairs import PATIENCE

from moorings import errors
from moorings.foundation.home import current_home
from moorings.foundation.operation import OPERATION_WITH_PROGRESS, Operation, OperationOwner

STARTED, COMPLETED, CANCELED, ERROR = 0, 1, 2, 3
QUEUED = 32  # an operation whose owner is told that somebody is about to wait


class Recorder(OperationOwner):
    """An owner that notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[Operation] = []
        self.cancelled: list[tuple[bool, object]] = []

    def prepare_wait(self, operation: Operation) -> None:
        self.waited.append(operation)

    def cancel_operation(self, operation: Operation, by_task: bool, message: object) -> None:
        self.cancelled.append((by_task, message))
        super().cancel_operation(operation, by_task, message)


def started(kind: int = OPERATION_WITH_PROGRESS, owner: OperationOwner | None = None) -> Operation:
    operation = Operation(current_home(), owner if owner is not None else Recorder(), kind)
    operation.options = QUEUED
    return operation


def ended(state: int, *, kind: int = OPERATION_WITH_PROGRESS) -> Operation:
    operation = started(kind)
    end(operation, state)
    return operation


def end(operation: Operation, state: int) -> None:
    error: BaseException | None = None
    if state == CANCELED:
        error = asyncio.CancelledError()
    elif state == ERROR:
        error = errors.make(errors.WSAECONNRESET, "gone")
    operation.finish(state, "result" if state == COMPLETED else None, error)


async def wait_for(operation: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await operation
