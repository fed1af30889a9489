"""What `moorings.listen("udp://...")` gives: a bound DatagramSocket on the Python face."""

# pyright: reportPrivateUsage=false
# The socket's inner half has no public way in.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.at_home import run_at_home
from moorings.sockets.accepting import mark_as_worker, runs_on_worker
from moorings.sockets.datagram_socket import DatagramSocket
from moorings.sockets.listening import BoundMembers, check_patience
from moorings.sockets.stream_socket_listener import DRAIN_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from moorings.foundation.async_info import IAsyncOperationWithProgress
    from moorings.sockets.datagram_limits import DatagramCounters, DatagramLimits
    from moorings.sockets.datagram_messages import DatagramSocketMessageReceivedEventArgs as Message


class ListeningDatagrams(BoundMembers):
    """A bound DatagramSocket as `moorings.listen("udp://...")` gives it: use it with `async with`, or await it.

    `socket` is the DatagramSocket; `send`, `limits` and `counters` are its own. It can be iterated over.
    """

    def __init__(
        self, host: str, service: str, handler: Callable[[Message], object] | None, drain_timeout: float | None
    ) -> None:
        self.socket = DatagramSocket()
        super().__init__(self.socket, host, service, drain_timeout)
        if handler is not None:
            self.socket.add_message_received(_receiving(handler))

    @property
    def limits(self) -> DatagramLimits:
        """The limits of the socket."""
        return self.socket.limits

    @property
    def counters(self) -> DatagramCounters:
        """The counters of the socket."""
        return self.socket.counters

    def send(
        self, data: Any, to: tuple[str, int | str] | Message | None = None
    ) -> IAsyncOperationWithProgress[int, int]:
        """Send a datagram, as `DatagramSocket.send`."""
        return self.socket.send(data, to)

    async def drain(self, timeout: float | None = DRAIN_TIMEOUT) -> None:
        """Send what is queued, receive no more, wait up to `timeout` seconds for handlers to end, cancel the rest.

        Errors: ValueError for a timeout that is no number. Cancellation: *object now broken*: it is closed at once.
        """
        check_patience(timeout, "timeout")
        delivery = self.socket._link.delivery
        try:
            if delivery is not None:
                await run_at_home(delivery.home, lambda: delivery.drain(timeout))
            await self.socket.aclose()
        finally:
            self.close()

    def close(self) -> None:
        """Close the socket; handlers that run go on."""
        self.socket.close()

    async def serve_forever(self) -> None:
        """Wait until the socket is closed, through `close()` or `drain()`. Cancellation: *nothing happened*."""
        delivery = self.socket._link.delivery
        if delivery is not None:
            await run_at_home(delivery.home, delivery.until_stopped)

    def __aiter__(self) -> AsyncIterator[Message]:
        """Iterate over what is received (only without a handler). Ends when the socket is closed."""
        if not self._bound:
            hint = "use it with 'async with', or await it first"
            raise errors.illegal_call("moorings.listen(): it is not bound yet", hint)
        return self.socket.__aiter__()

    async def _leave(self, timeout: float | None) -> None:
        await self.drain(timeout)


def _receiving(handler: Callable[[Message], object]) -> Callable[[object, Message], object]:
    """An event handler that calls `handler` with each datagram; what the network reports is only counted."""

    def receive(_socket: object, message: Message) -> object:
        return None if message.error is not None else handler(message)

    if runs_on_worker(handler):
        mark_as_worker(receive)
    return receive
