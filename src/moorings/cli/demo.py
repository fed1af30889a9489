"""`moorings demo`: echo servers and their clients, over TCP, TLS, UDP and WebSockets, every step printed on both sides.

The parts stand in `moorings.cli.tour`. Everything stays on the loopback interface, takes a few seconds and ends by
itself.
"""

from __future__ import annotations

import asyncio
import platform
import sys
import time
from typing import TYPE_CHECKING

import click

import moorings
from moorings.cli.console import Console
from moorings.cli.exit_codes import EXIT_BROKEN_PIPE, EXIT_OK, CommandError
from moorings.cli.loops import loop_option, runner_of
from moorings.cli.output import describe_error, print_json
from moorings.cli.tour.browser import browser
from moorings.cli.tour.common import PATIENCE, DemoError, Facts, Options
from moorings.cli.tour.crowd import crowd
from moorings.cli.tour.datagram_batch import datagram_batch
from moorings.cli.tour.datagram_guide import datagram_guide
from moorings.cli.tour.failures import failures
from moorings.cli.tour.guide import guide
from moorings.cli.tour.messages import messages
from moorings.cli.tour.secured import secured
from moorings.cli.tour.transfer import transfer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: The name in the summary, the title, and what does it.
PARTS: tuple[tuple[str, str, Callable[[Console, Options], Awaitable[Facts]]], ...] = (
    ("echo", "An echo, as in the Sockets guide", guide),
    ("clients", "Many clients at once", crowd),
    ("transfer", "A transfer and its statistics", transfer),
    ("tls", "TLS, and a server that nobody vouches for", secured),
    ("datagram_echo", "An echo over UDP, as in the Sockets guide", datagram_guide),
    ("datagram_batch", "Datagrams in batches", datagram_batch),
    ("web_sockets", "WebSockets: a conversation, and one message for many", messages),
    ("browser", "A browser as the client of a WebSocket", browser),
    ("failures", "What failures say", failures),
)
EPILOG = """\b
Examples:
  moorings demo
  moorings demo --clients 100 --loop asyncio
  moorings demo --megabytes 4096
  moorings demo --packets 1000000
  moorings demo --json

\b
Exit codes: 0 all steps went well, 1 a step failed, 2 wrong arguments,
130 Ctrl-C, 141 the reader of the output has gone."""


async def run(console: Console, options: Options) -> dict[str, Facts]:
    """All parts; what each found out, or its `error`."""
    summary: dict[str, Facts] = {}
    for name, title, part in PARTS:
        if console.gone:
            break
        console.title(title)
        start = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                facts = await part(console, options)
        except (OSError, DemoError, asyncio.IncompleteReadError) as error:  # asyncio.timeout raises an OSError, too
            text = f"{type(error).__name__}: {describe_error(error)}"
            console.say("FAILED", text)
            facts = {"error": text}
        summary[name] = {"ok": "error" not in facts, "elapsed_seconds": round(time.monotonic() - start, 6), **facts}
    return summary


def first_line(loop: str) -> str:
    """Version, native or pure and why, loop."""
    native, reason = moorings.native_mode()
    mode = "native (compiled)" if native else reason
    return f"moorings {moorings.__version__}, {mode}, on {loop}, Python {platform.python_version()}"


@click.command("demo", epilog=EPILOG)
@click.option(
    "--clients", type=click.IntRange(1, 10_000), default=1000, show_default=True, metavar="N", help="Clients at once."
)
@click.option(
    "--megabytes",
    type=click.IntRange(1, 4096),
    default=256,
    show_default=True,
    metavar="N",
    help="MiB to transfer.",
)
@click.option(
    "--packets",
    type=click.IntRange(1, 10_000_000),
    default=Options._field_defaults["packets"],
    show_default=True,
    metavar="N",
    help="Datagrams to send.",
)
@loop_option
@click.option("--json", "as_json", is_flag=True, help="Print nothing but a summary for scripts, as JSON.")
def command(clients: int, megabytes: int, packets: int, loop: str, as_json: bool) -> int:
    """A tour on this machine, with every step printed on both sides.

    \b
    1. The echo of Microsoft's "Sockets" guide, with the WinRT names.
    2. Many clients at once, with the Python names.
    3. A transfer, and what the kernel measures meanwhile.
    4. TLS: a certificate that is refused, and then let pass; one of a
       client; an upgrade in mid-stream.
    5. The guide's echo over UDP.
    6. Datagrams in batches: their rate, system calls, and losses.
    7. WebSockets: a conversation, and one message for many clients.
    8. A browser that talks to a WebSocket, where one is installed.
    9. What a refused connection, a datagram for nobody and a bad host name say.

    It stays on the loopback interface, takes a few seconds and ends by itself.
    """  # noqa: D301 - click wants the character
    runner, loop_name = runner_of(loop)
    console = Console(quiet=as_json)
    console.line(first_line(loop_name))
    summary: dict[str, Facts] = {}

    async def tour() -> int:
        summary.update(await run(console, Options(clients, megabytes, packets)))
        return EXIT_OK

    runner(tour())
    if console.gone:
        return EXIT_BROKEN_PIPE
    failed = [title for name, title, _ in PARTS if not summary[name]["ok"]]
    if as_json:
        native, reason = moorings.native_mode()
        print_json(
            {
                "ok": not failed,
                "moorings": moorings.__version__,
                "native": native,
                "native_reason": reason,
                "loop": loop_name,
                "python": platform.python_version(),
                "parts": summary,
            }
        )
    console.line()
    if failed:
        raise CommandError(f"a step failed: {', '.join(failed)}")
    console.line("all steps went well")
    return EXIT_OK


if __name__ == "__main__":
    from moorings.cli.app import main

    sys.exit(main(["demo", *sys.argv[1:]]))
