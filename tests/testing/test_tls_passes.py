"""TLS passes the check-suite for streams, in both versions and both roles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.engine.tls_pairs import VERSIONS, tls_sockets

from moorings.testing.stream_checks import STREAM_CHECKS, Check, run_check

if TYPE_CHECKING:
    from moorings import StreamSocket


@pytest.mark.parametrize("swapped", [False, True], ids=["client first", "server first"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("check", STREAM_CHECKS, ids=lambda check: check.__name__)
async def test_tls(check: Check, version: str, swapped: bool) -> None:
    async def small_pair() -> tuple[StreamSocket, StreamSocket]:
        return await tls_sockets(version, send_buffer=65536, receive_buffer=65536)

    await run_check(check, small_pair, swapped=swapped)
