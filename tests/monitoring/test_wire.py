"""Requests and answers: what is understood, and that nothing else gets through."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.monitoring.samples import DATAGRAM, LISTENER, PROGRAM, STREAM

from moorings.monitoring import wire
from moorings.monitoring.reports import KINDS, DatagramReport, ProgramSnapshot, StreamReport
from moorings.monitoring.wire import BadAnswerError, BadRequestError, Request

ANSWER = b"".join(wire.answer(PROGRAM, wire.SOCKET_LIMIT))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
FEW = settings(max_examples=60)


# -- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        (b'{"get": "sockets"}', wire.SOCKET_LIMIT),
        (b' {"get":"sockets","limit":0}\r', 0),
        (b'{"get":"sockets","limit":7}', 7),
        (b'{"get":"sockets","limit":1000000}', wire.SOCKET_LIMIT),
    ],
)
def test_good_requests(line: bytes, limit: int) -> None:
    assert wire.parse_request(line) == Request(limit)


def test_own_requests_are_good() -> None:
    assert wire.parse_request(wire.request_line().removesuffix(b"\n")) == Request()
    assert wire.parse_request(wire.request_line(3).removesuffix(b"\n")) == Request(3)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"sockets",
        b"null",
        b"[]",
        b'"get"',
        b"{}",
        b'{"get": "files"}',
        b'{"get": ["sockets"]}',
        b'{"get": "sockets", "limit": -1}',
        b'{"get": "sockets", "limit": true}',
        b'{"get": "sockets", "limit": 1.5}',
        b'{"get": "sockets", "limit": "1"}',
        b'{"get": "sockets", "limit": ' + b"9" * 900 + b"}",
        b'{"get": "sockets", "limit": NaN}',
        b'{"get": "sockets", "path": "/etc/passwd"}',
        b'{"get": "sockets"}{"get": "sockets"}',
        b"[" * 1024,
        b'{"get": "s\xc3\xb6ckets"}',
        b"\x00" * 20,
        b" " * 1025,
        b'{"get": "sockets"}' + b" " * 2000,
    ],
)
def test_bad_requests(line: bytes) -> None:
    with pytest.raises(BadRequestError) as caught:
        wire.parse_request(line)
    assert json.loads(wire.error_line(str(caught.value)))["error"]


def ask_anything(line: bytes) -> None:
    try:
        request = wire.parse_request(line)
    except BadRequestError:
        return
    assert 0 <= request.limit <= wire.SOCKET_LIMIT


@FEW
@given(st.binary(max_size=1100))
def test_any_bytes_as_request(line: bytes) -> None:
    ask_anything(line)


@FEW
@given(JSON)
def test_any_json_as_request(value: object) -> None:
    ask_anything(json.dumps(value).encode())
    ask_anything(json.dumps({"get": "sockets", "limit": value}).encode())


@FEW
@given(st.integers(0, 40), st.integers(0, 3), st.binary(max_size=4))
def test_changed_requests(position: int, removed: int, added: bytes) -> None:
    line = wire.request_line(100)
    ask_anything(line[:position] + added + line[position + removed :])


# -- answers ---------------------------------------------------------------------------------------------------------

NUMBERS = st.none() | st.integers(0, (1 << 64) - 1)
TEXTS = st.text(max_size=8)


@FEW
@given(TEXTS, NUMBERS, st.none() | st.floats(allow_nan=False, allow_infinity=False))
def test_answers_come_back_as_they_were(name: str, number: int | None, seconds: float | None) -> None:
    stream = STREAM._replace(id=name, round_trip_time_us=number, age_s=seconds, host_name=name, accepted=True)
    datagram = DATAGRAM._replace(id=name, age_s=seconds, kernel_drops=number, send_blocked=True)
    snapshot = ProgramSnapshot(1, name, "1", 2.5, (stream, LISTENER._replace(max_connections=number), datagram), 3, 4)
    line = b"".join(wire.answer(snapshot, wire.SOCKET_LIMIT))
    assert line.count(b"\n") == 1
    assert wire.parse_answer(line) == snapshot


def test_what_has_no_place_is_counted() -> None:
    snapshot = PROGRAM._replace(sockets=(STREAM,) * 100, truncated=5)
    answer = wire.parse_answer(b"".join(wire.answer(snapshot, 30)))
    assert (len(answer.sockets), answer.truncated) == (30, 75)
    line = b"".join(wire.answer(snapshot, wire.SOCKET_LIMIT, size_limit=5000))
    answer = wire.parse_answer(line)
    assert len(line) <= 5000
    assert 0 < len(answer.sockets) < 100
    assert len(answer.sockets) + answer.truncated == 105


def changed(**values: object) -> bytes:
    document = json.loads(ANSWER)
    document.update(values)
    return json.dumps(document).encode()


def with_value(name: str, value: object, kind: str = "stream") -> bytes:
    document = json.loads(ANSWER)
    row = document["sockets"][list(KINDS).index(kind)]
    assert row[0] == kind
    row[1 + document["fields"][kind].index(name)] = value
    return json.dumps(document).encode()


def test_answers_of_other_versions() -> None:
    document = json.loads(ANSWER)
    document["fields"]["stream"].append("colour")
    document["sockets"][0].append({"red": 1})
    document["fields"]["semaphore"] = ["id"]
    document["sockets"].append(["semaphore", 7])
    document["future"] = [1]
    index = document["fields"]["stream"].index("age_s")
    del document["fields"]["stream"][index]
    del document["sockets"][0][1 + index]
    assert wire.parse_answer(json.dumps(document).encode()) == PROGRAM


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b"{}",
        b'{"protocol": 1}',
        ANSWER[:-20],
        ANSWER.replace(b'"taken_at_s": 1.5', b'"taken_at_s": NaN'),
        ANSWER.replace(b'"taken_at_s": 1.5', b'"taken_at_s": 1e999'),
        changed(protocol=2),
        changed(pid="1"),
        changed(pid=True),
        changed(pid=1 << 64),
        changed(name=None),
        changed(name="x" * 2000),
        changed(truncated=None),
        changed(fields=None),
        changed(fields={"stream": [1]}),
        changed(fields={"stream": []}),
        changed(sockets={}),
        changed(sockets=[1]),
        changed(sockets=[[]]),
        changed(sockets=[[["stream"]]]),
        changed(sockets=[["stream"]]),
        with_value("id", 1),
        with_value("bytes_sent", None),
        with_value("bytes_sent", 1.5),
        with_value("bytes_sent", True),
        with_value("age_s", "old"),
        with_value("local_port", []),
        with_value("accepted", 1),
        with_value("send_blocked", 0, "datagram"),
        with_value("drop_policy", None, "datagram"),
        with_value("kernel_drops", 1.5, "datagram"),
        with_value("receive_queue_limit_datagrams", "9", "datagram"),
    ],
)
def test_bad_answers(line: bytes) -> None:
    with pytest.raises(BadAnswerError):
        wire.parse_answer(line)


def test_an_answer_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "ANSWER_LIMIT", len(ANSWER) - 1)
    with pytest.raises(BadAnswerError, match="too long"):
        wire.parse_answer(ANSWER)


def test_what_the_program_says_is_wrong() -> None:
    with pytest.raises(BadAnswerError, match="it says: no such thing"):
        wire.parse_answer(wire.error_line("no such thing"))


def read_anything(line: bytes) -> None:
    try:
        snapshot = wire.parse_answer(line)
    except BadAnswerError:
        return
    assert isinstance(snapshot.name, str)
    for report in snapshot.sockets:
        assert isinstance(report.why_slow, str)


@FEW
@given(st.integers(0, len(ANSWER)), st.integers(0, 6), st.binary(max_size=6))
def test_changed_answers(position: int, removed: int, added: bytes) -> None:
    read_anything(ANSWER[:position] + added + ANSWER[position + removed :])


@FEW
@given(st.sampled_from(sorted(json.loads(ANSWER))), JSON)
def test_any_json_as_part_of_an_answer(field: str, value: object) -> None:
    read_anything(changed(**{field: value}))


@FEW
@given(st.sampled_from(StreamReport._fields), JSON)
def test_any_json_as_a_figure(field: str, value: object) -> None:
    read_anything(with_value(field, value))


@FEW
@given(st.sampled_from(DatagramReport._fields), JSON)
def test_any_json_as_a_figure_of_datagrams(field: str, value: object) -> None:
    read_anything(with_value(field, value, "datagram"))


def test_each_kind_comes_back() -> None:
    answer = wire.parse_answer(ANSWER)
    assert (answer.streams, answer.listeners, answer.datagram_sockets) == ([STREAM], [LISTENER], [DATAGRAM])
