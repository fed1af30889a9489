"""Ask many servers at the same time, some at a time, each with a time limit; failures are results.

Shows: `asyncio.TaskGroup` and a semaphore around `connect`, as a crawler or a health check has them. Cancelling the
group, by Ctrl-C for example, ends every connection attempt and leaves no descriptor behind.

Run:    python examples/many_connects.py
Prints: how many servers answered, and what became of the others
"""

import asyncio
import socket
from collections import Counter
from contextlib import AsyncExitStack, suppress

import moorings

SERVERS = 20
VISITS = 200
AT_ONCE = 50
PATIENCE = 5.0


async def greet(connection: moorings.StreamSocket) -> None:
    await connection.write(b"220 ready\n")


async def visit(port: int, gate: asyncio.Semaphore) -> str:
    """The result of one visit: what the server said, or what went wrong."""
    async with gate:
        try:
            async with asyncio.timeout(PATIENCE), await moorings.connect(f"tcp://127.0.0.1:{port}") as connection:
                return (await connection.read_until(b"\n", limit=100)).decode().strip()
        except OSError as error:
            status = getattr(error, "status", None)  # the limit of asyncio.timeout has none
            return status.name if status is not None else type(error).__name__
        except asyncio.IncompleteReadError:
            return "hung up"


async def main() -> None:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(moorings.listen("tcp://127.0.0.1:0", greet)) for _ in range(SERVERS)]
        closed = stack.enter_context(socket.socket())  # a port where nobody listens
        closed.bind(("127.0.0.1", 0))
        ports = [server.port for server in servers[1:]] + [closed.getsockname()[1]]
        gate = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            visits = [group.create_task(visit(ports[number % len(ports)], gate)) for number in range(VISITS)]
        for result, count in sorted(Counter(task.result() for task in visits).items()):
            print(f"{count:4} {result}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
