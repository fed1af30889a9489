"""The exposition, as the parser of the Prometheus project reads it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.monitoring.samples import DATAGRAM, LISTENER, PROGRAM, STREAM

from moorings.monitoring.open_metrics import escaped, open_metrics

BUSY = STREAM._replace(
    round_trip_time_us=1500,
    bytes_sent=12,
    outbound_bits_per_second=8000,
    kernel_unread_bytes=5,
    unread_bytes=6,
    remote_address="fe80::1%eth0",
)


def parsed(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_nothing_at_all() -> None:
    assert open_metrics([]) == "# EOF\n"


def test_families_and_values() -> None:
    text = open_metrics([PROGRAM._replace(sockets=(BUSY, LISTENER))])
    assert text.endswith("\n# EOF\n")
    families = parsed(text)
    (trip,) = families["moorings_stream_round_trip_time_seconds"].samples
    assert trip.value == 0.0015
    assert families["moorings_stream_round_trip_time_seconds"].unit == "seconds"
    assert trip.labels == {
        "pid": "4711",
        "program": "sample",
        "socket": "7.1",
        "local": "127.0.0.1:40000",
        "remote": "[fe80::1%eth0]:1337",
    }
    sent = families["moorings_stream_sent_bytes"]
    assert (sent.type, sent.samples[0].name, sent.samples[0].value) == (
        "counter",
        "moorings_stream_sent_bytes_total",
        12,
    )
    assert families["moorings_stream_outbound_bytes_per_second"].samples[0].value == 1000
    assert families["moorings_stream_unread_bytes"].samples[0].value == 11
    assert families["moorings_listener_accepting"].samples[0].value == 1
    assert [sample.value for sample in families["moorings_program_sockets"].samples] == [1, 1, 0]


def test_families_of_datagram_sockets() -> None:
    ours = DATAGRAM._replace(datagrams_sent=3, bytes_sent=12, kernel_drops=4, queue_drops=5, age_s=1.5)
    connected = ours._replace(id="9.4", remote_address="::1", remote_port=9, kernel_drops=None)
    families = parsed(open_metrics([PROGRAM._replace(sockets=(ours, connected))]))
    first, second = families["moorings_datagram_sent_datagrams"].samples
    assert (first.name, first.value) == ("moorings_datagram_sent_datagrams_total", 3)
    assert first.labels == {"pid": "4711", "program": "sample", "socket": "8.3", "local": "[::]:1338"}
    assert second.labels["remote"] == "[::1]:9"
    assert [sample.value for sample in families["moorings_datagram_sent_bytes"].samples] == [12, 12]
    assert [sample.value for sample in families["moorings_datagram_kernel_drops"].samples] == [4]
    assert [sample.value for sample in families["moorings_datagram_queue_drops"].samples] == [5, 5]
    assert families["moorings_datagram_age_seconds"].samples[0].value == 1.5
    assert {sample.labels["kind"]: sample.value for sample in families["moorings_program_sockets"].samples} == {
        "stream": 0,
        "listener": 0,
        "datagram": 2,
    }


def test_what_is_not_known_is_left_out() -> None:
    families = parsed(open_metrics([PROGRAM]))
    assert "moorings_datagram_kernel_drops" not in families
    assert "moorings_stream_round_trip_time_seconds" not in families
    assert "moorings_stream_unread_bytes" not in families
    assert families["moorings_stream_queued_bytes"].samples[0].value == 0


def test_several_programs_stand_together() -> None:
    families = parsed(open_metrics([PROGRAM, PROGRAM._replace(pid=1), PROGRAM]))
    assert [sample.labels["pid"] for sample in families["moorings_stream_sent_bytes"].samples] == ["4711", "1"]


def test_escaping() -> None:
    assert escaped('a"b\\c\nd\ud800') == 'a\\"b\\\\c\\nd?'


@given(st.text(max_size=40), st.none() | st.text(max_size=40))
def test_any_name(name: str, address: str | None) -> None:
    sockets = (STREAM._replace(remote_address=address),)
    families = parsed(open_metrics([PROGRAM._replace(name=name, sockets=sockets)]))
    (sample,) = families["moorings_stream_sent_bytes"].samples
    assert sample.labels["program"] == name
