"""Take over connections that asyncio has accepted.

Shows: `moorings.adopt` on a `StreamWriter`, with no byte lost: what asyncio has read already comes first. A program can
move to Moorings handler by handler.

Run:    python examples/adopt_asyncio.py
Prints: what asyncio read, what the adopted connection read, and the round trip time that asyncio could not tell
"""

import asyncio
from contextlib import suppress

import moorings


async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let asyncio read the first line; the rest of the conversation is ours."""
    print("asyncio read:", await reader.readline())
    async with await moorings.adopt(writer) as connection:
        async for line in connection.lines():
            print("adopted, read:", line)
            await connection.write(b"got " + line + b"\n")
        print("round trip time known:", connection.information.round_trip_time_statistics.sum > 0)


async def main() -> None:
    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, await moorings.connect(f"tcp://127.0.0.1:{port}", timeout=5) as client:
        await client.write(b"first\nsecond\nthird\n")  # asyncio reads all of it, and hands on what it does not need
        client.end_writing()
        async for line in client.lines():
            print("client read:", line)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
