"""docs/cancellation.md has each public awaitable, with the clause of its docstring."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from tests.docs.documents import code_words, table

import moorings
from moorings.sockets.socket_streams import SocketInputStream, SocketOutputStream
from moorings.streams.random_access import RandomAccessStream

PAGE = "docs/cancellation.md"
CLASSES: dict[str, type] = {
    "StreamSocket": moorings.StreamSocket,
    "StreamSocketListener": moorings.StreamSocketListener,
    "Listening": moorings.Listening,
    "ListeningWebSockets": moorings.ListeningWebSockets,
    "WebSocketListener": moorings.WebSocketListener,
    "IInputStream": SocketInputStream,
    "IOutputStream": SocketOutputStream,
    "MessageWebSocket": moorings.MessageWebSocket,
    "ServerMessageWebSocket": moorings.ServerMessageWebSocket,
    "StreamWebSocket": moorings.StreamWebSocket,
    "ServerStreamWebSocket": moorings.ServerStreamWebSocket,
    "DataReader": moorings.DataReader,
    "DataWriter": moorings.DataWriter,
    "RandomAccessStream": RandomAccessStream,
}
NOT_ON_THE_PAGE = {
    "StreamSocket.upgrade_to_ssl_async": "never starts before TLS is built",
    "StreamSocketListener.cancel_io_async": "has ended before anybody can cancel it",
    "RandomAccessStream.copy_size_async": "a 3.x alias of copy_async",
}
ROWS = {code_words(row["call"])[0]: row for row in table(PAGE, "call", "clause")}


def member(path: str) -> Any:
    owner, _, name = path.partition(".")
    return getattr(moorings if owner == "moorings" else CLASSES[owner], name)


def clauses(path: str) -> set[str]:
    """The clause in a docstring, or in that of the member that it refers to."""
    text = inspect.getdoc(member(path)) or ""
    _, found, clause = text.partition("Cancellation:")
    if found:
        return set(re.findall(r"\*([^*]+)\*", clause))
    other = re.search(r"\b[Ee]lse as `(\w+)`", text)
    assert other is not None, f"{path} has no cancellation clause"
    return clauses(f"{path.partition('.')[0]}.{other[1]}")


def is_awaitable(name: str, value: Any) -> bool:
    if name.startswith("_"):
        return False
    function = inspect.unwrap(getattr(value, "__func__", value))
    deprecated = "deprecated" in (inspect.getdoc(function) or "").lower()
    return not deprecated and (
        name.endswith("_async") or inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    )


def awaitables() -> set[str]:
    functions = {name: getattr(moorings, name) for name in moorings.__all__ if name.islower()}
    found = {f"moorings.{name}" for name, value in functions.items() if is_awaitable(name, value)}
    for owner, kind in CLASSES.items():
        for ancestor in kind.__mro__:
            found |= {f"{owner}.{name}" for name, value in vars(ancestor).items() if is_awaitable(name, value)}
    return found


def test_every_awaitable_has_a_row() -> None:
    assert awaitables() - set(NOT_ON_THE_PAGE) - set(ROWS) == set()
    assert set(ROWS) - awaitables() == {
        "StreamSocket.write",
        "MessageWebSocket.send",
        "MessageWebSocket.receive",
        "MessageWebSocket.receive_part",
        "MessageWebSocket.ping",
        "ServerMessageWebSocket.send",
        "ServerMessageWebSocket.receive",
        "ServerMessageWebSocket.receive_part",
        "ServerMessageWebSocket.ping",
        "StreamWebSocket.write",
        "StreamWebSocket.ping",
        "ServerStreamWebSocket.write",
        "ServerStreamWebSocket.ping",
    }


@pytest.mark.parametrize("path", ROWS)
def test_the_clause_is_that_of_the_docstring(path: str) -> None:
    assert set(re.findall(r"\*([^*]+)\*", ROWS[path]["clause"])) == clauses(path)
