"""Datagrams that are bigger than the way allows, in a network namespace of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio, errno, socket
from tests.engine.ports import Target, datagrams_at, port_and_peer

IP_MTU_DISCOVER, DO, DONT = 10, 2, 0

async def main():
    with port_and_peer() as (port, peer, target):
        for number in range(2):
            # Segments of 2,000 bytes do not fit: they go one by one, in fragments, and are not tried again.
            port.plain_socket.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, DONT)
            big = [bytes([place]) * 2000 for place in range(20)]
            for data in big:
                port.write(data, 2000, target)
            assert await port.flush() is True
            assert await datagrams_at(peer, 20) == big
            assert target.segment_limit == 1999, target.segment_limit
            assert port.batches_refused == 1, port.batches_refused
            # Smaller ones still go together.
            before = port.segmented_sent
            small = [bytes([place]) * 1400 for place in range(20)]
            for data in small:
                port.write(data, 1400, target)
            assert await port.flush() is True
            assert await datagrams_at(peer, 20) == small
            assert port.segmented_sent == before + 20
        # Where they may not be fragmented each of the big ones tells so, and the others arrive.
        port.plain_socket.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, DO)
        writes = [port.write(data, len(data), target) for pair in zip(big, small) for data in pair]
        assert await port.flush() is False
        failures = [write.exception() for write in writes]
        assert [failure.errno for failure in failures[::2]] == [errno.EMSGSIZE] * 20
        assert failures[1::2] == [None] * 20
        assert await datagrams_at(peer, 20) == small
        assert port.is_open()

asyncio.run(main())
print("done")
"""


def test_a_small_mtu() -> None:
    unshare, ip = shutil.which("unshare"), shutil.which("ip")
    if unshare is None or ip is None:
        pytest.skip("unshare (util-linux) and ip (iproute2) are needed")
    command = f"{ip} link set lo mtu 1500 up && exec {sys.executable} -c '{PROGRAM}'"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    probe = subprocess.run([unshare, "--net", ip, "link", "show"], capture_output=True, check=False, timeout=20)
    if probe.returncode != 0:
        pytest.skip("no permission to make a network namespace")
    result = subprocess.run(
        [unshare, "--net", "sh", "-c", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.stdout == "done\n", result.stderr
