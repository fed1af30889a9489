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
from moorings.benchmarks.tcp import BATCH

if TYPE_CHECKING:
    from collections.abc import Iterator

UNIT = 1 << 19
SIZES = {"echo": (70_000, 70_000), "receive": (UNIT, 1), "send": (1, UNIT), "batch": (1, BATCH)}
KINDS = [
    "c",
    "moorings-asyncio",
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


@pytest.mark.parametrize("name", KINDS)
def test_roles(workshop: Workshop, name: str) -> None:
    kind = SERVERS[name]
    if kind.kind == "c" and not workshop.has_c:
        pytest.skip("no C compiler")

    def converse(role: str) -> list[int]:
        with (
            Server(workshop, kind, role=role, unit=UNIT) as server,
            LoadGenerator(workshop, server, *SIZES[role], calm=True) as load,
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


@contextlib.contextmanager
def liar(answer: bytes) -> Iterator[Any]:
    """A server that gives `answer`, whatever it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield SimpleNamespace(port=listener.getsockname()[1], pid=threading.main_thread().native_id)
        thread.join(10)


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
