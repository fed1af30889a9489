"""Peers made of JavaScript: an agent in another process does what it is asked for (`web_socket_agent.js`)."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.interop.web_socket_pairs import Message, Peer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

HERE = Path(__file__).parent
AGENT = HERE / "web_socket_agent.js"


def to_json(message: Message) -> dict[str, str]:
    if isinstance(message, str):
        return {"text": message}
    return {"binary": base64.b64encode(message).decode()}


def from_json(told: dict[str, str]) -> Message:
    return told["text"] if "text" in told else base64.b64decode(told["binary"])


class Talk:
    """Requests with numbers and their answers, as JSON; many may be under way."""

    def __init__(self, write: Callable[[str], Awaitable[None]]) -> None:
        self.write = write
        self.waiting: dict[int, asyncio.Future[Any]] = {}
        self.count = 0

    async def request(self, **request: Any) -> Any:
        self.count += 1
        answer = self.waiting[self.count] = asyncio.get_running_loop().create_future()
        await self.write(json.dumps({"id": self.count, **request}))
        return await answer

    def take(self, line: str | bytes) -> None:
        """An answer came, or something that nobody asked for."""
        told = json.loads(line)
        answer = self.waiting.pop(told.get("id"), None)
        if answer is None or answer.done():
            return
        if "error" in told:
            answer.set_exception(RuntimeError(told["error"]))
        else:
            answer.set_result(told["result"])


class AgentPeer(Peer):
    """A WebSocket of an agent; `ask` carries out a request there."""

    def __init__(self, ask: Callable[..., Awaitable[Any]], described: dict[str, Any]) -> None:
        self.ask = ask
        self.number = described["number"]
        self.subprotocol = described["protocol"]
        self.deflates = "permessage-deflate" in described["extensions"]

    async def send(self, message: Message, **more: Any) -> None:
        await self.ask("send", on=self.number, message=to_json(message), **more)

    async def send_parts(self, parts: Sequence[Message]) -> None:
        await self.ask("send_parts", on=self.number, parts=[to_json(part) for part in parts])

    async def receive(self) -> Message:
        return from_json(await self.ask("receive", on=self.number))

    async def ping(self) -> None:
        assert await self.ask("ping", on=self.number) == "from node"

    async def abort(self) -> None:
        await self.ask("abort", on=self.number)

    async def close(self, code: int | None, reason: str) -> None:
        await self.ask("close", on=self.number, code=code, reason=reason)

    async def how_it_ended(self) -> dict[str, Any]:
        """What the close event said."""
        ended: dict[str, Any] = await self.ask("ended", on=self.number)
        return ended

    async def end(self) -> tuple[int, str]:
        ended = await self.how_it_ended()
        return ended["code"], ended["reason"]
