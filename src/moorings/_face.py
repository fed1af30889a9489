"""The Python face: connect, listen, adopt, blocking.

For programs that know asyncio and no WinRT. The objects are the same ones.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import urlsplit

from moorings import errors
from moorings.foundation.background import workers
from moorings.foundation.home import current_home
from moorings.names.host_name import HostName
from moorings.sockets.stream_socket import StreamSocket
from moorings.sockets.stream_socket_listener import DrainReport, Serving, StreamSocketListener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

#: Seconds that leaving `async with moorings.listen(...)` waits for open connections.
DRAIN_TIMEOUT = 10.0
_LATER = {"tls": "TLS", "udp": "UDP", "ws": "WebSockets", "wss": "WebSockets", "rfcomm": "RFCOMM"}


class _Target(NamedTuple):
    host: str
    service: str


def _parse(url: str, *, listening: bool) -> _Target:
    """`tcp://host:port`; a listener may leave out the host (all addresses) and the port (the system picks)."""
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"a URL such as 'tcp://127.0.0.1:1337' is needed, not {type(url).__name__}")
    scheme, colon, rest = url.partition("://")
    if not colon:
        raise errors.invalid_argument(f"{url!r} is no URL; write it as 'tcp://host:port'")
    if scheme in _LATER:
        raise errors.not_implemented(f"{scheme}:// URLs", _LATER[scheme])
    if scheme != "tcp":
        raise errors.invalid_argument(f"{url!r}: the scheme {scheme!r} is not known; use 'tcp://host:port'")
    parts = urlsplit(url)
    if parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc or not parts.netloc:
        raise errors.invalid_argument(f"{url!r}: only 'tcp://host:port' is understood")
    host, service = _split(rest.rstrip("/"))
    if not listening and (not host or not service):
        raise errors.invalid_argument(f"{url!r}: host and port are needed, as in 'tcp://127.0.0.1:1337'")
    return _Target(host, service)


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise errors.invalid_argument(f"{text!r}: an IPv6 address stands in brackets, as in '[::1]:1337'")
        return host, port[1:]
    host, _, port = text.rpartition(":")
    if ":" in host:
        raise errors.invalid_argument(f"{text!r}: an IPv6 address stands in brackets, as in '[::1]:1337'")
    return (host, port) if _ else (port, "")


async def connect(url: str, *, timeout: float | None = None, no_delay: bool = True) -> StreamSocket:
    """Connect to `tcp://host:port` and return the connected StreamSocket; use it with `async with`.

    `timeout` is in seconds for everything, name look-up included; None (default) leaves 180 s to each address. The
    port may be a service name. Errors: ConnectionRefusedError, TimeoutError, ... each with `winerror`, `status`,
    `reason` and, for each address tried, `attempts`; E_INVALIDARG for a bad URL; E_NOTIMPL for schemes that are not
    built yet. Cancellation: *nothing happened*, *retry safe*.
    """
    target = _parse(url, listening=False)
    stream_socket = StreamSocket()
    stream_socket.control.no_delay = no_delay
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            await stream_socket.connect_async(HostName(target.host), target.service)
    except TimeoutError as error:
        if not limit.expired():
            raise
        reason = f"connecting to {url}: no connection within {timeout:g} s; is the host up and reachable?"
        raise errors.make(errors.WSAETIMEDOUT, reason) from error
    return stream_socket


class Listening:
    """A listener as `async with moorings.listen(...)` gives it; it can also be awaited, and iterated over."""

    def __init__(
        self, target: _Target, handler: Callable[[StreamSocket], object] | None, options: dict[str, Any]
    ) -> None:
        self._target = target
        self._handler = handler
        self._options = options
        self._report: DrainReport | None = None
        self.listener = StreamSocketListener()

    async def _start(self) -> None:
        listener = self.listener
        listener.max_connections = self._options["max_connections"]
        if self._handler is not None:
            listener.add_connection_received(self._wrapped(self._handler))
        host = HostName(self._target.host) if self._target.host else None
        await listener.bind_endpoint_async(host, self._target.service)

    def _wrapped(self, handler: Callable[[StreamSocket], object]) -> Callable[[Any, Any], Serving | None]:
        def serve(_listener: object, args: Any) -> Serving | None:
            connection: StreamSocket = args.socket
            try:
                result = handler(connection)
            except BaseException:
                connection.abort()
                raise
            if inspect.iscoroutine(result):
                return Serving(result, connection)
            connection.close()
            return None

        return serve

    @property
    def port(self) -> int:
        """The bound TCP port."""
        return int(self.listener.information.local_port or 0)

    @property
    def open_connections(self) -> int:
        """Accepted connections that have not ended."""
        return self.listener.open_connections

    @property
    def report(self) -> DrainReport | None:
        """The counts of the drain, once the `async with` block has ended."""
        return self._report

    async def drain(self, timeout: float | None = DRAIN_TIMEOUT) -> DrainReport:
        """Stop accepting, wait up to `timeout` seconds for the connections to end, abort the rest, count them."""
        self._report = await self.listener.drain(timeout)
        return self._report

    def close(self) -> None:
        """Stop listening; connections that are open live on."""
        self.listener.close()

    async def serve_forever(self) -> None:
        """Wait until the task is cancelled."""
        await asyncio.get_running_loop().create_future()

    def __aiter__(self) -> AsyncIterator[StreamSocket]:
        """Iterate over new connections (only without a handler)."""
        return self.listener.__aiter__()

    def __await__(self) -> Any:
        return self._bound().__await__()

    async def _bound(self) -> Self:
        await self._start()
        return self

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.drain(0 if kind is not None else self._options["drain_timeout"])


def listen(
    url: str,
    handler: Callable[[StreamSocket], object] | None = None,
    *,
    max_connections: int | None = None,
    drain_timeout: float | None = DRAIN_TIMEOUT,
) -> Listening:
    """Listen on `tcp://host:port`: an async context manager.

    `handler(connection)` runs for each connection, as a task if it is `async def`; the connection is closed when it
    returns. Without a handler use `async for connection in listener`. An empty host means all addresses, an empty port
    or 0 lets the system pick one (`listener.port`). At `max_connections` accepting pauses. Leaving the block stops
    accepting, waits up to `drain_timeout` seconds (default 10) for the connections to end and aborts the rest; leaving
    it through an exception aborts at once.

    Errors: WSAEADDRINUSE and its like when the block is entered; E_INVALIDARG for a bad URL.
    """
    if handler is not None and not callable(handler):
        raise TypeError("handler must be callable")
    options = {"max_connections": max_connections, "drain_timeout": drain_timeout}
    return Listening(_parse(url, listening=True), handler, options)


async def adopt(connection: Any) -> StreamSocket:
    """Take over a connected `socket.socket`, a descriptor, or an asyncio `StreamWriter`; it belongs to us then.

    Of a StreamWriter the descriptor is duplicated and the original transport is aborted; bytes that its reader has
    buffered are read first. Its own write buffer must be empty (`await writer.drain()` first).
    Errors: E_INVALIDARG when it is no connected TCP socket, or a TLS transport; nothing was taken over then.
    """
    if isinstance(connection, asyncio.StreamWriter):
        return await _adopt_writer(connection)
    return StreamSocket.from_socket(connection)


async def _adopt_writer(writer: asyncio.StreamWriter) -> StreamSocket:
    transport: Any = writer.transport
    if writer.get_extra_info("sslcontext") is not None:
        raise errors.invalid_argument("adopt: the state of a TLS transport cannot be taken over")
    if transport.get_write_buffer_size():
        raise errors.invalid_argument("adopt: the writer has unsent bytes; await writer.drain() first")
    original = writer.get_extra_info("socket")
    if original is None:
        raise errors.invalid_argument("adopt: the writer has no socket")
    reader: Any = getattr(writer, "_reader", None)
    duplicate = socket.socket(fileno=socket.dup(original.fileno()))
    try:
        transport.pause_reading()
        unread = bytes(reader._buffer) if reader is not None else b""
        result = StreamSocket.from_socket(duplicate, unread=unread)
    except BaseException:
        duplicate.close()
        raise
    # Closing the original must not say goodbye to the peer: shutdown() would act on both, close() does not.
    transport.abort()
    return result


def blocking(handler: Callable[..., Any]) -> Callable[..., None]:
    """Wrap an event handler that blocks, or that calls `.get()`: it then runs on a worker thread.

    Inside asyncio, handlers run inline on the loop and must not block; `listener.add_connection_received(
    moorings.blocking(handler))` gives a handler the same freedom that it has in a plain script.
    """
    if not callable(handler) or inspect.iscoroutinefunction(handler):  # type: ignore[redundant-expr]
        raise TypeError("blocking() takes a plain function; an 'async def' handler never blocks the loop")

    @functools.wraps(handler)
    def hand_over(*arguments: Any) -> None:
        home = current_home()

        def run() -> None:
            try:
                handler(*arguments)
            except Exception as error:  # noqa: BLE001 - the program's handler may raise anything; reported once
                if not home.loop.is_closed():
                    home.loop.call_soon_threadsafe(home.report, f"{handler!r} failed", error)

        workers.submit_concurrently(run)

    return hand_over
