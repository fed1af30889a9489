"""A WebSocket between standard input and standard output.

Theory of operation
-------------------
Each line of standard input is a text message, its end not among it; or what is read goes out as binary messages. What
comes is written as it comes, and the peer waits for standard output. A WebSocket has no half-closed state; so once
standard input has ended, the peer gets time to answer, and the WebSocket is closed when it is silent. What the peer
says when it closes is told.
"""

# pyright: reportPrivateUsage=false
# How many messages came, and how long a close may take, the link knows.

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from moorings.cli.exit_codes import CommandError
from moorings.cli.output import printable
from moorings.cli.standard_streams import failure_of
from moorings.cli.statistics_line import amount
from moorings.cli.web_socket_statistics import measuring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moorings.cli.standard_streams import Sink, Source
    from moorings.cli.statistics_line import Reporter, Telling

#: Seconds of silence after which no more answers are expected, once standard input has ended.
WAIT = 1.0
#: Bytes of a line that may be a message.
LONGEST_LINE = 16 << 20
#: Bytes of a binary message that are shown on a terminal.
_SHOWN_BYTES = 32
#: Seconds that the peer has to answer our close frame when the command was interrupted, or has failed.
_LAST_WORD = 1.0
#: Codes of a close frame behind which nothing is wrong; 1005 stands for none.
CLEAN_CODES = frozenset((1000, 1001, 1005))


class TextLines:
    """Every line is a text message, without its end (LF, or CR and LF)."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._number = 1

    def cut(self, block: memoryview) -> Iterator[str]:
        """The lines that end in this block. Errors: CommandError for one that is no text, or too long."""
        *lines, rest = bytes(block).split(b"\n")
        for line in lines:
            yield self._message(bytes(self._rest) + line)
            self._rest.clear()
            self._number += 1
        self._rest += rest
        if len(self._rest) > LONGEST_LINE:
            raise CommandError(
                f"line {self._number} of standard input has more than {LONGEST_LINE} bytes; try --binary"
            )

    def rest(self) -> Iterator[str]:
        """A line without an end."""
        if self._rest:
            yield self._message(bytes(self._rest))

    def _message(self, line: bytes) -> str:
        try:
            return line.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            raise CommandError(f"line {self._number} of standard input is not UTF-8; --binary sends bytes") from error


class Pieces:
    """What is read is binary messages: as it comes, or so many bytes each."""

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._rest = b""

    def cut(self, block: memoryview) -> Iterator[bytes]:
        """The messages that this block completes."""
        data = self._rest + block
        size = self._size or max(len(data), 1)
        whole = len(data) - len(data) % size
        self._rest = data[whole:]
        for start in range(0, whole, size):
            yield data[start : start + size]

    def rest(self) -> Iterator[bytes]:
        """What is left."""
        if self._rest:
            yield self._rest


@dataclass(frozen=True)
class MessageManner:
    """How messages are made, and how the exchange ends."""

    binary: bool = False
    size: int | None = None
    #: Once standard input has ended, this many seconds of silence end the exchange; None: nothing does.
    wait: float | None = WAIT
    #: It is a server: an absent standard input says nothing, not even that it has ended.
    serves: bool = False

    def cutter(self) -> TextLines | Pieces:
        """What makes messages of standard input."""
        return Pieces(self.size) if self.binary else TextLines()


def message_manner_of(shared: dict[str, Any], size: int | None, *, serves: bool) -> MessageManner:
    """How messages are exchanged, from the values of a command's options."""
    if size is not None and not shared["binary"]:
        raise click.UsageError("--size goes with --binary: a line is a text message")
    wait = shared["quit_after"]
    return MessageManner(shared["binary"], size, WAIT if wait is None and not serves else wait, serves)


class MessageExchange:
    """One WebSocket, from its beginning to its end."""

    def __init__(
        self, web_socket: Any, streams: tuple[Source, Sink], manner: MessageManner, reporter: Reporter
    ) -> None:
        self._web_socket = web_socket
        self._link = web_socket._link
        self._source, self._sink = streams
        self._manner = manner
        self._reporter = reporter

    async def run(self) -> None:
        """Both directions, to the end, which is told where somebody watches.

        Errors: those of the connection; CommandError for a close code that says that something is wrong, and where
        standard input or output fail; BrokenPipeError (not of a socket) when the reader of standard output has gone.
        """
        receiving = asyncio.create_task(self._receive())
        sending = asyncio.create_task(self._send())
        try:
            await self._both(receiving, sending)
            await self._web_socket.aclose()
        except BaseException:
            # What was sent must arrive, and so no reset; nobody waits long for the peer's answer.
            self._link.close_wait = min(self._link.close_wait, _LAST_WORD)
            self._web_socket.close()
            raise
        finally:
            for task in (receiving, sending):
                task.cancel()
            await asyncio.gather(receiving, sending, return_exceptions=True)

    async def _both(self, receiving: asyncio.Task[None], sending: asyncio.Task[None]) -> None:
        await asyncio.wait((receiving, sending), return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done():
            failure = sending.exception()
            if isinstance(failure, CommandError):
                raise failure
            if failure is None:
                await self._until_silent(receiving)
            await receiving  # what had arrived before the connection broke is written out
            if failure is not None and not self._link.close_code:
                raise failure
        receiving.result()
        self._tell_end()

    async def _until_silent(self, receiving: asyncio.Task[None]) -> None:
        """Wait for the peer's end, until it says nothing for some time; then close."""
        received = -1
        while not receiving.done() and received != self._link.messages_received:
            received = self._link.messages_received
            await asyncio.wait((receiving,), timeout=self._manner.wait)
        if not receiving.done():
            self._web_socket.close(1000, "")

    def _tell_end(self) -> None:
        """Raise what is wrong; tell a close of the peer."""
        code, reason = self._link.close_code, printable(self._link.close_reason)
        if not code or self._link.left:
            return  # we have closed
        said = f"closed with {code} {reason}".rstrip()
        if code not in CLEAN_CODES:
            raise CommandError(f"{self._link.stream.label}: the peer has {said}")
        if self._source.terminal:
            self._reporter.say("closed", said, code=code, reason=reason)

    # -- from the peer -----------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        try:
            while True:
                await self._write(await anext(self._web_socket))
        except StopAsyncIteration:
            return
        except OSError:
            if not self._link.close_code:
                raise

    async def _write(self, message: str | bytes) -> None:
        if self._sink.terminal:
            self._reporter.erase()
            data = shown(message).encode()
        else:
            data = message if isinstance(message, bytes) else message.encode() + b"\n"
        if not data:
            return
        writing = self._sink.write(memoryview(data))
        await asyncio.wait((writing,))
        error = failure_of(writing)
        if error is not None:
            raise error

    # -- to the peer -------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        if self._manner.serves and self._source.absent:
            await asyncio.get_running_loop().create_future()
        cutter = self._manner.cutter()
        while True:
            reading = self._source.begin()
            if not reading.done():
                await asyncio.wait((reading,))
            block = self._source.take()
            if block is None:
                break
            await self._send_all(cutter.cut(block))
        await self._send_all(cutter.rest())

    async def _send_all(self, pieces: Iterator[str] | Iterator[bytes]) -> None:
        """Queue them, and wait until the kernel has them."""
        last: Any = None
        try:
            for piece in pieces:
                last = self._web_socket.send(piece)
        finally:
            if last is not None:
                await last


def shown(message: str | bytes) -> str:
    """A message as a terminal shows it: with a mark in front, and of which type it is where that is not text."""
    if isinstance(message, str):
        lines = [printable(line) for line in message.split("\n")]
        return "< " + "\n  ".join(lines) + "\n"
    rest = " ..." if len(message) > _SHOWN_BYTES else ""
    return f"< binary, {amount(len(message), 'B')}: {message[:_SHOWN_BYTES].hex(' ')}{rest}".rstrip() + "\n"


async def exchange_messages(
    web_socket: Any, streams: tuple[Source, Sink], manner: MessageManner, telling: Telling, reporter: Reporter
) -> None:
    """`MessageExchange.run`, with statistics while it runs and a summary at its end, however it ends."""
    async with measuring(web_socket, telling, reporter):
        await MessageExchange(web_socket, streams, manner, reporter).run()
