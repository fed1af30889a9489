"""Asynchronous operations: one flat class for all of them.

Theory of operation
-------------------
An `_async` call starts work at once and returns an `Operation`. It is at the same time

* the WinRT object (`status`, `completed`, `progress`, `get()`, `cancel()`, ...),
* its own awaitable and iterator, so that `await` needs no further object, and
* what a waiting asyncio task sees as its future: the small protocol of `_asyncio_future_blocking`,
  `add_done_callback`, `get_loop`, `result` and `cancel(msg)`. The marker attribute exists on instances only, so that
  `asyncio.isfuture` says no: `wait_for`, `gather` and `shield` then wrap the operation in a task, whose cancelling
  reaches us as `cancel(msg)` and ends in `CancelledError`, while the program's own `op.cancel()` has WinRT's meaning.

There is no hierarchy, because every level costs on the hot path; `kind` tells `isinstance` which interface an
operation has. An *owner* (a stream, or a task) is told when somebody is about to wait (`prepare_wait`, which sends
queued writes) and when the operation is to be cancelled. Only the home thread changes an operation.

When the owner is done it calls `finish()`, or, on the hot path, `settle()` followed by `Home.resume()`. In between it
drops its own reference: when the awaiting coroutine then takes the result and nobody else holds the operation, the
compiled iterator (`_await_slots.pyx`) hands the object back to its owner as `spare`, to be used again.
"""

from __future__ import annotations

import itertools
import math
from asyncio import AbstractEventLoop, CancelledError, InvalidStateError, Task
from contextvars import Context, copy_context
from inspect import iscoroutine
from threading import Event
from types import BuiltinMethodType
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.async_status import AsyncStatus
from moorings.foundation.bridge import bridge
from moorings.foundation.gate import Gate, Once

if TYPE_CHECKING:
    import cython
else:
    from moorings import _cython_stub as cython

if cython.compiled:
    pass
else:
    from moorings._pure import REFERENCES_IN_AWAIT, getrefcount, is_task_callback, thread_ident

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from moorings.foundation.home import Home

#: What an operation is; `isinstance(op, IAsyncAction)` and its sisters look at it.
ACTION = 0
OPERATION = 1
ACTION_WITH_PROGRESS = 2
OPERATION_WITH_PROGRESS = 3
LOAD = 4
STORE = 5

_STARTED = 0
_COMPLETED = 1
_CANCELED = 2
_ERROR = 3

#: `options` from this value on mark operations whose owner wants to know that somebody is about to wait.
QUEUED_OPTIONS = 32
_QUEUED = QUEUED_OPTIONS

_UNSET = object()
_ids = itertools.count(1)


#: Two threads may begin to block for one operation at the same moment: both wait for the same event.
_event_gate = Gate()


class OperationOwner:
    """Whoever does the work of an operation."""

    __slots__ = ("__weakref__", "spare")

    def __init__(self) -> None:
        self.spare: Operation | None = None

    def prepare_wait(self, operation: Operation) -> None:
        """Somebody is about to wait for `operation`. Must not raise."""

    def take_back(self, operation: Operation) -> None:
        """`operation` had ended, but the task that awaited it was cancelled before it could take the result."""

    def cancel_operation(self, operation: Operation, by_task: bool, message: object) -> None:
        """Cancel: for the program (`op.cancel()`), or because the awaiting task is cancelled (`by_task`)."""
        cancel_plainly(operation, by_task, message)


def cancelled_error(message: object) -> CancelledError:
    """What awaiting a cancelled operation raises."""
    return CancelledError() if message is None else CancelledError(message)


def cancel_plainly(operation: Operation, by_task: bool, message: object) -> None:
    """End in CANCELED; awaiting the operation then raises `CancelledError`."""
    operation.finish(_CANCELED, None, cancelled_error(message if by_task else None))


class Operation:
    """A started asynchronous operation. Programs get it from `_async` calls and never make one.

    Await it once or often, from any loop; or `get()` it from a plain script. Source: WinRT IAsyncInfo.
    """

    # The future protocol's marker lives in __dict__, see the theory above.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "bare",
        "blocking",
        "buffer",
        "callback",
        "closed",
        "completed_handler",
        "context",
        "count",
        "done_bytes",
        "error",
        "error_seen",
        "event",
        "face",
        "home",
        "hook",
        "identity",
        "kind",
        "more_callbacks",
        "next_operation",
        "options",
        "overhead",
        "owner",
        "progress_handler",
        "result_value",
        "state",
        "subject",
        "task_waits",
    )

    def __init__(self, home: Home, owner: OperationOwner | None, kind: int) -> None:
        self.home = home
        self.owner = owner
        self.kind = kind
        self.state = _STARTED
        # Nothing is attached but, perhaps, one task that waits: the hot path looks at this alone.
        self.bare = kind != ACTION
        self.blocking = False
        self.closed = False
        self.face = False
        self.task_waits = False
        self.error_seen = False
        self.identity = 0
        self.result_value: Any = None
        self.error: Any = None
        self.callback: Any = None
        self.context: Any = None
        self.more_callbacks: Any = None
        self.completed_handler: Any = None
        self.progress_handler: Any = None
        self.hook: Any = None
        self.event: Any = None
        self.buffer: Any = None
        #: Whatever else the owner wants to remember.
        self.subject: Any = None
        self.options = 0
        self.count = 0
        self.done_bytes = 0
        #: Of `count`, what a protocol has added: no part of the result of a write.
        self.overhead = 0
        self.next_operation: Operation | None = None

    # -- completing: for owners, on the home thread ------------------------------------------------------------------

    def settle(self, state: int, result: object, error: object) -> bool:
        """End the operation. True when the caller should now let go of it and call `home.resume()`."""
        if self.state != _STARTED:
            return False
        self.result_value = result
        self.error = error
        if self.hook is not None:
            hook = self.hook
            self.hook = None
            hook(self, state)
        self.buffer = None
        self.state = state
        if self.event is not None:
            self.event.set()
        callback = self.callback
        resume = False
        if callback is not None:
            self.callback = None
            home = self.home
            if home.eager and self.task_waits:
                home.next_callback = callback
                home.next_context = self.context
                home.next_argument = home.done_future
                resume = True
            else:
                home.schedule(callback, self, self.context)
            self.context = None
        if self.more_callbacks is not None or self.completed_handler is not None:
            self._tell_others()
        return resume

    def reuse(self) -> None:
        """Make the object as new and leave it with its owner: nobody else holds it."""
        owner = self.owner
        self.owner = None
        if owner is None or owner.spare is not None or not self.bare:
            return
        self.state = _STARTED
        self.blocking = self.face = self.task_waits = False
        self.options = self.count = self.done_bytes = self.overhead = 0
        self.result_value = self.context = self.hook = None
        owner.spare = self

    def finish(self, state: int, result: object, error: object) -> None:
        """End the operation and see to whoever waits for it."""
        if self.settle(state, result, error):
            self.home.resume()

    def _tell_others(self) -> None:
        callbacks = self.more_callbacks
        self.more_callbacks = None
        if callbacks is not None:
            for callback, context in callbacks:
                self.home.schedule(callback, self, context)
        if self.completed_handler is not None:
            self.home.schedule(_call_completed, self, None)

    def report_progress(self, value: object) -> None:
        """Tell the progress handler, if there is one."""
        handler = self.progress_handler
        if handler is not None and not self.home.loop.is_closed():
            self.home.loop.call_soon(_call_progress, self, handler, value)

    # -- awaiting ----------------------------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, Any]:
        if thread_ident() != self.home.thread_id:
            return bridge(self).__await__()
        return self  # type: ignore[return-value]  # its own iterator: one object less per await

    def __iter__(self) -> Operation:
        return self

    def __next__(self) -> Any:
        # (Compiled, `_await_slots` has a faster form of this; pure, `_wait_in_steps` comes before it.)
        if self.state == _STARTED and not self.closed:
            if self.options >= _QUEUED and self.owner is not None:
                self.owner.prepare_wait(self)
            if self.state == _STARTED:
                self.blocking = True
                if not cython.compiled:
                    self._asyncio_future_blocking = True
                return self
        raise StopIteration(self.outcome())

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        """An exception reaches the coroutine that awaits (a cancellation, mostly): what it would have got goes back."""
        if self.state == _COMPLETED and self.owner is not None:
            self.owner.take_back(self)
        error = kind if value is None else value
        raise error if traceback is None else error.with_traceback(traceback)

    def outcome(self) -> Any:
        """The result, or the failure raised; what `await` gives."""
        self._check_open("await")
        if self.state == _COMPLETED:
            return self.result_value
        if self.state == _STARTED:
            raise errors.illegal_call("the operation has not ended", "await it, or wait() first")
        self.error_seen = True
        raise self.error

    # -- the future protocol that asyncio tasks use ------------------------------------------------------------------

    def get_loop(self) -> AbstractEventLoop:
        """The home loop (asyncio's future protocol)."""
        loop: AbstractEventLoop = self.home.loop
        return loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Call `callback(op)` on the home loop when the operation has ended (asyncio's future protocol)."""
        if context is None:
            context = copy_context()
        if self.state != _STARTED:
            self.home.schedule(callback, self, context)
        elif self.callback is None:
            self.callback = callback
            self.context = context
            if cython.compiled:
                self.task_waits = is_task_callback(callback)
            else:  # the same, without the call
                function: Any = callback
                self.task_waits = type(function) is BuiltinMethodType and type(function.__self__) is Task
        elif self.more_callbacks is None:
            self.bare = False
            self.more_callbacks = [(callback, context)]
        else:
            self.more_callbacks.append((callback, context))

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        """Forget `callback`; returns how often it was registered (asyncio's future protocol)."""
        removed = 0
        if self.callback is not None and self.callback == callback:
            self.callback = None
            self.context = None
            self.task_waits = False
            removed = 1
        if self.more_callbacks is not None:
            kept = [entry for entry in self.more_callbacks if entry[0] != callback]
            removed += len(self.more_callbacks) - len(kept)
            self.more_callbacks = kept or None
        return removed

    def done(self) -> bool:
        """True when the operation has ended (asyncio's future protocol)."""
        return self.state != _STARTED

    def cancelled(self) -> bool:
        """True when it ended in `CancelledError` (asyncio's future protocol)."""
        return isinstance(self.error, CancelledError)

    def result(self) -> Any:
        """The result of an ended operation (asyncio's future protocol)."""
        if self.state == _STARTED:
            raise InvalidStateError("the operation has not ended")
        return self.outcome()

    def exception(self) -> BaseException | None:
        """The failure of an ended operation, or None (asyncio's future protocol)."""
        if self.state == _STARTED:
            raise InvalidStateError("the operation has not ended")
        self.error_seen = True
        if isinstance(self.error, CancelledError):
            raise self.error
        error: BaseException | None = self.error
        return error

    def _make_cancelled_error(self) -> CancelledError:
        return self.error if isinstance(self.error, CancelledError) else CancelledError()

    # -- IAsyncInfo --------------------------------------------------------------------------------------------------

    def cancel(self, msg: object = _UNSET) -> Any:
        """Ask the operation to end early. Does nothing once it has ended.

        A read or write of a StreamSocket then ends in ERROR with 0x800703E3 and takes the connection down; other
        operations end CANCELED. With an argument this is asyncio's `Future.cancel(msg)`, called by the awaiting task.

        Source: WinRT IAsyncInfo.Cancel.
        """
        if msg is not _UNSET:
            if self.state != _STARTED:
                return False
            self._cancel_now(True, msg)
            return True
        self._check_open("cancel")
        if self.state == _STARTED:
            self.home.call(self._cancel_now, False, None)
        return None

    def _cancel_now(self, by_task: bool, message: object) -> None:
        if self.state != _STARTED:
            return
        if self.owner is None:
            cancel_plainly(self, by_task, message)
        else:
            self.owner.cancel_operation(self, by_task, message)

    def close(self) -> None:
        """Release an ended operation; every other member is illegal afterwards.

        Errors: E_ILLEGAL_METHOD_CALL 0x8000000E while it runs and nobody awaits it. (A coroutine that is closed while
        it awaits the operation also ends up here; the operation is then cancelled.) Source: WinRT IAsyncInfo.Close.
        """
        if self.state == _STARTED:
            if self.callback is None and not self.blocking:
                raise errors.illegal_call("close() on an operation that is still running", "cancel() it first")
            self.callback = None
            self.context = None
            self._cancel_now(True, None)
            return
        self.closed = True
        self.result_value = None

    @property
    def status(self) -> AsyncStatus:
        """STARTED until the operation ends as COMPLETED, CANCELED or ERROR."""
        self._check_open("status")
        if self.state == _ERROR:
            self.error_seen = True
        return AsyncStatus(self.state)

    @property
    def error_code(self) -> Any:
        """The HRESULT of the failure (signed, as `winerror`); 0 without one."""
        from moorings.foundation.system import HResult  # noqa: PLC0415 (not needed before there is a failure)

        self._check_open("error_code")
        if self.state == _CANCELED:
            return HResult(errors.ERROR_CANCELLED)
        if self.state == _ERROR:
            self.error_seen = True
            return HResult(getattr(self.error, "winerror", None) or errors.E_FAIL)
        return HResult(0)

    @property
    def id(self) -> int:
        """A number that tells this operation from others of the process."""
        self._check_open("id")
        if self.identity == 0:
            self.bare = False
            self.identity = next(_ids)
        return self.identity

    @property
    def completed(self) -> Any:
        """Handler `(operation, status)`, called once when the operation ends, or at once if it has ended.

        Errors: E_ILLEGAL_DELEGATE_ASSIGNMENT 0x80000018 when assigned twice. Source: WinRT IAsyncAction.Completed.
        """
        self._check_open("completed")
        return None if self.completed_handler is None else self.completed_handler.handler

    @completed.setter
    def completed(self, handler: Any) -> None:
        self._check_open("completed")
        if not callable(handler):
            raise TypeError("completed takes a callable (operation, status)")
        if self.completed_handler is not None:
            raise errors.make(errors.E_ILLEGAL_DELEGATE_ASSIGNMENT, "completed may be assigned only once")
        once = Once(handler)
        self.bare = False
        self.completed_handler = once
        # Where the operation ends at this moment on its own thread, both see handler and end: one of them calls.
        if self.state != _STARTED and once.claim():
            self.error_seen = True
            result = handler(self, AsyncStatus(self.state))
            if iscoroutine(result):
                self.home.call(self.home.run, result)

    @property
    def progress(self) -> Any:
        """Handler `(operation, value)`, called when there is progress. Only for the `WithProgress` interfaces."""
        self._check_progress()
        return self.progress_handler

    @progress.setter
    def progress(self, handler: Any) -> None:
        self._check_progress()
        if not callable(handler):
            raise TypeError("progress takes a callable (operation, value)")
        self.bare = False
        self.progress_handler = handler

    def get_results(self) -> Any:
        """The result of an ended operation, or its failure raised.

        Errors: E_ILLEGAL_METHOD_CALL 0x8000000E while it runs; ERROR_CANCELLED 0x800704C7 when it was cancelled.
        """
        self._check_open("get_results")
        if self.state == _STARTED:
            raise errors.illegal_call("get_results() before the operation has ended", "await it, or use get()")
        if self.state == _COMPLETED:
            return self.result_value
        if self.state == _CANCELED:
            raise errors.make(errors.ERROR_CANCELLED, "the operation was cancelled")
        self.error_seen = True
        raise self.error

    # -- blocking, for plain scripts ---------------------------------------------------------------------------------

    def get(self) -> Any:
        """Block until the operation has ended and return its result. Ctrl-C interrupts the waiting, not the operation.

        Errors: those of the operation; ERROR_CANCELLED 0x800704C7 when it was cancelled; RuntimeError on the thread
        of the object's own loop, which would wait for itself: use `await` there, or `moorings.blocking(handler)`.
        """
        self._check_open("get")
        if self.state == _STARTED:
            self._block(None, "get()")
        return self.get_results()

    def wait(self, timeout: float, /) -> AsyncStatus:
        """Block for at most `timeout` seconds and return the status then; zero, negative and NaN only look.

        Errors: RuntimeError on the thread of the object's own loop, when it would have to block.
        """
        self._check_open("wait")
        seconds = float(timeout)
        if self.state == _STARTED:
            if math.isnan(seconds) or seconds <= 0:
                self.home.call(_prepare_wait, self)
            else:
                self._block(None if math.isinf(seconds) else seconds, "wait()")
        return AsyncStatus(self.state)

    def _block(self, timeout: float | None, verb: str) -> None:
        self.home.usable(verb)
        if thread_ident() == self.home.thread_id:
            raise RuntimeError(
                f"{verb} on the thread of the object's own event loop would wait for itself for ever; "
                "use 'await', or wrap the handler in moorings.blocking(...)"
            )
        with _event_gate.lock:
            event = self.event
            if event is None:
                self.bare = False
                event = self.event = Event()
        if self.state != _STARTED:
            return
        self.home.call(_prepare_wait, self)
        # Waking now and then notices a home loop that died without ending its operations.
        remaining = timeout
        while not event.wait(1.0 if remaining is None else min(1.0, remaining)):
            if self.state != _STARTED:
                return
            if remaining is not None:
                remaining -= 1.0
                if remaining <= 0:
                    return
            self.home.usable(verb)

    # -- checks ------------------------------------------------------------------------------------------------------

    def _check_open(self, member: str) -> None:
        if self.closed:
            raise errors.illegal_call(f"{member} of an operation after its close()", "call close() last")

    def _check_progress(self) -> None:
        self._check_open("progress")
        if self.kind not in (ACTION_WITH_PROGRESS, OPERATION_WITH_PROGRESS):
            raise AttributeError("this operation reports no progress")

    def __repr__(self) -> str:
        state = "closed" if self.closed else AsyncStatus(self.state).name
        return f"<Operation {state}>"


if not cython.compiled:

    def _wait_in_steps(self: Operation) -> Generator[Any, None, Any]:
        """`__await__` of the pure mode: a generator's steps cost less than the calls of an iterator's methods."""
        if thread_ident() != self.home.thread_id:
            return (yield from bridge(self).__await__())
        if self.state == _STARTED and not self.closed:
            if self.options >= _QUEUED and self.owner is not None:
                self.owner.prepare_wait(self)
            if self.state == _STARTED:
                self.blocking = self._asyncio_future_blocking = True  # pyright: ignore[reportPrivateUsage]
                try:
                    yield self
                except GeneratorExit:
                    if self.state == _STARTED:
                        self.close()  # the coroutine that awaits was closed
                    raise
                except BaseException as error:  # noqa: BLE001 - it goes on to whoever awaits
                    self.throw(error)
        if self.state != _COMPLETED or self.closed:
            return self.outcome()
        result = self.result_value
        if getrefcount(self) == REFERENCES_IN_AWAIT:
            # Nobody else holds this operation: make it as new and leave it with its owner, for the next call.
            owner = self.owner
            if owner is not None and self.bare and owner.spare is None:
                self.owner = self.result_value = None
                self.state = _STARTED
                self.blocking = self.face = self.task_waits = False
                self.count = self.done_bytes = self.overhead = 0
                owner.spare = self
        return result

    Operation.__await__ = _wait_in_steps  # type: ignore[method-assign]


def _call_completed(operation: Operation) -> None:
    once = operation.completed_handler
    if once.claim():
        operation.error_seen = True
        operation.home.dispatch(once.handler, operation, AsyncStatus(operation.state))


def _call_progress(operation: Operation, handler: Any, value: object) -> None:
    operation.home.dispatch(handler, operation, value)


def _prepare_wait(operation: Operation) -> None:
    if operation.state == _STARTED and operation.owner is not None:
        operation.owner.prepare_wait(operation)
