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
from typing import TYPE_CHECKING, Any

import click

import moorings
from moorings.cli import listen_datagrams, listen_web_socket
from moorings.cli.echo_server import EchoServer
from moorings.cli.exit_codes import CommandError
from moorings.cli.loops import runner_of
from moorings.cli.options import (
    Seconds,
    Trust,
    argument_errors,
    exchange_options,
    manner_of,
    refuse_options,
    scheme_of,
    telling_of,
    tls_options,
    trust_of,
    web_socket_options,
)
from moorings.cli.output import describe_error
from moorings.cli.pipes import Manner, exchange
from moorings.cli.standard_streams import Sink, Source
from moorings.cli.statistics_line import Reporter, Telling, peer_of, protection_of, tell_address
from moorings.cli.stopping import Stop, drain, end_code, gone_code, serve_one_by_one
from moorings.cli.web_socket_pipes import message_manner_of
from moorings.engine.descriptor import borrowed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from moorings import StreamSocket

#: Seconds that a drain waits for connections to end.
DRAIN_TIMEOUT = 10.0

#: Parameters that are about standard input, or about one connection after the other.
NOT_WITH_ECHO = frozenset(("binary", "finish_input", "keep", "no_half_close", "quit_after", "size"))
NOT_WITH_BROADCAST = frozenset(("keep", "quit_after"))

EPILOG = """\b
Examples:
  moorings listen tcp://127.0.0.1:1337
  moorings listen tcp://127.0.0.1:1337 > file
  moorings listen tcp://:1337 --keep --stats > log
  moorings listen tcp://127.0.0.1: --echo --max-connections 100
  moorings listen udp://127.0.0.1:1337 --verbose
  moorings listen udp://127.0.0.1:1337 --echo --stats
  moorings listen udp://:1337 --join 239.255.13.37 > log
  moorings listen tls://:1337 --cert server.pem --echo
  moorings listen ws://127.0.0.1:1337/chat --broadcast
  moorings listen wss://:1337 --cert server.pem --echo --stats

\b
The first line on standard error is 'listening on tcp://...', or another, with
the port that the system picked where none was given. Over TCP without --keep
the port is given back with the first connection: others are refused. With
--keep they wait.

\b
SIGTERM drains: no more connections, --drain-timeout seconds for those that
are open, then they are aborted. So does Ctrl-C with --echo. Once more aborts
them at once. Over UDP both end at once, and the counts are told. Clients of
ws:// and wss:// are told 1001 then.

\b
Exit codes: 0 it went well, or SIGTERM and drained, 1 it failed (one line says
why), 2 wrong arguments, 130 Ctrl-C, 141 the reader of the output has gone,
143 SIGTERM twice."""


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    url: str
    keep: bool
    max_connections: int | None
    drain_timeout: float
    trust: Trust
    manner: Manner
    telling: Telling


@click.command(
    "listen",
    epilog=EPILOG,
    short_help="Accept connections, datagrams or WebSockets: standard input and output, or an echo server.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("url")
@click.option("--echo", is_flag=True, help="Send everything back, to any number of clients.")
@click.option("--keep", is_flag=True, help="Not UDP: take the next connection when one has ended.")
@click.option(
    "--max-connections",
    type=click.IntRange(1),
    help="With --echo or --broadcast, not UDP: so many at once, others wait; over WS they get 503.",
)
@click.option(
    "--drain-timeout",
    type=Seconds(),
    default=DRAIN_TIMEOUT,
    show_default=True,
    help="Not UDP: seconds that connections get to end after SIGTERM.",
)
@click.option("--join", multiple=True, metavar="GROUP", help="UDP: receive what is sent to this group, too.")
@tls_options(
    ca="clients need a certificate that leads to one in this PEM file.",
    cert="a PEM file with the server's certificate, its chain, and mostly its key.",
    accepting=True,
)
@web_socket_options(accepting=True)
@exchange_options(
    "client",
    idle="end a connection on which nothing moves for so many seconds.",
    stats="Show rates and what else is measured, live; over TCP for each connection.",
    as_json="Messages are JSON objects, one in a line.",
)
def command(url: str, echo: bool, loop: str, **shared: Any) -> int:
    """Listen on URL, as in tcp://127.0.0.1:1337, and connect the client to standard input and output.

    One client, then the command ends; or clients one after the other with --keep, or any number with --echo, over
    WebSockets also with --broadcast. No host means all addresses, no port or 0 lets the system pick one. Messages go to
    standard error; with --echo and --broadcast, but for the line 'listening on', to standard output.

    With tls:// each client shakes hands first. With udp:// any number of clients send datagrams, which go to standard
    output, and standard input goes to the last one of them; with --echo all get their datagrams back. It ends with a
    signal.
    """
    telling = telling_of(shared)
    scheme = scheme_of(url)
    if echo:
        refuse_options(NOT_WITH_ECHO, "does not go with --echo")
    if shared["broadcast"]:
        refuse_options(NOT_WITH_BROADCAST, "does not go with --broadcast")
    runner, _ = runner_of(loop)
    if scheme == "udp":
        about = listen_datagrams.Options(url, shared["join"], shared["size"], shared["quit_after"], telling)
        return runner(listen_datagrams.echo(about) if echo else listen_datagrams.pipe(about))
    if shared["max_connections"] is not None and not echo and not shared["broadcast"]:
        raise click.UsageError("--max-connections goes with --echo or --broadcast; otherwise there is one at a time")
    if scheme in {"tls", "wss"} and shared["cert"] is None:
        raise click.UsageError("a TLS server needs a certificate: --cert")
    if scheme in {"ws", "wss"}:
        return runner(_web_socket_work(url, echo, shared, telling))
    options = Options(
        url,
        keep=shared["keep"],
        max_connections=shared["max_connections"],
        drain_timeout=shared["drain_timeout"],
        trust=trust_of(shared),
        manner=manner_of(shared, wait_if_absent=True),
        telling=telling,
    )
    return runner(_echo(options) if echo else _pipe(options))


def _web_socket_work(url: str, echo: bool, shared: dict[str, Any], telling: Telling) -> Coroutine[Any, Any, int]:
    """What serves `ws://` and `wss://`."""
    if echo and shared["broadcast"]:
        raise click.UsageError("--broadcast does not go with --echo")
    about = listen_web_socket.Options(
        url,
        keep=shared["keep"],
        max_connections=shared["max_connections"],
        drain_timeout=shared["drain_timeout"],
        trust=trust_of(shared),
        subprotocols=shared["subprotocol"],
        origins=shared["origin"],
        manner=message_manner_of(shared, shared["size"], serves=True),
        telling=telling,
    )
    if not echo and not shared["broadcast"]:
        return listen_web_socket.pipe(about)
    _allow_many_descriptors()
    return listen_web_socket.echo(about) if echo else listen_web_socket.relay(about)


async def _start(
    options: Options, handler: Callable[[StreamSocket], object] | None, limit: int | None
) -> moorings.Listening:
    """Listen, and tell the address."""
    with argument_errors():
        listening = await moorings.listen(
            options.url,
            handler,
            max_connections=limit,
            certificate=options.trust.identity,
            client_ca=options.trust.ca,
            alpn=options.trust.alpn,
            key_log=options.trust.key_log,
        )
    acceptor = listening.listener._accepting.acceptor
    assert acceptor is not None
    with borrowed(acceptor.fd) as plain_socket:
        tell_address(options.url.lower().partition("://")[0], plain_socket.getsockname())
    return listening


async def _drain(
    listening: moorings.Listening, stop: Stop, options: Options, reporter: Reporter
) -> signal.Signals | None:
    """Drain and tell the counts; the signal that cut it short, if one did."""
    listening.listener.stop_accepting()
    report, aborted, insisted = await drain(listening, stop, options.drain_timeout)
    aborted += report.aborted
    ended = report.accepted - aborted
    failed = listening.listener.handshakes_failed
    handshakes = f", handshakes failed {failed}" if failed else ""
    reporter.say(
        "drained",
        f"drained: accepted {report.accepted}, ended by themselves {ended}, aborted {aborted}{handshakes}",
        accepted=report.accepted,
        ended=ended,
        aborted=aborted,
        broken=report.broken,
        handshakes_failed=failed,
    )
    return insisted


# -- standard input and output ---------------------------------------------------------------------------------------


async def _pipe(options: Options) -> int:
    reporter = Reporter(sys.stderr, as_json=options.telling.as_json)
    stop = Stop()
    listening = await _start(options, None, 1)
    work: asyncio.Task[object] = asyncio.create_task(_take_connections(listening, options, reporter))
    return await serve_one_by_one(listening, work, stop, lambda: _drain(listening, stop, options, reporter))


async def _take_connections(listening: moorings.Listening, options: Options, reporter: Reporter) -> None:
    """One connection after the other, or only one."""
    streams = (Source(), Sink())
    async for connection in listening:
        peer = peer_of(connection)
        if not options.keep:
            listening.listener.stop_accepting()
        if options.telling.stats:
            tls = protection_of(connection)
            reporter.say("connected", f"connected with {peer}{tls.text}", peer=peer, **tls.values)
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
                return gone_code(reporter)
            insisted = await _drain(listening, stop, options, reporter)
        return end_code(asked, insisted)
    finally:
        listening.close()
