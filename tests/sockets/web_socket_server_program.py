"""A small WebSocket server that drains at SIGTERM: prints its port, and in the end its report and what was told.

Run as `python web_socket_server_program.py SECONDS LOOP`.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

import moorings


async def echo(web_socket: Any) -> None:
    async for message in web_socket:
        await web_socket.send(message)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main(seconds: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with moorings.listen("ws://127.0.0.1:0", echo) as server:
        say(str(server.port))
        await stop.wait()
        report = await server.drain(seconds, reason="restart")
        say(json.dumps(report._asdict()))


if __name__ == "__main__":
    if sys.argv[2] == "uvloop":
        import uvloop

        uvloop.run(main(float(sys.argv[1])))
    else:
        asyncio.run(main(float(sys.argv[1])))
