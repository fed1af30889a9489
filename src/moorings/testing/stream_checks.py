"""The check-suite for streams: what every pair of connected stream sockets must do, whatever carries the bytes.

`make_pair` makes two connected ends each time it is called. Every check gets a pair of its own and a time limit; the
pair is aborted afterwards. A check that fails raises AssertionError, which says what was expected; the suite's own
functions run all their checks in order and name the one that failed in a note.

    async def test_my_stream() -> None:
        await check_stream(make_my_pair)

or, one test for each check:

    @pytest.mark.parametrize("check", STREAM_CHECKS, ids=lambda check: check.__name__)
    async def test_my_stream(check: Check) -> None:
        await run_check(check, make_my_pair)

The checks look at behaviour only. That nothing is left behind (descriptors, tasks, threads, log records) is for the
test harness around them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from moorings.testing import cancelling_checks, ending_checks, transfer_checks
from moorings.testing.check_support import PATIENCE, Check, MakePair

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "HALF_CLOSE_CHECKS",
    "ONE_WAY_CHECKS",
    "STREAM_CHECKS",
    "TRANSPORT_CHECKS",
    "TWO_WAY_CHECKS",
    "Check",
    "MakePair",
    "check_half_closeable_stream",
    "check_one_way_stream",
    "check_stream",
    "check_two_way_stream",
    "run_check",
]

#: The first end sends, the second one receives.
ONE_WAY_CHECKS: tuple[Check, ...] = (
    transfer_checks.all_sizes_arrive_in_order,
    transfer_checks.one_byte_at_a_time,
    transfer_checks.split_anywhere,
    transfer_checks.lines_of_any_ending,
    transfer_checks.too_long_lines_are_refused_and_kept,
    transfer_checks.winrt_reads_keep_their_options,
    transfer_checks.refused_calls_lose_nothing,
    transfer_checks.silence_lets_the_writer_wait,
    transfer_checks.full_queue_refuses,
    transfer_checks.mutable_data_may_change_after_write,
    transfer_checks.batches_go_out_together,
    ending_checks.closing_twice_does_nothing,
    ending_checks.closed_objects_refuse_everything,
    ending_checks.close_fails_pending_reads,
    ending_checks.close_fails_a_pending_face_read,
    ending_checks.close_sends_what_was_written,
    ending_checks.async_with_closes,
    ending_checks.reads_after_the_end,
    ending_checks.truncated_messages_are_shown,
    ending_checks.truncated_full_reads_are_short,
    ending_checks.silent_peer_cannot_hold_close,
    ending_checks.silent_peer_does_not_matter_without_a_queue,
    ending_checks.cancelled_close_still_closes,
    ending_checks.close_in_a_cancelled_task,
    ending_checks.abort_resets,
    ending_checks.reset_is_told_to_everybody,
    ending_checks.bytes_before_a_reset_are_delivered,
    cancelling_checks.second_reader_is_refused,
    cancelling_checks.cancelled_reads_take_nothing,
    cancelling_checks.cancelled_writes_stay_queued,
    cancelling_checks.cancelled_winrt_read_breaks_the_connection,
    cancelling_checks.cancelled_winrt_write_breaks_the_connection,
    cancelling_checks.timed_out_winrt_read_breaks_the_connection,
)

#: Both ends send and receive.
TWO_WAY_CHECKS: tuple[Check, ...] = (
    transfer_checks.both_directions_at_once,
    transfer_checks.echo,
    cancelling_checks.read_timeouts_keep_the_connection,
)

#: One direction may end before the other.
HALF_CLOSE_CHECKS: tuple[Check, ...] = (
    ending_checks.half_close_leaves_the_other_direction,
    ending_checks.closing_the_output_stream_half_closes,
    ending_checks.full_connection_half_closes_behind_the_queue,
)

#: What transports do, and a WebSocket does not.
TRANSPORT_CHECKS: tuple[Check, ...] = (
    transfer_checks.overlapping_reads_keep_their_order,
    ending_checks.unread_data_at_close_resets,
    cancelling_checks.cancel_io_keeps_the_connection,
)

#: Everything that a StreamSocket must do.
STREAM_CHECKS: tuple[Check, ...] = ONE_WAY_CHECKS + TWO_WAY_CHECKS + TRANSPORT_CHECKS + HALF_CLOSE_CHECKS


async def run_check(check: Check, make_pair: MakePair, *, swapped: bool = False) -> None:
    """Run one check on a fresh pair; `swapped` exchanges the ends.

    Errors: AssertionError where the stream behaves otherwise; TimeoutError when nothing happens for 20 s.
    """
    one, other = await make_pair()
    if swapped:
        one, other = other, one
    tasks = asyncio.all_tasks()
    try:
        async with asyncio.timeout(PATIENCE):
            await check(one, other)
    except BaseException as error:
        error.add_note(f"stream check {getattr(check, '__name__', check)!s}{' (ends swapped)' if swapped else ''}")
        raise
    finally:
        one.abort()
        other.abort()
        # What a failed check left behind.
        left = asyncio.all_tasks() - tasks
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


async def _run_all(checks: Iterable[Check], make_pair: MakePair, *, both_ways: bool) -> None:
    for check in checks:
        await run_check(check, make_pair)
        if both_ways:
            await run_check(check, make_pair, swapped=True)


async def check_one_way_stream(make_pair: MakePair) -> None:
    """Check that bytes from the first end reach the second one, and how that ends. The other way is not looked at."""
    await _run_all(ONE_WAY_CHECKS, make_pair, both_ways=False)


async def check_two_way_stream(make_pair: MakePair) -> None:
    """Check both directions, each alone and both at once: what a stream over a WebSocket must do, too."""
    await _run_all(ONE_WAY_CHECKS + TWO_WAY_CHECKS, make_pair, both_ways=True)


async def check_half_closeable_stream(make_pair: MakePair) -> None:
    """Check all that a transport does: both directions, and that one of them may end before the other."""
    await _run_all(STREAM_CHECKS, make_pair, both_ways=True)


async def check_stream(make_pair: MakePair) -> None:
    """Check everything that a StreamSocket must do. The same as `check_half_closeable_stream`."""
    await check_half_closeable_stream(make_pair)
