"""The order of addresses: RFC 6724 by its own examples, interleaving, spreading."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorings.names.address_order import interleave, rfc6724_key, spread


@pytest.mark.parametrize(
    "better_then_worse",
    [
        # The examples of RFC 6724 section 10.2 that need no deprecated, home or native addresses.
        [("2001:db8:1::1", "2001:db8:1::2"), ("198.51.100.121", "169.254.13.78")],
        [("198.51.100.121", "198.51.100.117"), ("2001:db8:1::1", "fe80::1")],
        [("2001:db8:1::1", "2001:db8:1::2"), ("10.1.2.3", "10.1.2.4")],
        [("fe80::1", "fe80::2"), ("2001:db8:1::1", "2001:db8:1::2")],
        [("2001:db8:1::1", "2001:db8:1::2"), ("2001:db8:3ffe::1", "2001:db8:3f44::2")],
        [("2002:c633:6401::1", "2002:c633:6401::2"), ("2001:db8:1::1", "2002:c633:6401::2")],
        [("2001:db8:1::1", "2001:db8:1::2"), ("2002:c633:6401::1", "2002:c633:6401::2")],
        # Rule 1 comes before all others; a scope id does not matter.
        [("198.51.100.121", "198.51.100.117"), ("::1", None)],
        [("::1", "::1"), ("127.0.0.1", "127.0.0.1")],
        [("fe80::1%eth0", "fe80::2%eth0"), ("2001:db8::1", None)],
        [("ff02::1", "fe80::1"), ("ff0e::1", "2001:db8::1")],
        [("2001:db8::1", "2001:db8::2"), ("fd00::1", "fd00::2")],
        [("2001:db8::1", "2001:db8::2"), ("fec0::1", "fec0::2")],
    ],
)
def test_better_comes_first(better_then_worse: list[tuple[str, str | None]]) -> None:
    for order in itertools.permutations(better_then_worse):
        assert sorted(order, key=lambda pair: rfc6724_key(*pair)) == better_then_worse


def test_ipv4_addresses_of_a_name_keep_their_order() -> None:
    first, second = rfc6724_key("192.0.2.1", "192.0.2.9"), rfc6724_key("198.51.100.1", "192.0.2.9")
    assert first == second


@given(st.ip_addresses(), st.one_of(st.none(), st.ip_addresses()))
def test_every_pair_of_addresses_has_a_key(destination: object, source: object) -> None:
    assert len(rfc6724_key(str(destination), None if source is None else str(source))) == 6


def test_no_address() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        rfc6724_key("example.com", None)


def test_interleave() -> None:
    assert interleave(["6a", "6b", "6c", "4a", "4b"], lambda item: item[0]) == ["6a", "4a", "6b", "4b", "6c"]
    assert interleave(["4a", "6a"], lambda item: item[0]) == ["4a", "6a"]
    assert interleave([], lambda item: item) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers())))
def test_interleave_keeps_items_and_order_within_a_group(items: list[tuple[int, int]]) -> None:
    mixed = interleave(items, lambda item: item[0])
    assert sorted(mixed) == sorted(items)
    for group in range(4):
        assert [item for item in mixed if item[0] == group] == [item for item in items if item[0] == group]


def test_spread_takes_untried_ends_first() -> None:
    pairs = [("S1", "D1"), ("S1", "D2"), ("S2", "D1"), ("S2", "D2")]
    assert spread(pairs, lambda pair: pair) == [("S1", "D1"), ("S2", "D2"), ("S1", "D2"), ("S2", "D1")]
    assert spread([("S", "D")] * 3, lambda pair: pair) == [("S", "D")] * 3
    assert spread([], lambda pair: pair) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12))
def test_spread_loses_nothing(pairs: list[tuple[int, int]]) -> None:
    ordered = spread(pairs, lambda pair: pair)
    assert sorted(ordered) == sorted(pairs)
    assert ordered[:1] == pairs[:1]
