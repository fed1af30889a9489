"""`moorings connect udp://...`: standard input goes out as datagrams, those that come go to standard output."""

from __future__ import annotations

import ipaddress
import sys
from typing import TYPE_CHECKING

from moorings import DatagramSocket, HostName
from moorings._face import Target, connect_within, parse_url
from moorings.cli.datagram_pipes import DatagramExchange, DatagramManner, cutter
from moorings.cli.datagram_statistics import DatagramMeter, summary_line
from moorings.cli.exit_codes import EXIT_FAILED, EXIT_OK
from moorings.cli.options import argument_errors
from moorings.cli.standard_streams import Sink, Source
from moorings.cli.statistics_line import Reporter, showing

if TYPE_CHECKING:
    from moorings.cli.statistics_line import Telling
    from moorings.streams.interfaces import IOutputStream

#: Seconds of silence after which no more answers are expected, once standard input has ended.
WAIT = 1.0


async def talk(url: str, timeout: float, size: int | None, wait: float | None, telling: Telling) -> int:
    """Send and receive until standard input has ended and nothing has come for `wait` seconds; the exit code."""
    reporter = Reporter(sys.stderr, as_json=telling.as_json)
    manner = DatagramManner(cutter(size), WAIT if wait is None else wait, serves=False, verbose=telling.verbose)
    async with DatagramSocket() as datagrams:
        exchange = DatagramExchange(datagrams, (Source(), Sink()), manner, reporter)
        with argument_errors(), reporter.waiting(f"connecting to {url} ..."):
            stream = await _open(datagrams, parse_url(url, listening=False), timeout)
        meter = DatagramMeter(datagrams, lambda: exchange.dropped)
        try:
            async with showing(meter, telling, reporter):
                await exchange.run(stream.write_async)
        finally:
            if telling.stats or telling.as_json:
                summary = meter.summary()
                reporter.say("summary", summary_line(summary), **summary)
    return EXIT_FAILED if exchange.nobody else EXIT_OK


async def _open(datagrams: DatagramSocket, target: Target, timeout: float) -> IOutputStream:
    """Bind or connect the socket; the stream that sends to the peer, or to the group."""
    if not _is_group(target.host):
        await connect_within(timeout, datagrams, target, datagrams.close)
        return datagrams.output_stream
    # The members of a group answer from addresses of their own: a connected socket would not hear them.
    host = HostName(target.host)
    await datagrams.bind_service_name_async("")
    return await datagrams.get_output_stream_async(host, target.service)


def _is_group(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_multicast
    except ValueError:
        return False
