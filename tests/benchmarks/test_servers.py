"""Every server of the benchmarks does what its role says, and both generators notice when it does not."""

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from moorings.benchmarks.processes import SERVERS, BenchmarkError, LoadGenerator, Server, Workshop
from moorings.benchmarks.servers import server_context
from moorings.benchmarks.tcp import BATCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

UNIT = 1 << 19
SIZES = {"echo": (70_000, 70_000), "receive": (UNIT, 1), "send": (1, UNIT), "batch": (1, BATCH)}
KINDS = [
    "c",
    "moorings-asyncio",
    "completed-uvloop",
    "completed-asyncio",
    "face-uvloop",
    "callbacks-uvloop",
    "callbacks-asyncio",
    "streams-asyncio",
    "aiofastnet-callbacks-uvloop",
    "aiofastnet-streams-uvloop",
    "anyio-uvloop",
    "anyio-asyncio",
    "trio",
]


@pytest.mark.parametrize(
    ("name", "tls"), [*((name, "") for name in KINDS), *((name, "full") for name in KINDS if name != "c")]
)
def test_roles(workshop: Workshop, name: str, tls: str) -> None:
    kind = SERVERS[name]
    if kind.kind == "c" and not workshop.has_c:
        pytest.skip("no C compiler")
    assert not tls or workshop.identity  # made once, before there are several threads

    def converse(role: str) -> list[int]:
        with (
            Server(workshop, kind, role=role, unit=UNIT, tls=bool(tls)) as server,
            LoadGenerator(workshop, server, *SIZES[role], tls=tls, calm=True) as load,
        ):
            load.open(1)
            counts = [load.run(10.0, 3).messages, load.run(10.0, 2).messages]
            return [*counts, load.churn(2, 10.0, 5).messages]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(converse, SIZES)) == [[3, 2, 5]] * len(SIZES)


def test_churn_opens_a_connection_for_each_request(generator: Workshop) -> None:
    with (
        Server(generator, SERVERS["callbacks-asyncio"]) as server,
        LoadGenerator(generator, server, 64, calm=True) as load,
    ):
        for slots, limit in ((4, 21), (5, 3), (1, 1)):
            sample = load.churn(slots, 10.0, limit)
            assert sample.messages == limit
            assert 0 < sample.p50 <= sample.p99
        assert load.churn(2, 0.02, 10_000).messages >= 2


@pytest.mark.parametrize("mode", ["full", "resumed"])
def test_churn_over_tls_resumes_where_it_is_to(generator: Workshop, mode: str) -> None:
    with (
        Server(generator, SERVERS["callbacks-asyncio"], tls=True) as server,
        LoadGenerator(generator, server, 64, tls=mode, calm=True) as load,
    ):
        assert load.churn(1, 10.0, 1).messages == 1
        assert load.churn(3, 10.0, 10).messages == 10  # a generator that resumes ends where the server does not
        load.open(2)
        assert load.run(10.0, 5).messages == 5


def test_a_server_that_does_not_resume_is_noticed(generator: Workshop, capfd: pytest.CaptureFixture[str]) -> None:
    def echo_once(connection: socket.socket) -> None:
        context = server_context(str(generator.identity))  # with its own keys for tickets
        assert context is not None
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.sendall(secure.recv(1000))
            secure.recv(1)

    with (
        one_thread(echo_once, connections=2) as server,
        LoadGenerator(generator, server, 64, tls="resumed", calm=True) as load,
    ):
        assert load.churn(1, 10.0, 1).messages == 1
        with pytest.raises(BenchmarkError):
            load.churn(1, 10.0, 1)
        load.stop()
    assert "does not resume" in capfd.readouterr().err


@contextlib.contextmanager
def one_thread(serve_one: Callable[[socket.socket], object], *, connections: int) -> Iterator[Any]:
    """A server for some connections, one after the other; what breaks is the generator's affair."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(connections):
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    with connection:
                        serve_one(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield SimpleNamespace(port=listener.getsockname()[1], pid=threading.main_thread().native_id)
        thread.join(10)


def liar(answer: bytes) -> AbstractContextManager[Any]:
    """A server that gives `answer`, whatever it is asked."""

    def lie(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(answer)

    return one_thread(lie, connections=1)


@pytest.mark.parametrize(("answer", "complaint"), [(b"x" * 64, "wrong"), (b"m" * 63, "ended a connection")])
def test_generators_notice_a_wrong_answer(
    generator: Workshop, answer: bytes, complaint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with liar(answer) as server, LoadGenerator(generator, server, 64, calm=True) as load:
        load.open(1)
        with pytest.raises(BenchmarkError):
            load.run(0.05, 1)
        load.stop()
    assert complaint in capfd.readouterr().err


def test_unknown_role_is_told(workshop: Workshop, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BenchmarkError, match="gave no answer"):
        Server(workshop, SERVERS["callbacks-asyncio"], role="nonsense")
    assert "no role nonsense" in capfd.readouterr().err


def test_libraries_and_packages_of_servers() -> None:
    assert {name: SERVERS[name].library for name in KINDS} == {
        "c": "c",
        "moorings-asyncio": "moorings",
        "completed-uvloop": "moorings",
        "completed-asyncio": "moorings",
        "face-uvloop": "moorings",
        "callbacks-uvloop": "uvloop",
        "callbacks-asyncio": "asyncio",
        "streams-asyncio": "asyncio",
        "aiofastnet-callbacks-uvloop": "aiofastnet",
        "aiofastnet-streams-uvloop": "aiofastnet",
        "anyio-uvloop": "anyio",
        "anyio-asyncio": "anyio",
        "trio": "trio",
    }
    assert SERVERS["anyio-uvloop"].packages == ["anyio", "uvloop"]
    assert SERVERS["moorings-uvloop"].packages == ["uvloop"]
    assert SERVERS["c"].packages == []
