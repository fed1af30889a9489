"""A chat server: a line that one client sends goes to all others.

Shows: broadcasting with writes that nobody awaits, so that a client that does not read holds up nobody; a limit on what
may pile up for it; and what happens when the limit is reached: that client, and only that one, is cut off.

Run:    python examples/chat_server.py [PORT]     (Ctrl-C ends it; talk to it with several `nc 127.0.0.1 1337`)
Prints: listening on port 1337, then who comes and goes
"""

import asyncio
import sys
from contextlib import suppress

import moorings

LONGEST_LINE = 1000
QUEUE_LIMIT = 1 << 20


class Chat:
    """The room: who is in it."""

    def __init__(self) -> None:
        self.people: dict[moorings.StreamSocket, str] = {}

    async def enter(self, connection: moorings.StreamSocket) -> None:
        """The handler of one connection, until it ends."""
        name = f"guest {connection.information.remote_port}"
        connection.limits.write_queue_limit = QUEUE_LIMIT
        self.people[connection] = name
        self.tell(f"{name} has come", connection)
        try:
            async for line in connection.lines(LONGEST_LINE):
                self.tell(f"{name}: {line.decode(errors='replace')}", connection)
        except asyncio.LimitOverrunError:
            await connection.write(b"* that line was too long\n")
        except OSError:
            pass  # reset by the client, or cut off by `tell`
        finally:
            del self.people[connection]
            self.tell(f"{name} has gone ({connection.end_reason.name})", connection)

    def tell(self, text: str, sender: moorings.StreamSocket) -> None:
        """Give a line to everybody but its sender, without waiting for anybody."""
        if text.startswith("guest") and ": " not in text:
            print(text, flush=True)
        for connection in list(self.people):
            if connection is not sender:
                try:
                    connection.write(text.encode() + b"\n")
                except OSError:  # it has gone, or more than QUEUE_LIMIT bytes wait for it
                    connection.abort()


async def main(port: int) -> None:
    chat = Chat()
    async with moorings.listen(f"tcp://127.0.0.1:{port}", chat.enter, max_connections=1000) as server:
        print("listening on port", server.port, flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1337))
