"""The Python face: connect, listen, adopt, blocking.

For programs that know asyncio and no WinRT. The objects are the same ones.
"""

# pyright: reportPrivateUsage=false
# The listener's inner half has no public way in.

from __future__ import annotations

import asyncio
import functools
import inspect
import weakref
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack, cast, overload

from moorings import errors
from moorings.engine.interface import Detached
from moorings.foundation.background import report_from_worker, workers
from moorings.foundation.home import current_home
from moorings.foundation.opening import opening
from moorings.foundation.operation import ACTION, Operation
from moorings.foundation.uri import Uri
from moorings.names.host_name import HostName
from moorings.names.service_names import parse_service_name
from moorings.protocols.web_error_status import INET_E_TIMEOUT
from moorings.sockets.accepting import DrainReport, Serving, mark_as_worker, runs_on_worker
from moorings.sockets.adopting_writers import adopt_writer
from moorings.sockets.connection import post
from moorings.sockets.datagram_listening import ListeningDatagrams
from moorings.sockets.datagram_socket import DatagramSocket
from moorings.sockets.enums import SocketProtectionLevel
from moorings.sockets.listening import ListeningMembers, check_patience
from moorings.sockets.message_web_socket import MessageWebSocket
from moorings.sockets.server_validation import ServerValidationMembers, approving
from moorings.sockets.stream_socket import StreamSocket
from moorings.sockets.stream_socket_listener import StreamSocketListener
from moorings.sockets.tls_settings import as_anchors, as_certificate, check_alpn
from moorings.sockets.web_socket_accepting import only_ended
from moorings.sockets.web_socket_connecting import new_web_socket
from moorings.sockets.web_socket_face import WebSocketFace
from moorings.sockets.web_socket_listener import WebSocketListener
from moorings.sockets.web_socket_listening import ListeningWebSockets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from moorings.certificates.enums import ChainValidationResult
    from moorings.sockets.datagram_messages import DatagramSocketMessageReceivedEventArgs as Message
    from moorings.sockets.listener_objects import StreamSocketListenerConnectionReceivedEventArgs as Args
    from moorings.sockets.server_validation import StreamSocketServerCustomValidationRequestedEventArgs as Server
    from moorings.sockets.web_socket_connecting import WebSocketConnectOptions
    from moorings.sockets.web_socket_listening import WebSocketListenOptions

#: Seconds that leaving `async with moorings.listen(...)` waits for open connections.
DRAIN_TIMEOUT = 10.0
_LATER = {"rfcomm": "RFCOMM"}
_FORMS = "'tcp://host:port', 'tls://host:port', 'udp://host:port', 'ws://host:port/path' or 'wss://host:port/path'"
#: What pages have, and what a WebSocket on the same server has.
_WEB_TWINS = {"http": "ws", "https": "wss"}
_WEB = frozenset(("ws", "wss"))
_SECURE = frozenset(("tls", "wss"))


_COMPLETED = 1


class Target(NamedTuple):
    """What a URL names."""

    host: str
    service: str
    scheme: str
    url: str
    path: str = ""


class _Options(NamedTuple):
    max_connections: int | None
    drain_timeout: float | None
    certificate: Any = None
    client_ca: Any = None
    alpn: tuple[str, ...] = ()
    key_log: Any = None
    transferable: bool = False


def parse_url(url: str, *, listening: bool) -> Target:
    """`tcp://`, `tls://` or `udp://host:port`, for a listener `ws://` and `wss://`, too. It may leave out the host (all
    addresses) and the port (the system picks one).
    """
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        example = "'tcp://127.0.0.1:1337' or 'ws://127.0.0.1:1337/chat'"
        raise TypeError(f"a URL such as {example} is needed, not {type(url).__name__}")
    scheme, colon, rest = url.partition("://")
    scheme = scheme.lower()
    if not colon:
        raise errors.invalid_argument(f"{url!r} is no URL; use {_FORMS}")
    web_socket = listening and scheme in _WEB
    if scheme in _WEB_TWINS:
        hint = f"for a WebSocket use {f'{_WEB_TWINS[scheme]}://{rest}'!r}"
        raise errors.invalid_argument(f"{url!r}: {scheme}:// is for pages, and not understood here; {hint}")
    if scheme in _LATER:
        raise errors.not_implemented(f"a {scheme}:// URL", _LATER[scheme])
    if scheme not in {"tcp", "tls", "udp", *_WEB}:
        raise errors.invalid_argument(f"{url!r}: the scheme {scheme!r} is not known; use {_FORMS}")
    place, slash, path = rest.partition("/") if web_socket else (rest.removesuffix("/"), "", "")
    form = "host:port/path" if web_socket else "host:port"
    if not place or any(character in place for character in "/?#@") or any(character in path for character in "?#"):
        raise errors.invalid_argument(f"{url!r}: only '{scheme}://{form}' is understood")
    host, service = _split(place, url)
    if not listening and (not host or not service):
        raise errors.invalid_argument(f"{url!r}: host and port are needed, as in '{scheme}://127.0.0.1:1337'")
    if service:
        parse_service_name(service, f"{url!r}: service")
    return Target(host, service, scheme, url, slash + path)


def _split(text: str, url: str) -> tuple[str, str]:
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not host or not bracket or (port and not port.startswith(":")):
            raise errors.invalid_argument(f"{url!r}: an IPv6 address stands in brackets, as in '[::1]:1337'")
        return host, port[1:]
    host, _, port = text.partition(":")
    if ":" in port:
        raise errors.invalid_argument(f"{url!r}: an IPv6 address stands in brackets, as in '[::1]:1337'")
    return host, port


@opening
async def connect(
    url: str,
    *,
    timeout: float | None = None,
    no_delay: bool = True,
    ca: Any = None,
    certificate: Any = None,
    server_name: str | None = None,
    alpn: Iterable[str] = (),
    ignore: Iterable[ChainValidationResult] = (),
    pin_sha256: str | Iterable[str] | None = None,
    revocation: Any = None,
    approve: Callable[[Server], object] | None = None,
    key_log: Any = None,
    transferable: bool = False,
    **web_sockets: Unpack[WebSocketConnectOptions],
) -> Any:
    """Connect to `tcp://host:port` or `tls://host:port`: `await` gives the StreamSocket, `async with` closes it, too.

    With `udp://host:port` it is a DatagramSocket that sends to that peer and receives from nobody else; nothing is sent
    by connecting, so it fails only where the name, or a way to it, is missing.

    `timeout` is in seconds for everything, name look-up included; None (default) leaves 180 s to each address. The port
    may be a service name.

    With `tls://`: `ca` is whom to trust (TrustAnchors, a PEM file, a directory, or octets in PEM; None: the system),
    `certificate` what to show a server that asks (a Certificate, a PEM file with its key, or a pair of files),
    `server_name` the name to ask for and check where it is not the host, `alpn` the application protocols to offer, and
    `ignore` the certificate errors to let pass; any other refuses the server. `information` tells what came of it.
    On top of that, `pin_sha256` are keys of which the server or its authority must have one (see
    `StreamSocketControl.pin_sha256`), `revocation` asks whether the certificate was revoked (a RevocationCheck, True
    for a stapled answer, or paths of lists), and `approve` has the last word: a function, `async` or not, that is given
    the arguments of `server_custom_validation_requested` before anything is said to that server, and returns True or
    False; whatever it raises refuses, too. `key_log` (a path, or True for what SSLKEYLOGFILE names) gets the secrets.
    With `transferable` the connection may move to another process later, by `detach()`.

    With `ws://host:port/path` or `wss://` it is a MessageWebSocket; each address has 60 s. `wss://` takes what `tls://`
    does, but for `alpn` and `transferable`. `web_sockets` are `headers` (a mapping, or pairs) and `subprotocols` of the
    request, `credential` (a PasswordCredential, or user name and password) for a server that asks, `compression`
    (False; True or a WebSocketCompression), `max_message_size` in bytes (64 MiB), and `ping_interval` and
    `ping_timeout` in seconds: a server of which nothing was heard for 20 s is asked, and given up after 20 s more.

    Errors: ConnectionRefusedError, TimeoutError, ... each with `winerror`, `status`,
    `reason` and, for each address tried, `attempts`; HandshakeRefusedError for an answer that opens no WebSocket;
    E_INVALIDARG for a bad URL; E_NOTIMPL for schemes that are not built yet. Cancellation: *nothing happened*,
    *retry safe*.
    """
    target = _web_target(url) or parse_url(url, listening=False)
    check_patience(timeout, "timeout")
    if web_sockets and target.scheme not in _WEB:
        raise TypeError(f"connect() got an unexpected keyword argument {next(iter(web_sockets))!r} for {url!r}")
    names, ignored = check_alpn(alpn), tuple(ignore)
    handler = None if approve is None else approving(approve)
    _tls_only(target, ca, certificate, server_name, names, ignored)
    _tls_only(target, pin_sha256, revocation, handler, key_log, transferable)
    if target.scheme == "udp":
        datagrams = DatagramSocket()
        await connect_within(timeout, datagrams, target, datagrams.close)
        return datagrams
    made: StreamSocket | MessageWebSocket
    if target.scheme in _WEB:
        if names or transferable:
            raise errors.invalid_argument(f"{url!r}: alpn and transferable are not for WebSockets")
        made = new_web_socket(web_sockets, no_delay=no_delay)
    else:
        made = StreamSocket()
        made.control.no_delay = no_delay
        made.control.alpn_protocols = names
        made.control.transferable = transferable
    control = made.control
    if target.scheme in _SECURE:
        control.trust_anchors = as_anchors(ca, "ca")
        control.client_certificate = as_certificate(certificate, "certificate")
        control.server_name = server_name or ""
        control.ignorable_server_certificate_errors.extend(ignored)
        control.pin_sha256 = pin_sha256
        control.revocation = revocation
        control.key_log = key_log
        if handler is not None:
            made.add_server_custom_validation_requested(handler)
    await connect_within(timeout, made, target, made.abort)
    return made


def _tls_only(target: Target, *given: object) -> None:
    """Refuse what has a meaning for TLS only."""
    if target.scheme not in _SECURE and any(given):
        secure = "wss://host:port/path" if target.scheme in _WEB else "tls://host:port"
        raise errors.invalid_argument(f"{target.url!r}: certificates and names are for '{secure}'")


def _web_target(url: Any) -> Target | None:
    """The target of a connect where it is a WebSocket's; the rest of the URL is for `Uri`."""
    scheme = url.partition("://")[0].lower() if isinstance(url, str) else ""
    return Target("", "", scheme, url) if scheme in _WEB else None


async def connect_within(
    timeout: float | None,
    made: StreamSocket | DatagramSocket | MessageWebSocket,
    target: Target,
    give_up: Callable[[], object],
) -> None:
    """Connect a new socket to `target`; `give_up` ends the socket where that fails, or takes too long."""
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            if isinstance(made, MessageWebSocket):
                await made.connect_async(Uri(target.url))
            elif target.scheme == "tls":
                level = SocketProtectionLevel.TLS13
                await cast("StreamSocket", made).connect_async(HostName(target.host), target.service, level)
            else:
                await made.connect_async(HostName(target.host), target.service)
    except BaseException as error:
        give_up()  # it may have connected in the very moment in which we were cancelled
        if not isinstance(error, TimeoutError) or not limit.expired():
            raise
        reason = f"connecting to {target.url}: no connection within {timeout:g} s; is the host up and reachable?"
        raise errors.make(INET_E_TIMEOUT if target.scheme in _WEB else errors.WSAETIMEDOUT, reason) from error


class Listening(ListeningMembers[StreamSocket, DrainReport]):
    """A listener as `moorings.listen(...)` gives it: use it with `async with`, or await it and close it yourself.

    It can also be iterated over. `listener` is the StreamSocketListener behind it.
    """

    listener: StreamSocketListener

    def __init__(self, target: Target, handler: Callable[[StreamSocket], object] | None, options: _Options) -> None:
        super().__init__(StreamSocketListener(), target.host, target.service, options.drain_timeout)
        self.listener.max_connections = options.max_connections
        if target.scheme == "tls":
            control = self.listener.control
            control.server_certificate = as_certificate(options.certificate, "certificate")
            control.client_trust_anchors = as_anchors(options.client_ca, "client_ca")
            control.alpn_protocols = options.alpn
            control.key_log = options.key_log
            control.transferable = options.transferable
        if handler is not None:
            self.listener.add_connection_received(_serving(handler))

    async def drain(self, timeout: float | None = DRAIN_TIMEOUT) -> DrainReport:
        """Stop accepting, wait up to `timeout` seconds for the connections to end, abort the rest, count them.

        Errors: ValueError for a timeout that is no number. Cancellation: *object now broken*: the rest is aborted at
        once.
        """
        self._report = await self.listener.drain(timeout)
        return self._report

    async def _leave(self, timeout: float | None) -> None:
        await self.drain(timeout)


def _serving(handler: Callable[[StreamSocket], object]) -> Callable[[object, Args], Serving | None]:
    """An event handler that calls `handler` with the connection, and lets the connection end with it."""

    def serve(_listener: object, args: Args) -> Serving | None:
        connection = args.socket
        try:
            result = handler(connection)
        except BaseException as error:
            quiet = connection._connection.broke_with(error)
            connection.abort()
            if quiet:
                return None
            raise
        if isinstance(result, Awaitable):
            return Serving(cast("Awaitable[object]", result), connection)
        connection.close()
        return None

    if runs_on_worker(handler):
        mark_as_worker(serve)
    return serve


@overload
def listen(
    url: str,
    handler: Callable[[StreamSocket], object] | None = None,
    *,
    max_connections: int | None = None,
    drain_timeout: float | None = DRAIN_TIMEOUT,
    certificate: Any = None,
    client_ca: Any = None,
    alpn: Iterable[str] = (),
    key_log: Any = None,
    transferable: bool = False,
) -> Listening: ...
@overload
def listen(
    url: str, handler: Callable[[Message], object], *, drain_timeout: float | None = DRAIN_TIMEOUT
) -> ListeningDatagrams: ...
@overload
def listen(
    url: str,
    handler: Callable[[Any], object],
    *,
    max_connections: int | None = None,
    drain_timeout: float | None = DRAIN_TIMEOUT,
    certificate: Any = None,
    client_ca: Any = None,
    key_log: Any = None,
    **web_sockets: Unpack[WebSocketListenOptions],
) -> ListeningWebSockets: ...
def listen(
    url: str,
    handler: Callable[[Any], object] | None = None,
    *,
    max_connections: int | None = None,
    drain_timeout: float | None = DRAIN_TIMEOUT,
    certificate: Any = None,
    client_ca: Any = None,
    alpn: Iterable[str] = (),
    key_log: Any = None,
    transferable: bool = False,
    **web_sockets: Any,
) -> Any:
    """Listen on `tcp://host:port` or `tls://host:port`: an async context manager.

    `handler(connection)` runs for each connection, as a task if it is `async def`; the connection is closed when it
    returns, and aborted when it raises. What it raises is reported once, through the loop's exception handler, unless
    it only says that this connection broke: `end_reason` and `report.broken` tell that. Without a handler use
    `async for connection in listener`. An empty host means all addresses, an empty port or 0 lets the system pick one
    (`listener.port`). At `max_connections` accepting pauses. Leaving the block stops accepting, waits up to
    `drain_timeout` seconds (default 10) for the connections to end and aborts the rest; leaving it through an exception
    aborts at once.

    With `tls://` each connection shakes hands first, within 60 s. `certificate` is what clients get: a Certificate, a
    PEM file with its key, or a pair of files. With `client_ca` (TrustAnchors, a PEM file, a directory, or octets in
    PEM) each client needs a certificate that leads there. `alpn` are the application protocols, the best one first.
    `key_log` (a path, or True for what SSLKEYLOGFILE names) gets the secrets of the sessions.
    Handshakes that fail are counted, in `listener.listener.handshakes_failed`, and reported to nobody. With
    `transferable` connections may move to another process later, by `detach()`.

    With `udp://host:port` the handler is called with each datagram, in order, `message.reply(data)` answers, and
    `async for message in listener` iterates; what the network reports is only counted. See `ListeningDatagrams`.

    With `ws://host:port/path`, or `wss://` with a certificate, the handler gets open WebSockets of that path, each a
    ServerMessageWebSocket, or of all paths where there is none; they are closed with 1000 when it returns, with 1011
    when it raises. With `stream=True` they are of bytes, each a ServerStreamWebSocket. `routes` are handlers by path
    instead. Leaving the block tells all clients 1001 first. `web_sockets` are `origins`, `subprotocols`, `approve`,
    `http`, `max_message_size` and what else WebSocketListener and its `control` have. See `ListeningWebSockets`.

    Errors: WSAEADDRINUSE and its like when the block is entered; E_INVALIDARG for a bad URL; TypeError and ValueError
    for a handler that cannot be called and for numbers out of range.
    """
    if handler is not None and not callable(handler):
        raise TypeError("handler must be callable")
    check_patience(drain_timeout, "drain_timeout")
    target = parse_url(url, listening=True)
    if target.scheme in {"ws", "wss"}:
        made = ListeningWebSockets((target.host, target.service), target.path, handler, drain_timeout, web_sockets)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        made.listener.control.max_connections = max_connections
        if target.scheme == "wss":
            made.secure(certificate, client_ca, key_log)
        elif certificate or client_ca or key_log:
            raise errors.invalid_argument(f"{target.url!r}: certificates and key logs are for 'wss://host:port'")
        if alpn or transferable:
            raise errors.invalid_argument(f"{target.url!r}: alpn and transferable are not for WebSockets")
        return made
    if web_sockets:
        raise TypeError(
            f"listen() got an unexpected keyword argument {next(iter(web_sockets))!r} for {target.scheme}://"
        )
    options = _Options(max_connections, drain_timeout, certificate, client_ca, check_alpn(alpn), key_log, transferable)
    _tls_only(target, certificate, client_ca, options.alpn, key_log, transferable)
    if target.scheme == "tls" and certificate is None:
        raise errors.invalid_argument(f"{url!r}: certificate is needed, such as certificate=('cert.pem', 'key.pem')")
    if target.scheme == "udp":
        if max_connections is not None:
            raise errors.invalid_argument(f"{url!r}: datagrams have no connections, hence no max_connections")
        return ListeningDatagrams(target.host, target.service, handler, drain_timeout)
    return Listening(target, handler, options)


async def adopt(connection: Any, *, unread: bytes = b"", tls: bytes = b"") -> StreamSocket:
    """Take over a connected `socket.socket`, a descriptor, or an asyncio `StreamWriter`; it belongs to us then.

    What `detach()` gave may be given as it is (a `Detached`, with the descriptor's number in this process) or in parts:
    `unread` is read first, and `tls` is what is known of a TLS connection, which the kernel carries. Without it such a
    connection works, too, and `information` knows the version only.

    Of a StreamWriter the descriptor is duplicated and the original transport is aborted; bytes that its reader has
    buffered are read first. Its own write buffer must be empty (`await writer.drain()` first).
    Errors: E_INVALIDARG when it is no connected TCP socket, or a TLS transport, or `tls` does not fit; nothing was
    taken over then. Cancellation: *nothing happened*, *retry safe*: it never waits.
    """
    if isinstance(connection, asyncio.StreamWriter):
        if unread or tls:
            raise errors.invalid_argument("adopt: unread and tls are for descriptors, not for a StreamWriter")
        return await adopt_writer(connection)
    if isinstance(connection, Detached):
        result = StreamSocket.from_socket(connection.fd, unread=connection.unread + unread, tls=connection.tls or tls)
        if connection.unsent:
            result.write(connection.unsent)
        return result
    return StreamSocket.from_socket(connection, unread=unread, tls=tls)


def blocking(handler: Callable[..., object]) -> Callable[..., object]:
    """Wrap an event handler that blocks, or that calls `.get()`: it then runs on a worker thread.

    Inside asyncio, handlers run inline on the loop and must not block; `listener.add_connection_received(
    moorings.blocking(handler))` gives a handler the same freedom that it has in a plain script, in the same order:
    calls for one object one after the other, those of `connection_received` side by side (64, then accepting pauses).
    What it raises is reported once through the loop's exception handler. What the wrapper returns may be awaited, and
    gives what the handler has returned.
    Errors: TypeError for an `async def` function, which never blocks the loop.
    """
    if not callable(handler) or inspect.iscoroutinefunction(handler):  # type: ignore[redundant-expr]
        raise TypeError("blocking() takes a plain function; an 'async def' handler never blocks the loop")

    @functools.wraps(handler)
    def hand_over(*arguments: Any) -> object:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return handler(*arguments)  # a plain script: this is a worker thread
        home = current_home()
        operation = Operation(home, None, ACTION)

        def job() -> None:
            result = None
            try:
                result = handler(*arguments)
            except BaseException as error:  # noqa: BLE001 - the program's handler may raise anything; reported once
                if not _says_that_it_broke(arguments, error) and not _refuses(arguments, error):
                    report_from_worker(home, f"{handler!r} failed", error)
            finally:
                post(home, functools.partial(operation.finish, _COMPLETED, result, None))

        if arguments and isinstance(arguments[0], StreamSocketListener | WebSocketListener):
            workers.submit_concurrently(job)
        else:
            workers.submit_in_order(_sender(arguments, operation), job)
        return operation

    mark_as_worker(hand_over)
    return hand_over


def _says_that_it_broke(arguments: tuple[Any, ...], error: BaseException) -> bool:
    """Whether `error` is the end of the connection that a handler of `moorings.listen` was given."""
    connection = arguments[0] if arguments else None
    if isinstance(connection, WebSocketFace):
        return only_ended(connection, error)
    return isinstance(connection, StreamSocket) and connection._connection.broke_with(error)


def _refuses(arguments: tuple[Any, ...], error: BaseException) -> bool:
    """Let the failure of a handler that was asked about a server refuse it; False for all other handlers."""
    asked = next((each for each in arguments if isinstance(each, ServerValidationMembers)), None)
    if asked is not None:
        asked._validation.fail(error)
    return asked is not None


def _sender(arguments: tuple[Any, ...], otherwise: object) -> object:
    """The object whose handlers are called in order: the first argument, where it can be told from others."""
    try:
        weakref.ref(arguments[0])
        hash(arguments[0])
    except (IndexError, TypeError):
        return otherwise
    sender: object = arguments[0]
    return sender
