"""What docs/monitoring.md says about fields, causes and metrics is what there is."""

from __future__ import annotations

import re

import pytest
from tests.docs.documents import code_words, read, table
from tests.monitoring import test_diagnosis
from tests.monitoring.samples import PROGRAM

from moorings import DatagramReport, ListenerReport, StreamReport
from moorings.monitoring import diagnosis, directory, gathering, lister, monitor, wire
from moorings.monitoring.open_metrics import open_metrics

PAGE = "docs/monitoring.md"


@pytest.mark.parametrize(
    ("heading", "report"), [("field", StreamReport), ("what", ListenerReport), ("figure", DatagramReport)]
)
def test_fields(heading: str, report: type[StreamReport] | type[ListenerReport] | type[DatagramReport]) -> None:
    named = [name for row in table(PAGE, heading, "meaning") for name in code_words(row[heading])]
    assert sorted(named) == sorted(report._fields)


def test_causes() -> None:
    said = [text for text, _ in (*test_diagnosis.STREAMS, *test_diagnosis.LISTENERS, *test_diagnosis.DATAGRAMS)]
    rows = [code_words(row["sentence"])[0] for row in table(PAGE, "sentence", "what to do")]
    assert [row for row in rows if not any(row in text for text in said)] == []
    assert [text for text in said if not any(row in text for row in rows)] == []
    # Two causes of full listeners share a row, and two of datagram sockets are those of streams.
    causes = {*diagnosis.STREAM_CAUSES, *diagnosis.LISTENER_CAUSES, *diagnosis.DATAGRAM_CAUSES}
    assert len(rows) >= len(causes) - 1


def test_names_of_metrics() -> None:
    prefixes = set(re.findall(r"`(moorings_\w+_)`", read(PAGE)))
    names = set(re.findall(r"^# TYPE (\w+)", open_metrics([PROGRAM]), re.MULTILINE)) - {"moorings_program_sockets"}
    assert names
    assert {name for name in names if not name.startswith(tuple(prefixes))} == set()


def test_bounds() -> None:
    bounds = " ".join(read(PAGE).partition("## Bounds")[2].split())
    assert (monitor.CLIENT_LIMIT, monitor.CLIENT_TIMEOUT, monitor.CLIENT_REQUESTS_LIMIT) == (8, 10, 16)
    assert "eight askers at a time, each for ten seconds and sixteen requests" in bounds
    assert f"{wire.SOCKET_LIMIT:,} sockets in {wire.ANSWER_LIMIT >> 20} MiB" in bounds
    assert (gathering.LOOP_DEADLINE, lister.ANSWER_DEADLINE) == (2, 5)
    assert f"asks {lister.PROGRAM_LIMIT} programs" in bounds
    assert directory.CLIENT_QUEUE == monitor.CLIENT_LIMIT
