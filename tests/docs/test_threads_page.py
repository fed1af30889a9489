"""Which tests hold the sentences of docs/threads.md."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest
from tests.docs.documents import ROOT, read

if TYPE_CHECKING:
    from pathlib import Path

CONTRACT = "sockets/test_thread_contract.py"
SCRIPTS = "sockets/test_plain_scripts.py"
PYTHON = "sockets/test_python_face.py"
FACE = "test_face.py"
CYCLE = "sockets/test_listener_life_cycle.py"
EVENTS = "foundation/test_events.py"
HOME = "foundation/test_home.py"
THREADS = "foundation/test_operation_threads.py"

HELD_BY: dict[int, list[str]] = {
    1: [f"{CONTRACT}::test_home_is_fixed_by_the_first_operation"],
    2: [f"{CONTRACT}::test_in_a_running_loop_that_is_the_loop"],
    3: [f"{CONTRACT}::test_without_a_loop_it_is_one_background_loop_thread"],
    4: [
        f"{CONTRACT}::test_calls_from_another_thread_hop_to_the_home_loop",
        f"{PYTHON}::test_close_abort_and_detach_from_another_thread",
    ],
    5: [f"{SCRIPTS}::test_many_threads_share_one_socket", f"{SCRIPTS}::test_64_threads_of_scripts_at_once"],
    6: ["engine/test_stream_reading.py::test_reads_are_served_in_call_order"],
    7: [f"{CONTRACT}::test_awaits_from_another_loop_are_bridged", f"{THREADS}::test_cancelling_a_task_of_another_loop"],
    8: [
        f"{CONTRACT}::test_get_and_wait_block",
        f"{CONTRACT}::test_get_on_the_home_loops_own_thread_is_an_error",
        f"{SCRIPTS}::test_get_on_the_background_loop_itself_says_what_to_do",
    ],
    9: ["docs/test_differences_page.py::test_interrupting_get"],
    10: [
        f"{PYTHON}::test_every_member_from_another_loop",
        f"{PYTHON}::test_a_read_cancelled_on_another_loop_loses_nothing",
    ],
    11: [f"{PYTHON}::test_a_second_read_is_refused_and_harms_nobody"],
    12: [
        f"{CONTRACT}::test_a_closed_home_loop_is_an_error",
        f"{HOME}::test_after_the_end_of_the_loop",
        f"{HOME}::test_inside_the_next_loop",
        f"{HOME}::test_ending_works_after_the_end_of_the_loop",
    ],
    13: [
        f"{EVENTS}::test_handlers_run_inline_in_order_with_sender_and_args",
        f"{EVENTS}::test_adding_and_removing_while_firing_counts_from_the_next_event_on",
    ],
    14: [
        f"{CONTRACT}::test_handlers_run_inline_on_the_loop_in_arrival_order",
        f"{CONTRACT}::test_call_soon_threadsafe_works_in_a_handler",
    ],
    15: [
        f"{CONTRACT}::test_async_connection_received_starts_a_task_that_the_listener_owns",
        f"{CYCLE}::test_drain_waits_for_handler_tasks_and_cancels_them_at_the_deadline",
        f"{HOME}::test_async_completed_handler_runs_as_a_task",
    ],
    16: [
        f"{CONTRACT}::test_blocking_gives_the_same_inside_asyncio",
        f"{FACE}::test_blocking_handlers_of_one_object_run_in_order",
    ],
    17: [
        f"{CONTRACT}::test_handlers_may_block_and_call_get",
        f"{SCRIPTS}::test_async_handlers_run_on_the_background_loop_and_belong_to_the_listener",
    ],
    18: [
        f"{CONTRACT}::test_connection_received_handlers_run_concurrently",
        f"{CONTRACT}::test_limit_64_then_accepting_pauses",
    ],
    19: [
        f"{CONTRACT}::test_handlers_run_on_worker_threads_serially_per_object",
        f"{SCRIPTS}::test_completed_and_progress_handlers_run_in_order_on_workers",
    ],
    20: [
        f"{CONTRACT}::test_a_handler_that_raises_is_reported_once",
        f"{SCRIPTS}::test_a_handler_that_raises_is_reported_once",
        f"{EVENTS}::test_a_failing_handler_hurts_no_other",
        f"{FACE}::test_connection_is_aborted_when_the_handler_raises",
        f"{FACE}::test_a_reset_by_the_peer_is_counted_and_not_reported",
        f"{FACE}::test_other_failures_on_a_broken_connection_are_reported",
    ],
    21: [f"{CONTRACT}::test_binding_without_a_handler_is_legal"],
    22: [f"{CONTRACT}::test_handler_and_iterator_at_once_are_illegal"],
    23: [f"{CONTRACT}::test_after_fork_the_child_drops_loop_epoll_and_objects"],
    24: ["foundation/test_background.py::test_a_forked_child_has_a_loop_and_workers_of_its_own"],
    25: [
        f"{CONTRACT}::test_at_exit_the_background_loop_drains_for_at_most_a_second",
        f"{SCRIPTS}::test_a_peer_that_never_reads_does_not_hold_the_end_of_the_program",
    ],
}


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_sentences_are_numbered_and_held() -> None:
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", read("docs/threads.md"), re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1)) == list(HELD_BY)


@pytest.mark.parametrize("test", [test for tests in HELD_BY.values() for test in tests])
def test_the_tests_exist(test: str) -> None:
    file, _, function = test.partition("::")
    assert function in functions(ROOT / "tests" / file)
