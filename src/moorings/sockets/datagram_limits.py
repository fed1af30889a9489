"""Limits and counters of one DatagramSocket, by name."""

from __future__ import annotations

import sys
from operator import index
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from moorings.sockets.datagram_link import DatagramLink


class DatagramCounters(NamedTuple):
    """What a DatagramSocket has done and holds at this moment, or at its end."""

    datagrams_received: int
    """Datagrams taken from the kernel."""
    datagrams_sent: int
    """Datagrams handed to the kernel."""
    bytes_received: int
    """Their bytes."""
    bytes_sent: int
    """Their bytes."""
    receive_calls: int
    """System calls that received."""
    send_calls: int
    """System calls that sent."""
    segmented: int
    """Datagrams that the kernel took in a segmented send (GSO)."""
    coalesced: int
    """Datagrams that came coalesced with others of their sender (GRO)."""
    dropped: int
    """Datagrams dropped because nobody took them in time."""
    refused: int
    """Datagrams refused: writes when the queue was full, unicast ones with `control.multicast_only`."""
    errors: int
    """Failures that the network reported."""
    pinned: int
    """Blocks of memory that were left to kept datagrams."""
    queued_bytes: int
    """Bytes of writes that the kernel has not taken yet, with what each costs."""
    queued_datagrams: int
    """Writes that the kernel has not taken yet."""
    groups: int
    """Groups that it wants to be in, each with its source and interface counted for itself."""
    group_rejoins: int
    """Times that a group was joined on an interface that came, or came back, later than the join."""
    group_failures: int
    """Interfaces on which the kernel refused a group that is wanted there, mostly for its limit on groups."""


class DatagramLimits:
    """Limits of one DatagramSocket; each may be changed at any time.

    Errors of the setters: TypeError and ValueError for what is no number, or out of range.
    """

    __slots__ = ("_link",)

    def __init__(self, link: DatagramLink) -> None:
        self._link = link

    @property
    def write_queue_limit(self) -> int:
        """Bytes that un-awaited writes may hold before a further one fails with WSAENOBUFS; default 16 MiB."""
        return self._link.write_queue_limit

    @write_queue_limit.setter
    def write_queue_limit(self, value: int) -> None:
        link = self._link
        link.write_queue_limit = _number(value, "write_queue_limit", 0)
        if link.port is not None:
            link.port.queue_limit = link.write_queue_limit

    @property
    def receive_queue_limit(self) -> int:
        """Datagrams that wait for `receive`, or for handlers on worker threads, before some are dropped; default 1024.

        One that is lowered drops nothing that waits already.
        """
        return self._link.receive_queue_limit

    @receive_queue_limit.setter
    def receive_queue_limit(self, value: int) -> None:
        link = self._link
        link.receive_queue_limit = _number(value, "receive_queue_limit", 1)
        if link.port is not None:
            link.port.queue_length_limit = link.receive_queue_limit

    @property
    def drop_policy(self) -> Literal["oldest", "newest"]:
        """Which datagram is dropped when that queue is full: the "oldest" that waits (default), or the "newest"."""
        return "newest" if self._link.drop_newest else "oldest"

    @drop_policy.setter
    def drop_policy(self, value: Literal["oldest", "newest"]) -> None:
        if value not in {"oldest", "newest"}:
            raise ValueError('drop_policy must be "oldest" or "newest"')
        link = self._link
        link.drop_newest = value == "newest"
        if link.port is not None:
            link.port.drop_newest = link.drop_newest


def _number(value: int, name: str, smallest: int) -> int:
    number = index(value)
    if not smallest <= number <= sys.maxsize:
        raise ValueError(f"{name} must be a number from {smallest}")
    return number


def datagram_counters(link: DatagramLink) -> DatagramCounters:
    """The counters of a socket; zeros before it is bound."""
    port = link.port
    if port is None:
        return DatagramCounters(*(0,) * len(DatagramCounters._fields))
    groups = link.groups
    return DatagramCounters(
        port.datagrams_received,
        port.datagrams_sent,
        port.bytes_received,
        port.bytes_sent,
        port.receive_calls,
        port.send_calls,
        port.segmented_sent,
        port.coalesced_received,
        port.datagrams_dropped,
        port.writes_refused + link.multicast_refused,
        port.errors_received,
        port.pinned,
        port.queued_bytes,
        port.queued_count,
        0 if groups is None else len(groups),
        0 if groups is None else groups.rejoins,
        0 if groups is None else groups.failures,
    )
