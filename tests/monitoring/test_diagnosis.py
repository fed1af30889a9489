"""Each cause of slowness: figures, and what is said about them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.monitoring.samples import DATAGRAM, LISTENER, STREAM

from moorings.monitoring import diagnosis

STREAMS: list[tuple[str, dict[str, Any]]] = [
    ("1 message not taken by the program: the peer has to wait.", {"messages_received": 5, "waiting_messages": 1}),
    ("256 messages not taken by the program: the peer has to wait.", {"messages_received": 5, "waiting_messages": 256}),
    ("The connection is broken: RESET.", {"end_reason": "RESET"}),
    (
        "close() waits up to 5 s until 30 bytes have gone out. 10 bytes wait in our queue; its limit is 67,108,864.",
        {"state": "closing", "end_reason": "CLOSED_BY_US", "queued_bytes": 10, "unacknowledged_bytes": 20},
    ),
    (
        "The peer's window is closed: the peer reads too slowly.",
        {"peer_window_bytes": 0, "unsent_bytes": 1, "busy_us": 10**6, "peer_limited_us": 10**6},
    ),
    (
        "The peer's window is closed: the peer reads too slowly. 1,000 bytes wait in our queue; its limit is 2,000.",
        {"peer_window_bytes": 0, "queued_bytes": 1000, "write_queue_limit_bytes": 2000},
    ),
    (
        "For 60% of the sending time the peer's window set the pace: the peer reads too slowly.",
        {"peer_window_bytes": 100, "busy_us": 10**6, "peer_limited_us": 600_000},
    ),
    ("1 byte wait in our queue; its limit is 67,108,864.", {"queued_bytes": 1}),
    ("1 write was refused because the queue was full: await writes.", {"writes_refused": 1}),
    ("2 writes were refused because the queue was full: await writes.", {"writes_refused": 2}),
    ("3 segments under way for the second time: lossy path, or the peer is gone.", {"retransmitting": 3}),
    ("5 retransmits (5.0%): lossy path.", {"retransmits": 5, "segments_sent": 100}),
    ("1 retransmit: lossy path.", {"retransmits": 1}),
    (
        "The round trip takes 120 ms, 10 ms at best: queues on the path are full, or the peer is busy.",
        {"round_trip_time_us": 120_000, "round_trip_time_min_us": 10_000},
    ),
    (
        "For 50% of the sending time the send buffer set the pace: raise control.outbound_buffer_size_in_bytes.",
        {"busy_us": 10**6, "buffer_limited_us": 500_000},
    ),
    ("The application is not reading: 7 bytes unread.", {"unread_bytes": 3, "kernel_unread_bytes": 4}),
    ("The application is not reading: 1 byte unread.", {"unread_bytes": 1}),
    ("The peer has ended its side; ours is still open.", {"tcp_state": "CLOSE_WAIT"}),
    ("Idle since 1,234 s: nobody reads or writes.", {"last_sent_ms": 1_234_567, "last_received_ms": 2_000_000}),
    (
        "Idle since 10 s: the program waits for the peer.",
        {"last_sent_ms": 20_000, "last_received_ms": 10_000, "read_pending": True},
    ),
]
UNREMARKABLE: list[dict[str, Any]] = [
    {},
    {"end_reason": "CLOSED_BY_PEER"},
    {"peer_window_bytes": 0},
    {"busy_us": 9_999, "peer_limited_us": 9_999, "buffer_limited_us": 9_999},
    {"busy_us": 10**6, "peer_limited_us": 1000},
    {"busy_us": 0, "peer_limited_us": 0},
    {"retransmits": 5, "segments_sent": 10_000},
    {"retransmits": 2, "segments_sent": 10},
    {"retransmits": 0, "segments_sent": 0},
    {"round_trip_time_us": 400, "round_trip_time_min_us": 40},
    {"round_trip_time_us": 100_000, "round_trip_time_min_us": 90_000},
    {"round_trip_time_us": 100_000},
    {"unread_bytes": 5, "read_pending": True},
    {"last_sent_ms": 10, "last_received_ms": 10**6},
    {"last_sent_ms": 10**6},
]
LISTENERS: list[tuple[str, dict[str, Any]]] = [
    (
        "Accepting is paused: 1,000 connections are open, max_connections is 1,000.",
        {"state": "paused", "open_connections": 1000, "max_connections": 1000},
    ),
    ("Accepting is paused: nobody takes the connections, or the handlers are busy.", {"state": "paused"}),
    ("1 connection not accepted yet.", {"backlog_connections": 1}),
    (
        "3 connections not accepted yet; the kernel holds up to 128.",
        {"backlog_connections": 3, "backlog_limit_connections": 128},
    ),
    ("64 accepted connections not taken by the program yet.", {"untaken_connections": 64}),
    ("Accepting rested 2 times: the system was out of descriptors or memory.", {"exhausted": 2}),
    (diagnosis.NOTHING, {"open_connections": 5, "max_connections": 6, "backlog_connections": 0}),
]

DATAGRAMS: list[tuple[str, dict[str, Any]]] = [
    (
        "Datagrams came, and nobody receives: add a message_received handler before binding, or call receive().",
        {"state": "sending", "kernel_unread_bytes": 300, "receive_buffer_bytes": 300, "kernel_drops": 7},
    ),
    (
        "Datagrams came, and nobody receives: add a message_received handler before binding, or call receive().",
        {"state": "sending", "kernel_drops": 7},
    ),
    ("Receiving is paused: 1,024 tasks of handlers run.", {"state": "paused", "handler_tasks": 1024}),
    (
        (
            "The kernel dropped 1,000 datagrams, or batches of them, because its buffer of 212,992 bytes was full: "
            "raise control.inbound_buffer_size_in_bytes."
        ),
        {"kernel_drops": 1000, "receive_buffer_bytes": 212_992},
    ),
    (
        (
            "The kernel dropped 1 datagram, or batches of them, because its buffer was full: "
            "raise control.inbound_buffer_size_in_bytes."
        ),
        {"kernel_drops": 1},
    ),
    (
        "The kernel's receive buffer is 75% full: datagrams come faster than they are received.",
        {"kernel_unread_bytes": 3000, "receive_buffer_bytes": 4000},
    ),
    (
        "The kernel's receive buffer is 100% full: datagrams come faster than they are received.",
        {"kernel_unread_bytes": 5000, "receive_buffer_bytes": 4000},
    ),
    (
        (
            "2 datagrams were dropped because 1,024 waited already: the handler is too slow, or nobody calls "
            "receive(). 1,024 datagrams not taken by the program; the limit is 1,024."
        ),
        {"queue_drops": 2, "waiting_datagrams": 1024},
    ),
    ("1 datagram not taken by the program; the limit is 1,024.", {"waiting_datagrams": 1}),
    (
        (
            "The kernel takes no more right now: the network carries less than the program sends. "
            "1,256 bytes wait in our queue; its limit is 16,777,216."
        ),
        {"send_blocked": True, "queued_bytes": 1256},
    ),
    ("1,256 bytes wait in our queue; its limit is 16,777,216.", {"queued_bytes": 1256}),
    ("2 writes were refused because the queue was full: await writes.", {"writes_refused": 2}),
    ("1 write failed: await writes to see why.", {"writes_failed": 1}),
    (
        "The network reported 3 failures: nobody listens there, or there is no way.",
        {"network_errors": 3},
    ),
    (diagnosis.NOTHING, {"kernel_drops": 0, "kernel_unread_bytes": 1999, "receive_buffer_bytes": 4000}),
    (diagnosis.NOTHING, {"state": "sending", "kernel_unread_bytes": 0, "kernel_drops": 0}),
    (diagnosis.NOTHING, {"kernel_unread_bytes": 10}),
    (diagnosis.NOTHING, {"handler_tasks": 1000, "unicast_refused": 5, "pinned_blocks": 3}),
]


@pytest.mark.parametrize(("text", "figures"), STREAMS)
def test_causes_of_streams(text: str, figures: dict[str, Any]) -> None:
    assert STREAM._replace(**figures).why_slow == text


@pytest.mark.parametrize("figures", UNREMARKABLE, ids=str)
def test_nothing_stands_out(figures: dict[str, Any]) -> None:
    assert STREAM._replace(**figures).why_slow == diagnosis.NOTHING


@pytest.mark.parametrize(("text", "figures"), LISTENERS)
def test_causes_of_listeners(text: str, figures: dict[str, Any]) -> None:
    assert LISTENER._replace(**figures).why_slow == text


@pytest.mark.parametrize(("text", "figures"), DATAGRAMS)
def test_causes_of_datagram_sockets(text: str, figures: dict[str, Any]) -> None:
    assert DATAGRAM._replace(**figures).why_slow == text


def test_every_cause_is_tested() -> None:
    """Each row of the table is the only one to speak in some case, or the first."""
    spoken = {
        next(cause for cause in diagnosis.STREAM_CAUSES if cause(STREAM._replace(**figures))) for _, figures in STREAMS
    }
    assert spoken == set(diagnosis.STREAM_CAUSES)
    assert {cause for cause in diagnosis.DATAGRAM_CAUSES for _, f in DATAGRAMS if cause(DATAGRAM._replace(**f))} == set(
        diagnosis.DATAGRAM_CAUSES
    )
    assert {cause for cause in diagnosis.LISTENER_CAUSES for _, f in LISTENERS if cause(LISTENER._replace(**f))} == set(
        diagnosis.LISTENER_CAUSES
    )
