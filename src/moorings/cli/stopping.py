"""What ends a command from outside: signals, and a reader of its messages that goes."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Any

from moorings.cli.exit_codes import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, EXIT_OK, EXIT_TERMINATED, CommandError
from moorings.cli.output import describe_error
from moorings.cli.statistics_line import Reporter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

#: Seconds that an exchange gets to say its last word once its connection has ended.
LAST_WORD = 1.0


class Stop:
    """What ends a server: SIGINT and SIGTERM; SIGPIPE stands for a reader of the output that has gone."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[signal.Signals] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.ask, number)

    def ask(self, number: signal.Signals) -> None:
        """As if that signal had come."""
        self._queue.put_nowait(number)

    async def asked(self, *works: asyncio.Task[Any]) -> signal.Signals | None:
        """Wait for the next of them; None when one of `works` has ended before."""
        asking = asyncio.create_task(self._queue.get())
        await asyncio.wait((asking, *works), return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            return asking.result()
        asking.cancel()
        return None


async def drain(listening: Any, stop: Stop, timeout: float) -> tuple[Any, int, signal.Signals | None]:
    """Drain what `moorings.listen` gave; a signal cuts that short.

    Gives the report, how many were aborted because of that signal, and the signal, if one came.
    """
    waiting = listening.open_connections
    if waiting:
        connections = "1 connection" if waiting == 1 else f"{waiting} connections"
        Reporter(sys.stderr, as_json=False).say(
            "", f"draining: up to {timeout:g} s for {connections}; once more aborts"
        )
    draining = asyncio.create_task(listening.drain(timeout))
    insisted = await stop.asked(draining)
    if insisted is None or draining.done():
        return await draining, 0, insisted
    aborted = listening.open_connections
    draining.cancel()
    await asyncio.wait((draining,))
    return await listening.drain(0), aborted, insisted


async def serve_one_by_one(
    listening: Any, work: asyncio.Task[object], stop: Stop, drained: Callable[[], Awaitable[signal.Signals | None]]
) -> int:
    """The exit code of a server whose clients are the business of `work`, one after the other.

    `work` ends by itself, or SIGTERM lets `drained` drain, or Ctrl-C ends it at once.
    """
    try:
        asked = await stop.asked(work)
        if asked is None:
            await work
            return EXIT_OK
        if asked == signal.SIGINT:
            return EXIT_INTERRUPTED
        insisted = await drained()
        await asyncio.wait((work,), timeout=LAST_WORD)
        return end_code(asked, insisted)
    finally:
        listening.close()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def end_code(asked: signal.Signals, insisted: signal.Signals | None = None) -> int:
    """What a server ends with after these signals."""
    codes = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED, signal.SIGPIPE: EXIT_BROKEN_PIPE}
    if insisted is not None:
        return codes[insisted]
    return EXIT_OK if asked == signal.SIGTERM else codes[asked]


def gone_code(reporter: Reporter) -> int:
    """What a server ends with whose messages nobody reads any more. CommandError where they cannot be written."""
    if reporter.failure is not None:
        raise CommandError(f"standard output cannot be written: {describe_error(reporter.failure)}")
    return EXIT_BROKEN_PIPE


async def until_terminated(work: Coroutine[Any, Any, int]) -> int:
    """The exit code of `work`; SIGTERM cancels it."""
    main_task = asyncio.current_task()
    assert main_task is not None
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        main_task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await work
    except asyncio.CancelledError:
        if terminated:
            return EXIT_TERMINATED
        raise
