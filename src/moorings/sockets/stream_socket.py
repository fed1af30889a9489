"""`StreamSocket`: a TCP connection."""

# pyright: reportPrivateUsage=false
# The functions below the class make its objects; as methods they would be part of the public surface.

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from moorings import errors
from moorings.connectivity.network_adapter import NetworkAdapter
from moorings.engine.hub import hub_of
from moorings.engine.interface import EndReason
from moorings.engine.tcp_stream import TcpStream
from moorings.foundation.closable import IClosable
from moorings.foundation.home import Home, current_home
from moorings.foundation.projection import (
    arities,
    check_enum,
    check_object,
    deprecated_alias,
    final,
    invalid_parameter_count,
)
from moorings.foundation.task_operation import Kind, completed_operation, start_operation
from moorings.names.endpoint_pair import EndpointPair
from moorings.names.endpoints import check_target, get_endpoint_pairs
from moorings.names.enums import HostNameSortOptions
from moorings.names.host_name import HostName
from moorings.names.service_names import parse_service_name
from moorings.sockets.adopting import check_adoptable, has_upper_layer, take_over
from moorings.sockets.connection import (
    Connection,
    Settings,
    State,
    creation_place,
    require,
    settings_of,
    start,
)
from moorings.sockets.enums import SocketProtectionLevel
from moorings.sockets.limits import StreamCounters, StreamLimits, counters_of
from moorings.sockets.opening import (
    Opener,
    check_protection_level,
    check_remote,
    check_tls_level,
    refuse_bluetooth,
)
from moorings.sockets.ownership import StreamBrokerMembers
from moorings.sockets.python_face import StreamFace
from moorings.sockets.server_validation import ServerValidationEvent, decide, validation_event_of
from moorings.sockets.stream_parts import StreamParts
from moorings.sockets.stream_socket_control import StreamSocketControl, control_of
from moorings.sockets.stream_socket_information import StreamSocketInformation, information_of
from moorings.sockets.upgrading import check_upgradable, upgrade

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from moorings.engine.interface import Detached
    from moorings.foundation.async_info import IAsyncAction, IAsyncOperation
    from moorings.sockets.tls_client import ClientHandshake
    from moorings.streams.interfaces import IInputStream, IOutputStream

T = TypeVar("T")

_NEW = frozenset((State.NEW,))
_OPEN = frozenset((State.OPEN,))
_ALIVE = frozenset((State.NEW, State.BUSY, State.OPEN))
_ALWAYS = frozenset(State)

#: In which states each member may be used. In CLOSED the others fail with RO_E_CLOSED, else with E_ILLEGAL_METHOD_CALL.
RULES = {
    "connect_async": _NEW,
    "connect_with_endpoint_pair_and_protection_level_async": _NEW,
    "upgrade_to_ssl_async": _OPEN,
    "add_server_custom_validation_requested": _ALIVE,
    "remove_server_custom_validation_requested": _ALWAYS,
    "input_stream": _OPEN,
    "output_stream": _OPEN,
    "control": _ALWAYS,
    "information": _ALWAYS,
    "cancel_io_async": _ALIVE,
    "close": _ALWAYS,
    "enable_transfer_ownership": _NEW,
    "transfer_ownership": _OPEN,
    "read": _OPEN,
    "read_exactly": _OPEN,
    "read_until": _OPEN,
    "lines": _OPEN,
    "write": _OPEN,
    "flush": _OPEN,
    "end_writing": _OPEN,
    "aclose": _ALWAYS,
    "abort": _ALWAYS,
    "detach": _OPEN,
    "limits": _OPEN,
    "counters": _ALWAYS,
    "end_reason": _ALWAYS,
}

HINTS = {
    State.NEW: "connect it first",
    State.BUSY: "await the connect first",
    State.OPEN: "it is connected already; make a new StreamSocket",
}


@final
class StreamSocket(StreamParts, StreamFace, ServerValidationEvent, StreamBrokerMembers, IClosable):
    """A TCP connection: make it, set `control`, connect, use the two streams, close.

    Beside WinRT's members it has the Python face: `read`, `read_exactly`, `read_until`, `lines`, `write`, `flush`,
    `aclose`, `abort`, `async with`. Names that end in `_async` are WinRT's, with WinRT's semantics.

    A socket that is dropped while it is open is closed with a ResourceWarning that names the place where it was made.
    Source: WinRT StreamSocket.
    """

    __slots__ = ("__weakref__", "_validation_event")
    _winrt_name_ = "Windows.Networking.Sockets.StreamSocket"

    def __init__(self) -> None:
        self._prepare(Connection(Settings()), creation_place())

    def _require(self, member: str) -> None:
        connection = self._connection
        home = connection.home
        if home is not None and home.dropped:
            raise errors.closed(str(connection), "it belongs to the parent process; make a new one after fork()")
        require(connection.state, RULES, member, connection, HINTS)

    # -- connecting --------------------------------------------------------------------------------------------------

    @overload
    def connect_async(self, endpoint_pair: EndpointPair, /) -> IAsyncAction: ...
    @overload
    def connect_async(self, remote_host_name: HostName, remote_service_name: str, /) -> IAsyncAction: ...
    @overload
    def connect_async(
        self, remote_host_name: HostName, remote_service_name: str, protection_level: SocketProtectionLevel, /
    ) -> IAsyncAction: ...
    @overload
    def connect_async(
        self,
        remote_host_name: HostName,
        remote_service_name: str,
        protection_level: SocketProtectionLevel,
        adapter: NetworkAdapter,
        /,
    ) -> IAsyncAction: ...
    @arities(1, 2, 3, 4)
    def connect_async(self, *arguments: Any) -> IAsyncAction:
        """Connect to an endpoint pair, or to a host and service, optionally with a protection level and an adapter.

        All addresses of the host are tried, staggered by 250 ms (RFC 8305), each for at most 180 s; with
        `control.serialize_connection_attempts` one after the other. A failed or cancelled connect leaves the socket
        new: it may be configured and connected again.

        Errors: TypeError for wrong types; E_INVALIDARG for a None host, a service that is "", out of range or no name,
        a None adapter, or a level that TCP does not have; RO_E_CLOSED after `close()`, else E_ILLEGAL_METHOD_CALL
        unless new; E_NOTIMPL for Bluetooth hosts. For TLS levels also E_INVALIDARG where `control` lists an error that
        cannot be ignored, or a floor above the level. Through the action: the errors of name look-up and connecting,
        with `attempts` for each address; of TLS, CERT_E_* and its like with `status` CERTIFICATE_... where the server's
        certificate is not accepted (`information` has certificate and errors then), and SEC_E_* for the rest. The
        handshake has no deadline of its own. Cancellation: *nothing happened*, *retry safe*. Source: WinRT
        StreamSocket.ConnectAsync.
        """
        count = len(arguments)
        member = "connect_async"
        if count == 1:
            return self._connect_pair(arguments[0], SocketProtectionLevel.PLAIN_SOCKET, member)
        if count not in {2, 3, 4}:
            raise invalid_parameter_count()
        host, service = arguments[:2]
        check_remote(host, service, member)
        level = SocketProtectionLevel.PLAIN_SOCKET if count == 2 else check_protection_level(arguments[2], member)
        adapter = check_object(arguments[3], NetworkAdapter, "adapter") if count == 4 else None
        return self._connect(host, service, (None, ""), adapter, level, member)

    def connect_with_endpoint_pair_and_protection_level_async(
        self, endpoint_pair: EndpointPair, protection_level: SocketProtectionLevel, /
    ) -> IAsyncAction:
        """Connect to an endpoint pair with a protection level; else as `connect_async`.

        Source: WinRT StreamSocket.ConnectAsync(EndpointPair, SocketProtectionLevel).
        """
        member = "connect_with_endpoint_pair_and_protection_level_async"
        check_object(endpoint_pair, EndpointPair, "endpoint_pair")
        return self._connect_pair(endpoint_pair, check_protection_level(protection_level, member), member)

    def _connect_pair(self, pair: Any, level: SocketProtectionLevel, member: str) -> IAsyncAction:
        pair = check_object(pair, EndpointPair, "endpoint_pair")
        check_remote(pair.remote_host_name, pair.remote_service_name, member)
        if pair.local_service_name:
            parse_service_name(pair.local_service_name, f"{member}: local service")
        local = (pair.local_host_name, pair.local_service_name)
        return self._connect(pair.remote_host_name, pair.remote_service_name, local, None, level, member)

    def _connect(
        self,
        host: HostName,
        service: str,
        local: tuple[HostName | None, str],
        adapter: NetworkAdapter | None,
        level: SocketProtectionLevel,
        member: str,
    ) -> IAsyncAction:
        self._require(member)
        connection = self._connection
        refuse_bluetooth(host, member)
        refuse_bluetooth(local[0], member)
        handshake = self._prepare_tls(level, host, service, member)
        home = connection.home or current_home()
        home.usable(member)
        start(connection, lambda: self._require(member))
        connection.tls = None
        connection.home = home
        connection.host_name = host
        connection.service_name = service
        opener = Opener(connection.settings, host, service, local, adapter)
        operation = start_operation(home, self._open(home, opener, handshake), Kind.ACTION, undo=self._undo_connect)
        self._connect_operation = operation
        if connection.state != State.BUSY:
            self._connect_operation = None  # another thread has ended it meanwhile
        return operation

    def _prepare_tls(
        self, level: SocketProtectionLevel, host: HostName, service: str, member: str
    ) -> Callable[[Home], ClientHandshake] | None:
        """Check what a handshake needs before anything starts; None where there will be none."""
        if level == SocketProtectionLevel.PLAIN_SOCKET:
            return None
        connection = self._connection
        check_tls_level(level, connection.settings, member)
        from moorings.engine.key_log import check_key_log  # noqa: PLC0415 (only those who use TLS pay for it)
        from moorings.sockets.tls_client import ClientHandshake, check_ignorable  # noqa: PLC0415

        ignorable = check_ignorable(connection, member)
        if connection.settings.tls.key_log:
            check_key_log(connection.settings.tls.key_log)

        def make(home: Home) -> ClientHandshake:
            event = validation_event_of(self)
            ask = partial(decide, home, event, self) if event else None
            return ClientHandshake(home, connection, level, host, service, ignorable, ask)

        return make

    async def _open(self, home: Home, opener: Opener, handshake: Callable[[Home], ClientHandshake] | None) -> None:
        connection = self._connection
        plain_socket, remote = await opener.open()
        try:
            if connection.state != State.BUSY:
                raise errors.aborted(f"{connection} was closed while it was connecting")
            if handshake is None:
                self._adopt(home, plain_socket, remote)
            else:
                self._take_stream(await handshake(home).run(plain_socket), remote)
        except BaseException:
            plain_socket.close()
            raise
        self._connect_operation = None

    def _undo_connect(self) -> None:
        """Be new again: the connect failed or was cancelled, perhaps in the very turn in which it succeeded."""
        self._connect_operation = None
        was_open = self._connection.state == State.OPEN
        self._connection.back_to_new()
        if was_open:
            self._lifeline = self._input = self._output = None

    def _adopt(self, home: Home, plain_socket: socket.socket, remote: Any) -> None:
        connection = self._connection
        stream = TcpStream(hub_of(home), plain_socket, connection)
        connection.opened(stream, remote)
        self._attach(stream)

    def _take_stream(self, stream: TcpStream, remote: Any) -> None:
        """Open with a stream on which the handshake is done."""
        connection = self._connection
        if connection.state != State.BUSY:
            stream.abort()
            raise errors.aborted(f"{connection} was closed while it was connecting")
        connection.opened(stream, remote)
        self._attach(stream)

    connect_with_endpoint_pair_async = deprecated_alias("connect_async")
    connect_with_protection_level_async = deprecated_alias("connect_async")
    connect_with_protection_level_and_adapter_async = deprecated_alias("connect_async")

    def upgrade_to_ssl_async(
        self, protection_level: SocketProtectionLevel, validation_host_name: HostName, /
    ) -> IAsyncAction:
        """Start TLS on the open connection (STARTTLS): name check and SNI use `validation_host_name`.

        The server must have agreed to it, and nothing it said may be unread: bytes that came before the handshake and
        were not read fail the upgrade (SEC_E_ILLEGAL_MESSAGE), since they may be somebody else's. Streams, readers and
        writers of the socket go on to work, encrypted. A failed or cancelled upgrade closes the socket; `information`
        has the server's certificate and its errors then, too.

        Errors: E_INVALIDARG for a level without TLS or a None host; E_ILLEGAL_METHOD_CALL unless open, for an accepted
        socket, where TLS has been started or writing was ended, and while a read or write is pending; else as
        `connect_async`. Cancellation: *object now broken*. Source: WinRT StreamSocket.UpgradeToSslAsync.
        """
        member = "upgrade_to_ssl_async"
        level = check_protection_level(protection_level, member)
        if level == SocketProtectionLevel.PLAIN_SOCKET:
            raise errors.invalid_argument(f"{member}: PLAIN_SOCKET is no TLS level")
        check_object(validation_host_name, HostName, f"{member}: validation host")
        stream = self._stream(member)
        connection = self._connection
        check_upgradable(connection, stream, member)
        port = "" if not connection.remote_sockaddr else str(connection.remote_sockaddr[1])
        handshake = self._prepare_tls(level, validation_host_name, port, member)
        assert handshake is not None
        start(connection, lambda: self._require(member))
        home = stream.home
        operation = start_operation(
            home, self._upgrade(stream, handshake(home)), Kind.ACTION, undo=lambda: self._undo_upgrade(stream)
        )
        self._connect_operation = operation
        if connection.state != State.BUSY:
            self._connect_operation = None  # another thread has ended it meanwhile
        return operation

    async def _upgrade(self, stream: TcpStream, handshake: ClientHandshake) -> None:
        remote = self._connection.remote_sockaddr
        upgraded = await upgrade(self._connection, stream, handshake)
        self._take_stream(upgraded, remote)
        for public in (self._input, self._output):
            if public is not None:
                public.stream = upgraded
                public.lifeline = self._lifeline
        self._connect_operation = None

    def _undo_upgrade(self, stream: TcpStream) -> None:
        """The upgrade failed or was cancelled: nobody knows any more what the peer takes the next byte for."""
        self._connect_operation = None
        current = self._connection.stream
        if current is not None:
            current.abort()
        stream.abort()
        if stream.end_reason == EndReason.DETACHED:
            stream.end_reason = EndReason.ABORTED
        self._connection.state = State.CLOSED

    # -- streams, control, information -------------------------------------------------------------------------------

    @property
    def input_stream(self) -> IInputStream:
        """Received bytes; the same object each time. Errors: E_ILLEGAL_METHOD_CALL before the socket is open."""
        return self._first_input()  # type: ignore[return-value]  # pyright: ignore[reportReturnType]  # registered as one

    @property
    def output_stream(self) -> IOutputStream:
        """Bytes to send; the same object each time. Errors: E_ILLEGAL_METHOD_CALL before the socket is open."""
        return self._first_output()  # type: ignore[return-value]  # pyright: ignore[reportReturnType]  # registered as one

    @property
    def control(self) -> StreamSocketControl:
        """Settings, to be made before connecting; the same object each time, readable after the end."""
        if self._control is None:
            return self._first("_control", control_of(self._connection))
        return self._control

    @property
    def information(self) -> StreamSocketInformation:
        """Endpoints and statistics; the same object each time, readable after the end."""
        if self._information is None:
            return self._first("_information", information_of(self._connection))
        return self._information

    @property
    def end_reason(self) -> EndReason:
        """Why the connection ended, OPEN while it has not."""
        return self._connection.end_reason()

    @property
    def limits(self) -> StreamLimits:
        """Byte and time limits of the connection, by name."""
        return StreamLimits(self._stream("limits"))

    @property
    def counters(self) -> StreamCounters:
        """Bytes, system calls and queues of the connection at this moment, or at its end."""
        return counters_of(self._connection.stream)

    # -- ending ------------------------------------------------------------------------------------------------------

    def cancel_io_async(self) -> IAsyncAction:
        """End pending reads and writes with ERROR_OPERATION_ABORTED and keep the connection; no byte is lost.

        On a TLS connection that may move (`control.transferable`) it also waits, for up to 5 s, until no record is
        half received or half sent, so that `detach` can follow. Source: WinRT StreamSocket.CancelIOAsync. Cancellation:
        *nothing happened*.
        """
        self._require("cancel_io_async")
        stream = self._connection.stream
        if stream is None:
            return completed_operation(current_home(), Kind.ACTION)

        async def cancel() -> None:
            stream.cancel_io()
            if self._connection.tls is not None:
                from moorings.sockets.tls_travel import until_movable  # noqa: PLC0415 (only who uses TLS pays for it)

                await until_movable(stream)

        return start_operation(stream.home, cancel(), Kind.ACTION)

    def close(self) -> None:
        """End the connection gracefully and return at once; a second call does nothing.

        Pending reads fail with ERROR_OPERATION_ABORTED, a connect under way is cancelled. Queued writes go out within
        `limits.close_timeout`; then FIN, or RST where received data was left unread. `aclose()` waits for that.
        Source: WinRT StreamSocket.Close.
        """
        self._end()

    def detach(self) -> Detached:
        """Give the descriptor away, with bytes that were received and not read. The socket is closed for us.

        The receiver owns the descriptor, which is non-blocking, and sends `unsent` before anything else: the rest of a
        write that has ended while the system could not take it (empty after a `flush`).

        TLS goes on in the kernel for whoever has the descriptor; `tls` is what `adopt` is to know of it, without
        secrets. That was to be asked for before: `control.transferable`.

        Errors: E_ILLEGAL_METHOD_CALL while I/O is pending, or one direction of TLS has ended. ERROR_NOT_SUPPORTED with
        the reason where a TLS connection has to stay, and goes on: nobody had asked, the kernel has no TLS or not with
        this cipher, keys have been updated, half a record has come (`cancel_io_async` waits for the rest).
        """
        stream = self._stream("detach")

        if stream.home.on_home_thread():
            return self._give(stream)

        async def give_there() -> Detached:
            return self._give(stream)

        given_away: Detached = start_operation(stream.home, give_there(), Kind.OPERATION).get()
        return given_away

    def _give(self, stream: TcpStream) -> Detached:
        given = stream.detach()
        if self._connection.tls is None:
            return given
        from moorings.sockets.tls_travel import encode_facts  # noqa: PLC0415 (only who uses TLS pays for it)

        return given._replace(tls=encode_facts(self._connection))

    @staticmethod
    def from_socket(plain_socket: socket.socket | int, /, *, unread: bytes = b"", tls: bytes = b"") -> StreamSocket:
        """Take over a connected TCP socket, or its descriptor; on success it belongs to the new StreamSocket.

        `unread` are bytes that somebody already received; they are read first. Its options stay as they are, and
        `control` shows them. TLS that the kernel carries goes on; `tls` is what `detach` told of it, without which
        `information` has no more than the version. Errors: TypeError for anything else; E_INVALIDARG when it is not a
        connected TCP socket, or a TLS socket of Python's, or does not fit `tls`; nothing was taken over then.
        """
        descriptor = check_adoptable(plain_socket, "from_socket")
        received = memoryview(unread).tobytes()
        home = current_home()
        result = StreamSocket.__new__(StreamSocket)
        result._prepare(Connection(Settings()), creation_place())

        def use(taken: socket.socket) -> None:
            result._connection.settings = settings_of(taken)
            result._take_over(home, taken, tls)
            result._stream("from_socket").unread(received)

        def adopt() -> None:
            take_over(plain_socket, descriptor, use)

        if home.on_home_thread():
            adopt()
        else:

            async def adopt_there() -> None:
                adopt()

            start_operation(home, adopt_there(), Kind.ACTION).get()
        return result

    def _take_over(self, home: Home, taken: socket.socket, tls: bytes) -> None:
        remote = taken.getpeername()
        if not tls and not has_upper_layer(taken):
            self._adopt(home, taken, remote)
            return
        from moorings.sockets.tls_travel import kernel_stream  # noqa: PLC0415 (only who uses TLS pays for it)

        stream = kernel_stream(hub_of(home), taken, self._connection, tls)
        self._connection.opened(stream, remote)
        self._attach(stream)

    # -- names -------------------------------------------------------------------------------------------------------

    @overload
    @staticmethod
    def get_endpoint_pairs_async(
        remote_host_name: HostName, remote_service_name: str, /
    ) -> IAsyncOperation[Sequence[EndpointPair]]: ...
    @overload
    @staticmethod
    def get_endpoint_pairs_async(
        remote_host_name: HostName, remote_service_name: str, sort_options: HostNameSortOptions, /
    ) -> IAsyncOperation[Sequence[EndpointPair]]: ...
    @staticmethod
    @arities(2, 3)
    def get_endpoint_pairs_async(*arguments: Any) -> IAsyncOperation[Sequence[EndpointPair]]:
        """The endpoint pairs of a host and service, best first.

        Errors: as `connect_async` for the arguments, but E_INVALIDARG for a Bluetooth host; those of name look-up
        through the operation. Cancellation: *nothing happened*. Source: WinRT StreamSocket.GetEndpointPairsAsync.
        """
        if len(arguments) not in {2, 3}:
            raise invalid_parameter_count()
        host, service = arguments[:2]
        check_target(host, service, "get_endpoint_pairs_async")
        options = HostNameSortOptions.NONE
        if len(arguments) == 3:
            options = check_enum(arguments[2], HostNameSortOptions, "sort_options")
        return start_operation(current_home(), get_endpoint_pairs(host, service, options), Kind.OPERATION)

    get_endpoint_pairs_with_sort_options_async = deprecated_alias("get_endpoint_pairs_async")

    def __repr__(self) -> str:
        return f"<{self._connection} {self._connection.state.name.lower()}>"


def accepted_socket(connection: Connection, place: tuple[str, int] | None) -> StreamSocket:
    """The public object of a connection that a listener accepted."""
    result = StreamSocket.__new__(StreamSocket)
    result._prepare(connection, place)
    return result
