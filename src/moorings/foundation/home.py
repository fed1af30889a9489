"""The home loop of an object, and the library's own loop for plain scripts.

Theory of operation
-------------------
Every object of this library lives on one event loop, its *home*, chosen by its first operation: the running asyncio
loop, or, in a plain script, one background loop that the library owns (`moorings.foundation.background`). A `Home`
bundles what the hot path needs to know about that loop: the loop object, the thread that runs it, and the budget that
keeps one busy peer from starving the others.

Resuming a waiting task costs a whole loop turn through `call_soon`. Where an engine callback is the top frame (nothing
of the program's is on the stack) the task may instead be resumed right there, in its own context. `eager` is true only
then; while such a task runs it is false, so that completions caused by user code always take the slow, safe way.
"""

from __future__ import annotations

import asyncio
import os
import threading
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from moorings import errors

if TYPE_CHECKING:
    import cython
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import run_task_callback, thread_ident

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

#: Awaits that may complete at once, without suspending, before the next one has to wait for the next loop turn.
IMMEDIATE_LIMIT = 64
#: Bytes that may be read in one loop turn before the reader has to wait for the next one.
TURN_BYTES_LIMIT = 262144

_IMMEDIATE_LIMIT = IMMEDIATE_LIMIT
_TURN_BYTES_LIMIT = TURN_BYTES_LIMIT


class Home:
    """One event loop as the home of objects. Made by `current_home()`; there is one for each loop."""

    __slots__ = (
        "__weakref__",
        "adding",
        "background",
        "done_future",
        "dropped",
        "eager",
        "engine",
        "fast_add",
        "fast_get_loop",
        "immediate",
        "in_callback",
        "loop",
        "next_argument",
        "next_callback",
        "next_context",
        "tasks",
        "thread_id",
        "turn_bytes",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, thread_id: int, background: bool) -> None:
        self.loop: Any = loop
        self.thread_id = thread_id
        self.background = background
        self.engine: Any = None
        self.dropped = False
        self.eager = False
        self.in_callback = False
        self.immediate = 0
        self.turn_bytes = 0
        self.next_callback: Any = None
        self.next_context: Any = None
        self.next_argument: Any = None
        # Ready-made callables for the future protocol of operations, filled in by `_await_slots`.
        self.fast_get_loop: Any = None
        self.fast_add: Any = None
        self.adding: Any = None
        self.tasks: Any = None
        done = loop.create_future()
        done.set_result(None)
        self.done_future: Any = done

    def on_home_thread(self) -> bool:
        """True where the caller runs on the thread of this loop."""
        return thread_ident() == self.thread_id

    def has_budget(self) -> bool:
        """True while this loop turn may go on completing operations at once."""
        return self.immediate < _IMMEDIATE_LIMIT and self.turn_bytes < _TURN_BYTES_LIMIT

    def new_turn(self) -> None:
        """A loop callback of ours starts: the budget is full again."""
        self.immediate = 0
        self.turn_bytes = 0

    def usable(self, what: str) -> None:
        """Raise RO_E_CLOSED where this home can no longer run anything, and say what to do."""
        if self.dropped:
            raise errors.closed(f"{what}: the object", "it belongs to the parent process; make a new one after fork()")
        if self.loop.is_closed():
            hint = "make and use the object inside one asyncio.run()"
            raise errors.closed(f"{what}: the event loop of the object", hint)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Run `function` on the home thread: now if this is it, else as soon as the loop gets to it."""
        if thread_ident() == self.thread_id:
            function(*arguments)
            return
        self.usable("calling from another thread")
        self.loop.call_soon_threadsafe(function, *arguments)

    def resume(self) -> None:
        """Run the callback that a completion left in `next_callback`, as the engine's top frame may."""
        callback = self.next_callback
        context = self.next_context
        argument = self.next_argument
        self.next_callback = None
        self.next_context = None
        self.next_argument = None
        self.eager = False
        try:
            if cython.compiled:
                if not run_task_callback(context, callback, argument):
                    self.loop.call_soon(callback, argument, context=context)
            else:
                try:
                    context.run(callback, argument)
                except RuntimeError as error:
                    # A task's wake-up raises no RuntimeError of its own: the context is entered already.
                    if "already entered" not in str(error):
                        raise
                    self.loop.call_soon(callback, argument, context=context)
        finally:
            self.eager = True

    def schedule(self, callback: Callable[..., object], argument: object, context: Context | None) -> None:
        """Run a done-callback in the next loop turn; a closed loop has nobody left to tell."""
        if not self.loop.is_closed():
            self.loop.call_soon(callback, argument, context=context)

    def dispatch(self, handler: Callable[..., object], *arguments: object) -> None:
        """Call a handler of the program: inline on an asyncio loop, on a worker thread for a plain script."""
        if self.background:
            from moorings.foundation.background import workers  # noqa: PLC0415 (it imports this module)

            workers.submit(self, handler, *arguments)
            return
        try:
            result = handler(*arguments)
        except Exception as error:  # noqa: BLE001 - the program's handler may raise anything; it is reported, once
            self.report(f"{handler!r} failed", error)
            return
        if iscoroutine(result):
            self.run(result)

    def run(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Let what an `async def` handler returned run on this loop (home thread); its failure is reported, once."""
        task = self.loop.create_task(coroutine)
        if self.tasks is None:
            self.tasks = set()
        self.tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._ran)

    def _ran(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.report(f"{task.get_coro()!r} failed", error)

    def report(self, message: str, exception: BaseException, source: object = None) -> None:
        """Hand a failure that has no caller to the loop's exception handler, once."""
        self.loop.call_exception_handler({"message": message, "exception": exception, "source": source})

    def __repr__(self) -> str:
        kind = "background" if self.background else "asyncio"
        return f"<Home {kind} {type(self.loop).__module__}>"


class _Registry:
    """Which loop has which home. Loops cannot be relied on to take attributes or weak references."""

    def __init__(self) -> None:
        self._homes: dict[int, Home] = {}
        self._lock = threading.Lock()

    def of(self, loop: asyncio.AbstractEventLoop) -> Home:
        home = self._homes.get(id(loop))
        if home is None or home.loop is not loop:
            home = self._add(loop)
        ident = threading.get_ident()
        if home.thread_id != ident:
            home.thread_id = ident
        return home

    def _add(self, loop: asyncio.AbstractEventLoop, background: bool = False, thread_id: int | None = None) -> Home:
        with self._lock:
            for key in [key for key, home in self._homes.items() if home.loop.is_closed()]:
                # No thread is its own any more: what still refers to it gets the error of a closed loop.
                ended = self._homes.pop(key)
                ended.thread_id = 0
                if ended.engine is not None:
                    ended.engine.abandon()
            home = Home(loop, thread_id or threading.get_ident(), background)
            self._homes[id(loop)] = home
            return home

    def add_background(self, loop: asyncio.AbstractEventLoop, thread_id: int) -> Home:
        return self._add(loop, background=True, thread_id=thread_id)

    def remove(self, home: Home) -> None:
        with self._lock:
            self._homes.pop(id(home.loop), None)

    def drop_all(self) -> None:
        """In a forked child: loops, epoll sets and objects belong to the parent."""
        self._lock = threading.Lock()
        homes, self._homes = list(self._homes.values()), {}
        for home in homes:
            home.dropped = True
            if home.engine is not None:
                home.engine.drop()


registry = _Registry()
os.register_at_fork(after_in_child=registry.drop_all)


def current_home() -> Home:
    """The home for an object used here: the running loop's, or the background loop's in a plain script."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        from moorings.foundation.background import background_home  # noqa: PLC0415 (it imports this module)

        return background_home()
    return registry.of(loop)
