"""What peers may do within TLS, and what they must not: odd, forbidden and endless records, made with the real keys."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import connected_sockets, receive, reset, turns, until
from tests.engine.tls_pairs import VERSIONS, authority, client_session, secured, server_session
from tests.engine.tls_records import (
    ALERT,
    APPLICATION_DATA,
    FATAL,
    HANDSHAKE,
    HELLO_REQUEST,
    INTERNAL_ERROR,
    KEY_UPDATE,
    USER_CANCELED,
    WARNING,
    Forger,
    LoggedSession,
)

from moorings import Buffer, EndReason, errors
from moorings.certificates.trust import TrustAnchors
from moorings.engine.hub import current_hub
from moorings.engine.layered_tls import LayeredTlsStream
from moorings.engine.tls_codec import TlsSession
from moorings.engine.tls_full_codec import FullTlsSession
from moorings.engine.tls_handshake import shake_hands
from moorings.engine.tls_stream import TLS_ANSWERS_LIMIT, TLS_IDLE_LIMIT
from moorings.foundation.home import TURN_BYTES_LIMIT
from moorings.sockets.enums import SocketProtectionLevel
from moorings.sockets.tls_context import ContextKey, TlsMemory, server_context
from moorings.sockets.tls_settings import as_certificate
from moorings.testing.scripted import ScriptedStream

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from moorings import StreamSocket

both_versions = pytest.mark.parametrize("version", VERSIONS)
both_roles = pytest.mark.parametrize("client", [True, False], ids=["as client", "as server"])
NONE, PARTIAL = 0, 1


class Wire:
    """The raw end of a connection, which sends forged records."""

    def __init__(self, plain: socket.socket, session: LoggedSession) -> None:
        self.plain = plain
        self.session = session
        self.forger = Forger(session)

    async def send(self, *pieces: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.plain, b"".join(pieces))

    async def received(self) -> bytes:
        """Some plaintext from us."""
        memory = memoryview(bytearray(65536))
        while (count := self.session.read_into(memory, len(memory))) < 0:
            self.session.feed(await asyncio.get_running_loop().sock_recv(self.plain, 65536))
        return bytes(memory[:count])


@asynccontextmanager
async def stream_and_forger(
    version: str, *, client: bool, session: Any = None, send_buffer: int = 0
) -> AsyncIterator[tuple[StreamSocket, Wire]]:
    ours, theirs = connected_sockets(send_buffer=send_buffer)
    mine = session or (client_session(version) if client else server_session(version))
    other = LoggedSession(version, client=not client)
    stream, _ = await asyncio.gather(secured(ours, mine, client=client), shake_hands(theirs, other, "the forger"))
    try:
        yield stream, Wire(theirs, other)
    finally:
        stream.abort()
        theirs.close()


async def lives(stream: StreamSocket, wire: Wire) -> None:
    await wire.send(wire.forger.data(b"still there?"))
    assert await stream.read() == b"still there?"
    await stream.write(b"yes")
    assert await wire.received() == b"yes"
    assert stream.end_reason == EndReason.OPEN


async def refuses(stream: StreamSocket, winerror: int, match: str, reason: EndReason) -> None:
    """The next read is told, and every one and every write behind it."""
    for _ in range(2):
        with pytest.raises(OSError, match=match) as caught:
            await stream.read()
        assert caught.value.winerror == winerror  # type: ignore[attr-defined]
    with pytest.raises(OSError, match=match):
        await stream.write(b"late")
    assert stream.end_reason == reason


# -- key updates -----------------------------------------------------------------------------------------------------


@both_roles
@pytest.mark.parametrize("request_ours", [False, True], ids=["theirs", "both"])
async def test_key_updates(client: bool, request_ours: bool) -> None:
    async with stream_and_forger("TLS 1.3", client=client) as (stream, wire):
        for number in range(40):
            before, after = b"before %d" % number, b"after %d" % number
            await wire.send(
                wire.forger.data(before), wire.forger.key_update(request=request_ours), wire.forger.data(after)
            )
            assert await stream.read_exactly(len(before + after)) == before + after
            await stream.write(b"answer %d" % number)
            assert await wire.received() == b"answer %d" % number
        assert stream.counters.bytes_received == sum(len(b"before %dafter %d" % (n, n)) for n in range(40))


@both_roles
async def test_a_key_update_in_the_middle_of_a_big_write(client: bool) -> None:
    """Our new keys begin between two records, wherever our queue stands."""
    async with stream_and_forger("TLS 1.3", client=client, send_buffer=16384) as (stream, wire):
        data = bytes(range(256)) * 4096
        writing = asyncio.ensure_future(stream.write(data))
        reading = asyncio.create_task(stream.read())
        await turns(3)
        await wire.send(wire.forger.key_update(request=True))
        received = b""
        while len(received) < len(data):
            received += await wire.received()
        assert received == data
        await writing
        await wire.send(wire.forger.data(b"done"))
        assert await reading == b"done"


@both_roles
@pytest.mark.parametrize("message", [b"\x18\0\0\x01\x07", KEY_UPDATE * 2, b"\x18\0\0\0"])
async def test_key_updates_that_are_none(client: bool, message: bytes) -> None:
    async with stream_and_forger("TLS 1.3", client=client) as (stream, wire):
        await wire.send(wire.forger.record(HANDSHAKE, message))
        await refuses(stream, errors.SEC_E_ILLEGAL_MESSAGE, "breaks the protocol", EndReason.ABORTED)


# -- renegotiation ---------------------------------------------------------------------------------------------------


def product_client(path: str) -> Any:
    """A session as `connect_async` makes it."""
    key = ContextKey(
        SocketProtectionLevel.TLS12,
        SocketProtectionLevel.UNSPECIFIED,
        TrustAnchors(certificates=[authority().cert_pem.bytes()]),
        None,
        (),
    )
    if path == "fast path":
        return TlsSession(TlsMemory().fast(key), server_name="localhost")
    return FullTlsSession(TlsMemory().full(key), sni="localhost", alpn=(), judge=lambda _chain, _finding: True)


def product_server() -> TlsSession:
    """A session as a listener makes it."""
    from tests.engine.tls_pairs import server_certificate

    pem = server_certificate().private_key_and_cert_chain_pem.bytes()
    from moorings import Certificate

    context = server_context(as_certificate(Certificate.from_pem(pem), "the test"), None, ())  # type: ignore[arg-type]
    return TlsSession(context, server_side=True)


@pytest.mark.parametrize("path", ["fast path", "full path"])
async def test_a_server_that_asks_for_renegotiation_is_told_no(path: str) -> None:
    async with stream_and_forger("TLS 1.2", client=True, session=product_client(path)) as (stream, wire):
        reading = asyncio.create_task(stream.read())
        await wire.send(wire.forger.record(HANDSHAKE, HELLO_REQUEST))
        alert = await receive(wire.plain, 31)
        assert alert[0] == ALERT
        await wire.send(wire.forger.data(b"then not"))
        assert await reading == b"then not"
        assert stream.end_reason == EndReason.OPEN


async def test_a_client_that_begins_to_renegotiate_is_told_no() -> None:
    async with stream_and_forger("TLS 1.2", client=False, session=product_server()) as (stream, wire):
        reading = asyncio.create_task(stream.read())
        hello = client_session("TLS 1.2")
        hello.step()
        await wire.send(wire.forger.record(HANDSHAKE, hello.take_ciphertext()[5:]))
        answer = await receive(wire.plain, 31)
        assert answer[0] == ALERT
        with contextlib.suppress(OSError):
            await wire.send(wire.forger.data(b"then not"))
        with contextlib.suppress(OSError):
            assert await reading == b"then not"


async def test_asking_for_renegotiation_for_ever_ends_the_connection() -> None:
    async with stream_and_forger("TLS 1.2", client=True, session=product_client("fast path")) as (stream, wire):
        reading = asyncio.create_task(stream.read())
        with contextlib.suppress(OSError):
            await wire.send(*(wire.forger.record(HANDSHAKE, HELLO_REQUEST) for _ in range(20000)))
        with pytest.raises(OSError, match="nothing but records without data"):
            await reading
        assert stream.end_reason == EndReason.ABORTED


# -- floods ----------------------------------------------------------------------------------------------------------


@both_roles
@pytest.mark.parametrize("request_ours", [False, True], ids=["theirs", "both"])
async def test_key_updates_without_end_end_the_connection(client: bool, request_ours: bool) -> None:
    async with stream_and_forger("TLS 1.3", client=client) as (stream, wire):
        flood = b"".join(wire.forger.key_update(request=request_ours) for _ in range(4 * TLS_IDLE_LIMIT // 27))
        sending = asyncio.create_task(wire.send(flood))
        await refuses(stream, errors.SEC_E_ILLEGAL_MESSAGE, "nothing but records without data", EndReason.ABORTED)
        await asyncio.wait([sending])
        sending.exception()


@both_roles
async def test_a_peer_that_wants_answers_and_never_reads_them_is_bounded(client: bool) -> None:
    """Each key update comes with data, so that it is no flood; but the answers pile up here."""
    async with stream_and_forger("TLS 1.3", client=client, send_buffer=4096) as (stream, wire):
        stream.write(bytes(16 << 20))  # nobody reads it: the connection is full
        await until(lambda: stream._connection.stream.write_blocked)  # type: ignore[union-attr]

        async def send() -> None:
            for _ in range(10 * TLS_ANSWERS_LIMIT // 27):
                await wire.send(wire.forger.key_update(request=True), wire.forger.data(b"x"))

        sending = asyncio.create_task(send())
        count = 0
        with pytest.raises(OSError, match="does not take the answers"):  # noqa: PT012
            while True:
                count += len(await stream.read())
        assert count < 8 * TLS_ANSWERS_LIMIT // 27  # (some of them were sent while the connection was filling up)
        assert stream.end_reason == EndReason.ABORTED
        await asyncio.wait([sending])
        sending.exception()


@both_roles
async def test_a_flood_without_data_leaves_the_loop_to_others(client: bool) -> None:
    """A long read takes what there is; records that carry little count as much as those that carry all."""
    mine, other = (client_session(), LoggedSession("TLS 1.3", client=False))
    if not client:
        mine, other = server_session(), LoggedSession("TLS 1.3", client=True)
    both = (mine, other) if client else (other, mine)
    for _ in range(2):
        for sender, receiver in (both, both[::-1]):
            sender.step()
            if sender.wants_send():
                receiver.feed(sender.take_ciphertext())
    forger = Forger(other)
    pieces: list[bytes] = []
    count = 3 * TURN_BYTES_LIMIT // (22 * 30)
    for _ in range(count):
        pieces += [forger.data(b"") for _ in range(30)]
        pieces.append(forger.data(b"x"))
    lower = ScriptedStream([b"".join(pieces[start : start + 100]) for start in range(0, len(pieces), 100)])
    stream = LayeredTlsStream(current_hub(), lower, "the layer", mine)
    reading = stream.read(Buffer(count), count, NONE)
    turns_of_others = 0
    while not reading.done():
        taken = lower.bytes_received
        await asyncio.sleep(0)
        turns_of_others += 1
        assert lower.bytes_received - taken <= TURN_BYTES_LIMIT + 65536
    assert bytes(reading.get_results()) == b"x" * count
    assert turns_of_others >= 2
    stream.abort()


@both_versions
@both_roles
async def test_empty_records(version: str, client: bool) -> None:
    """A few are allowed (some hide lengths with them), and are no end of the stream; many are a flood."""
    async with stream_and_forger(version, client=client) as (stream, wire):
        for _ in range(5):
            reading = asyncio.create_task(stream.read())
            await wire.send(*(wire.forger.data(b"") for _ in range(10)))
            await turns(5)
            assert not reading.done()
            await wire.send(wire.forger.data(b"x"))
            assert await reading == b"x"
        await lives(stream, wire)
        await wire.send(*(wire.forger.data(b"") for _ in range(40)))
        await refuses(stream, errors.SEC_E_ILLEGAL_MESSAGE, "breaks the protocol", EndReason.ABORTED)


@both_versions
@both_roles
async def test_warnings(version: str, client: bool) -> None:
    async with stream_and_forger(version, client=client) as (stream, wire):
        await wire.send(*(wire.forger.alert(WARNING, USER_CANCELED) for _ in range(3)))
        await lives(stream, wire)
        await wire.send(*(wire.forger.alert(WARNING, USER_CANCELED) for _ in range(10)))
        await refuses(stream, errors.SEC_E_ILLEGAL_MESSAGE, "breaks the protocol", EndReason.ABORTED)


# -- records ---------------------------------------------------------------------------------------------------------


@both_versions
@both_roles
async def test_a_fatal_alert_is_the_peers_end(version: str, client: bool) -> None:
    async with stream_and_forger(version, client=client) as (stream, wire):
        await wire.send(wire.forger.data(b"last words"), wire.forger.alert(FATAL, INTERNAL_ERROR))
        assert await stream.read() == b"last words"
        await refuses(stream, errors.SEC_E_ILLEGAL_MESSAGE, "alert.*internal error", EndReason.RESET)


@both_versions
@both_roles
async def test_the_biggest_record_and_one_beyond(version: str, client: bool) -> None:
    async with stream_and_forger(version, client=client) as (stream, wire):
        await wire.send(wire.forger.data(bytes(16384)))
        assert await stream.read_exactly(16384) == bytes(16384)
        await wire.send(wire.forger.data(b"fits"), wire.forger.data(bytes(16385)))
        assert await stream.read() == b"fits"
        await refuses(stream, errors.SEC_E_MESSAGE_ALTERED, "TLS failed", EndReason.ABORTED)


@both_versions
@both_roles
@pytest.mark.parametrize(
    "raw",
    [b"\x17\3\3\xff\xff" + bytes(100), b"\x17\3\3\0\0", b"\x17\3\0\0\x30" + bytes(48), b"\x17\3\3\0\x30" + bytes(48)],
    ids=["huge", "shorter than its tag", "of another version", "with other keys"],
)
async def test_records_that_are_none(version: str, client: bool, raw: bytes) -> None:
    async with stream_and_forger(version, client=client) as (stream, wire):
        await wire.send(wire.forger.data(b"before"), raw)
        assert await stream.read() == b"before"
        with pytest.raises(OSError, match="TLS failed"):
            await stream.read()
        assert stream.end_reason == EndReason.ABORTED
        assert stream.counters.unread_bytes == 0


@both_versions
@both_roles
@pytest.mark.parametrize(("kind", "content"), [(99, b"abc"), (ALERT, b"\1"), (HANDSHAKE, b"\x63\0\0\1x")])
async def test_records_of_a_wrong_kind(version: str, client: bool, kind: int, content: bytes) -> None:
    async with stream_and_forger(version, client=client) as (stream, wire):
        await wire.send(wire.forger.data(b"before"), wire.forger.record(kind, content))
        assert await stream.read() == b"before"
        with pytest.raises(OSError, match="TLS failed") as caught:
            await stream.read()
        assert "the peer ended TLS with an alert" not in str(caught.value)
        assert stream.end_reason == EndReason.ABORTED


@both_versions
@both_roles
async def test_a_record_that_is_sent_again_is_refused(version: str, client: bool) -> None:
    async with stream_and_forger(version, client=client) as (stream, wire):
        record = wire.forger.data(b"once")
        await wire.send(record, record)
        assert await stream.read() == b"once"
        await refuses(stream, errors.SEC_E_MESSAGE_ALTERED, "changed on its way", EndReason.ABORTED)


@both_versions
@both_roles
async def test_plaintext_after_the_handshake_is_refused(version: str, client: bool) -> None:
    async with stream_and_forger(version, client=client) as (stream, wire):
        plain = b"GET / HTTP/1.1\r\n"
        await wire.send(bytes([APPLICATION_DATA, 3, 3]) + len(plain).to_bytes(2, "big") + plain)
        with pytest.raises(OSError, match="TLS failed"):
            await stream.read()
        assert stream.counters.bytes_received == 0


# -- ends ------------------------------------------------------------------------------------------------------------


@both_versions
@both_roles
async def test_a_run_of_records_that_a_reset_cuts_off(version: str, client: bool) -> None:
    """Whole records before the reset are delivered, or the reset is told; never a part of one, never a clean end."""
    async with stream_and_forger(version, client=client) as (stream, wire):
        records = [wire.forger.data(bytes([number]) * 1000) for number in range(10)]
        await wire.send(b"".join(records)[:-500])
        received = await stream.read_exactly(1000)
        reset(wire.plain)
        with pytest.raises(ConnectionResetError):  # noqa: PT012
            while piece := await stream.read():
                received += piece
        assert received == b"".join(bytes([number]) * 1000 for number in range(9))[: len(received)]
        assert len(received) % 1000 == 0
        assert stream.end_reason == EndReason.RESET


@both_versions
@both_roles
async def test_a_reset_that_a_write_was_told_is_no_truncation(version: str, client: bool) -> None:
    """The kernel tells only once why a connection broke."""
    async with stream_and_forger(version, client=client) as (stream, wire):
        reset(wire.plain)
        with pytest.raises(ConnectionResetError):
            await stream.write(b"never arrives")
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await stream.read()
        assert stream.end_reason == EndReason.RESET


@both_versions
@both_roles
async def test_data_behind_close_notify_is_not_delivered(version: str, client: bool) -> None:
    async with stream_and_forger(version, client=client) as (stream, wire):
        await wire.send(wire.forger.data(b"last"), wire.forger.alert(WARNING, 0), wire.forger.data(b"beyond the end"))
        assert [await stream.read() for _ in range(3)] == [b"last", b"", b""]
        assert stream.end_reason == EndReason.CLOSED_BY_PEER
        await stream.write(b"our direction lives")
        assert await wire.received() == b"our direction lives"


@both_versions
@both_roles
async def test_one_byte_at_a_time_in_both_directions(version: str, client: bool) -> None:
    async with stream_and_forger(version, client=client, send_buffer=4096) as (stream, wire):
        for number in range(20):
            for byte in wire.forger.data(b"%02d" % number):
                await wire.send(bytes([byte]))
                await asyncio.sleep(0)
            assert await stream.read_exactly(2) == b"%02d" % number
            await stream.write(b"%02d" % number)
            received = b""
            while len(received) < 2:
                received += await wire.received()
            assert received == b"%02d" % number
