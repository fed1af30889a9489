"""The interfaces of asynchronous operations.

They describe what an `_async` call returns. At run time every operation is a `moorings.foundation.operation.Operation`;
`isinstance` looks at its kind. For type checkers they are protocols with the awaited type as a parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from moorings.foundation.operation import (
    ACTION,
    ACTION_WITH_PROGRESS,
    LOAD,
    OPERATION,
    OPERATION_WITH_PROGRESS,
    STORE,
    Operation,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from moorings.foundation.async_status import AsyncStatus

TResult = TypeVar("TResult")
TProgress = TypeVar("TProgress")
TResult_co = TypeVar("TResult_co", covariant=True)
TProgress_co = TypeVar("TProgress_co", covariant=True)


class _InterfaceType(type(Protocol)):  # type: ignore[misc]  # the metaclass of Protocol has no public name
    """`isinstance(op, IAsyncAction)` asks the operation for its kind."""

    _kinds: frozenset[int]

    def __instancecheck__(cls, instance: object) -> bool:
        if isinstance(instance, Operation):
            return instance.kind in cls._kinds
        return type.__instancecheck__(cls, instance)


_ALL = frozenset((ACTION, OPERATION, ACTION_WITH_PROGRESS, OPERATION_WITH_PROGRESS, LOAD, STORE))


class IAsyncInfo(Protocol, metaclass=_InterfaceType):
    """What all asynchronous operations have. Source: WinRT IAsyncInfo."""

    if not TYPE_CHECKING:
        _kinds = _ALL

    @property
    def error_code(self) -> Any:
        """The HRESULT of the failure, signed; 0 without one."""
        ...

    @property
    def id(self) -> int:
        """A number that tells this operation from others."""
        ...

    @property
    def status(self) -> AsyncStatus:
        """STARTED, then COMPLETED, CANCELED or ERROR."""
        ...

    def cancel(self) -> Any:
        """Ask the operation to end early."""
        ...

    def close(self) -> None:
        """Release an ended operation."""
        ...


class IAsyncAction(IAsyncInfo, Protocol):
    """An operation without a result. Source: WinRT IAsyncAction."""

    if not TYPE_CHECKING:
        _kinds = frozenset((ACTION,))

    @property
    def completed(self) -> Any:
        """Handler `(action, status)`, settable once."""
        ...

    @completed.setter
    def completed(self, handler: Callable[[Any, AsyncStatus], object]) -> None: ...

    def get_results(self) -> None:
        """Raise the failure of the ended action, if it failed."""
        ...

    def get(self) -> None:
        """Block until the action has ended."""
        ...

    def wait(self, timeout: float, /) -> AsyncStatus:
        """Block for at most `timeout` seconds."""
        ...

    def __await__(self) -> Generator[Any, None, None]: ...


class IAsyncActionWithProgress(IAsyncInfo, Protocol[TProgress_co]):
    """An action that reports progress. Source: WinRT IAsyncActionWithProgress."""

    if not TYPE_CHECKING:
        _kinds = frozenset((ACTION_WITH_PROGRESS,))

    @property
    def completed(self) -> Any:
        """Handler `(action, status)`, settable once."""
        ...

    @completed.setter
    def completed(self, handler: Callable[[Any, AsyncStatus], object]) -> None: ...

    @property
    def progress(self) -> Any:
        """Handler `(action, progress)`."""
        ...

    @progress.setter
    def progress(self, handler: Callable[[Any, Any], object]) -> None: ...

    def get_results(self) -> None:
        """Raise the failure of the ended action, if it failed."""
        ...

    def get(self) -> None:
        """Block until the action has ended."""
        ...

    def wait(self, timeout: float, /) -> AsyncStatus:
        """Block for at most `timeout` seconds."""
        ...

    def __await__(self) -> Generator[Any, None, None]: ...


class IAsyncOperation(IAsyncInfo, Protocol[TResult_co]):
    """An operation with a result. Source: WinRT IAsyncOperation."""

    if not TYPE_CHECKING:
        _kinds = frozenset((OPERATION, LOAD, STORE))

    @property
    def completed(self) -> Any:
        """Handler `(operation, status)`, settable once."""
        ...

    @completed.setter
    def completed(self, handler: Callable[[Any, AsyncStatus], object]) -> None: ...

    def get_results(self) -> TResult_co:
        """The result of the ended operation, or its failure raised."""
        ...

    def get(self) -> TResult_co:
        """Block until the operation has ended, and return its result."""
        ...

    def wait(self, timeout: float, /) -> AsyncStatus:
        """Block for at most `timeout` seconds."""
        ...

    def __await__(self) -> Generator[Any, None, TResult_co]: ...


class IAsyncOperationWithProgress(IAsyncInfo, Protocol[TResult_co, TProgress_co]):
    """An operation with a result that reports progress. Source: WinRT IAsyncOperationWithProgress."""

    if not TYPE_CHECKING:
        _kinds = frozenset((OPERATION_WITH_PROGRESS,))

    @property
    def completed(self) -> Any:
        """Handler `(operation, status)`, settable once."""
        ...

    @completed.setter
    def completed(self, handler: Callable[[Any, AsyncStatus], object]) -> None: ...

    @property
    def progress(self) -> Any:
        """Handler `(operation, progress)`."""
        ...

    @progress.setter
    def progress(self, handler: Callable[[Any, Any], object]) -> None: ...

    def get_results(self) -> TResult_co:
        """The result of the ended operation, or its failure raised."""
        ...

    def get(self) -> TResult_co:
        """Block until the operation has ended, and return its result."""
        ...

    def wait(self, timeout: float, /) -> AsyncStatus:
        """Block for at most `timeout` seconds."""
        ...

    def __await__(self) -> Generator[Any, None, TResult_co]: ...


class DataReaderLoadOperation(IAsyncOperation[int], Protocol):
    """The operation of `DataReader.load_async`: the number of bytes loaded."""

    if not TYPE_CHECKING:
        _kinds = frozenset((LOAD,))


class DataWriterStoreOperation(IAsyncOperation[int], Protocol):
    """The operation of `DataWriter.store_async`: the number of bytes stored."""

    if not TYPE_CHECKING:
        _kinds = frozenset((STORE,))
