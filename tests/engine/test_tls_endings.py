"""The endings matrix over TLS: how the peer behaves, times the way in which we end, on a descriptor and as a layer.

As for plain TCP (`test_endings.py`), each cell ends within its deadline, tells the peer the truth (close_notify and FIN
only where it has everything), and leaves nothing: the harness around each test looks for descriptors, tasks, threads,
log records and calls of the loop's exception handler.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.engine.layer_pairs import layered_socket
from tests.engine.pairs import FIN, PATIENCE, RST, connected_sockets, reset, turns, until
from tests.engine.test_endings import FULL, SHORT, WAYS, Held, drop, end, forked_child, run
from tests.engine.tls_pairs import Wire, client_session, secured, server_session

from moorings import Buffer, EndReason
from moorings.engine.tls_codec import TlsFailure
from moorings.engine.tls_handshake import shake_hands

if TYPE_CHECKING:
    from moorings import StreamSocket

KINDS = [("TLS 1.2", "as client"), ("TLS 1.3", "as client"), ("TLS 1.3", "as server"), ("TLS 1.2", "as layer")]
PEERS = [
    "answers",
    "is silent",
    "never answers close_notify",
    "resets",
    "half-closes",
    "cuts off",
    "reads late",
    "leaves our buffer full",
]
all_kinds = pytest.mark.parametrize(("version", "kind"), KINDS)
both_loops = pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])


async def connected(version: str, kind: str) -> tuple[Held, Wire]:
    """One of our sockets, and the raw other end."""
    ours, theirs = connected_sockets()
    client = kind != "as server"
    other = server_session(version) if client else client_session(version)

    async def make() -> StreamSocket:
        if kind == "as layer":
            return await layered_socket(ours, "TCP", version, client=True)
        return await secured(ours, client_session(version) if client else server_session(version), client=client)

    made, _ = await asyncio.gather(make(), shake_hands(theirs, other, "the wire"))
    await turns(2)  # then nothing of `gather` holds the socket any more
    return Held(made), Wire(theirs, other)


async def behave(held: Held, wire: Wire, how: str) -> None:
    """Bring the connection to where the ending begins."""
    assert held.socket is not None
    held.socket.limits.close_timeout = 1000.0
    match how:
        case "answers" | "never answers close_notify":
            await held.socket.write(b"question")
            assert await wire.receive() == b"question"
            await wire.send_raw(wire.records(b"answer"))
            assert await held.socket.read() == b"answer"
        case "resets":
            reset(wire.plain)
            await turns(3)
        case "half-closes":
            wire.session.close_notify()
            await wire.send_raw(wire.session.take_ciphertext())
            wire.plain.shutdown(socket.SHUT_WR)
            await turns(3)
        case "cuts off":
            wire.plain.shutdown(socket.SHUT_WR)
            await turns(3)
        case "reads late":
            held.socket.write(b"unread" * 1000)
        case "leaves our buffer full":
            held.socket.limits.close_timeout = SHORT
            held.socket.write(bytes(FULL))
            await turns(3)
            await until(lambda: held.stream.write_blocked)


class Seen(NamedTuple):
    """What the peer sees of an ending."""

    size: int
    goodbye: bool
    end: str


async def seen(wire: Wire, *, answers: bool = False) -> Seen:
    memory = memoryview(bytearray(1 << 16))
    size = 0
    goodbye = False
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                data = await asyncio.get_running_loop().sock_recv(wire.plain, 1 << 20)
            except (ConnectionResetError, BrokenPipeError):
                return Seen(size, goodbye, RST)
            if not data:
                return Seen(size, goodbye, FIN)
            wire.session.feed(data)
            while (count := wire.session.read_into(memory, len(memory))) > 0:
                size += count
            if count == 0 and not goodbye:
                goodbye = True
                if answers:
                    wire.session.close_notify()
                    with suppress(OSError):
                        wire.plain.send(wire.session.take_ciphertext())


def check(found: Seen, how: str, way: str) -> None:
    """Whether it is what it should be."""
    if how == "leaves our buffer full" or way == "abort" or (how in {"half-closes", "cuts off"} and way == "cancel"):
        assert (found.goodbye, found.end) == (False, RST)
        assert found.size == 0 or how in {"reads late", "leaves our buffer full"}
    elif how == "reads late" and way in {"drop", "cancel"}:
        # Torn down: with RST where the kernel has not got its acknowledgement.
        assert found.goodbye == (found.end == FIN)
        assert found.size == 6000 or found.end == RST
    else:
        assert found == Seen(6000 if how == "reads late" else 0, True, FIN)


@all_kinds
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", PEERS)
async def test_ending(how: str, way: str, version: str, kind: str) -> None:
    held, wire = await connected(version, kind)
    with wire.plain:
        await behave(held, wire, how)
        async with asyncio.timeout(PATIENCE):
            await end(held, way)
            await held.stream.wait_closed()
        if how == "resets":
            assert held.stream.end_reason in {EndReason.CLOSED_BY_US, EndReason.ABORTED, EndReason.RESET}
            return
        check(await seen(wire, answers=how == "answers"), how, way)


@all_kinds
@pytest.mark.parametrize("how", ["half-closes", "cuts off", "resets"])
async def test_what_a_reader_is_told(how: str, version: str, kind: str) -> None:
    held, wire = await connected(version, kind)
    assert held.socket is not None
    with wire.plain:
        await wire.send_raw(wire.records(b"last words"))
        reading = asyncio.ensure_future(held.socket.read_exactly(100))
        await until(lambda: held.stream.bytes_received == 10)
        await behave(held, wire, how)
        match how:
            case "half-closes":
                with pytest.raises(asyncio.IncompleteReadError):
                    await reading
                wanted = EndReason.CLOSED_BY_PEER
            case "cuts off":
                with pytest.raises(ConnectionAbortedError):
                    await reading
                wanted = EndReason.TRUNCATED
            case _:
                with pytest.raises(ConnectionResetError):
                    await reading
                wanted = EndReason.RESET
        assert held.socket.end_reason == wanted
        await held.socket.aclose()
        assert held.socket.end_reason == wanted


@all_kinds
@pytest.mark.parametrize("way", WAYS)
async def test_ending_does_not_wait_longer_than_its_deadline(way: str, version: str, kind: str) -> None:
    """The deadline is the only timer: with it at zero, everything ends in the next loop turns."""
    held, wire = await connected(version, kind)
    assert held.socket is not None
    with wire.plain:
        held.socket.limits.close_timeout = 0.0
        held.socket.write(bytes(FULL))
        await turns(3)
        await end(held, way)
        found = await seen(wire)
        assert (found.goodbye, found.end) == (False, RST)


@all_kinds
async def test_unread_data_is_told_by_a_reset_after_what_was_written(version: str, kind: str) -> None:
    held, wire = await connected(version, kind)
    assert held.socket is not None
    with wire.plain:
        await held.socket.write(b"last words")
        await wire.send_raw(wire.records(b"never read"))
        await held.socket.aclose()
        found = await seen(wire)
        assert (found.goodbye, found.end) == (False, RST)


@all_kinds
async def test_a_peer_that_breaks_the_protocol_while_we_close(version: str, kind: str) -> None:
    """What it sends behind our goodbye is nobody's business any more; nothing hangs or is logged."""
    held, wire = await connected(version, kind)
    assert held.socket is not None
    with wire.plain:
        held.socket.write(bytes(FULL))
        await turns(3)
        held.socket.close()
        with suppress(OSError):
            await wire.send_raw(b"GET / HTTP/1.1\r\n\r\n")
        with suppress(TlsFailure):
            await seen(wire)
        async with asyncio.timeout(PATIENCE):
            await held.stream.wait_closed()


# -- the loop is closed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("queue", ["empty", "full"])
@both_loops
@all_kinds
@pytest.mark.parametrize("way", WAYS)
def test_ending_when_the_loop_is_closed(way: str, version: str, kind: str, loop_kind: str, queue: str) -> None:
    """The program forgot the socket in its first asyncio.run(), and ends it in a second one, or in none."""
    operations: list[Any] = []

    async def first() -> tuple[Held, Wire]:
        held, wire = await connected(version, kind)
        assert held.socket is not None
        operations.append(held.socket.input_stream.read_async(Buffer(1), 1, 0))  # type: ignore[arg-type]
        if queue == "full":
            await behave(held, wire, "leaves our buffer full")
        return held, wire

    held, wire = run(loop_kind, first())
    assert held.socket is not None
    with wire.plain:
        match way:
            case "close":
                held.socket.close()
            case "abort":
                held.socket.abort()
            case "drop":
                drop(held)
            case "cancel":
                operations[0].cancel()
            case _:
                run(loop_kind, end(held, way))
        assert held.stream.is_released()
        found = run(loop_kind, seen(wire))
        if way == "abort" or queue == "full":
            assert (found.goodbye, found.end) == (False, RST)
        else:
            assert found == Seen(0, True, FIN)
        assert operations[0].status.name == "ERROR"


@both_loops
@all_kinds
def test_the_end_of_the_loop_does_not_cut_short_what_was_written(version: str, kind: str, loop_kind: str) -> None:
    received: list[Seen] = []

    async def main() -> Held:
        held, wire = await connected(version, kind)
        assert held.socket is not None
        held.socket.write(os.urandom(FULL // 2))
        held.socket.close()

        def receive() -> None:
            with wire.plain:
                received.append(asyncio.run(seen(wire)))

        reading.append(threading.Thread(target=receive))
        reading[0].start()
        return held

    reading: list[threading.Thread] = []
    held = run(loop_kind, main())
    reading[0].join(PATIENCE)
    assert received == [Seen(FULL // 2, True, FIN)]
    assert held.stream.end_reason == EndReason.CLOSED_BY_US


@all_kinds
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["answers", "leaves our buffer full"])
async def test_ending_while_a_forked_child_lives(how: str, way: str, version: str, kind: str) -> None:
    held, wire = await connected(version, kind)
    with wire.plain:
        await behave(held, wire, how)
        with forked_child():
            await end(held, way)
            check(await seen(wire), how, way)
