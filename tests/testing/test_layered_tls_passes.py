"""TLS over another stream passes the check-suite for streams, whatever lies below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.engine.layer_pairs import STACKS, layered_sockets

from moorings.testing.stream_checks import STREAM_CHECKS, Check, run_check

if TYPE_CHECKING:
    from moorings import StreamSocket


@pytest.mark.parametrize("swapped", [False, True], ids=["client first", "server first"])
@pytest.mark.parametrize(("below", "version"), STACKS)
@pytest.mark.parametrize("check", STREAM_CHECKS, ids=lambda check: check.__name__)
async def test_tls_over_a_stream(check: Check, below: str, version: str, swapped: bool) -> None:
    async def small_pair() -> tuple[StreamSocket, StreamSocket]:
        return await layered_sockets(below, version, send_buffer=65536, receive_buffer=65536)

    await run_check(check, small_pair, swapped=swapped)
