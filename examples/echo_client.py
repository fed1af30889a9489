"""A client of the echo server, with a time limit for everything it waits for.

Shows: `moorings.connect` with a timeout, `async with`, reading an exact number of bytes, and failures as one line.

Run:    python examples/echo_client.py [PORT [WORD...]]     (needs examples/echo_server.py)
Prints: hello, and why the connection ended
"""

import asyncio
import sys

import moorings


async def main(port: int, text: str) -> None:
    data = text.encode()
    async with moorings.connect(f"tcp://127.0.0.1:{port}", timeout=5) as connection:
        await connection.write(data)
        async with asyncio.timeout(5):
            echo = await connection.read_exactly(len(data))
        print(echo.decode())
    print(connection.end_reason.name)


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1337, " ".join(sys.argv[2:]) or "hello"))
    except (OSError, asyncio.IncompleteReadError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
