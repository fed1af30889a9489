"""Reading into a Buffer of which the program holds a view, so that its memory must not move."""

from __future__ import annotations

import asyncio
import random
import sys
from contextlib import AsyncExitStack

import pytest
from tests.engine.pairs import PATIENCE, socket_pair, until
from tests.engine.tls_pairs import tls_pair

from moorings import Buffer, InputStreamOptions, native_mode

#: Only up to 3.11, and only in pure Python, the memory of a Buffer cannot grow while it is viewed.
CAN_GROW = native_mode()[0] or sys.version_info >= (3, 12)
#: Less than a TLS record.
PIECE = 5_000
transports = pytest.mark.parametrize("transport", ["TCP", "TLS 1.2", "TLS 1.3"])


@transports
@pytest.mark.parametrize("options", [InputStreamOptions.PARTIAL, InputStreamOptions.NONE])
async def test_a_viewed_buffer(transport: str, options: InputStreamOptions) -> None:
    """The read ends, with the bytes or with an error behind which nothing is lost."""
    pieces = 1 if options == InputStreamOptions.PARTIAL else 3
    data = random.Random(pieces).randbytes(pieces * PIECE)
    async with AsyncExitStack() as stack, asyncio.timeout(PATIENCE):
        pair = socket_pair() if transport == "TCP" else tls_pair(transport)
        one, other = await stack.enter_async_context(pair)
        buffer = Buffer(200_000)
        buffer.length = 10
        with memoryview(buffer) as view:
            reading = other.input_stream.read_async(buffer, len(data), options)
            for end in range(PIECE, len(data) + 1, PIECE):
                await one.write(data[end - PIECE : end])
                await until(lambda end=end: other.counters.bytes_received == end)  # type: ignore[misc]
            if CAN_GROW:
                assert bytes(await reading) == data
                assert bytes(view) == bytes(10)  # the old memory
            else:
                with pytest.raises(BufferError):
                    await reading
        if not CAN_GROW:
            assert await other.read_exactly(len(data)) == data
