"""Service names: what is one, the SRV query it becomes, and the order of SRV records."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings import errors
from moorings.names.service_names import (
    SRV_LIMIT,
    SrvRecord,
    order_srv_records,
    parse_service_name,
    srv_query,
    usable_srv_records,
)


@pytest.mark.parametrize(("text", "port"), [("0", 0), ("80", 80), ("65535", 65535), ("080", 80), ("00080", 80)])
def test_numbers(text: str, port: int) -> None:
    assert parse_service_name(text) == (text, port)


@pytest.mark.parametrize(
    "text", ["http", "xmpp-client._service01", "_ldap", "whois++", "3com-tsmux", "z39.50", "X11", "a" * 62]
)
def test_names(text: str) -> None:
    assert parse_service_name(text) == (text, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-1",
        "+80",
        " 80",
        "80 ",
        "80\n",
        "65536",
        "000080",
        "99999999999999999999",
        "8 0",
        "80.5",
        "8_0",
        "0x50",
        "0x",
        "٨٠",
        "８０",
        "²",
        "http ",
        "http\x00",
        "bücher",
        "a..b",
        ".a",
        "a.",
        "-http",
        "a.-b",
        "a/b",
        "a" * 63,
        ".".join(["a" * 50] * 5),
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(OSError) as caught:
        parse_service_name(text, "StreamSocket.connect_async: remote service")
    assert caught.value.winerror == errors.E_INVALIDARG
    a_number = text.isascii() and text.isdigit()
    assert a_number == ("no port, which is a number from 0 to 65535" in str(caught.value))
    assert caught.value.reason.startswith("StreamSocket.connect_async: remote service")


@pytest.mark.parametrize("value", [None, 80, b"80"])
def test_wrong_types(value: object) -> None:
    with pytest.raises(TypeError):
        parse_service_name(value)  # type: ignore[arg-type]


@given(st.text(max_size=12))
def test_any_text_is_a_port_a_name_or_refused(text: str) -> None:
    try:
        name = parse_service_name(text)
    except OSError:
        test_refused(text)
        return
    assert text.isascii()
    if name.port is None:
        assert any(character.isalpha() for character in text)
        with pytest.raises(ValueError, match="invalid literal"):
            int(text)
    else:
        assert 0 <= name.port <= 65535
        assert text.isdecimal()


@pytest.mark.parametrize(
    ("service", "query"),
    [
        ("xmpp-client", "_xmpp-client._tcp.example.com"),
        ("xmpp-client._service01", "_xmpp-client._service01._tcp.example.com"),
        ("_ldap", "_ldap._tcp.example.com"),
    ],
)
def test_query(service: str, query: str) -> None:
    assert srv_query(service, "tcp", "example.com") == query
    assert srv_query(service, "udp", "example.com") == query.replace("_tcp", "_udp")


def record(priority: int, weight: int, name: str) -> SrvRecord:
    return SrvRecord(priority, weight, 80, name)


def test_lower_priority_first() -> None:
    records = [record(20, 100, "c"), record(10, 0, "a"), record(15, 0, "b")]
    for drawn in (min, max):
        ordered = order_srv_records(records, lambda low, high, drawn=drawn: drawn(low, high))
        assert [entry.target for entry in ordered] == ["a", "b", "c"]


def test_weights_are_shares() -> None:
    """Every number that can be drawn, once each: the shares of the first place are exact."""
    records = [record(0, 1, "one"), record(0, 3, "three"), record(0, 0, "none")]
    first = Counter[str]()
    for number in range(5):
        numbers = itertools.chain([number], itertools.repeat(0))
        first[order_srv_records(records, lambda *_, numbers=numbers: next(numbers))[0].target] += 1
    assert first == {"none": 1, "one": 1, "three": 3}


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 65535)), max_size=12),
    st.randoms(use_true_random=False),
)
def test_every_record_has_its_place(pairs: list[tuple[int, int]], random: object) -> None:
    records = [record(priority, weight, str(number)) for number, (priority, weight) in enumerate(pairs)]
    ordered = order_srv_records(records, random.randint)  # type: ignore[attr-defined]
    assert sorted(ordered) == sorted(records)
    assert [entry.priority for entry in ordered] == sorted(entry.priority for entry in records)


def test_no_records() -> None:
    with pytest.raises(OSError) as caught:
        usable_srv_records([], "_x._tcp.example.com")
    assert caught.value.winerror == errors.WSATYPE_NOT_FOUND
    assert "'_x._tcp.example.com'" in caught.value.reason


def test_a_single_dot_says_not_available() -> None:
    with pytest.raises(OSError) as caught:
        usable_srv_records([record(0, 0, "")], "_x._tcp.example.com")
    assert caught.value.winerror == errors.WSANO_DATA
    assert usable_srv_records([record(0, 0, ""), record(1, 0, "a")], "q") == [record(1, 0, "a")]


def test_a_flood_of_records_is_cut_at_the_end() -> None:
    flood = [record(1000 - number, 0, str(number)) for number in range(1000)]
    usable = usable_srv_records(flood, "q")
    assert len(usable) == SRV_LIMIT
    assert usable[0].priority == 1
