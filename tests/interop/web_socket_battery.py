"""What must hold between our WebSockets and those of any other implementation, whoever is the server.

Each check opens the connections that it needs. `cases` gives those that an implementation can take part in.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from tests.interop.web_socket_pairs import NO_CLOSE_FRAME, NO_CODE

from moorings import WebSocketCompression
from moorings.protocols.web_error_status import INET_E_DISCONNECTED, WEB_E_RESOURCE_TOO_LARGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.interop.web_socket_pairs import Implementation, Message, Pair, Scene

SIZES = (0, 1, 125, 126, 65535, 65536, 1 << 20)
REASONS = ("", "done", "ü" * 61)
TEXT = 1
BINARY = 2
CONNECTIONS = 20
MESSAGES = 200
BIG = 5_000
LIMIT = 1_000


def text_of(size: int) -> str:
    """Text of so many bytes as UTF-8, with characters of more than one."""
    return "aü€" * (size // 6) + "x" * (size % 6)


def words_of(size: int) -> str:
    """Text that compresses as text does."""
    chance = random.Random(size)
    return " ".join(chance.choices(("mooring", "bollard", "cleat", "fairlead", "hawser"), k=size // 8))


def bytes_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def some_messages(seed: int, count: int) -> list[Message]:
    chance = random.Random(seed)
    sizes = [chance.randrange(300) for _ in range(count)]
    return [bytes_of(size) if chance.random() < 0.5 else text_of(size) for size in sizes]


async def send_all(sender: Any, messages: list[Message]) -> None:
    for message in messages:
        await sender.send(message)


async def receive_all(receiver: Any, count: int) -> list[Message]:
    return [await receiver.receive() for _ in range(count)]


async def both_ways(pair: Pair, messages: list[Message]) -> None:
    """Send the same messages in both directions at the same time."""
    ours, theirs = pair
    sending = asyncio.gather(send_all(ours, messages), send_all(theirs, messages))
    from_them, from_us = await asyncio.gather(receive_all(ours, len(messages)), receive_all(theirs, len(messages)))
    await sending
    assert from_them == messages
    assert from_us == messages


async def messages_of_all_sizes(scene: Scene) -> None:
    async with scene.pair() as pair:
        for size in SIZES:
            await both_ways(pair, [text_of(size), bytes_of(size)])


async def many_messages_keep_their_order(scene: Scene) -> None:
    async with scene.pair() as pair:
        await both_ways(pair, some_messages(7, MESSAGES))


async def fragments_from_us(scene: Scene) -> None:
    async with scene.pair() as (ours, theirs):
        link = ours._link
        for kind, parts in ((TEXT, ["in ", "", "ü" * BIG, "parts"]), (BINARY, [b"", b"\0", bytes(70_000), b""])):
            for number, part in enumerate(parts, 1):
                link.send_fragment(kind, part, number == len(parts), True)
            assert await theirs.receive() == parts[0][:0].join(parts)  # type: ignore[arg-type]


async def fragments_from_them(scene: Scene) -> None:
    async with scene.pair() as (ours, theirs):
        await theirs.send_parts(["in ", "", "ü" * BIG, "parts"])
        assert await ours.receive() == "in " + "ü" * BIG + "parts"
        await theirs.send_parts([b"\1", b"\0", bytes(70_000), b"\2"])
        assert await ours.receive() == b"\1\0" + bytes(70_000) + b"\2"


async def pings_from_us(scene: Scene) -> None:
    async with scene.pair() as (ours, _):
        assert min(await asyncio.gather(*(ours.ping() for _ in range(5)))) > 0
        ours._link.send_fragment(TEXT, "a ping within a message ", False, True)
        assert await ours.ping() > 0


async def pings_from_them(scene: Scene) -> None:
    async with scene.pair() as (_, theirs):
        for _ in range(3):
            await theirs.ping()


async def we_close(scene: Scene) -> None:
    for code in (1000, 1001, 1011, 3000, 4999):
        for reason in REASONS:
            async with scene.pair() as (ours, theirs):
                await ours.send("bye")
                ours.close(code, reason)
                assert await theirs.receive() == "bye"
                assert await theirs.end() == (code, reason)
                await ours.aclose()
                assert ours.close_code in {code, 1000}  # some answer with a code of their own


async def we_close_without_a_code(scene: Scene) -> None:
    async with scene.pair() as (ours, theirs):
        ours.close()
        assert await theirs.end() == NO_CODE
        await ours.aclose()
        assert ours.close_code in {1000, 1005}


async def they_close(scene: Scene) -> None:
    for code in scene.implementation.codes:
        for reason in REASONS:
            async with scene.pair() as (ours, theirs):
                await theirs.send("bye")
                closing = asyncio.ensure_future(theirs.close(code, reason))
                assert await ours.receive() == "bye"
                await ended(ours)
                assert (ours.close_code, ours.close_reason) == (code, reason)
                await closing
                await theirs.end()


async def they_close_without_a_code(scene: Scene) -> None:
    async with scene.pair() as (ours, theirs):
        closing = asyncio.ensure_future(theirs.close(None, ""))
        await ended(ours)
        assert (ours.close_code, ours.close_reason) == NO_CODE
        await closing


async def ended(ours: Any) -> None:
    with pytest.raises(OSError) as caught:
        await ours.receive()
    assert caught.value.winerror == INET_E_DISCONNECTED  # type: ignore[attr-defined]


async def we_leave_without_a_word(scene: Scene) -> None:
    async with scene.pair() as (ours, theirs):
        await ours.send("bye")
        assert await theirs.receive() == "bye"
        ours.abort()
        assert await theirs.end() == NO_CLOSE_FRAME


async def they_leave_without_a_word(scene: Scene) -> None:
    async with scene.pair() as (ours, theirs):
        await theirs.send("bye")
        assert await ours.receive() == "bye"
        await theirs.abort()
        with pytest.raises(ConnectionError):
            await ours.receive()
        assert ours.close_code == 0


async def a_subprotocol(scene: Scene) -> None:
    async with scene.pair(our_subprotocols=("chat.v2", "chat"), their_subprotocols=("other", "chat")) as pair:
        assert (pair.our_subprotocol, pair.theirs.subprotocol) == ("chat", "chat")
    # (What happens where a server does not agree to any is up to the client: browsers refuse, others go on.)
    async with scene.pair(our_subprotocols=("chat",) if scene.role == "our server" else ()) as pair:
        assert (pair.our_subprotocol, pair.theirs.subprotocol) == ("", "")
        await both_ways(pair, ["none"])


async def no_deflate(scene: Scene) -> None:
    """They would like to compress, and we do not agree, or do not offer it."""
    async with scene.pair(their_deflate=True) as pair:
        await both_ways(pair, ["", text_of(BIG), bytes(BIG)])
        assert not pair.theirs.deflates


#: As much as there is: both ends look back 32 KiB, also into earlier messages.
ALL_OF_IT = WebSocketCompression(15, 15, context_takeover=True, peer_context_takeover=True)


async def deflate(scene: Scene) -> None:
    await compressed(scene, True)


async def deflate_with_context(scene: Scene) -> None:
    await compressed(scene, ALL_OF_IT)


async def compressed(scene: Scene, compression: WebSocketCompression | bool) -> None:
    async with scene.pair(our_deflate=compression, their_deflate=True) as pair:
        link = pair.ours._link
        assert pair.theirs.deflates
        assert link.inflater is not None
        assert link.sender.deflater is not None
        for size in SIZES:
            await both_ways(pair, [words_of(size), bytes_of(size), words_of(size).encode()])
        for part in ("in ", "ü" * BIG):
            link.send_fragment(TEXT, part, False, True)
        link.send_fragment(TEXT, "parts", True, True)
        assert await pair.theirs.receive() == "in " + "ü" * BIG + "parts"


async def too_long_for_us(scene: Scene) -> None:
    async with scene.pair(our_limit=LIMIT) as pair:
        ours, theirs = pair
        await both_ways(pair, [bytes(LIMIT), "x" * LIMIT])
        await theirs.send(bytes(LIMIT + 1))
        with pytest.raises(OSError) as caught:
            await ours.receive()
        assert caught.value.winerror == WEB_E_RESOURCE_TOO_LARGE  # type: ignore[attr-defined]
        assert (await theirs.end())[0] == 1009


async def too_long_for_them(scene: Scene) -> None:
    async with scene.pair(their_limit=LIMIT) as pair:
        ours = pair.ours
        await both_ways(pair, [bytes(LIMIT - 1), "x" * (LIMIT - 1)])  # (to some a limit is the first size too many)
        await ours.send(bytes(LIMIT + 1))
        await ended(ours)
        assert ours.close_code == 1009


async def many_connections(scene: Scene) -> None:
    async with scene.pairs(CONNECTIONS) as pairs:
        await asyncio.gather(*(both_ways(pair, some_messages(number, 20)) for number, pair in enumerate(pairs)))


async def over_tls(scene: Scene) -> None:
    async with scene.pair(secure=True) as pair:
        for size in SIZES:
            await both_ways(pair, [text_of(size), bytes_of(size)])
        pair.ours.close(4000, "secret")
        assert await pair.theirs.end() == (4000, "secret")


CHECKS: tuple[Callable[[Scene], Awaitable[None]], ...] = (
    messages_of_all_sizes,
    many_messages_keep_their_order,
    fragments_from_us,
    fragments_from_them,
    pings_from_us,
    pings_from_them,
    we_close,
    we_close_without_a_code,
    they_close,
    they_close_without_a_code,
    we_leave_without_a_word,
    they_leave_without_a_word,
    a_subprotocol,
    no_deflate,
    deflate,
    deflate_with_context,
    too_long_for_us,
    too_long_for_them,
    many_connections,
    over_tls,
)


def cases(implementation: Implementation) -> pytest.MarkDecorator:
    """A mark that runs a test with each role and check that this implementation can take part in."""
    unknown = implementation.lacks - {check.__name__ for check in CHECKS}
    assert not unknown, unknown
    return pytest.mark.parametrize(
        ("role", "check"),
        [
            pytest.param(role, check, id=f"{role}-{check.__name__}".replace("_", " "))
            for role in implementation.roles
            for check in CHECKS
            if check.__name__ not in implementation.lacks
        ],
    )
