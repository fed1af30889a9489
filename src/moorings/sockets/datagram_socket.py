"""`DatagramSocket`: UDP."""

# pyright: reportPrivateUsage=false
# The classes beside it are halves of the same thing.

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, TypeVar, overload

from moorings import errors
from moorings.connectivity.network_adapter import NetworkAdapter
from moorings.foundation.closable import IClosable
from moorings.foundation.events import EventRegistrationToken, EventSource
from moorings.foundation.home import current_home
from moorings.foundation.projection import (
    arities,
    check_enum,
    check_object,
    check_optional,
    deprecated_alias,
    final,
    invalid_parameter_count,
)
from moorings.foundation.task_operation import Kind, completed_operation, start_operation
from moorings.names.endpoint_pair import EndpointPair
from moorings.names.endpoints import check_target, endpoint_candidates, get_endpoint_pairs
from moorings.names.enums import HostNameSortOptions, HostNameType
from moorings.names.host_name import HostName
from moorings.names.resolver import default_resolver, host_text_of
from moorings.sockets.binding import check_local
from moorings.sockets.connection import State, creation_place, first_use, require, start
from moorings.sockets.datagram_binding import (
    DatagramBinding,
    connect_socket,
    disconnect_socket,
    fit_family,
    plain_text,
    refuse_multicast,
)
from moorings.sockets.datagram_face import DatagramFace
from moorings.sockets.datagram_groups import join_group, membership
from moorings.sockets.datagram_limits import DatagramCounters, DatagramLimits, datagram_counters
from moorings.sockets.datagram_link import DatagramLink, Lifeline
from moorings.sockets.datagram_messages import DatagramSocketMessageReceivedEventArgs
from moorings.sockets.datagram_socket_control import DatagramSocketControl, datagram_control
from moorings.sockets.datagram_socket_information import DatagramSocketInformation, datagram_information
from moorings.sockets.datagram_streams import DatagramOutputStream
from moorings.sockets.opening import local_port
from moorings.sockets.ownership import StreamBrokerMembers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from moorings.foundation.async_info import IAsyncAction, IAsyncOperation
    from moorings.foundation.operation import Operation
    from moorings.streams.interfaces import IOutputStream

T = TypeVar("T")

_NEW = frozenset((State.NEW,))
_OPEN = frozenset((State.OPEN,))
_ALIVE = frozenset((State.NEW, State.BUSY, State.OPEN))
_IDLE = frozenset((State.NEW, State.OPEN))
_ALWAYS = frozenset(State)

#: In which states each member may be used. In CLOSED the others fail with RO_E_CLOSED, else with E_ILLEGAL_METHOD_CALL.
#: OPEN is bound, connected, or both; connecting a second time is refused too.
RULES = {
    "bind_endpoint_async": _NEW,
    "bind_service_name_async": _NEW,
    "connect_async": _IDLE,
    "get_output_stream_async": _IDLE,
    "output_stream": _ALIVE,
    "add_message_received": _NEW,
    "remove_message_received": _NEW,
    "join_multicast_group": _OPEN,
    "control": _ALWAYS,
    "information": _ALWAYS,
    "cancel_io_async": _ALIVE,
    "close": _ALWAYS,
    "enable_transfer_ownership": _NEW,
    "transfer_ownership": _OPEN,
    "send": _IDLE,
    "flush": _IDLE,
    "receive": _OPEN,
    "async for": _OPEN,
    "aclose": _ALWAYS,
    "join_group": _OPEN,
    "leave_group": _OPEN,
    "path_mtu": _ALWAYS,
    "limits": _ALWAYS,
    "counters": _ALWAYS,
}

HINTS = {
    State.NEW: "bind or connect it first",
    State.BUSY: "await the bind or connect first",
    State.OPEN: "it is bound or connected already; do that before, or make a new DatagramSocket",
}

Args = DatagramSocketMessageReceivedEventArgs


@final
class DatagramSocket(DatagramFace, StreamBrokerMembers, IClosable):
    """A UDP socket: make it, set `control`, add a handler, then bind it (any peer) or connect it (one peer).

    `message_received` handlers get `(socket, args)` for each datagram, one after the other: on an asyncio loop inline,
    in a plain script on a worker thread; `async def` handlers run as tasks. A handler that raises is reported once and
    hurts nothing. Sending alone needs neither bind nor connect.

    Beside WinRT's members it has the Python face: `send`, `receive`, `async for`, `flush`, `join_group`,
    `leave_group`, `path_mtu`, `aclose`, `async with`, `limits`, `counters`. A socket that is dropped while it is open
    is closed with a ResourceWarning that names the place where it was made. Source: WinRT DatagramSocket.
    """

    __slots__ = (
        "__weakref__",
        "_control",
        "_event",
        "_information",
        "_inline",
        "_lifeline",
        "_link",
        "_on_worker",
        "_operation",
        "_output",
    )
    _winrt_name_ = "Windows.Networking.Sockets.DatagramSocket"

    def __init__(self) -> None:
        self._link = DatagramLink(creation_place())
        self._link.owner = weakref.ref(self)
        self._event: EventSource[DatagramSocket, Args] = EventSource()
        # Its handlers, once they are fixed: those that the loop calls, and those that worker threads call.
        self._inline: tuple[Callable[[Any, Any], object], ...] = ()
        self._on_worker: tuple[Callable[[Any, Any], object], ...] = ()
        self._lifeline = Lifeline(self._link)
        self._operation: Operation | None = None
        self._output: Any = None
        self._control: DatagramSocketControl | None = None
        self._information: DatagramSocketInformation | None = None

    def _require(self, member: str) -> None:
        link = self._link
        if link.home is not None and link.home.dropped:
            raise link.closed_error()
        require(link.state, RULES, member, link, HINTS)

    def _require_unconnected(self, member: str) -> None:
        self._require(member)
        if self._link.connected:
            raise errors.illegal_call(f"{self._link}: {member} while it is connected", "make a new DatagramSocket")

    def _has_handlers(self) -> bool:
        return bool(self._event)

    # -- binding and connecting ----------------------------------------------------------------------------------------

    def bind_endpoint_async(self, local_host_name: HostName | None, local_service_name: str, /) -> IAsyncAction:
        """Bind to one address (None: all) and port ("": the system picks one).

        The port is taken exclusively, unless `control.multicast_only` is set. Errors: E_INVALIDARG for a bad port;
        RO_E_CLOSED after `close()`, else E_ILLEGAL_METHOD_CALL unless new. Through the action: WSAEADDRINUSE
        0x80072740, WSAEADDRNOTAVAIL, WSAEACCES, WSATYPE_NOT_FOUND for an unknown service, those of name look-up; the
        socket then is new again. Cancellation: *nothing happened*, *retry safe*.
        Source: WinRT DatagramSocket.BindEndpointAsync.
        """
        member = "bind_endpoint_async"
        host = check_optional(local_host_name, HostName, f"{member}: local host")
        return self._bind(host, local_service_name, None, member)

    @overload
    def bind_service_name_async(self, local_service_name: str, /) -> IAsyncAction: ...
    @overload
    def bind_service_name_async(self, local_service_name: str, adapter: NetworkAdapter, /) -> IAsyncAction: ...
    @arities(1, 2)
    def bind_service_name_async(self, *arguments: Any) -> IAsyncAction:
        """Bind to all addresses, IPv4 and IPv6, on one port ("": the system picks one), optionally on one adapter.

        With an adapter (None is E_INVALIDARG) everything goes in and out through it, multicast too; where the system
        does not permit that, the action fails with ERROR_NOT_SUPPORTED. Else as `bind_endpoint_async`.
        Source: WinRT DatagramSocket.BindServiceNameAsync.
        """
        if len(arguments) not in {1, 2}:
            raise invalid_parameter_count()
        adapter = check_object(arguments[1], NetworkAdapter, "adapter") if len(arguments) == 2 else None
        return self._bind(None, next(iter(arguments)), adapter, "bind_service_name_async")

    bind_service_name_and_adapter_async = deprecated_alias("bind_service_name_async")

    def _bind(self, host: HostName | None, service: Any, adapter: NetworkAdapter | None, member: str) -> IAsyncAction:
        check_local(service, member)
        if host is not None:
            host_text_of(host)
        self._require(member)
        return self._start(self._open_bound(host, service, adapter), member, lambda: self._require(member))

    def _start(self, coroutine: Coroutine[Any, Any, None], member: str, check: Callable[[], None]) -> IAsyncAction:
        link = self._link
        try:
            home = link.home or current_home()
            home.usable(member)
            start(link, check)
        except BaseException:
            coroutine.close()
            raise
        link.home = home
        bound = link.port is not None
        operation = start_operation(home, coroutine, Kind.ACTION, undo=lambda: self._undo(bound))
        self._operation = operation
        if link.state != State.BUSY:
            self._operation = None  # another thread has ended it meanwhile
        return operation

    async def _open_bound(self, host: HostName | None, service: str, adapter: NetworkAdapter | None) -> None:
        link = self._link
        plain_socket = await DatagramBinding(link.settings, host, service, adapter).open()
        link.adapter = adapter
        self._adopt(plain_socket)

    def _adopt(self, plain_socket: Any) -> None:
        link = self._link
        try:
            if link.state != State.BUSY:
                raise errors.aborted(f"{link} was closed meanwhile")
            assert link.home is not None
            link.start(link.home, plain_socket)
        except BaseException:
            plain_socket.close()
            raise
        self._operation = None

    def _undo(self, bound: bool) -> None:
        """Be as before: it failed or was cancelled, perhaps in the very turn in which it succeeded."""
        link = self._link
        self._operation = None
        if link.state == State.CLOSED:
            return
        if bound:
            if link.connected and link.port is not None:
                disconnect_socket(link.port.plain_socket, link.local_sockaddr)
                link.peer_is(None)
            link.state = State.OPEN
            return
        link.undo_start()
        link.adapter = None
        self._output = None
        link.state = State.NEW

    @overload
    def connect_async(self, endpoint_pair: EndpointPair, /) -> IAsyncAction: ...
    @overload
    def connect_async(self, remote_host_name: HostName, remote_service_name: str, /) -> IAsyncAction: ...
    @arities(1, 2)
    def connect_async(self, *arguments: Any) -> IAsyncAction:
        """Fix the peer, by endpoint pair or by host and service: only its datagrams are received from then on.

        An unbound socket is bound, to the pair's local end where it has one; after a bind that must be the same, or
        empty. Nothing is sent, so that there is somebody is not known afterwards. 255.255.255.255 works, through the
        first adapter only.

        Errors: TypeError for wrong types; E_INVALIDARG for None, "", a port out of range, a Bluetooth host, and a local
        end that does not fit the bind; RO_E_CLOSED after `close()`, else E_ILLEGAL_METHOD_CALL when it is connected
        already, and for unicast with `control.multicast_only`. Through the action: WSAHOST_NOT_FOUND 0x80072AF9 for a
        multicast address, those of name look-up, WSAENETUNREACH and its like; the socket then is as before.
        Cancellation: *nothing happened*, *retry safe*. Source: WinRT DatagramSocket.ConnectAsync.
        """
        member = "connect_async"
        host, service, local = _remote(arguments, member)
        self._require_unconnected(member)
        self._check_local_end(local, member)
        coroutine = self._open_connected(host, service, local)
        return self._start(coroutine, member, lambda: self._require_unconnected(member))

    connect_with_endpoint_pair_async = deprecated_alias("connect_async")

    def _check_local_end(self, local: tuple[HostName | None, str], member: str) -> None:
        if local[0] is not None and self._link.adapter is not None:
            raise errors.invalid_argument(f"{member}: the socket is bound to an adapter; leave the local host out")

    async def _open_connected(self, host: HostName, service: str, local: tuple[HostName | None, str]) -> None:
        link = self._link
        candidates = await self._candidates(host, service, local[0])
        for candidate in candidates:
            refuse_multicast(candidate)
        if link.settings.multicast_only and plain_text(candidates[0].sockaddr) != "255.255.255.255":
            raise errors.illegal_call(f"{link}: connecting to one host with control.multicast_only", "send to a group")
        if link.port is None:
            binding = DatagramBinding(link.settings, local[0], local[1], None)
            plain_socket, candidate = await binding.connect(candidates)
            self._adopt(plain_socket)
        else:
            await self._check_bound_to(local)
            if link.state != State.BUSY:
                raise errors.aborted(f"{link} was closed meanwhile")
            candidate = self._connect_port(candidates)
            link.state = State.OPEN
            self._operation = None
        link.peer_is(candidate.sockaddr)

    async def _candidates(self, host: HostName, service: str, local: HostName | None) -> Any:
        link = self._link
        # Of a name, the addresses behind the adapter; what an address is, the program knows itself (a group, say).
        looked_up = link.adapter is not None and host.type == HostNameType.DOMAIN_NAME
        interface = link.adapter.interface_name if link.adapter is not None and looked_up else None
        candidates: Any = await endpoint_candidates(host, service, protocol="udp", interface_name=interface)
        if local is not None:
            version = {HostNameType.IPV4: 2, HostNameType.IPV6: 4}.get(local.type, 0)
            fitting = [one for one in candidates if not version or len(one.sockaddr) == version]
            if not fitting:
                reason = f"host {host} has no address of the family of local host {local}"
                raise errors.make(errors.ERROR_NO_DATA, reason)
            candidates = fitting
        return link.usable(candidates) if link.port is not None else candidates

    def _connect_port(self, candidates: Any) -> Any:
        """Connect the bound port to the first candidate to which there is a way."""
        port = self._link.port
        assert port is not None
        port.on_flush()
        failure: OSError | None = None
        for candidate in candidates:
            try:
                connect_socket(port.plain_socket, fit_family(candidate.sockaddr, port.plain_socket.family))
            except OSError as error:
                reason = f"connecting to {candidate} failed: {error.strerror}"
                failure = failure or errors.from_os_error(error, reason)
            else:
                return candidate
        assert failure is not None
        raise failure

    async def _check_bound_to(self, local: tuple[HostName | None, str]) -> None:
        """E_INVALIDARG where a local end is asked for that is not the bound one."""
        host, service = local
        bound = self._link.local_sockaddr
        fits = True
        if service:
            fits = await local_port(service, "udp") in {0, bound[1]}
        if host is not None and fits:
            texts = {plain_text(address.sockaddr(0)) for address in await default_resolver().addresses(host)}
            fits = plain_text(bound) in texts
        if not fits:
            where = f"{'' if host is None else host}:{service}"
            raise errors.invalid_argument(f"{self._link}: the local end {where} is not the one it is bound to")

    # -- sending -------------------------------------------------------------------------------------------------------

    @overload
    def get_output_stream_async(self, endpoint_pair: EndpointPair, /) -> IAsyncOperation[IOutputStream]: ...
    @overload
    def get_output_stream_async(
        self, remote_host_name: HostName, remote_service_name: str, /
    ) -> IAsyncOperation[IOutputStream]: ...
    @arities(1, 2)
    def get_output_stream_async(self, *arguments: Any) -> IAsyncOperation[IOutputStream]:
        """A stream that sends to one host, group or broadcast address; call it for as many peers as there are.

        What it sends comes from this socket's bound end; the first write binds a socket that is not. The pair form
        binds to its local end at once. 255.255.255.255 sends one copy through each adapter. What is received stays
        unfiltered.

        Errors: as `connect_async` for the arguments; E_ILLEGAL_METHOD_CALL while a bind or connect is under way,
        RO_E_CLOSED after `close()`; those of name look-up through the operation, and of binding for the pair form.
        Cancellation: *nothing happened*, *retry safe*. Source: WinRT DatagramSocket.GetOutputStreamAsync.
        """
        member = "get_output_stream_async"
        host, service, local = _remote(arguments, member)
        self._require(member)
        self._check_local_end(local, member)
        link = self._link
        home = link.home or current_home()
        home.usable(member)
        undo: Callable[[], object] | None = None
        binds = link.port is None and (local[0] is not None or local[1] != "")
        if binds:
            start(link, lambda: self._require(member))
            undo = self._undo_local_bind
        link.home = home
        return start_operation(home, self._make_stream(host, service, local, binds), Kind.OPERATION, undo=undo)

    get_output_stream_with_endpoint_pair_async = deprecated_alias("get_output_stream_async")

    def _undo_local_bind(self) -> None:
        self._undo(False)

    async def _make_stream(
        self, host: HostName, service: str, local: tuple[HostName | None, str], binds: bool
    ) -> DatagramOutputStream:
        link = self._link
        candidates = link.usable(await self._candidates(host, service, local[0]))
        if binds:
            await self._open_bound(local[0], local[1], None)
        elif link.local_sockaddr is not None:
            await self._check_bound_to(local)
        return DatagramOutputStream(link, self._lifeline, candidates[0].sockaddr)

    @property
    def output_stream(self) -> IOutputStream:
        """The stream to the connected peer; the same object each time. Its writes fail until there is one."""
        self._require("output_stream")
        stream = self._output
        if stream is None:
            stream = self._first("_output", DatagramOutputStream(self._link, self._lifeline, None))
        return stream  # type: ignore[no-any-return]

    def _first(self, slot: str, made: T) -> T:
        """Keep what was made on first use, whichever thread was first."""
        with first_use.lock:
            kept: T | None = getattr(self, slot)
            if kept is None:
                setattr(self, slot, made)
                kept = made
        return kept

    # -- receiving -----------------------------------------------------------------------------------------------------

    def add_message_received(self, handler: Callable[[DatagramSocket, Args], object], /) -> EventRegistrationToken:
        """Add a handler for datagrams, and for failures that the network reports, and return the token that removes it.

        Errors: TypeError for something not callable; E_ILLEGAL_METHOD_CALL once a bind or connect has started, or a
        write has bound the socket; RO_E_CLOSED after `close()`. Source: WinRT DatagramSocket.MessageReceived.
        """
        self._require("add_message_received")
        return self._event.add(handler)

    def remove_message_received(self, token: EventRegistrationToken, /) -> None:
        """Remove a handler; later than `add_message_received` allows, only `close()` does. Errors: as there."""
        check_object(token, int, "token")
        self._require("remove_message_received")
        self._event.remove(token)

    def join_multicast_group(self, host: HostName, /) -> None:
        """Receive what is sent to a group, on the bound adapter or on every interface that has multicast.

        Joining again is no error; what comes later is joined as well, as with `join_group`. Errors: E_INVALIDARG for
        anything but a multicast address; RO_E_CLOSED after `close()`, else E_ILLEGAL_METHOD_CALL unless bound;
        WSAEAFNOSUPPORT for an IPv6 group on an IPv4 socket, and what the kernel says, as `join_group`.
        Source: WinRT DatagramSocket.JoinMulticastGroup.
        """
        member = "join_multicast_group"
        wanted = membership(member, check_object(host, HostName, "host"))
        self._require(member)
        join_group(self._link, member, wanted)

    # -- control, information ------------------------------------------------------------------------------------------

    @property
    def control(self) -> DatagramSocketControl:
        """Settings, to be made before binding or connecting; the same object each time, readable after the end."""
        if self._control is None:
            return self._first("_control", datagram_control(self._link))
        return self._control

    @property
    def information(self) -> DatagramSocketInformation:
        """The endpoints; the same object each time, readable after the end."""
        if self._information is None:
            return self._first("_information", datagram_information(self._link))
        return self._information

    @property
    def limits(self) -> DatagramLimits:
        """Queue limits and what is dropped at them, by name; they may be set in any state."""
        return DatagramLimits(self._link)

    @property
    def counters(self) -> DatagramCounters:
        """Datagrams, bytes, system calls and queues at this moment, or at the end."""
        return datagram_counters(self._link)

    # -- ending --------------------------------------------------------------------------------------------------------

    def cancel_io_async(self) -> IAsyncAction:
        """End pending writes and receives with ERROR_OPERATION_ABORTED and keep the socket.

        Source: WinRT DatagramSocket.CancelIOAsync. Cancellation: *nothing happened*.
        """
        self._require("cancel_io_async")
        link = self._link
        port = link.port
        if port is None:
            return completed_operation(link.home or current_home(), Kind.ACTION)

        async def cancel() -> None:
            if port.is_open():
                port.cancel_io()

        return start_operation(port.home, cancel(), Kind.ACTION)

    def close(self) -> None:
        """End the socket and return at once; a second call does nothing.

        Queued datagrams go out as far as the kernel takes them at once; other writes and receives fail with
        ERROR_OPERATION_ABORTED, a bind or connect under way is cancelled. No handler starts any more.
        Source: WinRT DatagramSocket.Close.
        """
        link = self._link
        state, link.state = link.state, State.CLOSED
        operation, self._operation = self._operation, None
        if state == State.BUSY and operation is not None:
            operation.cancel()
        if link.delivery is not None:
            link.delivery.stop()
        port = link.port
        if port is not None and port.is_open():
            link.at_home(port.close)

    # -- names ---------------------------------------------------------------------------------------------------------

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
        """The endpoint pairs of a host and UDP service, best first.

        Errors: as `connect_async` for the arguments; those of name look-up through the operation. Cancellation:
        *nothing happened*. Source: WinRT DatagramSocket.GetEndpointPairsAsync.
        """
        if len(arguments) not in {2, 3}:
            raise invalid_parameter_count()
        host, service = arguments[:2]
        check_target(host, service, "get_endpoint_pairs_async")
        options = HostNameSortOptions.NONE
        if len(arguments) == 3:
            options = check_enum(arguments[2], HostNameSortOptions, "sort_options")
        pairs = get_endpoint_pairs(host, service, options, protocol="udp")
        return start_operation(current_home(), pairs, Kind.OPERATION)

    get_endpoint_pairs_with_sort_options_async = deprecated_alias("get_endpoint_pairs_async")

    def __repr__(self) -> str:
        return f"<{self._link} {self._link.state.name.lower()}>"


def _remote(arguments: tuple[Any, ...], member: str) -> tuple[HostName, str, tuple[HostName | None, str]]:
    """Check the arguments of a connect: remote host, remote service, and the local end."""
    if len(arguments) == 2:
        host, service = arguments
        local: tuple[HostName | None, str] = (None, "")
    elif len(arguments) == 1:
        pair = check_object(arguments[0], EndpointPair, "endpoint_pair")
        host, service = pair.remote_host_name, pair.remote_service_name
        local = (pair.local_host_name, pair.local_service_name)
        check_local(local[1], member)
        if local[0] is not None:
            host_text_of(local[0])
    else:
        raise invalid_parameter_count()
    check_target(host, service, member)
    return host, service, local
