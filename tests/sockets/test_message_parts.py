"""How the messages of a WebSocket reach the handlers of `message_received`."""

from __future__ import annotations

import weakref
from typing import Any

import pytest

import moorings
from moorings import SocketMessageType
from moorings.foundation.events import EventSource
from moorings.sockets.message_parts import HandOut
from moorings.sockets.web_socket_events import MessageWebSocketMessageReceivedEventArgs


class Owner:
    """Stands for the WebSocket."""

    def __init__(self) -> None:
        self.reports: list[BaseException] = []
        self.aside: list[Any] = []

    def _report(self, error: BaseException, _handler: object) -> None:
        self.reports.append(error)

    def _handle_elsewhere(self, _event: object, args: Any) -> None:
        self.aside.append(args.data)


class Home:
    """A loop of asyncio."""

    background = False


async def several(pending: list[tuple[Any, Any]], _report: object) -> None:
    for _, awaitable in pending:
        await awaitable


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def event() -> EventSource[Any, Any]:
    return EventSource()


@pytest.fixture
def hand_out(owner: Owner, event: EventSource[Any, Any]) -> HandOut:
    return HandOut(weakref.ref(owner), Home(), event, MessageWebSocketMessageReceivedEventArgs, several)  # type: ignore[arg-type]


def test_handlers_that_come_and_go_count_from_the_next_message_on(
    hand_out: HandOut, event: EventSource[Any, Any]
) -> None:
    heard: list[Any] = []
    first = event.add(lambda _socket, args: heard.append(("first", args.data)))
    assert hand_out.take_message("a") is None
    second = event.add(lambda _socket, args: heard.append(("second", args.data)))
    assert hand_out.take_message(b"b") is None
    event.remove(first)
    assert hand_out("c") is None
    event.remove(second)
    assert hand_out.take_message("d") is None
    assert heard == [("first", "a"), ("first", b"b"), ("second", b"b"), ("second", "c")]


def test_whole_messages_and_parts_tell_what_they_are(hand_out: HandOut, event: EventSource[Any, Any]) -> None:
    heard: list[Any] = []
    event.add(lambda _socket, args: heard.append((args.message_type, args.data, args.is_message_complete)))
    for payload in ("t", b"b", (SocketMessageType.UTF8, b"p", False)):
        hand_out.take_message(payload)
    assert heard == [
        (SocketMessageType.UTF8, "t", True),
        (SocketMessageType.BINARY, b"b", True),
        (SocketMessageType.UTF8, b"p", False),
    ]


@pytest.mark.parametrize("others", [0, 1])
async def test_failures_are_reported_and_coroutines_awaited(
    hand_out: HandOut, event: EventSource[Any, Any], owner: Owner, others: int
) -> None:
    done: list[str] = []

    async def later(_socket: object, args: Any) -> None:
        done.append(args.data)

    def fail(_socket: object, _args: object) -> None:
        raise LookupError("no")

    token = event.add(fail)
    for _ in range(others):
        event.add(lambda _socket, _args: None)
    assert hand_out.take_message("x") is None
    assert [type(error) for error in owner.reports] == [LookupError]
    event.remove(token)
    event.add(later)
    waiting = hand_out.take_message("y")
    assert waiting is not None
    await waiting
    assert done == ["y"]


def test_a_handler_for_a_worker_thread_takes_all_there(
    hand_out: HandOut, event: EventSource[Any, Any], owner: Owner
) -> None:
    event.add(moorings.blocking(lambda _socket, _args: None))
    hand_out.take_message("x")
    assert owner.aside == ["x"]


def test_nobody_is_called_for_a_web_socket_that_was_dropped(event: EventSource[Any, Any]) -> None:
    gone = HandOut(lambda: None, Home(), event, MessageWebSocketMessageReceivedEventArgs, several)  # type: ignore[arg-type]
    event.add(lambda _socket, _args: pytest.fail("called"))
    assert gone.take_message("x") is None
