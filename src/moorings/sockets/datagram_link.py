"""What the public objects of one DatagramSocket share.

Theory of operation
-------------------
The `DatagramLink` holds state, settings, endpoints and limits; the DatagramSocket, its control, its information and its
streams refer to it, and so do the engine's port and the messages. None of these refers back to the public object, which
the program may drop: the *lifeline*, shared by the socket and its streams, notices.

A port exists from the bind or connect on, or from the first write of an unbound socket, which binds it on the spot.
Writes that need a closer look come here (`check_write` in the caller's thread, `enter_write` at home); once nothing is
left to look at, the stream gets the port and does without.
"""

# pyright: reportPrivateUsage=false
# This is the other half of DatagramSocket, which keeps the handlers.

from __future__ import annotations

import errno
import socket
import time
import warnings
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.engine.datagram import Datagram
from moorings.engine.datagram_mtu import too_big
from moorings.engine.datagram_port import RECEIVE_QUEUE_LIMIT, DatagramPort
from moorings.engine.datagram_sending import DATAGRAM_QUEUE_LIMIT
from moorings.engine.descriptor import local_address
from moorings.engine.hub import hub_of
from moorings.foundation.home import current_home
from moorings.foundation.operation import OPERATION_WITH_PROGRESS, Operation
from moorings.foundation.task_operation import Kind, start_operation
from moorings.names.endpoints import ANYWHERE, check_target, endpoint_candidates, endpoint_text
from moorings.names.enums import HostNameType
from moorings.names.host_name import HostName, host_name_from_sockaddr
from moorings.sockets.connection import State, post
from moorings.sockets.datagram_binding import (
    BROADCAST,
    DatagramBinding,
    DatagramSettings,
    broadcast_interfaces,
    fit_family,
    is_multicast,
    plain_text,
    send_broadcast,
)
from moorings.sockets.datagram_delivery import Delivery
from moorings.sockets.datagram_messages import DatagramSocketMessageReceivedEventArgs, message_maker
from moorings.sockets.datagram_streams import make_target
from moorings.sockets.opening import sockaddr_of

if TYPE_CHECKING:
    import weakref

    from moorings.connectivity.network_adapter import NetworkAdapter
    from moorings.foundation.home import Home
    from moorings.sockets.datagram_groups import GroupTable
    from moorings.sockets.datagram_socket import DatagramSocket

#: Peers that a socket remembers between sends.
TARGET_LIMIT = 1024

_COMPLETED = 1
_ERROR = 3
_WRITE = 32


class DatagramLink:
    """State, settings, endpoints and limits of one UDP socket."""

    __slots__ = (
        "__weakref__",
        "adapter",
        "connected",
        "delivery",
        "drop_newest",
        "groups",
        "home",
        "local_sockaddr",
        "multicast_refused",
        "opened_at",
        "owner",
        "place",
        "port",
        "ready",
        "receive_queue_limit",
        "remote_sockaddr",
        "settings",
        "state",
        "targets",
        "write_queue_limit",
    )

    def __init__(self, place: tuple[str, int]) -> None:
        self.place = place
        self.settings = DatagramSettings()
        self.state = State.NEW
        self.connected = False
        self.home: Home | None = None
        self.port: DatagramPort | None = None
        self.owner: weakref.ref[DatagramSocket] | None = None
        self.delivery: Delivery | None = None
        self.adapter: NetworkAdapter | None = None
        self.groups: GroupTable | None = None
        self.local_sockaddr: Any = None
        self.remote_sockaddr: Any = None
        self.targets: dict[Any, Any] = {}
        #: Those of them to which an open port may send without another look.
        self.ready: dict[Any, Any] = {}
        self.write_queue_limit = DATAGRAM_QUEUE_LIMIT
        self.receive_queue_limit = RECEIVE_QUEUE_LIMIT
        self.drop_newest = False
        self.multicast_refused = 0
        self.opened_at = 0.0

    def __str__(self) -> str:
        """The socket as errors name it."""
        return str(Name(self))

    # -- beginning and ending ------------------------------------------------------------------------------------------

    def start(self, home: Home, plain_socket: socket.socket) -> None:
        """Take over a bound or connected socket (home thread). OSError: the caller still owns it."""
        port = DatagramPort(hub_of(home), plain_socket, self)
        port.queue_limit = self.write_queue_limit
        port.queue_length_limit = self.receive_queue_limit
        port.drop_newest = self.drop_newest
        port.make_datagram = message_maker(self)
        port.on_release = self.finished
        if self.settings.multicast_only:
            port.filter = self._is_for_group
        self.home = home
        self.port = port
        self.opened_at = time.monotonic()
        self.local_sockaddr = local_address(port.fd)
        self.state = State.OPEN
        owner = None if self.owner is None else self.owner()
        if owner is not None:
            self.delivery = Delivery(self, owner, port)

    def _is_for_group(self, inbox: Any) -> bool:
        if inbox.destination is not None and is_multicast(inbox.destination):
            return True
        self.multicast_refused += 1
        return False

    def peer_is(self, sockaddr: Any) -> None:
        """The socket is connected now, or, with None, not any more."""
        self.connected = sockaddr is not None
        self.remote_sockaddr = sockaddr
        if self.port is not None:
            self.local_sockaddr = local_address(self.port.fd) or self.local_sockaddr

    def undo_start(self) -> None:
        """Be new again: the bind or connect was cancelled in the very turn in which it succeeded."""
        port, self.port = self.port, None
        self._end_groups()
        if port is not None:
            port.on_release = None
            port.abort()
        self.delivery = self.local_sockaddr = self.groups = None
        self.targets.clear()
        self.ready.clear()
        self.peer_is(None)

    def finished(self, port: DatagramPort) -> None:
        """The descriptor is about to go."""
        self.state = State.CLOSED
        # The port must not refer back to us: what refers to each other stays until the garbage collector comes.
        port.label = Name(self)
        port.make_datagram = Datagram
        self._end_groups()
        if self.delivery is not None:
            self.delivery.stop()

    def _end_groups(self) -> None:
        if self.groups is not None and self.home is not None:
            self.groups.close(self.home)

    def is_open(self) -> bool:
        """Whether something can still be sent."""
        return self.state != State.CLOSED and (self.home is None or not self.home.dropped)

    def at_home(self, function: Any) -> None:
        """Let the home loop call `function`; where that loop is closed, nobody can be in the way."""
        home = self.home
        if home is None or home.dropped:
            return
        if home.on_home_thread() or not post(home, function):
            function()

    def closed_error(self) -> OSError:
        """What a call gets that comes too late."""
        if self.home is not None and self.home.dropped:
            return errors.closed(str(self), "it belongs to the parent process; make a new one after fork()")
        return errors.closed(str(self))

    # -- sending -------------------------------------------------------------------------------------------------------

    def check_write(self, sockaddr: Any) -> None:
        """Check, in the caller's thread, whether a datagram may be sent to `sockaddr` (None: the connected peer)."""
        if not self.is_open():
            raise self.closed_error()
        if sockaddr is None and not self.connected:
            raise errors.illegal_call(f"{self}: sending without a peer", "connect it first, or name the peer")
        if self.state == State.BUSY and self.port is None:
            raise errors.illegal_call(f"{self}: sending while it is busy", "await the bind or connect first")
        if self.settings.multicast_only:
            to = self.remote_sockaddr if sockaddr is None else sockaddr
            if plain_text(to) != BROADCAST and not is_multicast(to):
                raise errors.illegal_call(f"{self}: unicast with control.multicast_only", "send to a group")
        if self.home is None:
            self.home = current_home()

    def open_port(self) -> DatagramPort:
        """The port; an unbound socket is bound to any port now (home thread)."""
        port = self.port
        if port is None:
            if self.state != State.NEW:
                raise self.closed_error()
            assert self.home is not None
            plain_socket = DatagramBinding(self.settings, None, "", self.adapter).open_everywhere(0)
            try:
                self.start(self.home, plain_socket)
            except BaseException:
                plain_socket.close()
                raise
            port = self.port
            assert port is not None
        return port

    def target_of(self, sockaddr: Any) -> Any:
        """The engine's target for a socket address (None: the connected peer), the same each time."""
        target = self.targets.get(sockaddr)
        if target is None:
            assert self.port is not None
            fitting = None if sockaddr is None else fit_family(sockaddr, self.port.plain_socket.family)
            if len(self.targets) >= TARGET_LIMIT:
                oldest = next(iter(self.targets))
                del self.targets[oldest]
                self.ready.pop(oldest, None)
            target = self.targets[sockaddr] = make_target(fitting)
        return target

    def enter_write(self, operation: Operation, sockaddr: Any, stream: Any = None) -> None:
        """Queue a write that was checked (home thread). A stream that needs no more checks is told so."""
        try:
            port = self.open_port()
            target = self.target_of(sockaddr)
        except OSError as error:
            operation.finish(_ERROR, None, error)
            return
        operation.owner = port
        operation.subject = target
        if sockaddr is not None and plain_text(sockaddr) == BROADCAST:
            self._broadcast(operation, port, target.name)
            return
        if not self.settings.multicast_only:
            if stream is not None:
                stream._ready(port, target)
            elif sockaddr is not None:
                self.ready[sockaddr] = target
        port.submit_write(operation)

    def enter_flush(self, operation: Operation) -> None:
        """Queue a flush (home thread); without a port nothing was written yet."""
        if self.port is None:
            operation.finish(_COMPLETED, True, None)
            return
        operation.owner = self.port
        self.port.submit_write(operation)

    def _broadcast(self, operation: Operation, port: DatagramPort, name: Any) -> None:
        """Send one copy through each adapter, at once: behind what is queued, if the kernel takes that."""
        if not port.is_open():
            operation.finish(_ERROR, None, port.closed_error())
            return
        port.on_flush()
        data = memoryview(operation.buffer)[: operation.count]
        interfaces = broadcast_interfaces() if self.adapter is None else [self.adapter.interface_index]
        try:
            sent = send_broadcast(port.plain_socket, data, name, interfaces)
        except OSError as error:
            operation.finish(_ERROR, None, self._broadcast_error(error, data.nbytes, name))
            return
        port.send_calls += max(1, len(interfaces))
        port.datagrams_sent += 1
        port.bytes_sent += sent
        operation.finish(_COMPLETED, sent, None)

    def _broadcast_error(self, error: OSError, size: int, name: Any) -> OSError:
        if error.errno == errno.EMSGSIZE and self.port is not None:
            return too_big(self, self.port.plain_socket, size, name)
        code = errno.ENOBUFS if error.errno == errno.EAGAIN else error.errno or errno.EIO
        return errors.from_errno(code, f"{self}: sending a broadcast failed: {error.strerror}", cause=error)

    def send(self, data: Any, to: Any) -> Operation:
        """Queue a datagram for `to`, as `DatagramSocket.send` describes it."""
        payload = data if type(data) is bytes else memoryview(data).tobytes()
        sockaddr = to
        if isinstance(to, DatagramSocketMessageReceivedEventArgs):
            sockaddr = to.name
            if sockaddr is None:
                raise errors.invalid_argument("send: nobody is known as the sender of that message")
            target = self.ready.get(sockaddr)
            if target is not None and self.port is not None and self.port.usable_here():
                return _known_now(self.port.write(payload, len(payload), target))
        elif to is not None and to not in self.targets:
            sockaddr = self._numeric(to)
        if sockaddr is None and to is not None:
            return self._send_to_name(payload, to)
        self.check_write(sockaddr)
        assert self.home is not None
        operation = Operation(self.home, self.port, OPERATION_WITH_PROGRESS)
        operation.buffer = payload
        operation.count = len(payload)
        operation.options = _WRITE
        here = self.home.on_home_thread()
        self.home.call(self.enter_write, operation, sockaddr)
        return _known_now(operation) if here else operation

    def _numeric(self, to: Any) -> Any:
        """The socket address for (address, port); None where a name has to be looked up. TypeError, E_INVALIDARG."""
        host, service = _host_and_service(to)
        if not service.isdecimal() or host.type not in {HostNameType.IPV4, HostNameType.IPV6}:
            return None
        family = socket.AF_INET6 if host.type == HostNameType.IPV6 else socket.AF_INET
        try:
            return sockaddr_of(host.canonical_name, int(service), family)
        except OSError as error:
            raise errors.from_os_error(error, f"send: {to!r} has no interface here") from error

    def _send_to_name(self, payload: bytes, to: Any) -> Operation:
        host, service = _host_and_service(to)
        if not self.is_open():
            raise self.closed_error()
        home = self.home = self.home or current_home()

        async def look_up_and_send() -> int:
            candidates = await endpoint_candidates(host, service, protocol="udp")
            sent: int = await self.send(payload, self.usable(candidates)[0].sockaddr)
            return sent

        return start_operation(home, look_up_and_send(), Kind.OPERATION_WITH_PROGRESS)

    def usable(self, candidates: Any) -> Any:
        """Those candidates that the socket's family can reach; all of them where there are none, for the error."""
        family = None if self.port is None else self.port.plain_socket.family
        if family is None:
            family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        fitting = [one for one in candidates if family == socket.AF_INET6 or one.family == socket.AF_INET]
        return fitting or candidates


def _known_now(operation: Operation) -> Operation:
    """Raise what is known already: who does not await it would never know that the datagram is missing."""
    if operation.state == _ERROR:
        operation.outcome()
    return operation


def _host_and_service(to: Any) -> tuple[HostName, str]:
    pair: Any = to
    if not isinstance(to, tuple) or len(pair) < 2:
        raise TypeError("to must be (host, port), a received message, or None for the connected peer")
    host, service = pair[:2]
    if isinstance(host, str):
        host = HostName(host)
    if type(service) is int:
        service = str(service)
    check_target(host, service, "send")
    return host, service


class Name:
    """A socket as errors name it; the text is made when somebody asks."""

    __slots__ = ("connected", "local", "remote", "state")

    def __init__(self, link: DatagramLink) -> None:
        self.state = link.state
        self.local = link.local_sockaddr
        self.remote = link.remote_sockaddr

    def __str__(self) -> str:
        if self.local is None:
            return "DatagramSocket"
        text = f"DatagramSocket {_text(self.local)}"
        return text if self.remote is None else f"{text} -> {_text(self.remote)}"


def _text(sockaddr: Any) -> str:
    if plain_text(sockaddr) in ANYWHERE:
        return f"on port {sockaddr[1]}"
    return endpoint_text(host_name_from_sockaddr(sockaddr).display_name, sockaddr[1])


class Lifeline:
    """Held by a DatagramSocket and its streams, and by nothing else: when it goes, nobody can use the socket."""

    __slots__ = ("link",)

    def __init__(self, link: DatagramLink) -> None:
        self.link = link

    def __del__(self) -> None:
        link = self.link
        port = link.port
        if port is None or port.home.dropped or not port.is_open():
            return
        home = port.home
        if link.state == State.CLOSED and not home.loop.is_closed():
            return  # closed from another thread: the home loop has not got to it yet
        if link.state == State.CLOSED:
            port.abort()
            return
        message = f"unclosed {link}, made at {link.place[0]}:{link.place[1]}; close() it or use 'async with'"
        try:
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)
        finally:
            link.state = State.CLOSED
            link.at_home(port.close)
