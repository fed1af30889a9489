"""What a client says to a server that goes wrong before the program has had its say: an alert, and no more."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from tests.sockets.peers import plain_listener, port_of
from tests.sockets.tls_servers import (
    LOCALHOST,
    VERSIONS,
    authority,
    client_identity,
    server_context,
    trusting,
    trusts_nobody,
)

from moorings.certificates.enums import ChainValidationResult as Result
from moorings.sockets.enums import SocketProtectionLevel

if TYPE_CHECKING:
    import socket

    from winrt.windows.networking.sockets import StreamSocket

Level = SocketProtectionLevel
both_paths = pytest.mark.parametrize("ignored", [[], [Result.EXPIRED]], ids=["fast path", "full path"])

#: What may come in one go with the server's flight: a fatal alert, a message of no known type, a record of none.
WRONG = {
    "alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "message": b"\x16\x03\x03\x00\x04\xff\x00\x00\x00",
    "record": b"\x63\x03\x03\x00\x01\x00",
}


def asking(way: str, ignored: list[Result], **settings: Any) -> StreamSocket:
    """A client with a certificate, and with something that is decided behind the usual verdict."""
    ours = trusting(client_certificate=client_identity(), **settings)
    ours.control.ignorable_server_certificate_errors.extend(ignored)
    if way == "event":
        ours.add_server_custom_validation_requested(lambda _, args: args.reject())
    elif way == "pins":
        ours.control.pin_sha256 = "A" * 43 + "="
    else:
        ours.control.revocation = True  # type: ignore[assignment]
    return ours


async def answers(ours: StreamSocket, version: str, more: bytes) -> bytes:
    """What comes behind a ClientHello from a client that is told a server's flight and `more`."""
    context = server_context(version)
    context.verify_mode = ssl.CERT_REQUIRED
    authority().configure_trust(context)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    loop = asyncio.get_running_loop()
    with plain_listener() as listening:
        listening.setblocking(False)
        connecting = asyncio.ensure_future(_connect(ours, port_of(listening)))
        peer: socket.socket
        peer, _ = await loop.sock_accept(listening)
        with peer:
            incoming.write(await loop.sock_recv(peer, 65536))
            with pytest.raises(ssl.SSLWantReadError):
                server.do_handshake()
            await loop.sock_sendall(peer, outgoing.read() + more)
            found = b""
            try:
                while data := await loop.sock_recv(peer, 65536):
                    found += data
            except ConnectionResetError:
                pass  # what was wrong has not been read
            await connecting
    ours.close()
    return found


async def _connect(ours: StreamSocket, port: str) -> None:
    with pytest.raises(OSError):
        await ours.connect_async(LOCALHOST, port, Level.TLS13)


@both_paths
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("way", ["event", "pins", "revocation"])
async def test_no_certificate_leaves_because_the_server_errs(way: str, wrong: str, ignored: list[Result]) -> None:
    """In TLS 1.2 OpenSSL goes on to the next record when it has answered the certificate."""
    found = await answers(asking(way, ignored), "TLS 1.2", WRONG[wrong])
    assert found == b""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("way", ["event", "pins"])
async def test_a_server_that_is_not_trusted_gets_its_alert(way: str, version: str) -> None:
    found = await answers(asking(way, [], trust_anchors=trusts_nobody()), version, b"")
    assert found[-7:] == b"\x15\x03\x03\x00\x02\x02\x30" or found[-24:-19] == b"\x17\x03\x03\x00\x13"
