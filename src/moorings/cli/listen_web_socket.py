"""`moorings listen ws://...`: one client after the other to standard input and output, an echo server, or a relay."""

# pyright: reportPrivateUsage=false
# The address that a listener without one is bound to, and the socket below a WebSocket, have no public member.

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import moorings
from moorings.cli.echo_server import EchoServer
from moorings.cli.exit_codes import CommandError
from moorings.cli.options import argument_errors
from moorings.cli.output import describe_error
from moorings.cli.standard_streams import Sink, Source
from moorings.cli.statistics_line import Reporter, peer_of, protection_of, tell_address
from moorings.cli.stopping import Stop, drain, end_code, gone_code, serve_one_by_one
from moorings.cli.web_socket_pipes import exchange_messages
from moorings.engine.descriptor import borrowed

if TYPE_CHECKING:
    from collections.abc import Callable

    from moorings import StreamSocket
    from moorings.cli.options import Trust
    from moorings.cli.statistics_line import Telling
    from moorings.cli.web_socket_pipes import MessageManner


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    url: str
    keep: bool
    max_connections: int | None
    drain_timeout: float
    trust: Trust
    subprotocols: tuple[str, ...]
    origins: tuple[str, ...]
    manner: MessageManner
    telling: Telling


async def _start(options: Options, handler: Callable[[Any], object] | None, limit: int | None) -> Any:
    """Listen, and tell the address."""
    scheme, _, place = options.url.partition("://")
    given: dict[str, Any] = {}
    if scheme.lower() == "wss":
        trust = options.trust
        given = {"certificate": trust.identity, "client_ca": trust.ca, "key_log": trust.key_log}
    if options.origins:
        given["origins"] = options.origins
    listen: Any = moorings.listen
    with argument_errors():
        listening = await listen(
            options.url, handler, max_connections=limit, subprotocols=options.subprotocols, **given
        )
    acceptor = listening.listener._accepting.acceptor
    assert acceptor is not None
    with borrowed(acceptor.fd) as plain_socket:
        path = place.partition("/")[2]
        tell_address(scheme.lower(), plain_socket.getsockname(), f"/{path}" if path else "")
    return listening


async def _drain(listening: Any, stop: Stop, options: Options, reporter: Reporter) -> signal.Signals | None:
    """Tell all clients 1001, drain, and tell the counts; the signal that cut it short, if one did."""
    report, aborted, insisted = await drain(listening, stop, options.drain_timeout)
    aborted += report.aborted
    answers = listening.listener.information.counters.answers
    refused = f", refused {sum(answers.values())}" if answers else ""
    failed = listening.listener._accepting.handshakes_failed
    handshakes = f", handshakes failed {failed}" if failed else ""
    reporter.say(
        "drained",
        f"drained: opened {report.opened}, closed {report.opened - aborted}, aborted {aborted}{refused}{handshakes}",
        opened=report.opened,
        closed=report.opened - aborted,
        aborted=aborted,
        broken=report.broken,
        refused={str(status): count for status, count in answers.items()},
        handshakes_failed=failed,
    )
    return insisted


# -- standard input and output ---------------------------------------------------------------------------------------


async def pipe(options: Options) -> int:
    """One client, or one after the other; the exit code."""
    reporter = Reporter(sys.stderr, as_json=options.telling.as_json)
    stop = Stop()
    listening = await _start(options, None, 1)
    work: asyncio.Task[object] = asyncio.create_task(_take_web_sockets(listening, options, reporter))
    return await serve_one_by_one(listening, work, stop, lambda: _drain(listening, stop, options, reporter))


async def _take_web_sockets(listening: Any, options: Options, reporter: Reporter) -> None:
    streams = (Source(), Sink())
    async for web_socket in listening:
        socket = web_socket._socket
        peer = peer_of(socket)
        if not options.keep:
            listening.listener.stop_accepting()
        if options.telling.stats:
            tls = protection_of(socket)
            reporter.say("connected", f"connected with {peer}{tls.text}", peer=peer, **tls.values)
        try:
            await exchange_messages(web_socket, streams, options.manner, options.telling, reporter)
        except (OSError, CommandError) as error:
            ours = isinstance(error, OSError) and not hasattr(error, "winerror")
            # Where the client has not ended, it is our own standard input or output that failed.
            if not options.keep or ours or (isinstance(error, CommandError) and not web_socket.close_code):
                raise
            reporter.say("failed", f"moorings: {describe_error(error)}", peer=peer, reason=describe_error(error))
        if not options.keep:
            return


# -- any number of clients -------------------------------------------------------------------------------------------


class WebSocketEchoServer(EchoServer):
    """Sends each message back, and tells who is there."""

    def _socket_of(self, connection: Any) -> StreamSocket:
        return connection._socket  # type: ignore[no-any-return]

    def _note_of(self, connection: Any) -> str:
        code = connection.close_code
        return f"closed with {code}" if code else ""

    async def _echo(self, connection: Any) -> None:
        async for message in connection:
            await connection.send(message)


class Relay(WebSocketEchoServer):
    """Sends each message to all other clients, and standard input to all."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__(reporter, None)
        self.room = moorings.Broadcaster()

    async def _echo(self, connection: Any) -> None:
        with self.room.joined(connection):
            async for message in connection:
                self.room.send(message, without=(connection,))

    async def speak(self, manner: MessageManner) -> None:
        """Broadcast standard input, until it ends. Errors: CommandError where it cannot be read, or is no text."""
        source, cutter = Source(), manner.cutter()
        while True:
            reading = source.begin()
            if not reading.done():
                await asyncio.wait((reading,))
            block = source.take()
            for piece in cutter.rest() if block is None else cutter.cut(block):
                self.room.send(piece)
            if block is None:
                return
            await asyncio.sleep(0)  # what is queued goes out


async def echo(options: Options) -> int:
    """An echo server, until a signal comes; the exit code."""
    return await _serve(options, relays=False)


async def relay(options: Options) -> int:
    """A relay, until a signal comes; the exit code."""
    return await _serve(options, relays=True)


async def _serve(options: Options, *, relays: bool) -> int:
    stop = Stop()
    reporter = Reporter(sys.stdout, as_json=options.telling.as_json, on_gone=lambda: stop.ask(signal.SIGPIPE))
    server = Relay(reporter) if relays else WebSocketEchoServer(reporter, None)
    listening = await _start(options, server.serve, options.max_connections)
    speaking: asyncio.Task[None] | None = None
    if isinstance(server, Relay):
        speaking = asyncio.create_task(server.speak(options.manner))
    try:
        async with server.showing(options.telling):
            asked = await _asked(stop, speaking)
            if asked == signal.SIGPIPE:
                await listening.drain(0)
                return gone_code(reporter)
            insisted = await _drain(listening, stop, options, reporter)
        return end_code(asked, insisted)
    finally:
        listening.close()
        if speaking is not None:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)


async def _asked(stop: Stop, speaking: asyncio.Task[None] | None) -> signal.Signals:
    """The signal that ends the server; standard input may end, but not fail."""
    if speaking is not None:
        asked = await stop.asked(speaking)
        if asked is not None:
            return asked
        await speaking
    asked = await stop.asked()
    assert asked is not None
    return asked
