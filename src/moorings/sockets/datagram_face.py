"""The Python face of a DatagramSocket: send, receive, iterate, with asyncio's semantics."""

from __future__ import annotations

from asyncio import get_running_loop
from typing import TYPE_CHECKING, Any, Self

from moorings import errors
from moorings.engine.datagram_mtu import path_mtu
from moorings.foundation.at_home import run_at_home
from moorings.sockets.connection import State
from moorings.sockets.datagram_groups import join_group, leave_group, membership

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from moorings.connectivity.network_adapter import NetworkAdapter
    from moorings.engine.datagram_port import DatagramPort
    from moorings.foundation.async_info import IAsyncOperationWithProgress
    from moorings.names.host_name import HostName
    from moorings.sockets.datagram_link import DatagramLink
    from moorings.sockets.datagram_messages import DatagramSocketMessageReceivedEventArgs as Message

# What a receive fails with that is no report of the network.
_OURS = frozenset((errors.RO_E_CLOSED, errors.E_ILLEGAL_METHOD_CALL, errors.ERROR_OPERATION_ABORTED))


class DatagramFace:
    """Mixed into DatagramSocket. Called from another loop or thread the methods work on the socket's own loop."""

    __slots__ = ()

    _link: DatagramLink

    def _require(self, member: str) -> None:
        raise NotImplementedError

    def _has_handlers(self) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        """End the socket."""
        raise NotImplementedError

    def send(
        self, data: Any, to: tuple[str, int | str] | Message | None = None
    ) -> IAsyncOperationWithProgress[int, int]:
        """Queue `data` (bytes-like) as one datagram; awaiting the result sends the queue and gives the bytes.

        `to` is (host, port), a received message, whose sender it then goes to, or None for the connected peer. A name
        is looked up first. An unbound socket is bound. Without `await` it is sent at the end of the loop turn, with
        `flush()`, or when 64 KiB or 1024 datagrams are queued; what is of one size for one peer leaves in one system
        call.

        Errors: TypeError and E_INVALIDARG for bad arguments; E_ILLEGAL_METHOD_CALL without a peer, and for unicast with
        `control.multicast_only`; RO_E_CLOSED after `close()`; WSAEMSGSIZE 0x80072738, whose `max_size` is what fits,
        for what no datagram holds, or with `control.dont_fragment` the way; WSAENOBUFS when the queue is full
        (`limits`); those of look-up and network. What is known at the call is raised by the call.
        Cancellation: a datagram that is still queued is not sent; the socket lives on.
        """
        self._require("send")
        return self._link.send(data, to)

    async def flush(self) -> bool:
        """Send everything queued and wait until the kernel has it: True, or False when a send failed unseen.

        Cancellation: *retry safe*: the datagrams stay queued.
        """
        self._require("flush")
        port = self._link.port
        if port is None:
            return True
        if get_running_loop() is not port.home.loop:
            return await run_at_home(port.home, self.flush)
        sent: bool = await port.flush()
        return sent

    async def receive(self) -> Message:
        """Wait for one datagram: its `data`, `remote_address`, `remote_port`, `local_address`, `interface`, ...

        Receiving starts with the first call; from then on up to `limits.receive_queue_limit` datagrams are kept between
        calls. Several tasks may wait; they are served in turn.

        Errors: what the network reports comes out here, such as ConnectionResetError for a peer where nobody listens,
        and the socket lives on; E_ILLEGAL_METHOD_CALL before it is bound or connected, and beside a `message_received`
        handler; RO_E_CLOSED after `close()`, which ends a waiting call with ERROR_OPERATION_ABORTED. Cancellation:
        *nothing happened*, *retry safe*: no datagram is lost.
        """
        port = self._link.port
        if port is None or not port.may_receive():
            port = self._port_to_receive()
            if not port.home.on_home_thread():
                return await run_at_home(port.home, self.receive, port.put_back)
        # (Nobody else may hold the operation: then it serves again.)
        return await port.receive()  # type: ignore[no-any-return]

    def _port_to_receive(self) -> DatagramPort:
        """The port, or what is wrong."""
        port = self._link.port
        if port is None or not port.is_open() or port.home.dropped:
            self._require("receive")
        if self._has_handlers():
            raise errors.illegal_call(f"{self._link}: receive() beside a message_received handler", "use one of both")
        assert port is not None
        return port

    def __aiter__(self) -> AsyncIterator[Message]:
        """Iterate over what is received, until the socket is closed.

        What the network reports is passed over, and counted in `counters.errors`: one peer that has gone must not end
        the iteration for all others. Errors: as `receive`.
        """
        self._require("receive")
        return _Messages(self)

    def join_group(
        self, group: str | HostName, source: str | HostName | None = None, interface: str | NetworkAdapter | None = None
    ) -> None:
        """Receive what is sent to a group, from any sender or from `source` alone (RFC 4607).

        `interface`: a name or a NetworkAdapter; None: the bound adapter, or every interface that is up and has
        multicast, the loopback one included. It holds until `leave_group` or `close()`: the group is joined again on
        an interface that goes and comes back under its name, and, with None, on each that comes new
        (`counters.group_rejoins`). Joining the same again is no error; further sources are further joins.

        Errors: TypeError for wrong types; E_INVALIDARG for a group that is no multicast address, a source that is no
        address of a host or of another family, an interface that is not the bound one; E_ILLEGAL_METHOD_CALL before it
        is bound or connected, and for a group that is joined both from any source and from given ones; RO_E_CLOSED
        after `close()`; WSAENETDOWN 0x80072742 for an interface that is not there (errno ENODEV), or where none is up;
        WSAENOBUFS 0x80072747 for too many groups or sources (the kernel's igmp_max_memberships, igmp_max_msf,
        mld_max_msf; GROUP_LIMIT); WSAEAFNOSUPPORT for an IPv6 group on an IPv4 socket. With None it fails only where no
        interface takes the group; those that refused are counted in `counters.group_failures`.
        Source: RFC 3678; ip(7), IP_ADD_MEMBERSHIP, IP_ADD_SOURCE_MEMBERSHIP.
        """
        wanted = membership("join_group", group, source, interface)
        self._require("join_group")
        join_group(self._link, "join_group", wanted)

    def leave_group(
        self, group: str | HostName, source: str | HostName | None = None, interface: str | NetworkAdapter | None = None
    ) -> None:
        """Undo the `join_group` (or `join_multicast_group`) with the same arguments.

        Errors: as `join_group` for arguments and states; WSAEADDRNOTAVAIL 0x80072741 for what is not joined.
        """
        wanted = membership("leave_group", group, source, interface)
        self._require("leave_group")
        leave_group(self._link, "leave_group", wanted)

    @property
    def path_mtu(self) -> int | None:
        """Bytes of the largest IP packet that reaches the connected peer in one piece, as far as the kernel knows now.

        A datagram has 28 bytes less (IPv4), or 48 (IPv6). The kernel begins with the MTU of the interface, and learns
        when a router reports a smaller one, which needs `control.dont_fragment`. None where it is not connected, and
        after the end. Source: ip(7), IP_MTU; RFC 1191; RFC 8201.
        """
        link = self._link
        port = link.port
        return path_mtu(port.plain_socket) if link.connected and port is not None and port.is_open() else None

    async def aclose(self) -> None:
        """Send what is queued, then `close()`. Cancellation: *object now broken*: it is closed at once."""
        link = self._link
        port = link.port
        try:
            if port is not None and link.state == State.OPEN and not port.home.dropped and port.has_unsent():
                await self.flush()
        finally:
            self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            await self.aclose()
        else:
            self.close()


class _Messages:
    """The iterator of `async for message in socket`."""

    __slots__ = ("_socket",)

    def __init__(self, socket: DatagramFace) -> None:
        self._socket = socket

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        socket = self._socket
        while True:
            try:
                return await socket.receive()
            except OSError as error:
                if socket._link.state == State.CLOSED:  # pyright: ignore[reportPrivateUsage]
                    raise StopAsyncIteration from None
                if getattr(error, "winerror", 0) in _OURS:
                    raise
