"""A chat room over WebSockets: what one says goes to all others, browsers among them.

Shows: a path with a name in it, one frame for all members of a room, and a member that does not keep up being closed.

Run:    python examples/chat_room.py [PORT]     (Ctrl-C ends it; talk with `moorings connect ws://127.0.0.1:1337/chat/ann`)
Prints: listening on port 1337
"""

import asyncio
import sys
from contextlib import suppress

import moorings

room = moorings.Broadcaster(overflow="close")


async def chat(web_socket: moorings.ServerMessageWebSocket) -> None:
    name = web_socket.information.request.parameters["name"]
    room.send(f"{name} has come")
    try:
        with room.joined(web_socket):
            async for message in web_socket:
                room.send(f"{name}: {message}", without=[web_socket])
    finally:
        room.send(f"{name} has gone")


async def main(port: int) -> None:
    async with moorings.listen(f"ws://127.0.0.1:{port}/chat/{{name}}", chat) as server:
        print("listening on port", server.port, flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1337))
