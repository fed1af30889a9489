"""Figures as people read them, rates from differences, and what fits on a screen."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from tests.monitoring.samples import DATAGRAM, LISTENER, PROGRAM, STREAM

from moorings.cli import socket_table as table
from moorings.cli.socket_table import Meter, Rates, Row

if TYPE_CHECKING:
    from moorings.monitoring.reports import SocketReport


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0"),
        (1023, "1023"),
        (1024, "1.0 KiB"),
        (200_000, "195 KiB"),
        (5 << 20, "5.0 MiB"),
        (3 << 30, "3.0 GiB"),
        (1 << 52, "4,096.0 TiB"),
    ],
)
def test_sizes(count: int | None, text: str) -> None:
    assert table.size(count) == text


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (None, "-"),
        (0.0, "0 bit/s"),
        (999.0, "999 bit/s"),
        (1500.0, "1.5 kbit/s"),
        (250e6, "250 Mbit/s"),
        (1e13, "10,000.0 Gbit/s"),
    ],
)
def test_rates(bits: float | None, text: str) -> None:
    assert table.rate(bits) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.000015, "15 µs"),
        (0.0123, "12.3 ms"),
        (5.4, "5 s"),
        (600.0, "10 min"),
        (360_000.0, "100 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert table.duration(seconds) == text


def test_places() -> None:
    assert table.place("::1", 5) == "[::1]:5"
    assert table.place("127.0.0.1", 5) == "127.0.0.1:5"
    assert table.place(None, 5) == table.place("::1", None) == "-"


def look(meter: Meter, at: float, sent: int, received: int, **figures: str) -> Rates:
    stream = STREAM._replace(bytes_sent=sent, bytes_received=received, **figures)
    return meter.rows([PROGRAM._replace(taken_at_s=at, sockets=(LISTENER, stream))])[1].rates


def test_rates_are_differences() -> None:
    meter = Meter()
    assert look(meter, 10, 1000, 0) == Rates(None, None)
    assert look(meter, 12, 1500, 4) == Rates(2000.0, 16.0)
    assert look(meter, 13, 1500, 4) == Rates(0.0, 0.0)


@pytest.mark.parametrize(
    ("at", "sent", "name"), [(10.0, 1000, "7.1"), (9.0, 1000, "7.1"), (11.0, 0, "7.1"), (11.0, 9, "7.2")]
)
def test_what_gives_no_rate(at: float, sent: int, name: str) -> None:
    meter = Meter()
    look(meter, 10, 1000, 0)
    assert look(meter, at, sent, 0, id=name) == Rates(None, None)


def test_rates_of_datagrams() -> None:
    meter = Meter()
    for at, datagrams in ((10, 5), (12, 205)):
        ours = DATAGRAM._replace(bytes_received=datagrams * 100, datagrams_received=datagrams)
        rates = meter.rows([PROGRAM._replace(taken_at_s=at, sockets=(ours,))])[0].rates
    assert rates == Rates(0.0, 80_000.0, 0.0, 100.0)
    stream = STREAM._replace(id=DATAGRAM.id)  # the same name, and something else
    assert meter.rows([PROGRAM._replace(taken_at_s=13, sockets=(stream,))])[0].rates == Rates()


def test_order() -> None:
    slow = STREAM._replace(id="slow", round_trip_time_us=900, bytes_sent=1)
    busy = STREAM._replace(id="busy", round_trip_time_us=5, bytes_received=7, outbound_bits_per_second=8)
    stuck = STREAM._replace(id="stuck", queued_bytes=5, inbound_bits_per_second=3)
    lossy = DATAGRAM._replace(id="lossy", queue_drops=1, kernel_drops=2, bytes_sent=3, kernel_unsent_bytes=4)
    late = DATAGRAM._replace(id="late", queue_drops=2)
    program = PROGRAM._replace(sockets=(LISTENER, slow, busy, stuck, late, lossy))
    rows = table.estimates([program])

    def first(sort: str | None) -> str:
        return table.in_order(rows, sort)[0].report.id

    assert [first(sort) for sort in (None, *table.SORTS)] == [LISTENER.id, "slow", "busy", "stuck", "busy", "lossy"]
    assert table.in_order(rows, "rtt")[-1].report == LISTENER
    assert [row.report.id for row in table.in_order(rows, "drops")[:2]] == ["lossy", "late"]
    assert [row.report.id for row in table.in_order(rows, "queued")[:2]] == ["stuck", "lossy"]


def headings(width: int, sort: str | None = None) -> list[str]:
    rows = [Row(PROGRAM, STREAM, Rates()), Row(PROGRAM, LISTENER, Rates())]
    chosen = table.columns(measured=True, why=False, sort=sort)
    return [column.heading for column in table.fitting(chosen, rows, width)]


def test_what_fits() -> None:
    assert len(headings(1000)) == 13
    assert headings(1) == ["program", "peer"]
    assert {"out", "in"} < set(headings(70, "bandwidth"))
    assert {"sent", "received"} < set(headings(70, "bytes"))
    shrinking = [headings(width) for width in range(200, 0, -1)]
    gone = [set(wider) - set(narrower) for wider, narrower in pairwise(shrinking)]
    assert [name for names in gone for name in names] == [
        *("age", "retr", "received", "sent", "local", "unread", "state", "in", "out", "queued", "rtt")
    ]


@pytest.mark.parametrize(
    ("report", "wide", "narrow"),
    [
        (LISTENER, "0 open", ":1337, 0 open"),
        (LISTENER._replace(local_port=None), "0 open", "0 open"),
        (DATAGRAM, "any (UDP)", ":1338, any (UDP)"),
        (STREAM, "-> 127.0.0.1:1337", "-> 127.0.0.1:1337"),
    ],
)
def test_what_has_no_peer_keeps_its_port_on_a_narrow_screen(report: SocketReport, wide: str, narrow: str) -> None:
    row = Row(PROGRAM, report, Rates())
    chosen = table.columns(measured=True, why=False, sort=None, datagrams=True)
    for width, expected in ((1000, wide), (40, narrow)):
        shown = {column.heading: column.cell(row) for column in table.fitting(chosen, [row], width)}
        assert shown["peer"] == expected
        assert ("local" in shown) == (width == 1000)
        assert sum(max(len(heading), len(cell)) + 2 for heading, cell in shown.items()) - 2 <= width


def test_columns_of_datagrams() -> None:
    assert [table.has_datagrams([Row(PROGRAM, one, Rates())]) for one in PROGRAM.sockets] == [False, False, True]
    ours = DATAGRAM._replace(
        datagrams_sent=1200, waiting_datagrams=3, queue_drops=4, kernel_drops=5, kernel_unread_bytes=2048, age_s=3.0
    )
    row = Row(PROGRAM, ours, Rates(8.0, None, 1234.5, None))
    cells = {
        column.heading: column.cell(row)
        for measured in (False, True)
        for column in table.columns(measured=measured, why=False, sort=None, datagrams=True)
    }
    assert cells | {"program": ""} == {
        "program": "",
        "local": "[::]:1338",
        "peer": "any (UDP)",
        "state": "receiving",
        "rtt": "",
        "est. out": "8 bit/s",
        "est. in": "-",
        "out": "8 bit/s",
        "in": "-",
        "sent": "0",
        "received": "0",
        "queued": "0",
        "unread": "2.0 KiB",
        "dg out": "1,200",
        "dg in": "0",
        "dg/s out": "1,234",
        "dg/s in": "-",
        "waiting": "3",
        "drops": "9",
        "retr": "",
        "age": "3 s",
    }
    columns = {
        column.heading: column for column in table.columns(measured=True, why=False, sort="drops", datagrams=True)
    }
    unknown = ours._replace(remote_address="127.0.0.1", remote_port=9, kernel_drops=None)
    assert columns["drops"].cell(Row(PROGRAM, unknown, Rates())) == "4+"
    assert columns["peer"].cell(Row(PROGRAM, unknown, Rates())) == "-> 127.0.0.1:9 (UDP)"
    assert columns["drops"].rank == 1
    for other in (STREAM, LISTENER):
        cells = {heading: columns[heading].cell(Row(PROGRAM, other, Rates())) for heading in columns}
        assert cells["drops"] == cells["waiting"] == cells["dg/s out"] == cells["dg/s in"] == ""


def test_columns_of_web_sockets() -> None:
    ours = STREAM._replace(messages_received=1200, messages_sent=3, waiting_messages=0, ping_time_us=1500)
    rows = [Row(PROGRAM, report, Rates()) for report in (ours, ours._replace(ping_time_us=None), STREAM, DATAGRAM)]
    assert [table.has_messages([row]) for row in rows] == [True, True, False, False]
    columns = {column.heading: column for column in table.columns(measured=True, why=False, sort=None, messages=True)}
    assert [columns["msg in"].cell(row) for row in rows] == ["1,200", "1,200", "", ""]
    assert [columns["msg out"].cell(row) for row in rows] == ["3", "3", "", ""]
    assert [columns["ping"].cell(row) for row in rows] == ["1.5 ms", "-", "", ""]
    assert columns["peer"].cell(rows[0]) == "-> 127.0.0.1:1337 (WS)"


def test_cells() -> None:
    columns = {column.heading: column for column in table.columns(measured=False, why=True, sort=None)}
    assert {"est. out", "est. in", "why slow"} < set(columns)
    long_name = PROGRAM._replace(name="x" * 100)
    half_closed = STREAM._replace(accepted=True, tcp_state="CLOSE_WAIT", retransmits=1000)
    stream, listener = Row(long_name, half_closed, Rates()), Row(PROGRAM, LISTENER._replace(max_connections=9), Rates())
    assert columns["program"].cell(stream) == f"{'x' * 23}… (4711)"
    assert columns["peer"].cell(stream) == "<- 127.0.0.1:1337"
    assert columns["state"].cell(stream) == "close_wait"
    assert columns["retr"].cell(stream) == "1,000"
    assert columns["peer"].cell(listener) == "0 of 9 open"
    assert columns["state"].cell(listener) == "accepting"
    assert columns["rtt"].cell(listener) == columns["est. out"].cell(listener) == ""
