"""The home loop: closed loops say so, and `async def` handlers run as tasks that somebody holds."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import connected_sockets, turns, until

from moorings import Buffer, StreamSocket, errors
from moorings.foundation.home import current_home, registry

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator


async def adopt(plain: socket.socket) -> StreamSocket:
    return StreamSocket.from_socket(plain)


@pytest.fixture(params=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Callable[[], asyncio.Runner]:
    def make() -> asyncio.Runner:
        if request.param == "asyncio":
            return asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)
        import uvloop

        return asyncio.Runner(loop_factory=uvloop.new_event_loop)

    return make


@pytest.fixture
def orphan(runner: Callable[[], asyncio.Runner]) -> Iterator[StreamSocket]:
    """A socket whose loop is closed."""
    plain, peer = connected_sockets()
    with runner() as first:
        ours = first.run(adopt(plain))
    with peer:
        yield ours
        ours.close()


ORPHANED: list[Callable[[StreamSocket], Any]] = [
    lambda ours: ours.write(b"x"),
    lambda ours: ours.output_stream.write_async(b"x"),
    lambda ours: ours.output_stream.write_async(b"x").get(),
    lambda ours: ours.input_stream.read_async(Buffer(1), 1, 0).get(),
    lambda ours: ours.input_stream.read_async(Buffer(1), 1, 0).wait(1),
    lambda ours: ours.cancel_io_async(),
]


def refused(call: Callable[[], object]) -> None:
    with pytest.raises(OSError, match=r"event loop.*closed.*asyncio\.run") as caught:
        call()
    assert caught.value.winerror == errors.RO_E_CLOSED


@pytest.mark.parametrize("call", ORPHANED)
def test_after_the_end_of_the_loop(orphan: StreamSocket, call: Callable[[StreamSocket], Any]) -> None:
    refused(lambda: call(orphan))


@pytest.mark.parametrize("call", ORPHANED[3:])
def test_after_the_end_of_the_loop_on_another_thread(orphan: StreamSocket, call: Callable[[StreamSocket], Any]) -> None:
    thread = threading.Thread(target=refused, args=(lambda: call(orphan),))
    failures: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", failures.append)
        thread.start()
        thread.join()
    assert not failures


AWAITED: list[Callable[[StreamSocket], Any]] = [
    lambda ours: ours.read(),
    lambda ours: ours.flush(),
    lambda ours: ours.input_stream.read_async(Buffer(1), 1, 0),
    lambda ours: ours.output_stream.write_async(b"x"),
]


@pytest.mark.parametrize("call", AWAITED)
def test_inside_the_next_loop(
    orphan: StreamSocket, call: Callable[[StreamSocket], Any], runner: Callable[[], asyncio.Runner]
) -> None:
    async def use() -> None:
        current_home()  # whatever the program does here, its objects live on this loop
        await call(orphan)

    with runner() as second:
        refused(lambda: second.run(use()))


def test_ending_works_after_the_end_of_the_loop(runner: Callable[[], asyncio.Runner]) -> None:
    for end in ("close", "abort"):
        plain, peer = connected_sockets()
        with runner() as first:
            ours = first.run(adopt(plain))
        for _ in range(2):
            getattr(ours, end)()
        with peer:
            peer.setblocking(True)
            peer.settimeout(20)
            if end == "close":
                assert peer.recv(1) == b""
            else:
                with pytest.raises(ConnectionResetError):
                    peer.recv(1)


def test_homes_of_closed_loops_are_forgotten(runner: Callable[[], asyncio.Runner]) -> None:
    async def look() -> Any:
        return current_home()

    with runner() as first:
        home = first.run(look())
        assert home.on_home_thread()
    with runner() as second:
        assert second.run(look()) is not home
    assert home not in registry._homes.values()
    assert not home.on_home_thread()


# -- async def handlers ----------------------------------------------------------------------------------------------


async def test_async_completed_handler_runs_as_a_task() -> None:
    ended: list[str] = []

    async def completed(operation: Any, _status: Any) -> None:
        gc.collect()
        await turns(2)
        ended.append(type(operation).__name__)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain, peer = connected_sockets()
        ours = StreamSocket.from_socket(plain)
        operation = ours.cancel_io_async()
        operation.completed = completed
        await until(lambda: ended)
        late = ours.cancel_io_async()
        await late
        late.completed = completed
        await until(lambda: len(ended) == 2)
        ours.abort()
        peer.close()
    assert ended == ["Operation", "Operation"]


async def test_async_handler_that_fails_is_reported_once(expect_loop_errors: list[dict[str, Any]]) -> None:
    async def completed(_operation: Any, _status: Any) -> None:
        raise KeyError("broken")

    operation = StreamSocket().cancel_io_async()
    await operation
    operation.completed = completed
    await until(lambda: expect_loop_errors)
    await turns(3)
    [context] = expect_loop_errors
    assert isinstance(context["exception"], KeyError)
    assert "completed" in context["message"]
