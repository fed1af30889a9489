"""Send files over TCP, with progress and a checksum.

Shows: a header line in front of bytes, a transfer whose memory stays the same however big the file is, blocking file
calls in threads, progress from the connection's own counters, and a receiver that believes nothing it is told: the name
is a plain name, the size has a limit, and a file that did not arrive whole is never seen under its name.

Run:    python examples/file_transfer.py receive DIRECTORY [PORT]     (Ctrl-C ends it)
Then:   python examples/file_transfer.py send FILE [PORT]
Prints: what was received or sent; progress goes to standard error
"""

import asyncio
import hashlib
import sys
from contextlib import suppress
from pathlib import Path

import moorings

BLOCK = 256 * 1024
BIGGEST_FILE = 10 << 30
PATIENCE = 30.0


async def receive_file(connection: moorings.StreamSocket, directory: Path) -> None:
    """One file: a line with size and name, the bytes, and our answer, a line with the checksum."""
    async with asyncio.timeout(PATIENCE):
        header = (await connection.read_until(b"\n", limit=500)).decode().rstrip("\n")
    size_text, _, name = header.partition(" ")
    if not size_text.isascii() or not size_text.isdecimal() or int(size_text) > BIGGEST_FILE:
        raise ValueError(f"the size {size_text[:20]!r} is no number, or too big")
    if not name or name != Path(name).name or name.startswith("."):
        raise ValueError(f"{name!r} is no plain file name")
    left = int(size_text)
    digest = hashlib.sha256()
    partial = directory / f".{name}.{connection.information.remote_port}.part"
    try:
        with partial.open("wb") as file:
            while left:
                async with asyncio.timeout(PATIENCE):
                    data = await connection.read(min(left, BLOCK))
                if not data:
                    raise EOFError(f"{name}: the connection ended {left} bytes too early")
                left -= len(data)
                digest.update(data)
                await asyncio.to_thread(file.write, data)
        partial.replace(directory / name)
    finally:
        partial.unlink(missing_ok=True)
    await connection.write(f"{digest.hexdigest()}\n".encode())
    print(f"received {name}, {size_text} bytes", flush=True)


async def receive(directory: Path, port: int) -> None:
    async def handle(connection: moorings.StreamSocket) -> None:
        try:
            await receive_file(connection, directory)
        except (OSError, EOFError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            print(f"failed: {error}", file=sys.stderr, flush=True)
            connection.abort()

    async with moorings.listen(f"tcp://127.0.0.1:{port}", handle, max_connections=20) as server:
        print("listening on port", server.port, flush=True)
        await server.serve_forever()


async def show_progress(connection: moorings.StreamSocket, size: int) -> None:
    """A line that is written over itself on a terminal; nothing elsewhere."""
    while sys.stderr.isatty():
        done = connection.counters.bytes_sent
        rate = connection.information.bandwidth_statistics.outbound_bits_per_second
        print(f"\r{done / max(size, 1):6.1%} of {size} bytes, {rate / 1e6:,.0f} Mbit/s ", end="", file=sys.stderr)
        await asyncio.sleep(0.2)


async def send(path: Path, port: int) -> None:
    size = (await asyncio.to_thread(path.stat)).st_size
    digest = hashlib.sha256()
    async with moorings.connect(f"tcp://127.0.0.1:{port}", timeout=5) as connection:
        progress = asyncio.create_task(show_progress(connection, size))
        try:
            connection.write(f"{size} {path.name}\n".encode())  # goes out together with the first block
            with path.open("rb") as file:
                while block := await asyncio.to_thread(file.read, BLOCK):
                    digest.update(block)
                    async with asyncio.timeout(PATIENCE):
                        await connection.write(block)
            async with asyncio.timeout(PATIENCE):
                answer = await connection.read_until(b"\n", limit=100)
        finally:
            progress.cancel()
    if answer.decode().strip() != digest.hexdigest():
        raise ValueError("the checksum differs: what arrived is not what was sent")
    print(f"sent {path.name}, {size} bytes, checksum right")


def main(arguments: list[str]) -> None:
    match arguments:
        case ["receive", directory, *port] if len(port) < 2 and Path(directory).is_dir():
            asyncio.run(receive(Path(directory), int(port[0]) if port else 1337))
        case ["send", file, *port] if len(port) < 2:
            asyncio.run(send(Path(file), int(port[0]) if port else 1337))
        case _:
            sys.exit("usage: file_transfer.py receive DIRECTORY [PORT] | send FILE [PORT]")


if __name__ == "__main__":
    try:
        with suppress(KeyboardInterrupt):
            main(sys.argv[1:])
    except (OSError, ValueError, asyncio.IncompleteReadError) as failure:
        sys.exit(f"{type(failure).__name__}: {failure}")
