"""Registration and firing of event handlers.

One `EventSource` stands behind each pair `add_x`/`remove_x`. It knows nothing of threads and loops: `fire` calls the
handlers inline, one after the other, in the order in which they were added, and hands what they return to its caller,
who decides who runs an `async def` handler. Handlers are kept in an immutable tuple that `add` and `remove` replace:
firing costs no copy, and a handler may add or remove handlers (itself too) while the event fires; that takes effect
from the next event on.

Source: WinRT `EventRegistrationToken`, `TypedEventHandler`; PyWinRT 4 for the token's type.
"""

from __future__ import annotations

import itertools
import threading
import warnings
from asyncio import CancelledError
from collections.abc import Awaitable
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from moorings.foundation.projection import check_object, final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EventRegistrationToken", "EventSource"]

S = TypeVar("S")
A = TypeVar("A")

# Unique in the process, so that a token given to the wrong event removes nothing there.
_numbers: Final = itertools.count(1)


@final
class EventRegistrationToken(int):
    """What `add_x` returns and `remove_x` takes. Never zero; unique in the process. Only the library makes them."""

    __slots__ = ()

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Refuse: a token made by hand stands for nothing."""
        raise TypeError("cannot create 'EventRegistrationToken' instances")

    @property
    def value(self) -> int:
        """The number, as in PyWinRT 3.x. Deprecated: the token itself is an int."""
        warnings.warn("EventRegistrationToken.value is deprecated, use the token", DeprecationWarning, stacklevel=2)
        return int(self)

    def __repr__(self) -> str:
        return f"EventRegistrationToken({int(self)})"


class EventSource(Generic[S, A]):
    """The handlers of one event of one object. `add` and `remove` may be called on any thread."""

    __slots__ = ("_handlers", "_lock")

    def __init__(self) -> None:
        self._handlers: tuple[tuple[int, Callable[[S, A], object]], ...] = ()
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._handlers)

    def __len__(self) -> int:
        return len(self._handlers)

    def add(self, handler: Callable[[S, A], object]) -> EventRegistrationToken:
        """Add *handler*, any callable taking (sender, args), and return its token.

        The same callable may be added more than once. TypeError when *handler* is None or not callable.
        """
        if not callable(handler):
            raise TypeError(f"an event handler must be callable, not {type(handler).__name__}")
        token = int.__new__(EventRegistrationToken, next(_numbers))
        with self._lock:
            self._handlers = (*self._handlers, (token, handler))
        return token

    def remove(self, token: EventRegistrationToken) -> None:
        """Remove the handler that *token* stands for. An unknown token does nothing, as in WinRT.

        TypeError when *token* is not an integer.
        """
        number = check_object(token, int, "token")
        with self._lock:
            self._handlers = tuple(entry for entry in self._handlers if entry[0] != number)

    def clear(self) -> None:
        """Remove all handlers."""
        with self._lock:
            self._handlers = ()

    def fire(
        self,
        sender: S,
        args: A,
        report: Callable[[BaseException, Callable[[S, A], object]], object],
        start: Callable[[Callable[[S, A], object], Awaitable[Any]], object] | None = None,
    ) -> list[tuple[Callable[[S, A], object], Awaitable[Any]]]:
        """Call each handler with (*sender*, *args*) and return the awaitables that handlers gave back.

        With *start* each awaitable goes to *start* (handler, awaitable) at once, before the next handler is called,
        which may block; the list is empty then.

        An exception of one handler goes to *report* (exception, handler) and hurts no other handler. CancelledError
        counts as such an exception; KeyboardInterrupt, SystemExit and their like pass through.
        """
        pending: list[tuple[Callable[[S, A], object], Awaitable[Any]]] = []
        for _, handler in self._handlers:
            try:
                result: Any = handler(sender, args)
            except (Exception, CancelledError) as error:  # noqa: BLE001 (a handler is foreign code)
                report(error, handler)
                continue
            # The type first: it costs much less than the abstract class does.
            if result is not None and (type(result) is CoroutineType or isinstance(result, Awaitable)):
                if start is None:
                    pending.append((handler, result))  # pyright: ignore[reportUnknownArgumentType]
                else:
                    start(handler, result)  # pyright: ignore[reportUnknownArgumentType]
        return pending
