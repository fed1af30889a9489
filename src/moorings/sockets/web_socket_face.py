"""What all WebSockets have, of messages and of bytes: `closed`, the two ways to end, pings.

The engine's objects know the public one only weakly: a WebSocket that the program drops is closed, with a
ResourceWarning, as a StreamSocket is. Handlers run as everywhere: inline on an asyncio loop, on worker threads in a
plain script and where `moorings.blocking` made them.
"""

# pyright: reportPrivateUsage=false
# The other half of the classes that it is mixed into.

from __future__ import annotations

import weakref
from asyncio import get_running_loop
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self

from moorings.foundation.at_home import run_at_home
from moorings.foundation.background import report_from_worker, workers
from moorings.foundation.operation import OPERATION
from moorings.foundation.projection import arities, check_str, check_uint, deprecated_alias, invalid_parameter_count
from moorings.foundation.task_operation import start_operation
from moorings.protocols.web_socket_close import check_close
from moorings.sockets.accepting import runs_on_worker
from moorings.sockets.connection import post
from moorings.sockets.web_socket_events import closed_args

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from moorings.engine.tcp_stream import TcpStream
    from moorings.engine.web_socket import WebSocketLink
    from moorings.foundation.async_info import IAsyncOperation
    from moorings.foundation.events import EventRegistrationToken, EventSource
    from moorings.foundation.home import Home


class Closable(Protocol):
    """What of the engine takes the program's `close` and `abort`."""

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Close with a code and a reason, or with an empty close frame."""

    def abort(self) -> None:
        """End at once."""


class WebSocketFace:
    """Mixed into all WebSockets."""

    __slots__ = ("__weakref__", "_closed_event", "_link")
    _link: WebSocketLink
    _closed_event: EventSource[Any, Any]

    def _ending(self) -> Closable:
        """What is to be closed."""
        return self._link

    def _last(self) -> TcpStream:
        """The stream whose end is the end of all."""
        return self._link.stream

    # -- events ------------------------------------------------------------------------------------------------------

    def _teller(self) -> Callable[[int, str], object]:
        """What tells the handlers of `closed`, as long as this object is there."""
        me = weakref.ref(self)
        home = self._link.home

        def tell_closed(code: int, reason: str) -> None:
            owner = me()
            if owner is not None:
                owner._tell(home, owner._closed_event, closed_args(code, reason))

        return tell_closed

    async def _handle_elsewhere(self, event: EventSource[Any, Any], args: Any) -> None:
        """Call handlers one after the other, those that may block on a worker thread."""
        home = self._link.home
        for _, handler in event._handlers:
            if not home.background and not runs_on_worker(handler):
                try:
                    result: Any = handler(self, args)
                except Exception as error:  # noqa: BLE001 - a handler is foreign code; reported, once
                    self._report(error, handler)
                    continue
            else:
                result = await on_worker(home, self, handler, args)
            if isinstance(result, Awaitable):
                await await_all([(handler, result)], self._report)

    def _tell(self, home: Home, event: EventSource[Any, Any], args: Any) -> None:
        if event and not home.loop.is_closed():
            home.run(self._handle_elsewhere(event, args))

    def _report(self, error: BaseException, handler: object) -> None:
        self._link.home.report(f"{self}: handler {handler!r} failed", error, self)

    def add_closed(self, handler: Callable[[Any, Any], object], /) -> EventRegistrationToken:
        """Add a handler (socket, WebSocketClosedEventArgs), called once, behind the last message.

        It comes when the peer's close frame came or the program closed, and never when the connection just breaks.
        """
        return self._closed_event.add(handler)

    def remove_closed(self, token: EventRegistrationToken, /) -> None:
        """Remove the handler that `token` stands for."""
        self._closed_event.remove(token)

    # -- the peer ----------------------------------------------------------------------------------------------------

    def ping(self) -> IAsyncOperation[float]:
        """Send a ping; gives the seconds until its pong came.

        Errors: WSAENOBUFS where 64 pings wait already; else as `send`. Cancellation: *nothing happened*, *retry safe*.
        """
        link = self._link
        if link.home.on_home_thread():
            return link.ping()

        async def ping_there() -> Any:
            return await link.ping()

        return start_operation(link.home, ping_there(), OPERATION)

    @property
    def close_code(self) -> int:
        """The code with which it was closed, as `closed` tells it; 0 before, and where the connection broke."""
        return self._link.close_code

    @property
    def close_reason(self) -> str:
        """The reason that the peer gave."""
        return self._link.close_reason

    @property
    def latency(self) -> float:
        """The round trip time of the last answered `ping`, in seconds; 0.0 before."""
        return self._link.latency

    # -- ending ------------------------------------------------------------------------------------------------------

    @arities(0, 2)
    def close(self, *arguments: Any) -> None:
        """Close with an empty close frame, or with a code and a reason; returns at once, a second call does nothing.

        What is queued goes out before. The peer has 10 s to answer; then the connection is cut off, and `closed` tells
        1006. `aclose()` waits for all that.

        Errors: E_INVALIDARG for other codes than 1000 to 1003, 1007 to 1011 and 3000 to 4999, and for a reason of more
        than 123 bytes. Source: WinRT IWebSocket.Close.
        """
        code, reason = close_arguments(arguments)
        home = self._link.home
        if home.dropped or home.loop.is_closed():
            return
        ending = self._ending()
        if home.on_home_thread():
            ending.close(code, reason)
        else:
            # (Until then it is in use: who has closed it may drop it.)
            post(home, partial(self._close_there, code, reason))

    def _close_there(self, code: int | None, reason: str) -> None:
        self._ending().close(code, reason)

    close_with_status = deprecated_alias("close")

    async def aclose(self) -> None:
        """`close()` and wait until it is done, the deadlines included.

        Cancellation: *object now broken*: the connection is aborted.
        """
        self.close()
        home = self._link.home
        stream = self._last()
        if home.dropped or stream.is_released():
            return
        if get_running_loop() is home.loop:
            await stream.wait_closed()
        else:
            await run_at_home(home, self.aclose)

    def abort(self) -> None:
        """End at once: the peer sees a reset, what was queued is lost. Never waits; may be called twice."""
        home = self._link.home
        if home.dropped:
            return
        ending = self._ending()
        if home.on_home_thread() or not post(home, ending.abort):
            ending.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def close_arguments(arguments: tuple[Any, ...]) -> tuple[int | None, str]:
    """The arguments of `close`, checked: code and reason, None for no code."""
    if not arguments:
        return None, ""
    if len(arguments) != 2:
        raise invalid_parameter_count("close() or close(code, reason)")
    code = check_uint(arguments[0], 16, "code")
    reason = check_str(arguments[1], "reason")
    check_close(code, reason)
    return code, reason


async def await_all(pending: list[tuple[Any, Awaitable[Any]]], report: Callable[[BaseException, Any], object]) -> None:
    """Wait for what handlers returned, one after the other."""
    for handler, awaitable in pending:
        try:
            await awaitable
        except Exception as error:  # noqa: BLE001 - a handler is foreign code; reported, once
            report(error, handler)


async def on_worker(home: Home, sender: object, handler: Callable[[Any, Any], object], args: Any) -> Any:
    """Call a handler on a worker thread and wait for what it returns."""
    done = home.loop.create_future()

    def work() -> None:
        result: object = None
        try:
            result = handler(sender, args)
        except BaseException as error:  # noqa: BLE001 - SystemExit and its like end neither the thread nor the program
            report_from_worker(home, f"{sender}: handler {handler!r} failed", error)
        post(home, lambda: None if done.done() else done.set_result(result))

    workers.submit_in_order(sender, work)
    return await done
