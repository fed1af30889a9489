"""Calls that open something, for `await` and `async with` alike."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Opening", "opening"]


class _Entered(Protocol):
    async def __aenter__(self) -> Any: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
    ) -> bool | None: ...


P = ParamSpec("P")
T = TypeVar("T", bound=_Entered)


class Opening(Coroutine[Any, Any, T], Generic[T]):
    """The coroutine of such a call. `async with` awaits it, and ends what it gave at the end of the block.

    It is a coroutine like any other: for `asyncio.create_task`, `wait_for`, `TaskGroup` and `asyncio.run`, too.
    """

    __slots__ = ("_coroutine", "_opened")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._opened: T | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine.__await__()

    def send(self, value: Any, /) -> Any:
        """Go on; what a loop calls."""
        return self._coroutine.send(value)

    def throw(self, *exception: Any) -> Any:
        """Go on with an exception; what a loop calls to cancel."""
        return self._coroutine.throw(*exception)

    def close(self) -> None:
        """Give up what was not begun, or is under way; not what was opened."""
        self._coroutine.close()

    async def __aenter__(self) -> T:
        self._opened = opened = await self._coroutine
        entered: T = await opened.__aenter__()
        return entered

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        opened, self._opened = self._opened, None
        assert opened is not None
        return await opened.__aexit__(kind, value, traceback)


def opening(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Opening[T]]:
    """Let an `async def` that opens something be used with `async with`, too."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Opening[T]:
        return Opening(function(*args, **kwargs))

    return call
