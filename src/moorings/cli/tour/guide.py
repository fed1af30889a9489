"""One server and one client as in Microsoft's "Sockets" guide: a program for Windows reads the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from moorings import DataReader, DataWriter, HostName, StreamSocket, StreamSocketListener
from moorings.cli.tour.common import LOCALHOST, DemoError

if TYPE_CHECKING:
    from moorings.cli.console import Console
    from moorings.cli.tour.common import Facts, Options


async def receive_text(reader: DataReader) -> str:
    """A string that comes behind its length in bytes; "" at the end of the stream."""
    if await reader.load_async(4) < 4:
        return ""
    size = reader.read_uint32()
    await reader.load_async(size)
    return reader.read_string(size)


async def send_text(writer: DataWriter, text: str) -> None:
    """A string, behind its length in bytes."""
    writer.write_uint32(writer.measure_string(text))
    writer.write_string(text)
    await writer.store_async()


async def guide(console: Console, _options: Options) -> Facts:
    """The echo of the guide: "Hello, World!" there and back."""
    served = asyncio.Event()

    async def on_connection(_listener: StreamSocketListener, args: Any) -> None:
        with args.socket as connection:
            remote = connection.information
            console.say("server", f"connection received from {remote.remote_address} port {remote.remote_port}")
            with DataReader(connection.input_stream) as reader, DataWriter(connection.output_stream) as writer:
                request = await receive_text(reader)
                console.say("server", f'read "{request}"')
                await send_text(writer, request)
                console.say("server", f'sent back "{request}"')
        console.say("server", "closed its socket")
        served.set()

    with StreamSocketListener() as listener:
        listener.add_connection_received(on_connection)
        console.say("server", f"binding to {LOCALHOST}, the system picks the port")
        await listener.bind_endpoint_async(HostName(LOCALHOST), "")
        port = listener.information.local_port
        console.say("server", f"listening on port {port}")
        response = await talk(console, port)
        await served.wait()
    console.say("server", "stopped listening")
    return {"echo": response}


async def talk(console: Console, port: str) -> str:
    """The client of the guide; what came back."""
    with StreamSocket() as client:
        console.say("client", f"connecting to {LOCALHOST} port {port}")
        await client.connect_async(HostName(LOCALHOST), port)
        console.say("client", f"connected from port {client.information.local_port}")
        request = "Hello, World!"
        with DataReader(client.input_stream) as reader, DataWriter(client.output_stream) as writer:
            await send_text(writer, request)
            console.say("client", f'sent "{request}"')
            response = await receive_text(reader)
            console.say("client", f'received "{response}"')
        if response != request:
            raise DemoError(f"the echo differs: {response!r}")
    console.say("client", "closed its socket")
    return response
