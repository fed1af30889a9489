"""The conversation over a WebSocket, and the message for many clients."""

from __future__ import annotations

from typing import Any

import pytest

import moorings
from moorings.cli.console import Console
from moorings.cli.tour import messages
from moorings.cli.tour.common import DemoError, Options

OPTIONS = Options(clients=5, megabytes=1)


async def test_both_sides_tell_what_happens(capsys: pytest.CaptureFixture[str]) -> None:
    facts = await messages.messages(Console(), OPTIONS)
    assert (facts["echo"], facts["close_code"]) == ("Hello, World!", 1000)
    assert (facts["clients"], facts["sent"], facts["received_right"]) == (5, 5, 5)
    told = capsys.readouterr().out
    position = 0
    for step in (
        "server  listening on ws://127.0.0.1:",
        "client  connected to ws://127.0.0.1:",
        "client  sent 'Hello, World!'",
        "server  received 'Hello, World!'",
        "server  sent back 'Hello, World!'",
        "client  received 'Hello, World!'",
        "client  received b'\\x00\\x01\\x02'",
        "client  a ping and its pong took",
        "server  the client has closed with 1000: goodbye",
        "server  5 WebSockets are in the room",
        "server  broadcast to 5: one frame, queued in",
        "client  5 clients received it, the last one after",
    ):
        position = told.find(step, position)
        assert position >= 0, f"{step!r} is missing, or too early, in\n{told}"


async def test_another_echo_is_a_failure() -> None:
    async def serve(web_socket: Any) -> None:
        async for _ in web_socket:
            await web_socket.send("?")

    listen: Any = moorings.listen
    async with listen("ws://127.0.0.1:0", serve, subprotocols=["demo"], drain_timeout=0) as server:
        with pytest.raises(DemoError, match=r"the echo differs: '\?'"):
            await messages.talk(Console(quiet=True), f"ws://127.0.0.1:{server.port}")


async def test_a_client_without_the_message_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "NEWS", NeverEqual("news"))
    with pytest.raises(DemoError, match="5 clients have not received the message"):
        await messages.broadcast(Console(quiet=True), OPTIONS)


class NeverEqual(str):
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return False
