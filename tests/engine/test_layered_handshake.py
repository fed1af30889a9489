"""The TLS handshake over another stream, on either side. Over scripted streams, without a network."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.layer_pairs import Peer
from tests.engine.pairs import PATIENCE, turns
from tests.engine.tls_pairs import VERSIONS, client_session, server_session

from moorings import Buffer, errors
from moorings.engine.hub import current_hub
from moorings.engine.layered_tls import LayeredTlsStream
from moorings.engine.tls_codec import FailureKind, TlsFailure, TlsSession
from moorings.engine.tls_handshake import shake_hands_over
from moorings.testing.scripted import END, ScriptedStream

if TYPE_CHECKING:
    from collections.abc import Callable

both_versions = pytest.mark.parametrize("version", VERSIONS)
PARTIAL = 1


async def answer(lower: ScriptedStream, session: TlsSession, size: int, done: Callable[[], bool]) -> None:
    """Play the other side of a handshake, in pieces of `size` bytes."""
    seen = 0
    while not done():
        sent = lower.sent
        session.feed(sent[seen:])
        seen = len(sent)
        try:
            session.step()
        except TlsFailure:
            return
        reply = session.take_ciphertext()
        for start in range(0, len(reply), size):
            lower.feed(reply[start : start + size])
            await asyncio.sleep(0)
        await asyncio.sleep(0)


@both_versions
@pytest.mark.parametrize("suspend", [False, True])
@pytest.mark.parametrize("size", [1, 7, 100000])
@pytest.mark.parametrize("client", [True, False], ids=["as client", "as server"])
async def test_a_handshake_in_pieces_of_any_size(version: str, client: bool, size: int, suspend: bool) -> None:
    lower = ScriptedStream(suspend=suspend, sends=[1] * 50)
    mine, other = client_session(version), server_session(version)
    if not client:
        mine, other = other, mine
        other.step()
        lower.feed(other.take_ciphertext())
    shaking = asyncio.create_task(shake_hands_over(lower, mine, "the layer"))
    async with asyncio.timeout(PATIENCE):
        await answer(lower, other, size, shaking.done)
        await shaking
    assert mine.version() == version.replace(" ", "v")
    lower.close()


@both_versions
async def test_bytes_behind_the_handshake_are_not_lost(version: str) -> None:
    """The server's first words may come in one piece with its last handshake message."""
    client, server = client_session(version), server_session(version)
    lower = ScriptedStream()
    shaking = asyncio.create_task(shake_hands_over(lower, client, "the layer"))
    peer = Peer(lower, server)
    while True:
        await turns(2)
        sent = lower.sent
        server.feed(sent[peer.seen :])
        peer.seen = len(sent)
        if server.step():
            break
        lower.feed(server.take_ciphertext())
    lower.feed(server.take_ciphertext() + peer.records(b"greeting"))
    await shaking
    stream = LayeredTlsStream(current_hub(), lower, "the layer", client)
    assert bytes(await stream.read(Buffer(100), 100, PARTIAL)) == b"greeting"
    stream.abort()


@both_versions
async def test_a_client_hello_glued_to_plaintext_belongs_to_the_handshake(version: str) -> None:
    """A server that agrees to TLS in mid-stream: what came behind the command is TLS's, whatever it is."""
    client, server = client_session(version), server_session(version)
    client.step()
    lower = ScriptedStream([b"STARTTLS\r\n" + client.take_ciphertext()])
    await lower.fill()
    assert lower.take_stash(lower.find_in_stash(b"\n", 0) + 1) == b"STARTTLS\r\n"
    shaking = asyncio.create_task(shake_hands_over(lower, server, "the layer"))
    async with asyncio.timeout(PATIENCE):
        await answer(lower, client, 1000, shaking.done)
        await shaking
    assert server.version() == version.replace(" ", "v")
    lower.close()


async def test_plaintext_glued_to_the_command_is_no_tls() -> None:
    """It is neither dropped nor taken for something that came through TLS."""
    lower = ScriptedStream([b"STARTTLS\r\nRCPT TO:<somebody@example.org>\r\n"])
    await lower.fill()
    lower.take_stash(lower.find_in_stash(b"\n", 0) + 1)
    with pytest.raises(TlsFailure):
        await shake_hands_over(lower, server_session(), "the layer")
    lower.close()


async def test_a_peer_that_does_not_speak_tls() -> None:
    lower = ScriptedStream([b"HTTP/1.1 400 Bad Request\r\n\r\n"])
    with pytest.raises(TlsFailure) as caught:
        await shake_hands_over(lower, client_session(), "the layer")
    assert caught.value.kind is FailureKind.NOT_TLS
    assert lower.is_open()
    lower.close()


async def test_the_alert_of_a_refusal_is_sent() -> None:
    lower = ScriptedStream(suspend=True)
    refusing = TlsSession(ssl.create_default_context(), server_name="localhost")
    shaking = asyncio.create_task(shake_hands_over(lower, refusing, "the layer"))
    await answer(lower, server_session("TLS 1.2"), 1000, shaking.done)
    with pytest.raises(TlsFailure) as caught:
        await shaking
    assert caught.value.kind is FailureKind.CERTIFICATE
    lower.close()
    assert lower.send_log[-1][0] == 21


@pytest.mark.parametrize("script", [[END], [b"\x16\x03\x03", END]])
async def test_a_peer_that_ends_in_the_handshake(script: list[Any]) -> None:
    lower = ScriptedStream(script)
    with pytest.raises(ConnectionResetError, match="in the TLS handshake") as caught:
        await shake_hands_over(lower, client_session(), "the layer")
    assert caught.value.winerror == errors.WSAECONNRESET  # type: ignore[attr-defined]
    lower.close()


async def test_a_handshake_that_is_cancelled_takes_nothing_along() -> None:
    lower = ScriptedStream()
    shaking = asyncio.create_task(shake_hands_over(lower, client_session(), "the layer"))
    await turns(3)
    shaking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await shaking
    assert not lower.reading()
    lower.abort()
