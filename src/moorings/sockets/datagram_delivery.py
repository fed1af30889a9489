"""Who gets the datagrams of a DatagramSocket: its handlers, inline, in tasks or on worker threads.

Theory of operation
-------------------
The handlers are fixed when the socket is bound. One plain handler on an asyncio loop is called by the engine itself.
Everything else takes datagrams that are independent of the shared memory: several handlers are called one after the
other; those that run on worker threads (all of them in a plain script, those of `moorings.blocking` elsewhere) take
them in order from a queue of their own, which drops when it is full, as the limits say. Tasks of `async def` handlers
are counted: beyond a limit receiving pauses, and the kernel drops.

The socket itself is known only weakly. When the program drops it, receiving ends, though a stream that was kept can
still send.
"""

# pyright: reportPrivateUsage=false
# The handlers stand in the public object.

from __future__ import annotations

import asyncio
import inspect
import threading
import weakref
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from moorings.foundation.background import report_from_worker, workers
from moorings.sockets.accepting import CANCEL_TIMEOUT, runs_on_worker
from moorings.sockets.connection import State, post

if TYPE_CHECKING:
    from collections.abc import Callable

    from moorings.engine.datagram import Datagram
    from moorings.engine.datagram_port import DatagramPort
    from moorings.sockets.datagram_link import DatagramLink
    from moorings.sockets.datagram_socket import DatagramSocket

    Handler = Callable[[Any, Any], object]

#: Tasks of `async def` handlers of one socket; beyond it receiving pauses.
HANDLER_TASK_LIMIT = 1024


async def _finish(awaitable: Awaitable[object]) -> None:
    await awaitable


def _only_handler(owner: DatagramSocket) -> Handler:
    return owner._inline[0]


class Delivery:
    """The handlers of one port, their tasks and their queue. Home thread, but for what runs on workers."""

    __slots__ = (
        "__weakref__",
        "_link",
        "_lock",
        "_paused",
        "_port",
        "_waiters",
        "_waiting",
        "_working",
        "draining",
        "home",
        "owner",
        "stopped",
        "tasks",
    )

    def __init__(self, link: DatagramLink, owner: DatagramSocket, port: DatagramPort) -> None:
        self._link = link
        self._port = port
        self.home = port.home
        self.owner = weakref.ref(owner, self._owner_gone)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.stopped = False
        self.draining = False
        self._waiters: set[asyncio.Future[None]] = set()
        self._paused = False
        self._waiting: deque[Datagram] = deque()
        self._working = False
        self._lock = threading.Lock()
        handlers: list[Handler] = [handler for _, handler in owner._event._handlers]
        on_worker = tuple(one for one in handlers if self.home.background or runs_on_worker(one))
        inline = tuple(one for one in handlers if one not in on_worker)
        # The owner keeps them: a handler mostly refers to it, and the loop must not.
        owner._inline, owner._on_worker = inline, on_worker
        if len(inline) == 1 and not on_worker:
            port.serve_owner(self.owner, _only_handler, self.report, self.run)
        elif handlers:
            port.serve_sink(self.take)

    def _owner_gone(self, _owner: object) -> None:
        with suppress(RuntimeError):
            self.home.loop.call_soon_threadsafe(self._stop_receiving)

    def _stop_receiving(self) -> None:
        if self._port.is_open():
            self._port.reading = False
            self._port.update_events()

    def stop(self) -> None:
        """The socket is closed: handlers that run go on, none starts."""
        self.stopped = True
        with self._lock:
            self._waiting.clear()
        if self._waiters and not self.home.loop.is_closed():
            post(self.home, self._changed)

    # -- on the home loop ----------------------------------------------------------------------------------------------

    def take(self, datagram: Datagram) -> None:
        """Call the handlers with a datagram, or let them be called."""
        owner = self.owner()
        if owner is None:
            return
        for handler in owner._inline:
            if self.stopped:
                return
            try:
                result = handler(owner, datagram)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a handler is foreign code; reported, once
                self.report(error, handler)
                continue
            if result is not None:
                self.run(handler, result)
        if owner._on_worker and not self.stopped:
            self._hand_over(owner, datagram)

    def waiting(self) -> int:
        """Datagrams that wait for handlers on worker threads; from any thread."""
        return len(self._waiting)

    async def until_stopped(self) -> None:
        """Wait until the socket is closed."""
        while not self.stopped:
            await self._change()

    async def drain(self, timeout: float | None) -> None:
        """Receive no more, wait for the handlers to end, cancel what is left."""
        self.draining = True
        self._stop_receiving()
        current = asyncio.current_task()
        try:
            async with asyncio.timeout(timeout):
                while self._working or any(task is not current for task in self.tasks):
                    await self._change()
        except TimeoutError:
            pass
        finally:
            left = [task for task in self.tasks if task is not current]
            for task in left:
                task.cancel()
        if left:
            await asyncio.wait(left, timeout=CANCEL_TIMEOUT)

    async def _change(self) -> None:
        waiter = self.home.loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _changed(self) -> None:
        for waiter in self._waiters:
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_result(None)

    def report(self, error: BaseException, handler: object) -> None:
        """Report what a handler raised."""
        self.home.report(self._failure(handler), error, self.owner())

    def _failure(self, handler: object) -> str:
        return f"{self._link}: message_received handler {handler!r} failed"

    def run(self, handler: object, result: object) -> None:
        """Run what a handler returned, if it can be awaited, as a task."""
        if not isinstance(result, Awaitable):
            return
        awaitable: Any = result  # pyright: ignore[reportUnknownVariableType]
        task: asyncio.Task[Any] = self.home.loop.create_task(
            awaitable if inspect.iscoroutine(awaitable) else _finish(awaitable)
        )
        self.tasks.add(task)
        task.add_done_callback(partial(self._task_ended, handler))
        if len(self.tasks) >= HANDLER_TASK_LIMIT and not self._paused:
            self._paused = True
            self._port.reading = False
            self._port.update_events()

    def _task_ended(self, handler: object, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.report(error, handler)
        self._changed()
        if self._paused and not self.draining and len(self.tasks) < HANDLER_TASK_LIMIT // 2:
            self._paused = False
            if self._port.is_open() and self.owner() is not None:
                self._port.reading = True
                self._port.update_events()

    # -- on worker threads ---------------------------------------------------------------------------------------------

    def _hand_over(self, owner: DatagramSocket, datagram: Datagram) -> None:
        link = self._link
        with self._lock:
            if len(self._waiting) >= link.receive_queue_limit:
                self._port.datagrams_dropped += 1
                if link.drop_newest or not self._waiting:
                    return
                self._waiting.popleft()
            self._waiting.append(datagram)
            if self._working:
                return
            self._working = True
        try:
            workers.submit_in_order(owner, self._work)
        except RuntimeError as error:  # the system gives no thread
            self._working = False
            self.home.report(f"{link}: no thread for the message_received handlers", error, owner)

    def _work(self) -> None:
        while True:
            with self._lock:
                owner = self.owner()
                if not self._waiting or owner is None or self._link.state == State.CLOSED:
                    self._waiting.clear()
                    self._working = False
                    post(self.home, self._changed)
                    return
                datagram = self._waiting.popleft()
            for handler in owner._on_worker:
                self._call_on_worker(handler, owner, datagram)
            del owner, datagram

    def _call_on_worker(self, handler: Handler, owner: DatagramSocket, datagram: Datagram) -> None:
        try:
            result = handler(owner, datagram)
        except BaseException as error:  # noqa: BLE001 - SystemExit and its like end neither the thread nor the program
            report_from_worker(self.home, self._failure(handler), error)
            return
        if (
            result is not None
            and not post(self.home, partial(self.run, handler, result))
            and inspect.iscoroutine(result)
        ):
            result.close()  # the end of the program
