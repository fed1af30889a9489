"""What a WebSocket does at this moment, as numbers, as a line for people, and as JSON."""

# pyright: reportPrivateUsage=false
# Why it ended, the stream below knows.

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from moorings.cli.statistics_line import Rates, amount, bandwidth_text, milliseconds, rounded, showing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from moorings.cli.statistics_line import Reporter, Telling


class MessageFacts(NamedTuple):
    """A WebSocket at one moment. Rates are those since the last look; 0 where nothing is known."""

    seconds: float
    messages_sent: int
    messages_received: int
    bytes_sent: int
    bytes_received: int
    messages_sent_per_second: float
    messages_received_per_second: float
    sent_per_second: float
    received_per_second: float
    #: Of the last ping that was answered.
    round_trip_time_us: int
    outbound_bits_per_second: int
    inbound_bits_per_second: int
    queued_bytes: int

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return rounded(self._asdict())

    def line(self) -> str:
        """For people."""
        times = milliseconds(self.round_trip_time_us / 1e6) if self.round_trip_time_us else "unknown"
        out = f"{amount(self.messages_sent_per_second, 'msg/s')} {amount(self.sent_per_second, 'B/s')} out"
        into = f"{amount(self.messages_received_per_second, 'msg/s')} {amount(self.received_per_second, 'B/s')} in"
        return (
            # A narrow terminal leaves out what stands at the end.
            f"{self.seconds:.1f} s: RTT {times}; {out}, {into}; queue {amount(self.queued_bytes, 'B')}; "
            f"sent {messages(self.messages_sent)}, received {messages(self.messages_received)}; "
            f"bandwidth {bandwidth_text(self.outbound_bits_per_second, self.inbound_bits_per_second)}"
        )


class MessageMeter:
    """Looks at one WebSocket now and then. Bytes are those of the connection, frames and all."""

    def __init__(self, web_socket: Any) -> None:
        self._web_socket = web_socket
        self._rates = Rates()

    def look(self) -> MessageFacts:
        """The facts of now."""
        counters = self._web_socket.counters
        sent, received = counters.messages_sent, counters.messages_received
        bytes_sent, bytes_received = counters.bytes_sent, counters.bytes_received
        seconds, *rates = self._rates.look(sent, received, bytes_sent, bytes_received)
        width = self._web_socket.information.bandwidth_statistics
        return MessageFacts(
            seconds=seconds,
            messages_sent=sent,
            messages_received=received,
            bytes_sent=bytes_sent,
            bytes_received=bytes_received,
            messages_sent_per_second=rates[0],
            messages_received_per_second=rates[1],
            sent_per_second=rates[2],
            received_per_second=rates[3],
            round_trip_time_us=round(self._web_socket.latency * 1e6),
            outbound_bits_per_second=width.outbound_bits_per_second,
            inbound_bits_per_second=width.inbound_bits_per_second,
            queued_bytes=counters.queued_bytes,
        )

    def summary(self) -> dict[str, Any]:
        """All that has happened."""
        web_socket = self._web_socket
        counters = web_socket.counters
        return {
            "seconds": self._rates.seconds(),
            "messages_sent": counters.messages_sent,
            "messages_received": counters.messages_received,
            "bytes_sent": counters.bytes_sent,
            "bytes_received": counters.bytes_received,
            "round_trip_time_us": round(web_socket.latency * 1e6),
            "close_code": web_socket.close_code,
            "close_reason": web_socket.close_reason,
            "end_reason": str(web_socket._link.stream.end_reason),
        }


def summary_line(summary: dict[str, Any]) -> str:
    """`MessageMeter.summary` for people."""
    usual = summary["round_trip_time_us"] / 1e6
    times = f"; RTT {milliseconds(usual)}" if usual else ""
    return (
        f"sent {messages(summary['messages_sent'])} ({amount(summary['bytes_sent'], 'B')}), "
        f"received {messages(summary['messages_received'])} ({amount(summary['bytes_received'], 'B')}) "
        f"in {summary['seconds']:.2f} s{times}"
    )


def messages(count: int) -> str:
    """A number of messages."""
    return "1 message" if count == 1 else f"{count:,} messages"


@asynccontextmanager
async def measuring(web_socket: Any, telling: Telling, reporter: Reporter) -> AsyncGenerator[MessageMeter]:
    """Statistics while the block runs, if they are wanted, with a ping for each; and a summary at its end."""
    meter = MessageMeter(web_socket)
    pinging = asyncio.create_task(_ping(web_socket, telling.interval)) if telling.stats else None
    try:
        async with showing(meter, telling, reporter):
            yield meter
    finally:
        if pinging is not None:
            pinging.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await pinging
        if telling.stats or telling.as_json:
            summary = meter.summary()
            reporter.say("summary", summary_line(summary), **summary)


async def _ping(web_socket: Any, interval: float) -> None:
    while True:
        await web_socket.ping()
        await asyncio.sleep(interval)
