"""Binding, settings of accepted sockets, and who gets the connections."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE, receive, turns, until
from tests.sockets.peers import FAMILIES, client_of, option, plain_listener, port_of

from moorings import errors
from moorings.connectivity.network_adapter import network_adapters
from moorings.sockets.accepting import ITERATION_QUEUE
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import (
    SocketProtectionLevel,
    SocketQualityOfService,
    StreamSocket,
    StreamSocketListener,
    StreamSocketListenerConnectionReceivedEventArgs,
    StreamSocketListenerControl,
    StreamSocketListenerInformation,
)

PLAIN = SocketProtectionLevel.PLAIN_SOCKET


def adapter_named(name: str) -> Any:
    return next(adapter for adapter in network_adapters() if adapter.interface_name == name)


class Received:
    """A handler that keeps what it gets."""

    def __init__(self) -> None:
        self.sockets: list[StreamSocket] = []

    def __call__(self, sender: StreamSocketListener, args: StreamSocketListenerConnectionReceivedEventArgs) -> None:
        assert isinstance(sender, StreamSocketListener)
        assert isinstance(args, StreamSocketListenerConnectionReceivedEventArgs)
        assert args.socket is args.socket
        self.sockets.append(args.socket)

    def abort(self) -> None:
        for ours in self.sockets:
            ours.abort()


# -- binding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost", None])
async def test_bind_endpoint(address: str | None) -> None:
    listener = StreamSocketListener()
    received = Received()
    listener.add_connection_received(received)
    await listener.bind_endpoint_async(None if address is None else HostName(address), "")
    assert int(listener.information.local_port) > 0
    client = StreamSocket()
    await client.connect_async(HostName(address or "localhost"), listener.information.local_port)
    await until(lambda: received.sockets)
    assert received.sockets[0].information.local_port == listener.information.local_port
    client.abort()
    received.abort()
    listener.close()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("arguments", [("",), ("0",), ("", PLAIN)])
async def test_bind_service_name_takes_both_families(family: int, arguments: tuple[Any, ...]) -> None:
    listener = StreamSocketListener()
    received = Received()
    listener.add_connection_received(received)
    await listener.bind_service_name_async(*arguments)
    with client_of(listener, family) as client:
        await until(lambda: received.sockets)
        information = received.sockets[0].information
        local, remote = information.local_address, information.remote_address
        assert local is not None
        assert remote is not None
        # An IPv4 peer of the socket for both families shows as the IPv4 address it is.
        assert str(remote) == client.getsockname()[0]
        assert str(local) == client.getpeername()[0]
        received.abort()
    listener.close()


async def test_bind_to_adapter() -> None:
    listener = StreamSocketListener()
    received = Received()
    listener.add_connection_received(received)
    await listener.bind_service_name_async("", PLAIN, adapter_named("lo"))
    assert listener._accepting.acceptor is not None
    with client_of(listener):
        await until(lambda: received.sockets)
        device = socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16
        with socket.socket(fileno=socket.dup(received.sockets[0]._connection.stream.fd)) as accepted:
            assert accepted.getsockopt(*device).rstrip(b"\0") == b"lo"
        received.abort()
    listener.close()


async def test_aliases_of_the_3x_line() -> None:
    for name, arguments in (
        ("bind_service_name_with_protection_level_async", ("", PLAIN)),
        ("bind_service_name_with_protection_level_and_adapter_async", ("", PLAIN, adapter_named("lo"))),
    ):
        listener = StreamSocketListener()
        with pytest.warns(DeprecationWarning, match="bind_service_name_async"):
            operation = getattr(listener, name)(*arguments)
        await operation
        listener.close()


async def test_port_in_use_leaves_it_new() -> None:
    with plain_listener() as other:
        listener = StreamSocketListener()
        with pytest.raises(OSError, match="another socket") as caught:
            await listener.bind_endpoint_async(HostName("127.0.0.1"), port_of(other))
        assert caught.value.winerror == errors.WSAEADDRINUSE
        assert caught.value.errno == errno.EADDRINUSE
        assert f"127.0.0.1:{port_of(other)}" in str(caught.value)
        assert listener.information.local_port == ""
        with pytest.raises(OSError, match="another socket"):
            await listener.bind_service_name_async(port_of(other))
        listener.control.no_delay = False
        await listener.bind_endpoint_async(HostName("127.0.0.1"), "")
        listener.close()


async def test_a_name_does_not_move_to_its_next_address_when_the_port_is_in_use() -> None:
    first, second = StreamSocketListener(), StreamSocketListener()
    await first.bind_endpoint_async(HostName("localhost"), "")
    with pytest.raises(OSError) as caught:
        await second.bind_endpoint_async(HostName("localhost"), first.information.local_port)
    assert caught.value.winerror == errors.WSAEADDRINUSE
    first.close()


async def test_address_of_somebody_else() -> None:
    with pytest.raises(OSError, match="does not have that address") as caught:
        await StreamSocketListener().bind_endpoint_async(HostName("192.0.2.77"), "")
    assert caught.value.winerror == errors.WSAEADDRNOTAVAIL


async def test_unknown_service() -> None:
    with pytest.raises(OSError, match="services file") as caught:
        await StreamSocketListener().bind_service_name_async("no-such-service-here")
    assert caught.value.winerror == errors.WSATYPE_NOT_FOUND


async def test_cancelled_bind_leaves_it_new() -> None:
    listener = StreamSocketListener()
    operation = listener.bind_service_name_async("")
    operation.cancel()
    with pytest.raises(asyncio.CancelledError):
        await operation
    assert listener.information.local_port == ""
    await listener.bind_service_name_async("")
    listener.close()


async def test_bind_cancelled_at_any_turn_leaves_it_new_or_bound() -> None:
    for count in range(12):
        listener = StreamSocketListener()
        operation = listener.bind_service_name_async("")
        await turns(count)
        operation.cancel()
        try:
            await operation
        except asyncio.CancelledError:
            assert listener.information.local_port == ""
            await listener.bind_service_name_async("")
        listener.close()


async def test_close_while_binding() -> None:
    for count in range(12):
        listener = StreamSocketListener()
        operation = listener.bind_service_name_async("")
        await turns(count)
        was_bound = bool(listener.information.local_port)
        listener.close()
        try:
            await operation
        except asyncio.CancelledError:
            assert not was_bound
        with pytest.raises(OSError) as caught:
            listener.bind_service_name_async("")
        assert caught.value.winerror == errors.RO_E_CLOSED


async def test_information_of_before_shows_the_port_and_keeps_it() -> None:
    listener = StreamSocketListener()
    information = listener.information
    assert isinstance(information, StreamSocketListenerInformation)
    assert information.local_port == ""
    await listener.bind_service_name_async("")
    port = information.local_port
    assert port.isdecimal()
    assert listener.information is information
    listener.close()
    assert information.local_port == port


# -- control ---------------------------------------------------------------------------------------------------------


LISTENER_SETTINGS: list[tuple[str, Any, Any]] = [
    ("quality_of_service", SocketQualityOfService.NORMAL, SocketQualityOfService.LOW_LATENCY),
    ("outbound_unicast_hop_limit", 128, 7),
    ("outbound_buffer_size_in_bytes", 0, 32768),
    ("no_delay", True, False),
    ("keep_alive", False, True),
]


@pytest.mark.parametrize(("member", "default", "other"), LISTENER_SETTINGS)
async def test_setting(member: str, default: Any, other: Any) -> None:
    """It may be made until the bind; then, and after close(), it is an error."""
    listener = StreamSocketListener()
    control = listener.control
    assert isinstance(control, StreamSocketListenerControl)
    assert control is listener.control
    assert getattr(control, member) == default
    setattr(control, member, other)
    assert getattr(control, member) == other
    operation = listener.bind_service_name_async("")
    for _ in range(2):
        with pytest.raises(OSError, match=member) as caught:
            setattr(control, member, default)
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        await operation
    listener.close()
    with pytest.raises(OSError, match=member) as caught:
        setattr(control, member, default)
    assert caught.value.winerror == errors.RO_E_CLOSED
    assert getattr(control, member) == other


@pytest.mark.parametrize(
    ("member", "value", "error"),
    [
        ("quality_of_service", 7, errors.E_INVALIDARG),
        ("quality_of_service", "NORMAL", TypeError),
        ("outbound_unicast_hop_limit", 0, errors.E_INVALIDARG),
        ("outbound_unicast_hop_limit", 256, OverflowError),
        ("outbound_buffer_size_in_bytes", 0x80000000, errors.E_INVALIDARG),
        ("outbound_buffer_size_in_bytes", -1, ValueError),
    ],
)
def test_bad_setting(member: str, value: Any, error: Any) -> None:
    with pytest.raises(OSError if isinstance(error, int) else error) as caught:
        setattr(StreamSocketListener().control, member, value)
    if isinstance(error, int):
        assert caught.value.winerror == error


@pytest.mark.parametrize("dual", [False, True], ids=["own-family", "both-families"])
@pytest.mark.parametrize("family", FAMILIES)
async def test_accepted_sockets_get_the_settings(family: int, dual: bool) -> None:
    listener = StreamSocketListener()
    control = listener.control
    control.quality_of_service = SocketQualityOfService.LOW_LATENCY
    control.outbound_unicast_hop_limit = 5
    control.outbound_buffer_size_in_bytes = 40000
    control.no_delay = False
    control.keep_alive = True
    received = Received()
    listener.add_connection_received(received)
    if dual:
        await listener.bind_service_name_async("")
    else:
        address = "127.0.0.1" if family == socket.AF_INET else "::1"
        await listener.bind_endpoint_async(HostName(address), "")
    with client_of(listener, family):
        await until(lambda: received.sockets)
        ours = received.sockets[0]
        assert option(ours, socket.SOL_SOCKET, socket.SO_PRIORITY) == 6
        assert option(ours, socket.SOL_SOCKET, socket.SO_SNDBUF) == 80000
        assert option(ours, socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert option(ours, socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        if family == socket.AF_INET:
            assert option(ours, socket.IPPROTO_IP, socket.IP_TTL) == 5
            assert option(ours, socket.IPPROTO_IP, socket.IP_TOS) == 0x10
        else:
            assert option(ours, socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) == 5
            assert option(ours, socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == 0x10
        assert ours.control.quality_of_service == SocketQualityOfService.LOW_LATENCY
        assert ours.control.outbound_unicast_hop_limit == 5
        assert ours.control.outbound_buffer_size_in_bytes == 40000
        assert ours.control.no_delay is False
        assert ours.control.keep_alive is True
        received.abort()
    listener.close()


async def test_accepted_sockets_get_the_defaults() -> None:
    listener = StreamSocketListener()
    received = Received()
    listener.add_connection_received(received)
    await listener.bind_endpoint_async(HostName("127.0.0.1"), "")
    with client_of(listener):
        await until(lambda: received.sockets)
        ours = received.sockets[0]
        assert option(ours, socket.SOL_SOCKET, socket.SO_PRIORITY) == 0
        assert option(ours, socket.IPPROTO_IP, socket.IP_TTL) == 128
        assert option(ours, socket.IPPROTO_IP, socket.IP_TOS) == 0
        assert option(ours, socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not option(ours, socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        received.abort()
    listener.close()


async def test_settings_of_an_accepted_socket_are_fixed() -> None:
    listener = StreamSocketListener()
    received = Received()
    listener.add_connection_received(received)
    await listener.bind_service_name_async("")
    with client_of(listener):
        await until(lambda: received.sockets)
        with pytest.raises(OSError) as caught:
            received.sockets[0].control.no_delay = False
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        assert listener.control.no_delay is True
        received.abort()
    listener.close()


# -- handlers and iteration ------------------------------------------------------------------------------------------


async def test_handlers_in_order_added_and_removed_at_run_time() -> None:
    listener = StreamSocketListener()
    order: list[str] = []
    sockets = Received()
    first = listener.add_connection_received(lambda _listener, _args: order.append("first"))
    listener.add_connection_received(sockets)
    second = listener.add_connection_received(lambda _listener, _args: order.append("second"))
    await listener.bind_service_name_async("")
    with client_of(listener):
        await until(lambda: order == ["first", "second"])
    listener.remove_connection_received(first)
    listener.remove_connection_received(second)
    listener.add_connection_received(lambda _listener, _args: order.append("third"))
    with client_of(listener):
        await until(lambda: order == ["first", "second", "third"])
    assert len(sockets.sockets) == 2
    sockets.abort()
    listener.close()


async def test_without_a_handler_connections_wait_in_the_backlog() -> None:
    listener = StreamSocketListener()
    await listener.bind_service_name_async("")
    with client_of(listener) as early:
        await turns(10)
        assert listener._accepting.accepted == 0
        received = Received()
        token = listener.add_connection_received(received)
        await until(lambda: received.sockets)
        listener.remove_connection_received(token)
        with client_of(listener):
            await turns(10)
            assert len(received.sockets) == 1
            listener.add_connection_received(received)
            await until(lambda: len(received.sockets) == 2)
        await received.sockets[0].write(b"hello")
        assert await receive(early, 5) == b"hello"
    received.abort()
    listener.close()


async def test_iteration_gives_connections_in_order() -> None:
    listener = StreamSocketListener()
    await listener.bind_service_name_async("")
    clients = [client_of(listener) for _ in range(5)]
    ports = []
    async for connection in listener:
        ports.append(connection.information.remote_port)
        connection.abort()
        if len(ports) == len(clients):
            break
    assert ports == [str(client.getsockname()[1]) for client in clients]
    for client in clients:
        client.close()
    listener.close()


async def test_iteration_holds_at_most_64_connections() -> None:
    listener = StreamSocketListener()
    await listener.bind_service_name_async("")
    extra = 5
    clients = [client_of(listener) for _ in range(ITERATION_QUEUE + extra)]
    iterator = aiter(listener)
    accepting = listener._accepting
    await until(lambda: len(accepting.taken) == ITERATION_QUEUE)
    await turns(10)
    assert accepting.accepted == ITERATION_QUEUE
    for number in range(len(clients)):
        (await anext(iterator)).abort()
        await until(lambda: accepting.accepted == min(len(clients), ITERATION_QUEUE + number + 1))  # noqa: B023
    for client in clients:
        client.close()
    listener.close()


async def test_iteration_beside_a_handler_is_refused() -> None:
    listener = StreamSocketListener()
    token = listener.add_connection_received(lambda _listener, _args: None)
    await listener.bind_service_name_async("")
    with pytest.raises(OSError, match="use one of the two") as caught:
        aiter(listener)
    assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
    listener.remove_connection_received(token)
    iterator = aiter(listener)
    for refused in (lambda: aiter(listener), lambda: listener.add_connection_received(print)):
        with pytest.raises(OSError, match="use one of the two") as caught:
            refused()
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
    # A refused call has broken nothing, and the end of an iteration frees both ways at once.
    with client_of(listener):
        (await anext(iterator)).abort()
    del iterator
    listener.add_connection_received(lambda _listener, _args: None)
    listener.close()


async def test_what_an_iteration_left_goes_to_the_next_taker() -> None:
    listener = StreamSocketListener()
    await listener.bind_service_name_async("")
    with client_of(listener) as first, client_of(listener) as second, client_of(listener) as third:
        async for connection in listener:
            assert connection.information.remote_port == str(first.getsockname()[1])
            connection.abort()
            await until(lambda: len(listener._accepting.taken) == 2)
            break
        async for connection in listener:
            assert connection.information.remote_port == str(second.getsockname()[1])
            connection.abort()
            break
        received = Received()
        listener.add_connection_received(received)
        assert [ours.information.remote_port for ours in received.sockets] == [str(third.getsockname()[1])]
        received.abort()
    listener.close()


async def test_cancelled_iteration_loses_no_connection() -> None:
    listener = StreamSocketListener()
    await listener.bind_service_name_async("")
    iterator = aiter(listener)
    for count in range(4):
        waiting = asyncio.ensure_future(anext(iterator))
        await turns(3)
        with client_of(listener):
            await turns(count)
            waiting.cancel()
            try:
                connection = await waiting
            except asyncio.CancelledError:
                async with asyncio.timeout(PATIENCE):
                    connection = await anext(iterator)
            connection.abort()
    listener.close()


@pytest.mark.parametrize("end", ["close", "stop_accepting", "cancel_io_async"])
async def test_iteration_ends_with_the_listener(end: str) -> None:
    listener = StreamSocketListener()
    await listener.bind_service_name_async("")
    waiting = asyncio.ensure_future(anext(aiter(listener)))
    await turns(3)
    getattr(listener, end)()
    with pytest.raises(StopAsyncIteration):
        await waiting
    listener.close()


async def test_cancel_io_keeps_the_port_and_stops_accepting() -> None:
    listener = StreamSocketListener()
    received = Received()
    listener.add_connection_received(received)
    await listener.cancel_io_async()  # new: completes at once, and changes nothing
    await listener.bind_service_name_async("")
    with client_of(listener):
        await until(lambda: received.sockets)
        await listener.cancel_io_async()
        with client_of(listener):  # the kernel still takes it
            await turns(10)
            assert len(received.sockets) == 1
    received.abort()
    listener.close()
