"""WebSockets of bytes pass the checks for two-way streams, over TCP and over TLS, and so does TLS over them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.engine.layer_pairs import layer, socket_over
from tests.engine.tls_pairs import client_session, server_session
from tests.engine.web_socket_pairs import web_socket_sockets, web_socket_streams
from tests.sockets.stream_web_socket_pairs import TRANSPORTS, pairs_over

from moorings.testing.cancelling_checks import cancel_io_keeps_the_connection
from moorings.testing.stream_checks import ONE_WAY_CHECKS, TWO_WAY_CHECKS, Check, run_check

if TYPE_CHECKING:
    from moorings import StreamSocket

CHECKS = ONE_WAY_CHECKS + TWO_WAY_CHECKS
#: What the public classes have no member for.
MORE = (cancel_io_keeps_the_connection,)


@pytest.mark.parametrize("swapped", [False, True], ids=["client first", "server first"])
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_stream_web_sockets(check: Check, transport: str, swapped: bool) -> None:
    async with pairs_over(transport) as make_pair:
        await run_check(check, make_pair, swapped=swapped)


@pytest.mark.parametrize("check", CHECKS + MORE, ids=lambda check: check.__name__)
async def test_the_engines_stream(check: Check) -> None:
    async def small_pair() -> tuple[StreamSocket, StreamSocket]:
        return await web_socket_sockets("TCP", send_buffer=65536, receive_buffer=65536)

    await run_check(check, small_pair)


@pytest.mark.parametrize("check", CHECKS + MORE, ids=lambda check: check.__name__)
async def test_tls_over_a_web_socket(check: Check) -> None:
    async def secured_pair() -> tuple[StreamSocket, StreamSocket]:
        one, other = await web_socket_streams("TCP", send_buffer=65536, receive_buffer=65536)
        client, server = await asyncio.gather(
            layer(one, client_session(), client=True), layer(other, server_session(), client=False)
        )
        return socket_over(client, ("127.0.0.1", 1)), socket_over(server, ("127.0.0.1", 2))

    await run_check(check, secured_pair)
