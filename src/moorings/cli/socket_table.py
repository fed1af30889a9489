"""Sockets as rows of a table: what is shown of each, in which order, and how much of it fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from moorings.cli.output import printable
from moorings.monitoring.reports import DatagramReport, ListenerReport, ProgramSnapshot, SocketReport, StreamReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

#: What stands for a figure that is not known.
UNKNOWN = "-"
SORTS = ("rtt", "bandwidth", "queued", "bytes", "drops")
#: Characters between two columns.
_GAP = 2
#: Characters of a program's name that are shown.
_NAME_WIDTH = 24


class Rates(NamedTuple):
    """Bits and datagrams per second in both directions; None is not known."""

    outbound: float | None = None
    inbound: float | None = None
    datagrams_outbound: float | None = None
    datagrams_inbound: float | None = None


class Row(NamedTuple):
    """A socket of a program."""

    program: ProgramSnapshot
    report: SocketReport
    rates: Rates


class Meter:
    """Rates of all connections and DatagramSockets, from the differences between two looks at them."""

    def __init__(self) -> None:
        self._before: dict[tuple[int, str], tuple[float, tuple[int, ...]]] = {}

    def rows(self, programs: Iterable[ProgramSnapshot]) -> list[Row]:
        """The sockets of all programs, with their rates since the last call."""
        now: dict[tuple[int, str], tuple[float, tuple[int, ...]]] = {}
        rows: list[Row] = []
        for program in programs:
            for report in program.sockets:
                rates = Rates()
                if not isinstance(report, ListenerReport):
                    key = (program.pid, report.id)
                    now[key] = (program.taken_at_s, _amounts(report))
                    rates = _difference(self._before.get(key), now[key])
                rows.append(Row(program, report, rates))
        self._before = now
        return rows


def _amounts(report: StreamReport | DatagramReport) -> tuple[int, ...]:
    """What is measured, in the order of `Rates`."""
    bits = (report.bytes_sent * 8, report.bytes_received * 8)
    return bits if isinstance(report, StreamReport) else (*bits, report.datagrams_sent, report.datagrams_received)


def _difference(before: tuple[float, tuple[int, ...]] | None, now: tuple[float, tuple[int, ...]]) -> Rates:
    if before is None or len(before[1]) != len(now[1]):
        return Rates()
    seconds = now[0] - before[0]
    amounts = [later - earlier for earlier, later in zip(before[1], now[1], strict=True)]
    # A clock that was set, or another socket with the same id, says nothing.
    if seconds <= 0 or min(amounts) < 0:
        return Rates()
    return Rates(*(amount / seconds for amount in amounts))


def estimates(programs: Iterable[ProgramSnapshot]) -> list[Row]:
    """The sockets of all programs, with the kernel's estimates of what each connection carries."""
    return [
        Row(
            program,
            report,
            Rates(report.outbound_bits_per_second, report.inbound_bits_per_second)
            if isinstance(report, StreamReport)
            else Rates(),
        )
        for program in programs
        for report in program.sockets
    ]


# -- order -----------------------------------------------------------------------------------------------------------


def _sort_figure(row: Row, sort: str) -> float:
    """The figure to sort by; what has none comes last."""
    report = row.report
    if isinstance(report, ListenerReport):
        return -2
    figures: dict[str, float | None] = {
        "rtt": report.round_trip_time_us if isinstance(report, StreamReport) else None,
        "bandwidth": (row.rates.outbound or 0) + (row.rates.inbound or 0),
        "queued": _queued(report),
        "bytes": report.bytes_sent + report.bytes_received,
        "drops": report.drops if isinstance(report, DatagramReport) else None,
    }
    figure = figures[sort]
    return -1 if figure is None else figure


def _queued(report: StreamReport | DatagramReport) -> int:
    """Bytes on their way out: in our queue and in the kernel."""
    if isinstance(report, StreamReport):
        return report.queued_bytes + (report.unacknowledged_bytes or 0)
    return report.queued_bytes + (report.kernel_unsent_bytes or 0)


def has_datagrams(rows: Iterable[Row]) -> bool:
    """Whether the columns of DatagramSockets are needed."""
    return any(isinstance(row.report, DatagramReport) for row in rows)


def has_messages(rows: Iterable[Row]) -> bool:
    """Whether the columns of WebSockets are needed."""
    return any(isinstance(row.report, StreamReport) and row.report.messages_received is not None for row in rows)


def in_order(rows: list[Row], sort: str | None) -> list[Row]:
    """The rows, the biggest first; without `sort` in the order in which the programs told them."""
    if sort is None:
        return rows
    return sorted(rows, key=lambda row: _sort_figure(row, sort), reverse=True)


# -- cells -----------------------------------------------------------------------------------------------------------


def size(count: int | None) -> str:
    """A number of bytes."""
    if count is None:
        return UNKNOWN
    value = float(count)
    for unit in ("", " KiB", " MiB", " GiB"):
        if value < 1024:
            return f"{value:.0f}{unit}" if not unit or value >= 100 else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def rate(bits: float | None) -> str:
    """A number of bits per second."""
    if bits is None:
        return UNKNOWN
    value = float(bits)
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bit/s" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} Gbit/s"


def duration(seconds: float | None) -> str:
    """A time, in the unit that fits."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.0f} h"


def place(address: str | None, port: int | None) -> str:
    """An endpoint."""
    if address is None or port is None:
        return UNKNOWN
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _program(row: Row) -> str:
    name = printable(row.program.name)
    short = name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 1]}…"
    return f"{short} ({row.program.pid})"


def _peer(report: SocketReport) -> str:
    if isinstance(report, ListenerReport):
        most = "" if report.max_connections is None else f" of {report.max_connections:,}"
        return f"{report.open_connections or 0:,}{most} open"
    if isinstance(report, DatagramReport) and report.remote_address is None:
        return "any (UDP)"
    there = place(report.remote_address, report.remote_port)
    if isinstance(report, DatagramReport):
        return f"-> {there} (UDP)"
    kind = "" if report.messages_received is None else " (WS)"
    return f"{'<-' if report.accepted else '->'} {there}{kind}"


def _of_stream(show: Callable[[StreamReport], str]) -> Callable[[Row], str]:
    return lambda row: show(row.report) if isinstance(row.report, StreamReport) else ""


def _of_datagrams(show: Callable[[DatagramReport], str]) -> Callable[[Row], str]:
    return lambda row: show(row.report) if isinstance(row.report, DatagramReport) else ""


def _of_both(show: Callable[[StreamReport | DatagramReport], str]) -> Callable[[Row], str]:
    return lambda row: "" if isinstance(row.report, ListenerReport) else show(row.report)


def _datagram_rate(row: Row, value: float | None) -> str:
    return _count(value) if isinstance(row.report, DatagramReport) else ""


def _unread(report: StreamReport | DatagramReport) -> int | None:
    return report.all_unread_bytes if isinstance(report, StreamReport) else report.kernel_unread_bytes


def _drops(report: DatagramReport) -> str:
    """Dropped by the kernel and by our queue: where the kernel does not tell, at least so many."""
    return f"{report.drops:,}{'+' if report.kernel_drops is None else ''}"


def _count(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f}"


def _messages(report: StreamReport, value: int | None, show: Callable[[int | None], str] = _count) -> str:
    """A figure that only WebSockets have."""
    return "" if report.messages_received is None else show(value)


def _microseconds(value: int | None) -> str:
    return duration(None if value is None else value / 1e6)


def _state(report: SocketReport) -> str:
    if isinstance(report, StreamReport) and report.state == "open" and report.tcp_state not in {None, "ESTABLISHED"}:
        return str(report.tcp_state).lower()
    return report.state


@dataclass(frozen=True)
class Column:
    """A column; the one with the highest rank goes first where there is no room, that with rank 0 never."""

    heading: str
    rank: int
    cell: Callable[[Row], str]
    number: bool = True


def columns(
    *, measured: bool, why: bool, sort: str | None, datagrams: bool = False, messages: bool = False
) -> list[Column]:
    """All columns, those of `datagrams` and of the `messages` of WebSockets only where there are some. `measured` rates
    were, and others are the kernel's estimates. What is sorted by goes last.
    """
    out, into = ("out", "in") if measured else ("est. out", "est. in")
    found = [
        Column("program", 0, _program, number=False),
        Column("local", 5, lambda row: place(row.report.local_address, row.report.local_port), number=False),
        Column("peer", 0, lambda row: _peer(row.report), number=False),
        Column("state", 4, lambda row: _state(row.report), number=False),
        Column("rtt", 2, _of_stream(lambda report: _microseconds(report.round_trip_time_us))),
        Column(out, 3, lambda row: "" if isinstance(row.report, ListenerReport) else rate(row.rates.outbound)),
        Column(into, 3, lambda row: "" if isinstance(row.report, ListenerReport) else rate(row.rates.inbound)),
        Column("sent", 6, _of_both(lambda report: size(report.bytes_sent))),
        Column("received", 6, _of_both(lambda report: size(report.bytes_received))),
        Column("queued", 2, _of_both(lambda report: size(_queued(report)))),
        Column("unread", 4, _of_both(lambda report: size(_unread(report)))),
        Column("retr", 7, _of_stream(lambda report: _count(report.retransmits))),
        Column("age", 8, _of_both(lambda report: duration(report.age_s))),
    ]
    if datagrams:
        found[-2:-2] = _datagram_columns(measured)
    if messages:
        found[-2:-2] = [
            Column("msg out", 5, _of_stream(lambda report: _messages(report, report.messages_sent))),
            Column("msg in", 5, _of_stream(lambda report: _messages(report, report.messages_received))),
            Column("ping", 6, _of_stream(lambda report: _messages(report, report.ping_time_us, _microseconds))),
        ]
    wanted = {
        "rtt": {"rtt"},
        "bandwidth": {out, into},
        "queued": {"queued"},
        "bytes": {"sent", "received"},
        "drops": {"drops"},
    }
    sorted_by = wanted.get(sort or "", set())
    found = [replace(column, rank=1) if column.heading in sorted_by else column for column in found]
    if why:
        found.append(Column("why slow", 0, lambda row: row.report.why_slow, number=False))
    return found


def _datagram_columns(measured: bool) -> list[Column]:
    """Datagrams, in all or, where that was measured, per second; and what is lost here."""
    if measured:
        out = Column("dg/s out", 5, lambda row: _datagram_rate(row, row.rates.datagrams_outbound))
        into = Column("dg/s in", 5, lambda row: _datagram_rate(row, row.rates.datagrams_inbound))
    else:
        out = Column("dg out", 5, _of_datagrams(lambda report: _count(report.datagrams_sent)))
        into = Column("dg in", 5, _of_datagrams(lambda report: _count(report.datagrams_received)))
    waiting = Column("waiting", 5, _of_datagrams(lambda report: _count(report.waiting_datagrams)))
    return [out, into, waiting, Column("drops", 2, _of_datagrams(_drops))]


def fitting(chosen: Sequence[Column], rows: Sequence[Row], width: int) -> list[Column]:
    """Those columns that have room in `width` characters."""
    left = list(chosen)
    needed = sum(_width(column, rows) + _GAP for column in left) - _GAP
    while needed > width:
        last = max(reversed(left), key=lambda column: column.rank)
        if last.rank == 0:
            break
        left.remove(last)
        needed -= _width(last, rows) + _GAP
        if last.heading == "local":  # what has no peer would have no name any more
            at = next(index for index, column in enumerate(left) if column.heading == "peer")
            needed -= _width(left[at], rows)
            left[at] = replace(left[at], cell=_port_and_peer)
            needed += _width(left[at], rows)
    return left


def _port_and_peer(row: Row) -> str:
    """The peer; of what has none the local port, too."""
    report = row.report
    alone = isinstance(report, ListenerReport) or report.remote_address is None
    return (f":{report.local_port}, " if alone and report.local_port is not None else "") + _peer(report)


def _width(column: Column, rows: Sequence[Row]) -> int:
    if column.heading == "why slow":
        return 30
    from rich.cells import cell_len  # noqa: PLC0415 - only on a terminal

    return max([len(column.heading), *(cell_len(printable(column.cell(row))) for row in rows)])
