"""An ASGI application that echoes with our WebSockets, for a real server to run."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import moorings


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    with suppress(OSError):  # the client's own affair, also when it has left in the middle of a send
        async with await moorings.accept_asgi(scope, receive, send, subprotocols=["two"]) as web_socket:
            await web_socket.send(f"{web_socket.information.request.resource} {web_socket.information.protocol}")
            async for message in web_socket:
                if message == "leave":
                    web_socket.close(3001, "left")
                    return
                await web_socket.send(message)
