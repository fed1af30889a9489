"""WebSockets of the engine with permessage-deflate: messages, refusals, cancelling, bombs, memory."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
import zlib
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE, turns, until
from tests.engine.web_socket_pairs import NEXT, RECEIVE, RawPeer, link_and_peer, link_of, transport_pair
from tests.protocols.frames import CONTINUATION, Frame, wire

from moorings import errors
from moorings.protocols.web_error_status import WEB_E_RESOURCE_TOO_LARGE, WEB_SOCKET_E_PROTOCOL
from moorings.protocols.web_socket_deflate import (
    DeflateParameters,
    DeflateSettings,
    Inflater,
    accept_offer,
    client_settings,
    make_codecs,
    parse_extensions,
    server_settings,
)

TEXT = 1
BINARY = 2
RSV1 = 4

ALONE = DeflateParameters(True, True, 12, 12)
SHARED = DeflateParameters()
#: Everything is compressed, so that an error in the contexts would be seen.
ALL = DeflateSettings(False, False, 15, 15, smallest=0)

MESSAGES: list[Any] = ["", "a", b"", b"\0\1", "größer €𝄞", b"x" * 125, "z" * 70_000, bytes(range(256)) * 2000, "end"]


def codecs(client: bool, agreed: DeflateParameters = SHARED, **limits: int) -> dict[str, Any]:
    inflater, deflater = make_codecs(agreed, client, ALL, **limits)
    return {"inflater": inflater, "deflater": deflater}


def kind_of(message: Any) -> int:
    return TEXT if isinstance(message, str) else BINARY


def size_of(message: Any) -> int:
    return len(message.encode() if isinstance(message, str) else message)


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


class CompressingPeer(RawPeer):
    """A raw peer that understands what is compressed."""

    def __init__(self, peer: RawPeer, agreed: DeflateParameters = SHARED) -> None:
        super().__init__(peer.plain, client=not peer.expects_mask)
        self.inflater = Inflater(agreed, not self.expects_mask)


def test_codecs_are_made_of_what_was_agreed() -> None:
    assert make_codecs(None, True, ALL) == make_codecs(SHARED, True, None) == (None, None)
    agreed = DeflateParameters(True, False, 10, 11)
    inflater, deflater = make_codecs(agreed, True, ALL, limit=5, ratio_limit=6)
    assert inflater is not None
    assert deflater is not None
    assert (inflater.window_bits, inflater.keeps_context, inflater.limit, inflater.ratio_limit) == (10, False, 5, 6)
    assert (deflater.window_bits, deflater.keeps_context, deflater.smallest) == (11, True, 0)
    inflater, deflater = make_codecs(agreed, False, ALL)
    assert inflater is not None
    assert deflater is not None
    assert (inflater.window_bits, deflater.window_bits) == (11, 10)


@pytest.mark.parametrize("agreed", [ALONE, SHARED], ids=["alone", "shared"])
@pytest.mark.parametrize("transport", ["TCP", "TLS 1.3"])
async def test_messages_go_both_ways_and_sends_give_the_size_before_compressing(
    transport: str, agreed: DeflateParameters
) -> None:
    async with transport_pair(transport) as (ours, theirs):
        client = link_of(ours, client=True, **codecs(True, agreed))
        server = link_of(theirs, client=False, **codecs(False, agreed))
        client.start()
        server.start()
        for sender, receiver in ((client, server), (server, client)):
            for message in MESSAGES * 2:
                waiting = asyncio.ensure_future(_await(receiver.receive(RECEIVE)))
                assert await sender.send(kind_of(message), message, True) == size_of(message)
                assert await waiting == message
            parts = [b"part " * 5000, b"", b"end"]
            waiting = asyncio.ensure_future(_await(receiver.receive(RECEIVE)))
            for number, part in enumerate(parts, 1):
                assert await sender.send_fragment(BINARY, part, number == len(parts), True) == len(part)
            assert await waiting == b"".join(parts)
            sent = 2 * sum(map(size_of, MESSAGES)) + sum(map(len, parts))
            assert sender.sender.deflater.bytes_in == receiver.inflater.bytes_out == sent
            assert sender.stream.bytes_sent < sent // 5


async def _await(operation: Any) -> Any:
    return await operation


async def test_an_incompressible_payload_sent_apart_from_its_head_counts_with_its_own_size() -> None:
    noise = random.Random(7).randbytes(100_000)
    async with link_and_peer(client=False, **codecs(False)) as (link, raw):
        peer = CompressingPeer(raw)
        sent = link.send(BINARY, noise, True)
        assert await peer.next() == noise
        assert await sent == len(noise)


async def test_messages_that_cross_keep_both_contexts_whole() -> None:
    async with transport_pair("TCP") as (ours, theirs):
        links = link_of(ours, client=True, **codecs(True)), link_of(theirs, client=False, **codecs(False))
        for link in links:
            link.start()
        wanted = [f"message {number} " * (number % 50) for number in range(2000)]

        async def send(link: Any) -> None:
            for number, text in enumerate(wanted):
                operation = link.send(TEXT, text, True)
                if number % 7 == 0:
                    await operation
            await link.stream.flush()

        async def receive(link: Any) -> list[Any]:
            return [await link.receive(NEXT) for _ in wanted]

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            tasks = [group.create_task(receive(link)) for link in links]
            for link in links:
                group.create_task(send(link))
        assert [task.result() for task in tasks] == [wanted, wanted]


async def test_a_refused_send_does_not_change_the_deflaters_state() -> None:
    async with link_and_peer(client=False, **codecs(False)) as (link, raw):
        peer = CompressingPeer(raw)
        await link.send(TEXT, "the context " * 100, True)
        link.stream.queue_limit = 1000
        noise = random.Random(7).randbytes(30_000_000)
        first = link.send(BINARY, noise, True)  # nothing was queued: it is taken
        await turns(2)
        assert link.stream.queued_bytes > 1000
        before = link.sender.deflater.bytes_in, link.sender.messages_sent, link.sender.frames_sent
        for refused in (
            link.send(TEXT, "refused " * 1000, True),
            link.send_fragment(TEXT, "refused " * 1000, False, True),
            link.send(BINARY, b"behind the gap", True),
        ):
            with pytest.raises(OSError, match="the limit is 1000") as caught:
                await refused
            assert caught.value.winerror == errors.WSAENOBUFS
        for wrong in (b"\xff no text", "\udc00 neither"):
            with pytest.raises(OSError, match="UTF-8"):
                link.sender.message(TEXT, wrong)
        assert (link.sender.deflater.bytes_in, link.sender.messages_sent, link.sender.frames_sent) == before
        assert link.sender.kind == 0
        assert await peer.next() == "the context " * 100
        assert await peer.next() == noise
        await first
        await link.send(TEXT, "the context " * 100, True)
        assert await peer.next() == "the context " * 100


async def test_a_cancelled_send_goes_out_all_the_same_and_the_context_stays_whole() -> None:
    noise = random.Random(7).randbytes(30_000_000)
    async with link_and_peer(client=False, **codecs(False)) as (link, raw):
        peer = CompressingPeer(raw)
        sending = asyncio.ensure_future(_await(link.send(BINARY, noise, True)))
        behind = asyncio.ensure_future(_await(link.send(TEXT, "behind " * 50, True)))
        await turns(3)
        for task in (behind, sending):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        link.send(TEXT, "behind " * 50, True)
        assert [await peer.next() for _ in range(3)] == [noise, "behind " * 50, "behind " * 50]


async def test_a_write_of_the_winrt_face_that_is_cancelled_takes_the_connection_down() -> None:
    async with link_and_peer(client=False, **codecs(False)) as (link, _raw):
        noise = random.Random(7).randbytes(30_000_000)
        task = asyncio.ensure_future(_await(link.send(BINARY, noise, False)))
        await turns(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert link.stream.is_released()
        with pytest.raises(OSError, match="abort"):
            link.send(TEXT, "late", True)


# -- limits ----------------------------------------------------------------------------------------------------------


def bombs(size: int, fragments: int) -> bytes:
    """A message that inflates to so many zeros, as a client sends it."""
    data = deflated(bytes(size))
    step = max(1, len(data) // fragments)
    pieces = [data[place : place + step] for place in range(0, len(data), step)]
    frames = [
        Frame(CONTINUATION if place else BINARY, piece, place == len(pieces) - 1, 0 if place else RSV1)
        for place, piece in enumerate(pieces)
    ]
    return wire(frames, masked=True)


async def _fails_with_1009(data: bytes, limit_name: str, **settings: Any) -> None:
    async with link_and_peer(client=False, **settings) as (link, peer):
        waiting = link.receive(RECEIVE)
        await peer.send(data)
        with pytest.raises(OSError, match=r"close code 1009") as caught:
            await waiting
        assert caught.value.winerror == WEB_E_RESOURCE_TOO_LARGE
        kind, code, _reason = await peer.next()
        assert (kind, code) == ("close", 1009)
        assert link.failure is not None
        assert link.failure.limit == limit_name
        assert link.unfinished_bytes() == 0
        assert link.inflater.held_bytes() == 0


@pytest.mark.parametrize("fragments", [1, 7, 1000])
async def test_a_bomb_ends_at_the_limit_on_inflated_messages(fragments: int) -> None:
    await _fails_with_1009(
        bombs(1 << 20, fragments), "inflated message", **codecs(False, limit=1 << 19, ratio_limit=1 << 30)
    )


@pytest.mark.parametrize("fragments", [1, 100])
async def test_a_bomb_ends_at_the_ratio(fragments: int) -> None:
    await _fails_with_1009(bombs(4 << 20, fragments), "inflation ratio", **codecs(False))


async def test_limits_on_the_wire_hold_for_compressed_messages() -> None:
    data = bombs(1 << 20, 4)
    await _fails_with_1009(data, "frame", frame_limit=100, **codecs(False, ratio_limit=1 << 30))
    await _fails_with_1009(data, "message", message_limit=500, **codecs(False, ratio_limit=1 << 30))


@pytest.mark.parametrize("limit", [5000, 1 << 20])
async def test_twenty_bytes_take_no_more_memory_than_the_limit_and_64_kib(limit: int) -> None:
    small = deflated(bytes(12_000))[:20]
    data = wire([Frame(BINARY, small, rsv=RSV1)], masked=True) if limit == 5000 else bombs(64 << 20, 1)
    async with link_and_peer(client=False, **codecs(False, limit=limit, ratio_limit=1 << 30)) as (link, peer):
        waiting = link.receive(RECEIVE)
        tracemalloc.start()
        try:
            link.take_bytes(data)
            assert tracemalloc.get_traced_memory()[1] < limit + 65536
        finally:
            tracemalloc.stop()
        with pytest.raises(OSError, match="1009"):
            await waiting
        assert (await peer.next())[:2] == ("close", 1009)


@pytest.mark.parametrize("wrong", [b"\x07", b"\xff" * 30, deflated(b"good \xff bad")])
async def test_what_does_not_inflate_or_is_no_text_ends_with_1007(wrong: bytes) -> None:
    async with link_and_peer(client=False, **codecs(False)) as (link, peer):
        waiting = link.receive(RECEIVE)
        await peer.send(wire([Frame(TEXT, wrong, rsv=RSV1)], masked=True))
        with pytest.raises(OSError, match="close code 1007") as caught:
            await waiting
        assert caught.value.winerror == WEB_SOCKET_E_PROTOCOL
        assert (await peer.next())[:2] == ("close", 1007)


async def test_parts_of_a_small_frame_that_becomes_much_wait_until_they_are_taken() -> None:
    """Nothing more comes over the wire, and yet there is more to hand out."""
    settings = codecs(False, ratio_limit=1 << 30)
    async with link_and_peer(client=False, partial=True, **settings) as (link, peer):
        size = 8 << 20
        await peer.send(bombs(size, 1) + peer.frames.message(TEXT, "behind"))  # type: ignore[operator]
        await until(lambda: link.paused)
        await turns(20)
        assert link.queued_payload < 300_000
        got = 0
        while True:
            kind, part, is_final = await link.receive(RECEIVE)
            assert kind == BINARY
            got += len(part)
            if is_final:
                break
        assert got == size
        assert await link.receive(RECEIVE) == (TEXT, b"behind", True)


async def test_parts_of_a_small_frame_without_anything_behind_it() -> None:
    async with link_and_peer(client=False, partial=True, **codecs(False, ratio_limit=1 << 30)) as (link, peer):
        await peer.send(bombs(8 << 20, 1))
        got = 0
        while got < 8 << 20:
            got += len((await link.receive(RECEIVE))[1])
        assert await link.receive(RECEIVE) == (BINARY, b"", True)


# -- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offer", ["permessage-deflate", "permessage-deflate; client_max_window_bits"])
async def test_an_idle_connection_with_the_defaults_holds_nothing_for_compression(offer: str) -> None:
    accepted = accept_offer(server_settings(), parse_extensions(offer))
    assert accepted is not None
    inflater, deflater = make_codecs(accepted[0], False, server_settings())
    assert inflater is not None
    assert deflater is not None
    async with link_and_peer(client=False, inflater=inflater, deflater=deflater) as (link, raw):
        peer = CompressingPeer(raw, accepted[0])
        await peer.send(wire([Frame(BINARY, deflated(b"question" * 100), rsv=RSV1)], masked=True))
        assert await link.receive(RECEIVE) == b"question" * 100
        await link.send(BINARY, b"answer" * 100, True)
        assert await peer.next() == b"answer" * 100
        assert deflater.bytes_in == 600
        assert inflater.stream is deflater.stream is None
        assert inflater.held_bytes() == deflater.held_bytes() == 0


@pytest.mark.parametrize(("bits", "memory_level"), [(9, 1), (12, 5), (15, 8)])
def test_what_kept_contexts_hold_is_known(bits: int, memory_level: int) -> None:
    """The figures for statistics and documents, against what zlib takes."""
    settings = client_settings()._replace(memory_level=memory_level)
    data = deflated(b"hello" * 20)
    held = []
    for end in ("inflater", "deflater"):
        inflater, deflater = make_codecs(DeflateParameters(False, False, bits, bits), True, settings)
        assert inflater is not None
        assert deflater is not None
        tracemalloc.start()
        try:
            if end == "deflater":
                deflater.compress(b"hello", True)
                told = deflater.held_bytes()
            else:
                inflater.feed(data)
                inflater.read()
                inflater.feed_end()
                inflater.read()
                inflater.end_message()
                told = inflater.held_bytes()
            taken = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        held.append((told, taken))
    for told, taken in held:
        assert told * 0.8 - 2048 <= taken <= told * 1.2 + 2048, held
