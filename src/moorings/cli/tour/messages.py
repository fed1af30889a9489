"""WebSockets: a conversation of one server and one client, and then one message for many clients."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import moorings
from moorings.cli.output import progress
from moorings.cli.tour.common import LOCALHOST, PATIENCE, DemoError
from moorings.cli.tour.crowd import AT_ONCE, affordable_clients

if TYPE_CHECKING:
    from moorings.cli.console import Console
    from moorings.cli.output import Progress
    from moorings.cli.tour.common import Facts, Options

NEWS = "one message for all of you"


async def messages(console: Console, options: Options) -> Facts:
    """The conversation, and the broadcast."""
    talked = await converse(console)
    return {**talked, **await broadcast(console, options)}


# -- a conversation --------------------------------------------------------------------------------------------------


async def converse(console: Console) -> Facts:
    """Text and binary there and back, a ping, and a close with code and reason."""

    async def serve(web_socket: Any) -> None:
        information = web_socket.information
        console.say("server", f"WebSocket opened for {information.request.path}, subprotocol {information.protocol}")
        async for message in web_socket:
            console.say("server", f"received {message!r}")
            await web_socket.send(message)
            console.say("server", f"sent back {message!r}")
        console.say("server", f"the client has closed with {web_socket.close_code}: {web_socket.close_reason}")

    listen: Any = moorings.listen
    async with listen(f"ws://{LOCALHOST}:0/chat", serve, subprotocols=["demo"]) as server:
        url = f"ws://{LOCALHOST}:{server.port}/chat"
        console.say("server", f"listening on {url}")
        facts = await talk(console, url)
    console.say("server", "stopped listening")
    return facts


async def talk(console: Console, url: str) -> Facts:
    """The client; what it found out."""
    connect: Any = moorings.connect
    async with connect(url, subprotocols=["demo"]) as client:
        console.say("client", f"connected to {url}, subprotocol {client.information.protocol}")
        for message in ("Hello, World!", b"\x00\x01\x02"):
            await client.send(message)
            console.say("client", f"sent {message!r}")
            answer = await client.receive()
            console.say("client", f"received {answer!r}")
            if answer != message:
                raise DemoError(f"the echo differs: {answer!r}")
        seconds = await client.ping()
        console.say("client", f"a ping and its pong took {seconds * 1e6:.0f} µs")
        client.close(1000, "goodbye")
        await client.aclose()
        console.say("client", f"closed with 1000, and the server has answered {client.close_code}")
    return {"echo": "Hello, World!", "ping_seconds": seconds, "close_code": client.close_code}


# -- one message for many --------------------------------------------------------------------------------------------


async def broadcast(console: Console, options: Options) -> Facts:
    """Many clients in one room get a message."""
    clients, note = affordable_clients(options.clients)
    if note:
        console.say("note", note)
    room = moorings.Broadcaster()
    full = asyncio.Event()

    async def serve(web_socket: Any) -> None:
        with room.joined(web_socket):
            if len(room) == clients:
                full.set()
            async for _ in web_socket:
                pass

    listen: Any = moorings.listen
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(listen(f"ws://{LOCALHOST}:0", serve))
        with progress("connecting", clients) as bar:
            opened = await connect_all(stack, clients, f"ws://{LOCALHOST}:{server.port}", bar)
        await full.wait()
        console.say("server", f"{len(room):,} WebSockets are in the room")
        start = time.perf_counter()
        result = room.send(NEWS)
        queued = time.perf_counter() - start
        received = await asyncio.gather(*(each.receive() for each in opened))
        arrived = time.perf_counter() - start
        right = sum(each == NEWS for each in received)
        console.say("server", f"broadcast to {result.sent:,}: one frame, queued in {queued * 1e3:.1f} ms")
        console.say("client", f"{right:,} clients received it, the last one after {arrived * 1e3:.1f} ms")
    if right != clients or result.sent != clients:
        raise DemoError(f"{clients - right} clients have not received the message")
    return {"clients": clients, "sent": result.sent, "received_right": right, "seconds": arrived}


async def connect_all(stack: AsyncExitStack, clients: int, url: str, bar: Progress) -> list[Any]:
    """So many WebSockets, some at a time; they are closed at the end, all at the same time."""
    gate = asyncio.Semaphore(AT_ONCE)
    opened: list[Any] = []
    connect: Any = moorings.connect

    async def join() -> None:
        async with gate:
            opened.append(await connect(url, timeout=PATIENCE))
            bar.advance()

    async def leave() -> None:
        await asyncio.gather(*(each.aclose() for each in opened))

    stack.push_async_callback(leave)
    await asyncio.gather(*(join() for _ in range(clients)))
    return opened
