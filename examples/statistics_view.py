"""A live view of one connection under load: round trip time, bandwidth, queues, system calls.

Shows: `connection.information` and `connection.counters`, which cost a system call or nothing and can be read at any
time, from any task.

Run:    python examples/statistics_view.py [SECONDS]     (default 5)
Prints: a line every half second; on a terminal it is written over
"""

import asyncio
import sys
from contextlib import suppress

import moorings


async def swallow(connection: moorings.StreamSocket) -> None:
    while await connection.read(256 * 1024):
        pass


async def load(connection: moorings.StreamSocket) -> None:
    block = bytes(256 * 1024)
    while True:
        await connection.write(block)


def view(connection: moorings.StreamSocket) -> str:
    times = connection.information.round_trip_time_statistics
    width = connection.information.bandwidth_statistics
    counters = connection.counters
    return (
        f"RTT {times.sum:6,} µs (min {times.min:,}, max {times.max:,})   "
        f"out {width.outbound_bits_per_second / 1e6:8,.0f} Mbit/s   "
        f"sent {counters.bytes_sent / 1e6:8,.0f} MB in {counters.send_calls:,} calls   "
        f"queued {counters.queued_bytes:,}"
    )


async def main(seconds: float) -> None:
    end = "\r" if sys.stdout.isatty() else "\n"
    async with (
        moorings.listen("tcp://127.0.0.1:0", swallow) as server,
        await moorings.connect(f"tcp://127.0.0.1:{server.port}", timeout=5) as connection,
    ):
        busy = asyncio.create_task(load(connection))
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await asyncio.sleep(0.5)
                    print(view(connection), end=end, flush=True)
        except TimeoutError:
            pass
        finally:
            busy.cancel()  # before the connection ends under it
            await asyncio.wait([busy])
    print(view(connection))  # the numbers stay after the end
    print("ended:", connection.end_reason.name)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 5))
