"""What `moorings.listen` gives for connections: what the listeners of both kinds have on the Python face."""

# pyright: reportPrivateUsage=false
# The listener's inner half has no public way in.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from moorings import errors
from moorings.foundation.at_home import run_at_home
from moorings.foundation.projection import check_float
from moorings.names.host_name import HostName
from moorings.sockets.tls_settings import as_certificate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator
    from types import TracebackType

C = TypeVar("C")
R = TypeVar("R")


def check_patience(timeout: float | None, name: str) -> None:
    """Errors: TypeError and ValueError for what is neither a number of seconds from 0 nor None."""
    if timeout is not None and not check_float(timeout, name) >= 0:
        raise ValueError(f"{name} must be a number of seconds from 0, or None")


class BoundMembers:
    """What binds with the `async with` block, or with `await`, and drains when the block ends."""

    def __init__(self, bound: Any, host: str, service: str, drain_timeout: float | None) -> None:
        self._bound_object = bound
        self._host = host
        self._service = service
        self._drain_timeout = drain_timeout
        self._bound = False

    async def _bind(self) -> Self:
        if not self._bound:
            host = HostName(self._host) if self._host else None
            await self._bound_object.bind_endpoint_async(host, self._service)
            self._bound = True
        return self

    @property
    def port(self) -> int:
        """The bound port."""
        return int(self._bound_object.information.local_port or 0)

    def __await__(self) -> Generator[Any, None, Self]:
        return self._bind().__await__()

    async def __aenter__(self) -> Self:
        return await self._bind()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._leave(0 if kind is not None else self._drain_timeout)

    async def _leave(self, timeout: float | None) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._bound_object!r}>"


class ListeningMembers(BoundMembers, Generic[C, R]):
    """A listener: `C` is what it accepts, `R` its report."""

    listener: Any

    def __init__(self, listener: Any, host: str, service: str, drain_timeout: float | None) -> None:
        super().__init__(listener, host, service, drain_timeout)
        self.listener = listener
        self._report: R | None = None

    @property
    def open_connections(self) -> int:
        """Accepted connections that have not ended."""
        return int(self.listener.open_connections)

    def replace_certificate(self, certificate: Any) -> None:
        """Let TLS handshakes from now on use this certificate, given as to `listen`; open connections go on.

        Errors: the OSError of a file; E_INVALIDARG for a key that is missing, broken or another certificate's;
        E_ILLEGAL_METHOD_CALL without TLS. The old certificate stays then.
        """
        self.listener.control.server_certificate = as_certificate(certificate, "certificate")

    @property
    def report(self) -> R | None:
        """The counts of the drain, once the `async with` block has ended."""
        return self._report

    def close(self) -> None:
        """Stop listening; connections that are open live on."""
        self.listener.close()

    async def serve_forever(self) -> None:
        """Wait until the listener accepts no more, through `close()` or `drain()`.

        Cancellation: *nothing happened*, *retry safe*.
        """
        accepting = self.listener._accepting
        if accepting.home is not None:
            await run_at_home(accepting.home, accepting.until_stopped)

    def __aiter__(self) -> AsyncIterator[C]:
        """Iterate over new connections (only without a handler). Ends when the listener accepts no more."""
        if not self._bound:
            hint = "use it with 'async with', or await it first"
            raise errors.illegal_call("moorings.listen(): it does not listen yet", hint)
        connections: AsyncIterator[C] = self.listener.__aiter__()
        return connections
