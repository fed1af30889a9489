"""Standard input and output as streams of bytes for the event loop.

Theory of operation
-------------------
Nothing here touches the flags of a descriptor: O_NONBLOCK belongs to the open file, which the shell and other programs
share, and a terminal left that way breaks them. So a thread makes the blocking call, one for each direction, with one
block under way at a time; the event loop waits for it like for anything else. A descriptor that never blocks
(/dev/null, /dev/zero) needs no thread. The threads are daemons: one that sits in a read of a terminal, or in a write to
a pipe that nobody reads, does not hold the end of the program.

Memory is bounded by the two blocks of each direction: while one is on its way, the next is read.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import select
import stat
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from moorings.cli.exit_codes import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes of a block. Big ones cost fewer calls and hand-overs between threads.
BLOCK_SIZE = 256 * 1024
#: Major number of /dev/null, /dev/zero and their like (devices.txt of the kernel).
_MEMORY_DEVICES = 1
_NULL_DEVICE = 3


def is_null_device(fd: int) -> bool:
    """Whether the descriptor is /dev/null: nothing will ever come from there."""
    status = os.fstat(fd)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(_MEMORY_DEVICES, _NULL_DEVICE)


def _widen(fd: int) -> None:
    """Let a pipe hold more than its 64 KiB (pipe(7)): each hand-over between threads then moves more."""
    with suppress(OSError):  # not a pipe, or the user's pipes hold as much as they may
        if fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) < BLOCK_SIZE:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, BLOCK_SIZE)


def _never_blocks(fd: int) -> bool:
    status = os.fstat(fd)
    return stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) == _MEMORY_DEVICES


class _Worker:
    """One thread that makes blocking calls for the event loop, in order."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[], int]) -> asyncio.Future[int]:
        """Let the thread call `function`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        self._jobs.put(partial(_work, function, loop, future))
        return future

    def _run(self) -> None:
        while True:
            self._jobs.get()()


def _work(function: Callable[[], int], loop: asyncio.AbstractEventLoop, future: asyncio.Future[int]) -> None:
    result: Any = None
    error: Exception | None = None
    try:
        result = function()
    except Exception as failure:  # noqa: BLE001 - raised again where the result is awaited
        error = failure
    try:
        loop.call_soon_threadsafe(_settle, future, result, error)
    except RuntimeError:
        return  # the loop is closed: the command has ended


def _settle(future: asyncio.Future[int], result: int, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
        future.exception()  # who has ended meanwhile does not ask


def _call(worker: _Worker | None, function: Callable[[], int]) -> asyncio.Future[int]:
    """Call `function` in the thread; at once where it never blocks."""
    if worker is not None:
        return worker.call(function)
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    try:
        _settle(future, function(), None)
    except OSError as error:
        _settle(future, 0, error)
    return future


class Source:
    """Standard input, block by block. Nothing is read before somebody asks, then one block ahead."""

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        _widen(fd)
        self._blocks = [memoryview(bytearray(BLOCK_SIZE)) for _ in range(2)]
        self._turn = 0
        self._reading: asyncio.Future[int] | None = None
        self._worker = None if _never_blocks(fd) else _Worker("moorings-stdin")
        #: Somebody types.
        self.terminal = os.isatty(fd)
        #: There is nobody who could say something: /dev/null, or closed.
        self.absent = is_null_device(fd)
        #: All of it has been taken.
        self.ended = False

    def begin(self) -> asyncio.Future[int]:
        """Read the next block, if that has not begun yet. The future ends when it is there; nobody may cancel it."""
        if self._reading is None:
            self._reading = _call(self._worker, partial(self._read, self._blocks[self._turn]))
        return self._reading

    def take(self) -> memoryview | None:
        """The block that `begin` has read, valid until the next one is taken; None at the end.

        Errors: CommandError where standard input cannot be read.
        """
        reading = self.begin()
        try:
            count = reading.result()
        except OSError as error:
            raise CommandError(f"standard input cannot be read: {error.strerror}") from error
        if count == 0:
            self.ended = True
            return None
        block = self._blocks[self._turn][:count]
        self._turn ^= 1
        self._reading = None
        return block

    def _read(self, block: memoryview) -> int:
        while True:
            try:
                return os.readv(self._fd, [block])
            except BlockingIOError:  # somebody else made it so
                _wait_for(self._fd, select.POLLIN)


class Sink:
    """Standard output."""

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        _widen(fd)
        self._worker = None if _never_blocks(fd) else _Worker("moorings-stdout")
        self.terminal = os.isatty(fd)

    def write(self, data: memoryview) -> asyncio.Future[int]:
        """Write all of `data`, which must not change before the future has ended. One at a time.

        Errors: through the future, BrokenPipeError and other OSErrors.
        """
        return _call(self._worker, partial(self._write, data))

    def _write(self, data: memoryview) -> int:
        done = 0
        while done < len(data):
            try:
                done += os.write(self._fd, data[done:])
            except BlockingIOError:  # somebody else made it so
                _wait_for(self._fd, select.POLLOUT)
        return done


def failure_of(writing: asyncio.Future[int]) -> BaseException | None:
    """Why a write to standard output failed, as the command ends with it; BrokenPipeError: its reader has gone."""
    error = None if writing.cancelled() else writing.exception()
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return CommandError(f"standard output cannot be written: {error.strerror}")
    return error


def _wait_for(fd: int, event: int) -> None:
    poll = select.poll()
    poll.register(fd, event)
    poll.poll()
