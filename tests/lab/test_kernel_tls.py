"""TLS connections that move to another process, with the kernel's TLS. They need a kernel that has it: `make lab`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import socket
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import connected_sockets
from tests.engine.tls_pairs import movable_session, secured, stream_and_wire
from tests.engine.tls_records import (
    FATAL,
    HANDSHAKE,
    HELLO_REQUEST,
    INTERNAL_ERROR,
    USER_CANCELED,
    WARNING,
    Forger,
    LoggedSession,
)
from tests.lab.other_process import noise, send_order
from tests.sockets.tls_servers import authority, server_certificate, trusts

import moorings
from moorings import EndReason
from moorings.certificates.certificate import Certificate
from moorings.engine.tls_handshake import shake_hands

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
#: Seconds; the lab's machine is twenty times slower than others.
PATIENCE = 120.0
BULK = 10_000_000
SUITES = {
    "1.2 AES-128": ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", "TLS12"),
    "1.2 AES-256": ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384", "TLS12"),
    "1.2 ChaCha20": ("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305", "TLS12"),
    "1.3 AES-128": ("-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256", "TLS13"),
    "1.3 AES-256": ("-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384", "TLS13"),
    "1.3 ChaCha20": ("-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256", "TLS13"),
}
every_suite = pytest.mark.parametrize("suite", SUITES)
both_versions = pytest.mark.parametrize("version", ["TLS 1.2", "TLS 1.3"])


async def read_to_end(stream: moorings.StreamSocket) -> bytes:
    received = bytearray()
    while piece := await stream.read(1 << 16):
        received += piece
    return bytes(received)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Other:
    """The other process."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel

    async def take(
        self, given: moorings.Detached, *, send: int = 0, receive: int = 0, end: str = "close"
    ) -> dict[str, Any]:
        """Let it take a connection; its report. It sends `noise(1, send)`."""

        def wait() -> dict[str, Any]:
            send_order(self.channel, given, send=send, receive=receive, end=end, seed=1)
            line = b""
            while not line.endswith(b"\n"):
                piece = self.channel.recv(65536)
                assert piece, "the other process is gone"
                line += piece
            report: dict[str, Any] = json.loads(line)
            return report

        return await asyncio.to_thread(wait)


@pytest.fixture(scope="module")
def other() -> Iterator[Other]:
    ours, theirs = socket.socketpair()
    program = Path(__file__).with_name("other_process.py")
    with ours:
        ours.settimeout(PATIENCE)
        with theirs:
            process = subprocess.Popen([sys.executable, program, str(theirs.fileno())], pass_fds=[theirs.fileno()])
        try:
            yield Other(ours)
        finally:
            ours.close()
            process.wait(PATIENCE)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("kernel-tls")
    server_certificate().private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    authority().cert_pem.write_to_path(directory / "ca.pem")
    return directory


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def openssl(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = shutil.which("openssl")
    assert command is not None
    process = subprocess.Popen(
        [command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()


async def feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    await asyncio.to_thread(process.stdin.write, data)
    await asyncio.to_thread(process.stdin.flush)


async def drain(process: subprocess.Popen[bytes], size: int) -> bytes:
    assert process.stdout is not None
    return await asyncio.to_thread(process.stdout.read, size)


async def connect(url: str, **options: Any) -> moorings.StreamSocket:
    """Connect as soon as somebody listens."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(ConnectionRefusedError):
                made: moorings.StreamSocket = await moorings.connect(url, ca=trusts(), transferable=True, **options)
                return made
            await asyncio.sleep(0.05)


async def exchange_and_move(
    ours: moorings.StreamSocket, process: subprocess.Popen[bytes], other: Other, level: str
) -> dict[str, Any]:
    """Talk here, move with something unread, talk there; the peer is `openssl`."""
    await ours.write(b"from here")
    assert await drain(process, 9) == b"from here"
    await feed(process, b"from there, unread")
    assert await ours.read_exactly(10) == b"from there"
    await ours.cancel_io_async()
    given = ours.detach()
    assert given.unread == b", unread"
    assert ours.end_reason == EndReason.DETACHED
    data = noise(2, BULK)
    task = asyncio.ensure_future(other.take(given, send=BULK, receive=len(given.unread) + BULK))
    _, received = await asyncio.gather(feed(process, data), drain(process, BULK))
    report = await task
    assert sha256(received) == sha256(noise(1, BULK))
    assert report["received"] == sha256(b", unread" + data), report
    assert report["end_reason"] == "CLOSED_BY_US"
    assert report["level"] == level
    # The peer has seen a clean end: nothing more, and no complaint.
    assert await drain(process, 1) == b""
    assert process.stderr is not None
    complaints = await asyncio.to_thread(process.stderr.read)
    assert b"error" not in complaints, complaints
    return report


@every_suite
async def test_a_connected_socket(suite: str, other: Other, files: Path) -> None:
    flag, option, cipher, level = SUITES[suite]
    port = free_port()
    place = ("-accept", f"127.0.0.1:{port}", "-naccept", "1", "-cert", str(files / "server.pem"))
    with openssl("s_server", "-quiet", flag, option, cipher, *place) as process:
        ours = await connect(f"tls://localhost:{port}")
        serial = bytes(ours.information.server_certificate.serial_number).hex()
        report = await exchange_and_move(ours, process, other, level)
        assert (report["cipher"], report["server"]) == (cipher, serial)


@every_suite
async def test_an_accepted_socket(suite: str, other: Other, files: Path) -> None:
    flag, option, cipher, level = SUITES[suite]
    certificate = Certificate.from_files(files / "server.pem")
    async with moorings.listen("tls://127.0.0.1:0", certificate=certificate, transferable=True) as listening:
        place = ("-connect", f"127.0.0.1:{listening.port}", "-servername", "localhost")
        place += ("-CAfile", str(files / "ca.pem"))
        with openssl("s_client", "-quiet", "-verify_quiet", flag, option, cipher, *place) as process:
            async for ours in listening:
                report = await exchange_and_move(ours, process, other, level)
                assert (report["cipher"], report["server"], report["name"]) == (cipher, None, "localhost")
                break


@asynccontextmanager
async def pair(files: Path, version: str) -> AsyncIterator[tuple[moorings.StreamSocket, moorings.StreamSocket]]:
    """Our own client and server; both may move."""
    certificate = Certificate.from_files(files / "server.pem")
    async with moorings.listen("tls://127.0.0.1:0", certificate=certificate, transferable=True) as listening:
        client = moorings.StreamSocket()
        client.control.trust_anchors = trusts()
        client.control.transferable = True
        level = moorings.SocketProtectionLevel["TLS" + version[-3:].replace(".", "")]
        connecting = client.connect_async(moorings.HostName("localhost"), str(listening.port), level)
        async for server in listening:
            await connecting
            try:
                yield client, server
            finally:
                client.abort()
                server.abort()
            break


@both_versions
@pytest.mark.parametrize("side", ["client", "server"])
async def test_our_own_peer_sees_a_clean_end(version: str, side: str, other: Other, files: Path) -> None:
    async with pair(files, version) as both:
        mine, stays = both if side == "client" else both[::-1]
        await mine.write(b"before")
        assert await stays.read_exactly(6) == b"before"
        task = asyncio.ensure_future(other.take(mine.detach(), send=100_000, receive=5))
        stays.write(b"after")
        assert await stays.read_exactly(100_000) == noise(1, 100_000)
        assert await stays.read() == b""
        assert stays.end_reason == EndReason.CLOSED_BY_PEER
        assert (await task)["received"] == sha256(b"after")


@both_versions
async def test_the_moved_side_sees_a_clean_end(version: str, other: Other, files: Path) -> None:
    async with pair(files, version) as (client, server):
        task = asyncio.ensure_future(other.take(client.detach(), end="read"))
        await server.write(b"the last words")
        await server.aclose()
        report = await task
        assert (report.get("rest"), report["end_reason"]) == ("the last words", "CLOSED_BY_PEER")


@both_versions
async def test_the_moved_side_sees_a_truncation(version: str, other: Other) -> None:
    async with stream_and_wire(version, transferable=True) as (ours, wire):
        task = asyncio.ensure_future(other.take(ours.detach(), receive=4, end="read"))
        await wire.send_raw(wire.records(b"half"))
        wire.plain.shutdown(socket.SHUT_WR)
        report = await task
        assert report["end_reason"] == "TRUNCATED"
        assert "close_notify" in report["error"]


@both_versions
async def test_the_moved_side_sees_a_changed_record(version: str, other: Other) -> None:
    async with stream_and_wire(version, transferable=True) as (ours, wire):
        task = asyncio.ensure_future(other.take(ours.detach(), receive=4, end="read"))
        await wire.send_raw(wire.records(b"good"))
        bad = bytearray(wire.records(b"changed on its way"))
        bad[-1] ^= 1
        await wire.send_raw(bytes(bad))
        report = await task
        assert "changed on its way" in report["error"]


@asynccontextmanager
async def moving_and_forger(version: str) -> AsyncIterator[tuple[moorings.StreamSocket, socket.socket, Forger]]:
    """Our client, the socket at the other end, and who makes any record for it."""
    ours, theirs = connected_sockets()
    session = LoggedSession(version, client=False)
    theirs.setblocking(False)
    mine = movable_session(version, client=True, ciphers="ECDHE+AESGCM" if version == "TLS 1.2" else "")
    stream, _ = await asyncio.gather(secured(ours, mine, client=True), shake_hands(theirs, session, "the wire"))
    with theirs:
        yield stream, theirs, Forger(session)
        stream.abort()


@both_versions
async def test_the_moved_side_tells_an_alert(version: str, other: Other) -> None:
    async with moving_and_forger(version) as (ours, wire, forger):
        task = asyncio.ensure_future(other.take(ours.detach(), receive=4, end="read"))
        passed_over = forger.alert(WARNING, USER_CANCELED)
        wire.send(passed_over + forger.data(b"data") + forger.alert(FATAL, INTERNAL_ERROR))
        report = await task
        assert report["received"] == sha256(b"data")
        assert "internal error" in report["error"]
        assert report["end_reason"] == "RESET"


async def test_tickets_are_passed_over_but_not_for_ever(other: Other) -> None:
    async with moving_and_forger("TLS 1.3") as (ours, wire, forger):
        task = asyncio.ensure_future(other.take(ours.detach(), receive=4, end="read"))
        ticket = b"\4\0\x0f\xfc" + bytes(4092)
        wire.send(forger.record(HANDSHAKE, ticket) + forger.data(b"data"))
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            for _ in range(100):
                await loop.sock_sendall(wire, forger.record(HANDSHAKE, ticket))
        report = await task
        assert report["received"] == sha256(b"data")
        assert "records without data" in report["error"]


@both_versions
async def test_another_handshake_is_refused_or_breaks_the_protocol(version: str, other: Other) -> None:
    async with moving_and_forger(version) as (ours, wire, forger):
        task = asyncio.ensure_future(other.take(ours.detach(), receive=4, end="read"))
        wire.send(forger.record(HANDSHAKE, HELLO_REQUEST) + forger.data(b"data"))
        if version == "TLS 1.2":
            wire.send(forger.alert(WARNING, 0))
        report = await task
        if version == "TLS 1.2":
            assert (report["received"], report["end_reason"]) == (sha256(b"data"), "CLOSED_BY_PEER")
        else:
            assert "handshake message of type 0" in report["error"]


@both_versions
async def test_a_record_that_came_by_half(version: str, other: Other) -> None:
    async with stream_and_wire(version, transferable=True) as (ours, wire):
        record = wire.records(b"in two pieces") + wire.records(b", and more")
        await wire.send_raw(record[:12])
        with suppress(TimeoutError):
            await asyncio.wait_for(ours.read(100), 0.5)
        waiting = ours.cancel_io_async()
        await wire.send_raw(record[12:])
        await waiting
        given = ours.detach()
        assert given.unread == b"in two pieces"
        report = await other.take(given, receive=len(b"in two pieces, and more"))
        assert report["received"] == sha256(b"in two pieces, and more")


async def test_a_key_update_after_the_move_is_the_end(other: Other, files: Path) -> None:
    port = free_port()
    place = ("-accept", f"127.0.0.1:{port}", "-naccept", "1", "-cert", str(files / "server.pem"))
    with openssl("s_server", "-tls1_3", *place) as process:
        ours = await connect(f"tls://localhost:{port}")
        task = asyncio.ensure_future(other.take(ours.detach(), end="read"))
        await feed(process, b"k\n")
        report = await task
        assert "updated its keys" in report["error"]
        assert report["end_reason"] == "ABORTED"


@both_versions
async def test_there_and_back(version: str, files: Path) -> None:
    """A descriptor that was adopted moves again, without keys; a half-close waits for everything before it."""
    async with pair(files, version) as (client, server):
        first = await moorings.adopt(client.detach())
        await first.write(b"one ")
        second = await moorings.adopt(first.detach())
        assert second.information.cipher == server.information.cipher
        await second.write(b"two")
        assert await server.read_exactly(7) == b"one two"
        data = noise(3, BULK // 4)
        second.write(data)
        second.end_writing()
        assert sha256(await read_to_end(server)) == sha256(data)
        await server.write(b"and back")
        assert await second.read_exactly(8) == b"and back"
        await second.aclose()


@both_versions
async def test_closing_before_the_peer_has_read_loses_nothing(version: str, files: Path) -> None:
    async with pair(files, version) as (client, server):
        moved = await moorings.adopt(client.detach())
        moved.limits.close_timeout = PATIENCE
        data = noise(4, BULK // 4)
        moved.write(data)
        moved.close()
        assert sha256(await read_to_end(server)) == sha256(data)
        assert server.end_reason == EndReason.CLOSED_BY_PEER


@both_versions
async def test_moving_in_the_middle_of_both_streams(version: str, files: Path) -> None:
    """Each side moves while the other one sends: what is under way, in whatever pieces, is not lost."""
    data = noise(5, BULK // 4)
    pieces = [data[start : start + 70_001] for start in range(0, len(data), 70_001)]

    async def move(stream: moorings.StreamSocket) -> moorings.StreamSocket:
        await stream.flush()
        await stream.cancel_io_async()
        return await moorings.adopt(stream.detach())

    async def talk(stream: moorings.StreamSocket, turn: int) -> str:
        """Send and receive by turns, and move twice on the way."""
        received = bytearray()
        for number, piece in enumerate(pieces):
            stream.write(piece)
            received += await stream.read(1 << 16)
            if number in {turn, turn + 3}:
                stream = await move(stream)
        await stream.flush()
        while len(received) < len(data):
            received += await stream.read(1 << 16)
        await stream.aclose()
        return sha256(received)

    async with pair(files, version) as both:
        found = await asyncio.gather(talk(both[0], 2), talk(both[1], 9))
    assert found == [sha256(data)] * 2
