"""A connection between standard input and standard output.

Theory of operation
-------------------
Two tasks, one for each direction; each moves a block at a time and waits until it has gone on, which is the
back-pressure. How it ends:

- Standard input ends: the connection is half-closed, and the peer's answer is awaited.
- The peer ends: what standard input still has to say is sent, as long as it goes on saying it. Nobody can tell from
  outside whether the peer reads on or has gone altogether; so a terminal is not waited for, and a pipe not longer than
  `OUR_PATIENCE`.
- Both have ended: the command waits until the peer's system has acknowledged everything, so that a reset which comes
  after the last byte was handed over is told and not lost.
- The connection breaks: what had arrived is written out first.
"""

# pyright: reportPrivateUsage=false
# Whether everything has arrived, only the descriptor tells.

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moorings import EndReason, InputStreamOptions, errors
from moorings.cli.exit_codes import CommandError
from moorings.cli.standard_streams import BLOCK_SIZE, failure_of
from moorings.cli.statistics_line import Meter, showing, summary_line
from moorings.engine.descriptor import borrowed, explain, unacknowledged_bytes
from moorings.streams.buffer import wrap

if TYPE_CHECKING:
    from moorings import StreamSocket
    from moorings.cli.standard_streams import Sink, Source
    from moorings.cli.statistics_line import Reporter, Telling

#: Seconds that a pipe may be silent, once the peer has ended, before it is taken as having said everything.
OUR_PATIENCE = 0.5
#: Seconds without any progress after which unacknowledged bytes are given up.
ACKNOWLEDGE_PATIENCE = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05
#: How often, in its own time, an idle time-out looks.
_IDLE_LOOKS = 10


@dataclass(frozen=True)
class Manner:
    """How an exchange ends."""

    #: The end of standard input is told to the peer.
    half_close: bool = True
    #: Standard input is sent to its end, however slow it is, when the peer has ended before.
    finish_input: bool = False
    #: Once standard input has ended, this many seconds of silence of the peer end the exchange.
    quit_after: float | None = None
    #: This many seconds without a byte in either direction are a failure.
    idle_timeout: float | None = None
    #: An absent standard input says nothing, not even that it has ended, before the peer has ended.
    wait_if_absent: bool = False


class Exchange:
    """One connection, from its beginning to its end."""

    def __init__(
        self, connection: StreamSocket, streams: tuple[Source, Sink], manner: Manner, reporter: Reporter
    ) -> None:
        self._connection = connection
        self._source, self._sink = streams
        self._manner = manner
        self._reporter = reporter
        self._peer_ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._failure: BaseException | None = None
        self._broke = False

    @property
    def end_reason(self) -> EndReason:
        """How the connection ended; a reset behind the peer's last byte is one, too."""
        return EndReason.RESET if self._broke else self._connection.end_reason

    async def run(self) -> None:
        """Both directions, to the end.

        Errors: those of the connection; BrokenPipeError (not of a socket) when the reader of standard output has gone;
        CommandError where standard input or output fail.
        """
        receiving = asyncio.create_task(self._receive())
        sending = asyncio.create_task(self._send())
        tasks = [receiving, sending]
        if self._manner.idle_timeout is not None:
            tasks.append(asyncio.create_task(self._watch_idle(self._manner.idle_timeout)))
        try:
            await self._both(receiving, sending)
            await self._acknowledged()
            await self._connection.aclose()
        except asyncio.CancelledError:
            self._interrupt()
            raise
        except BaseException:
            self._connection.abort()
            if self._failure is not None:
                raise self._failure from None
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _both(self, receiving: asyncio.Task[None], sending: asyncio.Task[None]) -> None:
        await asyncio.wait((receiving, sending), return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done():
            failure = sending.exception()
            if isinstance(failure, CommandError):
                raise failure
            if failure is not None or self._manner.quit_after is None:
                await receiving  # what had arrived before the connection broke is written out
            else:
                await self._until_silent(receiving, self._manner.quit_after)
            if failure is not None:
                raise failure
            return
        receiving.result()
        await sending

    def _interrupt(self) -> None:
        """Ctrl-C: a FIN would tell the peer that it has all of a file or a pipe. Who typed has said what was said."""
        if self._connection.counters.queued_bytes or not (self._source.terminal or self._source.ended):
            self._connection.abort()
        else:
            self._connection.close()

    def _fail(self, error: BaseException) -> None:
        """End the exchange with this error, whatever the two directions then run into."""
        if self._failure is None:
            self._failure = error
        self._connection.abort()

    # -- from the peer -----------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        stream = self._connection.input_stream
        memories = [memoryview(bytearray(BLOCK_SIZE)) for _ in range(2)]
        buffers = [wrap(memory) for memory in memories]
        writing: asyncio.Future[int] | None = None
        turn = 0
        try:
            while True:
                buffer = buffers[turn]
                await stream.read_async(buffer, BLOCK_SIZE, InputStreamOptions.PARTIAL)
                count = buffer.length
                if writing is not None:
                    await writing
                if not count:
                    break
                if self._sink.terminal:
                    self._reporter.erase()
                writing = self._sink.write(memories[turn][:count])
                writing.add_done_callback(self._written)
                turn ^= 1
        except OSError:
            if writing is not None and self._failure is None:
                await asyncio.wait((writing,))
            raise
        self._peer_ended.set_result(None)

    def _written(self, writing: asyncio.Future[int]) -> None:
        """Standard output fails when nobody waits for it, too."""
        error = failure_of(writing)
        if error is not None:
            self._fail(error)

    async def _until_silent(self, receiving: asyncio.Task[None], patience: float) -> None:
        """Wait for the peer's end, until it says nothing for some time."""
        received = -1
        while not receiving.done() and received != self._connection.counters.bytes_received:
            received = self._connection.counters.bytes_received
            await asyncio.wait((receiving,), timeout=patience)
        if receiving.done():
            receiving.result()
            return
        await self._acknowledged()
        self._connection.close()  # ends the read
        with suppress(OSError):
            await receiving

    # -- to the peer -------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        if self._manner.wait_if_absent and self._source.absent:
            await asyncio.wait((self._peer_ended,))
        stream = self._connection.output_stream
        while await self._next_block_is_there():
            block = self._source.take()
            if block is None:
                break
            await stream.write_async(block)
        if self._manner.half_close:
            self._connection.end_writing()

    async def _next_block_is_there(self) -> bool:
        """Wait for standard input; False where it is not worth waiting any longer."""
        reading = self._source.begin()
        if reading.done():
            return True
        if not self._peer_ended.done():
            await asyncio.wait((reading, self._peer_ended), return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            if self._manner.finish_input:
                await asyncio.wait((reading,))
            elif not self._source.terminal:
                await asyncio.wait((reading,), timeout=OUR_PATIENCE)
        return reading.done()

    async def _acknowledged(self) -> None:
        """Wait until the peer's system has everything."""
        stream = self._connection._connection.stream
        pause, left, since = _FIRST_PAUSE, -1, time.monotonic()
        while stream is not None and stream.fd >= 0:
            with borrowed(stream.fd) as plain_socket:
                code = plain_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            unacknowledged = unacknowledged_bytes(stream.fd)
            if code:
                self._broke = True
                raise errors.from_errno(code, f"{stream.label}: sending failed: {explain(code)}")
            if not unacknowledged:
                return
            if unacknowledged != left:
                left, since = unacknowledged, time.monotonic()
            elif time.monotonic() - since > ACKNOWLEDGE_PATIENCE:
                reason = f"{stream.label}: the peer does not acknowledge the last {left} bytes; is its host still up?"
                raise errors.make(errors.WSAETIMEDOUT, reason)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    # -- time --------------------------------------------------------------------------------------------------------

    async def _watch_idle(self, limit: float) -> None:
        moved, since = -1, time.monotonic()
        while time.monotonic() - since < limit:
            counters = self._connection.counters
            if counters.bytes_received + counters.bytes_sent != moved:
                moved, since = counters.bytes_received + counters.bytes_sent, time.monotonic()
            await asyncio.sleep(limit / _IDLE_LOOKS)
        label = self._connection._connection
        self._fail(errors.make(errors.WSAETIMEDOUT, f"{label}: nothing came or went for {limit:g} s"))


async def exchange(
    connection: StreamSocket, streams: tuple[Source, Sink], manner: Manner, telling: Telling, reporter: Reporter
) -> None:
    """`Exchange.run`, with statistics while it runs and a summary at its end, however it ends."""
    meter = Meter(connection)
    running = Exchange(connection, streams, manner, reporter)
    try:
        async with showing(meter, telling, reporter):
            await running.run()
    finally:
        if telling.stats or telling.as_json:
            summary = meter.summary(running.end_reason)
            reporter.say("summary", summary_line(summary), peer=meter.peer, **summary)
