"""`moorings listen`: connections to standard input and output, or an echo server."""

# pyright: reportPrivateUsage=false
# The address that a listener without one is bound to has no public member.

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

import moorings
from moorings.cli.echo_server import EchoServer
from moorings.cli.exit_codes import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, EXIT_OK, EXIT_TERMINATED, CommandError
from moorings.cli.loops import loop_option, runner_of
from moorings.cli.options import Seconds, refuse_datagrams, url_errors
from moorings.cli.output import describe_error
from moorings.cli.pipes import Manner, Telling, exchange
from moorings.cli.standard_streams import Sink, Source
from moorings.cli.statistics_line import INTERVAL, Reporter, peer_of
from moorings.engine.descriptor import borrowed
from moorings.names.endpoints import endpoint_text
from moorings.names.host_name import host_name_from_sockaddr

if TYPE_CHECKING:
    from collections.abc import Callable

    from moorings import StreamSocket

#: Seconds that a drain waits for connections to end.
DRAIN_TIMEOUT = 10.0
#: Seconds that an exchange gets to say its last word once its connection has ended.
_LAST_WORD = 1.0

EPILOG = """\b
Examples:
  moorings listen tcp://127.0.0.1:1337
  moorings listen tcp://127.0.0.1:1337 > file
  moorings listen tcp://:1337 --keep --stats > log
  moorings listen tcp://127.0.0.1: --echo --max-connections 100

\b
The first line on standard error is 'listening on tcp://...', with the port
that the system picked where none was given. Without --keep the port is given
back with the first connection: others are refused. With --keep they wait.

\b
SIGTERM drains: no more connections, --drain-timeout seconds for those that
are open, then they are aborted. So does Ctrl-C with --echo. Once more aborts
them at once.

\b
Exit codes: 0 it went well, or SIGTERM and drained, 1 it failed (one line says
why), 2 wrong arguments, 130 Ctrl-C, 141 the reader of the output has gone,
143 SIGTERM twice."""


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    url: str
    echo: bool
    keep: bool
    max_connections: int | None
    drain_timeout: float
    manner: Manner
    telling: Telling


@click.command(
    "listen",
    epilog=EPILOG,
    short_help="Accept connections: to standard input and output, or as an echo server.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("url")
@click.option("--echo", is_flag=True, help="Send everything back, to any number of clients; tell who came and went.")
@click.option("--keep", is_flag=True, help="Take the next connection when one has ended.")
@click.option("--max-connections", type=click.IntRange(1), help="With --echo: so many at once, others wait.")
@click.option(
    "--drain-timeout",
    type=Seconds(),
    default=DRAIN_TIMEOUT,
    show_default=True,
    help="Seconds that connections get to end after SIGTERM.",
)
@click.option(
    "--idle-timeout", type=Seconds(0.001), help="End a connection on which nothing moves for so many seconds."
)
@click.option("--no-half-close", is_flag=True, help="Do not tell the client that standard input has ended.")
@click.option(
    "--quit-after",
    type=Seconds(),
    help="Once standard input has ended, end when the client is silent for so many seconds.",
)
@click.option(
    "--finish-input", is_flag=True, help="Send standard input to its end, however slow, when the client ends first."
)
@click.option("--stats", is_flag=True, help="Show RTT, bandwidth, bytes and queue of each connection, live.")
@click.option(
    "--interval", type=Seconds(0.01), default=INTERVAL, show_default=True, help="Seconds between two looks of --stats."
)
@click.option("--json", "as_json", is_flag=True, help="Messages are JSON objects, one in a line.")
@loop_option
def command(
    url: str,
    echo: bool,
    keep: bool,
    max_connections: int | None,
    drain_timeout: float,
    idle_timeout: float | None,
    no_half_close: bool,
    quit_after: float | None,
    finish_input: bool,
    stats: bool,
    interval: float,
    as_json: bool,
    loop: str,
) -> int:
    """Listen on URL, as in tcp://127.0.0.1:1337, and connect the client to standard input and output.

    One client, then the command ends; or clients one after the other with --keep, or any number with --echo. No host
    means all addresses, no port or 0 lets the system pick one. Messages go to standard error; with --echo, but for the
    line 'listening on', to standard output.
    """
    if echo and (keep or no_half_close or finish_input or quit_after is not None):
        raise click.UsageError("--echo goes without --keep, --no-half-close, --finish-input and --quit-after")
    if max_connections is not None and not echo:
        raise click.UsageError("--max-connections goes with --echo; otherwise there is one connection at a time")
    manner = Manner(
        half_close=not no_half_close,
        finish_input=finish_input,
        quit_after=quit_after,
        idle_timeout=idle_timeout,
        wait_if_absent=True,
    )
    options = Options(url, echo, keep, max_connections, drain_timeout, manner, Telling(stats, interval, as_json))
    runner, _ = runner_of(loop)
    return runner(_echo(options) if echo else _pipe(options))


class Stop:
    """What ends a server: SIGINT and SIGTERM; SIGPIPE stands for a reader of the output that has gone."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[signal.Signals] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.ask, number)

    def ask(self, number: signal.Signals) -> None:
        """As if that signal had come."""
        self._queue.put_nowait(number)

    async def asked(self, *works: asyncio.Task[object]) -> signal.Signals | None:
        """Wait for the next of them; None when one of `works` has ended before."""
        asking = asyncio.create_task(self._queue.get())
        await asyncio.wait((asking, *works), return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            return asking.result()
        asking.cancel()
        return None


async def _start(
    options: Options, handler: Callable[[StreamSocket], object] | None, limit: int | None
) -> moorings.Listening:
    """Listen, and tell the address."""
    refuse_datagrams(options.url)
    with url_errors():
        listening = await moorings.listen(options.url, handler, max_connections=limit)
    acceptor = listening.listener._accepting.acceptor
    assert acceptor is not None
    with borrowed(acceptor.fd) as plain_socket:
        address = plain_socket.getsockname()
    where = endpoint_text(host_name_from_sockaddr(address).display_name, address[1])
    Reporter(sys.stderr, as_json=False).say("", f"listening on tcp://{where}")
    return listening


async def _drain(
    listening: moorings.Listening, stop: Stop, options: Options, reporter: Reporter
) -> signal.Signals | None:
    """Drain and tell the counts; the signal that cut it short, if one did."""
    listening.listener.stop_accepting()
    waiting = listening.open_connections
    if waiting:
        Reporter(sys.stderr, as_json=False).say(
            "", f"draining: up to {options.drain_timeout:g} s for {_connections(waiting)}; once more aborts"
        )
    draining = asyncio.create_task(listening.drain(options.drain_timeout))
    insisted = await stop.asked(draining)
    aborted = 0
    if insisted is not None and not draining.done():
        aborted = listening.open_connections
        draining.cancel()
        await asyncio.wait((draining,))
        report = await listening.drain(0)
    else:
        report = await draining
    aborted += report.aborted
    ended = report.accepted - aborted
    reporter.say(
        "drained",
        f"drained: accepted {report.accepted}, ended by themselves {ended}, aborted {aborted}",
        accepted=report.accepted,
        ended=ended,
        aborted=aborted,
        broken=report.broken,
    )
    return insisted


def _connections(count: int) -> str:
    return "1 connection" if count == 1 else f"{count} connections"


def _code(asked: signal.Signals, insisted: signal.Signals | None) -> int:
    """What a server ends with after these signals."""
    codes = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED, signal.SIGPIPE: EXIT_BROKEN_PIPE}
    if insisted is not None:
        return codes[insisted]
    return EXIT_OK if asked == signal.SIGTERM else codes[asked]


# -- standard input and output ---------------------------------------------------------------------------------------


async def _pipe(options: Options) -> int:
    reporter = Reporter(sys.stderr, as_json=options.telling.as_json)
    stop = Stop()
    listening = await _start(options, None, 1)
    work: asyncio.Task[object] = asyncio.create_task(_take_connections(listening, options, reporter))
    try:
        asked = await stop.asked(work)
        if asked is None:
            await work
            return EXIT_OK
        if asked == signal.SIGINT:
            return EXIT_INTERRUPTED
        insisted = await _drain(listening, stop, options, reporter)
        await asyncio.wait((work,), timeout=_LAST_WORD)
        return _code(asked, insisted)
    finally:
        listening.close()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def _take_connections(listening: moorings.Listening, options: Options, reporter: Reporter) -> None:
    """One connection after the other, or only one."""
    streams = (Source(), Sink())
    async for connection in listening:
        peer = peer_of(connection)
        if not options.keep:
            listening.listener.stop_accepting()
        if options.telling.stats:
            reporter.say("connected", f"connected with {peer}", peer=peer)
        try:
            await exchange(connection, streams, options.manner, options.telling, reporter)
        except (OSError, CommandError) as error:
            # Without a socket's number it is not the client that has gone, but the reader of our output.
            if not options.keep or not hasattr(error, "winerror"):
                raise
            reporter.say("failed", f"moorings: {describe_error(error)}", peer=peer, reason=describe_error(error))
        if not options.keep:
            return


# -- echo ------------------------------------------------------------------------------------------------------------


def _allow_many_descriptors() -> None:
    """Each client needs one; the soft limit, mostly 1024, is for programs that use select(2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # then the limit stays, and accepting pauses there
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _echo(options: Options) -> int:
    stop = Stop()
    reporter = Reporter(sys.stdout, as_json=options.telling.as_json, on_gone=lambda: stop.ask(signal.SIGPIPE))
    _allow_many_descriptors()
    server = EchoServer(reporter, options.manner.idle_timeout)
    listening = await _start(options, server.serve, options.max_connections)
    try:
        async with server.showing(options.telling):
            asked = await stop.asked()
            assert asked is not None
            if asked == signal.SIGPIPE:
                await listening.drain(0)
                if reporter.failure is not None:
                    raise CommandError(f"standard output cannot be written: {describe_error(reporter.failure)}")
                return EXIT_BROKEN_PIPE
            insisted = await _drain(listening, stop, options, reporter)
        return _code(asked, insisted)
    finally:
        listening.close()
