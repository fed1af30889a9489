"""Fails each test that leaves something behind or makes a loop complain.

After each test, this plugin looks for what the test did not clean up: descriptors, threads, asyncio tasks, objects
whose finaliser raised (with warnings as errors, that is each ``ResourceWarning``), calls of a loop's exception handler,
and log records of ``asyncio`` and ``moorings`` from WARNING on. It also measures how long a loop was blocked. What it
finds is an error at the teardown of that test. A test that failed anyway is not examined: its traceback keeps objects
alive.

A test that *expects* complaints takes the fixture ``expect_loop_errors``, a list of the contexts that the loops'
exception handlers got. A test that takes ``caplog`` answers for the log records itself.

Asynchronous tests run once per loop, with the ids ``asyncio`` and ``uvloop``.

Cost: collecting garbage is fast because what exists after collection of the tests is frozen, and so, from time to
time, is what the test runner has piled up since.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import os
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping

Context = dict[str, Any]

LIBRARY_THREADS = ("moorings-home", "moorings-resolver", "moorings-worker")
"""Threads that the library keeps for the rest of the process."""
HOME_DESCRIPTORS = Counter({"anon_inode:[eventpoll]": 1, "socket": 2})
"""What the loop of a new ``moorings-home`` thread keeps open."""
GRACE = 2.0
"""Seconds that a thread, a task or a descriptor of another thread gets to end, once the test is over."""
BLOCKED_LIMIT = 5.0
"""Seconds without a turn after which a loop counts as blocked."""
BEAT = 0.5
FREEZE_EVERY = 100


@dataclass
class Watch:
    """What is known about the running test."""

    descriptors: dict[int, str]
    threads: set[threading.Thread]
    takes_logs: bool
    loop_errors: list[Context] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    expects_errors: bool = False
    failed: bool = False


def open_descriptors() -> dict[int, str]:
    """Each open descriptor with what it refers to, for example ``socket:[4711]``."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return found


def new_descriptors(before: dict[int, str]) -> dict[int, str]:
    return {number: target for number, target in open_descriptors().items() if before.get(number) != target}


def new_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread not in before]


@contextmanager
def unraisable_errors() -> Iterator[list[str]]:
    """Collects what finalisers raise."""
    found: list[str] = []

    def note(event: Any) -> None:
        found.append(f"{event.err_msg or 'exception ignored in'} {event.object!r}: {event.exc_value!r}")

    previous, sys.unraisablehook = sys.unraisablehook, note
    try:
        yield found
    finally:
        sys.unraisablehook = previous


class LogWatch(logging.Handler):
    def __init__(self, plugin: ZeroTolerance) -> None:
        super().__init__(logging.WARNING)
        self.plugin = plugin

    def emit(self, record: logging.LogRecord) -> None:
        watch = self.plugin.watch
        if watch is None or watch.takes_logs:
            return
        error = record.exc_info[1] if record.exc_info else None
        if watch.expects_errors:
            watch.loop_errors.append({"message": record.getMessage(), "exception": error})
        else:
            watch.records.append(f"{record.name} logged {record.levelname}: {record.getMessage()} {error or ''}")


class ZeroTolerance:
    """The plugin; ``watch`` belongs to the running test."""

    def __init__(self) -> None:
        self.watch: Watch | None = None
        self.tests = 0
        self.log_watch = LogWatch(self)

    # The session.

    def pytest_sessionstart(self) -> None:
        for name in ("asyncio", "moorings"):
            logging.getLogger(name).addHandler(self.log_watch)
        if uvloop is not None:
            uvloop.new_event_loop().close()  # the first one opens a pipe for the rest of the process

    def pytest_sessionfinish(self) -> None:
        for name in ("asyncio", "moorings"):
            logging.getLogger(name).removeHandler(self.log_watch)

    def pytest_collection_finish(self) -> None:
        gc.collect()
        gc.freeze()

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        names: list[str] = getattr(item, "fixturenames", [])
        if inspect.iscoroutinefunction(getattr(item, "obj", None)) and "watched_loop" not in names:
            names.insert(0, "watched_loop")

    # Loops.

    def pytest_asyncio_loop_factories(self) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
            "asyncio": lambda: self.watched(asyncio.SelectorEventLoop())
        }
        if uvloop is not None:
            factories["uvloop"] = lambda: self.watched(uvloop.new_event_loop())
        return factories

    def watched(self, loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
        loop.set_exception_handler(self.note_loop_error)
        return loop

    def note_loop_error(self, _loop: asyncio.AbstractEventLoop, context: Context) -> None:
        if self.watch is not None:
            self.watch.loop_errors.append(context)

    # One test.

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None]:
        takes_logs = "caplog" in getattr(item, "fixturenames", ())
        self.watch = Watch(open_descriptors(), set(threading.enumerate()), takes_logs)
        yield

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        """What a fixture of a wider scope opens is not the test's."""
        if fixturedef.scope == "function" or self.watch is None:
            return (yield)
        descriptors, threads = open_descriptors(), set(threading.enumerate())
        try:
            return (yield)
        finally:
            self.watch.descriptors.update(new_descriptors(descriptors))
            self.watch.threads.update(new_threads(threads))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if self.watch is not None and report.failed:
            self.watch.failed = True
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None]:
        yield
        watch = self.watch
        if watch is None or watch.failed:
            return
        with unraisable_errors() as unraisable:
            gc.collect()
        watch.problems += [f"a finaliser raised: {text}" for text in unraisable]
        watch.problems += [f"left a thread: {thread!r}" for thread in self.leaked_threads(watch)]
        watch.problems += [f"left descriptor {fd}: {target}" for fd, target in self.leaked_descriptors(watch).items()]
        watch.problems += watch.records
        if not watch.expects_errors:
            watch.problems += [f"a loop's exception handler was called: {context}" for context in watch.loop_errors]
        self.watch = None
        self.tests += 1
        if self.tests % FREEZE_EVERY == 0:
            gc.freeze()
        if watch.problems:
            pytest.fail("\n".join(watch.problems), pytrace=False)

    def leaked_threads(self, watch: Watch) -> list[threading.Thread]:
        suspects = [t for t in new_threads(watch.threads) if not t.name.startswith(LIBRARY_THREADS)]
        deadline = time.monotonic() + GRACE
        for thread in suspects:
            thread.join(max(0.0, deadline - time.monotonic()))
        return [thread for thread in suspects if thread.is_alive()]

    def leaked_descriptors(self, watch: Watch) -> dict[int, str]:
        leaked = new_descriptors(watch.descriptors)
        deadline = time.monotonic() + GRACE
        while leaked:
            if any(thread.name == LIBRARY_THREADS[0] for thread in new_threads(watch.threads)):
                allowed = Counter(HOME_DESCRIPTORS)
                for number, target in list(leaked.items()):
                    kind = target if target in allowed else target.partition(":")[0]
                    if allowed[kind] > 0:
                        allowed[kind] -= 1
                        del leaked[number]
            if not leaked or time.monotonic() > deadline:
                break
            threading.Event().wait(0.01)  # the background loop closes in its own time
            leaked = new_descriptors(watch.descriptors)
        return leaked

    # Fixtures.

    @pytest.fixture
    def expect_loop_errors(self) -> list[Context]:
        """The contexts of all calls of a loop's exception handler; they are no failure for this test."""
        assert self.watch is not None
        self.watch.expects_errors = True
        return self.watch.loop_errors

    @pytest_asyncio.fixture
    async def watched_loop(self) -> AsyncIterator[None]:
        """First fixture of each asynchronous test, therefore the last one to end: looks for tasks and blocked time."""
        loop = asyncio.get_running_loop()
        watch = self.watch
        assert watch is not None
        due = time.monotonic() + BEAT

        def beat() -> None:
            nonlocal due, timer
            late = time.monotonic() - due
            if late > BLOCKED_LIMIT:
                watch.problems.append(f"the loop was blocked for {late:.1f} s")
            due = time.monotonic() + BEAT
            timer = loop.call_later(BEAT, beat)

        timer = loop.call_later(BEAT, beat)
        yield
        timer.cancel()
        pending = asyncio.all_tasks() - {asyncio.current_task()}
        if pending:
            _, pending = await asyncio.wait(pending, timeout=GRACE)
        watch.problems += [f"left a task: {task!r}" for task in pending]


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ZeroTolerance(), "zero-tolerance")
