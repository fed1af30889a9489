"""The servers that the benchmarks compare: one process each, every library in its best idiom.

Usage: `python -P servers.py KIND LOOP [ROLE] [UNIT] [IDENTITY]`. With IDENTITY, a PEM file with a certificate and its
key, it speaks TLS, with each library's own defaults; the client chooses version, cipher and curve.

A server prints a line of JSON (`port`, `mode`) when it listens,
and serves until its standard input ends. This file imports only the library that it serves with: a peer's process
does not load ours. The roles:

* `echo`: sends back what it reads;
* `receive`: answers each UNIT bytes with one byte;
* `send`: answers each byte with UNIT bytes;
* `batch`: answers each byte with 100 writes of 100 bytes, which it does not await one by one where the library has a
  way to do so; call-backs hand over a list of 100 pieces, which is what a program that gathers them itself would do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    Receive = Callable[[int], Awaitable[bytes]]
    Send = Callable[[bytes], Awaitable[object]]

SIZE = 65536
#: Bytes that one call reads or writes where as much as possible is to be moved.
PIECE = 262144
DATA = b"m" * PIECE
BACKLOG = 4096
WRITES = 100
WRITE = b"m" * 100
ROLES = ("echo", "receive", "send", "batch")


def announce(port: int, mode: str) -> None:
    print(json.dumps({"port": port, "mode": mode}), flush=True)


def mode_of_moorings() -> str:
    from moorings._native_switch import native_mode

    native, reason = native_mode()
    return "compiled" if native else reason


# -- in terms of two calls -------------------------------------------------------------------------------------------


async def echo(_unit: int, receive: Receive, send: Send) -> None:
    while data := await receive(SIZE):
        await send(data)


async def swallow(unit: int, receive: Receive, send: Send) -> None:
    left = unit
    while data := await receive(PIECE):
        left -= len(data)
        if not left:
            left = unit
            await send(b"m")


async def pour(unit: int, receive: Receive, send: Send) -> None:
    while await receive(1):
        for _ in range(unit // PIECE):
            await send(DATA)


async def batch(_unit: int, receive: Receive, send: Send) -> None:
    while await receive(1):
        for _ in range(WRITES):
            await send(WRITE)


#: The roles in terms of two calls; `receive` gives no bytes at the end. Each write is awaited.
CONVERSATIONS = {"echo": echo, "receive": swallow, "send": pour, "batch": batch}


# -- ours ------------------------------------------------------------------------------------------------------------


class WinrtRoles:
    """The roles in terms of WinRT's streams. What a program imports and looks up once, it does here once, too."""

    def __init__(self, unit: int) -> None:
        from moorings import AsyncStatus, Buffer, InputStreamOptions

        self.buffer = Buffer
        self.completed = AsyncStatus.COMPLETED
        self.unit = unit
        self.none = InputStreamOptions.NONE
        self.partial = InputStreamOptions.PARTIAL

    async def echo(self, reader: Any, writer: Any) -> None:
        partial = self.partial
        buffer = self.buffer(SIZE)
        while True:
            await reader.read_async(buffer, SIZE, partial)
            if not buffer.length:
                break
            await writer.write_async(buffer)

    async def receive(self, reader: Any, writer: Any) -> None:
        partial = self.partial
        buffer = self.buffer(PIECE)
        left = self.unit
        while True:
            await reader.read_async(buffer, PIECE, partial)
            if not buffer.length:
                break
            left -= buffer.length
            if not left:
                left = self.unit
                await writer.write_async(b"m")

    async def send(self, reader: Any, writer: Any) -> None:
        request = self.buffer(1)
        while True:
            await reader.read_async(request, 1, self.none)
            if not request.length:
                break
            for _ in range(self.unit // PIECE):
                await writer.write_async(DATA)

    async def batch(self, reader: Any, writer: Any) -> None:
        request = self.buffer(1)
        while True:
            await reader.read_async(request, 1, self.none)
            if not request.length:
                break
            for _ in range(WRITES):
                writer.write_async(WRITE)
            await writer.flush_async()


def certificate_of(identity: str) -> Any:
    from moorings.certificates.certificate import Certificate

    return Certificate.from_pem(Path(identity).read_bytes())


async def serve_moorings(role: str, unit: int, identity: str) -> None:
    """Ours under its WinRT names: the program that moves between Windows and Linux unchanged."""
    from moorings import HostName, StreamSocketListener

    roles = WinrtRoles(unit)
    serve_one = {"echo": roles.echo, "receive": roles.receive, "send": roles.send, "batch": roles.batch}[role]

    async def on_connection(_listener: StreamSocketListener, args: Any) -> None:
        connection = args.socket
        with connection, contextlib.suppress(OSError):
            await serve_one(connection.input_stream, connection.output_stream)

    listener = StreamSocketListener()
    listener.add_connection_received(on_connection)
    if identity:
        listener.control.server_certificate = certificate_of(identity)
    await listener.bind_endpoint_async(HostName("127.0.0.1"), "")
    announce(int(listener.information.local_port), mode_of_moorings())
    await asyncio.Event().wait()


class Conversation:
    """Our call-backs, for one connection: no task, no coroutine. Each call-back starts the next operation.

    What is read stays in one buffer, so the next read begins when the answer has been sent. Whatever ends the
    connection, an error or the end of the stream, closes it.
    """

    def __init__(self, roles: WinrtRoles, connection: Any) -> None:
        self.roles = roles
        self.connection = connection
        self.reader = connection.input_stream
        self.writer = connection.output_stream
        self.left = roles.unit

    def read(self, buffer: Any, count: int, options: Any) -> None:
        self.buffer = buffer
        self.count = count
        self.options = options
        self.go_on()

    def go_on(self) -> None:
        self.reader.read_async(self.buffer, self.count, self.options).completed = self.received

    def write(self, data: Any) -> None:
        self.writer.write_async(data).completed = self.sent

    def received(self, _operation: Any, status: Any) -> None:
        if status == self.roles.completed and self.buffer.length:
            self.answer()
        else:
            self.connection.close()

    def sent(self, _operation: Any, status: Any) -> None:
        if status == self.roles.completed:
            self.go_on()
        else:
            self.connection.close()

    def answer(self) -> None:
        """Echo."""
        self.write(self.buffer)


class ReceivingConversation(Conversation):
    def answer(self) -> None:
        self.left -= self.buffer.length
        if self.left:
            self.go_on()
        else:
            self.left = self.roles.unit
            self.write(b"m")


class SendingConversation(Conversation):
    left_to_send = 0

    def answer(self) -> None:
        self.left_to_send = self.left
        self.write(DATA)

    def sent(self, operation: Any, status: Any) -> None:
        self.left_to_send -= PIECE
        if self.left_to_send > 0 and status == self.roles.completed:
            self.write(DATA)
        else:
            super().sent(operation, status)


class BatchConversation(Conversation):
    def answer(self) -> None:
        for _ in range(WRITES - 1):
            self.writer.write_async(WRITE)
        self.write(WRITE)


async def serve_completed(role: str, unit: int, identity: str) -> None:
    """Ours under its WinRT names with plain handlers: of the listener, and of each operation's `completed`."""
    from moorings import HostName, StreamSocketListener

    roles = WinrtRoles(unit)
    buffer, none, partial = roles.buffer, roles.none, roles.partial

    def echo(connection: Any) -> None:
        Conversation(roles, connection).read(buffer(SIZE), SIZE, partial)

    def receive(connection: Any) -> None:
        ReceivingConversation(roles, connection).read(buffer(PIECE), PIECE, partial)

    def send(connection: Any) -> None:
        SendingConversation(roles, connection).read(buffer(1), 1, none)

    def batch(connection: Any) -> None:
        BatchConversation(roles, connection).read(buffer(1), 1, none)

    begin = {"echo": echo, "receive": receive, "send": send, "batch": batch}[role]

    def on_connection(_listener: StreamSocketListener, args: Any) -> None:
        begin(args.socket)

    listener = StreamSocketListener()
    listener.add_connection_received(on_connection)
    if identity:
        listener.control.server_certificate = certificate_of(identity)
    await listener.bind_endpoint_async(HostName("127.0.0.1"), "")
    announce(int(listener.information.local_port), mode_of_moorings())
    await asyncio.Event().wait()


async def serve_face(role: str, unit: int, identity: str) -> None:
    """Ours under its Python names."""
    import moorings

    converse = CONVERSATIONS[role]

    async def batch(connection: moorings.StreamSocket) -> None:
        while await connection.read(1):
            for _ in range(WRITES):
                connection.write(WRITE)
            await connection.flush()

    async def handle(connection: moorings.StreamSocket) -> None:
        with contextlib.suppress(OSError):
            if role == "batch":
                await batch(connection)
            else:
                await converse(unit, connection.read, connection.write)

    url = f"{'tls' if identity else 'tcp'}://127.0.0.1:0"
    certificate = (identity, identity) if identity else None
    async with moorings.listen(url, handle, certificate=certificate) as listener:
        announce(listener.port, mode_of_moorings())
        await asyncio.Event().wait()


# -- call-backs: asyncio, uvloop, aiofastnet -------------------------------------------------------------------------


class EchoProtocol(asyncio.Protocol):
    """asyncio's call-backs: no task, no await."""

    transport: asyncio.Transport

    def __init__(self, unit: int) -> None:
        self.unit = unit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class ReceiveProtocol(asyncio.BufferedProtocol):
    """Reads into one buffer: nothing is allocated for each read."""

    transport: asyncio.Transport

    def __init__(self, unit: int) -> None:
        self.unit = self.left = unit
        self.buffer = bytearray(PIECE)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # pyright: ignore[reportAttributeAccessIssue]

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - asyncio calls it with an argument
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.left -= nbytes
        if not self.left:
            self.left = self.unit
            self.transport.write(b"m")


class SendProtocol(EchoProtocol):
    """Writes while the transport takes it."""

    def __init__(self, unit: int) -> None:
        super().__init__(unit)
        self.left = 0
        self.paused = False

    def data_received(self, data: bytes) -> None:
        self.left += self.unit * len(data)
        self.go_on()

    def go_on(self) -> None:
        while self.left and not self.paused:
            self.left -= PIECE
            self.transport.write(DATA)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.go_on()


class BatchProtocol(EchoProtocol):
    """Hands all pieces over at once: transports send each write() by itself."""

    def data_received(self, data: bytes) -> None:
        for _ in range(len(data)):
            self.transport.writelines([WRITE] * WRITES)


PROTOCOLS: dict[str, Callable[[int], asyncio.BaseProtocol]] = {
    "echo": EchoProtocol,
    "receive": ReceiveProtocol,
    "send": SendProtocol,
    "batch": BatchProtocol,
}


def server_context(identity: str) -> ssl.SSLContext | None:
    """What the peers speak TLS with; None for TCP."""
    if not identity:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity)
    return context


async def serve_callbacks(role: str, unit: int, identity: str) -> None:
    protocol = PROTOCOLS[role]
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(unit), "127.0.0.1", 0, backlog=BACKLOG, ssl=server_context(identity)
    )
    announce(server.sockets[0].getsockname()[1], "callbacks")
    await asyncio.Event().wait()


async def serve_fast_callbacks(role: str, unit: int, identity: str) -> None:
    """Aiofastnet's transports under the same protocols."""
    import_module("aiofastnet").patch_loop()
    await serve_callbacks(role, unit, identity)


# -- streams: asyncio, uvloop, aiofastnet ----------------------------------------------------------------------------


async def stream_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _unit: int) -> None:
    while data := await reader.read(SIZE):
        writer.write(data)
        await writer.drain()


async def stream_receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, unit: int) -> None:
    left = unit
    while data := await reader.read(PIECE):
        left -= len(data)
        if not left:
            left = unit
            writer.write(b"m")


async def stream_send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, unit: int) -> None:
    while await reader.read(1):
        for _ in range(unit // PIECE):
            writer.write(DATA)
            await writer.drain()


async def stream_batch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _unit: int) -> None:
    while await reader.read(1):
        for _ in range(WRITES):
            writer.write(WRITE)
        await writer.drain()


STREAMS: dict[str, Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]] = {
    "echo": stream_echo,
    "receive": stream_receive,
    "send": stream_send,
    "batch": stream_batch,
}


async def serve_streams(role: str, unit: int, identity: str) -> None:
    serve_one = STREAMS[role]

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve_one(reader, writer, unit)
        except OSError:
            pass
        finally:
            writer.close()

    limit = PIECE if role == "receive" else SIZE
    server = await asyncio.start_server(
        handle, "127.0.0.1", 0, backlog=BACKLOG, limit=limit, ssl=server_context(identity)
    )
    announce(server.sockets[0].getsockname()[1], "streams")
    await asyncio.Event().wait()


async def serve_fast_streams(role: str, unit: int, identity: str) -> None:
    """Aiofastnet's transports under asyncio's streams."""
    import_module("aiofastnet").patch_loop()
    await serve_streams(role, unit, identity)


# -- anyio and trio --------------------------------------------------------------------------------------------------


async def serve_anyio(role: str, unit: int, identity: str) -> None:
    anyio = import_module("anyio")
    converse = CONVERSATIONS[role]

    async def handle(stream: Any) -> None:
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError):
            async with stream:
                await converse(unit, stream.receive, stream.send)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=BACKLOG)
    announce(listener.extra(anyio.abc.SocketAttribute.local_port), "anyio")
    if identity:
        listener = anyio.streams.tls.TLSListener(listener, server_context(identity))
    await listener.serve(handle)


def run_trio(role: str, unit: int, identity: str) -> None:
    trio = import_module("trio")
    converse = CONVERSATIONS[role]

    async def handle(stream: Any) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await converse(unit, stream.receive_some, stream.send_all)

    async def main() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=BACKLOG)
        announce(listeners[0].socket.getsockname()[1], "trio")
        if identity:
            listeners = [trio.SSLListener(listener, server_context(identity)) for listener in listeners]
        await trio.serve_listeners(handle, listeners)

    def watch() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    trio.run(main)


# -- the program -----------------------------------------------------------------------------------------------------

KINDS: dict[str, Callable[[str, int, str], Awaitable[None]]] = {
    "moorings": serve_moorings,
    "completed": serve_completed,
    "face": serve_face,
    "callbacks": serve_callbacks,
    "streams": serve_streams,
    "aiofastnet-callbacks": serve_fast_callbacks,
    "aiofastnet-streams": serve_fast_streams,
    "anyio": serve_anyio,
}


def end_with_input() -> None:
    """End at once when standard input ends; what a server left open is of no interest then."""
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), os._exit, 0)


def run(serving: Coroutine[Any, Any, None], loop: str) -> None:
    """Serve on this kind of loop."""
    if loop == "uvloop":
        import_module("uvloop").run(serving)
    else:
        asyncio.run(serving)


async def serve(kind: str, role: str, unit: int, identity: str) -> None:
    end_with_input()
    await KINDS[kind](role, unit, identity)


def main(kind: str, loop: str, role: str = "echo", unit: str = "0", identity: str = "") -> None:
    if role not in ROLES:
        sys.exit(f"servers.py: no role {role}")
    if kind == "trio":
        run_trio(role, int(unit), identity)
    elif kind == "anyio":
        options = {"use_uvloop": loop == "uvloop"}
        arguments = (serve, kind, role, int(unit), identity)
        import_module("anyio").run(*arguments, backend="asyncio", backend_options=options)
    else:
        run(serve(kind, role, int(unit), identity), loop)


if __name__ == "__main__":
    main(*sys.argv[1:])
