"""A WebSocket server that is told to stop: who is told, who is cut off, what is counted."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import FIN, PATIENCE, RST, receive, receive_ending, until
from tests.sockets.web_socket_peers import REQUEST, client_of, closing_of, plain_client

import moorings

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(__file__).with_name("web_socket_server_program.py")
CLIENTS = 1000
#: Of these so many keep an echo going, never read, and never answer the close frame.
BUSY = 200
DEAF = 5
MUTE = 5
#: Seconds that the server gives its clients.
DEADLINE = 4.0

PING_PONG = b"\x82\x85\0\0\0\0hello"


class Client(asyncio.Protocol):
    """A client that knows as much of the protocol as it needs: short frames."""

    def __init__(self, *, busy: bool = False, mute: bool = False) -> None:
        self.busy = busy
        self.mute = mute
        self.data = b""
        self.opened = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()
        self.close_frame = b""
        self.echoes = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self.data += data
        if not self.opened.done():
            head, found, self.data = self.data.partition(b"\r\n\r\n")
            assert found, head
            assert head.startswith(b"HTTP/1.1 101 ")
            self.opened.set_result(None)
            if self.busy:
                self.transport.write(PING_PONG)
        while len(self.data) >= 2 and len(self.data) >= 2 + self.data[1]:
            frame, self.data = self.data[: 2 + self.data[1]], self.data[2 + self.data[1] :]
            if frame[0] == 0x88:
                self.close_frame = frame[2:]
                if not self.mute:
                    self.transport.write(b"\x88" + bytes([0x80 | frame[1], 0, 0, 0, 0]) + frame[2:])
            else:
                assert frame == b"\x82\x05hello"
                self.echoes += 1
                if not self.close_frame:
                    self.transport.write(PING_PONG)

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set_result("reset" if error is not None else "end")


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * CLIENTS
    if soft < wanted:
        if hard < wanted:
            pytest.skip(f"{wanted} descriptors are needed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def connect(port: int, **settings: bool) -> Client:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Client(**settings), "127.0.0.1", port)
    await client.opened
    return client


async def connect_deaf(port: int) -> socket.socket:
    """A client that sends more than it is ever ready to take back, and reads nothing."""
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, REQUEST)
    frame = b"\x82\xff" + (100_000).to_bytes(8, "big") + bytes(4) + bytes(100_000)
    sent = 0
    try:
        while sent < 32 << 20:  # far more than all buffers between the two
            async with asyncio.timeout(0.2):
                await loop.sock_sendall(client, frame)
            sent += len(frame)
    except TimeoutError:
        return client
    raise AssertionError("the server takes all of it")


async def test_sigterm_under_load_with_1000_open_sockets(many_descriptors: None) -> None:
    loop = asyncio.get_running_loop()
    kind = "uvloop" if type(loop).__module__.startswith("uvloop") else "asyncio"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", str(PROGRAM), str(DEADLINE), kind, stdout=-1, stderr=-1
    )
    assert process.stdout is not None
    deaf: list[socket.socket] = []
    clients: list[Client] = []
    try:
        async with asyncio.timeout(6 * PATIENCE):
            port = int(await process.stdout.readline())
            deaf += [await connect_deaf(port) for _ in range(DEAF)]
            while len(clients) < CLIENTS - DEAF:
                count = len(clients)
                clients += await asyncio.gather(
                    *(
                        connect(port, busy=number < BUSY, mute=BUSY <= number < BUSY + MUTE)
                        for number in range(count, min(count + 100, CLIENTS - DEAF))
                    )
                )
            await until(lambda: all(client.echoes > 3 for client in clients if client.busy))
            process.send_signal(signal.SIGTERM)
            output, complaints = await process.communicate()
            endings = await asyncio.gather(*(client.ended for client in clients))
        assert complaints == b""
        assert process.returncode == 0
        # Everybody who reads was told, why and with what reason; the report knows who answered.
        assert {client.close_frame for client in clients} == {(1001).to_bytes(2, "big") + b"restart"}
        report = json.loads(output)
        assert report["opened"] == report["told"] == CLIENTS
        assert (report["finished"], report["aborted"]) == (CLIENTS - DEAF - MUTE, DEAF + MUTE)
        assert {ending for client, ending in zip(clients, endings, strict=True) if not client.mute} == {"end"}
        for client in deaf:
            assert (await receive_ending(client))[1] == RST
    finally:
        for each in deaf:
            each.close()
        for each_client in clients:
            each_client.transport.abort()
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_the_code_and_the_reason_of_a_drain_are_told() -> None:
    async def handle(web_socket: Any) -> None:
        async for _ in web_socket:
            pass

    listening = await moorings.listen("ws://127.0.0.1:0", handle)
    async with client_of(listening.port) as client:
        draining = asyncio.ensure_future(listening.drain(PATIENCE, code=3001, reason="moved"))
        assert await closing_of(client) == (3001, "moved")
        assert await draining == (1, 1, 1, 0, 0)


@pytest.mark.parametrize("answers", [True, False])
async def test_a_stream_of_bytes_reads_on_until_the_client_has_answered(answers: bool) -> None:
    seen: list[bytes] = []
    ready = asyncio.Event()

    async def handle(web_socket: Any) -> None:
        await web_socket.write(b"ready")
        ready.set()
        while data := await web_socket.read():
            seen.append(data)

    async with asyncio.timeout(PATIENCE):
        listening = await moorings.listen("ws://127.0.0.1:0", handle, stream=True)
        with plain_client(listening.port) as client:
            client.sendall(REQUEST)
            await ready.wait()
            draining = asyncio.ensure_future(listening.drain(PATIENCE if answers else 0.2, reason="gone"))
            data = b""
            while not data.endswith(b"\x82\x05ready\x88\x06\x03\xe9gone"):
                data += await receive(client, 1)
            if answers:
                client.sendall(b"\x82\x84\0\0\0\0last\x88\x82\0\0\0\0\x03\xe9")
            report = await draining
            assert (report.told, report.finished, report.aborted) == ((1, 1, 0) if answers else (1, 0, 1))
            assert seen == ([b"last"] if answers else [])
            assert (await receive_ending(client))[1] == (FIN if answers else RST)


async def test_requests_that_are_under_way_are_cut_off_or_refused() -> None:
    asked = asyncio.Event()
    go_on = asyncio.Event()

    async def approve(_approval: Any) -> bool:
        asked.set()
        await go_on.wait()
        return True

    async with asyncio.timeout(PATIENCE):
        listening = await moorings.listen("ws://127.0.0.1:0", lambda _web_socket: None, approve=approve)
        with plain_client(listening.port) as first, plain_client(listening.port) as second:
            first.sendall(REQUEST[:30])
            second.sendall(REQUEST)
            await asked.wait()
            await until(lambda: listening.listener.information.counters.half_open == 1)
            draining = asyncio.ensure_future(listening.drain(PATIENCE))
            assert (await receive_ending(first))[1] == RST
            go_on.set()
            assert await receive(second, 12) == b"HTTP/1.1 503"
            await receive_ending(second)
        assert (await draining)[:4] == (0, 0, 0, 0)


async def test_handlers_that_do_not_end_are_cancelled_at_the_deadline() -> None:
    cancelled = asyncio.Event()

    async def handle(_web_socket: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with asyncio.timeout(PATIENCE):
        listening = await moorings.listen("ws://127.0.0.1:0", handle)
        async with client_of(listening.port) as client:
            draining = asyncio.ensure_future(listening.drain(0.1))
            assert await closing_of(client) == (1001, "")
            await draining
        assert cancelled.is_set()


async def test_a_cancelled_drain_aborts_the_rest() -> None:
    async def handle(web_socket: Any) -> None:
        await web_socket.send("ready")
        async for _ in web_socket:
            pass

    async with asyncio.timeout(PATIENCE):
        listening = await moorings.listen("ws://127.0.0.1:0", handle)
        with plain_client(listening.port) as client:
            client.sendall(REQUEST)
            await until(lambda: listening.open_connections == 1)
            draining = asyncio.ensure_future(listening.drain(None))
            await until(lambda: listening.listener._core.told)
            draining.cancel()
            with pytest.raises(asyncio.CancelledError):
                await draining
            assert (await receive_ending(client))[1] == RST


async def test_close_lets_open_web_sockets_live_on() -> None:
    async def echo_once(web_socket: Any) -> None:
        await web_socket.send(await web_socket.receive())

    async with asyncio.timeout(PATIENCE):
        listening = await moorings.listen("ws://127.0.0.1:0", echo_once)
        async with client_of(listening.port) as client:
            listening.close()
            await client.send("still")
            assert await client.recv() == "still"
            assert await closing_of(client) == (1000, "")
        await listening.drain(PATIENCE)
