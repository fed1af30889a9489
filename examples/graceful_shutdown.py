"""A server that ends well: on Ctrl-C or `kill` it stops accepting, lets its clients finish, and counts.

Shows: signals, leaving the block of `moorings.listen`, the drain with its deadline, and the report.

Run:    python examples/graceful_shutdown.py [PORT [SECONDS]]     (SECONDS for the clients to finish, default 10)
Prints: listening on port 1337, and how it ended
"""

import asyncio
import signal
import sys

import moorings


async def work(connection: moorings.StreamSocket) -> None:
    """Answer lines until the client ends its side."""
    async for line in connection.lines():
        await connection.write(line.upper() + b"\n")


async def main(port: int, patience: float) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with moorings.listen(f"tcp://127.0.0.1:{port}", work, drain_timeout=patience) as server:
        print("listening on port", server.port, flush=True)
        await stop.wait()
        print(f"stopping, {server.open_connections} clients are connected", flush=True)
    report = server.report
    assert report is not None
    print(f"accepted {report.accepted} in all; at the end {report.finished} finished, {report.aborted} were cut off")


if __name__ == "__main__":
    asyncio.run(
        main(*(int(sys.argv[1]) if len(sys.argv) > 1 else 1337, float(sys.argv[2]) if len(sys.argv) > 2 else 10))
    )
