"""As many bytes as one likes go through a StreamWebSocket in the same memory.

64 MiB each way; with MOORINGS_COMPLIANCE=all, as `make compliance` sets it, 1 GiB.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from tests.protocols.frames import EVERYTHING
from tests.sockets.stream_web_socket_pairs import TRANSPORTS

ROOT = Path(__file__).parents[2]
COUNT = 1 << 30 if EVERYTHING else 1 << 26
#: Bytes by which the peak may rise behind the first sixteenth of the transfer: what allocators do, and no more.
SLACK = 1 << 23
PATIENCE = 600.0


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_memory_does_not_grow_with_the_bytes(transport: str, direction: str) -> None:
    async def run() -> bytes:
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.sockets.stream_web_socket_program",
            transport,
            direction,
            str(COUNT),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        async with asyncio.timeout(PATIENCE):
            told, _ = await program.communicate()
        assert program.returncode == 0
        return told

    told = json.loads(asyncio.run(run()))
    assert told["size"] == COUNT
    assert told["received"] == told["sent"]
    assert 0 < told["early"]
    assert told["peak"] - told["early"] <= SLACK, told
