"""Datagrams between standard input and standard output.

Theory of operation
-------------------
What is read is cut into datagrams, by lines or by size, and sent in batches; the kernel sets the pace, since UDP has
nobody else who could. What is received is written as it comes; what comes while a write is under way goes out with the
next one. When standard output is too slow for that, datagrams are dropped, and counted.

The network may report that a datagram was not delivered. That is told once, until somebody is heard again, and ends
nothing: the next datagram may find somebody.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from moorings.cli.exit_codes import CommandError
from moorings.cli.options import LARGEST_DATAGRAM
from moorings.cli.output import describe_error
from moorings.cli.standard_streams import BLOCK_SIZE, failure_of
from moorings.names.endpoints import endpoint_text
from moorings.names.host_name import host_name_from_sockaddr

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from moorings import DatagramSocket, DatagramSocketMessageReceivedEventArgs
    from moorings.cli.standard_streams import Sink, Source
    from moorings.cli.statistics_line import Reporter

    Send = Callable[[bytes], Awaitable[object]]

#: Datagrams, and their bytes, that are sent before the kernel must have taken them.
_BATCH, _BATCH_BYTES = 256, 1 << 20
#: Bytes that may wait for standard output before datagrams are dropped.
_WAITING_BYTES = 64 * BLOCK_SIZE
#: Bytes that the kernel may keep while the command is busy, as far as net.core.rmem_max permits.
KERNEL_BYTES = 4 << 20


class Cutter(Protocol):
    """Cuts a stream of bytes into datagrams."""

    def cut(self, block: memoryview) -> Iterator[bytes]:
        """The datagrams that are complete with this block. Errors: CommandError for one that would be too long."""
        ...

    def rest(self) -> Iterator[bytes]:
        """The last one, at the end of the stream."""
        ...


class Lines:
    """Every line, with its end, is a datagram."""

    def __init__(self) -> None:
        self._rest = b""
        self._number = 1

    def cut(self, block: memoryview) -> Iterator[bytes]:
        """The lines that end in this block."""
        *lines, self._rest = (self._rest + block).split(b"\n")
        for line in lines:
            self._check(len(line) + 1)
            self._number += 1
            yield line + b"\n"
        self._check(len(self._rest))

    def rest(self) -> Iterator[bytes]:
        """A line without an end."""
        if self._rest:
            yield self._rest

    def _check(self, size: int) -> None:
        if size > LARGEST_DATAGRAM:
            raise CommandError(
                f"line {self._number} of standard input is longer than a datagram, {LARGEST_DATAGRAM} bytes; "
                "cut by bytes with --size"
            )


class Blocks:
    """Every `size` bytes are a datagram; the last one may be shorter."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rest = b""

    def cut(self, block: memoryview) -> Iterator[bytes]:
        """The datagrams that this block completes."""
        data = self._rest + block
        whole = len(data) - len(data) % self._size
        self._rest = data[whole:]
        for start in range(0, whole, self._size):
            yield data[start : start + self._size]

    def rest(self) -> Iterator[bytes]:
        """What is left."""
        if self._rest:
            yield self._rest


def cutter(size: int | None) -> Cutter:
    """By lines, or by so many bytes."""
    return Lines() if size is None else Blocks(size)


def tell_datagram(message: DatagramSocketMessageReceivedEventArgs, reporter: Reporter) -> None:
    """Who sent it, and how much."""
    peer = endpoint_text(*message.address)
    reporter.say("datagram", f"{peer}: {message.size} B", peer=peer, bytes=message.size)


class _Outlet:
    """Standard output, which never holds up who has something for it."""

    def __init__(self, sink: Sink, fail: Callable[[BaseException], object]) -> None:
        self._sink = sink
        self._fail = fail
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._writing: asyncio.Future[int] | None = None
        #: Datagrams for which there was no room.
        self.dropped = 0

    def put(self, data: bytes) -> None:
        """Write this behind all before, if there is room."""
        if self._waiting_bytes > _WAITING_BYTES:
            self.dropped += 1
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._writing is None:
            self._next()

    def _next(self) -> None:
        data = b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._writing = self._sink.write(memoryview(data))
        self._writing.add_done_callback(self._written)

    def _written(self, writing: asyncio.Future[int]) -> None:
        self._writing = None
        error = failure_of(writing)
        if error is not None:
            self._fail(error)
        elif self._waiting:
            self._next()

    async def written(self) -> None:
        """Wait until all is written, or writing has failed."""
        while self._writing is not None:
            await asyncio.wait((self._writing,))


@dataclass(frozen=True)
class DatagramManner:
    """How datagrams are made of standard input, and when an exchange ends."""

    cutter: Cutter
    #: Once standard input has ended, this many seconds of silence end the exchange; None: nothing does.
    wait: float | None
    #: It is a server: somebody must come before anything is sent, and what cannot be sent to one ends nothing.
    serves: bool
    verbose: bool


class DatagramExchange:
    """One socket between standard input and standard output, from beginning to end."""

    def __init__(
        self,
        datagrams: DatagramSocket,
        streams: tuple[Source, Sink],
        manner: DatagramManner,
        reporter: Reporter,
    ) -> None:
        """The socket must be new: it gets a handler. Bind or connect it next, and then `run`."""
        datagrams.control.inbound_buffer_size_in_bytes = KERNEL_BYTES
        datagrams.add_message_received(self._take)
        self._socket = datagrams
        self._source, self._sink = streams
        self._manner = manner
        self._reporter = reporter
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._outlet = _Outlet(self._sink, self._fail)
        #: The socket address of the last one who was heard.
        self._last: Any = None
        self._somebody = asyncio.Event()
        self._heard_at = 0.0
        self._told = False
        self._input_ended = False
        self._sent_when_reported = 0
        #: The network said that a datagram found nobody, and nobody was ever heard.
        self.nobody = False

    async def run(self, send: Send) -> None:
        """Both directions, to the end; `send` sends a datagram.

        Errors: those of sending; BrokenPipeError (not of a socket) when the reader of standard output has gone;
        CommandError where standard input or output fail, or a line is too long.
        """
        sending = asyncio.create_task(self._send(send))
        try:
            await asyncio.wait((sending, self._over), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
                self._input_ended = True
                self._end_if_nobody()
                await self._until_silent()
            await self.written()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def written(self) -> None:
        """Wait until standard output has what was received. Errors: as `run`."""
        await self._outlet.written()
        if self._over.done():
            self._over.result()

    @property
    def dropped(self) -> int:
        """Datagrams that standard output was too slow for."""
        return self._outlet.dropped

    @property
    def last_address(self) -> tuple[str, int]:
        """Who was heard last."""
        return host_name_from_sockaddr(self._last).canonical_name, self._last[1]

    async def _until_silent(self) -> None:
        """Wait until nothing has come for some time, or it is known that nobody is there."""
        since = self._loop.time()
        while not self._over.done():
            left: float | None = None
            if self._manner.wait is not None:
                left = max(since, self._heard_at) + self._manner.wait - self._loop.time()
                if left <= 0:
                    return
            await asyncio.wait((self._over,), timeout=left)

    def _fail(self, error: BaseException) -> None:
        """End the exchange with this error."""
        if not self._over.done():
            self._over.set_exception(error)
            self._over.exception()  # who has ended meanwhile does not ask

    # -- from the network ----------------------------------------------------------------------------------------------

    def _take(self, _socket: DatagramSocket, message: DatagramSocketMessageReceivedEventArgs) -> None:
        if message.error is not None:
            self._reported(message.error)
            return
        self._last = message.name
        self._heard_at = self._loop.time()
        self._told = self.nobody = False
        self._somebody.set()
        if self._manner.verbose:
            tell_datagram(message, self._reporter)
        if message.size:
            if self._sink.terminal:
                self._reporter.erase()
            self._outlet.put(bytes(message.data))

    def _reported(self, error: OSError) -> None:
        """The network said that a datagram was not delivered."""
        self.nobody = self._last is None
        self._sent_when_reported = self._socket.counters.datagrams_sent
        self._tell(error)
        self._end_if_nobody()

    def _end_if_nobody(self) -> None:
        """Nothing was sent since the network said that nobody is there: there is no answer to wait for."""
        none_since = self._sent_when_reported == self._socket.counters.datagrams_sent
        if self.nobody and self._input_ended and none_since and not self._over.done():
            self._over.set_result(None)

    def _tell(self, error: OSError) -> None:
        """Say it once, until somebody is heard again."""
        if not self._told:
            self._told = True
            reason = describe_error(error)
            self._reporter.say("failed", f"moorings: {reason}", reason=reason)

    # -- to the network ------------------------------------------------------------------------------------------------

    async def _send(self, send: Send) -> None:
        if self._manner.serves:
            await self._somebody.wait()
        while True:
            reading = self._source.begin()
            if not reading.done():
                await asyncio.wait((reading,))
            block = self._source.take()
            if block is None:
                break
            await self._send_all(send, self._manner.cutter.cut(block))
        await self._send_all(send, self._manner.cutter.rest())

    async def _send_all(self, send: Send, pieces: Iterator[bytes]) -> None:
        batch: list[bytes] = []
        try:
            for piece in pieces:
                batch.append(piece)
                if len(batch) >= _BATCH or len(batch) * len(piece) >= _BATCH_BYTES:
                    await self._send_batch(send, batch)
                    batch.clear()
        except CommandError:
            await self._send_batch(send, batch)
            raise
        await self._send_batch(send, batch)

    async def _send_batch(self, send: Send, batch: list[bytes]) -> None:
        """Send these datagrams, and wait until the kernel has them."""
        try:
            for writing in [send(piece) for piece in batch]:
                await writing
        except OSError as error:
            if not self._manner.serves:
                raise
            self._tell(error)
