"""The library's own loop thread and worker threads."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE

from moorings.foundation import background
from moorings.foundation.background import WORKER_LIMIT, BackgroundLoop, Workers, background_home, workers


class Sender:
    """Somebody whose handlers are called in order."""


@pytest.fixture(autouse=True)
def running_background() -> None:
    """The background loop keeps its descriptors for the rest of the process: they are no test's leak."""
    background_home()


def test_there_is_one_home_and_its_thread_is_a_daemon() -> None:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(background_home())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(map(id, found)) == {id(background_home())}
    assert background_home().background
    [thread] = [thread for thread in threading.enumerate() if thread.ident == background_home().thread_id]
    assert (thread.name, thread.daemon) == ("moorings-home", True)


def test_shutting_down_ends_tasks_and_closes_the_loop() -> None:
    own = BackgroundLoop()
    home = own.home()
    ended: list[str] = []

    async def linger() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("cleaned up")

    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), home.loop).result(PATIENCE)
    waiting = asyncio.run_coroutine_threadsafe(linger(), home.loop)
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), home.loop).result(PATIENCE)
    own.shut_down()
    assert ended == ["cleaned up"]
    assert waiting.cancelled()
    assert home.loop.is_closed()
    own.shut_down()  # again: nothing left to do
    second = own.home()  # whoever comes later gets a new one
    assert second is not home
    own.shut_down()
    BackgroundLoop().shut_down()  # never started


class FakeEngine:
    """An engine that has something to send for some looks, or for ever."""

    def __init__(self, looks: int) -> None:
        self.looks = looks
        self.abandoned = False

    def has_unsent(self) -> bool:
        self.looks -= 1
        return self.looks >= 0

    def abandon(self) -> None:
        self.abandoned = True


@pytest.mark.parametrize("looks", [3, 1_000_000])
def test_shutting_down_waits_for_what_was_handed_over_but_not_for_ever(
    looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "EXIT_DRAIN_SECONDS", 0.5)
    own = BackgroundLoop()
    home = own.home()
    engine = FakeEngine(looks)
    home.engine = engine
    own.shut_down()
    assert home.loop.is_closed()
    if looks == 3:
        assert engine.looks == -1
    else:  # (a busy machine has less than that before the deadline)
        assert looks - 50 <= engine.looks < looks
    assert engine.abandoned


def test_jobs_of_one_sender_run_in_order_and_of_two_side_by_side() -> None:
    own = Workers()
    one, two = Sender(), Sender()
    together = threading.Barrier(2)
    done = threading.Event()
    order: list[int] = []

    def meet() -> None:
        together.wait(PATIENCE)

    own.submit_in_order(one, meet)
    own.submit_in_order(two, meet)
    for number in range(100):
        own.submit_in_order(one, lambda number=number: order.append(number))  # type: ignore[misc]
    own.submit_in_order(one, done.set)
    assert done.wait(PATIENCE)
    assert order == list(range(100))


def test_jobs_in_order_have_a_limit_and_those_side_by_side_have_not() -> None:
    own = Workers()
    senders = [Sender() for _ in range(WORKER_LIMIT + 5)]
    go_on, all_done = threading.Event(), threading.Event()
    running = done = most = 0
    lock = threading.Lock()

    def block() -> None:
        nonlocal running, done, most
        with lock:
            running += 1
            most = max(most, running)
            if running == WORKER_LIMIT:
                full.set()
        go_on.wait(PATIENCE)
        with lock:
            running -= 1
            done += 1
            if done == len(senders):
                all_done.set()

    full = threading.Event()
    for sender in senders:
        own.submit_in_order(sender, block)
    assert full.wait(PATIENCE)
    meanwhile = threading.Event()
    own.submit_concurrently(meanwhile.set)
    assert meanwhile.wait(PATIENCE)
    go_on.set()
    assert all_done.wait(PATIENCE)
    assert most == WORKER_LIMIT
    together = threading.Barrier(WORKER_LIMIT + 6)

    def meet() -> None:
        together.wait(PATIENCE)

    for _ in senders:
        own.submit_concurrently(meet)
    meet()


def test_idle_workers_end_and_new_ones_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "WORKER_IDLE_SECONDS", 0.01)
    own = Workers()
    for _ in range(3):
        threads: list[threading.Thread] = []
        ran = threading.Event()

        def job(threads: list[threading.Thread] = threads, ran: threading.Event = ran) -> None:
            threads.append(threading.current_thread())
            ran.set()

        own.submit_concurrently(job)
        assert ran.wait(PATIENCE)
        threads[0].join(PATIENCE)
        assert not threads[0].is_alive()


def test_a_worker_that_is_idle_is_used_again() -> None:
    own = Workers()
    names: list[int | None] = []
    for _ in range(5):
        ran = threading.Event()

        def job(ran: threading.Event = ran) -> None:
            names.append(threading.current_thread().ident)
            ran.set()

        own.submit_concurrently(job)
        assert ran.wait(PATIENCE)
        pool = own._side_by_side
        while not pool._idle:
            threading.Event().wait(0.001)
    assert len(set(names)) == 1


def test_a_job_that_raises_ends_its_thread_but_not_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    hooked: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: hooked.append(arguments.exc_type))
    own = Workers()

    def fail() -> None:
        raise KeyError

    for _ in range(WORKER_LIMIT + 1):
        own.submit_concurrently(fail)
    ran = threading.Event()
    own.submit_concurrently(ran.set)
    assert ran.wait(PATIENCE)


def test_a_system_without_threads_is_an_error_for_the_first_job_only(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Workers()
    started = threading.Thread.start
    allowed = False

    def start(thread: threading.Thread) -> None:
        if not allowed:
            raise RuntimeError("can't start new thread")
        started(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    refused = threading.Event()
    with pytest.raises(RuntimeError):
        own.submit_concurrently(refused.set)
    allowed = True
    go_on, first, second = threading.Event(), threading.Event(), threading.Event()

    def block() -> None:
        first.set()
        go_on.wait(PATIENCE)

    own.submit_concurrently(block)
    assert first.wait(PATIENCE)
    allowed = False
    own.submit_concurrently(second.set)  # the thread that is there will see to it
    assert not second.is_set()
    go_on.set()
    assert second.wait(PATIENCE)
    assert not refused.is_set()


def test_senders_are_not_kept() -> None:
    own = Workers()
    sender = Sender()
    ran = threading.Event()
    own.submit_in_order(sender, ran.set)
    assert ran.wait(PATIENCE)
    del sender
    gc.collect()
    assert len(own._queues) == 0


def test_a_forked_child_has_a_loop_and_workers_of_its_own() -> None:
    parent = background_home()
    ran = threading.Event()
    workers.submit_concurrently(ran.set)
    assert ran.wait(PATIENCE)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            done = threading.Event()
            workers.submit_concurrently(done.set)
            own = background_home()
            answer = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "done"), own.loop).result(PATIENCE)
            if parent.dropped and own is not parent and done.wait(PATIENCE):
                os.write(writing, answer.encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b"done"
    assert os.waitpid(child, 0)[1] == 0
    assert asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "parent"), parent.loop).result(PATIENCE) == "parent"
