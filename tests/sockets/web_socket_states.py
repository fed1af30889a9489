"""Clients of WebSockets in each of their states."""

from __future__ import annotations

from typing import Any, TypeVar

from moorings import Uri
from moorings.sockets.connection import State

T = TypeVar("T")


async def in_state(made: T, state: State, url: str) -> T:
    """A new client, brought into a state with the server at `url`."""
    client: Any = made
    if state == State.BUSY:
        client.connect_async(Uri(url))
    elif state in {State.OPEN, State.CLOSED}:
        await client.connect_async(Uri(url))
    if state == State.CLOSED:
        await client.aclose()
    assert client._connection.state == state
    return made
