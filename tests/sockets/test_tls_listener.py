"""TLS on the accepting side: the Python face, certificates of clients, bounds, rotation, endings."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from tests.engine.pairs import until
from tests.sockets.tls_servers import (
    LEVELS,
    VERSIONS,
    authority,
    client_identity,
    server_certificate,
    trusts,
    trusts_nobody,
)

import moorings
from moorings import EndReason, StreamSocket, errors
from moorings.certificates.certificate import Certificate
from moorings.certificates.enums import ChainValidationResult as Result
from moorings.sockets import accepting
from moorings.testing.stream_checks import STREAM_CHECKS, run_check
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import SocketProtectionLevel, StreamSocketListener

if TYPE_CHECKING:
    from pathlib import Path

both_versions = pytest.mark.parametrize("version", VERSIONS)


def identity() -> Certificate:
    return Certificate.from_pem(server_certificate().private_key_and_cert_chain_pem.bytes())


async def echo(connection: StreamSocket) -> None:
    async for line in connection.lines():
        await connection.write(line + b"\n")


async def ask(port: int, **settings: Any) -> bytes:
    settings.setdefault("ca", trusts())
    async with await moorings.connect(f"tls://localhost:{port}", **settings) as client:
        await client.write(b"hello\n")
        answer: bytes = await client.read_until()
        return answer


async def test_an_echo_server() -> None:
    async with moorings.listen("tls://127.0.0.1:0", echo, certificate=identity()) as listener:
        assert await ask(listener.port) == b"hello\n"
        assert await ask(listener.port, server_name="127.0.0.1") == b"hello\n"
        assert await ask(listener.port, ca=trusts_nobody(), ignore=[Result.INCOMPLETE_CHAIN]) == b"hello\n"
        with pytest.raises(OSError, match="not accepted"):
            await ask(listener.port, ca=trusts_nobody())
        await until(lambda: listener.listener.handshakes_failed == 1)
    assert listener.report is not None
    assert listener.report.broken == 0


async def test_files(tmp_path: Path) -> None:
    leaf = server_certificate()
    cert, key, both, ca = (tmp_path / name for name in ("cert.pem", "key.pem", "both.pem", "ca.pem"))
    leaf.cert_chain_pems[0].write_to_path(cert)
    leaf.private_key_pem.write_to_path(key)
    leaf.private_key_and_cert_chain_pem.write_to_path(both)
    authority().cert_pem.write_to_path(ca)
    for certificate in ((cert, key), (str(cert), str(key)), both, str(both)):
        async with moorings.listen("tls://127.0.0.1:0", echo, certificate=certificate) as listener:
            for anchors in (ca, str(ca), ca.read_bytes()):
                assert await ask(listener.port, ca=anchors) == b"hello\n"
    with pytest.raises(OSError, match="private key") as caught:
        moorings.listen("tls://127.0.0.1:0", echo, certificate=cert)
    assert caught.value.winerror == errors.E_INVALIDARG
    with pytest.raises(FileNotFoundError):
        await moorings.connect("tls://127.0.0.1:1", ca=tmp_path / "none.pem")
    with pytest.raises(FileNotFoundError):
        moorings.listen("tls://127.0.0.1:0", echo, certificate=tmp_path / "none.pem")


async def test_wrong_arguments() -> None:
    with pytest.raises(OSError, match="certificate is needed"):
        moorings.listen("tls://127.0.0.1:0", echo)
    for kind, value in (("certificate", 5), ("client_ca", 5), ("alpn", "h2")):
        with pytest.raises(TypeError):
            moorings.listen("tls://127.0.0.1:0", echo, **{"certificate": identity(), kind: value})
    for kind, value in (("certificate", 5), ("ca", 5), ("alpn", "h2"), ("server_name", 5)):
        with pytest.raises(TypeError):
            await moorings.connect("tls://127.0.0.1:1", **{kind: value})
    for scheme in ("tcp", "udp"):
        with pytest.raises(OSError, match="tls://") as caught:
            await moorings.connect(f"{scheme}://127.0.0.1:1", ca=trusts())
        assert caught.value.winerror == errors.E_INVALIDARG
        with pytest.raises(OSError, match="tls://"):
            moorings.listen(f"{scheme}://127.0.0.1:0", echo, certificate=identity())
    with pytest.raises(OSError, match="REVOKED"):
        await moorings.connect("tls://127.0.0.1:1", ignore=[Result.REVOKED])


@both_versions
async def test_what_a_server_knows(version: str) -> None:
    context = ssl.create_default_context(cafile=None)
    authority().configure_trust(context)
    context.maximum_version = VERSIONS[version]
    context.set_alpn_protocols(["h2", "mine"])
    async with moorings.listen("tls://127.0.0.1:0", certificate=identity(), alpn=["mine", "h2"]) as listener:
        connecting = asyncio.ensure_future(
            asyncio.open_connection("127.0.0.1", listener.port, ssl=context, server_hostname="localhost")
        )
        async with await anext(aiter(listener)) as connection:
            information = connection.information
            assert information.protection_level == LEVELS[version]
            assert information.requested_server_name == "localhost"
            assert information.alpn_protocol == "mine"
            assert information.cipher
            assert information.client_certificate is None
            assert information.server_certificate is None
            _, writer = await connecting
            writer.write(b"bytes")
            assert await connection.read() == b"bytes"
            with pytest.raises(OSError, match="accepting side"):
                connection.upgrade_to_ssl_async(SocketProtectionLevel.TLS13, HostName("localhost"))
            writer.close()
            assert await connection.read() == b""
            assert connection.end_reason == EndReason.CLOSED_BY_PEER


async def test_certificates_of_clients() -> None:
    subjects: list[Any] = []

    async def serve(connection: StreamSocket) -> None:
        subjects.append(connection.information.client_certificate)
        await echo(connection)

    async with moorings.listen("tls://127.0.0.1:0", serve, certificate=identity(), client_ca=trusts()) as listener:
        for _ in range(2):  # the second handshake is shorter
            assert await ask(listener.port, certificate=client_identity()) == b"hello\n"
        for settings in ({}, {"certificate": stranger()}):
            with pytest.raises(OSError):
                await ask(listener.port, **settings)
        await until(lambda: listener.listener.handshakes_failed == 2)
    wanted = client_identity().get_hash_value("SHA256")
    assert [list(each.get_hash_value("SHA256")) for each in subjects] == [list(wanted)] * 2


def stranger() -> Certificate:
    leaf = trustme.CA().issue_cert("stranger@example.org")
    return Certificate.from_pem(leaf.private_key_and_cert_chain_pem.bytes())


async def test_winrt_listeners_have_it_too() -> None:
    listener = StreamSocketListener()
    control = listener.control
    assert control.server_certificate is None
    assert control.handshake_timeout == 60
    control.server_certificate = identity()
    control.client_trust_anchors = None
    control.alpn_protocols = ("one",)
    received: asyncio.Future[StreamSocket] = asyncio.get_running_loop().create_future()
    listener.add_connection_received(lambda _, args: received.set_result(args.socket))
    await listener.bind_endpoint_async(HostName("127.0.0.1"), "")
    url = f"tls://localhost:{listener.information.local_port}"
    async with await moorings.connect(url, ca=trusts()) as client, await received as connection:
        await connection.write(b"greeting")
        assert await client.read() == b"greeting"
    for name, value in (("alpn_protocols", ()), ("server_certificate", None)):
        with pytest.raises(OSError) as caught:
            setattr(control, name, value)
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
    listener.close()
    with pytest.raises(TypeError):
        StreamSocketListener().control.server_certificate = "cert.pem"  # type: ignore[assignment]
    with pytest.raises(TypeError):
        StreamSocketListener().control.client_trust_anchors = "ca.pem"  # type: ignore[assignment]
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError):
            StreamSocketListener().control.handshake_timeout = wrong


async def test_a_listener_without_tls_does_not_start_it() -> None:
    async with moorings.listen("tcp://127.0.0.1:0", echo) as listener:
        for name, value in (("server_certificate", identity()), ("client_trust_anchors", trusts())):
            with pytest.raises(OSError) as caught:
                setattr(listener.listener.control, name, value)
            assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        with pytest.raises(OSError, match="before binding"):
            listener.replace_certificate(identity())


async def test_a_new_certificate_without_a_gap() -> None:
    async with moorings.listen("tls://127.0.0.1:0", echo, certificate=identity()) as listener:
        control = listener.listener.control
        old = control.server_certificate
        async with await moorings.connect(f"tls://localhost:{listener.port}", ca=trusts()) as open_before:
            public = Certificate(server_certificate().cert_chain_pems[0].bytes())
            with pytest.raises(OSError, match="private key"):
                control.server_certificate = public
            assert control.server_certificate is old
            assert await ask(listener.port) == b"hello\n"
            authority_two = trustme.CA()
            new = Certificate.from_pem(authority_two.issue_cert("localhost").private_key_and_cert_chain_pem.bytes())
            control.server_certificate = new
            assert await ask(listener.port, ca=authority_two.cert_pem.bytes()) == b"hello\n"
            await open_before.write(b"still there\n")
            assert await open_before.read_until() == b"still there\n"


async def test_clients_that_do_not_shake_hands() -> None:
    """Silence, nonsense, an early end: counted, bounded in time, and reported nowhere; others are served."""
    async with moorings.listen("tls://127.0.0.1:0", echo, certificate=identity()) as listener:
        server = listener.listener
        with socket.create_connection(("127.0.0.1", listener.port)) as nonsense:
            nonsense.sendall(b"GET / HTTP/1.0\r\n\r\n")
            await until(lambda: server.handshakes_failed == 1)
        socket.create_connection(("127.0.0.1", listener.port)).close()
        await until(lambda: server.handshakes_failed == 2)
        server.control.handshake_timeout = 0.02
        with socket.create_connection(("127.0.0.1", listener.port)) as silent:
            await until(lambda: server.handshakes_failed == 3)
            silent.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(silent, 10) == b""
        server.control.handshake_timeout = 60
        assert await ask(listener.port) == b"hello\n"
        assert server.open_connections == 0 or await ask(listener.port) == b"hello\n"


async def test_handshakes_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "HANDSHAKES_LIMIT", 2)
    async with moorings.listen("tls://127.0.0.1:0", echo, certificate=identity()) as listener:
        inner = listener.listener._accepting
        silent = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(5)]
        await until(lambda: len(inner.handshakes) == 2)
        asking = asyncio.ensure_future(ask(listener.port))
        for each in silent:
            each.close()
        assert await asking == b"hello\n"
        assert listener.listener.handshakes_failed == 5


async def test_max_connections_counts_handshakes() -> None:
    async with moorings.listen("tls://127.0.0.1:0", echo, certificate=identity(), max_connections=1) as listener:
        inner = listener.listener._accepting
        silent = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(2)]
        await until(lambda: len(inner.handshakes) == 1)
        assert len(inner.handshakes) + len(inner.open) == 1
        for each in silent:
            each.close()
        assert await ask(listener.port) == b"hello\n"


@pytest.mark.parametrize("end", ["drain", "close"])
async def test_ending_ends_handshakes(end: str) -> None:
    listening = await moorings.listen("tls://127.0.0.1:0", echo, certificate=identity())
    with socket.create_connection(("127.0.0.1", listening.port)) as silent:
        inner = listening.listener._accepting
        await until(lambda: len(inner.handshakes) == 1)
        if end == "drain":
            await listening.drain()
            assert not inner.handshakes
        else:
            listening.close()
        silent.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(silent, 10) == b""
    await until(lambda: not inner.handshakes)


async def test_the_timeout_covers_the_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError, match="no connection within"):
        await moorings.connect(f"tls://127.0.0.1:{silent.getsockname()[1]}", timeout=0.02)


async def test_connected_and_accepted_sockets_pass_some_checks() -> None:
    """The whole check-suite runs over pairs made by hand; a few checks over those that programs make."""
    checks = [check for check in STREAM_CHECKS if check.__name__ in {"echo", "both_directions_at_once", "abort_resets"}]
    async with moorings.listen("tls://127.0.0.1:0", certificate=identity()) as listener:
        connections = aiter(listener)

        async def make_pair() -> tuple[StreamSocket, StreamSocket]:
            client = await moorings.connect(f"tls://localhost:{listener.port}", ca=trusts())
            return client, await anext(connections)

        for check in checks:
            await run_check(check, make_pair)
            await run_check(check, make_pair, swapped=True)


async def test_a_mistake_behind_the_handshake_is_reported_and_the_client_is_not_left_waiting(
    monkeypatch: pytest.MonkeyPatch, expect_loop_errors: list[dict[str, Any]]
) -> None:
    def mistaken(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError

    async with moorings.listen("tls://127.0.0.1:0", echo, certificate=identity()) as listener:
        url = f"tls://localhost:{listener.port}"
        with monkeypatch.context() as patch:
            patch.setattr(accepting, "facts_of", mistaken)
            with pytest.raises(OSError, match="reset"):
                async with moorings.connect(url, ca=trusts()) as connection:
                    await connection.read()
        assert [type(each["exception"]) for each in expect_loop_errors] == [ZeroDivisionError]
        assert await ask(listener.port) == b"hello\n"
