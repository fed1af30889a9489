"""The accepting side's handshake: done, broken, given up, dropped, and how much of the loop it takes."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE, connected_sockets
from tests.engine.test_endings import in_child
from tests.engine.tls_pairs import VERSIONS, client_session, server_session

from moorings.engine.hub import EDGE_BOTH, Source, current_hub
from moorings.engine.server_handshake import HANDSHAKE_STEP_COST, ServerHandshake
from moorings.engine.tls_codec import FailureKind, TlsFailure
from moorings.engine.tls_handshake import shake_hands
from moorings.foundation.home import TURN_BYTES_LIMIT, current_home

MEMORY = memoryview(bytearray(100_000))


class Ended:
    """Notes how handshakes end."""

    def __init__(self) -> None:
        self.calls: list[tuple[ServerHandshake, Exception | None]] = []
        self.changed = asyncio.Event()
        self.turn = 0
        self.turns: list[int] = []

    def __call__(self, handshake: ServerHandshake, error: Exception | None) -> None:
        self.calls.append((handshake, error))
        self.turns.append(self.turn)
        self.changed.set()

    async def until(self, number: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.calls) < number:
                self.changed.clear()
                await self.changed.wait()


class Opened:
    """Keeps the set and the block of the loop's hub, as the listener does, without which there is no handshake."""

    def __enter__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.source = Source()
        current_hub().register(self.source, self.ours.fileno(), EDGE_BOTH)

    def __exit__(self, *_exception: object) -> None:
        current_hub().unregister(self.source)
        self.ours.close()
        self.theirs.close()


def begin(version: str, ended: Ended, plain: socket.socket) -> tuple[ServerHandshake, Any]:
    session = server_session(version)
    plain.setblocking(False)
    handshake = ServerHandshake(current_hub(), plain, "address", session, ended)
    return handshake, session


def fill(plain: socket.socket) -> int:
    """Send until the kernel takes no more; the number of bytes."""
    count = 0
    try:
        while True:
            count += plain.send(b"j" * 65536)
    except BlockingIOError:
        return count


def receive(plain: socket.socket) -> bytes:
    plain.setblocking(True)
    plain.settimeout(PATIENCE)
    return plain.recv(65536)


@pytest.mark.parametrize("version", VERSIONS)
async def test_it_gives_the_descriptor_and_a_session_that_is_ready(version: str) -> None:
    ended = Ended()
    theirs, plain = connected_sockets()
    with Opened():
        handshake, session = begin(version, ended, plain)
        handshake.start()
        client = client_session(version)
        theirs.setblocking(False)
        await shake_hands(theirs, client, "client")
        await ended.until(1)
    assert ended.calls == [(handshake, None)]
    assert handshake.session is session
    assert handshake.address == "address"
    assert handshake.give() is plain
    assert handshake.fd == -1
    assert session.version() == version.replace(" ", "v")
    client.write(b"hello")
    session.feed(client.take_ciphertext())
    assert session.read_into(MEMORY, 5) == 5
    handshake.close()  # nothing of it is left
    assert plain.fileno() >= 0
    plain.close()
    theirs.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_octet_by_octet(version: str) -> None:
    ended = Ended()
    theirs, plain = connected_sockets()
    client = client_session(version)
    with Opened():
        handshake, _ = begin(version, ended, plain)
        handshake.start()
        theirs.setblocking(False)
        done = False
        async with asyncio.timeout(PATIENCE):
            while not done or not ended.calls:
                done = client.step()
                for octet in client.take_ciphertext():
                    theirs.send(bytes([octet]))
                    await asyncio.sleep(0)
                try:
                    client.feed(theirs.recv(1))
                except BlockingIOError:
                    await asyncio.sleep(0)
    assert ended.calls == [(handshake, None)]
    handshake.give().close()
    theirs.close()


async def test_a_client_that_does_not_read_is_waited_for() -> None:
    ended = Ended()
    theirs, plain = connected_sockets()
    plain.setblocking(False)
    junk = fill(plain)
    client = client_session()
    with Opened():
        client.step()
        theirs.sendall(client.take_ciphertext())
        handshake, _ = begin("TLS 1.3", ended, plain)
        handshake.start()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not ended.calls
        while junk:
            junk -= len(theirs.recv(min(junk, 65536)))
        theirs.setblocking(False)
        await shake_hands(theirs, client, "client")
        await ended.until(1)
    assert ended.calls == [(handshake, None)]
    handshake.give().close()
    theirs.close()


async def test_nonsense_is_answered_with_an_alert() -> None:
    ended = Ended()
    theirs, plain = connected_sockets()
    with Opened():
        handshake, _ = begin("TLS 1.3", ended, plain)
        handshake.start()
        theirs.sendall(b"\x16\x03\x01\x00\x05nonsense")
        await ended.until(1)
        ((_, error),) = ended.calls
        assert isinstance(error, TlsFailure)
        assert error.kind is not FailureKind.CERTIFICATE
        handshake.close()
        assert receive(theirs)[:1] == b"\x15"
        assert receive(theirs) == b""
    theirs.close()


@pytest.mark.parametrize("reset", [False, True])
async def test_a_client_that_goes(reset: bool) -> None:
    ended = Ended()
    theirs, plain = connected_sockets()
    with Opened():
        handshake, _ = begin("TLS 1.3", ended, plain)
        handshake.start()
        if reset:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        await ended.until(1)
        ((_, error),) = ended.calls
        assert isinstance(error, OSError)
        handshake.close()
    assert plain.fileno() == -1


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_given_up_it_tells_nobody_but_the_client(end: str) -> None:
    ended = Ended()
    theirs, plain = connected_sockets()
    with Opened():
        handshake, _ = begin("TLS 1.3", ended, plain)
        handshake.start()
        assert handshake.is_closing()  # a loop that ends closes it
        getattr(handshake, end)()
        handshake.close()
        assert receive(theirs) == b""
        for _ in range(5):
            await asyncio.sleep(0)
    assert not ended.calls
    theirs.close()


async def test_one_that_is_forgotten_gives_its_descriptor_back() -> None:
    theirs, plain = connected_sockets()
    with Opened():
        handshake, _ = begin("TLS 1.3", Ended(), plain)
        del handshake, plain
        gc.collect()
        assert receive(theirs) == b""
    theirs.close()


async def test_a_mistake_of_the_session_is_told_and_not_raised() -> None:
    class Mistaken:
        def feed(self, _data: Any) -> None:
            raise ZeroDivisionError

    ended = Ended()
    theirs, plain = connected_sockets()
    plain.setblocking(False)
    mistaken: Any = Mistaken()
    with Opened():
        handshake = ServerHandshake(current_hub(), plain, None, mistaken, ended)
        handshake.start()
        theirs.sendall(b"x")
        await ended.until(1)
        assert isinstance(ended.calls[0][1], ZeroDivisionError)
        handshake.close()
    theirs.close()


async def test_many_at_once_let_others_run() -> None:
    """Each step is charged to the turn's budget, so that the loop runs between every few of them."""
    ended = Ended()
    number = 40
    pairs = [connected_sockets() for _ in range(number)]
    clients = [client_session() for _ in range(number)]
    with Opened():
        handshakes = []
        for (theirs, plain), client in zip(pairs, clients, strict=True):
            client.step()
            theirs.sendall(client.take_ciphertext())
            handshake, _ = begin("TLS 1.3", ended, plain)
            handshakes.append(handshake)
        current_home().new_turn()
        for handshake in handshakes:
            handshake.start()
        assert current_home().turn_bytes >= TURN_BYTES_LIMIT
        for (theirs, _), client in zip(pairs, clients, strict=True):
            async with asyncio.timeout(PATIENCE):
                while True:
                    theirs.setblocking(False)
                    try:
                        client.feed(theirs.recv(65536))
                        break
                    except BlockingIOError:
                        await asyncio.sleep(0)
            assert client.step()
        for (theirs, _), client in zip(pairs, clients, strict=True):
            theirs.sendall(client.take_ciphertext())  # all of them are ready in one turn of the loop
        async with asyncio.timeout(PATIENCE):
            while len(ended.calls) < number:
                ended.turn += 1
                await asyncio.sleep(0)
        most = max(ended.turns.count(turn) for turn in ended.turns)
        assert most <= 2 * (TURN_BYTES_LIMIT // HANDSHAKE_STEP_COST)
        assert all(error is None for _, error in ended.calls)
    for handshake in handshakes:
        handshake.give().close()
    for theirs, _ in pairs:
        theirs.close()


async def test_a_forked_child_leaves_it_to_its_parent() -> None:
    ended = Ended()
    theirs, plain = connected_sockets()
    with Opened():
        handshake, _ = begin("TLS 1.3", ended, plain)
        handshake.start()

        def child() -> None:
            assert handshake.give() is None

        in_child(child)
        theirs.setblocking(False)
        await shake_hands(theirs, client_session(), "client")
        await ended.until(1)
    assert ended.calls == [(handshake, None)]
    handshake.give().close()
    theirs.close()
