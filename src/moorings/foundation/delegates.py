"""The delegates of `Windows.Foundation`: what kind of callable a member takes. The result is ignored.

They are aliases of `Callable`, for annotations. Source: the WinRT reference page of each delegate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from moorings.foundation.async_info import (
    IAsyncAction,
    IAsyncActionWithProgress,
    IAsyncOperation,
    IAsyncOperationWithProgress,
)
from moorings.foundation.async_status import AsyncStatus
from moorings.foundation.projection import Object

__all__ = [
    "AsyncActionCompletedHandler",
    "AsyncActionProgressHandler",
    "AsyncActionWithProgressCompletedHandler",
    "AsyncOperationCompletedHandler",
    "AsyncOperationProgressHandler",
    "AsyncOperationWithProgressCompletedHandler",
    "DeferralCompletedHandler",
    "EventHandler",
    "TypedEventHandler",
]

T = TypeVar("T")
TSender = TypeVar("TSender")
TResult = TypeVar("TResult")
TProgress = TypeVar("TProgress")

#: Called with the event's sender and its arguments.
TypedEventHandler = Callable[[TSender, TResult], object]
#: Called with the event's sender, of any type, and its arguments.
EventHandler = Callable[[Object, T], object]
#: Called without arguments when a deferral is completed.
DeferralCompletedHandler = Callable[[], object]
#: Called with the action and its final status.
AsyncActionCompletedHandler = Callable[[IAsyncAction, AsyncStatus], object]
#: Called with the action and how far it is.
AsyncActionProgressHandler = Callable[[IAsyncActionWithProgress[TProgress], TProgress], object]
#: Called with the action and its final status.
AsyncActionWithProgressCompletedHandler = Callable[[IAsyncActionWithProgress[TProgress], AsyncStatus], object]
#: Called with the operation and its final status.
AsyncOperationCompletedHandler = Callable[[IAsyncOperation[TResult], AsyncStatus], object]
#: Called with the operation and how far it is.
AsyncOperationProgressHandler = Callable[[IAsyncOperationWithProgress[TResult, TProgress], TProgress], object]
#: Called with the operation and its final status.
AsyncOperationWithProgressCompletedHandler = Callable[
    [IAsyncOperationWithProgress[TResult, TProgress], AsyncStatus], object
]
