"""The Python face of a connected socket: names without `_async`, with asyncio's semantics.

A read takes its bytes in the very step in which it returns, from bytes that the stream keeps; so a cancelled read has
taken nothing, the connection lives, and the next read goes on where this one would have. A write is queued when it is
called; awaiting it sends the queue. Mutable data is copied, so it may change at once.
"""

from __future__ import annotations

from asyncio import IncompleteReadError, LimitOverrunError, get_running_loop, sleep
from operator import index
from typing import TYPE_CHECKING, Any, Self

from moorings import errors
from moorings.foundation.at_home import run_at_home
from moorings.sockets.connection import State, post
from moorings.streams.views import check_separator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from moorings.engine.tcp_stream import TcpStream
    from moorings.foundation.async_info import IAsyncOperationWithProgress
    from moorings.sockets.connection import Connection

#: Bytes that `read_until` and `lines` look through before they give up.
READ_UNTIL_LIMIT = 65536
#: Bytes that `read` returns at most by default.
READ_SIZE = 65536


class ByteFace:
    """Reading and writing. Called from another loop or thread the methods work on the socket's own loop."""

    __slots__ = ()

    def _stream(self, member: str) -> TcpStream:
        raise NotImplementedError

    async def read(self, n: int = READ_SIZE) -> bytes:
        """Read up to `n` bytes (default 64 KiB), at least one; b"" at the end of the stream.

        Errors: RO_E_CLOSED after `close()`; E_ILLEGAL_METHOD_CALL while another read is pending; those of the
        connection, such as ConnectionResetError. Cancellation: *nothing happened*, *retry safe*.
        """
        if type(n) is not int or n < 0:
            n = _count(n)
        stream = self._stream("read")
        if get_running_loop() is not stream.home.loop:
            return await run_at_home(stream.home, lambda: self.read(n), stream.unread)
        await _take_turn(stream, "read")
        while n and stream.stash_size() == 0:
            if await stream.fill() == 0:
                return b""
        return stream.take_stash(n)

    async def read_exactly(self, n: int) -> bytes:
        """Read exactly `n` bytes.

        Errors: `asyncio.IncompleteReadError`, with the bytes that came, when the stream ends before; else as `read`.
        Cancellation: *nothing happened*, *retry safe*: what has arrived stays for the next read.
        """
        if type(n) is not int or n < 0:
            n = _count(n)
        stream = self._stream("read_exactly")
        if get_running_loop() is not stream.home.loop:
            return await run_at_home(stream.home, lambda: self.read_exactly(n), stream.unread)
        await _take_turn(stream, "read_exactly")
        while stream.stash_size() < n:
            if await stream.fill() == 0:
                raise IncompleteReadError(stream.take_stash(n), n)
        return stream.take_stash(n)

    async def read_until(self, separator: bytes = b"\n", limit: int = READ_UNTIL_LIMIT) -> bytes:
        """Read up to and including `separator`, at most `limit` bytes (default 64 KiB).

        Errors: `asyncio.IncompleteReadError`, with the bytes that came, when the stream ends before;
        `asyncio.LimitOverrunError` when `limit` bytes hold no separator (they stay for the next read); else as `read`.
        Cancellation: *nothing happened*, *retry safe*.
        """
        check_separator(separator, limit)
        stream = self._stream("read_until")
        if get_running_loop() is not stream.home.loop:
            return await run_at_home(stream.home, lambda: self.read_until(separator, limit), stream.unread)
        await _take_turn(stream, "read_until")
        start = 0
        while True:
            found = stream.find_in_stash(separator, start)
            size = stream.stash_size()
            stop = found + len(separator)
            if found >= 0 and stop <= limit:
                return stream.take_stash(stop)
            if found >= 0 or size >= limit:
                raise LimitOverrunError(f"no separator within {limit} bytes; read() them or raise limit", size)
            start = max(0, size - len(separator) + 1)
            if await stream.fill() == 0:
                raise IncompleteReadError(stream.take_stash(size), None)

    async def lines(self, limit: int = READ_UNTIL_LIMIT) -> AsyncIterator[bytes]:
        r"""Iterate over lines, without their end (\n or \r\n); a last line without an end counts too.

        Errors: `asyncio.LimitOverrunError` for a line longer than `limit` bytes (default 64 KiB); else as `read`.
        Cancellation: *nothing happened*, *retry safe*.
        """
        while True:
            try:
                line = await self.read_until(b"\n", limit)
            except IncompleteReadError as error:
                if error.partial:
                    yield error.partial
                return
            yield line[:-2] if line.endswith(b"\r\n") else line[:-1]

    def write(self, data: Any) -> IAsyncOperationWithProgress[int, int]:
        """Queue `data` (bytes-like) for sending; awaiting the result sends the queue and gives the number of bytes.

        Without `await` it is sent at the end of the loop turn, with `flush()`, or when 64 KiB are queued. Await now
        and then: that is the back-pressure. A failure that nobody awaited is raised by the next `write` or `flush()`.
        In the middle of bulk transfer an awaited write may leave one piece in the queue; after `flush()` nothing is.

        Errors: RO_E_CLOSED after `close()`; WSAENOBUFS when the queue is full (`limits`); those of the connection. What
        is known at the call is raised by the call itself (on another thread than the socket's, by awaiting).
        Cancellation: *retry safe* for the connection, but the data stays queued: it may have been sent.
        """
        try:
            operation: Any = self._stream("write").write_copied(data)
        except TypeError as error:
            hint = "; text needs an encoding: text.encode()" if isinstance(data, str) else ""
            raise TypeError(f"write() takes a bytes-like object, not {type(data).__name__}{hint}") from error
        return operation  # type: ignore[no-any-return]

    async def flush(self) -> None:
        """Send everything queued and wait until the kernel has it.

        Errors: the error of the first write that failed. Cancellation: *retry safe*: the writes stay queued.
        """
        stream = self._stream("flush")
        if get_running_loop() is not stream.home.loop:
            await run_at_home(stream.home, self.flush)
            return
        refusal = stream.take_refusal()
        sent = await (stream.flush_marker() if stream.shut_wanted else stream.flush())
        if refusal is not None:
            raise refusal.with_traceback(None)
        if not sent or stream.write_error is not None:
            raise stream.write_error.with_traceback(None)


class StreamFace(ByteFace):
    """Mixed into the stream sockets."""

    __slots__ = ()

    _connection: Connection

    def end_writing(self) -> None:
        """Half-close: the peer reads the end of the stream behind what was written; reading goes on."""
        stream = self._stream("end_writing")
        stream.home.call(stream.shut_writing)

    async def aclose(self) -> None:
        """`close()` and wait until what was written is sent, the deadline included.

        Cancellation: *object now broken*: the connection is aborted.
        """
        stream = self._connection.stream
        self.close()
        if stream is None or stream.is_released() or stream.home.dropped or stream.home.loop.is_closed():
            return
        if get_running_loop() is stream.home.loop:
            await stream.wait_closed()
        else:
            await run_at_home(stream.home, self.aclose)

    def close(self) -> None:
        """End the connection gracefully and return at once."""
        raise NotImplementedError

    def abort(self) -> None:
        """Close at once: the peer sees a reset, what was queued is lost. Never waits; may be called twice."""
        connection = self._connection
        stream = connection.stream
        if stream is None or connection.state == State.BUSY:
            self.close()
        else:
            connection.state = State.CLOSED
            if not stream.home.dropped:
                self._at_home(stream.abort)

    def _at_home(self, function: Callable[[], object]) -> None:
        """Let the home loop call `function`; where that loop is closed, nobody can be in the way."""
        home = self._connection.home
        assert home is not None
        if home.on_home_thread() or not post(home, function):
            function()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _count(n: Any) -> int:
    """Check a number of bytes before anybody waits for them: TypeError, ValueError."""
    number = index(n)
    if number < 0:
        raise ValueError("n must not be negative")
    return number


async def _take_turn(stream: TcpStream, member: str) -> None:
    """Begin a read: refuse a second one at the same time, and let others run where this one would never wait."""
    if stream.reading():
        raise errors.illegal_call(f"{stream.label}: {member}() while another read is pending", "await that first")
    home = stream.home
    if stream.stash_size():
        if not home.has_budget():
            # Not behind the sleep: a read that is cancelled there must not leave the next one without a turn, too.
            home.loop.call_soon(home.new_turn)
            await sleep(0)
        home.immediate += 1
