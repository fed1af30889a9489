"""Many small writes in one system call.

Shows: a write that is not awaited is sent at the end of the loop turn, together with the others; one that is awaited is
sent at once, with everything queued before it. `counters.send_calls` tells the difference.

Run:    python examples/batching.py
Prints: how many system calls 100 messages took, each way
"""

import asyncio
from contextlib import suppress

import moorings

MESSAGES = [f"message {number}\n".encode() for number in range(100)]


async def swallow(connection: moorings.StreamSocket) -> None:
    while await connection.read():
        pass


async def main() -> None:
    async with (
        moorings.listen("tcp://127.0.0.1:0", swallow) as server,
        await moorings.connect(f"tcp://127.0.0.1:{server.port}", timeout=5) as connection,
    ):
        before = connection.counters.send_calls
        for message in MESSAGES:
            await connection.write(message)
        print("each write awaited:", connection.counters.send_calls - before, "system calls")

        before = connection.counters.send_calls
        for message in MESSAGES:
            connection.write(message)
        await connection.flush()  # the back-pressure, and the place where a failure is raised
        print("one flush for all:", connection.counters.send_calls - before, "system call")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
