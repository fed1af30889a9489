"""Locks that survive fork, handlers that are called once."""

from __future__ import annotations

import os
import threading

from moorings.foundation.gate import Gate, Once


def test_gate_keeps_others_out() -> None:
    gate = Gate()
    inside: list[int] = []
    worst: list[int] = []

    def work() -> None:
        for _ in range(200):
            with gate.lock:
                inside.append(1)
                worst.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(worst) == 1


def test_a_forked_child_does_not_wait_for_a_thread_that_it_does_not_have() -> None:
    gate = Gate()
    with gate.lock:
        child = os.fork()
        if child == 0:
            with gate.lock:
                os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_once() -> None:
    once = Once(print)
    assert once.handler is print
    assert [once.claim() for _ in range(3)] == [True, False, False]
