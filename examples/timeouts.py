"""Time limits: for a connect, for one read, for a whole conversation. None of them loses a byte.

Shows: `connect(timeout=...)`; `asyncio.timeout` around a read, which leaves the connection as it was; one deadline for
several steps.

Run:    python examples/timeouts.py
Prints: what ran out of time, and that nothing was lost
"""

import asyncio
from contextlib import suppress

import moorings


async def main() -> None:
    go_on = asyncio.Event()

    async def slow(connection: moorings.StreamSocket) -> None:
        """Sends half an answer, and the rest when it is told to."""
        await connection.write(b"half an ")
        await go_on.wait()
        await connection.write(b"answer\n")
        while await connection.read():  # says no more, until the client ends
            pass

    async with (
        moorings.listen("tcp://127.0.0.1:0", slow) as server,
        # One limit for the look-up, all addresses and the connect itself.
        await moorings.connect(f"tcp://127.0.0.1:{server.port}", timeout=5) as connection,
    ):
        try:
            async with asyncio.timeout(0.1):
                await connection.read_until(b"\n")
        except TimeoutError:
            print("the answer took too long;", connection.counters.unread_bytes, "bytes of it are kept")

        go_on.set()
        print("read again:", await connection.read_until(b"\n"))

        # One deadline for several steps.
        try:
            async with asyncio.timeout(0.1):
                await connection.write(b"and now?\n")
                print("got", await connection.read_exactly(1000))
        except TimeoutError:
            print("the conversation took too long")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
