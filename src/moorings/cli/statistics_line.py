"""What a connection does at this moment, as numbers, as a line for people, and as JSON; and where such lines go.

`datagram_statistics.py` has the numbers of a UDP socket.
"""

# pyright: reportPrivateUsage=false
# TCP_INFO has more to tell than the public statistics.

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from moorings import SocketProtectionLevel
from moorings.cli.output import drop, printable
from moorings.engine.descriptor import unacknowledged_bytes
from moorings.names.endpoints import endpoint_text
from moorings.names.host_name import host_name_from_sockaddr

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from typing import TextIO

    from moorings import EndReason, MessageWebSocket, StreamSocket

#: Seconds between two lines.
INTERVAL = 1.0
#: A terminal is told what is being waited for after this many seconds.
PATIENCE_TO_TELL = 1.0
_UNITS = ("", "k", "M", "G", "T", "P")


@dataclass(frozen=True)
class Telling:
    """What is told about an exchange."""

    stats: bool
    interval: float
    as_json: bool
    #: Of datagrams: a line for each that comes.
    verbose: bool = False


class Look(Protocol):
    """What something does at one moment."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        ...

    def line(self) -> str:
        """For people."""
        ...


class Looks(Protocol):
    """A meter of one connection, or of one UDP socket."""

    def look(self) -> Look:
        """The facts of now."""
        ...


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """The same without digits that say nothing."""
    return {
        name: round(value, 6) if name == "seconds" else round(value) if name.endswith("_per_second") else value
        for name, value in values.items()
    }


class Rates:
    """How fast some numbers grow."""

    def __init__(self) -> None:
        self.begin = self._last = time.monotonic()
        self._before: tuple[int, ...] = ()

    def look(self, *numbers: int) -> tuple[float, ...]:
        """Seconds since the beginning, and what each number has grown by since the last look, per second."""
        now = time.monotonic()
        since = max(now - self._last, 1e-9)
        before = self._before or (0,) * len(numbers)
        self._last, self._before = now, numbers
        return (now - self.begin, *((new - old) / since for new, old in zip(numbers, before, strict=True)))

    def seconds(self) -> float:
        """Seconds since the beginning, for a summary."""
        return round(time.monotonic() - self.begin, 6)


class Facts(NamedTuple):
    """A connection at one moment. Rates are those since the last look; 0 where the kernel does not say."""

    seconds: float
    bytes_sent: int
    bytes_received: int
    sent_per_second: float
    received_per_second: float
    round_trip_time_us: int
    lowest_round_trip_time_us: int
    outbound_bits_per_second: int
    inbound_bits_per_second: int
    #: In the queue of this program, and handed to the kernel but not acknowledged.
    queued_bytes: int
    unacknowledged_bytes: int
    #: Taken from the kernel and not read.
    unread_bytes: int

    @property
    def rates(self) -> str:
        """What goes both ways."""
        return f"{amount(self.sent_per_second, 'B/s')} out, {amount(self.received_per_second, 'B/s')} in"

    @property
    def round_trip(self) -> str:
        """The smoothed round trip time."""
        return milliseconds(self.round_trip_time_us / 1e6) if self.round_trip_time_us else "unknown"

    @property
    def bandwidth(self) -> str:
        """What the kernel thinks that the path can carry."""
        return bandwidth_text(self.outbound_bits_per_second, self.inbound_bits_per_second)

    @property
    def queue(self) -> str:
        """What has not reached the peer yet."""
        return amount(self.queued_bytes + self.unacknowledged_bytes, "B")

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return rounded(self._asdict())

    def line(self) -> str:
        """For people."""
        return (
            # A narrow terminal leaves out what stands at the end.
            f"{self.seconds:.1f} s: RTT {self.round_trip}; {self.rates}; queue {self.queue}; "
            f"sent {amount(self.bytes_sent, 'B')}, received {amount(self.bytes_received, 'B')}; "
            f"bandwidth {self.bandwidth}"
        )


def peer_of(connection: StreamSocket) -> str:
    """Address and port of the other side."""
    information = connection.information
    address = information.remote_address
    return endpoint_text(address.display_name if address else "?", information.remote_port)


class Protection(NamedTuple):
    """What TLS has agreed on, and with whom; nothing without TLS."""

    #: Behind a message, with a comma before it.
    text: str = ""
    values: dict[str, Any] = {}  # noqa: RUF012 (nobody changes it)


def protection_of(connection: StreamSocket | MessageWebSocket) -> Protection:
    """What there is to say about the TLS of a connection, for messages."""
    information: Any = connection.information
    level = information.protection_level
    if level == SocketProtectionLevel.PLAIN_SOCKET:
        return Protection()
    ignored = [each.name for each in information.server_certificate_errors]
    parts = [f"{level.name.replace('TLS1', 'TLS 1.')}, {information.cipher}"]
    values: dict[str, Any] = {"protection_level": level.name, "cipher": information.cipher}
    if getattr(information, "alpn_protocol", ""):  # (a WebSocket knows neither this nor the next two)
        parts.append(f"ALPN {information.alpn_protocol}")
        values["alpn"] = information.alpn_protocol
    if getattr(information, "requested_server_name", ""):
        values["requested_server_name"] = information.requested_server_name
    shown = getattr(information, "client_certificate", None)
    if shown is not None:
        parts.append(f"client certificate {printable(shown.subject)!r}")
        values["client_certificate"] = shown.subject
    if ignored:
        parts.append(f"ignored {', '.join(ignored)}")
        values["ignored"] = ignored
    return Protection(", " + ", ".join(parts), values)


class Meter:
    """Looks at one connection now and then."""

    def __init__(self, connection: StreamSocket) -> None:
        self.connection = connection
        self._rates = Rates()
        self.peer = peer_of(connection)

    def look(self) -> Facts:
        """The facts of now."""
        counters = self.connection.counters
        seconds, sent, received = self._rates.look(counters.bytes_sent, counters.bytes_received)
        times = self.connection.information.round_trip_time_statistics
        width = self.connection.information.bandwidth_statistics
        stream = self.connection._connection.stream
        return Facts(
            seconds,
            counters.bytes_sent,
            counters.bytes_received,
            sent,
            received,
            times.sum,
            times.min,
            width.outbound_bits_per_second,
            width.inbound_bits_per_second,
            counters.queued_bytes,
            unacknowledged_bytes(stream.fd) if stream is not None else 0,
            counters.unread_bytes,
        )

    def summary(self, reason: EndReason | None = None) -> dict[str, Any]:
        """The whole connection; `reason` where more is known about its end than the connection knows."""
        counters = self.connection.counters
        times = self.connection.information.round_trip_time_statistics
        return {
            "seconds": self._rates.seconds(),
            "bytes_sent": counters.bytes_sent,
            "bytes_received": counters.bytes_received,
            "round_trip_time_us": times.sum,
            "lowest_round_trip_time_us": times.min,
            "retransmits": self.connection._connection.info().total_retrans,
            "end_reason": str(self.connection.end_reason if reason is None else reason),
        }


def summary_line(summary: dict[str, Any]) -> str:
    """`Meter.summary` for people."""
    usual, lowest = summary["round_trip_time_us"] / 1e6, summary["lowest_round_trip_time_us"] / 1e6
    times = f"RTT {milliseconds(usual)} (lowest {milliseconds(lowest)})"
    retransmits = "" if summary["retransmits"] is None else f"; {summary['retransmits']} retransmits"
    return (
        f"sent {amount(summary['bytes_sent'], 'B')}, received {amount(summary['bytes_received'], 'B')} "
        f"in {summary['seconds']:.2f} s; {times}{retransmits}; ended: {summary['end_reason']}"
    )


def amount(number: float, unit: str) -> str:
    """A number with its unit, in three digits: 1.23 MB."""
    scale = 0
    while number >= 999.5 and scale < len(_UNITS) - 1:
        number /= 1000
        scale += 1
    digits = f"{number:.0f}" if scale == 0 else f"{number:.3g}"
    return f"{digits} {_UNITS[scale]}{unit}"


def bandwidth_text(out: int, into: int) -> str:
    """What a path can carry both ways, as far as it is known."""
    told = [f"{amount(out, 'bit/s')} out"] * bool(out) + [f"{amount(into, 'bit/s')} in"] * bool(into)
    return ", ".join(told) or "unknown"


def milliseconds(seconds: float) -> str:
    """A short time, in three digits."""
    number = seconds * 1000
    return f"{number:.3g} ms" if number < 999.5 else f"{number:.0f} ms"


def fitting(text: str, width: int) -> str:
    """What of `text` has room in `width` characters, without the parts at its end that would be cut in the middle."""
    if len(text) <= width:
        return text
    whole = max(text.rfind(mark, 0, width + len(mark)) for mark in ("; ", ", "))
    return text[: whole if whole > 0 else max(width, 0)]


class Reporter:
    """Where messages go: lines, a line that is drawn again and again on a terminal, or JSON objects.

    When the reader of the stream has gone, or it cannot be written, further messages are dropped, and `on_gone` is
    called once.
    """

    def __init__(self, stream: TextIO, *, as_json: bool, on_gone: Callable[[], object] | None = None) -> None:
        self._stream = stream
        self._as_json = as_json
        self._on_gone = on_gone
        self._drawn = False
        self.gone = False
        #: Why the stream cannot be written; None where only its reader has gone.
        self.failure: OSError | None = None
        #: Prints lines instead, above a view that is being drawn.
        self.printer: Callable[[str], object] | None = None
        self.redraws = stream.isatty() and not as_json and os.environ.get("TERM") != "dumb"

    def say(self, event: str, text: str, **values: object) -> None:
        """A message that stays: `text` for people, or the event with its values as JSON."""
        if self.printer is not None:
            try:
                self.printer(text)
            except OSError as error:
                self.lose(error)
            return
        self.erase()
        self._write((json.dumps({"event": event, **values}) if self._as_json else text) + "\n")

    def draw(self, event: str, text: str, **values: object) -> None:
        """A message that the next one replaces, where that is possible."""
        if not self.redraws:
            self.say(event, text, **values)
            return
        self._write(f"\r{fitting(text, shutil.get_terminal_size().columns - 1)}\x1b[K")
        self._drawn = True

    @contextmanager
    def waiting(self, text: str) -> Generator[None]:
        """Say on a terminal what takes so long while the block runs."""
        if not self.redraws:
            yield
            return
        timer = asyncio.get_running_loop().call_later(PATIENCE_TO_TELL, self.draw, "", text)
        try:
            yield
        finally:
            timer.cancel()
            self.erase()

    def erase(self) -> None:
        """Make room on the terminal for something else."""
        if self._drawn:
            self._drawn = False
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        if self.gone:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            self.lose(error)

    def lose(self, error: OSError) -> None:
        """Say nothing any more, since nobody hears it."""
        if self.gone:
            return
        self.gone = True
        self.failure = None if isinstance(error, BrokenPipeError) else error
        drop(self._stream)
        if self._on_gone is not None:
            self._on_gone()


def tell_address(scheme: str, sockaddr: Any, path: str = "") -> None:
    """The first line of a server: programs wait for it, and so it is never JSON."""
    where = endpoint_text(host_name_from_sockaddr(sockaddr).display_name, sockaddr[1])
    Reporter(sys.stderr, as_json=False).say("", f"listening on {scheme}://{where}{path}")


@asynccontextmanager
async def every(interval: float, function: Callable[[], object]) -> AsyncGenerator[None]:
    """Call `function` every `interval` seconds while the block runs."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(interval)
            function()

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def showing(meter: Looks, telling: Telling, reporter: Reporter) -> AsyncGenerator[None]:
    """A line of statistics now and then while the block runs, if they are wanted."""

    def show() -> None:
        facts = meter.look()
        reporter.draw("statistics", facts.line(), **facts.as_json())

    if telling.stats:
        async with every(telling.interval, show):
            yield
    else:
        yield
