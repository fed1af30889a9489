from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from moorings.foundation.events import EventRegistrationToken, EventSource


def _no_report(error: BaseException, handler: object) -> None:
    raise AssertionError(error)


def test_tokens_are_unique_non_zero_final_integers() -> None:
    first, second = EventSource[Any, Any](), EventSource[Any, Any]()
    tokens = [source.add(print) for source in (first, second, first)]
    assert len(set(tokens)) == 3
    assert all(tokens)
    assert all(type(token) is EventRegistrationToken for token in tokens)
    assert issubclass(EventRegistrationToken, int)
    assert repr(tokens[0]) == f"EventRegistrationToken({int(tokens[0])})"
    with pytest.raises(TypeError, match="cannot create"):
        EventRegistrationToken(5)
    with pytest.raises(TypeError, match="subclassed"):
        type("Sub", (EventRegistrationToken,), {})
    with pytest.warns(DeprecationWarning, match="value is deprecated"):
        assert tokens[0].value == int(tokens[0])


def test_handlers_run_inline_in_order_with_sender_and_args() -> None:
    source = EventSource[str, int]()
    assert not source
    calls: list[tuple[object, ...]] = []
    source.add(lambda *event: calls.append(("first", *event)))
    source.add(lambda *event: calls.append(("second", *event)))
    assert source
    assert len(source) == 2
    assert source.fire("s", 5, _no_report) == []
    assert calls == [("first", "s", 5), ("second", "s", 5)]


def test_the_same_handler_may_be_added_twice_and_removed_once() -> None:
    source = EventSource[None, None]()
    calls: list[int] = []

    def handler(sender: None, args: None) -> None:
        calls.append(1)

    first = source.add(handler)
    source.add(handler)
    source.fire(None, None, _no_report)
    source.remove(first)
    source.remove(first)
    source.fire(None, None, _no_report)
    assert len(calls) == 3
    source.clear()
    assert not source


def test_a_foreign_token_removes_nothing() -> None:
    source, other = EventSource[None, None](), EventSource[None, None]()
    source.add(print)
    source.remove(other.add(print))
    assert len(source) == 1
    with pytest.raises(TypeError, match="token must be int"):
        source.remove("1")  # type: ignore[arg-type]


@pytest.mark.parametrize("handler", [None, 5, "print"])
def test_only_callables(handler: Any) -> None:
    with pytest.raises(TypeError, match="must be callable"):
        EventSource[None, None]().add(handler)


def test_adding_and_removing_while_firing_counts_from_the_next_event_on() -> None:
    source = EventSource[None, None]()
    calls: list[str] = []

    def later(sender: None, args: None) -> None:
        calls.append("later")

    def once(sender: None, args: None) -> None:
        calls.append("once")
        source.remove(token)
        source.remove(removed)
        source.add(later)

    token = source.add(once)
    removed = source.add(lambda *_: calls.append("removed"))
    source.fire(None, None, _no_report)
    assert calls == ["once", "removed"]
    source.fire(None, None, _no_report)
    assert calls == ["once", "removed", "later"]


@pytest.mark.parametrize("error", [ValueError("x"), OSError(), asyncio.CancelledError()])
def test_a_failing_handler_hurts_no_other(error: BaseException) -> None:
    source = EventSource[None, None]()
    calls: list[int] = []
    reports: list[tuple[BaseException, object]] = []

    def fail(sender: None, args: None) -> None:
        raise error

    source.add(fail)
    source.add(lambda *_: calls.append(1))
    source.fire(None, None, lambda exc, handler: reports.append((exc, handler)))
    assert calls == [1]
    assert reports == [(error, fail)]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupts_pass_through(error: type[BaseException]) -> None:
    source = EventSource[None, None]()

    def fail(sender: None, args: None) -> None:
        raise error

    source.add(fail)
    with pytest.raises(error):
        source.fire(None, None, _no_report)


async def test_awaitables_are_handed_to_the_caller() -> None:
    source = EventSource[str, int]()
    seen: list[object] = []

    async def coroutine(sender: str, args: int) -> None:
        await asyncio.sleep(0)
        seen.append((sender, args))

    future = asyncio.get_running_loop().create_future()
    returns_future = lambda *_: future  # noqa: E731
    source.add(coroutine)
    source.add(lambda *_: 5)
    source.add(returns_future)
    pending = source.fire("s", 1, _no_report)
    assert [handler for handler, _ in pending] == [coroutine, returns_future]
    assert seen == []
    future.set_result(None)
    for _, awaitable in pending:
        await awaitable
    assert seen == [("s", 1)]


def test_registration_from_many_threads_loses_nothing() -> None:
    source = EventSource[None, None]()
    keep: list[list[EventRegistrationToken]] = [[] for _ in range(4)]

    def work(mine: list[EventRegistrationToken]) -> None:
        for _ in range(200):
            mine.append(source.add(print))
            source.remove(source.add(print))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in keep]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(source) == 800
    assert len({token for mine in keep for token in mine}) == 800


def test_start_gets_each_awaitable_before_the_next_handler_is_called() -> None:
    """A later handler may block: it does not hold back an `async def` one before it."""
    event: EventSource[str, str] = EventSource()
    order: list[str] = []

    async def coroutine(_sender: str, _args: str) -> None:
        raise AssertionError

    def plain(_sender: str, _args: str) -> None:
        order.append("plain")

    def start(handler: object, awaitable: Any) -> None:
        assert handler is coroutine
        awaitable.close()
        order.append("started")

    event.add(coroutine)
    event.add(plain)
    assert event.fire("sender", "args", lambda *_: None, start) == []
    assert order == ["started", "plain"]
