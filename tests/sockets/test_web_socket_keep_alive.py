"""WebSocketKeepAlive: one pong on the WebSocket of the trigger, and nothing where there is none."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE, socket_and_peer
from tests.engine.web_socket_pairs import RawPeer
from tests.sockets.test_server_message_web_socket import REQUEST

from moorings import MessageWebSocket, accept_web_socket, errors
from moorings.sockets.web_socket_keep_alive import WebSocketKeepAlive


def instance(transport: object) -> Any:
    trigger = SimpleNamespace(transport_object=transport)
    return SimpleNamespace(trigger_details=SimpleNamespace(control_channel_trigger=trigger))


@pytest.mark.parametrize("elsewhere", [False, True], ids=["at home", "on another thread"])
async def test_it_sends_one_pong_that_nobody_asked_for(elsewhere: bool) -> None:
    async with socket_and_peer() as (ours, plain):
        plain.sendall(REQUEST)
        web_socket = await accept_web_socket(ours)
        assert (await asyncio.get_running_loop().sock_recv(plain, 65536)).startswith(b"HTTP/1.1 101 ")
        peer = RawPeer(plain, client=True)
        if elsewhere:
            thread = threading.Thread(target=WebSocketKeepAlive().run, args=[instance(web_socket)])
            thread.start()
            assert await peer.next() == ("pong", b"")
            thread.join(PATIENCE)
        else:
            WebSocketKeepAlive().run(instance(web_socket))
            assert await peer.next() == ("pong", b"")
        await web_socket.send("and on")
        assert await peer.next() == "and on"
        web_socket.abort()
        WebSocketKeepAlive().run(instance(web_socket))  # not connected any more: nothing


async def test_what_is_not_connected_gets_nothing() -> None:
    for transport in (MessageWebSocket(), None, object()):
        WebSocketKeepAlive().run(instance(transport))


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        SimpleNamespace(),
        SimpleNamespace(trigger_details=None),
        SimpleNamespace(trigger_details=object()),
        SimpleNamespace(trigger_details=SimpleNamespace(control_channel_trigger=None)),
    ],
)
def test_without_trigger_details_it_refuses(wrong: Any) -> None:
    with pytest.raises(OSError, match="trigger details") as caught:
        WebSocketKeepAlive().run(wrong)
    assert getattr(caught.value, "winerror", 0) == errors.E_INVALIDARG
