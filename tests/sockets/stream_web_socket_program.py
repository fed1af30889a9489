"""Bytes through a StreamWebSocket in a process of its own, which tells how much memory that took.

`python -m tests.sockets.stream_web_socket_program TRANSPORT DIRECTION COUNT` prints, as JSON, the checksums of what was
sent and of what came, and the peaks of resident memory in bytes, after a sixteenth of the bytes and at the end.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import zlib
from pathlib import Path
from typing import Any

from tests.sockets.stream_web_socket_pairs import pair_over

PIECES = [random.Random(number).randbytes(200_000 + 1_000 * number) for number in range(16)]


def peak_memory() -> int:
    """Bytes that were resident at once, at most. Source: proc_pid_status(5)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def send(stream: Any, count: int) -> int:
    """Send `count` bytes; their checksum."""
    checksum = 0
    while count > 0:
        for piece in PIECES:
            part = piece[:count]
            checksum = zlib.crc32(part, checksum)
            await stream.write(part)
            count -= len(part)
    await stream.flush()
    stream.close()
    return checksum


async def receive(stream: Any, early: int) -> tuple[int, int, int]:
    """Read to the end: the checksum, how much it was, and the peak of memory after `early` bytes."""
    checksum = size = peak = 0
    while data := await stream.read():
        checksum = zlib.crc32(data, checksum)
        size += len(data)
        if not peak and size >= early:
            peak = peak_memory()
    return checksum, size, peak


async def main(transport: str, direction: str, count: int) -> None:
    """Send one way, look at memory, and tell."""
    async with pair_over(transport) as (client, server):
        one, other = (client, server) if direction == "up" else (server, client)
        sent, (received, size, early) = await asyncio.gather(send(one, count), receive(other, count // 16))
    told = {"sent": sent, "received": received, "size": size, "early": early, "peak": peak_memory()}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
