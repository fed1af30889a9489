"""A protocol of text lines: `ADD 1 2` is answered with `3`. Server and client in one program.

Shows: `read_until` with a limit for the line, a time limit for the patience, an answer to every mistake a client can
make, and `lines()` on the other side.

Run:    python examples/line_protocol.py
Prints: the requests with their answers
"""

import asyncio
from contextlib import suppress

import moorings

LONGEST_LINE = 100
PATIENCE = 30.0


def answer(request: str) -> str:
    match request.split():
        case ["ADD", *numbers] if numbers:
            try:
                return str(sum(map(int, numbers)))
            except ValueError:
                return "ERROR only whole numbers can be added"
        case _:
            return "ERROR write: ADD number number..."


async def converse(connection: moorings.StreamSocket) -> None:
    try:
        while True:
            async with asyncio.timeout(PATIENCE):
                line = await connection.read_until(b"\n", limit=LONGEST_LINE)
            await connection.write(answer(line.decode("ascii", "replace")).encode() + b"\n")
    except asyncio.IncompleteReadError:
        pass  # the client has ended its side
    except asyncio.LimitOverrunError:
        await connection.write(b"ERROR the line is too long\n")
    except TimeoutError:
        await connection.write(b"ERROR nothing heard for a while\n")


async def main() -> None:
    async with (
        moorings.listen("tcp://127.0.0.1:0", converse) as server,
        await moorings.connect(f"tcp://127.0.0.1:{server.port}", timeout=5) as connection,
    ):
        requests = ["ADD 1 2", "ADD 1 two", "PLEASE", "ADD 20 20 2"]
        for request in requests:
            connection.write(request.encode() + b"\n")  # not awaited: all of them go out together
        connection.end_writing()
        answers = [line.decode() async for line in connection.lines()]
        for request, reply in zip(requests, answers, strict=True):
            print(f"{request:11} -> {reply}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
