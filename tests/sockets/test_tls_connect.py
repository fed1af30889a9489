"""Connecting with TLS: levels, verdicts, what is known afterwards, and what never goes out before."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import turns
from tests.sockets.peers import plain_listener, port_of
from tests.sockets.tls_servers import (
    LEVELS,
    LOCALHOST,
    VERSIONS,
    authority,
    bad_leaf,
    client_identity,
    server_certificate,
    server_context,
    serving,
    trusting,
    trusts_nobody,
)

from moorings import EndReason, SocketErrorStatus, errors
from moorings.certificates.certificate import Certificate
from moorings.certificates.enums import ChainValidationResult as Result
from moorings.certificates.trust import TrustAnchors
from moorings.sockets.enums import SocketSslErrorSeverity
from winrt.windows.networking import EndpointPair, HostName
from winrt.windows.networking.sockets import SocketProtectionLevel, StreamSocket

if TYPE_CHECKING:
    from collections.abc import Callable

Level = SocketProtectionLevel
both_versions = pytest.mark.parametrize("version", VERSIONS)


def bad_context(version: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = VERSIONS[version]
    bad_leaf().configure_cert(context)
    return context


async def refused(ours: StreamSocket, port: str, level: Level = Level.TLS13, host: HostName = LOCALHOST) -> Any:
    with pytest.raises(OSError) as caught:
        await ours.connect_async(host, port, level)
    return caught.value


# -- what goes well --------------------------------------------------------------------------------------------------


@both_versions
async def test_connect(version: str) -> None:
    async with serving(server_context(version)) as served:
        ours = trusting()
        await ours.connect_async(LOCALHOST, served.port, Level.TLS13)
        information = ours.information
        await ours.write(b"hello")
        assert await ours.read() == b"hello"
        assert information.protection_level == LEVELS[version]
        assert information.cipher
        assert list(information.server_certificate_errors) == []
        assert information.server_certificate_error_severity == SocketSslErrorSeverity.NONE
        assert information.server_certificate is not None
        pem = server_certificate().cert_chain_pems[0].bytes().decode()
        assert bytes(information.server_certificate.get_certificate_blob()) == ssl.PEM_cert_to_DER_cert(pem)
        assert list(information.server_intermediate_certificates) == []
        await ours.aclose()
        assert ours.end_reason == EndReason.CLOSED_BY_US
        assert information.protection_level == LEVELS[version]
    assert served.failures == []


@pytest.mark.parametrize("level", [Level.SSL, Level.SSL_ALLOW_NULL_ENCRYPTION, Level.TLS12, Level.TLS13])
async def test_the_level_is_the_highest_version(level: Level) -> None:
    async with serving(server_context("TLS 1.3")) as served:
        ours = trusting()
        await ours.connect_async(LOCALHOST, served.port, level)
        assert ours.information.protection_level == (Level.TLS12 if level == Level.TLS12 else Level.TLS13)
        await ours.aclose()


@pytest.mark.parametrize("level", [Level.TLS10, Level.TLS11])
async def test_versions_that_openssl_no_longer_has(level: Level) -> None:
    async with serving(server_context("TLS 1.2")) as served:
        ours = trusting()
        error = await refused(ours, served.port, level)
        assert error.winerror in {errors.SEC_E_ALGORITHM_MISMATCH, errors.SEC_E_ILLEGAL_MESSAGE}
        ours.close()


async def test_a_server_below_the_floor_behaves_as_one_without_tls() -> None:
    async with serving(server_context("TLS 1.2")) as served:
        ours = trusting(min_protection_level=Level.TLS13)
        await refused(ours, served.port)
        assert ours.information.protection_level == Level.PLAIN_SOCKET
        ours.control.min_protection_level = Level.TLS12
        await ours.connect_async(LOCALHOST, served.port, Level.TLS13)
        assert ours.information.protection_level == Level.TLS12
        await ours.aclose()


async def test_a_floor_above_the_level() -> None:
    ours = trusting(min_protection_level=Level.TLS13)
    with pytest.raises(OSError, match="above TLS12") as caught:
        ours.connect_async(LOCALHOST, "80", Level.TLS12)
    assert caught.value.winerror == errors.E_INVALIDARG


@both_versions
async def test_endpoint_pair_and_address(version: str) -> None:
    async with serving(server_context(version)) as served:
        ours = trusting()
        pair = EndpointPair(None, "", HostName("127.0.0.1"), served.port)
        await ours.connect_with_endpoint_pair_and_protection_level_async(pair, Level.TLS13)
        await ours.write(b"x")
        assert await ours.read() == b"x"
        await ours.aclose()


async def test_another_name_than_the_host() -> None:
    names: list[str | None] = []
    context = server_context("TLS 1.3")
    context.sni_callback = lambda _object, name, _context: names.append(name)
    async with serving(context) as served:
        ours = trusting(server_name="localhost")
        await ours.connect_async(HostName("127.0.0.1"), served.port, Level.TLS13)
        await ours.aclose()
        other = trusting(server_name="Other.Example")
        error = await refused(other, served.port)
        assert "other.example" in error.reason
        assert names == ["localhost", "other.example"]


async def test_application_protocols() -> None:
    context = server_context("TLS 1.3")
    context.set_alpn_protocols(["http/1.1"])
    async with serving(context) as served:
        for offered, agreed in ((("h2", "http/1.1"), "http/1.1"), ((), "")):
            ours = trusting(alpn_protocols=offered)
            assert ours.control.alpn_protocols == offered
            await ours.connect_async(LOCALHOST, served.port, Level.TLS13)
            assert ours.information.alpn_protocol == agreed
            await ours.aclose()


@both_versions
async def test_the_second_handshake_is_shorter(version: str) -> None:
    async with serving(server_context(version)) as served:

        async def connect(**settings: Any) -> StreamSocket:
            ours = trusting(**settings)
            await ours.connect_async(LOCALHOST, served.port, Level.TLS13)
            await ours.write(b"x")
            assert await ours.read() == b"x"
            await ours.aclose()
            return ours

        first, second = await connect(), await connect()
        assert (first.information.is_resumed, second.information.is_resumed) == (False, True)
        assert second.information.server_certificate is not None
        # With another certificate, other roots or errors to ignore nothing that was decided before counts.
        assert not (await connect(client_certificate=client_identity())).information.is_resumed
        assert not (await connect(trust_anchors=fresh_trust())).information.is_resumed
        assert not (await connect(server_name="127.0.0.1")).information.is_resumed
        ours = trusting()
        ours.control.ignorable_server_certificate_errors.append(Result.EXPIRED)
        await ours.connect_async(LOCALHOST, served.port, Level.TLS13)
        assert not ours.information.is_resumed
        await ours.aclose()
        assert (await connect()).information.is_resumed


def fresh_trust() -> TrustAnchors:
    return TrustAnchors(certificates=[authority().cert_pem.bytes()])


# -- verdicts --------------------------------------------------------------------------------------------------------


@both_versions
async def test_the_flow_of_the_samples(version: str) -> None:
    """Refused; everything known; the errors made ignorable; connected, on the same socket."""
    async with serving(bad_context(version)) as served:
        ours = trusting()
        error = await refused(ours, served.port)
        assert error.status == SocketErrorStatus.CERTIFICATE_EXPIRED
        assert error.winerror == errors.CERT_E_EXPIRED
        assert "localhost" in error.reason
        assert "EXPIRED, INVALID_NAME" in error.reason
        assert "ignorable_server_certificate_errors" in error.reason
        information = ours.information
        found = list(information.server_certificate_errors)
        assert found == [Result.EXPIRED, Result.INVALID_NAME]
        assert information.server_certificate_error_severity == SocketSslErrorSeverity.IGNORABLE
        assert information.server_certificate is not None
        assert information.protection_level == Level.PLAIN_SOCKET
        ours.control.ignorable_server_certificate_errors.extend(found)
        await ours.connect_async(LOCALHOST, served.port, Level.TLS13)
        await ours.write(b"all the same")
        assert await ours.read() == b"all the same"
        assert information.protection_level == LEVELS[version]
        assert list(information.server_certificate_errors) == found
        await ours.aclose()


@both_versions
@pytest.mark.parametrize("ignored", [Result.EXPIRED, Result.INVALID_NAME, Result.UNTRUSTED])
async def test_ignoring_one_error_hides_no_other(version: str, ignored: Result) -> None:
    async with serving(bad_context(version)) as served:
        ours = trusting()
        ours.control.ignorable_server_certificate_errors.append(ignored)
        await refused(ours, served.port)
        assert list(ours.information.server_certificate_errors) == [Result.EXPIRED, Result.INVALID_NAME]
        assert served.received == []
        ours.close()


@both_versions
async def test_both_paths_name_the_same_errors(version: str) -> None:
    async with serving(bad_context(version)) as served:
        found = []
        for ignored in ([], [Result.WRONG_USAGE]):
            ours = trusting(trust_anchors=trusts_nobody())
            ours.control.ignorable_server_certificate_errors.extend(ignored)
            error = await refused(ours, served.port)
            found.append((error.winerror, error.status, list(ours.information.server_certificate_errors)))
            ours.close()
        assert found[0] == found[1]
        assert Result.EXPIRED in found[0][2]


@pytest.mark.parametrize("fatal", [Result.REVOKED, Result.INVALID_SIGNATURE, Result.OTHER_ERRORS, Result.SUCCESS])
async def test_what_is_never_ignored(fatal: Result) -> None:
    ours = trusting()
    ours.control.ignorable_server_certificate_errors.append(fatal)
    with pytest.raises(OSError, match=fatal.name) as caught:
        ours.connect_async(LOCALHOST, "80", Level.TLS13)
    assert caught.value.winerror == errors.E_INVALIDARG
    with plain_listener() as listening:
        await ours.connect_async(HostName("127.0.0.1"), port_of(listening))
    ours.abort()


@both_versions
@pytest.mark.parametrize("ignored", [[], [Result.UNTRUSTED]], ids=["fast path", "full path"])
async def test_a_client_certificate_goes_to_accepted_servers_only(version: str, ignored: list[Result]) -> None:
    context = server_context(version)
    context.verify_mode = ssl.CERT_REQUIRED
    authority().configure_trust(context)
    async with serving(context) as served:
        ours = trusting(client_certificate=client_identity())
        ours.control.ignorable_server_certificate_errors.extend(ignored)
        await ours.connect_async(LOCALHOST, served.port, Level.TLS13)
        await ours.write(b"x")
        assert await ours.read() == b"x"
        await ours.aclose()
        (peer,) = served.peers
        assert peer is not None
        assert peer["subjectAltName"] == (("email", "client@example.org"),)


@both_versions
@pytest.mark.parametrize("ignored", [[], [Result.EXPIRED]], ids=["fast path", "full path"])
async def test_nothing_is_said_to_a_server_that_is_not_accepted(version: str, ignored: list[Result]) -> None:
    """The server sees a ClientHello and then nothing but an alert: no certificate, no byte of the program's."""
    context = bad_context(version)
    context.verify_mode = ssl.CERT_REQUIRED
    authority().configure_trust(context)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    loop = asyncio.get_running_loop()
    with plain_listener() as listening:
        listening.setblocking(False)
        ours = trusting(client_certificate=client_identity())
        ours.control.ignorable_server_certificate_errors.extend(ignored)
        connecting = asyncio.ensure_future(refused(ours, port_of(listening)))
        peer, _ = await loop.sock_accept(listening)
        with peer:
            received = await loop.sock_recv(peer, 65536)
            incoming.write(received)
            with pytest.raises(ssl.SSLWantReadError):
                server.do_handshake()
            await loop.sock_sendall(peer, outgoing.read())
            await connecting
            rest = b""
            while data := await loop.sock_recv(peer, 65536):
                rest += data
    kinds = []
    while rest:
        kind, _, length = struct.unpack("!BHH", rest[:5])
        kinds.append((kind, length))
        rest = rest[5 + length :]
    alert = 21
    # TLS 1.3 dresses the alert up as application data once it has keys; a dummy change_cipher_spec may come before it.
    assert [kind for kind, _ in kinds if kind != 20] in ([alert], [23])
    assert sum(length for _, length in kinds) < 40


# -- what goes wrong -------------------------------------------------------------------------------------------------


def _answer(data: bytes) -> Callable[[socket.socket], None]:
    return lambda peer: peer.sendall(data)


@pytest.mark.parametrize(
    ("misbehave", "winerror", "text"),
    [
        (_answer(b"220 mail.example ESMTP\r\n"), errors.SEC_E_INVALID_TOKEN, "no TLS"),
        (_answer(b"HTTP/1.1 400 Bad Request\r\n\r\n"), errors.SEC_E_INVALID_TOKEN, "no TLS"),
        (_answer(b"\x15\x03\x03\x00\x02\x02\x28"), errors.SEC_E_ILLEGAL_MESSAGE, "handshake failure"),
        (lambda peer: peer.shutdown(socket.SHUT_WR), errors.WSAECONNRESET, "does it speak TLS"),
    ],
    ids=["smtp", "http", "alert", "end"],
)
@pytest.mark.parametrize("ignored", [[], [Result.EXPIRED]], ids=["fast path", "full path"])
async def test_servers_that_do_otherwise(
    misbehave: Callable[[socket.socket], None], winerror: int, text: str, ignored: list[Result]
) -> None:
    loop = asyncio.get_running_loop()
    with plain_listener() as listening:
        listening.setblocking(False)
        ours = trusting()
        ours.control.ignorable_server_certificate_errors.extend(ignored)
        connecting = asyncio.ensure_future(refused(ours, port_of(listening)))
        peer, _ = await loop.sock_accept(listening)
        with peer:
            await loop.sock_recv(peer, 65536)
            misbehave(peer)
            error = await connecting
        assert error.winerror == winerror
        assert text in error.reason
        assert "localhost" in error.reason
        assert ours.information.server_certificate is None
        with pytest.raises(OSError, match="connect it first"):
            ours.input_stream  # noqa: B018
        ours.close()


@pytest.mark.parametrize("way", ["cancel", "close", "abort", "task"])
async def test_a_silent_server_can_be_given_up(way: str) -> None:
    """The handshake has no deadline of its own; giving it up leaves a socket that is new, or closed."""
    loop = asyncio.get_running_loop()
    with plain_listener() as listening:
        listening.setblocking(False)
        ours = trusting()
        connecting: Any = ours.connect_async(LOCALHOST, port_of(listening), Level.TLS13)
        peer, _ = await loop.sock_accept(listening)
        with peer:
            await loop.sock_recv(peer, 65536)
            await turns(3)
            if way == "task":
                waiting = asyncio.ensure_future(connecting)
                await turns(2)
                waiting.cancel()
                connecting = waiting
            else:
                getattr(connecting if way == "cancel" else ours, way)()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            assert await loop.sock_recv(peer, 10) == b""
        if way in {"cancel", "task"}:
            async with serving(server_context("TLS 1.3")) as served:
                await ours.connect_async(LOCALHOST, served.port, Level.TLS13)
                await ours.aclose()
        else:
            with pytest.raises(OSError) as caught:
                ours.connect_async(LOCALHOST, "80")
            assert caught.value.winerror == errors.RO_E_CLOSED


async def test_a_certificate_without_its_key() -> None:
    public = Certificate(server_certificate().cert_chain_pems[0].bytes())
    ours = StreamSocket()
    with pytest.raises(OSError, match="no private key") as caught:
        ours.control.client_certificate = public
    assert caught.value.winerror == errors.E_INVALIDARG
    with pytest.raises(TypeError):
        ours.control.trust_anchors = "ca.pem"  # type: ignore[assignment]
    for names, kind in ((["x" * 256], OSError), ([""], OSError), (["ü"], OSError), ("h2", TypeError), ([1], TypeError)):
        with pytest.raises(kind):
            ours.control.alpn_protocols = names  # type: ignore[assignment]
    with pytest.raises(OSError):
        ours.control.server_name = "no name"


async def test_forgotten_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from moorings.sockets import tls_context

    monkeypatch.setattr(tls_context, "SESSIONS_LIMIT", 2)
    monkeypatch.setattr(tls_context, "CONTEXTS_LIMIT", 2)
    memory = tls_context.TlsMemory()
    keys = [
        tls_context.ContextKey(Level.TLS13, Level.UNSPECIFIED, fresh_trust(), None, (name,)) for name in ("a", "b", "c")
    ]
    kept = tls_context.KeptSession(None, (), float("inf"))  # type: ignore[arg-type]
    contexts = [memory.fast(key) for key in keys[:2]]
    assert memory.fast(keys[0]) is contexts[0]
    for key, context in zip(keys, contexts, strict=False):
        memory.keep_session(key, "name", "1", kept, context)
    memory.fast(keys[2])  # the second one is forgotten, with its sessions
    assert memory.take_session(keys[1], "name", "1") is None
    assert memory.take_session(keys[0], "name", "1") is kept
    assert memory.take_session(keys[0], "name", "1") is None
    for port in ("1", "2", "3"):
        memory.keep_session(keys[0], "name", port, kept, contexts[0])
    assert [memory.take_session(keys[0], "name", port) for port in ("1", "2", "3")] == [None, kept, kept]
    memory.keep_session(keys[0], "name", "1", kept._replace(made_at=float("-inf")), contexts[0])
    assert memory.take_session(keys[0], "name", "1") is None


async def test_a_session_outlives_its_context_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL takes a session only in the context that it was made in."""
    from moorings.sockets import tls_context

    monkeypatch.setattr(tls_context, "CONTEXTS_LIMIT", 1)
    async with serving(server_context("TLS 1.3")) as served:

        async def connect(**settings: Any) -> StreamSocket:
            ours = trusting(**settings)
            await ours.connect_async(LOCALHOST, served.port, Level.TLS13)
            await ours.write(b"x")
            assert await ours.read() == b"x"
            return ours

        first = await connect()
        other = await connect(alpn_protocols=["h2"])  # the context of the first one is forgotten,
        second = await connect()  # and made anew
        await first.aclose()
        third = await connect()
        assert not third.information.is_resumed
        for ours in (other, second, third):
            await ours.aclose()
