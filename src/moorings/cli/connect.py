"""`moorings connect`: standard input goes to a server, what it answers goes to standard output."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

import moorings
from moorings._face import parse_url
from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.verify_codes import IGNORABLE
from moorings.cli import connect_datagrams
from moorings.cli.exit_codes import EXIT_OK, CommandError
from moorings.cli.loops import runner_of
from moorings.cli.options import (
    Seconds,
    Trust,
    argument_errors,
    exchange_options,
    manner_of,
    speaks_udp,
    telling_of,
    tls_options,
    trust_of,
)
from moorings.cli.pipes import Manner, exchange
from moorings.cli.standard_streams import Sink, Source
from moorings.cli.statistics_line import Reporter, Telling, milliseconds, peer_of, protection_of
from moorings.cli.stopping import until_terminated
from moorings.errors import PinMismatchError

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
Exit codes: 0 it went well, 1 it failed (one line says why; udp://: the
network says that nobody is there, and nobody answered), 2 wrong arguments,
130 Ctrl-C, 141 the reader of the output has gone, 143 SIGTERM."""


_Result = ChainValidationResult
#: What to do about certificate errors, besides letting them pass.
_STEPS = (
    ({_Result.UNTRUSTED, _Result.INCOMPLETE_CHAIN}, "--ca names whom to trust"),
    ({_Result.INVALID_NAME}, "--server-name names the server otherwise"),
    ({_Result.REVOCATION_INFORMATION_MISSING, _Result.REVOCATION_FAILURE}, "--crl names a list of revocations"),
)


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
    short_help="Connect standard input and output to a server, over TCP, TLS or UDP.",
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
    if speaks_udp(url):
        work = connect_datagrams.talk(url, timeout, size, shared["quit_after"], telling)
    else:
        work = _talk(Options(url, timeout, trust_of(shared), manner_of(shared), telling))
    runner, _ = runner_of(loop)
    return runner(until_terminated(work))


async def _talk(options: Options) -> int:
    reporter = Reporter(sys.stderr, as_json=options.telling.as_json)
    begin = time.monotonic()
    trust = options.trust
    with argument_errors():
        parse_url(options.url, listening=False)  # (it refuses ws and wss, which are not for bytes)
    try:
        with argument_errors(), reporter.waiting(f"connecting to {options.url} ..."):
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
    except PinMismatchError as error:
        pins = "the pinned key" if len(trust.pin_sha256) == 1 else "any of the pinned keys"
        raise CommandError(f"{_of_server(options)} does not have {pins}; {_look(options)} its pins") from error
    except OSError as error:
        if not getattr(error, "certificate_errors", ()):
            raise
        raise CommandError(_refusal(options, error)) from error
    if options.telling.stats:
        took = time.monotonic() - begin
        peer = peer_of(connection)
        tls = protection_of(connection)
        text = f"connected to {peer} in {milliseconds(took)}{tls.text}"
        reporter.say("connected", text, peer=peer, seconds=round(took, 6), **tls.values)
    await exchange(connection, (Source(), Sink()), options.manner, options.telling, reporter)
    return EXIT_OK


def _refusal(options: Options, error: Any) -> str:
    """What is wrong with a server's certificate, and what to do about it here."""
    found = error.certificate_errors
    names = ",".join(each.name for each in found)
    fatal = [each.name for each in found if each not in IGNORABLE]
    steps = [text for results, text in _STEPS if results.intersection(found)]
    step = ", ".join([*steps, f"--ignore {names} lets it pass all the same"])
    if fatal:
        step = f"{', '.join(fatal)} cannot be ignored: the server needs another certificate"
    look = f"{_look(options)} it"
    return f"{_of_server(options)} is not accepted: {names.replace(',', ', ')}; {look}; {step}"


def _of_server(options: Options) -> str:
    """What a message about a server's certificate begins with."""
    target = parse_url(options.url, listening=False)
    name = options.trust.server_name or target.host
    return f"{options.url.partition('://')[2]}: the certificate for {name!r}"


def _look(options: Options) -> str:
    """The command that shows the certificate, with what matters to the verdict."""
    trust = options.trust
    words = ["moorings", "cert", "show", options.url.partition("://")[2]]
    if trust.server_name:
        words += ["--server-name", trust.server_name]
    if trust.ca is not None:
        words += ["--ca", *trust.ca.files]
    if trust.revocation is not None:
        words += [word for file in trust.crl for word in ("--crl", file)] or ["--revocation"]
    return f"'{shlex.join(words)}' shows"
