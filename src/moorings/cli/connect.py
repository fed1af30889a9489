"""`moorings connect`: standard input goes to a server, what it answers goes to standard output."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

import moorings
from moorings.cli.exit_codes import EXIT_OK, EXIT_TERMINATED
from moorings.cli.loops import loop_option, runner_of
from moorings.cli.options import Seconds, refuse_datagrams, url_errors
from moorings.cli.pipes import Manner, Telling, exchange
from moorings.cli.standard_streams import Sink, Source
from moorings.cli.statistics_line import INTERVAL, Reporter, milliseconds, peer_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

#: Seconds for connecting, name look-up included.
CONNECT_TIMEOUT = 30.0
#: A terminal is told what is being waited for after this many seconds.
PATIENCE_TO_TELL = 1.0

EPILOG = """\b
Examples:
  moorings connect tcp://127.0.0.1:1337
  moorings connect tcp://[::1]:1337 < request > answer
  moorings connect tcp://127.0.0.1:1337 --stats < file
  printf 'GET / HTTP/1.0\\r\\n\\r\\n' | moorings connect tcp://example.com:80

\b
The end of standard input half-closes the connection; the command ends when
the server has ended, too. Where the server ends first, what standard input
still has to say is sent until it pauses for half a second.

\b
Exit codes: 0 the server has ended and has everything, 1 it failed (one line
says why), 2 wrong arguments, 130 Ctrl-C, 141 the reader of the output has
gone, 143 SIGTERM."""


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    url: str
    timeout: float
    manner: Manner
    telling: Telling


@click.command(
    "connect",
    epilog=EPILOG,
    short_help="Connect standard input and output to a server.",
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
@click.option("--idle-timeout", type=Seconds(0.001), help="Fail when nothing comes or goes for so many seconds.")
@click.option("--no-half-close", is_flag=True, help="Do not tell the server that standard input has ended.")
@click.option(
    "--quit-after",
    type=Seconds(),
    help="Once standard input has ended, end when the server is silent for so many seconds.",
)
@click.option(
    "--finish-input", is_flag=True, help="Send standard input to its end, however slow, when the server ends first."
)
@click.option("--stats", is_flag=True, help="Show RTT, bandwidth, bytes and queue on standard error, live.")
@click.option(
    "--interval", type=Seconds(0.01), default=INTERVAL, show_default=True, help="Seconds between two lines of --stats."
)
@click.option("--json", "as_json", is_flag=True, help="JSON objects on standard error: a summary; with --stats more.")
@loop_option
def command(
    url: str,
    timeout: float,
    idle_timeout: float | None,
    no_half_close: bool,
    quit_after: float | None,
    finish_input: bool,
    stats: bool,
    interval: float,
    as_json: bool,
    loop: str,
) -> int:
    """Connect standard input and output to the server at URL, as in tcp://127.0.0.1:1337.

    Bytes pass unchanged, as fast as the slower side takes them, in bounded memory.
    """
    manner = Manner(
        half_close=not no_half_close, finish_input=finish_input, quit_after=quit_after, idle_timeout=idle_timeout
    )
    runner, _ = runner_of(loop)
    return runner(_run(Options(url, timeout, manner, Telling(stats, interval, as_json))))


async def _run(options: Options) -> int:
    main_task = asyncio.current_task()
    assert main_task is not None
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        main_task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        await _talk(options)
    except asyncio.CancelledError:
        if terminated:
            return EXIT_TERMINATED
        raise
    return EXIT_OK


async def _talk(options: Options) -> None:
    reporter = Reporter(sys.stderr, as_json=options.telling.as_json)
    begin = time.monotonic()
    refuse_datagrams(options.url)
    with url_errors():
        async with _telling(reporter, options.url):
            connection = await moorings.connect(options.url, timeout=options.timeout)
    if options.telling.stats:
        took = time.monotonic() - begin
        peer = peer_of(connection)
        reporter.say("connected", f"connected to {peer} in {milliseconds(took)}", peer=peer, seconds=round(took, 6))
    await exchange(connection, (Source(), Sink()), options.manner, options.telling, reporter)


@contextlib.asynccontextmanager
async def _telling(reporter: Reporter, url: str) -> AsyncGenerator[None]:
    """Say on a terminal what takes so long."""
    if not reporter.redraws:
        yield
        return
    timer = asyncio.get_running_loop().call_later(PATIENCE_TO_TELL, reporter.draw, "", f"connecting to {url} ...")
    try:
        yield
    finally:
        timer.cancel()
        reporter.erase()
