"""Snapshots in the OpenMetrics text format (https://prometheus.io/docs/specs/om/open_metrics_spec/).

Base units, as the format wants them: seconds, bytes. What is not known has no sample.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from moorings.monitoring.reports import KINDS, ListenerReport, ProgramSnapshot, SocketReport, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Number = int | float | None


class _Family(NamedTuple):
    """A metric: its name, what it is, and the field of a report that it comes from."""

    name: str
    kind: str
    unit: str
    help: str
    field: str
    #: The field's unit, in that of the metric.
    divisor: float = 1


_STREAMS: tuple[_Family, ...] = (
    _Family("age_seconds", "gauge", "seconds", "Time since the connection was opened.", "age_s"),
    _Family("round_trip_time_seconds", "gauge", "seconds", "Smoothed round trip time.", "round_trip_time_us", 1e6),
    _Family("lowest_rtt_seconds", "gauge", "seconds", "Smallest round trip time.", "round_trip_time_min_us", 1e6),
    _Family(
        "outbound_bytes_per_second", "gauge", "", "Kernel's estimate of bandwidth.", "outbound_bits_per_second", 8.0
    ),
    _Family("inbound_bytes_per_second", "gauge", "", "Kernel's estimate of bandwidth.", "inbound_bits_per_second", 8.0),
    _Family("received_bytes", "counter", "bytes", "Bytes received from the kernel.", "bytes_received"),
    _Family("sent_bytes", "counter", "bytes", "Bytes handed to the kernel.", "bytes_sent"),
    _Family("receive_calls", "counter", "", "System calls that received.", "receive_calls"),
    _Family("send_calls", "counter", "", "System calls that sent.", "send_calls"),
    _Family("queued_bytes", "gauge", "bytes", "Bytes in the write queue.", "queued_bytes"),
    _Family("unacknowledged_bytes", "gauge", "bytes", "Bytes on their way in the kernel.", "unacknowledged_bytes"),
    _Family("unread_bytes", "gauge", "bytes", "Bytes that the program has not read.", "all_unread_bytes"),
    _Family("refused_writes", "counter", "", "Writes refused by a full queue.", "writes_refused"),
    _Family("retransmits", "counter", "", "Segments that were sent again.", "retransmits"),
    _Family("congestion_window_segments", "gauge", "", "Congestion window.", "congestion_window_segments"),
    _Family("peer_window_bytes", "gauge", "bytes", "What the peer is willing to receive.", "peer_window_bytes"),
    _Family("received_messages", "counter", "", "WebSocket messages received.", "messages_received"),
    _Family("sent_messages", "counter", "", "WebSocket messages sent.", "messages_sent"),
    _Family("waiting_messages", "gauge", "", "WebSocket messages that nobody has taken.", "waiting_messages"),
    _Family("ping_time_seconds", "gauge", "seconds", "Time of the last answered ping.", "ping_time_us", 1e6),
)
#: What a DatagramSocket has by the same name and meaning.
_SHARED = {"received_bytes", "sent_bytes", "receive_calls", "send_calls", "queued_bytes", "refused_writes"}
_LISTENERS: tuple[_Family, ...] = (
    _Family("accepted_connections", "counter", "", "Connections accepted.", "accepted_connections"),
    _Family("open_connections", "gauge", "", "Accepted connections that are open.", "open_connections"),
    _Family("backlog_connections", "gauge", "", "Connections not accepted yet.", "backlog_connections"),
    _Family("accepting", "gauge", "", "1 while it accepts, 0 while it pauses.", "is_accepting"),
)
_DATAGRAMS: tuple[_Family, ...] = (
    _Family("age_seconds", "gauge", "seconds", "Time since the socket was bound.", "age_s"),
    *(family for family in _STREAMS if family.name in _SHARED),
    _Family("received_datagrams", "counter", "", "Datagrams received from the kernel.", "datagrams_received"),
    _Family("sent_datagrams", "counter", "", "Datagrams handed to the kernel.", "datagrams_sent"),
    _Family("kernel_drops", "counter", "", "Datagrams, or batches of them, that the kernel dropped.", "kernel_drops"),
    _Family("queue_drops", "counter", "", "Datagrams dropped by a full receive queue.", "queue_drops"),
    _Family("network_errors", "counter", "", "Failures that the network reported.", "network_errors"),
    _Family("failed_writes", "counter", "", "Writes that failed.", "writes_failed"),
    _Family("queued_datagrams", "gauge", "", "Datagrams in the write queue.", "queued_datagrams"),
    _Family("waiting_datagrams", "gauge", "", "Datagrams that the program has not taken.", "waiting_datagrams"),
    _Family("kernel_unread_bytes", "gauge", "bytes", "Receive memory of the kernel in use.", "kernel_unread_bytes"),
    _Family("receive_buffer_bytes", "gauge", "bytes", "Receive memory that it may use.", "receive_buffer_bytes"),
    _Family("handler_tasks", "gauge", "", "Tasks of handlers that run.", "handler_tasks"),
)
_FAMILIES = tuple(
    (kind, family)
    for kind, families in (("stream", _STREAMS), ("listener", _LISTENERS), ("datagram", _DATAGRAMS))
    for family in families
)


def escaped(text: str) -> str:
    """A label's value as it stands between quotes."""
    # What is no character of UTF-8 may not stand in the text either.
    clean = text.encode("utf-8", "replace").decode()
    return clean.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _labels(values: dict[str, str | None]) -> str:
    return ",".join(f'{name}="{escaped(value)}"' for name, value in values.items() if value is not None)


def _place(address: str | None, port: int | None) -> str | None:
    if address is None or port is None:
        return None
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _socket_labels(program: ProgramSnapshot, report: SocketReport) -> str:
    values: dict[str, str | None] = {
        "pid": str(program.pid),
        "program": program.name,
        "socket": report.id,
        "local": _place(report.local_address, report.local_port),
    }
    if not isinstance(report, ListenerReport):
        values["remote"] = _place(report.remote_address, report.remote_port)
    return _labels(values)


def _head(name: str, kind: str, unit: str, explanation: str) -> Iterator[str]:
    yield f"# TYPE {name} {kind}"
    if unit:
        yield f"# UNIT {name} {unit}"
    yield f"# HELP {name} {explanation}"


def _lines(programs: Sequence[ProgramSnapshot]) -> Iterator[str]:
    if programs:
        yield from _head("moorings_program_sockets", "gauge", "", "Sockets of a program, by kind.")
    for program in programs:
        for kind, fields in KINDS.items():
            count = sum(isinstance(report, fields) for report in program.sockets)
            labels = _labels({"pid": str(program.pid), "program": program.name, "kind": kind})
            yield f"moorings_program_sockets{{{labels}}} {count}"
    labelled = [
        (kind_of(report), report, _socket_labels(program, report)) for program in programs for report in program.sockets
    ]
    for of_kind, family in _FAMILIES:
        name = f"moorings_{of_kind}_{family.name}"
        sample = f"{name}_total" if family.kind == "counter" else name
        samples = [
            f"{sample}{{{labels}}} {value}"
            for kind, report, labels in labelled
            if kind == of_kind and (value := _value(family, report)) is not None
        ]
        if samples:
            yield from _head(name, family.kind, family.unit, family.help)
            yield from samples


def _value(family: _Family, report: SocketReport) -> Number:
    value: Number = getattr(report, family.field)
    if value is None:
        return None
    return int(value) if isinstance(value, bool) else value / family.divisor if family.divisor != 1 else value


def open_metrics(programs: Sequence[ProgramSnapshot]) -> str:
    """The sockets of programs as one exposition. Two monitors of one process are told once."""
    once = {(program.pid, program.name): program for program in programs}
    return "".join(f"{line}\n" for line in _lines(list(once.values()))) + "# EOF\n"
