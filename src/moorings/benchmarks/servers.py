"""The echo servers that the benchmarks compare: one process each, every one in its best idiom.

Usage: `python -P servers.py KIND LOOP`. A server prints a line of JSON (`port`, `mode`) when it listens, and serves
until its standard input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SIZE = 65536
BACKLOG = 4096


def announce(port: int, mode: str) -> None:
    print(json.dumps({"port": port, "mode": mode}), flush=True)


def mode_of_moorings() -> str:
    from moorings._native_switch import native_mode

    native, reason = native_mode()
    return "compiled" if native else reason


async def serve_moorings() -> None:
    """Ours under its WinRT names: the program that moves between Windows and Linux unchanged."""
    from moorings import Buffer, HostName, InputStreamOptions, StreamSocketListener

    partial = InputStreamOptions.PARTIAL  # a look-up in an enumeration for each message is no part of an echo

    async def echo(_listener: StreamSocketListener, args: Any) -> None:
        connection = args.socket
        reader, writer = connection.input_stream, connection.output_stream
        buffer = Buffer(SIZE)
        with connection, contextlib.suppress(OSError):
            while True:
                await reader.read_async(buffer, SIZE, partial)
                if not buffer.length:
                    break
                await writer.write_async(buffer)

    listener = StreamSocketListener()
    listener.add_connection_received(echo)
    await listener.bind_endpoint_async(HostName("127.0.0.1"), "")
    announce(int(listener.information.local_port), mode_of_moorings())
    await asyncio.Event().wait()


async def serve_face() -> None:
    """Ours under its Python names."""
    import moorings

    async def echo(connection: moorings.StreamSocket) -> None:
        with contextlib.suppress(OSError):
            while data := await connection.read(SIZE):
                await connection.write(data)

    async with moorings.listen("tcp://127.0.0.1:0", echo) as listener:
        announce(listener.port, mode_of_moorings())
        await asyncio.Event().wait()


class EchoProtocol(asyncio.Protocol):
    """asyncio's call-backs: no task, no await."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def serve_callbacks() -> None:
    server = await asyncio.get_running_loop().create_server(EchoProtocol, "127.0.0.1", 0, backlog=BACKLOG)
    announce(server.sockets[0].getsockname()[1], "callbacks")
    await asyncio.Event().wait()


async def serve_streams() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(SIZE):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=BACKLOG)
    announce(server.sockets[0].getsockname()[1], "streams")
    await asyncio.Event().wait()


KINDS: dict[str, Callable[[], Awaitable[None]]] = {
    "moorings": serve_moorings,
    "face": serve_face,
    "callbacks": serve_callbacks,
    "streams": serve_streams,
}


async def serve(kind: str) -> None:
    # End at once when standard input ends; what a server left open is of no interest then.
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), os._exit, 0)
    await KINDS[kind]()


def main(kind: str, loop: str) -> None:
    if loop == "uvloop":
        import uvloop

        uvloop.run(serve(kind))
    else:
        asyncio.run(serve(kind))


if __name__ == "__main__":
    main(*sys.argv[1:])
