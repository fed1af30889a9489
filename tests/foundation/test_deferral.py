from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from moorings import errors
from moorings.foundation.closable import IClosable
from moorings.foundation.deferral import Deferral, DeferralSource


def test_complete_calls_the_handler_once_and_twice_is_an_error() -> None:
    calls: list[int] = []
    deferral = Deferral(lambda: calls.append(1))
    deferral.complete()
    assert calls == [1]
    with pytest.raises(OSError, match="already complete") as caught:
        deferral.complete()
    assert isinstance(caught.value, errors.CodedError)
    assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
    deferral.close()
    assert calls == [1]


def test_close_and_with_complete_and_may_be_repeated() -> None:
    calls: list[int] = []
    with Deferral(lambda: calls.append(1)) as deferral:
        assert isinstance(deferral, IClosable)
        assert calls == []
    deferral.close()
    deferral.close()
    assert calls == [1]


def test_arguments() -> None:
    for handler in (None, 5):
        with pytest.raises(TypeError, match="must be callable"):
            Deferral(handler)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Deferral(handler=print)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="subclassed"):
        type("Sub", (Deferral,), {})


def test_handler_exception_comes_out_and_the_deferral_is_complete() -> None:
    def fail() -> None:
        raise KeyError("x")

    deferral = Deferral(fail)
    with pytest.raises(KeyError):
        deferral.complete()
    deferral.close()


def test_a_dropped_deferral_completes_with_a_warning() -> None:
    calls: list[int] = []
    kept = [Deferral(lambda: calls.append(1))]
    with pytest.warns(ResourceWarning, match="dropped without complete"):
        kept.clear()
    gc.collect()
    assert calls == [1]


async def test_source_without_deferrals_does_not_wait() -> None:
    source = DeferralSource()
    assert source.pending == 0
    await asyncio.wait_for(source.wait(), 5)
    with pytest.raises(OSError, match="before the event handler returns") as caught:
        source.get_deferral()
    assert isinstance(caught.value, errors.CodedError)
    assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL


async def test_wait_ends_when_all_are_complete() -> None:
    source = DeferralSource()
    first, second = source.get_deferral(), source.get_deferral()
    waiting = asyncio.create_task(source.wait())
    await asyncio.sleep(0)
    first.complete()
    third = source.get_deferral()
    second.complete()
    for _ in range(3):
        await asyncio.sleep(0)
    assert source.pending == 1
    assert not waiting.done()
    third.close()
    await asyncio.wait_for(waiting, 5)


async def test_completing_before_wait() -> None:
    source = DeferralSource()
    source.get_deferral().complete()
    source.close()
    with pytest.raises(OSError, match="get_deferral"):
        source.get_deferral()
    await asyncio.wait_for(source.wait(), 5)


async def test_completing_on_another_thread() -> None:
    source = DeferralSource()
    deferral = source.get_deferral()
    waiting = asyncio.create_task(source.wait())
    await asyncio.sleep(0)
    thread = threading.Thread(target=deferral.complete)
    thread.start()
    await asyncio.wait_for(waiting, 10)
    thread.join(10)


async def test_cancelled_wait_changes_nothing() -> None:
    source = DeferralSource()
    deferral = source.get_deferral()
    waiting = asyncio.create_task(source.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    again = asyncio.create_task(source.wait())
    await asyncio.sleep(0)
    deferral.complete()
    await asyncio.wait_for(again, 5)


async def test_wake_and_cancel_in_one_turn() -> None:
    source = DeferralSource()
    deferral = source.get_deferral()
    waiting = asyncio.create_task(source.wait())
    await asyncio.sleep(0)
    deferral.complete()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()


def test_completing_after_the_loop_is_gone() -> None:
    kept: list[Any] = []

    async def main() -> None:
        source = DeferralSource()
        kept.extend((source.get_deferral(), source.wait()))
        task = asyncio.create_task(kept.pop())
        await asyncio.sleep(0)
        # The source still has its waiter when the loop is closed below.
        kept.append((source, task))

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    source, task = kept[1]
    waiter = source._waiter
    assert waiter is not None
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    source._loop, source._waiter = loop, waiter
    kept[0].complete()
    assert source.pending == 0
