"""What the library does when system calls fail. Run by `test_faults.py`, in processes of their own."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import (
    FIN,
    PATIENCE,
    RST,
    connected_sockets,
    ending,
    receive,
    receive_ending,
    socket_and_peer,
    turns,
    until,
)
from tests.faults.shim import Faults, find_faults

import moorings
from moorings import Buffer, EndReason, StreamSocket, errors
from moorings.engine.hub import current_hub

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTIAL = 1
FAILURES = [
    (errno.ECONNRESET, ConnectionResetError, errors.WSAECONNRESET, EndReason.RESET),
    (errno.ETIMEDOUT, TimeoutError, errors.WSAETIMEDOUT, EndReason.TIMED_OUT),
    (errno.EHOSTUNREACH, OSError, errors.WSAEHOSTUNREACH, EndReason.RESET),
    (errno.ENOBUFS, OSError, errors.WSAENOBUFS, EndReason.ABORTED),
]
SEND_FAILURES = [*FAILURES, (errno.EPIPE, ConnectionAbortedError, errors.WSAECONNABORTED, EndReason.RESET)]
IDS = [errno.errorcode[failure[0]] for failure in SEND_FAILURES]


@pytest.fixture
def faults() -> Iterator[Faults]:
    found = find_faults()
    yield found
    found.close()


def check(error: BaseException, failure: tuple[int, type[OSError], int, EndReason], ours: StreamSocket) -> None:
    code, kind, winerror, reason = failure
    assert isinstance(error, kind)
    assert isinstance(error, OSError)
    assert (error.errno, error.winerror) == (code, winerror)
    assert ours.end_reason == reason
    assert "127.0.0.1" in str(error)  # names the connection


async def failure_of(awaitable: Any) -> BaseException:
    """The failure of an awaitable, or of a call that gives one."""
    with pytest.raises(OSError) as caught:
        async with asyncio.timeout(PATIENCE):
            await (awaitable() if callable(awaitable) else awaitable)
    assert not isinstance(caught.value, asyncio.TimeoutError) or hasattr(caught.value, "winerror")
    return caught.value


# -- receiving -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pending", [False, True], ids=["later", "pending"])
@pytest.mark.parametrize("failure", FAILURES, ids=IDS[:-1])
async def test_receiving_fails(faults: Faults, failure: Any, pending: bool) -> None:
    async with socket_and_peer() as (ours, peer):
        faults.fail(ours, "recv", failure[0])
        reading = asyncio.ensure_future(ours.read()) if pending else None
        await turns(3)
        peer.send(b"never seen")
        await turns(3)
        check(await failure_of(reading if reading is not None else ours.read()), failure, ours)
        # From then on everything fails alike, and nothing asks the kernel again.
        check(await failure_of(ours.read()), failure, ours)
        check(await failure_of(ours.input_stream.read_async(Buffer(5), 5, PARTIAL)), failure, ours)  # type: ignore[arg-type]
        check(await failure_of(lambda: ours.write(b"late")), failure, ours)
        assert await ours.output_stream.flush_async() is False
        await ours.aclose()
        assert await ending(peer) == RST


async def test_receiving_fails_after_a_part(faults: Faults) -> None:
    async with socket_and_peer() as (ours, peer):
        faults.fail(ours, "recv", errno.ECONNRESET, on=2)
        operation: Any = ours.input_stream.read_async(Buffer(9), 9, 0)  # type: ignore[arg-type]
        peer.send(b"part")
        await until(lambda: ours.counters.bytes_received == 4)
        peer.send(b"never seen")
        assert bytes(await operation) == b"part"
        assert isinstance(await failure_of(ours.read()), ConnectionResetError)


async def test_interrupted_calls_are_made_again(faults: Faults) -> None:
    async with socket_and_peer() as (ours, peer):
        if os.environ.get("MOORINGS_FAULTS") is None:
            return  # the interpreter's own wrappers, above which the plan works, have done it
        faults.fail(ours, "recv", errno.EINTR, times=3)
        faults.fail(ours, "send", errno.EINTR, times=3)
        faults.fail(ours, "sendmsg", errno.EINTR, times=3)
        await ours.write(b"one")
        ours.write(b"two")
        await ours.write(b"three")
        assert await receive(peer, 11) == b"onetwothree"
        peer.send(b"back")
        assert await ours.read() == b"back"
        assert [faults.count(ours, call) for call in ("recv", "send", "sendmsg")] == [4, 4, 4]


# -- sending ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("several", [False, True], ids=["send", "sendmsg"])
@pytest.mark.parametrize("failure", SEND_FAILURES, ids=IDS)
async def test_sending_fails(faults: Faults, failure: Any, several: bool) -> None:
    async with socket_and_peer() as (ours, peer):
        faults.fail(ours, "sendmsg" if several else "send", failure[0])
        writes = [ours.output_stream.write_async(b"lost") for _ in range(1 + several)]
        for write in reversed(writes):
            check(await failure_of(write), failure, ours)
        check(await failure_of(lambda: ours.write(b"late")), failure, ours)
        check(await failure_of(ours.output_stream.write_async(b"late")), failure, ours)
        check(await failure_of(ours.flush()), failure, ours)
        assert await ours.output_stream.flush_async() is False
        assert ours.counters.queued_bytes == 0
        # What the peer had sent can still be read.
        peer.send(b"from the peer")
        async with asyncio.timeout(PATIENCE):
            assert await ours.read() == b"from the peer"
        await ours.aclose()
        # A FIN would tell the peer that it has everything.
        assert await receive_ending(peer) == (b"", RST)


@pytest.mark.parametrize("failure", SEND_FAILURES, ids=IDS)
async def test_a_write_that_nobody_awaits_fails(faults: Faults, failure: Any) -> None:
    async with socket_and_peer() as (ours, _peer):
        faults.fail(ours, "send", failure[0])
        ours.write(b"lost")
        await turns(3)
        check(await failure_of(ours.flush()), failure, ours)
        check(await failure_of(lambda: ours.write(b"late")), failure, ours)
        assert await ours.output_stream.flush_async() is False


async def test_flush_async_sees_the_failure_of_writes_before_it(faults: Faults) -> None:
    async with socket_and_peer() as (ours, _peer):
        faults.fail(ours, "sendmsg", errno.ECONNRESET)
        for _ in range(10):
            ours.output_stream.write_async(b"lost")
        assert await ours.output_stream.flush_async() is False


async def test_a_failed_send_does_not_disturb_a_pending_read(faults: Faults) -> None:
    async with socket_and_peer() as (ours, peer):
        reading = asyncio.ensure_future(ours.read())
        await turns(2)
        faults.fail(ours, "send", errno.ENOBUFS)
        assert (await failure_of(lambda: ours.write(b"lost"))).winerror == errors.WSAENOBUFS  # type: ignore[attr-defined]
        peer.send(b"answer")
        assert await reading == b"answer"
        peer.close()
        assert await ours.read() == b""


async def test_the_end_behind_a_broken_connection_is_no_clean_end(faults: Faults) -> None:
    """The kernel tells a cause once: the send got it, the receive call gets nothing but the end."""
    async with socket_and_peer() as (ours, peer):
        faults.fail(ours, "send", errno.ECONNRESET)
        await failure_of(lambda: ours.write(b"lost"))
        peer.close()
        assert isinstance(await failure_of(ours.read()), ConnectionResetError)


async def test_sending_fails_while_closing(faults: Faults) -> None:
    ours, peer = connected_sockets(send_buffer=4096)
    stream_socket = StreamSocket.from_socket(ours)
    write = stream_socket.write(bytes(16 << 20))
    await turns(3)
    stream_socket.close()
    for call in ("send", "sendmsg"):
        faults.fail(stream_socket, call, errno.ECONNRESET)
    data, how = await receive_ending(peer)
    assert how == RST
    assert len(data) < 16 << 20
    assert isinstance(await failure_of(write), ConnectionResetError)
    await stream_socket.aclose()
    peer.close()


async def test_short_sends_lose_nothing(faults: Faults) -> None:
    async with socket_and_peer() as (ours, peer):
        faults.shorten(ours, "send", 7)
        faults.shorten(ours, "sendmsg", 7)
        pieces = [os.urandom(size) for size in (1, 5, 7, 8, 100, 1000)]
        for piece in pieces:
            ours.write(piece)
        await ours.write(b"")
        assert await receive(peer, 1121) == b"".join(pieces)
        assert await ours.write(pieces[5]) == 1000
        assert await receive(peer, 1000) == pieces[5]


async def test_shutdown_fails(faults: Faults) -> None:
    """The connection is gone already: nobody is told."""
    async with socket_and_peer() as (ours, peer):
        faults.fail(ours, "shutdown", errno.ENOTCONN)
        await ours.aclose()
        assert await ending(peer) == FIN  # by close(2)


# -- accepting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_accepting_goes_on_after_exhaustion(faults: Faults, code: int) -> None:
    async with moorings.listen("tcp://127.0.0.1:0") as listening:
        faults.fail(listening.listener, "accept", code)
        connections = aiter(listening)
        client = await moorings.connect(f"tcp://127.0.0.1:{listening.port}")
        async with asyncio.timeout(PATIENCE):
            server = await anext(connections)
        client.close()
        assert await server.read() == b""
        server.close()
        # It did not spin in between: one failure, one success, and at most one look that found nothing more.
        assert faults.count(listening.listener, "accept") <= 3
        del connections


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN])
async def test_accepting_goes_on_after_a_connection_that_died(faults: Faults, code: int) -> None:
    async with moorings.listen("tcp://127.0.0.1:0") as listening:
        faults.fail(listening.listener, "accept", code, times=2)
        connections = aiter(listening)
        client = await moorings.connect(f"tcp://127.0.0.1:{listening.port}")
        async with asyncio.timeout(PATIENCE):
            server = await anext(connections)
        client.close()
        server.close()
        del connections


async def test_accepting_that_fails_for_good_is_reported_once(
    faults: Faults, expect_loop_errors: list[dict[str, Any]]
) -> None:
    async with moorings.listen("tcp://127.0.0.1:0", lambda _connection: None) as listening:
        faults.fail(listening.listener, "accept", errno.EINVAL, times=-1)
        listener = listening.listener
        client = socket.create_connection(("127.0.0.1", listening.port))
        client.setblocking(False)
        await until(lambda: expect_loop_errors)
        await turns(5)
        assert len(expect_loop_errors) == 1
        with pytest.raises(OSError) as caught:
            listener.stop_accepting()
        assert caught.value.winerror == errors.RO_E_CLOSED
        assert await ending(client) == RST
        client.close()


# -- watching --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.ENOMEM])
async def test_a_descriptor_that_cannot_be_watched(faults: Faults, code: int) -> None:
    async with socket_and_peer():  # so that there is a hub
        hub = current_hub()
        ours, peer = connected_sockets()
        faults.fail(hub, "epoll_ctl", code)
        with pytest.raises(OSError, match="watching") as caught:
            StreamSocket.from_socket(ours)
        assert (caught.value.errno, caught.value.winerror) == (code, errors.WSAENOBUFS)
        assert ours.fileno() >= 0  # nothing was taken over
        assert hub.count == 1
        adopted = StreamSocket.from_socket(ours)
        adopted.close()
        peer.close()


async def test_an_accepted_connection_that_cannot_be_watched(
    faults: Faults, expect_loop_errors: list[dict[str, Any]]
) -> None:
    async with moorings.listen("tcp://127.0.0.1:0") as listening:
        connections = aiter(listening)
        faults.fail(current_hub(), "epoll_ctl", errno.ENOSPC)
        with socket.create_connection(("127.0.0.1", listening.port)) as refused:
            refused.setblocking(False)
            await until(lambda: expect_loop_errors)
            assert expect_loop_errors[0]["exception"].errno == errno.ENOSPC
            assert await receive_ending(refused) in {(b"", FIN), (b"", RST)}
        with socket.create_connection(("127.0.0.1", listening.port)):
            async with asyncio.timeout(PATIENCE):
                (await anext(connections)).close()
        del connections


async def test_an_interrupted_look_for_events(faults: Faults) -> None:
    async with socket_and_peer() as (ours, peer):
        hub = current_hub()
        reading = asyncio.ensure_future(ours.read())
        await turns(3)
        faults.fail(hub, "epoll_wait", errno.EINTR, times=2)
        peer.send(b"abc")
        assert await reading == b"abc"


# -- counting --------------------------------------------------------------------------------------------------------


async def test_batching_forms(faults: Faults) -> None:
    """The three forms of the Windows Sockets guide: one await per write, gathered operations, flush_async."""
    async with socket_and_peer() as (ours, peer):
        output = ours.output_stream
        packet = b"x" * 100
        found: dict[str, int] = {}
        for form in ("one await per write", "gathered operations", "flush_async"):
            faults.watch(ours, "send", "sendmsg")
            if form == "one await per write":
                for _ in range(100):
                    await output.write_async(packet)
            elif form == "gathered operations":
                await asyncio.gather(*[output.write_async(packet) for _ in range(100)])
            else:
                for _ in range(100):
                    output.write_async(packet)
                assert await output.flush_async() is True
            found[form] = faults.count(ours, "send") + faults.count(ours, "sendmsg")
            assert await receive(peer, 10000) == packet * 100
        assert found == {"one await per write": 100, "gathered operations": 1, "flush_async": 1}
        assert ours.counters.send_calls == 102


async def test_an_awaited_echo_costs_one_call_each_way(faults: Faults) -> None:
    async with socket_and_peer() as (ours, peer):
        faults.watch(ours, "recv", "send", "sendmsg")
        faults.watch(current_hub(), "epoll_ctl")
        for _ in range(20):
            reading = asyncio.ensure_future(ours.input_stream.read_async(Buffer(100), 100, PARTIAL))  # type: ignore[arg-type]
            await turns(1)
            peer.send(b"y" * 64)
            assert len(await reading) == 64
            await ours.output_stream.write_async(b"y" * 64)
            await receive(peer, 64)
        assert faults.count(ours, "recv") == 20
        assert faults.count(ours, "send") == 20
        assert faults.count(ours, "sendmsg") == 0
        assert faults.count(current_hub(), "epoll_ctl") == 0
