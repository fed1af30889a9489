"""`moorings.connect` with ws:// and wss://."""

from __future__ import annotations

import pytest
from tests.sockets.peers import plain_listener, port_of, refused_port
from tests.sockets.web_socket_servers import accepting, code_of, scripted, status

import moorings
from moorings import (
    MessageWebSocket,
    errors,
)
from moorings.protocols.web_error_status import (
    INET_E_TIMEOUT,
)

# -- the Python face -------------------------------------------------------------------------------------------------


async def test_moorings_connect() -> None:
    async with scripted(accepting(more=b"Sec-WebSocket-Protocol: chat\r\n", rest=b"\x81\x02hi")) as script:
        async with moorings.connect(
            script.url, headers={"X-A": "1"}, subprotocols=("chat", "other"), max_message_size=1000, no_delay=False
        ) as made:
            assert isinstance(made, MessageWebSocket)
            assert made.information.protocol == "chat"
            assert made.limits.max_message_size == 1000
            assert made._link.life.ping_interval == 20.0
            assert await made.receive() == "hi"
            made.abort()
        url = script.url.replace("ws://", "WS://")
        made = await moorings.connect(url, subprotocols=("chat",), headers=[("X", "1"), ("X", "2")])
        assert script.headers()["x"] == ["1", "2"]
        made.abort()


async def test_moorings_connect_with_a_credential() -> None:
    async with scripted(status("401 No", "WWW-Authenticate: Basic realm=x"), accepting()) as script:
        made = await moorings.connect(script.url, credential=("user", "password"))
        assert script.headers()["authorization"] == ["Basic dXNlcjpwYXNzd29yZA=="]
        made.abort()


async def test_moorings_connect_gives_up_in_time() -> None:
    with plain_listener() as listening:
        with pytest.raises(TimeoutError, match=r"no connection within 0\.05 s") as caught:
            await moorings.connect(f"ws://127.0.0.1:{port_of(listening)}/", timeout=0.05)
        assert code_of(caught) == INET_E_TIMEOUT


async def test_what_moorings_connect_does_not_take() -> None:
    with refused_port() as port:
        url = f"ws://127.0.0.1:{port}/"
        for wrong in ({"ca": b"x"}, {"alpn": ("h2",)}, {"approve": print}, {"max_message_size": 0}):
            with pytest.raises(OSError) as caught:
                await moorings.connect(url, **wrong)  # type: ignore[arg-type]
            assert code_of(caught) == errors.E_INVALIDARG
        with pytest.raises(OSError) as caught:
            await moorings.connect(f"wss://127.0.0.1:{port}/", transferable=True)
        assert code_of(caught) == errors.E_INVALIDARG
        for unknown in (
            {"subprotocol": "chat"},
            {"subprotocols": "chat"},
            {"credential": "user"},
            {"headers": {"X": 1}},
        ):
            with pytest.raises(TypeError):
                await moorings.connect(url, **unknown)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="subprotocols"):
            await moorings.connect(f"tcp://127.0.0.1:{port}", subprotocols=("chat",))
        with pytest.raises(ConnectionRefusedError):
            await moorings.connect(url)
