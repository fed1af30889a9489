"""The endings matrix of plain TCP: how the peer behaves, times the way in which we end.

Each cell ends within its deadline, tells the peer the truth (FIN only where it has everything), and leaves nothing: the
harness around each test looks for descriptors, tasks, threads, log records and calls of the loop's exception handler.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from tests.engine.pairs import (
    FIN,
    PATIENCE,
    RST,
    connected_sockets,
    ending,
    receive_ending,
    reset,
    turns,
    until,
)

from moorings import Buffer, EndReason, StreamSocket, errors
from moorings.foundation.home import current_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHORT = 0.02
FULL = 16 << 20
WAYS = ["close", "aclose", "abort", "async with", "drop", "cancel"]
PEERS = ["answers", "is silent", "resets", "half-closes", "reads late", "leaves our buffer full"]


class Held:
    """The one reference to a socket, so that it can be dropped."""

    def __init__(self, ours: socket.socket | StreamSocket) -> None:
        self.socket: StreamSocket | None = ours if isinstance(ours, StreamSocket) else StreamSocket.from_socket(ours)
        assert self.socket is not None
        self.stream = self.socket._connection.stream
        assert self.stream is not None


async def end(held: Held, way: str) -> None:
    """End the connection in one of the ways."""
    assert held.socket is not None
    match way:
        case "close":
            held.socket.close()
        case "aclose":
            await held.socket.aclose()
        case "abort":
            held.socket.abort()
        case "async with":
            async with held.socket:
                pass
        case "drop":
            drop(held)
        case "cancel":
            operation: Any = held.socket.input_stream.read_async(Buffer(1), 1, 0)  # type: ignore[arg-type]
            if operation.done():  # the peer has ended already: there is nothing to wait for but a write
                operation = held.socket.output_stream.write_async(b"never sent")
            operation.cancel()
            with pytest.raises(OSError):
                await operation
            if held.stream.end_reason == EndReason.RESET:
                held.socket.close()  # there was nothing left to cancel
    async with asyncio.timeout(PATIENCE):
        while not held.stream.is_released():  # noqa: ASYNC110 - what closes in the background has no event
            await asyncio.sleep(0.001)


def drop(held: Held) -> None:
    with pytest.warns(ResourceWarning, match="unclosed StreamSocket"):  # noqa: PT031
        held.socket = None
        gc.collect()


async def behave(held: Held, peer: socket.socket, how: str) -> None:
    """Bring the connection to where the ending begins."""
    loop = asyncio.get_running_loop()
    assert held.socket is not None
    match how:
        case "answers":
            await held.socket.write(b"question")
            assert await loop.sock_recv(peer, 100) == b"question"
            await loop.sock_sendall(peer, b"answer")
            assert await held.socket.read() == b"answer"
        case "resets":
            reset(peer)
            await turns(3)
        case "half-closes":
            peer.shutdown(socket.SHUT_WR)
            await turns(3)
        case "reads late":
            held.socket.write(b"unread" * 1000)
        case "leaves our buffer full":
            held.socket.limits.close_timeout = SHORT
            held.socket.write(bytes(FULL))
            await turns(3)
            await until(lambda: held.stream.write_blocked)


def expected(how: str, way: str) -> tuple[int, set[str]]:
    """How many bytes the peer must see (-1: any number), and how it may end."""
    if how == "leaves our buffer full":
        return -1, {RST}
    if way == "abort":
        return (0 if how != "reads late" else -1), {RST}
    if (how, way) == ("half-closes", "cancel"):
        return 0, {RST}
    if how == "reads late":
        # A dropped or cancelled connection is torn down: with RST where the kernel has not got its acknowledgement.
        return (-1, {FIN, RST}) if way in {"drop", "cancel"} else (6000, {FIN})
    return 0, {FIN}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", PEERS)
async def test_ending(how: str, way: str) -> None:
    ours, peer = connected_sockets()
    with peer:
        held = Held(ours)
        await behave(held, peer, how)
        await end(held, way)
        if how == "resets":
            assert held.stream.end_reason in {EndReason.CLOSED_BY_US, EndReason.ABORTED, EndReason.RESET}
            return
        data, found = await receive_ending(peer)
        size, allowed = expected(how, way)
        assert found in allowed
        assert size in {-1, len(data)}
        if found == FIN and how == "reads late":
            assert len(data) == 6000


@pytest.mark.parametrize("way", WAYS)
async def test_ending_does_not_wait_longer_than_its_deadline(way: str) -> None:
    """The deadline is the only timer: with it at zero, everything ends in the next loop turns."""
    ours, peer = connected_sockets()
    with peer:
        held = Held(ours)
        assert held.socket is not None
        held.socket.limits.close_timeout = 0.0
        held.socket.write(bytes(FULL))
        await turns(3)
        await end(held, way)
        assert await ending(peer) == RST


# -- the loop is closed ----------------------------------------------------------------------------------------------


def run(loop_kind: str, coroutine: Any) -> Any:
    factory: Callable[[], asyncio.AbstractEventLoop] = {
        "asyncio": asyncio.SelectorEventLoop,
        "uvloop": uvloop.new_event_loop,
    }[loop_kind]
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


@pytest.mark.parametrize("queue", ["empty", "full"])
@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
@pytest.mark.parametrize("way", WAYS)
def test_ending_when_the_loop_is_closed(way: str, loop_kind: str, queue: str) -> None:
    """The program forgot the socket in its first asyncio.run(), and ends it in a second one, or in none."""
    ours, peer = connected_sockets()
    operations: list[Any] = []

    async def first() -> Held:
        held = Held(ours)
        assert held.socket is not None
        operations.append(held.socket.input_stream.read_async(Buffer(1), 1, 0))  # type: ignore[arg-type]
        if queue == "full":
            await behave(held, peer, "leaves our buffer full")
        return held

    held = run(loop_kind, first())
    assert held.socket is not None
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
    wanted = RST if way == "abort" or queue == "full" else FIN
    assert run(loop_kind, ending(peer)) == wanted
    assert operations[0].status.name == "ERROR"
    peer.close()


@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
@pytest.mark.parametrize("when", ["before the end", "while tasks are cancelled"])
def test_a_loop_that_ends_while_closing_goes_on(when: str, loop_kind: str) -> None:
    """asyncio.run() ends: what is closing gets its time, is released, and nothing is logged."""
    ours, peer = connected_sockets()

    async def handle(held: Held) -> None:
        assert held.socket is not None
        try:
            held.socket.write(bytes(FULL))
            await asyncio.Event().wait()
        finally:
            held.socket.close()

    async def main() -> Held:
        held = Held(ours)
        assert held.socket is not None
        held.socket.limits.close_timeout = SHORT
        if when == "before the end":
            held.socket.write(bytes(FULL))
            held.socket.close()
        else:
            task = asyncio.ensure_future(handle(held))
            await turns(3)
            assert not task.done()
        return held

    held = run(loop_kind, main())
    assert held.stream.is_released()
    assert run(loop_kind, ending(peer)) == RST
    peer.close()


@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
def test_the_end_of_the_loop_does_not_cut_short_what_was_written(loop_kind: str) -> None:
    """`close()` never loses what was handed over before, not even when it is the last thing a program does."""
    ours, peer = connected_sockets()
    received: list[Any] = []

    def receive() -> None:
        peer.setblocking(True)
        data = bytearray()
        while chunk := peer.recv(1 << 20):
            data += chunk
        received.append(bytes(data))

    data = os.urandom(FULL // 2)

    async def main() -> Held:
        held = Held(ours)
        assert held.socket is not None
        held.socket.write(data)
        held.socket.close()
        reading.start()
        return held

    reading = threading.Thread(target=receive)
    held = run(loop_kind, main())
    reading.join(PATIENCE)
    assert received == [data]
    assert held.stream.end_reason == EndReason.CLOSED_BY_US
    peer.close()


@pytest.mark.parametrize("then", ["close", "abort", "drop", "new loop"])
@pytest.mark.parametrize("loop_kind", ["asyncio", "uvloop"])
def test_a_loop_that_is_closed_without_ceremony(loop_kind: str, then: str) -> None:
    """No asyncio.run(): what was closing is released when the program looks at it again, or begins something new."""
    ours, peer = connected_sockets()
    loop = asyncio.SelectorEventLoop() if loop_kind == "asyncio" else uvloop.new_event_loop()

    async def main() -> Held:
        held = Held(ours)
        assert held.socket is not None
        held.socket.write(bytes(FULL))
        held.socket.close()
        return held

    held = loop.run_until_complete(main())
    loop.close()
    assert held.socket is not None
    assert not held.stream.is_released()
    if then == "close":
        held.socket.close()
    elif then == "abort":
        held.socket.abort()
    elif then == "drop":
        held.socket = None
        gc.collect()
    else:

        async def something() -> None:
            current_home()

        run(loop_kind, something())
    assert held.stream.is_released()
    assert run(loop_kind, ending(peer)) == RST
    peer.close()


# -- a forked child --------------------------------------------------------------------------------------------------


@contextmanager
def forked_child() -> Iterator[int]:
    """A child that has copies of everything, and lives until the block ends."""
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["answers", "leaves our buffer full"])
async def test_ending_while_a_forked_child_lives(how: str, way: str) -> None:
    ours, peer = connected_sockets()
    with peer:
        held = Held(ours)
        await behave(held, peer, how)
        with forked_child():
            await end(held, way)
            data, found = await receive_ending(peer)
        size, allowed = expected(how, way)
        assert found in allowed
        assert size in {-1, len(data)}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "abort"])
async def test_a_copy_of_the_descriptor_does_not_hold_back_the_end(way: str) -> None:
    """As a child has it that was forked behind Python's back."""
    ours, peer = connected_sockets()
    with peer, ours.dup():
        held = Held(ours)
        await behave(held, peer, "answers")
        await end(held, way)
        assert await ending(peer) == FIN


async def test_the_parent_goes_on_after_fork() -> None:
    ours, peer = connected_sockets()
    with peer:
        async with StreamSocket.from_socket(ours) as ours_socket:
            reading = asyncio.ensure_future(ours_socket.read())
            await turns(3)
            with forked_child():
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(peer, b"abc")
                assert await reading == b"abc"
                await ours_socket.write(b"def")
                assert await loop.sock_recv(peer, 100) == b"def"


def in_child(function: Callable[[], None]) -> None:
    """Run a function in a forked child; its assertion is ours."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - told to the parent
            os.write(sending, repr(error).encode())
        finally:
            os._exit(0)
    os.close(sending)
    with open(receiving, "rb") as file:
        text = file.read().decode()
    os.waitpid(child, 0)
    assert text == ""


async def test_the_child_is_refused_and_may_begin_anew() -> None:
    ours, peer = connected_sockets()
    with peer:
        async with StreamSocket.from_socket(ours) as ours_socket:
            descriptor = ours_socket._connection.stream.fd  # type: ignore[union-attr]
            inputs: Any = ours_socket.input_stream
            outputs: Any = ours_socket.output_stream
            pending = inputs.read_async(Buffer(1), 1, 0)

            def refused(call: Callable[[], object]) -> None:
                with pytest.raises(OSError) as caught:
                    call()
                assert caught.value.winerror == errors.RO_E_CLOSED

            def child() -> None:
                with pytest.raises(OSError):
                    os.fstat(descriptor)  # our copy is closed
                for call in (
                    lambda: ours_socket.write(b"never"),
                    lambda: ours_socket.input_stream,
                    lambda: ours_socket.output_stream,
                    lambda: inputs.read_async(Buffer(1), 1, 0),
                    lambda: outputs.write_async(b"never"),
                    outputs.flush_async,
                    ours_socket.detach,
                    ours_socket.cancel_io_async,
                    lambda: ours_socket.limits,
                    ours_socket.end_writing,
                    pending.get,
                ):
                    refused(call)
                for quiet in (ours_socket.close, ours_socket.abort, outputs.close):
                    quiet()
                one, other = connected_sockets()
                fresh = StreamSocket.from_socket(one)
                fresh.output_stream.write_async(b"new").get()
                other.setblocking(True)
                assert other.recv(10) == b"new"
                fresh.close()

            in_child(child)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(peer, b"a")
            assert bytes(await pending) == b"a"
            await ours_socket.write(b"still here")
            assert await loop.sock_recv(peer, 100) == b"still here"
