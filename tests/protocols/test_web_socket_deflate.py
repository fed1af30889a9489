"""permessage-deflate: the header, compressing, inflating within limits. Sections 12 and 13 of the Autobahn list."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocols.frames import BINARY, CONTINUATION, MESSAGES, PING, TEXT, Frame, Recorder, feed, wire
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from websockets.frames import Frame as PeerFrame
from websockets.frames import Opcode

from moorings import errors
from moorings.protocols import web_socket_deflate as deflate
from moorings.protocols.web_socket_close import WebSocketProtocolError
from moorings.protocols.web_socket_deflate import (
    DeflateParameters,
    Deflater,
    DeflateSettings,
    ExtensionOffer,
    Inflater,
)
from moorings.protocols.web_socket_sending import FrameSender

ALONE = DeflateParameters(True, True, 15, 15)
SHARED = DeflateParameters()
ANY = deflate.client_settings()
TAIL = b"\x00\x00\xff\xff"


def raw_deflate(data: bytes, bits: int = 15) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -bits)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def receiver_of(parameters: DeflateParameters = ALONE, **limits: int) -> Recorder:
    return Recorder(is_client=False, inflater=Inflater(parameters, is_client=False, **limits), message_limit=1 << 40)


# -- the header ------------------------------------------------------------------------------------------------------


def test_headers() -> None:
    parse = deflate.parse_extensions
    assert parse("permessage-deflate") == [ExtensionOffer("permessage-deflate", ())]
    assert parse(' a ; b=1;c ;d = "x" , e;f="\\y"') == [
        ExtensionOffer("a", (("b", "1"), ("c", None), ("d", "x"))),
        ExtensionOffer("e", (("f", "y"),)),
    ]
    for wrong in (
        "",
        ",",
        "a,",
        "a;",
        ";a",
        "a b",
        "a;b=",
        'a;b="',
        'a;b=""',
        'a;b="x y"',
        "a=1",
        "a;b=1 2",
        "ä",
        "a;;b",
    ):
        with pytest.raises(ValueError, match=r"malformed|has no value|token inside"):
            parse(wrong)


NAMES = ("server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits", "client_max_window_bits")


@pytest.mark.parametrize(
    "text",
    [
        "unknown",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_max_window_bits",
        *(f"{name}={value}" for name in NAMES[2:] for value in ("7", "16", "08", "+9", "9.0", "x", "015", "٩")),
        *(f"{name}; {name}" for name in NAMES[:2]),
        "client_max_window_bits; client_max_window_bits=9",
        "server_max_window_bits=9; server_max_window_bits=9",
    ],
)
def test_wrong_parameters(text: str) -> None:
    """A server declines the offer, a client fails the connection."""
    try:
        offers = deflate.parse_extensions(f"permessage-deflate; {text}")
    except ValueError:
        return
    assert deflate.accept_offer(ANY, offers) is None
    assert deflate.accept_answer(ANY, offers[0]) is None
    fallback = [*offers, ExtensionOffer("permessage-deflate", ())]
    assert deflate.accept_offer(ANY, fallback) == (SHARED, "permessage-deflate")


def test_what_servers_do_by_default() -> None:
    """Small windows and no context: nothing lives between messages."""
    settings = deflate.server_settings()
    accepted = deflate.accept_offer(settings, deflate.parse_extensions("x, permessage-deflate; client_max_window_bits"))
    assert accepted is not None
    parameters, answer = accepted
    assert parameters == (True, True, 12, 12)
    assert answer == (
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        "server_max_window_bits=12; client_max_window_bits=12"
    )
    plain = deflate.accept_offer(settings, deflate.parse_extensions("permessage-deflate"))
    assert plain is not None
    assert plain[0].client_max_window_bits == 15  # the client did not say that it can do with less
    assert "client_max_window_bits" not in plain[1]
    assert deflate.accept_offer(settings, deflate.parse_extensions("x-webkit-deflate-frame")) is None
    named = deflate.accept_offer(ANY, deflate.parse_extensions("permessage-deflate; server_max_window_bits=15"))
    assert named == (SHARED, "permessage-deflate; server_max_window_bits=15")  # what was asked for has to be said
    small = deflate.parse_extensions("permessage-deflate; server_max_window_bits=8")
    assert deflate.accept_offer(settings, small) is None  # zlib has no such window
    eight = deflate.accept_offer(settings, deflate.parse_extensions("permessage-deflate; client_max_window_bits=8"))
    assert eight is not None
    assert eight[0].client_max_window_bits == 8


def test_a_second_offer_asks_nothing_of_the_server() -> None:
    assert deflate.make_offer(ANY) == "permessage-deflate; client_max_window_bits"
    assert deflate.make_offer(DeflateSettings(True, True, 12, 12)) == (
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=12; client_no_context_takeover; "
        "client_max_window_bits=12, permessage-deflate; client_no_context_takeover; client_max_window_bits=12"
    )


def test_answers_and_whether_they_fit_the_offer() -> None:
    def accepts(settings: DeflateSettings, text: str) -> DeflateParameters | None:
        return deflate.accept_answer(settings, deflate.parse_extensions(text)[0])

    strict = DeflateSettings(True, True, 10, 10)
    assert accepts(strict, "permessage-deflate; server_no_context_takeover; server_max_window_bits=10") == (
        True,
        True,
        10,
        10,
    )
    # What the server does not do fits the second offer.
    assert accepts(strict, "permessage-deflate") == (False, True, 15, 10)
    assert accepts(strict, "permessage-deflate; server_max_window_bits=10") == (False, True, 10, 10)
    assert accepts(strict, "permessage-deflate; server_no_context_takeover; server_max_window_bits=11") == (
        True,
        True,
        11,
        10,
    )
    assert accepts(ANY, "permessage-deflate; client_max_window_bits") is None  # an answer has to name a number
    assert accepts(ANY, "permessage-deflate; client_max_window_bits=8") is None  # zlib cannot
    assert accepts(ANY, "permessage-deflate; server_max_window_bits=8") == (False, False, 8, 15)
    assert accepts(ANY, "other") is None


def test_settings_are_checked() -> None:
    assert deflate.server_settings().check() == deflate.server_settings()
    for wrong in (
        {"server_max_window_bits": 8},
        {"client_max_window_bits": 16},
        {"level": 10},
        {"memory_level": 0},
        {"smallest": -1},
    ):
        with pytest.raises(OSError, match=next(iter(wrong))) as caught:
            ANY._replace(**wrong).check()
        assert getattr(caught.value, "winerror", 0) == errors.E_INVALIDARG


BITS = st.integers(9, 15)
SETTINGS = st.tuples(st.booleans(), st.booleans(), BITS, BITS).map(lambda four: DeflateSettings(*four))


@given(SETTINGS, SETTINGS)
def test_both_ends_agree(client: DeflateSettings, server: DeflateSettings) -> None:
    accepted = deflate.accept_offer(server, deflate.parse_extensions(deflate.make_offer(client)))
    assert accepted is not None
    parameters, answer = accepted
    seen = deflate.accept_answer(client, deflate.parse_extensions(answer)[0])
    assert seen is not None
    # What the client keeps to by itself need not be in the answer.
    assert seen.client_max_window_bits <= parameters.client_max_window_bits
    assert (seen.server_no_context_takeover, seen.server_max_window_bits) == (
        parameters.server_no_context_takeover,
        parameters.server_max_window_bits,
    )
    exchange(seen, parameters, client, [b"abc" * 100, b"abc" * 100, b""])


@given(SETTINGS)
def test_websockets_agrees(settings: DeflateSettings) -> None:
    """Its server accepts what we offer, its client what we answer, and both read what we compress."""
    offer = deflate.parse_extensions(deflate.make_offer(settings))[0]
    answer, theirs = ServerPerMessageDeflateFactory().process_request_params(list(offer.parameters), [])
    ours = deflate.accept_answer(settings, ExtensionOffer("permessage-deflate", tuple(answer)))
    assert ours is not None
    swap(ours, theirs, True, settings)
    factory = ClientPerMessageDeflateFactory(client_max_window_bits=True)
    offered = deflate.parse_extensions("permessage-deflate; client_max_window_bits")
    accepted = deflate.accept_offer(settings, offered)
    assert accepted is not None
    reply = deflate.parse_extensions(accepted[1])[0]
    swap(accepted[0], factory.process_response_params(list(reply.parameters), []), False, settings)


def swap(ours: DeflateParameters, theirs: Any, is_client: bool, settings: DeflateSettings) -> None:
    deflater, inflater = Deflater(ours, is_client, settings), Inflater(ours, is_client)
    for payload in (b"abc" * 500, b"", b"abc" * 500, bytes(range(256)) * 40):
        sent = PeerFrame(Opcode.BINARY, deflater.compress(payload, True), True, True)
        assert theirs.decode(sent).data == payload
        received = theirs.encode(PeerFrame(Opcode.BINARY, payload))
        assert inflated(inflater, received.data) == payload


def inflated(inflater: Inflater, data: bytes) -> bytes:
    inflater.feed(data)
    found = b"".join(iter(inflater.read, b""))
    inflater.feed_end()
    found += b"".join(iter(inflater.read, b""))
    inflater.end_message()
    return found


def exchange(
    client: DeflateParameters, server: DeflateParameters, settings: DeflateSettings, payloads: list[bytes]
) -> None:
    for from_client in (True, False):
        deflater = Deflater(client if from_client else server, from_client, settings)
        inflater = Inflater(server if from_client else client, not from_client)
        for payload in payloads:
            assert inflated(inflater, deflater.compress(payload, True)) == payload


# -- sections 12 and 13 ----------------------------------------------------------------------------------------------

#: The offers of section 13, and what they agree on with a server that leaves everything to the client.
OFFERS = {
    "12": "permessage-deflate",
    "13.1": "permessage-deflate; server_no_context_takeover; client_max_window_bits",
    "13.2": "permessage-deflate; server_no_context_takeover; server_max_window_bits=9; client_max_window_bits",
    "13.3": "permessage-deflate; server_max_window_bits=9",
    "13.4": "permessage-deflate; server_max_window_bits=15",
    "13.5": "permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
    "13.6": "permessage-deflate; server_no_context_takeover; server_max_window_bits=15",
    "13.7": "permessage-deflate; server_no_context_takeover; server_max_window_bits=9, "
    "permessage-deflate; server_no_context_takeover, permessage-deflate",
}
#: Sizes of the messages of cases 1 to 10, and the sizes of the fragments in cases 11 to 18, where there are any.
SIZES = [16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072]
FRAGMENTS = [(8192, 256), (16384, 256), (32768, 256), (65536, 256), (131072, 256), (131072, 1024), (131072, 4096)]
FILLERS = {
    "text": lambda size: (TEXT, ("grüße, " * (size // 7 + 1))[:size]),
    "json": lambda size: (TEXT, '{"key": [1, 2, 3], "other": null}, '.ljust(40) * (size // 40 + 1)),
    "binary": lambda size: (BINARY, bytes(range(256)) * (size // 256 + 1)),
    "random": lambda size: (BINARY, random.Random(size).randbytes(size)),
    "zeros": lambda size: (BINARY, bytes(size)),
}


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize("section", OFFERS)
def test_sections_12_and_13(section: str, filler: str) -> None:
    """Both roles, all sizes and fragments, with a twentieth of the 1,000 messages of each case."""
    accepted = deflate.accept_offer(ANY, deflate.parse_extensions(OFFERS[section]))
    assert accepted is not None
    parameters, _ = accepted
    for is_client in (False, True):
        sender = FrameSender(not is_client, deflater=Deflater(parameters, not is_client, ANY))
        inflater = Inflater(parameters, is_client, ratio_limit=2000)
        receiver = Recorder(is_client, inflater=inflater)
        for size in SIZES:
            kind, payload = FILLERS[filler](size)
            for _ in range(MESSAGES if size < 2000 else MESSAGES // 25):
                frame = sender.message(kind, payload)
                feed(receiver, [frame if isinstance(frame, bytes) else frame[0] + frame[1]])
                assert receiver.events.pop() == ("message", kind, payload)
        for size, fragment in FRAGMENTS:
            kind, payload = FILLERS[filler](size)
            pieces: list[bytes] = []
            for place in range(0, len(payload), fragment):
                frame = sender.fragment(kind, payload[place : place + fragment], place + fragment >= len(payload))
                pieces.append(frame if isinstance(frame, bytes) else frame[0] + frame[1])
            feed(receiver, pieces)
            assert receiver.events.pop() == ("message", kind, payload)
        assert receiver.events == []


# -- frames ----------------------------------------------------------------------------------------------------------


def test_rsv1() -> None:
    """Only the first frame of a message says that it is compressed, and a message need not be."""
    text = raw_deflate(b"hello")
    fine = [Frame(TEXT, text, rsv=4), Frame(TEXT, b"plain"), Frame(TEXT, text[:3], False, 4), Frame(0, text[3:])]
    hello = ("message", TEXT, "hello")
    assert feed(receiver_of(), [wire(fine, masked=True)]) == [hello, ("message", TEXT, "plain"), hello]
    for wrong in (
        [Frame(TEXT, text[:3], False, 4), Frame(CONTINUATION, text[3:], rsv=4)],
        [Frame(PING, b"", rsv=4)],
        [Frame(TEXT, text, rsv=6)],
    ):
        assert feed(receiver_of(), [wire(wrong, masked=True)]) == [("fail", 1002)]


def test_bad_text_in_a_compressed_message() -> None:
    for text in (b"good \xff bad", b"cut off \xc3"):
        assert feed(receiver_of(), [wire([Frame(TEXT, raw_deflate(text), rsv=4)], True)]) == [("fail", 1007)]


@given(st.binary(max_size=40))
def test_anything_that_is_no_deflate_data(data: bytes) -> None:
    events = feed(receiver_of(limit=10_000), [wire([Frame(BINARY, data, rsv=4)], masked=True)])
    assert len(events) == 1
    assert events[0][0] == "message" or events[0] in {("fail", 1007), ("fail", 1009)}


@given(st.binary(max_size=3000), st.integers(1, 50), st.booleans())
def test_cut_anywhere(payload: bytes, step: int, partial: bool) -> None:
    data = wire([Frame(BINARY, raw_deflate(payload), rsv=4), Frame(PING)], masked=True)
    receiver = receiver_of()
    receiver.partial = partial
    receiver.pauses = 3
    events = feed(receiver, [data[n : n + step] for n in range(0, len(data), step)])
    assert events[-1] == ("ping", b"")
    assert b"".join(event[2] for event in events[:-1]) == payload


def test_parts_stop_in_the_middle_of_inflating() -> None:
    """One small frame becomes much; whoever pauses gets it slice by slice."""
    data = wire([Frame(BINARY, raw_deflate(bytes(1 << 20)), rsv=4)], masked=True)
    receiver = receiver_of(ratio_limit=2000)
    receiver.partial = True
    receiver.pauses = 1 << 30
    assert receiver.receive_bytes(data) == len(data)
    seen = 0
    while not receiver.events[-1][3]:
        assert len(receiver.events) == seen + 1
        seen += 1
        receiver.paused = False
        receiver.receive_bytes(b"")
    sizes = [len(event[2]) for event in receiver.events]
    assert sum(sizes) == 1 << 20
    assert max(sizes) <= 4096
    assert sizes[-1] == 0


def test_streams_that_end() -> None:
    """RFC 7692 section 7.2.3.4: a block with BFINAL, and one zero byte behind it."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    final = stream.compress(b"hello") + stream.flush(zlib.Z_FINISH)
    hello = ("message", BINARY, b"hello")
    for parameters in (ALONE, SHARED):
        frames = [Frame(BINARY, final + b"\x00", rsv=4)] * 3
        assert feed(receiver_of(parameters), [wire(frames, masked=True)]) == [hello] * 3
    often = Frame(BINARY, final * deflate.FINAL_BLOCK_LIMIT + b"\x00", rsv=4)
    again = Frame(BINARY, final * (deflate.FINAL_BLOCK_LIMIT + 1) + b"\x00", rsv=4)
    joined = ("message", BINARY, b"hello" * deflate.FINAL_BLOCK_LIMIT)
    assert feed(receiver_of(), [wire([often, again], masked=True)]) == [joined, ("fail", 1008)]


def test_empty_messages_with_a_context() -> None:
    """The library gives nothing for a second flush, and an empty message still has one byte."""
    inflater = Inflater(SHARED, False)
    deflater = Deflater(SHARED, True, ANY)
    for payload in (b"", b"", b"x", b"", b"x"):
        data = deflater.compress(payload, True)
        assert data
        assert inflated(inflater, data) == payload
    parts = deflater.compress(b"abc", False) + deflater.compress(b"", False) + deflater.compress(b"", True)
    assert inflated(inflater, parts) == b"abc"


# -- limits ----------------------------------------------------------------------------------------------------------


def bomb(size: int) -> bytes:
    return raw_deflate(bytes(size))


@pytest.mark.parametrize("limit", [10_000, 1 << 20])
def test_a_bomb_ends_at_the_limit(limit: int) -> None:
    data = wire([Frame(BINARY, bomb(8 << 20), rsv=4)], masked=True)
    receiver = receiver_of(limit=limit, ratio_limit=1 << 30)
    pieces = [data[place : place + 1024] for place in range(0, len(data), 1024)]
    tracemalloc.start()
    try:
        assert feed(receiver, pieces) == [("fail", 1009)]
        assert tracemalloc.get_traced_memory()[1] < limit + 65536
    finally:
        tracemalloc.stop()
    assert receiver.failure is not None
    assert receiver.failure.limit == "inflated message"
    assert receiver.unfinished_bytes() == 0


def test_twenty_bytes() -> None:
    data = bomb(12_000)
    assert len(data) <= 32
    assert feed(receiver_of(limit=5_000), [wire([Frame(BINARY, data[:20], rsv=4)], masked=True)]) == [("fail", 1009)]


def test_exactly_the_limit() -> None:
    for size, fine in ((10_000, True), (10_001, False), (8192, True), (8193, True)):
        receiver = receiver_of(limit=10_000)
        events = feed(receiver, [wire([Frame(BINARY, bomb(size), rsv=4)] * 2, masked=True)])
        assert events == ([("message", BINARY, bytes(size))] * 2 if fine else [("fail", 1009)])


def test_the_ratio() -> None:
    data = wire([Frame(BINARY, bomb(4 << 20), rsv=4)], masked=True)
    receiver = receiver_of()
    assert feed(receiver, [data]) == [("fail", 1009)]
    assert receiver.failure is not None
    assert receiver.failure.limit == "inflation ratio"
    small = wire([Frame(BINARY, bomb(1 << 20), rsv=4)] * 3, masked=True)
    assert feed(receiver_of(), [small]) == [("message", BINARY, bytes(1 << 20))] * 3
    assert len(feed(receiver_of(ratio_limit=2000), [data])[0][2]) == 4 << 20


def test_four_limits_are_four() -> None:
    """Each fails by its own name, and the size on the wire is not that after inflating."""
    frame = Frame(BINARY, bomb(50_000), rsv=4)
    receiver = Recorder(
        is_client=False,
        frame_limit=len(frame.payload),
        message_limit=len(frame.payload),
        inflater=Inflater(ALONE, False, limit=50_000),
    )
    assert feed(receiver, [wire([frame], masked=True)]) == [("message", BINARY, bytes(50_000))]
    receiver.message_limit -= 1
    feed(receiver, [wire([frame], masked=True)])
    assert receiver.failure is not None
    assert receiver.failure.limit == "message"


# -- memory and giving away ------------------------------------------------------------------------------------------


def test_nothing_is_kept_without_a_context() -> None:
    deflater, inflater = Deflater(ALONE, True, ANY), Inflater(ALONE, False)
    assert inflated(inflater, deflater.compress(b"x" * 1000, True)) == b"x" * 1000
    assert deflater.stream is None
    assert inflater.stream is None
    keeping = Inflater(SHARED, False)
    inflated(keeping, raw_deflate(b"x"))
    assert keeping.stream is not None


def test_positions_of_compressed_connections() -> None:
    data = wire([Frame(TEXT, raw_deflate(b"hello"), rsv=4)], masked=True)
    for place in (0, 1, 5, len(data)):  # before the payload, and behind the message
        first, second = receiver_of(), receiver_of()
        first.receive_bytes(data[:place])
        second.adopt(first.detach())
        second.receive_bytes(data[place:] + data)
        assert first.events + second.events == [("message", TEXT, "hello")] * 2
    amid = receiver_of()
    amid.receive_bytes(data[:9])
    keeping = receiver_of(SHARED)
    keeping.receive_bytes(data)
    for refused in (amid, keeping):
        with pytest.raises(OSError, match="compression context") as caught:
            refused.detach()
        assert getattr(caught.value, "winerror", 0) == errors.ERROR_NOT_SUPPORTED


def test_counters() -> None:
    deflater, inflater = Deflater(ALONE, True, ANY), Inflater(ALONE, False)
    data = deflater.compress(b"x" * 1000, True)
    inflated(inflater, data)
    assert (deflater.bytes_in, deflater.bytes_out) == (1000, len(data))
    assert (inflater.bytes_in, inflater.bytes_out) == (len(data), 1000)
    assert deflater.wants(b"x" * 64)
    assert not deflater.wants(b"x" * 63)
    with pytest.raises(WebSocketProtocolError):
        inflated(inflater, b"\xff\xff")
