"""A WebSocket client that stays: after each loss it connects anew, and gives up where that is of no use.

Shows: `moorings.reconnecting`, why a connection was lost, and a block that ends quietly with its connection.

Run:    python examples/reconnecting_client.py [URL]     (Ctrl-C ends it; default ws://127.0.0.1:1337/chat/client)
Prints: connected, what the server sends, why a connection was lost
"""

import asyncio
import sys
from contextlib import suppress

import moorings


async def main(url: str) -> None:
    async with moorings.reconnecting(url, timeout=10, base=0.5, cap=30) as connections:
        async for web_socket in connections:
            if connections.last_loss is not None:
                print("lost:", connections.last_loss, flush=True)
            print("connected", flush=True)
            with connections.until_lost():
                await web_socket.send("hello")
                async for message in web_socket:
                    print("received:", message, flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:1337/chat/client"))
