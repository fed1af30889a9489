"""Why a connection is slow, as far as its figures say: tables of causes, and nothing but arithmetic.

Each row has a function that gives the sentence, or None where the cause does not hold. Rows come in the order in which
they matter; all that hold are said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from moorings.monitoring.reports import DatagramReport, ListenerReport, StreamReport

NOTHING = "Nothing stands out."

#: A cause that held for at least this share of the busy time is told.
MUCH = 0.25
#: Time with something to send below which its shares say nothing.
BUSY_ENOUGH_US = 10_000
#: Retransmits are told from this share of all segments on, and this number: the last segment of a burst may go twice.
LOSSY = 0.01
LOSSY_FROM = 3
#: The smoothed round trip time is told as swollen when it is so many times the smallest, and at least that long.
SWOLLEN = 4
SWOLLEN_FROM_US = 20_000
#: Seconds without data in either direction that count as idle.
IDLE_S = 10


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _share(part: int | None, whole: int | None) -> float:
    return part / whole if part and whole else 0.0


def _ms(microseconds: int) -> str:
    return f"{microseconds / 1000:.3g} ms"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _waiting(report: StreamReport) -> int:
    return report.queued_bytes + (report.unsent_bytes or 0)


def _reset(report: StreamReport) -> str | None:
    if report.end_reason in {"OPEN", "CLOSED_BY_US", "CLOSED_BY_PEER"}:
        return None
    return f"The connection is broken: {report.end_reason}."


def _closing(report: StreamReport) -> str | None:
    if report.state != "closing":
        return None
    left = report.queued_bytes + (report.unacknowledged_bytes or 0)
    return f"close() waits up to {report.close_timeout_s:g} s until {_number(left, 'byte')} have gone out."


def _window_closed(report: StreamReport) -> str | None:
    if report.peer_window_bytes != 0 or not (_waiting(report) or report.unacknowledged_bytes):
        return None
    return "The peer's window is closed: the peer reads too slowly."


def _window_small(report: StreamReport) -> str | None:
    share = _share(report.peer_limited_us, report.busy_us)
    if report.peer_window_bytes == 0 or share < MUCH or (report.busy_us or 0) < BUSY_ENOUGH_US:
        return None
    return f"For {share:.0%} of the sending time the peer's window set the pace: the peer reads too slowly."


def _queued(report: StreamReport | DatagramReport) -> str | None:
    if not report.queued_bytes:
        return None
    limit = report.write_queue_limit_bytes
    return f"{_number(report.queued_bytes, 'byte')} wait in our queue; its limit is {limit:,}."


def _refused(report: StreamReport | DatagramReport) -> str | None:
    count = report.writes_refused
    if not count:
        return None
    return f"{_number(count, 'write')} {_were(count)} refused because the queue was full: await writes."


def _retransmitting(report: StreamReport) -> str | None:
    if not report.retransmitting:
        return None
    return (
        f"{_number(report.retransmitting, 'segment')} under way for the second time: lossy path, or the peer is gone."
    )


def _lossy(report: StreamReport) -> str | None:
    if not report.retransmits:
        return None
    if report.segments_sent is None:
        return f"{_number(report.retransmits, 'retransmit')}: lossy path."
    share = _share(report.retransmits, report.segments_sent)
    if share < LOSSY or report.retransmits < LOSSY_FROM:
        return None
    return f"{_number(report.retransmits, 'retransmit')} ({share:.1%}): lossy path."


def _swollen(report: StreamReport) -> str | None:
    now, best = report.round_trip_time_us, report.round_trip_time_min_us
    if not now or not best or now < SWOLLEN * best or now < SWOLLEN_FROM_US:
        return None
    return f"The round trip takes {_ms(now)}, {_ms(best)} at best: queues on the path are full, or the peer is busy."


def _buffer(report: StreamReport) -> str | None:
    share = _share(report.buffer_limited_us, report.busy_us)
    if share < MUCH or (report.busy_us or 0) < BUSY_ENOUGH_US:
        return None
    cure = "raise control.outbound_buffer_size_in_bytes"
    return f"For {share:.0%} of the sending time the send buffer set the pace: {cure}."


def _unread(report: StreamReport) -> str | None:
    unread = report.unread_bytes + (report.kernel_unread_bytes or 0)
    if not unread or report.read_pending:
        return None
    return f"The application is not reading: {_number(unread, 'byte')} unread."


def _messages_wait(report: StreamReport) -> str | None:
    if not report.waiting_messages or report.read_pending:
        return None
    return f"{_number(report.waiting_messages, 'message')} not taken by the program: the peer has to wait."


def _peer_ended(report: StreamReport) -> str | None:
    if report.tcp_state != "CLOSE_WAIT":
        return None
    return "The peer has ended its side; ours is still open."


def _idle(report: StreamReport) -> str | None:
    since = [value for value in (report.last_sent_ms, report.last_received_ms) if value is not None]
    if len(since) < 2 or min(since) < IDLE_S * 1000 or _waiting(report):
        return None
    waits = "the program waits for the peer" if report.read_pending else "nobody reads or writes"
    return f"Idle since {min(since) // 1000:,} s: {waits}."


STREAM_CAUSES: Sequence[Callable[[StreamReport], str | None]] = (
    _reset,
    _closing,
    _window_closed,
    _window_small,
    _queued,
    _refused,
    _retransmitting,
    _lossy,
    _swollen,
    _buffer,
    _unread,
    _messages_wait,
    _peer_ended,
    _idle,
)


def _full(report: ListenerReport) -> str | None:
    limit, count = report.max_connections, report.open_connections
    if limit is None or count is None or count < limit:
        return None
    return f"Accepting is paused: {count:,} connections are open, max_connections is {limit:,}."


def _nobody_takes(report: ListenerReport) -> str | None:
    if report.state != "paused" or _full(report) is not None:
        return None
    return "Accepting is paused: nobody takes the connections, or the handlers are busy."


def _backlog(report: ListenerReport) -> str | None:
    if not report.backlog_connections:
        return None
    limit = report.backlog_limit_connections
    held = "" if limit is None else f"; the kernel holds up to {limit:,}"
    return f"{_number(report.backlog_connections, 'connection')} not accepted yet{held}."


def _untaken(report: ListenerReport) -> str | None:
    if not report.untaken_connections:
        return None
    return f"{_number(report.untaken_connections, 'accepted connection')} not taken by the program yet."


def _exhausted(report: ListenerReport) -> str | None:
    if not report.exhausted:
        return None
    return f"Accepting rested {_number(report.exhausted, 'time')}: the system was out of descriptors or memory."


LISTENER_CAUSES: Sequence[Callable[[ListenerReport], str | None]] = (
    _full,
    _nobody_takes,
    _backlog,
    _untaken,
    _exhausted,
)


#: The kernel's buffer is told as full from this share on.
FULL = 0.5


def _nobody_receives(report: DatagramReport) -> str | None:
    if report.state != "sending" or not (report.kernel_unread_bytes or report.kernel_drops):
        return None
    return "Datagrams came, and nobody receives: add a message_received handler before binding, or call receive()."


def _handlers_busy(report: DatagramReport) -> str | None:
    if report.state != "paused":
        return None
    return f"Receiving is paused: {_number(report.handler_tasks, 'task')} of handlers run."


def _kernel_dropped(report: DatagramReport) -> str | None:
    count = report.kernel_drops
    if not count or report.state == "sending":
        return None
    limit = "" if report.receive_buffer_bytes is None else f" of {report.receive_buffer_bytes:,} bytes"
    cure = "raise control.inbound_buffer_size_in_bytes"
    what = f"{_number(count, 'datagram')}, or batches of them,"
    return f"The kernel dropped {what} because its buffer{limit} was full: {cure}."


def _kernel_full(report: DatagramReport) -> str | None:
    share = _share(report.kernel_unread_bytes, report.receive_buffer_bytes)
    if share < FULL or report.state == "sending":
        return None
    return f"The kernel's receive buffer is {min(share, 1):.0%} full: datagrams come faster than they are received."


def _queue_dropped(report: DatagramReport) -> str | None:
    count = report.queue_drops
    if not count:
        return None
    limit = report.receive_queue_limit_datagrams
    cause = f"because {limit:,} waited already: the handler is too slow, or nobody calls receive()"
    return f"{_number(count, 'datagram')} {_were(count)} dropped {cause}."


def _untaken_datagrams(report: DatagramReport) -> str | None:
    if not report.waiting_datagrams:
        return None
    limit = report.receive_queue_limit_datagrams
    return f"{_number(report.waiting_datagrams, 'datagram')} not taken by the program; the limit is {limit:,}."


def _send_blocked(report: DatagramReport) -> str | None:
    if not report.send_blocked:
        return None
    return "The kernel takes no more right now: the network carries less than the program sends."


def _writes_failed(report: DatagramReport) -> str | None:
    if not report.writes_failed:
        return None
    return f"{_number(report.writes_failed, 'write')} failed: await writes to see why."


def _network_errors(report: DatagramReport) -> str | None:
    count = report.network_errors
    if not count:
        return None
    return f"The network reported {_number(count, 'failure')}: nobody listens there, or there is no way."


DATAGRAM_CAUSES: Sequence[Callable[[DatagramReport], str | None]] = (
    _nobody_receives,
    _handlers_busy,
    _kernel_dropped,
    _kernel_full,
    _queue_dropped,
    _untaken_datagrams,
    _send_blocked,
    _queued,
    _refused,
    _writes_failed,
    _network_errors,
)


def of_stream(report: StreamReport) -> str:
    """The causes that hold for a connection."""
    return " ".join(sentence for cause in STREAM_CAUSES if (sentence := cause(report))) or NOTHING


def of_listener(report: ListenerReport) -> str:
    """The causes that hold for a listener."""
    return " ".join(sentence for cause in LISTENER_CAUSES if (sentence := cause(report))) or NOTHING


def of_datagrams(report: DatagramReport) -> str:
    """The causes that hold for a DatagramSocket."""
    return " ".join(sentence for cause in DATAGRAM_CAUSES if (sentence := cause(report))) or NOTHING
