"""The package websockets as the client and the server of our WebSockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import websockets
from tests.interop.web_socket_battery import cases
from tests.interop.web_socket_of_websockets import Websockets
from tests.interop.web_socket_pairs import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.interop.web_socket_pairs import Scene

WEBSOCKETS = Websockets(websockets)


@cases(WEBSOCKETS)
async def test_websockets(role: str, check: Callable[[Scene], Awaitable[None]]) -> None:
    await run(WEBSOCKETS, role, check)
