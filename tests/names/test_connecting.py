"""Connecting one socket: success, each kind of failure, cancelling, and no descriptor left behind."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any

import pytest

from moorings import errors
from moorings.names.connecting import connect_socket
from moorings.names.endpoints import Candidate

if TYPE_CHECKING:
    from collections.abc import Iterator

FAMILIES = [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)]


def candidate(sockaddr: tuple[Any, ...], family: int = socket.AF_INET) -> Candidate:
    return Candidate(family, sockaddr, sockaddr[0], sockaddr[1])


@pytest.fixture(params=FAMILIES, ids=["ipv4", "ipv6"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    address, family = request.param
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind((address, 0))
        listener.listen()
        yield listener


@pytest.fixture
def silent() -> Iterator[Candidate]:
    """An endpoint that does not answer: the queue of its listener is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield candidate(listener.getsockname())


@pytest.fixture
def refusing() -> Iterator[Candidate]:
    """An endpoint where nobody listens, and nobody else will: the port is bound."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield candidate(bound.getsockname())


async def test_connects(listener: socket.socket) -> None:
    target = candidate(listener.getsockname(), listener.family)
    with await connect_socket(target) as sock:
        assert sock.gettimeout() == 0.0
        assert not sock.get_inheritable()
        assert sock.getpeername() == listener.getsockname()
        accepted, _ = listener.accept()
        with accepted:
            sock.send(b"x")
            assert accepted.recv(1) == b"x"


async def test_prepare_and_local(listener: socket.socket) -> None:
    prepared: list[socket.socket] = []

    def prepare(sock: socket.socket) -> None:
        prepared.append(sock)
        assert sock.getsockname()[1] == 0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    target = candidate(listener.getsockname(), listener.family)
    local = (listener.getsockname()[0], 0)
    with await connect_socket(target, local=local, prepare=prepare) as sock:
        assert prepared == [sock]
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockname()[0] == local[0]
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT) == 7


async def test_a_given_local_port(listener: socket.socket) -> None:
    with socket.socket(listener.family) as finder:
        finder.bind((listener.getsockname()[0], 0))
        local = finder.getsockname()
    target = candidate(listener.getsockname(), listener.family)
    with await connect_socket(target, local=local) as sock:
        assert sock.getsockname() == local


async def test_refused(refusing: Candidate) -> None:
    with pytest.raises(ConnectionRefusedError) as caught:
        await connect_socket(refusing)
    assert caught.value.winerror == errors.WSAECONNREFUSED  # type: ignore[attr-defined]
    assert caught.value.errno == errno.ECONNREFUSED
    assert str(refusing) in str(caught.value)


async def test_no_answer(silent: Candidate) -> None:
    with pytest.raises(TimeoutError) as caught:
        await connect_socket(silent, timeout=0.05)
    assert caught.value.winerror == errors.WSAETIMEDOUT  # type: ignore[attr-defined]
    assert f"connecting to {silent}: no answer within 0.05 s" in str(caught.value)


async def test_cancelled_at_every_turn(listener: socket.socket, silent: Candidate) -> None:
    """The leak check of the suite sees to the descriptors."""
    quick = candidate(listener.getsockname(), listener.family)
    for target in (quick, silent):
        for turns in range(6):
            task = asyncio.create_task(connect_socket(target))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                (await task).close()
            except asyncio.CancelledError:
                continue
            assert target is quick


async def test_the_callers_own_timeout(silent: Candidate) -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.05):
            await connect_socket(silent)
    assert not hasattr(caught.value, "winerror")


async def test_local_address_in_use(listener: socket.socket) -> None:
    with pytest.raises(OSError) as caught:
        await connect_socket(candidate(listener.getsockname(), listener.family), local=listener.getsockname())
    assert caught.value.winerror == errors.WSAEADDRINUSE
    assert "binding to" in caught.value.reason


async def test_what_prepare_raises_comes_through() -> None:
    def prepare(_: socket.socket) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await connect_socket(candidate(("127.0.0.1", 9)), prepare=prepare)


async def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(OSError) as caught:
        await connect_socket(candidate(("127.0.0.1", 9)), local=("192.0.2.254", 0))
    assert caught.value.winerror == errors.WSAEADDRNOTAVAIL
    assert "binding to 192.0.2.254:0" in caught.value.reason


async def test_no_way_there() -> None:
    with pytest.raises(OSError) as caught:
        await connect_socket(candidate(("fe80::1", 9, 0, 0), socket.AF_INET6))
    assert caught.value.winerror == errors.WSAEINVAL
    assert "fe80::1%eth0" in caught.value.reason
    with pytest.raises(OSError) as caught:
        await connect_socket(candidate(("255.255.255.255", 9)))
    assert caught.value.winerror == errors.WSAENETUNREACH


async def test_no_such_family() -> None:
    with pytest.raises(OSError) as caught:
        await connect_socket(candidate(("127.0.0.1", 9), 9999))
    assert caught.value.winerror == errors.WSAEAFNOSUPPORT
    assert "no socket could be made" in caught.value.reason


async def test_a_connection_with_oneself_is_none() -> None:
    with socket.socket() as finder:
        finder.bind(("127.0.0.1", 0))
        local = finder.getsockname()
    with pytest.raises(ConnectionRefusedError):
        await connect_socket(candidate(local), local=local)
