"""Server and client with WinRT's names: this source runs on Windows with PyWinRT and on Linux with Moorings.

Shows: the packages `winrt.windows...`, a `connection_received` handler that works on both, strings with a length in
front, and errors by status.

Run:    python examples/portable.py
Prints: the echo of a greeting, and the status of a failed connect
"""

import asyncio

from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import SocketError, StreamSocket, StreamSocketListener
from winrt.windows.storage.streams import DataReader, DataWriter

LOCALHOST = HostName("127.0.0.1")


async def send_text(writer: DataWriter, text: str) -> None:
    writer.write_uint32(writer.measure_string(text))
    writer.write_string(text)
    await writer.store_async()


async def receive_text(reader: DataReader) -> str:
    if await reader.load_async(4) < 4:
        return ""
    size = reader.read_uint32()
    return reader.read_string(await reader.load_async(size))


async def serve(connection: StreamSocket) -> None:
    with connection, DataReader(connection.input_stream) as reader, DataWriter(connection.output_stream) as writer:
        while text := await receive_text(reader):
            await send_text(writer, text)


async def main() -> None:
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []

    def on_connection(_listener: StreamSocketListener, args) -> None:
        # Windows calls this on a thread of its own, Moorings on the loop; this line is right for both.
        connection = args.socket
        loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(serve(connection))))

    with StreamSocketListener() as listener:
        listener.add_connection_received(on_connection)
        await listener.bind_endpoint_async(LOCALHOST, "")
        port = listener.information.local_port
        with StreamSocket() as client:
            await client.connect_async(LOCALHOST, port)
            with DataReader(client.input_stream) as reader, DataWriter(client.output_stream) as writer:
                await send_text(writer, "Hello, World!")
                print(await receive_text(reader))
    await asyncio.gather(*tasks)

    with StreamSocket() as client:
        try:
            await client.connect_async(LOCALHOST, port)
        except OSError as error:
            print(SocketError.get_status(error.winerror).name)


if __name__ == "__main__":
    asyncio.run(main())
