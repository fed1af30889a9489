"""From a ws or wss URI to a stream on which the opening handshake is done: name look-up, TCP, TLS, HTTP.

Both client classes use it: `WebSocketOpening` checks everything when it is made, and `open` does it.

Theory of operation
-------------------
The first five addresses of the host race as in RFC 8305 (`Opener`). On the connection that stands first come TLS
(`ClientHandshake`) and the request. Each address has 60 s for all of that. One whose server says nothing, or hangs up
before it has answered, is left out, and the others are tried; any answer, and any failure of TLS itself, is the verdict
on all of them. A 401 is answered once, on a new connection, where there is a credential.

While the program is asked about the server's certificate no time runs.

A proxy is a function that gives an open stream to the host (`Tunnel`); TLS is then done over that stream.

Sources: RFC 6455 section 4; the WinRT reference of `MessageWebSocket.ConnectAsync`; "WebSockets" of Microsoft's
networking documentation (timeouts).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from moorings import errors
from moorings.engine.hub import hub_of
from moorings.engine.tcp_stream import TcpStream
from moorings.foundation.printing import printable
from moorings.names.host_name import HostName
from moorings.names.racing import Attempt, attempts_of, total_failure
from moorings.protocols.web_error_status import (
    INET_E_CONNECTION_ABORTED,
    INET_E_CONNECTION_RESET,
    INET_E_TIMEOUT,
    handshake_refused,
    web_error,
)
from moorings.sockets.enums import SocketProtectionLevel
from moorings.sockets.opening import Opener

if TYPE_CHECKING:
    from typing import TypeAlias

    from moorings.foundation.home import Home
    from moorings.foundation.uri import Uri
    from moorings.names.endpoints import Candidate
    from moorings.protocols.web_socket_deflate import DeflateSettings
    from moorings.protocols.web_socket_handshake import Accepted, ClientHandshake, Refused
    from moorings.protocols.web_socket_headers import Header
    from moorings.sockets import tls_client
    from moorings.sockets.connection import Connection
    from moorings.sockets.tls_settings import TlsFacts

    _Outcome: TypeAlias = Accepted | Refused

T = TypeVar("T")

__all__ = ["CONNECT_TIMEOUT", "Opened", "Tunnel", "WebSocketOpening", "WebSocketRequest"]

#: Seconds for the connect, TLS and the answer to the request, for each address.
CONNECT_TIMEOUT = 60.0
#: Addresses of a name that are tried.
ADDRESSES_LIMIT = 5
#: Seconds in which the body of an answer that refuses may come; it is only there to be read.
REFUSAL_BODY_TIMEOUT = 2.0

#: Gives an open stream to a host and port by another way than TCP to one of its addresses. Not cancelled it either
#: gives the stream, which is then ours, or raises OSError.
Tunnel = Callable[[str, int], Awaitable[TcpStream]]

#: An address that fails like this leaves the others their chance.
_SILENT = frozenset((INET_E_TIMEOUT, INET_E_CONNECTION_ABORTED, INET_E_CONNECTION_RESET))
_UNAUTHORIZED = 401
#: Not Found, Method Not Allowed, Gone.
_NOT_HERE = frozenset((404, 405, 410))
#: Characters of what the server says that errors show.
_SHOWN = 200


class WebSocketRequest(NamedTuple):
    """What a program wants to be in the request."""

    headers: tuple[Header, ...] = ()
    """Its own headers, each checked by `request_header`."""
    subprotocols: tuple[str, ...] = ()
    """The best one first."""
    deflate: DeflateSettings | None = None
    """permessage-deflate as it is offered; None: not at all."""
    credential: tuple[str, str] | None = None
    """User name and password for a server that asks."""


class Opened(NamedTuple):
    """An open stream behind the handshake. It belongs to whoever gets this."""

    stream: TcpStream
    remote: Any
    """The socket address that was reached; None through a tunnel."""
    accepted: Accepted
    """What the server has agreed to, and the bytes that came behind its answer."""


class WebSocketOpening:
    """One connect of one WebSocket.

    `connection` has the settings, and knows what came of TLS afterwards (`connection.tls`); its state is the caller's.
    Making one checks everything, before anything starts. Errors: E_INVALIDARG for a URI that is none of a WebSocket,
    for subprotocols that are no tokens or there twice, and for certificate errors that cannot be ignored.
    """

    def __init__(
        self,
        connection: Connection,
        uri: Uri,
        request: WebSocketRequest,
        member: str,
        *,
        tunnel: Tunnel | None = None,
        timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        from moorings.protocols.web_socket_handshake import target_of  # noqa: PLC0415 (only who uses it pays for h11)

        self._connection = connection
        self._request = request
        self._target = target_of(uri)
        self._tunnel = tunnel
        self._timeout = timeout
        self._limit: asyncio.Timeout | None = None
        self.host = HostName(self._target.host)
        self.service = str(self._target.port)
        self._ignorable = frozenset[Any]()
        if self._target.secure:
            from moorings.engine.key_log import check_key_log  # noqa: PLC0415 (only those who use TLS pay for it)
            from moorings.sockets.tls_client import check_ignorable  # noqa: PLC0415

            self._ignorable = check_ignorable(connection, member)
            if connection.settings.tls.key_log:
                check_key_log(connection.settings.tls.key_log)
        self._authorization: str | None = None
        self._make_codec()  # it checks the rest

    def _make_codec(self) -> ClientHandshake:
        from moorings.protocols.web_socket_handshake import ClientHandshake  # noqa: PLC0415 (as above)

        headers = self._request.headers
        if self._authorization is not None:
            headers = tuple(header for header in headers if header[0].lower() != "authorization")
        return ClientHandshake(
            self._target,
            headers=headers,
            subprotocols=self._request.subprotocols,
            deflate=self._request.deflate,
            authorization=self._authorization,
        )

    async def open(self, home: Home, ask: Callable[[TlsFacts, str], Awaitable[None]] | None = None) -> Opened:
        """Do it, on the home loop. `ask` is the program's say about a server's certificate: it raises to refuse.

        Errors: as the page of errors has them for WebSockets, `HandshakeRefusedError` for an answer that opens none.
        Cancellation: *nothing happened*, *retry safe*; the server may have seen a connection.
        """
        try:
            return await self._open(home, ask)
        except OSError as error:
            translated = web_error(error)
            if translated is error:
                raise
            raise translated from error.__cause__

    async def _open(self, home: Home, ask: Any) -> Opened:
        connect = self._connect_by_tcp if self._tunnel is None else self._connect_by_tunnel
        stream, remote, outcome = await connect(home, ask, None)
        try:
            self._authorization = self._answer_to(outcome)
        except BaseException:
            stream.abort()  # a credential that cannot be sent like this
            raise
        if self._authorization is not None:
            stream.close()
            stream, remote, outcome = await connect(home, ask, remote)
        refusal = _refusal(outcome)
        if refusal is None:
            return Opened(stream, remote, cast("Accepted", outcome))
        stream.close()
        raise self._refused(refusal)

    # -- ways to the server ------------------------------------------------------------------------------------------

    async def _connect_by_tcp(self, home: Home, ask: Any, again: Any) -> tuple[TcpStream, Any, _Outcome]:
        """`again` is the address at which the server is, where that is known."""
        opener = Opener(self._connection.settings, self.host, self.service, (None, ""), None)
        left: list[Candidate] = [*await opener.candidates()][:ADDRESSES_LIMIT]
        if again is not None:
            left = [candidate for candidate in left if candidate.sockaddr == again] or left
        silent: list[Attempt] = []
        while True:
            started = home.loop.time()
            try:
                plain_socket, remote = await opener.race(left, attempt_timeout=self._timeout)
            except OSError as error:
                if not silent:
                    raise
                raise _all_failed(silent, attempts_of(error), opener.what) from error
            spent = home.loop.time() - started
            try:
                stream, outcome = await self._shake_hands(home, ask, plain_socket, self._timeout - spent)
            except OSError as error:
                failure = web_error(error)
                here = next(candidate for candidate in left if candidate.sockaddr == remote)
                left.remove(here)
                silent.append(Attempt(str(here), home.loop.time() - started, failure))
                if getattr(failure, "winerror", 0) not in _SILENT:
                    raise
                if not left:
                    raise _all_failed(silent, (), opener.what) from error
            else:
                return stream, remote, outcome

    async def _connect_by_tunnel(self, home: Home, ask: Any, _again: Any) -> tuple[TcpStream, Any, _Outcome]:
        assert self._tunnel is not None
        lower = await self._within(
            self._timeout, "the proxy", self._tunnel(self.host.canonical_name, self._target.port)
        )
        stream, outcome = await self._shake_hands(home, ask, lower, self._timeout)
        return stream, None, outcome

    # -- TLS and the request -----------------------------------------------------------------------------------------

    async def _shake_hands(
        self, home: Home, ask: Any, carrier: socket.socket | TcpStream, seconds: float
    ) -> tuple[TcpStream, _Outcome]:
        """Secure what was connected, which belongs to us from here on, and ask the server."""
        what = "the TLS handshake, or the request for a WebSocket," if self._target.secure else "the request"
        return await self._within(seconds, what, self._ask_server(home, ask, carrier))

    async def _ask_server(self, home: Home, ask: Any, carrier: socket.socket | TcpStream) -> tuple[TcpStream, _Outcome]:
        stream = await self._secure(home, ask, carrier)
        try:
            outcome = await self._exchange(stream)
            refusal = _refusal(outcome)
            if refusal is not None and refusal.hresult == INET_E_CONNECTION_ABORTED:
                reason = f"{self._connection}: {refusal.text}"
                raise errors.make(INET_E_CONNECTION_ABORTED, reason)
            return stream, outcome
        except BaseException:
            stream.abort()
            raise

    async def _within(self, seconds: float, what: str, work: Awaitable[T]) -> T:
        self._limit = limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await work
        except TimeoutError as error:
            if not limit.expired():
                raise
            reason = (
                f"{self._connection}: {what} was not answered within {self._timeout:g} s; is it the right port, "
                "and is the server alive?"
            )
            raise errors.make(INET_E_TIMEOUT, reason) from error

    async def _secure(self, home: Home, ask: Any, carrier: socket.socket | TcpStream) -> TcpStream:
        if not isinstance(carrier, socket.socket):
            return await self._make_handshake(home, ask).run_over(carrier) if self._target.secure else carrier
        try:
            if self._target.secure:
                return await self._make_handshake(home, ask).run(carrier)
            return TcpStream(hub_of(home), carrier, self._connection)
        except BaseException:
            carrier.close()
            raise

    def _make_handshake(self, home: Home, ask: Any) -> tls_client.ClientHandshake:
        from moorings.sockets.tls_client import ClientHandshake  # noqa: PLC0415 (only those who use TLS pay for it)

        patient = None if ask is None else partial(self._ask_in_peace, home, ask)
        level = SocketProtectionLevel.TLS13
        return ClientHandshake(home, self._connection, level, self.host, self.service, self._ignorable, patient)

    async def _ask_in_peace(self, home: Home, ask: Any, facts: TlsFacts, what: str) -> None:
        """Let the program take its time."""
        limit = self._limit
        assert limit is not None
        due = limit.when()
        assert due is not None
        left = due - home.loop.time()
        limit.reschedule(None)
        try:
            await ask(facts, what)
        finally:
            limit.reschedule(home.loop.time() + left)

    async def _exchange(self, stream: TcpStream) -> _Outcome:
        """Send the request, and wait for what it comes to."""
        codec = self._make_codec()
        await stream.write(codec.request, len(codec.request))
        outcome: _Outcome | None = None
        while outcome is None and not codec.refusal_begun:
            if stream.stash_size() == 0 and await stream.fill() == 0:
                return codec.end()
            outcome = codec.receive(stream.take_stash(stream.stash_size()))
        if outcome is None:
            with suppress(OSError):  # its own TimeoutError among them
                async with asyncio.timeout(REFUSAL_BODY_TIMEOUT):
                    while outcome is None and (stream.stash_size() or await stream.fill()):
                        outcome = codec.receive(stream.take_stash(stream.stash_size()))
        return outcome or codec.end()

    # -- answers -----------------------------------------------------------------------------------------------------

    def _answer_to(self, outcome: _Outcome) -> str | None:
        """The answer to a 401; None for any other outcome, and where it cannot be answered."""
        from moorings.protocols import http_authentication as codec  # noqa: PLC0415 (seldom needed)

        credential = self._request.credential
        refusal = _refusal(outcome)
        if credential is None or refusal is None or refusal.http_status != _UNAUTHORIZED:
            return None
        challenges = codec.parse_challenges(_values(refusal, "www-authenticate"))
        return codec.answer_challenges(challenges, *credential, "GET", self._target.resource)

    def _refused(self, outcome: Refused) -> OSError:
        """The exception for an answer that opens no WebSocket."""
        parts = [f"{self._connection}: {_shown(outcome.text)}", _words_of(outcome), self._next_step(outcome)]
        return handshake_refused(
            outcome.hresult,
            "; ".join(part for part in parts if part),
            http_status=outcome.http_status,
            headers=outcome.headers,
            body=outcome.body,
            retry_after=outcome.retry_after,
        )

    def _next_step(self, outcome: Refused) -> str:
        status = outcome.http_status
        if status == _UNAUTHORIZED:
            if self._authorization is not None:
                return "it does not accept the user name and password of control.server_credential"
            if self._request.credential is not None:
                schemes = _shown(", ".join(_values(outcome, "www-authenticate"))) or "nothing that it names"
                return f"it asks for {schemes}, and Basic and Digest can be answered"
            return "set control.server_credential"
        if 300 <= status < 400:
            where = _shown(", ".join(_values(outcome, "location")))
            return f"redirects are not followed; connect to {where} if you trust it" if where else ""
        if not status:
            return "is it the right port, and a WebSocket server?"
        if status in _NOT_HERE:
            return "does it serve a WebSocket at this path?"
        return "is it a WebSocket server?" if 200 <= status < 300 else ""


def _all_failed(silent: Sequence[Attempt], others: Sequence[Attempt], what: str) -> OSError:
    """One exception for all addresses: that of one which got as far as a connection."""
    furthest = silent[-1].error
    total = total_failure([*silent, *others], what)
    error = errors.make(getattr(furthest, "winerror", errors.E_FAIL), str(total.strerror), errno=furthest.errno)
    error.attempts = attempts_of(total)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    return error


def _refusal(outcome: _Outcome) -> Refused | None:
    """The outcome, where it is one; None where the server speaks WebSocket."""
    if hasattr(outcome, "subprotocol"):
        return None
    refused: Any = outcome
    return refused  # type: ignore[no-any-return]


def _words_of(outcome: Refused) -> str:
    """What a body of plain text says; "" for others, and for none."""
    kind = "".join(_values(outcome, "content-type")).partition(";")[0].strip().lower()
    if kind != "text/plain" or _values(outcome, "content-encoding"):
        return ""
    words = _shown(" ".join(outcome.body.decode(errors="replace").split()))
    return f'it says "{words}"' if words else ""


def _shown(text: str) -> str:
    """What the server says, as errors show it."""
    text = printable(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _values(outcome: Refused, name: str) -> list[str]:
    return [value for key, value in outcome.headers if key == name]
