"""What a UDP socket does at this moment, as numbers, as a line for people, and as JSON."""

# pyright: reportPrivateUsage=false
# What the kernel dropped, only the descriptor tells.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from moorings.cli.statistics_line import Rates, amount, rounded
from moorings.engine.inspection import memory_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from moorings import DatagramSocket


class DatagramFacts(NamedTuple):
    """A UDP socket at one moment. Rates are those since the last look."""

    seconds: float
    datagrams_sent: int
    datagrams_received: int
    bytes_sent: int
    bytes_received: int
    datagrams_sent_per_second: float
    datagrams_received_per_second: float
    sent_per_second: float
    received_per_second: float
    #: By the kernel, whose buffer was full, and by this program.
    dropped: int
    #: What the network reported.
    errors: int
    queued_bytes: int

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return rounded(self._asdict())

    def line(self) -> str:
        """For people."""
        into = f"{amount(self.datagrams_received_per_second, 'pkt/s')} {amount(self.received_per_second, 'B/s')}"
        out = f"{amount(self.datagrams_sent_per_second, 'pkt/s')} {amount(self.sent_per_second, 'B/s')}"
        return (
            # A narrow terminal leaves out what stands at the end.
            f"{self.seconds:.1f} s: in {into}, out {out}; dropped {self.dropped}, errors {self.errors}; "
            f"received {amount(self.datagrams_received, 'pkt')}, sent {amount(self.datagrams_sent, 'pkt')}"
        )


class DatagramMeter:
    """Looks at one UDP socket now and then."""

    def __init__(self, datagrams: DatagramSocket, dropped: Callable[[], int] = int) -> None:
        """`dropped()` tells what the command itself has dropped."""
        self._socket = datagrams
        self._more_dropped = dropped
        self._rates = Rates()
        self._kernel_drops = 0

    def look(self) -> DatagramFacts:
        """The facts of now."""
        counters = self._socket.counters
        sent, received = counters.datagrams_sent, counters.datagrams_received
        bytes_sent, bytes_received = counters.bytes_sent, counters.bytes_received
        seconds, *rates = self._rates.look(sent, received, bytes_sent, bytes_received)
        return DatagramFacts(
            seconds=seconds,
            datagrams_sent=sent,
            datagrams_received=received,
            bytes_sent=bytes_sent,
            bytes_received=bytes_received,
            datagrams_sent_per_second=rates[0],
            datagrams_received_per_second=rates[1],
            sent_per_second=rates[2],
            received_per_second=rates[3],
            dropped=self.dropped(),
            errors=counters.errors,
            queued_bytes=counters.queued_bytes,
        )

    def dropped(self) -> int:
        """Datagrams that came and were dropped, or should have gone out and did not."""
        port = self._socket._link.port
        if port is not None and port.is_open():
            self._kernel_drops = memory_of(port.fd).drops or 0
        counters = self._socket.counters
        return self._kernel_drops + counters.dropped + counters.refused + self._more_dropped()

    def summary(self) -> dict[str, Any]:
        """All that has happened."""
        counters = self._socket.counters
        return {
            "seconds": self._rates.seconds(),
            "datagrams_sent": counters.datagrams_sent,
            "datagrams_received": counters.datagrams_received,
            "bytes_sent": counters.bytes_sent,
            "bytes_received": counters.bytes_received,
            "dropped": self.dropped(),
            "errors": counters.errors,
        }


def summary_line(summary: dict[str, Any]) -> str:
    """`DatagramMeter.summary` for people."""
    return (
        f"sent {_datagrams(summary['datagrams_sent'])} ({amount(summary['bytes_sent'], 'B')}), "
        f"received {_datagrams(summary['datagrams_received'])} ({amount(summary['bytes_received'], 'B')}) "
        f"in {summary['seconds']:.2f} s; dropped {summary['dropped']}, errors {summary['errors']}"
    )


def _datagrams(count: int) -> str:
    return "1 datagram" if count == 1 else f"{count:,} datagrams"
