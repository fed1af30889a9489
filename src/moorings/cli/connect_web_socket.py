"""`moorings connect ws://...`: standard input goes out as messages, those that come go to standard output."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import moorings
from moorings.cli.exit_codes import EXIT_OK
from moorings.cli.options import argument_errors
from moorings.cli.output import printable
from moorings.cli.refusals import refusals
from moorings.cli.standard_streams import Sink, Source
from moorings.cli.statistics_line import Reporter, milliseconds, protection_of
from moorings.cli.web_socket_pipes import exchange_messages

if TYPE_CHECKING:
    from moorings.cli.options import Trust
    from moorings.cli.statistics_line import Telling
    from moorings.cli.web_socket_pipes import MessageManner


@dataclass(frozen=True)
class Request:
    """What the request for the WebSocket says."""

    headers: tuple[tuple[str, str], ...]
    subprotocols: tuple[str, ...]
    compression: bool


@dataclass(frozen=True)
class Opening:
    """How to get the WebSocket."""

    url: str
    timeout: float
    trust: Trust
    request: Request


async def talk(opening: Opening, manner: MessageManner, telling: Telling) -> int:
    """Send and receive until standard input has ended and nothing comes any more, or the server closes; exit code."""
    reporter = Reporter(sys.stderr, as_json=telling.as_json)
    begin = time.monotonic()
    with (
        refusals(opening.url, opening.trust),
        argument_errors(),
        reporter.waiting(f"connecting to {opening.url} ..."),
    ):
        web_socket = await _open(opening)
    if telling.stats:
        took = time.monotonic() - begin
        chosen = web_socket.information.protocol
        tls = protection_of(web_socket)
        text = f"connected to {opening.url} in {milliseconds(took)}{tls.text}"
        text += f", subprotocol {printable(chosen)}" if chosen else ""
        reporter.say("connected", text, url=opening.url, seconds=round(took, 6), subprotocol=chosen, **tls.values)
    await exchange_messages(web_socket, (Source(), Sink()), manner, telling, reporter)
    return EXIT_OK


async def _open(opening: Opening) -> Any:
    trust, request = opening.trust, opening.request
    given: dict[str, Any] = {
        "headers": request.headers,
        "subprotocols": request.subprotocols,
        "compression": request.compression,
        "ca": trust.ca,
        "certificate": trust.identity,
        "server_name": trust.server_name,
        "ignore": trust.ignore,
        "pin_sha256": trust.pin_sha256,
        "revocation": trust.revocation,
        "key_log": trust.key_log,
    }
    connect: Any = moorings.connect
    return await connect(
        opening.url, timeout=opening.timeout, **{name: value for name, value in given.items() if value}
    )
