from __future__ import annotations

import typing

import pytest

from moorings.foundation import delegates
from moorings.foundation.async_info import IAsyncOperation
from moorings.foundation.async_status import AsyncStatus


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("TypedEventHandler", 2),
        ("EventHandler", 1),
        ("DeferralCompletedHandler", 0),
        ("AsyncActionCompletedHandler", 0),
        ("AsyncActionProgressHandler", 1),
        ("AsyncActionWithProgressCompletedHandler", 1),
        ("AsyncOperationCompletedHandler", 1),
        ("AsyncOperationProgressHandler", 2),
        ("AsyncOperationWithProgressCompletedHandler", 2),
    ],
)
def test_delegates_take_their_type_parameters(name: str, parameters: int) -> None:
    delegate = getattr(delegates, name)
    assert len(delegate.__parameters__) == parameters
    if parameters:
        assert delegate[(int,) * parameters].__parameters__ == ()


def test_callable_shape() -> None:
    handler = delegates.AsyncOperationCompletedHandler[int]
    assert typing.get_args(handler) == ([IAsyncOperation[int], AsyncStatus], object)
    assert typing.get_args(delegates.DeferralCompletedHandler) == ([], object)
