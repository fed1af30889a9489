"""TLS: a server that nobody vouches for, a client with a certificate, and TLS that starts in mid-stream.

The names are WinRT's where Windows has them. Needs the extra `tls`, which the certificates are made with, too.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import moorings
from moorings import (
    Certificate,
    DataReader,
    DataWriter,
    HostName,
    SocketProtectionLevel,
    StreamSocket,
    StreamSocketListener,
    TrustAnchors,
)
from moorings.certificates.libraries import TLS_EXTRA, require
from moorings.cli.tour.common import LOCALHOST, DemoError
from moorings.cli.tour.failures import expect_failure
from moorings.cli.tour.guide import receive_text, send_text
from moorings.engine.tls_codec import TlsSession
from moorings.engine.tls_handshake import shake_hands
from moorings.sockets.tls_context import server_context

if TYPE_CHECKING:
    from moorings.cli.console import Console
    from moorings.cli.tour.common import Facts, Options
    from moorings.engine.interface import Detached

#: No name ends in .example (RFC 2606).
SERVER_NAME = "demo.example"
CLIENT_NAME = "a client of the demo"
REQUEST = "Hello, World!"
_WISH, _ANSWER = b"STARTTLS\r\n", b"220 go ahead\r\n"
_LINE_LIMIT = 100


async def secured(console: Console, _options: Options) -> Facts:
    """Three connections with TLS, or a line that says what they need."""
    try:
        require("TLS for servers")
        require("ignoring certificate errors one by one", "OpenSSL")
    except OSError:
        console.say("note", f"left out: TLS for servers needs the extra tls ({TLS_EXTRA})")
        return {"left_out": TLS_EXTRA}
    from moorings.cli.tour.identities import self_signed  # noqa: PLC0415 (needs cryptography)

    server = self_signed(SERVER_NAME)
    facts = await nobody_vouches(console, server)
    facts["client_certificate"] = await both_sides_known(console, server, self_signed(CLIENT_NAME))
    facts["upgraded"] = await upgraded(console, server)
    return facts


# -- a certificate that is not accepted ------------------------------------------------------------------------------


async def nobody_vouches(console: Console, certificate: Certificate) -> Facts:
    """The refusal with its errors, and the same socket again, with these errors made ignorable."""

    async def on_connection(_listener: StreamSocketListener, args: Any) -> None:
        with args.socket as connection:
            level = connection.information.protection_level.name
            console.say("server", f"connection received, protected by {level}")
            with DataReader(connection.input_stream) as reader, DataWriter(connection.output_stream) as writer:
                request = await receive_text(reader)
                console.say("server", f'read "{request}"')
                await send_text(writer, request)
                console.say("server", f'sent back "{request}"')

    with StreamSocketListener() as listener:
        listener.control.server_certificate = certificate
        listener.add_connection_received(on_connection)
        console.say("server", f"made itself a certificate for {SERVER_NAME!r}, which nobody else vouches for")
        await listener.bind_endpoint_async(HostName(LOCALHOST), "")
        port = listener.information.local_port
        console.say("server", f"listening with TLS on port {port}")
        with StreamSocket() as client:
            return await refused_and_retried(console, client, port)


async def refused_and_retried(console: Console, client: StreamSocket, port: str) -> Facts:
    """One socket, connected twice."""
    host, level = HostName(LOCALHOST), SocketProtectionLevel.TLS13
    what = f"connecting to {LOCALHOST} port {port} with {level.name}; it trusts whom the system trusts"
    refusal = await expect_failure(console, what, lambda: client.connect_async(host, port, level))
    information = client.information
    found = list(information.server_certificate_errors)
    names = [each.name for each in found]
    severity = information.server_certificate_error_severity.name
    shown = information.server_certificate
    assert shown is not None
    for label, value in (
        ("errors", ", ".join(names)),
        ("severity", severity),
        ("it was", f"{shown.subject!r}, until {shown.valid_to:%Y-%m-%d}; the socket keeps it"),
    ):
        console.say("", f"{label:<8} {value}")
    client.control.ignorable_server_certificate_errors.extend(found)
    console.say("client", f"makes {' and '.join(names)} ignorable, and connects the same socket again")
    await client.connect_async(host, port, level)
    agreed = f"{information.protection_level.name}, {information.cipher}"
    console.say("client", f"connected: {agreed}")
    with DataReader(client.input_stream) as reader, DataWriter(client.output_stream) as writer:
        await send_text(writer, REQUEST)
        console.say("client", f'sent "{REQUEST}"')
        check(await receive_text(reader))
        console.say("client", f'received "{REQUEST}"')
    return {
        "refused": {**refusal, "errors": names, "severity": severity},
        "retried": {"protection_level": information.protection_level.name, "cipher": information.cipher},
    }


def check(response: str) -> None:
    """DemoError for an echo that is none."""
    if response != REQUEST:
        raise DemoError(f"the echo differs: {response!r}")


# -- a client with a certificate -------------------------------------------------------------------------------------


async def both_sides_known(console: Console, server: Certificate, client: Certificate) -> Facts:
    """Both know each other: the certificate of either is what the other one trusts."""
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(connection: StreamSocket) -> None:
        shown = connection.information.client_certificate
        name = "" if shown is None else shown.subject
        console.say(
            "server", f"connection received from {name!r}, asked for {connection.information.requested_server_name!r}"
        )
        if not seen.done():
            seen.set_result(name)

    url = f"tls://{LOCALHOST}:0"
    async with moorings.listen(url, serve, certificate=server, client_ca=trusting(client)) as listening:
        console.say("server", f"listening on port {listening.port}, for {CLIENT_NAME!r} only")
        url = f"tls://{LOCALHOST}:{listening.port}"
        console.say("client", f"connecting as {CLIENT_NAME!r} to {SERVER_NAME!r}, whose certificate it has by now")
        connecting = moorings.connect(url, ca=trusting(server), server_name=SERVER_NAME, certificate=client)
        async with await connecting as connection:
            errors = list(connection.information.server_certificate_errors)
            console.say("client", f"connected: {connection.information.protection_level.name}, no error to ignore")
            name = await seen
    if errors or name != CLIENT_NAME:
        raise DemoError(f"the server saw {name!r}, the client {errors}")
    return {"seen_by_server": name}


def trusting(certificate: Certificate) -> TrustAnchors:
    """Those who trust this certificate, and no other."""
    return TrustAnchors(certificates=[bytes(certificate.get_certificate_blob())])


# -- TLS after plaintext ---------------------------------------------------------------------------------------------


async def upgraded(console: Console, certificate: Certificate) -> Facts:
    """STARTTLS: a line and an answer in the clear, then TLS on the same connection."""

    async def serve(connection: StreamSocket) -> None:
        wish = await connection.read_until(b"\n", limit=_LINE_LIMIT)
        console.say("server", f'read "{wish.decode().strip()}" in the clear')
        await connection.write(_ANSWER)
        console.say(
            "server", f'sent "{_ANSWER.decode().strip()}" in the clear, and hands the descriptor to Python\'s ssl'
        )
        await echo_with_ssl(console, connection.detach(), certificate)

    async with moorings.listen(f"tcp://{LOCALHOST}:0", serve) as listening:
        console.say("server", f"listening without TLS on port {listening.port}")
        with StreamSocket() as client:
            client.control.trust_anchors = trusting(certificate)
            await client.connect_async(HostName(LOCALHOST), str(listening.port))
            console.say("client", f"connected: {client.information.protection_level.name}")
            await client.write(_WISH)
            console.say("client", f'sent "{_WISH.decode().strip()}"')
            await client.read_until(b"\n", limit=_LINE_LIMIT)
            await client.upgrade_to_ssl_async(SocketProtectionLevel.TLS13, HostName(SERVER_NAME))
            level = client.information.protection_level.name
            console.say("client", f"the same connection is now protected by {level}")
            await client.write(REQUEST.encode())
            check((await client.read_exactly(len(REQUEST))).decode())
            console.say("client", f'sent "{REQUEST}", and received it')
    return {"protection_level": level}


async def echo_with_ssl(console: Console, given: Detached, certificate: Certificate) -> None:
    """The other side of an upgrade, on the standard library's ssl: one echo."""
    loop = asyncio.get_running_loop()
    session = TlsSession(server_context(certificate, None, ()), server_side=True)
    with socket.socket(fileno=given.fd) as plain_socket:
        session.feed(given.unread)
        await shake_hands(plain_socket, session, "the server of the demo")
        block = bytearray(_LINE_LIMIT)
        while (size := session.read_into(block, len(block))) < 0:
            session.feed(await loop.sock_recv(plain_socket, 65536))
        console.say("server", f'read "{block[:size].decode()}" through TLS')
        session.write(bytes(block[:size]))
        session.close_notify()
        await loop.sock_sendall(plain_socket, session.take_ciphertext())
