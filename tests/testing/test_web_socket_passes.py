"""The bytes of a WebSocket pass the checks for two-way streams, over TCP and over TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.engine.web_socket_pairs import web_socket_sockets

from moorings.testing.stream_checks import ONE_WAY_CHECKS, TWO_WAY_CHECKS, Check, run_check

if TYPE_CHECKING:
    from moorings import StreamSocket


@pytest.mark.parametrize("swapped", [False, True], ids=["client first", "server first"])
@pytest.mark.parametrize("below", ["TCP", "TLS 1.3"])
@pytest.mark.parametrize("check", ONE_WAY_CHECKS + TWO_WAY_CHECKS, ids=lambda check: check.__name__)
async def test_a_stream_over_a_web_socket(check: Check, below: str, swapped: bool) -> None:
    async def small_pair() -> tuple[StreamSocket, StreamSocket]:
        return await web_socket_sockets(below, send_buffer=65536, receive_buffer=65536)

    await run_check(check, small_pair, swapped=swapped)
