"""`moorings connect`: standard input goes to a server, what it answers goes to standard output."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

import moorings
from moorings.cli import connect_datagrams, connect_web_socket
from moorings.cli.exit_codes import EXIT_OK
from moorings.cli.loops import runner_of
from moorings.cli.options import (
    Seconds,
    Trust,
    argument_errors,
    exchange_options,
    manner_of,
    scheme_of,
    telling_of,
    tls_options,
    trust_of,
    web_socket_options,
)
from moorings.cli.pipes import Manner, exchange
from moorings.cli.refusals import refusals
from moorings.cli.standard_streams import Sink, Source
from moorings.cli.statistics_line import Reporter, Telling, milliseconds, peer_of, protection_of
from moorings.cli.stopping import until_terminated
from moorings.cli.web_socket_pipes import message_manner_of

if TYPE_CHECKING:
    from collections.abc import Coroutine

#: Seconds for connecting, name look-up included.
CONNECT_TIMEOUT = 30.0

EPILOG = """\b
Examples:
  moorings connect tcp://127.0.0.1:1337
  moorings connect tcp://[::1]:1337 < request > answer
  moorings connect tcp://127.0.0.1:1337 --stats < file
  printf 'GET / HTTP/1.0\\r\\n\\r\\n' | moorings connect tcp://example.com:80
  printf 'hello\\n' | moorings connect udp://127.0.0.1:1337
  moorings connect udp://239.255.13.37:1337 --verbose
  moorings connect tls://example.com:443
  moorings connect tls://localhost:1337 --ca ca.pem --cert client.pem
  moorings connect tls://printer.local:443 --ignore UNTRUSTED,INVALID_NAME
  moorings connect ws://127.0.0.1:1337/chat
  moorings connect wss://example.com/feed --stats --header 'X-Token: secret'

\b
tcp://: The end of standard input half-closes the connection; the command ends
when the server has ended, too. Where the server ends first, what standard
input still has to say is sent until it pauses for half a second.

\b
udp://: Every line, with its end, is a datagram; or every --size bytes. Once
standard input has ended the command ends when nothing has come for a second,
or --wait seconds.

\b
tls://: 'moorings cert show HOST:PORT' shows the certificate of a server, also
one that is not accepted, and names all that is wrong with it.

\b
ws://, wss://: Every line, without its end, is a text message, and each that
comes is a line; --binary sends and writes bytes. Once standard input has
ended the command closes when nothing has come for a second, or --wait
seconds. A close with another code than 1000 or 1001 is a failure.

\b
Exit codes: 0 it went well, 1 it failed (one line says why; udp://: the
network says that nobody is there, and nobody answered), 2 wrong arguments,
130 Ctrl-C, 141 the reader of the output has gone, 143 SIGTERM."""


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    url: str
    timeout: float
    trust: Trust
    manner: Manner
    telling: Telling


@click.command(
    "connect",
    epilog=EPILOG,
    short_help="Connect standard input and output to a server, over TCP, TLS, UDP or WebSockets.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("url")
@click.option(
    "--timeout",
    type=Seconds(),
    default=CONNECT_TIMEOUT,
    show_default=True,
    help="Seconds for connecting, name look-up included.",
)
@tls_options(
    ca="a PEM file with whom to trust, instead of the system's authorities.",
    cert="a PEM file with the certificate for a server that asks.",
    accepting=False,
)
@web_socket_options(accepting=False)
@exchange_options(
    "server",
    idle="fail when nothing comes or goes for so many seconds.",
    stats="Show rates and what else is measured on standard error, live.",
    as_json="JSON objects on standard error: a summary; with --stats more.",
)
def command(url: str, timeout: float, size: int | None, loop: str, **shared: Any) -> int:
    """Connect standard input and output to the server at URL, as in tcp://127.0.0.1:1337 or udp://127.0.0.1:1337.

    Bytes pass unchanged, as fast as the slower side takes them, in bounded memory. A udp:// URL may name a multicast
    group, too. With tls:// nothing passes before the server's certificate has been accepted.
    """
    telling = telling_of(shared)
    work: Coroutine[Any, Any, int]
    scheme = scheme_of(url)
    if scheme == "udp":
        work = connect_datagrams.talk(url, timeout, size, shared["quit_after"], telling)
    elif scheme in {"ws", "wss"}:
        manner = message_manner_of(shared, size, serves=False)
        request = connect_web_socket.Request(shared["header"], shared["subprotocol"], shared["compression"])
        opening = connect_web_socket.Opening(url, timeout, trust_of(shared), request)
        work = connect_web_socket.talk(opening, manner, telling)
    else:
        work = _talk(Options(url, timeout, trust_of(shared), manner_of(shared), telling))
    runner, _ = runner_of(loop)
    return runner(until_terminated(work))


async def _talk(options: Options) -> int:
    reporter = Reporter(sys.stderr, as_json=options.telling.as_json)
    begin = time.monotonic()
    trust = options.trust
    with refusals(options.url, trust), argument_errors(), reporter.waiting(f"connecting to {options.url} ..."):
        connection = await moorings.connect(
            options.url,
            timeout=options.timeout,
            ca=trust.ca,
            certificate=trust.identity,
            server_name=trust.server_name,
            alpn=trust.alpn,
            ignore=trust.ignore,
            pin_sha256=trust.pin_sha256,
            revocation=trust.revocation,
            key_log=trust.key_log,
        )
    if options.telling.stats:
        took = time.monotonic() - begin
        peer = peer_of(connection)
        tls = protection_of(connection)
        text = f"connected to {peer} in {milliseconds(took)}{tls.text}"
        reporter.say("connected", text, peer=peer, seconds=round(took, 6), **tls.values)
    await exchange(connection, (Source(), Sink()), options.manner, options.telling, reporter)
    return EXIT_OK
