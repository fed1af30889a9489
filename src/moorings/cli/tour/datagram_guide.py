"""One UDP server and one client as in Microsoft's "Sockets" guide: a program for Windows reads the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from moorings import DatagramSocket, DataWriter, HostName
from moorings.cli.tour.common import LOCALHOST, DemoError

if TYPE_CHECKING:
    from moorings import DatagramSocketMessageReceivedEventArgs as Args
    from moorings.cli.console import Console
    from moorings.cli.tour.common import Facts, Options
    from moorings.streams.interfaces import IOutputStream


def text_of(args: Args) -> str:
    """What a datagram says."""
    reader = args.get_data_reader()
    return reader.read_string(reader.unconsumed_buffer_length)


async def send_text(stream: IOutputStream, text: str) -> None:
    """A string as one datagram."""
    writer = DataWriter(stream)
    writer.write_string(text)
    await writer.store_async()
    writer.detach_stream()


async def datagram_guide(console: Console, _options: Options) -> Facts:
    """The echo of the guide: "Hello, World!" there and back, a datagram each way."""

    async def on_server_message(server: DatagramSocket, args: Args) -> None:
        request = text_of(args)
        console.say("server", f'received "{request}" from {args.remote_address} port {args.remote_port}')
        stream = await server.get_output_stream_async(args.remote_address, args.remote_port)
        await send_text(stream, request)
        console.say("server", f'sent back "{request}"')

    with DatagramSocket() as server:
        server.add_message_received(on_server_message)
        console.say("server", f"binding to {LOCALHOST}, the system picks the port")
        await server.bind_endpoint_async(HostName(LOCALHOST), "")
        port = server.information.local_port
        console.say("server", f"bound to port {port}; UDP has nothing to accept")
        response = await talk(console, port)
    console.say("server", "closed its socket")
    return {"echo": response}


async def talk(console: Console, port: str) -> str:
    """The client of the guide; what came back."""
    received: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_client_message(_client: DatagramSocket, args: Args) -> None:
        if not received.done():
            received.set_result(text_of(args))

    with DatagramSocket() as client:
        client.add_message_received(on_client_message)
        await client.connect_async(HostName(LOCALHOST), port)
        console.say("client", f"bound to port {client.information.local_port}, and will hear nobody but port {port}")
        request = "Hello, World!"
        await send_text(client.output_stream, request)
        console.say("client", f'sent "{request}"')
        response = await received
        console.say("client", f'received "{response}"')
        if response != request:
            raise DemoError(f"the echo differs: {response!r}")
    console.say("client", "closed its socket")
    return response
