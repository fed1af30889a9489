"""A look at servers: everything is noted, whatever the certificate is, and nothing but a handshake is sent."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.certificates.bad_certificates import KINDS, make
from tests.sockets.peers import plain_listener, port_of
from tests.sockets.test_tls_bad_certificates import serve
from tests.sockets.tls_servers import authority, server_certificate, serving, trusts
from tests.sockets.tls_servers import server_context as context_of

from moorings import errors
from moorings.certificates.trust import TrustAnchors
from moorings.cli.cert_show.facts import judge
from moorings.cli.cert_show.server import Wish, look

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

PATIENCE = 20.0
SERVED = [kind for kind in KINDS if make(kind).can_be_served and not make(kind).check_revocation]


def wish_for(port: str, host: str = "localhost", **changes: object) -> Wish:
    return Wish(host, port, "", (), "", PATIENCE, trusts())._replace(**changes)


@asynccontextmanager
async def bad_server(kind: str) -> AsyncIterator[str]:
    """A server with a bad certificate, for one client."""
    with plain_listener() as listening:
        listening.setblocking(False)
        served = asyncio.ensure_future(serve(listening, make(kind)))
        yield port_of(listening)
        await served


@pytest.mark.parametrize("kind", SERVED)
async def test_every_bad_certificate_is_shown_with_all_of_its_errors(kind: str) -> None:
    chain = make(kind)
    anchors = TrustAnchors(certificates=chain.roots)
    async with bad_server(kind) as port:
        seen = await look(wish_for(port, "127.0.0.1", server_name=chain.server_name, anchors=anchors))
    assert seen.chain == chain.chain
    assert seen.protocol == "TLSv1.3"
    assert seen.cipher
    found = judge(seen.chain, anchors, server_name=chain.server_name, verify_codes=seen.verify_codes)
    if chain.expected:
        assert (found.errors, found.severity) == (chain.expected, chain.severity.name)
    else:
        assert set(found.errors) == set(chain.more_in_openssl)


@pytest.mark.parametrize("version", ["TLS 1.2", "TLS 1.3"])
@pytest.mark.parametrize("asking", [ssl.CERT_NONE, ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED])
async def test_what_is_agreed_on(version: str, asking: ssl.VerifyMode) -> None:
    context = context_of(version)
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority().configure_trust(context)
    context.verify_mode = asking
    async with serving(context) as server:
        seen = await look(wish_for(server.port, alpn=("http/1.1",)))
        assert server.received == []
    assert seen.protocol == version.replace(" ", "v")
    assert (seen.alpn, seen.asked_for_certificate) == ("http/1.1", asking != ssl.CERT_NONE)
    assert seen.address.endswith(f":{server.port}")
    assert seen.verify_codes == ()
    # A server of TLS 1.3 that needs a certificate says so when the client has long done its part. Some only hang up.
    assert bool(seen.failure) == (version == "TLS 1.2" and asking == ssl.CERT_REQUIRED)
    assert "ended" in seen.failure or not seen.failure


async def test_the_end_is_told_to_the_server() -> None:
    ended: asyncio.Queue[bytes] = asyncio.Queue()

    async def until_end(_served: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.put(await reader.read())
        writer.close()

    async with serving(context_of("TLS 1.3"), until_end) as server:
        await look(wish_for(server.port))
        async with asyncio.timeout(PATIENCE):
            assert await ended.get() == b""  # and no error: close_notify came


@pytest.mark.parametrize(("server_name", "asked"), [("", "localhost"), ("Bücher.example", "xn--bcher-kva.example")])
async def test_the_name_that_is_asked_for(server_name: str, asked: str) -> None:
    names: list[str | None] = []
    context = context_of("TLS 1.3")
    context.sni_callback = lambda _made, name, _context: names.append(name)
    async with serving(context) as server:
        await look(wish_for(server.port, server_name=server_name))
    assert names == [asked]


async def test_an_address_is_not_asked_for() -> None:
    names: list[str | None] = []
    context = context_of("TLS 1.3")
    context.sni_callback = lambda _made, name, _context: names.append(name)
    async with serving(context) as server:
        seen = await look(wish_for(server.port, "127.0.0.1"))
    assert names == [None]
    assert judge(seen.chain, trusts(), server_name="127.0.0.1").errors == ()


# -- where there is nothing to show ----------------------------------------------------------------------------------


async def _speak(listening: socket.socket, octets: bytes) -> None:
    loop = asyncio.get_running_loop()
    peer, _ = await loop.sock_accept(listening)
    with peer:
        await loop.sock_recv(peer, 65536)
        await loop.sock_sendall(peer, octets)


@pytest.mark.parametrize(
    ("octets", "code", "told"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", errors.SEC_E_INVALID_TOKEN, "is no TLS"),
        (b"\x15\x03\x03\x00\x02\x02\x28", errors.SEC_E_ILLEGAL_MESSAGE, "handshake failure"),
        (b"", errors.WSAECONNRESET, "the peer ended the connection in the TLS handshake"),
    ],
)
async def test_no_tls(octets: bytes, code: int, told: str) -> None:
    with plain_listener() as listening:
        listening.setblocking(False)
        speaking = asyncio.ensure_future(_speak(listening, octets))
        with pytest.raises(OSError, match=told) as caught:
            await look(wish_for(port_of(listening), "127.0.0.1"))
        await speaking
    assert caught.value.winerror == code  # type: ignore[attr-defined]


async def test_a_server_that_says_nothing() -> None:
    with plain_listener() as listening, pytest.raises(TimeoutError, match=r"no TLS handshake within 0\.05 s"):
        await look(wish_for(port_of(listening), "127.0.0.1", timeout=0.05))


async def test_a_place_with_an_address_of_ipv6() -> None:
    wish = wish_for("443", "fe80::1%lo")
    assert (wish.place, wish.name) == ("[fe80::1%lo]:443", "fe80::1")


async def test_what_openssl_finds_counts_where_the_validator_has_no_objection() -> None:
    leaf = server_certificate().cert_chain_pems[0].bytes()
    der = ssl.PEM_cert_to_DER_cert(leaf.decode())
    assert judge([der], trusts(), server_name="localhost").errors == ()
    found = judge([der], trusts(), server_name="localhost", verify_codes=(66,))
    assert ([each.name for each in found.errors], found.severity) == (["OTHER_ERRORS"], "FATAL")
