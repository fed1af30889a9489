"""TLS connections that may move: what is asked for, what travels, and what is refused; moving itself is in the lab."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import connected_sockets, receive
from tests.sockets.tls_servers import (
    LEVELS,
    LOCALHOST,
    VERSIONS,
    authority,
    client_identity,
    server_certificate,
    server_context,
    serving,
    trusting,
    trusts,
)

import moorings
from moorings import Detached, EndReason, StreamSocket, StreamSocketListener, errors
from moorings.certificates import libraries
from moorings.certificates.certificate import Certificate
from moorings.certificates.enums import ChainValidationResult
from moorings.engine import kernel_tls
from moorings.engine.kernel_tls import KernelTls, Obstacle
from moorings.sockets import tls_travel
from moorings.sockets.connection import Connection, Settings
from moorings.sockets.enums import SocketProtectionLevel
from moorings.sockets.tls_settings import TlsFacts
from moorings.sockets.tls_travel import TLS_RECORD_LIMIT, check_travelled, decode_facts, encode_facts
from winrt.windows.networking import HostName

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

both_versions = pytest.mark.parametrize("version", VERSIONS)
FACTS = TlsFacts(
    SocketProtectionLevel.TLS13,
    (b"\0leaf", b"root\xff"),
    (ChainValidationResult.EXPIRED, ChainValidationResult.INVALID_NAME),
    "TLS_AES_128_GCM_SHA256",
    "h2",
    "name.example",
    resumed=True,
)


def connection_with(facts: TlsFacts | None = FACTS) -> Connection:
    connection = Connection(Settings())
    connection.tls = facts
    connection.host_name = HostName("Printer.Example")
    connection.service_name = "ipps"
    return connection


# -- the record ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accepted", [True, False])
def test_everything_travels(accepted: bool) -> None:
    connection = connection_with()
    connection.accepted = accepted
    record = encode_facts(connection)
    arrived = Connection(Settings())
    decode_facts(bytearray(record), "adopt").apply(arrived)
    assert arrived.tls == FACTS
    assert (arrived.accepted, arrived.service_name) == (accepted, "ipps")
    assert arrived.host_name is not None
    assert arrived.host_name.is_equal(connection.host_name)


def test_every_fact_travels() -> None:
    """A fact that is new must not be forgotten."""
    sample = TlsFacts(*[each or "x" for each in FACTS])
    assert all(sample)
    assert set(json.loads(encode_facts(connection_with()))) >= set(TlsFacts._fields)


def test_plain_connections_have_none() -> None:
    assert encode_facts(connection_with(None)) == b""


def broken(**changes: Any) -> bytes:
    record = json.loads(encode_facts(connection_with()))
    return json.dumps(record | changes).encode()


@pytest.mark.parametrize(
    "record",
    [
        b"x",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        bytes(TLS_RECORD_LIMIT + 1),
        broken(moorings_tls=2),
        broken(level=99),
        broken(level="TLS13"),
        broken(level=True),
        broken(cipher=1),
        broken(chain="x"),
        broken(chain=[1]),
        broken(chain=["*"]),
        broken(errors=[77]),
        broken(errors=["x"]),
        broken(resumed=1),
        broken(accepted=None),
        broken(host=""),
        broken(host=5),
        broken(service=None),
    ],
)
def test_other_records_are_refused(record: bytes) -> None:
    with pytest.raises(OSError, match="adopt") as caught:
        decode_facts(record, "adopt")
    assert caught.value.winerror == errors.E_INVALIDARG


def test_what_has_no_octets() -> None:
    with pytest.raises(TypeError):
        decode_facts("text", "adopt")


# -- adopting ------------------------------------------------------------------------------------------------------


async def test_a_record_without_tls_in_the_kernel_is_refused() -> None:
    plain, peer = connected_sockets()
    with peer, plain:
        with pytest.raises(OSError, match="carries no TLS") as caught:
            await moorings.adopt(plain, tls=encode_facts(connection_with()))
        assert caught.value.winerror == errors.E_INVALIDARG
        with pytest.raises(OSError, match="no record"):
            await moorings.adopt(plain, tls=b"x")
        plain.send(b"still mine")


async def test_a_detached_connection_is_adopted_as_it_is() -> None:
    plain, peer = connected_sockets()
    with peer:
        given = Detached(plain.detach(), b"unread ", b"unsent ")
        connection = await moorings.adopt(given)
        await connection.write(b"and more")
        assert await receive(peer, 15) == b"unsent and more"
        peer.send(b"bytes")
        assert await connection.read_exactly(12) == b"unread bytes"
        connection.abort()


def kernel_says(monkeypatch: pytest.MonkeyPatch, answer: Callable[[Any], KernelTls | None]) -> None:
    monkeypatch.setattr(tls_travel, "kernel_tls_of", answer)


def test_record_and_kernel_must_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    record = encode_facts(connection_with())
    with socket.socket() as plain:
        kernel_says(monkeypatch, lambda _socket: KernelTls("TLSv1.3", "AES-128-GCM"))
        version, travelled = check_travelled(plain, record, "adopt")
        assert version == "TLSv1.3"
        assert travelled is not None
        assert travelled.facts == FACTS
        assert check_travelled(plain, b"", "adopt") == ("TLSv1.3", None)
        kernel_says(monkeypatch, lambda _socket: KernelTls("TLSv1.2", "AES-128-GCM"))
        with pytest.raises(OSError, match=r"says TLS13, the kernel TLSv1\.2"):
            check_travelled(plain, record, "adopt")

        def half(_socket: Any) -> KernelTls | None:
            raise ValueError

        kernel_says(monkeypatch, half)
        with pytest.raises(OSError, match="one direction"):
            check_travelled(plain, b"", "adopt")


async def test_a_stream_writer_takes_no_record() -> None:
    ours, peer = connected_sockets()
    _, writer = await asyncio.open_connection(sock=ours)
    with peer:
        with pytest.raises(OSError, match="StreamWriter"):
            await moorings.adopt(writer, unread=b"x")
        writer.transport.abort()
        await asyncio.sleep(0)


# -- asking for it -------------------------------------------------------------------------------------------------


async def test_settings() -> None:
    stream, listener = StreamSocket(), StreamSocketListener()
    for control in (stream.control, listener.control):
        assert control.transferable is False
        control.transferable = True
        assert control.transferable is True
    stream.close()
    listener.close()
    with pytest.raises(OSError) as caught:
        stream.control.transferable = False
    assert caught.value.winerror == errors.RO_E_CLOSED


async def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(libraries, "import_module", import_module)
    control = StreamSocket().control
    with pytest.raises(OSError, match="moorings\\[tls\\]") as caught:
        control.transferable = True
    assert caught.value.winerror == errors.ERROR_NOT_SUPPORTED
    control.transferable = False


async def test_it_is_for_tls_only() -> None:
    with pytest.raises(OSError, match="tls://") as caught:
        await moorings.connect("tcp://127.0.0.1:9", transferable=True)
    assert caught.value.winerror == errors.E_INVALIDARG
    with pytest.raises(OSError, match="tls://"):
        moorings.listen("tcp://127.0.0.1:0", transferable=True)


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_tls, "find_obstacle", lambda _suite: Obstacle("no TLS here", "another kernel"))


def refused(connection: StreamSocket) -> str:
    with pytest.raises(OSError) as caught:
        connection.detach()
    assert caught.value.winerror == errors.ERROR_NOT_SUPPORTED
    assert connection.end_reason == EndReason.OPEN
    return str(caught.value)


@both_versions
@pytest.mark.parametrize("ignoring", [False, True], ids=["fast path", "full path"])
async def test_a_client_gets_as_far_as_the_kernel(version: str, ignoring: bool, no_kernel: None) -> None:
    """Keys, counts and all: only the kernel is in the way."""
    async with serving(server_context(version)) as served:
        for _ in range(2):  # the second handshake may be a short one
            ours = trusting(transferable=True)
            if ignoring:
                ours.control.ignorable_server_certificate_errors.append(ChainValidationResult.EXPIRED)
            await ours.connect_async(LOCALHOST, served.port, LEVELS[version])
            await ours.write(b"x" * 50_000)
            assert await ours.read_exactly(50_000) == b"x" * 50_000
            assert "no TLS here (another kernel)" in refused(ours)
            await ours.write(b"on and on")
            assert await ours.read_exactly(9) == b"on and on"
            await ours.aclose()
        assert served.resumed == [False, not ignoring]


@both_versions
async def test_a_server_gets_as_far_as_the_kernel(version: str, no_kernel: None) -> None:
    certificate = Certificate.from_pem(server_certificate().private_key_and_cert_chain_pem.bytes())
    said: list[str] = []

    async def serve(connection: StreamSocket) -> None:
        await connection.write(await connection.read_exactly(5))
        said.append(refused(connection))

    options: dict[str, Any] = {"certificate": certificate, "client_ca": authority().cert_pem.bytes()}
    async with moorings.listen("tls://127.0.0.1:0", serve, transferable=True, **options) as listening:
        ours = trusting(client_certificate=client_identity())
        await ours.connect_async(LOCALHOST, str(listening.port), LEVELS[version])
        await ours.write(b"hello")
        assert await ours.read_exactly(5) == b"hello"
        assert await ours.read() == b""
        await ours.aclose()
    assert len(said) == 1
    assert "no TLS here" in said[0]


@both_versions
async def test_the_programs_own_key_log_gets_its_lines(version: str, no_kernel: None, tmp_path: Path) -> None:
    certificate = Certificate.from_pem(server_certificate().private_key_and_cert_chain_pem.bytes())
    ours_log, server_log = tmp_path / "ours", tmp_path / "server"

    async def serve(connection: StreamSocket) -> None:
        await connection.write(await connection.read_exactly(1))
        assert await connection.read() == b""

    async with moorings.listen(
        "tls://127.0.0.1:0", serve, certificate=certificate, transferable=True, key_log=server_log
    ) as listening:
        for errors_to_ignore in ((), (ChainValidationResult.EXPIRED,)):
            ours = trusting(transferable=True, key_log=ours_log)
            ours.control.ignorable_server_certificate_errors.extend(errors_to_ignore)
            await ours.connect_async(LOCALHOST, str(listening.port), LEVELS[version])
            await ours.write(b"x")
            assert await ours.read_exactly(1) == b"x"
            assert "no TLS here" in refused(ours)
            await ours.aclose()
    label = b"CLIENT_RANDOM " if version == "TLS 1.2" else b"CLIENT_TRAFFIC_SECRET_0 "
    for log in (ours_log, server_log):
        assert log.read_bytes().count(label) == 2


async def test_nobody_had_asked() -> None:
    async with serving(server_context()) as served:
        connection = await moorings.connect(f"tls://localhost:{served.port}", ca=trusts())
        assert "transferable" in refused(connection)
        connection.abort()


async def test_after_an_upgrade(no_kernel: None) -> None:
    certificate = server_certificate()
    import asyncio
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(8))
        await writer.drain()
        await writer.start_tls(context)
        writer.write(b"secret")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    ours = trusting(transferable=True)
    await ours.connect_async(HostName("127.0.0.1"), str(server.sockets[0].getsockname()[1]))
    await ours.write(b"STARTTLS")
    assert await ours.read_exactly(8) == b"STARTTLS"
    await ours.upgrade_to_ssl_async(SocketProtectionLevel.TLS13, LOCALHOST)
    assert await ours.read_exactly(6) == b"secret"
    assert "no TLS here" in refused(ours)
    await ours.aclose()
    server.close()
    await server.wait_closed()
