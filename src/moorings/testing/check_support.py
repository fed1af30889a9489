"""What the stream checks share: the shape of a stream, waiting, expecting failures, filling a connection up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from moorings import errors
from moorings.protocols.web_error_status import INET_E_CONNECTION_RESET, INET_E_OPERATION_CANCELLED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    from moorings.engine.interface import EndReason
    from moorings.sockets.limits import StreamCounters, StreamLimits
    from moorings.streams.interfaces import IInputStream, IOutputStream

#: Seconds after which something that takes milliseconds counts as never happening.
PATIENCE = 20.0
#: Bytes that fill both kernels' buffers and leave something in the queue, also where buffers grow by themselves.
CLOG_SIZE = 16777216
#: What a WebSocket says, in the words of the web, where a transport speaks Winsock's.
_SAME_ON_THE_WEB = {
    errors.ERROR_OPERATION_ABORTED: INET_E_OPERATION_CANCELLED,
    errors.WSAECONNRESET: INET_E_CONNECTION_RESET,
}
#: Loop turns after which nothing happens any more between two ends on one machine.
QUIET_TURNS = 10


class StreamLike(Protocol):
    """What a stream socket must have to be checked: the members of `moorings.StreamSocket` that move and end bytes."""

    @property
    def input_stream(self) -> IInputStream:
        """Received bytes, the WinRT way."""
        ...

    @property
    def output_stream(self) -> IOutputStream:
        """Bytes to send, the WinRT way."""
        ...

    @property
    def end_reason(self) -> EndReason:
        """Why the connection ended."""
        ...

    @property
    def counters(self) -> StreamCounters:
        """What it has done and holds."""
        ...

    @property
    def limits(self) -> StreamLimits:
        """What it may hold, and how long closing may take."""
        ...

    async def read(self, n: int = ...) -> bytes:
        """Some bytes, or b"" at the end."""
        ...

    async def read_exactly(self, n: int) -> bytes:
        """All `n` bytes."""
        ...

    async def read_until(self, separator: bytes = ..., limit: int = ...) -> bytes:
        """Up to and including `separator`."""
        ...

    def lines(self, limit: int = ...) -> AsyncIterator[bytes]:
        """Line after line."""
        ...

    def write(self, data: Any) -> Any:
        """Queue bytes; awaitable."""
        ...

    async def flush(self) -> None:
        """Wait until everything queued is sent."""
        ...

    def end_writing(self) -> None:
        """Half-close."""
        ...

    def cancel_io_async(self) -> Any:
        """End what is pending and keep the connection; awaitable."""
        ...

    def close(self) -> None:
        """End gracefully, without waiting."""
        ...

    async def aclose(self) -> None:
        """End gracefully, and wait for it."""
        ...

    def abort(self) -> None:
        """End at once."""
        ...

    async def __aenter__(self) -> Any: ...
    async def __aexit__(self, kind: Any, value: Any, traceback: Any) -> None: ...


MakePair = Callable[[], Awaitable[tuple[StreamLike, StreamLike]]]
Check = Callable[[StreamLike, StreamLike], Awaitable[None]]


def expect(condition: object, what: str) -> None:
    """Fail the check unless `condition` holds."""
    if not condition:
        raise AssertionError(what)


def expect_equal(found: object, wanted: object, what: str) -> None:
    """Fail the check unless both are equal."""
    if found != wanted:
        raise AssertionError(f"{what}: expected {_shortened(wanted)}, got {_shortened(found)}")


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:100]} ... {text[-50:]} ({len(text)} characters)"


@contextmanager
def expect_error(winerror: int, what: str, kind: type[OSError] = OSError) -> Generator[None]:
    """Fail the check unless the block raises an OSError with this HRESULT, or with what stands for it on the web."""
    try:
        yield
    except kind as error:
        found = getattr(error, "winerror", None)
        if found not in {winerror, _SAME_ON_THE_WEB.get(winerror)}:
            wanted = f"0x{errors.unsigned(winerror):08X}"
            raise AssertionError(f"{what}: expected an error with winerror {wanted}, got {error!r}") from error
    else:
        raise AssertionError(f"{what}: expected 0x{errors.unsigned(winerror):08X}, got no error")


async def turns(count: int = QUIET_TURNS) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition` holds; TimeoutError after `PATIENCE` seconds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0)


async def clog(stream: StreamLike) -> int:
    """Write until the connection takes no more; the number of bytes written, all of which are un-awaited."""
    stream.write(bytes(CLOG_SIZE))
    sent = -1
    while sent != stream.counters.bytes_sent:
        sent = stream.counters.bytes_sent
        await turns()
    expect(stream.counters.queued_bytes > 0, f"the connection swallowed {CLOG_SIZE} bytes that nobody read")
    return CLOG_SIZE


async def read_all(stream: StreamLike) -> bytes:
    """Everything up to the end of the stream."""
    data = bytearray()
    while chunk := await stream.read():
        data += chunk
    return bytes(data)


async def is_waiting(task: asyncio.Task[Any]) -> bool:
    """Whether a task is still not done when everything that can happen has happened."""
    await turns()
    return not task.done()
