"""What a failed connect tells: the class, the reason, and every address that was tried.

Shows: the exception of `moorings.connect`. `localhost` stands for an IPv4 and an IPv6 address; both are tried, the
second one as soon as the first has failed (RFC 8305).

Run:    python examples/connect_errors.py
Prints: the failures of a port where nobody listens and of a name that nobody has
"""

import asyncio
import socket
from contextlib import suppress

import moorings


async def show(url: str) -> None:
    try:
        async with moorings.connect(url, timeout=10):
            print("connected")
    except OSError as error:
        print(
            "class: ", next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ in {"builtins", "socket"})
        )
        print("status:", error.status.name)
        print("reason:", error.reason)
        for attempt in getattr(error, "attempts", ()):
            print(f"    {attempt.address} after {attempt.elapsed * 1000:.1f} ms: {attempt.error.strerror}")


async def main() -> None:
    with socket.socket() as reserved:  # bound and not listening: nobody else gets the port
        reserved.bind(("127.0.0.1", 0))
        await show(f"tcp://localhost:{reserved.getsockname()[1]}")
    await show("tcp://no-such-host.invalid:80")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
