"""An echo server: every client gets back what it sends.

Shows: `moorings.listen` with a handler for each connection. Awaiting a write is the back-pressure: a client that does
not read is not read from either.

Run:    python examples/echo_server.py [PORT]          (Ctrl-C ends it)
Then:   python examples/echo_client.py [PORT] hello
Prints: listening on port 1337
"""

import asyncio
import sys
from contextlib import suppress

import moorings


async def echo(connection: moorings.StreamSocket) -> None:
    while data := await connection.read():
        await connection.write(data)


async def main(port: int) -> None:
    async with moorings.listen(f"tcp://127.0.0.1:{port}", echo) as server:
        print("listening on port", server.port, flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1337))
