"""`reconnecting`: a WebSocket client that connects anew after each loss, and gives up where that is of no use.

Theory of operation
-------------------
Whoever iterates gets an open WebSocket; asking for the next one ends it, whatever its state. Before each attempt but
the first there is a pause: a random part of a time that doubles with each failure (full jitter), so that a thousand
clients of a server that fell over do not come back as one. What a server says with Retry-After comes on top. A
connection that lasted begins the count anew; one that a server accepts and drops at once does not.

What is worth another attempt is a list, and what is not on it ends the iteration with that error: a wrong URL, a
certificate that is not accepted, an answer such as 401, 403 or 404 will be the same the next time.

Sources: RFC 6455 section 7.2.3; RFC 9110 sections 10.2.3 and 15; "Exponential Backoff And Jitter", AWS Architecture
Blog, 2015.
"""

# pyright: reportPrivateUsage=false
# Why a WebSocket ended, its link knows.

from __future__ import annotations

import asyncio
import errno
import math
import random
import socket
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from moorings import errors
from moorings._face import connect
from moorings.foundation.projection import check_float
from moorings.protocols.web_error_status import INET_E_DISCONNECTED, INET_E_OPERATION_CANCELLED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from types import TracebackType

    from moorings.sockets.message_face import MessageFace
    from moorings.sockets.message_web_socket import MessageWebSocket

__all__ = ["RETRY_AFTER_LIMIT", "ConnectionLoss", "Reconnecting", "reconnecting", "worth_retrying"]

#: Seconds that a server's Retry-After may ask for; more counts as so many.
RETRY_AFTER_LIMIT = 3600.0

_OPEN: Final = 0
_LONGEST_EXPONENT: Final = 64
#: HTTP answers that may be another one the next time.
_PASSING_STATUS: Final = frozenset((408, 425, 429, 500, 502, 503, 504, *range(520, 531)))
#: Failures of the network, or of this machine, that may be over the next time.
_PASSING_ERRNO: Final = frozenset(
    (
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EADDRNOTAVAIL,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
    )
)


class ConnectionLoss(NamedTuple):
    """Why a connection ended, or an attempt to connect failed."""

    error: OSError | None
    """What broke it, or made connecting fail; None where it was closed."""
    close_code: int = 0
    """The code with which it was closed; 0 where it was not."""
    close_reason: str = ""
    lasted: float = 0.0
    """Seconds for which it was open; 0.0 where it never was."""

    def __str__(self) -> str:
        if self.error is not None:
            return str(getattr(self.error, "reason", self.error))
        return f"closed with {self.close_code} {self.close_reason}".rstrip()


def worth_retrying(error: OSError) -> bool:
    """Whether a failure to connect may be over the next time: what `reconnecting` goes by.

    That is: no way to the host, nobody who accepts there, a connection that breaks, a time-out, a name that is not
    found, HTTP answers 408, 425, 429, 500, 502 to 504 and 520 to 530, and a want of descriptors or memory.
    """
    status = getattr(error, "http_status", 0)
    if status:
        return status in _PASSING_STATUS
    if getattr(error, "certificate_errors", ()):
        return False
    if isinstance(error, socket.gaierror):
        return error.errno != socket.EAI_SERVICE
    return isinstance(error, (ConnectionError, TimeoutError)) or error.errno in _PASSING_ERRNO


class Reconnecting:
    """What `reconnecting` gives: iterate over it, inside `async with` or not. Counters say how it went."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[MessageWebSocket]],
        *,
        base: float,
        cap: float,
        reset_after: float,
        max_failures: int | None,
        retry: Callable[[OSError], bool],
        rng: Callable[[], float] = random.random,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._connect = connect
        self._base = _seconds(base, "base")
        self._cap = _seconds(cap, "cap")
        self._reset_after = _seconds(reset_after, "reset_after")
        if max_failures is not None and max_failures < 1:
            raise ValueError("max_failures must be a number from 1, or None")
        self._max_failures = max_failures
        self._retry = retry
        self._random = rng
        self._wall_clock = wall_clock
        self._current: MessageWebSocket | None = None
        self._opened_at = 0.0
        self._retry_after = 0.0
        self._ended = False
        self._wakened = asyncio.Event()
        #: Attempts to connect, connections that came of them, and those that have ended.
        self.attempts = 0
        self.connections = 0
        self.losses = 0
        #: Failed attempts and short connections since one lasted.
        self.failures = 0
        #: Why the last connection ended, or the last attempt failed; None before.
        self.last_loss: ConnectionLoss | None = None
        #: Seconds of the pause before the attempt that is under way or comes next.
        self.pause = 0.0

    @property
    def current(self) -> MessageWebSocket | None:
        """The WebSocket that was given last, open or not; None before the first, and while connecting."""
        return self._current

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MessageWebSocket:
        """The next open WebSocket; the one before is closed, where it is open. The iteration ends with `close()`.

        Errors: those of connecting that are final, or one failure too many. Cancellation: *retry safe*.
        """
        await self._leave()
        while not self._ended:
            if self.attempts:
                await self._wait()
                if self._ended:
                    break
            self.attempts += 1
            try:
                opened = await self._connect()
            except OSError as error:
                self._note_failure(error)
                if self._is_final(error):
                    self._ended = True
                    raise
                continue
            if self._ended:
                opened.abort()  # closed in the very moment in which it opened
                break
            self.connections += 1
            self._opened_at = asyncio.get_running_loop().time()
            self._current = opened
            return opened
        raise StopAsyncIteration

    def _note_failure(self, error: OSError) -> None:
        self.failures += 1
        self.last_loss = ConnectionLoss(error)
        self._retry_after = self._asked_for(getattr(error, "retry_after", None))

    def _is_final(self, error: OSError) -> bool:
        if self._max_failures is not None and self.failures >= self._max_failures:
            return True
        return not self._retry(error)

    def _asked_for(self, when: Any) -> float:
        """The seconds that a server's Retry-After means, within the limit."""
        if isinstance(when, datetime):
            moment = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
            seconds = moment.timestamp() - self._wall_clock()
        else:
            seconds = float(when or 0)
        return min(max(seconds, 0.0), RETRY_AFTER_LIMIT)

    async def _leave(self) -> None:
        """End the connection that was given last, and take notice of why it ended."""
        web_socket, self._current = self._current, None
        if web_socket is None:
            return
        lasted = asyncio.get_running_loop().time() - self._opened_at
        link = web_socket._link
        self.losses += 1
        self.failures = 0 if lasted >= self._reset_after else self.failures + 1
        await web_socket.aclose()
        self.last_loss = ConnectionLoss(link.error, link.close_code, link.close_reason, lasted)

    async def _wait(self) -> None:
        doubled = self._base * 2.0 ** min(max(self.failures - 1, 0), _LONGEST_EXPONENT)
        self.pause = self._retry_after + self._random() * min(self._cap, doubled)
        self._retry_after = 0.0
        try:
            async with asyncio.timeout(self.pause):
                await self._wakened.wait()
        except TimeoutError:
            pass

    @contextmanager
    def until_lost(self) -> Generator[None]:
        """A `with` block that ends quietly where the WebSocket that was given last is lost.

        The block is left when something in it raises because that connection broke or was closed. All other errors
        pass through.
        """
        web_socket = self._current
        try:
            yield
        except (OSError, BaseExceptionGroup) as error:
            if web_socket is None or not _says_that_it_ended(web_socket, error):
                raise

    def close(self) -> None:
        """End the iteration, and close the WebSocket that was given last. Returns at once."""
        self._ended = True
        self._wakened.set()
        if self._current is not None:
            self._current.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        await self._leave()

    def __repr__(self) -> str:
        return (
            f"<Reconnecting: {self.connections} connections in {self.attempts} attempts, last loss: {self.last_loss}>"
        )


def _seconds(value: float, name: str) -> float:
    number = check_float(value, name)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} must be a finite number of seconds from 0")
    return number


def _says_that_it_ended(web_socket: MessageFace, error: BaseException) -> bool:
    """Whether an error, or all of a group, only say that this WebSocket has ended."""
    if isinstance(error, BaseExceptionGroup):
        return all(_says_that_it_ended(web_socket, each) for each in error.exceptions)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType, reportUnknownMemberType]
    link = web_socket._link
    stream = link.stream
    if not isinstance(error, OSError) or (link.stage == _OPEN and stream.write_error is None):
        return False
    if error in (link.error, stream.read_error, stream.write_error):
        return True
    return (
        getattr(error, "winerror", 0) in {errors.RO_E_CLOSED, INET_E_DISCONNECTED, INET_E_OPERATION_CANCELLED}
        or isinstance(error, (ConnectionError, TimeoutError))
    ) and str(stream.label) in str(getattr(error, "reason", ""))


def reconnecting(
    target: str | Callable[[], Awaitable[MessageWebSocket]],
    *,
    base: float = 1.0,
    cap: float = 60.0,
    reset_after: float = 60.0,
    max_failures: int | None = None,
    retry: Callable[[OSError], bool] = worth_retrying,
    **options: Any,
) -> Reconnecting:
    """Open WebSockets to a `ws://` or `wss://` URL, one after the other, for an `async for` loop.

    The first attempt is made at once. After the loss of a connection, and after a failed attempt, there is a pause: a
    random part of `base` seconds (default 1), which double with each failure up to `cap` (default 60); a server's
    Retry-After (up to an hour) comes on top. A connection that lasted `reset_after` seconds (default 60) begins anew
    with `base`. The loop body ends a connection by going on to the next; `break` keeps the last one open, and
    ``async with reconnecting(url) as connections`` closes that, too. `until_lost()` is for its errors.

    A failure for which `retry` says no is final and is raised (default: `moorings.worth_retrying`), and so is the last
    of `max_failures` in a row (default: no end). `options` are those of `connect`. Instead of a URL an async function
    that connects may be given, such as one that fetches a token first.

    Errors: E_INVALIDARG for other URLs; TypeError and ValueError for numbers out of range.
    """
    if isinstance(target, str):
        url = target
        if url.partition("://")[0].lower() not in {"ws", "wss"}:
            raise errors.invalid_argument(f"{url!r}: reconnecting() takes 'ws://host:port/path' and 'wss://...'")
        target = lambda: connect(url, **options)  # noqa: E731
    elif not callable(target):  # pyright: ignore[reportUnnecessaryComparison]
        raise TypeError(f"a URL or an async function is needed, not {type(target).__name__}")
    elif options:
        raise TypeError(f"options are for a URL; the function that connects takes {', '.join(options)}")
    return Reconnecting(target, base=base, cap=cap, reset_after=reset_after, max_failures=max_failures, retry=retry)
