"""The WebSocket servers that `moorings bench ws` compares: one process each, every library in its best idiom.

Usage: `python -P ws_servers.py KIND LOOP [ROLE] [OPTIONS] [IDENTITY]`. As `servers.py`, whose helpers it uses, it
imports only the library that it serves with. ROLE is `echo`, or `cast`, which sends each message to all connections.
OPTIONS is a number: 1 asks for permessage-deflate. With IDENTITY it speaks TLS.

All have their checks on: UTF-8 where a message is text, and a limit for the size of a message.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

sys.path.insert(0, str(Path(__file__).parent))
#: By its bare name: a peer's process does not load our package.
servers: Any = import_module("servers")
del sys.path[0]

MESSAGE_LIMIT = 64 << 20
DEFLATE = 1
ROLES = ("echo", "cast")


class Settings:
    """What is served."""

    def __init__(self, role: str, options: int, identity: str) -> None:
        self.casting = role == "cast"
        self.deflate = bool(options & DEFLATE)
        self.identity = identity

    def context(self) -> Any:
        return servers.server_context(self.identity)


# -- ours ------------------------------------------------------------------------------------------------------------


async def accepting(settings: Settings, serve_one: Callable[[Any], Awaitable[None] | None]) -> None:
    """Accept WebSockets and give them to `serve_one`, which starts, or is, their conversation."""
    from moorings import HostName, StreamSocketListener, accept_web_socket

    more: dict[str, Any] = {"compression": True} if settings.deflate else {}

    async def on_connection(_listener: StreamSocketListener, args: Any) -> None:
        try:
            running = serve_one(await accept_web_socket(args.socket, max_message_size=MESSAGE_LIMIT, **more))
            if running is not None:
                await running
        except OSError:
            pass

    listener = StreamSocketListener()
    listener.add_connection_received(on_connection)
    if settings.identity:
        listener.control.server_certificate = servers.certificate_of(settings.identity)
    await listener.bind_endpoint_async(HostName("127.0.0.1"), "")
    servers.announce(int(listener.information.local_port), servers.mode_of_moorings())
    await asyncio.Event().wait()


async def serve_event(settings: Settings) -> None:
    """Ours by `message_received`: call-backs."""
    from moorings import broadcast

    open_ones: set[Any] = set()

    def echo(socket: Any, args: Any) -> None:
        try:
            socket.send(args.data)
        except OSError:  # the connection broke
            open_ones.discard(socket)

    def cast(socket: Any, args: Any) -> None:
        try:
            broadcast(open_ones, args.data)
        except OSError:
            open_ones.discard(socket)

    def closed(socket: Any, _args: Any) -> None:
        open_ones.discard(socket)

    def serve_one(socket: Any) -> None:
        open_ones.add(socket)
        socket.add_closed(closed)
        socket.add_message_received(cast if settings.casting else echo)

    await accepting(settings, serve_one)


async def serve_awaited(settings: Settings) -> None:
    """Ours with ``async for``."""
    from moorings import broadcast

    open_ones: set[Any] = set()

    async def echo(socket: Any) -> None:
        async for message in socket:
            await socket.send(message)

    async def cast(socket: Any) -> None:
        open_ones.add(socket)
        try:
            async for message in socket:
                broadcast(open_ones, message)
        finally:
            open_ones.discard(socket)

    await accepting(settings, cast if settings.casting else echo)


async def serve_winrt(settings: Settings) -> None:
    """Ours under its WinRT names alone: a reader, a buffer and the output stream."""
    open_ones: set[Any] = set()

    def echo(socket: Any, args: Any) -> None:
        try:
            reader = args.get_data_reader()
        except OSError:
            open_ones.discard(socket)
            return
        socket.control.message_type = args.message_type
        socket.output_stream.write_async(reader.read_buffer(reader.unconsumed_buffer_length))

    def serve_one(socket: Any) -> None:
        open_ones.add(socket)
        socket.add_message_received(echo)

    await accepting(settings, serve_one)


# -- the peers -------------------------------------------------------------------------------------------------------


async def serve_like_websockets(settings: Settings, module: str, cast_all: Callable[[Any, Any], None]) -> None:
    """The package `websockets`, and what has its interface."""
    open_ones: set[Any] = set()

    broken: Any = import_module(f"{module.partition('.asyncio')[0]}.exceptions").ConnectionClosedError

    async def echo(socket: Any) -> None:
        with contextlib.suppress(broken):
            async for message in socket:
                await socket.send(message)

    async def cast(socket: Any) -> None:
        open_ones.add(socket)
        with contextlib.suppress(broken):
            async for message in socket:
                cast_all(open_ones, message)
        open_ones.discard(socket)

    server = await import_module(module).serve(
        cast if settings.casting else echo,
        "127.0.0.1",
        0,
        compression="deflate" if settings.deflate else None,
        max_size=MESSAGE_LIMIT,
        ssl=settings.context(),
        backlog=servers.BACKLOG,
    )
    servers.announce(server.sockets[0].getsockname()[1], module)
    await asyncio.Event().wait()


async def serve_websockets(settings: Settings) -> None:
    cast_all: Any = import_module("websockets.asyncio.server").broadcast
    await serve_like_websockets(settings, "websockets.asyncio.server", cast_all)


async def serve_picows_websockets(settings: Settings) -> None:
    await serve_like_websockets(
        settings, "picows.websockets.asyncio", import_module("picows.websockets.asyncio").broadcast
    )


async def serve_picows(settings: Settings) -> None:
    """The call-backs of picows. It leaves the check of text to the program: decoding does it."""
    picows: Any = import_module("picows")
    text: Any = picows.WSMsgType.TEXT
    close: Any = picows.WSMsgType.CLOSE
    open_ones: set[Any] = set()

    def echo(_self: Any, transport: Any, frame: Any) -> None:
        kind = frame.msg_type
        if kind == text:
            transport.send(kind, frame.get_payload_as_utf8_text().encode())
        elif kind == close:
            transport.send_close()
            transport.disconnect()
        else:
            transport.send(kind, frame.get_payload_as_bytes())

    def cast(_self: Any, transport: Any, frame: Any) -> None:
        kind = frame.msg_type
        if kind == close:
            transport.send_close()
            transport.disconnect()
            return
        payload = frame.get_payload_as_utf8_text().encode() if kind == text else frame.get_payload_as_bytes()
        for one in open_ones:
            one.send(kind, payload)

    def on_connected(_self: Any, transport: Any) -> None:
        open_ones.add(transport)

    def on_disconnected(_self: Any, transport: Any) -> None:
        open_ones.discard(transport)

    methods: dict[str, Callable[..., None]] = {"on_ws_frame": echo}
    if settings.casting:
        methods = {"on_ws_frame": cast, "on_ws_connected": on_connected, "on_ws_disconnected": on_disconnected}
    listener: Any = type("Listener", (picows.WSListener,), methods)

    def make_listener(_request: object) -> Any:
        return listener()

    server = await picows.ws_create_server(
        make_listener,
        "127.0.0.1",
        0,
        max_frame_size=MESSAGE_LIMIT,
        ssl=settings.context(),
        backlog=servers.BACKLOG,
    )
    servers.announce(server.sockets[0].getsockname()[1], "picows")
    await asyncio.Event().wait()


async def serve_aiohttp(settings: Settings) -> None:
    web: Any = import_module("aiohttp.web")
    text: Any = import_module("aiohttp").WSMsgType.TEXT
    open_ones: set[Any] = set()

    async def handle(request: Any) -> Any:
        socket = web.WebSocketResponse(compress=settings.deflate, max_msg_size=MESSAGE_LIMIT)
        await socket.prepare(request)
        open_ones.add(socket)
        try:
            async for message in socket:
                for one in open_ones if settings.casting else (socket,):
                    await (one.send_str if message.type is text else one.send_bytes)(message.data)
        finally:
            open_ones.discard(socket)
        return socket

    application = web.Application()
    application.router.add_get("/", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=settings.context(), backlog=servers.BACKLOG)
    await site.start()
    servers.announce(runner.addresses[0][1], "aiohttp")
    await asyncio.Event().wait()


# -- the program -----------------------------------------------------------------------------------------------------

KINDS: dict[str, Callable[[Settings], Awaitable[None]]] = {
    "moorings-event": serve_event,
    "moorings-awaited": serve_awaited,
    "moorings-winrt": serve_winrt,
    "websockets": serve_websockets,
    "picows-core": serve_picows,
    "picows-websockets": serve_picows_websockets,
    "aiohttp": serve_aiohttp,
}


async def serve(kind: str, settings: Settings) -> None:
    servers.end_with_input()
    await KINDS[kind](settings)


def main(kind: str, loop: str, role: str = "echo", options: str = "0", identity: str = "") -> None:
    if role not in ROLES:
        sys.exit(f"ws_servers.py: no role {role}")
    servers.run(serve(kind, Settings(role, int(options), identity)), loop)


if __name__ == "__main__":
    main(*sys.argv[1:])
