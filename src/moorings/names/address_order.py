"""The order in which to try addresses: RFC 6724, and two ways to spread the risk. Pure functions.

`getaddrinfo` sorts the addresses of one name itself. This is for pairs that come from elsewhere.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

T = TypeVar("T")

_Key = tuple[bool, bool, bool, int, int, int]

_SCOPE_LINK_LOCAL = 0x2
_SCOPE_SITE_LOCAL = 0x5
_SCOPE_GLOBAL = 0xE
# No more of an address than its network part says anything about the way there.
_PREFIX_BITS = 64

#: Prefix, precedence, label; the longest prefix counts. Source: RFC 6724 section 2.1.
_POLICY: tuple[tuple[ipaddress.IPv6Network, int, int], ...] = tuple(
    (ipaddress.IPv6Network(prefix), precedence, label)
    for prefix, precedence, label in (
        ("::1/128", 50, 0),
        ("::ffff:0:0/96", 35, 4),
        ("::/96", 1, 3),
        ("2001::/32", 5, 5),
        ("2002::/16", 30, 2),
        ("3ffe::/16", 1, 12),
        ("fec0::/10", 1, 11),
        ("fc00::/7", 3, 13),
        ("::/0", 40, 1),
    )
)
_V4_LINK_LOCAL = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv4Network("169.254.0.0/16"))
_SITE_LOCAL = ipaddress.IPv6Network("fec0::/10")


def rfc6724_key(destination: str, source: str | None) -> _Key:
    """A sort key for one destination address and the source address that the system would use towards it.

    `source` is None where there is no way to the destination. Rules 3, 4 and 7 are left out: they need to know about
    deprecated addresses, home addresses and tunnels. Rule 9 holds for IPv6 only, as in the text of the RFC. Raises
    ValueError for a text that is no address.
    """
    to = _as_ipv6(destination)
    precedence, to_label = _policy(to)
    to_scope = _scope(to)
    if source is None:
        return (True, True, True, -precedence, to_scope, 0)
    start = _as_ipv6(source)
    _, from_label = _policy(start)
    common = 0 if to.ipv4_mapped is not None else _common_prefix_length(start, to)
    return (False, _scope(start) != to_scope, from_label != to_label, -precedence, to_scope, -common)


def interleave(items: Iterable[T], group: Callable[[T], Hashable]) -> list[T]:
    """Take one of each group in turn, the groups in the order in which they appear (RFC 8305 section 4)."""
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(group(item), []).append(item)
    turns = max((len(members) for members in groups.values()), default=0)
    return [members[turn] for turn in range(turns) for members in groups.values() if turn < len(members)]


def spread(items: Sequence[T], ends: Callable[[T], tuple[Hashable, Hashable]]) -> list[T]:
    """Put items first whose two ends (source and destination) were tried least so far; equal ones keep their order.

    After S1 to D1 comes S2 to D2, if there is one. Source: WinRT HostNameSortOptions.None.
    """
    left = list(items)
    tried: Counter[tuple[int, Hashable]] = Counter()
    ordered: list[T] = []
    while left:
        position = min(range(len(left)), key=lambda index: sum(tried[end] for end in enumerate(ends(left[index]))))
        item = left.pop(position)
        tried.update(enumerate(ends(item)))
        ordered.append(item)
    return ordered


def _as_ipv6(text: str) -> ipaddress.IPv6Address:
    """The address without its scope; an IPv4 address in its IPv6-mapped form, as the policy table wants it."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return ipaddress.IPv6Address(f"::ffff:{address}") if isinstance(address, ipaddress.IPv4Address) else address


def _policy(address: ipaddress.IPv6Address) -> tuple[int, int]:
    # The table is ordered by length of the prefixes, and ends with one that fits everything.
    return next((precedence, label) for prefix, precedence, label in _POLICY if address in prefix)


def _scope(address: ipaddress.IPv6Address) -> int:
    """How far an address reaches. Source: RFC 6724 sections 3.1 and 3.2."""
    mapped = address.ipv4_mapped
    if mapped is not None:
        return _SCOPE_LINK_LOCAL if any(mapped in network for network in _V4_LINK_LOCAL) else _SCOPE_GLOBAL
    if address.is_multicast:
        return address.packed[1] & 0xF
    if address.is_link_local or address.is_loopback:
        return _SCOPE_LINK_LOCAL
    return _SCOPE_SITE_LOCAL if address in _SITE_LOCAL else _SCOPE_GLOBAL


def _common_prefix_length(first: ipaddress.IPv6Address, second: ipaddress.IPv6Address) -> int:
    return min(128 - (int(first) ^ int(second)).bit_length(), _PREFIX_BITS)
