"""`reconnecting`: when it tries again, how long it waits, what ends it. No test waits: the clock is virtual."""

from __future__ import annotations

import asyncio
import errno
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import PATIENCE, socket_and_peer
from tests.names.virtual_time import run_virtual

import moorings
from moorings import ConnectionLoss, errors, worth_retrying
from moorings._reconnecting import RETRY_AFTER_LIMIT, Reconnecting
from moorings.sockets.server_message_web_socket import accept_web_socket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
NOW = 1_700_000_000.0


class FakeWebSocket:
    """As much of one as the policy looks at."""

    stage = 0
    error: OSError | None = None
    close_code = 1006
    close_reason = "gone"

    def __init__(self) -> None:
        self._link = self
        self.ended: list[str] = []

    def close(self) -> None:
        self.ended.append("close")

    async def aclose(self) -> None:
        self.ended.append("aclose")

    def abort(self) -> None:
        self.ended.append("abort")


def refused() -> OSError:
    return errors.from_errno(errno.ECONNREFUSED, "nobody listens")


def answered(status: int, retry_after: Any = None) -> OSError:
    error: Any = errors.make(errors.signed(0x80190000 + status), f"the server answered {status}")
    error.http_status = status
    error.retry_after = retry_after
    return error  # type: ignore[no-any-return]


class Script:
    """Connecting as written down: an error is raised, a number is how long the attempt takes."""

    def __init__(self, *steps: OSError | float) -> None:
        self.steps = list(steps)
        self.at: list[float] = []

    async def connect(self) -> Any:
        self.at.append(asyncio.get_running_loop().time())
        step = self.steps.pop(0)
        if isinstance(step, OSError):
            raise step
        if step:
            await asyncio.sleep(step)
        return FakeWebSocket()


def made(
    connect: Callable[[], Awaitable[Any]], *, rng: Callable[[], float] = lambda: 1.0, **other: Any
) -> Reconnecting:
    settings: dict[str, Any] = {"base": 1.0, "cap": 8.0, "reset_after": 60.0, "max_failures": None}
    settings |= {"retry": worth_retrying, **other}
    return Reconnecting(connect, rng=rng, wall_clock=lambda: NOW, **settings)


def test_the_pause_doubles_up_to_the_cap_and_no_further() -> None:
    async def main() -> None:
        script = Script(*[refused() for _ in range(6)], 0.0)
        connections = made(script.connect)
        assert isinstance(await anext(connections), FakeWebSocket)
        assert script.at == [0, 1, 3, 7, 15, 23, 31]
        assert (connections.attempts, connections.connections, connections.failures) == (7, 1, 6)
        assert "nobody listens" in str(connections.last_loss)

    run_virtual(main())


def test_the_pause_is_a_random_part() -> None:
    async def main() -> None:
        parts = iter([0.5, 0.0, 0.25])
        script = Script(refused(), refused(), refused(), 0.0)
        await anext(made(script.connect, rng=lambda: next(parts)))
        assert script.at == [0, 0.5, 0.5, 1.5]

    run_virtual(main())


def test_a_thousand_failures_do_not_overflow() -> None:
    async def main() -> None:
        script = Script(*[refused() for _ in range(1500)], 0.0)
        await anext(made(script.connect))
        assert script.at[-1] - script.at[-2] == 8

    run_virtual(main())


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        (30, 31),
        (None, 1),
        (10**9, RETRY_AFTER_LIMIT + 1),
        (datetime.fromtimestamp(NOW + 5, UTC), 6),
        (datetime.fromtimestamp(NOW - 5, UTC), 1),
        (datetime.fromtimestamp(NOW + 5, UTC).replace(tzinfo=None), 6),
    ],
)
def test_what_the_server_asks_for_comes_on_top(asked: Any, pause: float) -> None:
    async def main() -> None:
        script = Script(answered(503, asked), answered(429), 0.0)
        connections = made(script.connect)
        await anext(connections)
        assert script.at == [0, pause, pause + 2], "it counts once"

    run_virtual(main())


def test_a_connection_that_lasted_begins_anew_and_a_short_one_does_not() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        script = Script(*[refused() for _ in range(3)], 0.0, 0.0, 0.0)
        connections = made(script.connect)
        first = await anext(connections)
        await asyncio.sleep(59)
        ended = loop.time()
        await anext(connections)
        assert script.at[-1] - ended == 8
        assert connections.failures == 4
        assert first.ended == ["aclose"]
        await asyncio.sleep(60)
        ended = loop.time()
        await anext(connections)
        assert script.at[-1] - ended == 1
        assert (connections.failures, connections.losses, connections.connections) == (0, 2, 3)
        assert connections.last_loss == ConnectionLoss(None, 1006, "gone", 60.0)
        assert str(connections.last_loss) == "closed with 1006 gone"

    run_virtual(main())


@pytest.mark.parametrize(
    "error",
    [answered(status) for status in (301, 400, 401, 403, 404, 410, 426, 501, 505)]
    + [errors.invalid_argument("wrong"), errors.not_implemented("it", "WebSockets"), PermissionError(errno.EACCES, "")]
    + [errors.make(errors.CERT_E_UNTRUSTEDROOT, "untrusted"), socket.gaierror(socket.EAI_SERVICE, "no service")],
    ids=str,
)
def test_what_will_be_the_same_next_time_is_raised(error: OSError) -> None:
    async def main() -> None:
        script = Script(refused(), error)
        connections = made(script.connect)
        with pytest.raises(type(error)) as caught:
            await anext(connections)
        assert caught.value is error
        assert len(script.at) == 2
        assert connections.last_loss == ConnectionLoss(error)
        with pytest.raises(StopAsyncIteration):
            await anext(connections)

    assert not worth_retrying(error)
    run_virtual(main())


def test_a_certificate_that_is_not_accepted_is_final_even_where_the_connection_broke() -> None:
    error: Any = errors.from_errno(errno.ECONNRESET, "broke")
    assert worth_retrying(error)
    error.certificate_errors = (moorings.ChainValidationResult.EXPIRED,)
    assert not worth_retrying(error)


@pytest.mark.parametrize(
    "error",
    [answered(status) for status in (408, 425, 429, 500, 502, 503, 504, 522)]
    + [errors.from_errno(code, "") for code in (errno.ECONNRESET, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EMFILE)]
    + [TimeoutError(), socket.gaierror(socket.EAI_AGAIN, ""), socket.gaierror(socket.EAI_NONAME, "")],
    ids=repr,
)
def test_what_may_be_over_next_time_is_tried_again(error: OSError) -> None:
    assert worth_retrying(error)


def test_the_program_may_judge_otherwise_and_set_an_end() -> None:
    async def main() -> None:
        script = Script(answered(404), 0.0)
        await anext(made(script.connect, retry=lambda _error: True))
        script = Script(refused(), refused(), refused())
        with pytest.raises(ConnectionRefusedError):
            await anext(made(script.connect, max_failures=3))
        assert script.steps == []

    run_virtual(main())


def test_closing_ends_a_pause() -> None:
    async def main() -> None:
        connections = made(Script(answered(503, 3000)).connect)
        asyncio.get_running_loop().call_later(2, connections.close)
        with pytest.raises(StopAsyncIteration):
            await anext(connections)
        assert asyncio.get_running_loop().time() == 2

    run_virtual(main())


def test_closing_while_it_connects_drops_what_comes_of_it() -> None:
    async def main() -> None:
        opened: list[FakeWebSocket] = []

        async def connect() -> Any:
            await asyncio.sleep(2)
            opened.append(FakeWebSocket())
            return opened[0]

        connections = made(connect)
        asyncio.get_running_loop().call_later(1, connections.close)
        assert [each async for each in connections] == []
        assert opened[0].ended == ["abort"]

    run_virtual(main())


def test_leaving_the_block_closes_the_last_one_and_breaking_out_of_the_loop_does_not() -> None:
    async def main() -> None:
        connections = made(Script(0.0, 0.0).connect)
        web_socket = None
        async for each in connections:
            web_socket = each
            break
        assert web_socket is not None
        assert web_socket.ended == []
        assert connections.current is web_socket
        async with connections:
            pass
        assert web_socket.ended == ["close", "aclose"]
        assert connections.current is None
        assert repr(connections) == "<Reconnecting: 1 connections in 1 attempts, last loss: closed with 1006 gone>"

    run_virtual(main())


async def test_what_says_that_the_connection_was_lost_ends_the_block_quietly() -> None:
    async with socket_and_peer() as (ours, peer), socket_and_peer() as (other, other_peer):
        accepted: list[Any] = []
        for connection, plain in ((ours, peer), (other, other_peer)):
            plain.sendall(REQUEST)
            accepted.append(await accept_web_socket(connection))
        connections = made(lambda: asyncio.sleep(0, accepted[0]))
        lost = [False]
        async for web_socket in connections:
            with pytest.raises(KeyError), connections.until_lost():
                raise KeyError
            with pytest.raises(FileNotFoundError), connections.until_lost():
                raise FileNotFoundError
            peer.close()
            with connections.until_lost():
                async with asyncio.timeout(PATIENCE):
                    await web_socket.receive()
                lost[0] = True
            with connections.until_lost():
                async with asyncio.TaskGroup() as group:
                    group.create_task(receive_one(web_socket))
                lost[0] = True
            with connections.until_lost():
                await web_socket.send("too late")
                lost[0] = True
            other_peer.close()
            with pytest.raises(ConnectionError), connections.until_lost():
                await accepted[1].receive()
            break
        assert lost == [False]
        async with connections:
            pass
        assert isinstance(connections.last_loss and connections.last_loss.error, ConnectionError)


async def receive_one(web_socket: Any) -> None:
    await web_socket.receive()


async def test_the_end_of_a_close_is_a_loss_with_code_and_reason() -> None:
    async with socket_and_peer() as (ours, peer):
        peer.sendall(REQUEST + b"\x88\x84\0\0\0\0\x03\xf3no")
        web_socket = await accept_web_socket(ours)
        connections = made(lambda: asyncio.sleep(0, web_socket))
        await anext(connections)
        with connections.until_lost():
            await web_socket.receive()
        await connections.__aexit__(None, None, None)
        assert connections.last_loss is not None
        assert connections.last_loss[:3] == (None, 1011, "no")


async def test_what_a_server_answers_is_judged_and_its_retry_after_is_heard() -> None:
    status = [503]

    def judge(approval: Any) -> bool:
        approval.refuse(status[0], "busy", [("Retry-After", "7")])
        return True

    async def serve(_web_socket: Any) -> None:
        raise AssertionError

    listen: Any = moorings.listen
    async with listen("ws://127.0.0.1:0", serve, approve=judge) as server:
        for status[0], worth in ((503, True), (403, False)):
            url = f"ws://127.0.0.1:{server.port}"
            connections = moorings.reconnecting(url, timeout=PATIENCE, max_failures=1)
            with pytest.raises(OSError, match=str(status[0])) as caught:
                await anext(connections)
            assert worth_retrying(caught.value) == worth
            assert connections._retry_after == 7


async def test_it_comes_back_to_a_server_that_restarts() -> None:
    async def serve(web_socket: Any) -> None:
        await web_socket.send("here")
        async for _ in web_socket:
            pass

    listen: Any = moorings.listen
    seen: list[Any] = []
    async with moorings.reconnecting(lambda: moorings.connect(f"ws://127.0.0.1:{port[0]}"), base=0.0) as connections:
        for _ in range(2):
            async with listen("ws://127.0.0.1:0", serve) as server:
                port = [server.port]
                web_socket = await anext(connections)
                with connections.until_lost():
                    seen.append(await web_socket.receive())
            seen.append(web_socket.close_code)
    assert seen == ["here", 1001, "here", 1001]
    assert (connections.connections, connections.losses) == (2, 2)
    assert connections.last_loss is not None
    assert connections.last_loss.close_code == 1001


def test_wrong_arguments_are_refused() -> None:
    wrong: Any = 7
    with pytest.raises(OSError, match="ws://") as caught:
        moorings.reconnecting("tcp://127.0.0.1:1337")
    assert getattr(caught.value, "winerror", 0) == errors.E_INVALIDARG
    with pytest.raises(TypeError, match="URL or an async function"):
        moorings.reconnecting(wrong)
    with pytest.raises(TypeError, match="options"):
        moorings.reconnecting(Script().connect, timeout=5)
    for name, value in (("base", -1.0), ("cap", float("inf")), ("reset_after", float("nan"))):
        numbers: dict[str, Any] = {name: value}
        with pytest.raises(ValueError, match=name):
            moorings.reconnecting("ws://127.0.0.1:1337", **numbers)
    with pytest.raises(ValueError, match="max_failures"):
        moorings.reconnecting("ws://127.0.0.1:1337", max_failures=0)
