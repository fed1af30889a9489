"""Streams for the tests: scripted ones written in Python, and one that offers the short way of the socket streams."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest

from moorings import errors
from moorings.foundation.home import Home, current_home
from moorings.foundation.operation import Operation, OperationOwner, cancelled_error
from moorings.streams.buffer import Buffer, fill
from moorings.streams.enums import InputStreamOptions
from moorings.streams.interfaces import IInputStream, IOutputStream

COMPLETED, CANCELED, ERROR = 1, 2, 3


def fails(code: int) -> pytest.RaisesExc[OSError]:
    """A `with` block that has to end in an OSError with this HRESULT."""
    return pytest.raises(OSError, check=lambda error: getattr(error, "winerror", None) == code)


class ScriptedInput(IInputStream):
    """Gives the chunks of a list, then the end of the stream, or an error. Each chunk is one arrival."""

    def __init__(self, *chunks: bytes, error: OSError | None = None, copies: bool = False) -> None:
        self.chunks = deque(chunks)
        self.error = error
        self.copies = copies
        self.asked: list[tuple[int, int]] = []
        self.closed = 0

    async def read_async(self, buffer: Any, count: int, options: int, /) -> Any:
        self.asked.append((count, int(options)))
        data = b""
        while len(data) < count and (self.chunks or self.error):
            if not self.chunks:
                assert self.error is not None
                fill(buffer, data)
                raise self.error
            chunk = self.chunks.popleft()
            taken = chunk[: count - len(data)]
            if len(taken) < len(chunk):
                self.chunks.appendleft(chunk[len(taken) :])
            data += taken
            await asyncio.sleep(0)
            if options & InputStreamOptions.PARTIAL:
                break
        if self.copies:
            return data
        fill(buffer, data)
        return buffer

    def close(self) -> None:
        self.closed += 1


class ScriptedOutput(IOutputStream):
    """Collects writes. With `accepts` each write takes only so many bytes; with `error` each one fails."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.error: BaseException | None = None
        self.accepts: Any = None
        self.gate: asyncio.Event | None = None
        self.flushes = 0
        self.closed = 0

    async def write_async(self, buffer: Any, /) -> Any:
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        data = bytes(buffer)
        if self.accepts is not None:
            self.writes.append(data[: self.accepts] if isinstance(self.accepts, int) else data)
            return self.accepts
        self.writes.append(data)
        return len(data)

    async def flush_async(self) -> Any:
        self.flushes += 1
        return True

    def close(self) -> None:
        self.closed += 1


class _ShortWay(OperationOwner):
    """Ends its operations when the test says so, with the seam of the socket streams. Cancelling breaks the stream."""

    def __init__(self) -> None:
        OperationOwner.__init__(self)
        self.pending: deque[Operation] = deque()
        self.kinds: list[int] = []
        self.home: Home = current_home()
        self.open = True
        self.waited = 0

    def new(self, kind: int, buffer: Any, count: int, options: int, hook: Any) -> Operation:
        if not self.open:
            raise errors.closed("the stream of the test")
        operation = Operation(self.home, self, kind)
        operation.buffer = buffer
        operation.count = count
        operation.options = options
        operation.hook = hook
        self.kinds.append(kind)
        self.pending.append(operation)
        return operation

    def prepare_wait(self, operation: Operation) -> None:
        self.waited += 1

    def cancel_operation(self, operation: Operation, by_task: bool, message: object) -> None:
        self.pending.remove(operation)
        if operation.face:
            operation.finish(CANCELED, None, cancelled_error(message))
            return
        self.open = False
        if by_task:
            operation.finish(CANCELED, None, cancelled_error(message))
        else:
            operation.finish(ERROR, None, errors.aborted("the operation of the test"))


class ShortWayInput(IInputStream):
    """Has `_start_read`. Chunks given beforehand are read at once, as from a socket's stash; b"" is the end."""

    def __init__(self, *chunks: bytes) -> None:
        self.way = _ShortWay()
        self.chunks = deque(chunks)
        self.targets: list[Buffer] = []

    def _is_open(self) -> bool:
        return self.way.open

    def _start_read(self, target: Any, count: int, options: int, hook: Any, kind: int) -> Operation:
        operation = self.way.new(kind, target, count, options, hook)
        self.targets.append(target)
        while self.chunks and operation in self.way.pending:
            chunk = self.chunks[0][: count - operation.done_bytes]
            ended = not chunk
            self.chunks[0] = self.chunks[0][len(chunk) :]
            if not self.chunks[0] and not ended:
                self.chunks.popleft()
            full = operation.done_bytes + len(chunk) == count
            self.arrive(chunk, ends=ended or full or bool(options & InputStreamOptions.PARTIAL))
        return operation

    def arrive(self, data: bytes, *, ends: bool = True, error: OSError | None = None) -> None:
        """Bytes for the oldest pending read, which then ends, or fails, or goes on waiting."""
        operation = self.way.pending[0]
        target: Any = operation.buffer
        target._put(operation.done_bytes, data)
        operation.done_bytes += len(data)
        if not ends:
            return
        self.way.pending.popleft()
        if error is not None:
            operation.finish(ERROR, None, error)
        else:
            target._set_used(operation.done_bytes)
            operation.finish(COMPLETED, target, None)

    def read_async(self, buffer: Any, count: int, options: int, /) -> Any:
        raise AssertionError("the reader should have taken the short way")

    def close(self) -> None:
        self.way.open = False
        while self.way.pending:
            self.way.pending.popleft().finish(ERROR, None, errors.aborted("the read of the test"))


class ShortWayOutput(IOutputStream):
    """Has `_start_write`."""

    def __init__(self) -> None:
        self.way = _ShortWay()
        self.writes: list[bytes] = []
        self.flush_result = object()

    def _is_open(self) -> bool:
        return self.way.open

    def _start_write(self, data: Any, count: int, hook: Any, kind: int) -> Operation:
        operation = self.way.new(kind, data, count, 0, hook)
        self.writes.append(bytes(memoryview(data)[:count]))
        return operation

    def end(self, error: OSError | None = None, done_bytes: int = -1) -> None:
        """End the oldest write, well or with `error` after the stream took `done_bytes`."""
        operation = self.way.pending.popleft()
        operation.done_bytes = operation.count if done_bytes < 0 else done_bytes
        if error is None:
            operation.finish(COMPLETED, operation.count, None)
        else:
            operation.finish(ERROR, None, error)

    def write_async(self, buffer: Any, /) -> Any:
        raise AssertionError("the writer should have taken the short way")

    def flush_async(self) -> Any:
        return self.flush_result

    def close(self) -> None:
        self.way.open = False
