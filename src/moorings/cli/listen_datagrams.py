"""`moorings listen udp://...`: datagrams to standard output and from standard input, or an echo server."""

# pyright: reportPrivateUsage=false
# The address that a socket without one is bound to has no public member.

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import moorings
from moorings.cli.datagram_pipes import KERNEL_BYTES, DatagramExchange, DatagramManner, cutter, tell_datagram
from moorings.cli.datagram_statistics import DatagramMeter, summary_line
from moorings.cli.exit_codes import EXIT_OK
from moorings.cli.options import argument_errors
from moorings.cli.standard_streams import Sink, Source
from moorings.cli.statistics_line import Reporter, showing, tell_address
from moorings.cli.stopping import Stop, end_code, gone_code

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from moorings import DatagramSocket, DatagramSocketMessageReceivedEventArgs
    from moorings.cli.statistics_line import Telling

#: Seconds for what had come before the signal that ends the command.
LAST_WORD = 1.0
#: So long a socket is asked for what has come already; it only takes a turn of the loop.
_MOMENT = 0.01


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    url: str
    groups: tuple[str, ...]
    size: int | None
    wait: float | None
    telling: Telling


async def _start(options: Options, listening: moorings.ListeningDatagrams) -> None:
    """Bind, join, and tell the address."""
    with argument_errors("--join"):
        groups = [moorings.HostName(group) for group in options.groups]
    with argument_errors():
        await listening
    with argument_errors("--join"):
        for group in groups:
            listening.socket.join_multicast_group(group)
    tell_address("udp", listening.socket._link.local_sockaddr)


@asynccontextmanager
async def _counting(meter: DatagramMeter, options: Options, reporter: Reporter) -> AsyncGenerator[None]:
    """Statistics while the block runs, and the counts when it has ended well."""
    async with showing(meter, options.telling, reporter):
        yield
    summary = meter.summary()
    reporter.say("summary", summary_line(summary), **summary)


async def _last_datagrams(datagrams: DatagramSocket, exchange: DatagramExchange | None = None) -> None:
    """Take what had come before the signal came, and bring out what is on its way."""
    before = -1
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_WORD):
            while before != datagrams.counters.datagrams_received:
                before = datagrams.counters.datagrams_received
                await asyncio.sleep(_MOMENT)
            await datagrams.flush()
            if exchange is not None:
                await exchange.written()


def _listening(url: str) -> moorings.ListeningDatagrams:
    """What is not bound yet."""
    with argument_errors():
        listening: Any = moorings.listen(url)
    return cast("moorings.ListeningDatagrams", listening)


async def pipe(options: Options) -> int:
    """Until a signal comes, or what ends the exchange; the exit code."""
    reporter = Reporter(sys.stderr, as_json=options.telling.as_json)
    stop = Stop()
    listening = _listening(options.url)
    async with listening.socket as datagrams:
        manner = DatagramManner(cutter(options.size), options.wait, serves=True, verbose=options.telling.verbose)
        exchange = DatagramExchange(datagrams, (Source(), Sink()), manner, reporter)
        await _start(options, listening)
        work = asyncio.create_task(exchange.run(lambda data: datagrams.send(data, exchange.last_address)))
        try:
            async with _counting(DatagramMeter(datagrams, lambda: exchange.dropped), options, reporter):
                asked = await stop.asked(work)
                if asked is None:
                    await work
                elif asked == signal.SIGTERM:
                    await _last_datagrams(datagrams, exchange)
            return EXIT_OK if asked is None else end_code(asked)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


async def echo(options: Options) -> int:
    """Until a signal comes; the exit code."""
    stop = Stop()
    telling = options.telling
    reporter = Reporter(sys.stdout, as_json=telling.as_json, on_gone=lambda: stop.ask(signal.SIGPIPE))

    def answer(_socket: object, message: DatagramSocketMessageReceivedEventArgs) -> None:
        if message.error is not None:
            return  # one that has gone; it is counted
        if telling.verbose:
            tell_datagram(message, reporter)
        with suppress(OSError):  # counted, too: the queue is full
            message.reply(message.data)

    listening = _listening(options.url)
    async with listening.socket as datagrams:
        datagrams.control.inbound_buffer_size_in_bytes = KERNEL_BYTES
        datagrams.add_message_received(answer)
        await _start(options, listening)
        async with _counting(DatagramMeter(datagrams), options, reporter):
            asked = await stop.asked()
            assert asked is not None
            if asked == signal.SIGPIPE:
                return gone_code(reporter)
            await _last_datagrams(datagrams)
        return end_code(asked)
