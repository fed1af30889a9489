"""Connecting: every overload, every failure, cancelling, closing meanwhile; the streams and their limits."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import pytest
from tests.engine.pairs import PATIENCE, clog, receive, reset, socket_and_peer, turns, until
from tests.sockets.peers import (
    FAMILIES,
    code,
    connected,
    host_of,
    option,
    plain_listener,
    port_of,
    refused_port,
    silent_port,
)

from moorings import EndReason, errors
from moorings.connectivity.network_adapter import network_adapters
from moorings.engine.stream_writing import WRITE_QUEUE_LIMIT
from moorings.engine.tcp_stream import CLOSE_TIMEOUT
from moorings.names.connecting import connect_socket
from moorings.names.racing import attempts_of
from winrt.windows.foundation import AsyncStatus, IAsyncAction, IAsyncOperation
from winrt.windows.networking import EndpointPair, HostName, HostNameSortOptions
from winrt.windows.networking.sockets import (
    SocketError,
    SocketErrorStatus,
    SocketProtectionLevel,
    StreamSocket,
)
from winrt.windows.storage.streams import Buffer, IInputStream, InputStreamOptions, IOutputStream

PLAIN = SocketProtectionLevel.PLAIN_SOCKET
LOCALHOST = HostName("127.0.0.1")


def loopback_adapter() -> Any:
    return next(adapter for adapter in network_adapters() if adapter.is_loopback)


def connect_calls(host: HostName, port: str, local: HostName | None = None) -> list[Any]:
    """Each way to connect, as a function that takes a socket."""
    pair = EndpointPair(local, "", host, port)
    return [
        lambda ours: ours.connect_async(pair),
        lambda ours: ours.connect_async(host, port),
        lambda ours: ours.connect_async(host, port, PLAIN),
        lambda ours: ours.connect_async(host, port, PLAIN, loopback_adapter()),
        lambda ours: ours.connect_with_endpoint_pair_and_protection_level_async(pair, PLAIN),
    ]


@pytest.mark.parametrize("overload", range(5))
@pytest.mark.parametrize("family", FAMILIES)
async def test_each_overload_connects(family: int, overload: int) -> None:
    with plain_listener(family) as listening:
        ours = StreamSocket()
        operation = connect_calls(host_of(listening), port_of(listening))[overload](ours)
        assert isinstance(operation, IAsyncAction)
        assert await operation is None
        theirs, _ = listening.accept()
        with theirs:
            theirs.setblocking(False)
            assert await ours.output_stream.write_async(b"ping") == 4
            assert await receive(theirs, 4) == b"ping"
            theirs.send(b"pong")
            result = await ours.input_stream.read_async(Buffer(9), 4, InputStreamOptions.NONE)
            assert bytes(result) == b"pong"
        ours.close()


@pytest.mark.parametrize(
    ("alias", "overload"),
    [
        ("connect_with_endpoint_pair_async", 0),
        ("connect_with_protection_level_async", 2),
        ("connect_with_protection_level_and_adapter_async", 3),
    ],
)
async def test_aliases_of_the_3x_line(alias: str, overload: int) -> None:
    with plain_listener() as listening:
        host, port = host_of(listening), port_of(listening)
        arguments = [
            (EndpointPair(None, "", host, port),),
            (),
            (host, port, PLAIN),
            (host, port, PLAIN, loopback_adapter()),
        ]
        ours = StreamSocket()
        with pytest.warns(DeprecationWarning, match="connect_async"):
            operation = getattr(ours, alias)(*arguments[overload])
        await operation
        ours.abort()


async def connect_from_free_port(pair: EndpointPair) -> StreamSocket:
    """Connect from a port below those that the system hands out (ip(7)), where nobody uses it."""
    for port in random.sample(range(15000, 30000), 100):
        pair.local_service_name = str(port)
        ours = StreamSocket()
        try:
            await ours.connect_async(pair)
        except OSError as error:
            if code(error) != "WSAEADDRINUSE":
                raise
        else:
            return ours
    raise AssertionError("no port is free")


@pytest.mark.parametrize("family", FAMILIES)
async def test_local_end(family: int) -> None:
    with plain_listener(family) as listening:
        host, port = host_of(listening), port_of(listening)
        ours = StreamSocket()
        await ours.connect_async(EndpointPair(host, "", host, port))
        ours.abort()
        for local in (None, host):
            pair = EndpointPair(local, "", host, port)
            ours = await connect_from_free_port(pair)
            assert ours.information.local_port == pair.local_service_name
            assert str(ours.information.local_address) == str(host)
            ours.abort()


async def test_local_end_of_another_family_has_no_address() -> None:
    with plain_listener() as listening:
        ours = StreamSocket()
        with pytest.raises(OSError) as caught:
            await ours.connect_async(EndpointPair(HostName("::1"), "", LOCALHOST, port_of(listening)))
        assert SocketError.get_status(caught.value.winerror) == SocketErrorStatus.NO_ADDRESSES_FOUND


async def test_local_address_of_somebody_else() -> None:
    with plain_listener() as listening:
        ours = StreamSocket()
        with pytest.raises(OSError) as caught:
            await ours.connect_async(EndpointPair(HostName("192.0.2.77"), "", LOCALHOST, port_of(listening)))
        assert caught.value.winerror == errors.WSAEADDRNOTAVAIL


async def test_adapter_holds_the_connection() -> None:
    with plain_listener() as listening:
        ours = StreamSocket()
        await ours.connect_async(host_of(listening), port_of(listening), PLAIN, loopback_adapter())
        with socket.socket(fileno=socket.dup(ours._connection.stream.fd)) as copy:
            assert copy.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
        ours.abort()


async def test_adapter_without_a_way_there() -> None:
    other = next((adapter for adapter in network_adapters() if not adapter.is_loopback), None)
    if other is None:
        return  # a machine with loopback alone
    with plain_listener() as listening:
        ours = StreamSocket()
        with pytest.raises(OSError):
            async with asyncio.timeout(PATIENCE):
                await ours.connect_async(host_of(listening), port_of(listening), PLAIN, other)
        assert ours.information.remote_address is None


@pytest.mark.parametrize("serialize", [False, True])
async def test_all_addresses_of_a_name_are_tried(serialize: bool) -> None:
    """The name localhost has two; only one of them listens."""
    for family in FAMILIES:
        with plain_listener(family) as listening:
            ours = StreamSocket()
            ours.control.serialize_connection_attempts = serialize
            await ours.connect_async(HostName("localhost"), port_of(listening))
            assert str(ours.information.remote_address) == listening.getsockname()[0]
            ours.abort()


# -- failing ---------------------------------------------------------------------------------------------------------


async def test_refused() -> None:
    with refused_port() as port:
        ours = StreamSocket()
        operation = ours.connect_async(LOCALHOST, port)
        with pytest.raises(ConnectionRefusedError) as caught:
            await operation
        error: Any = caught.value
        assert error.winerror == errors.WSAECONNREFUSED
        assert error.status == SocketError.get_status(error.winerror) == SocketErrorStatus.CONNECTION_REFUSED
        assert f"127.0.0.1:{port}" in error.reason
        assert [attempt.address for attempt in attempts_of(error)] == [f"127.0.0.1:{port}"]
        assert operation.status == AsyncStatus.ERROR
        assert int(operation.error_code) == errors.WSAECONNREFUSED


def has_peer(plain: socket.socket) -> bool:
    try:
        plain.getpeername()
    except OSError:
        return False
    return True


async def test_a_peer_that_resets_at_once_is_for_the_first_read_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    with plain_listener() as listening:

        async def connect_and_lose(*arguments: Any, **options: Any) -> socket.socket:
            made = await connect_socket(*arguments, **options)
            reset(listening.accept()[0])
            await until(lambda: not has_peer(made))
            return made

        monkeypatch.setattr("moorings.sockets.opening.connect_socket", connect_and_lose)
        ours = StreamSocket()
        await ours.connect_async(LOCALHOST, port_of(listening))
        assert ours.information.remote_port == port_of(listening)
        assert int(ours.information.local_port) > 0
        with pytest.raises(ConnectionResetError):
            await ours.read()
        ours.close()


async def test_host_not_found() -> None:
    with pytest.raises(OSError) as caught:
        await StreamSocket().connect_async(HostName("no-such-host.invalid"), "80")
    status = SocketError.get_status(caught.value.winerror)
    assert status in {SocketErrorStatus.HOST_NOT_FOUND, SocketErrorStatus.NON_AUTHORITATIVE_HOST_NOT_FOUND}
    assert "no-such-host.invalid" in str(caught.value)


async def test_unknown_service_of_an_address() -> None:
    with pytest.raises(OSError, match="no-such-service") as caught:
        await StreamSocket().connect_async(LOCALHOST, "no-such-service")
    assert caught.value.winerror == errors.WSATYPE_NOT_FOUND


@pytest.mark.parametrize("overload", range(5))
async def test_a_failed_connect_leaves_it_new(overload: int) -> None:
    ours = StreamSocket()
    with refused_port() as port, pytest.raises(ConnectionRefusedError):
        await connect_calls(LOCALHOST, port)[overload](ours)
    with pytest.raises(OSError) as caught:
        _ = ours.input_stream
    assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
    information = ours.information
    assert (information.remote_host_name, information.remote_service_name) == (None, "")
    assert (information.remote_address, information.remote_port) == (None, "")
    assert (information.local_address, information.local_port) == (None, "")
    with plain_listener() as listening:
        await connect_calls(LOCALHOST, port_of(listening))[overload](ours)
        assert information.remote_port == port_of(listening)
    ours.abort()


async def test_the_state_is_free_again_when_the_operation_has_ended_not_before() -> None:
    """Whoever awaits the operation may connect at once; whoever does not cannot be overtaken by its end."""
    ours = StreamSocket()
    with refused_port() as port:
        operation = ours.connect_async(LOCALHOST, port)
        while operation.status == AsyncStatus.STARTED:
            with pytest.raises(OSError) as caught:
                ours.connect_async(LOCALHOST, port)
            assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
            await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await ours.connect_async(LOCALHOST, port)
        with pytest.raises(ConnectionRefusedError):
            await operation


async def test_cancel_at_every_turn_leaves_it_new() -> None:
    with plain_listener() as listening:
        for count in range(16):
            ours = StreamSocket()
            operation = ours.connect_async(LOCALHOST, port_of(listening))
            await turns(count)
            operation.cancel()
            try:
                await operation
            except asyncio.CancelledError:
                assert operation.status == AsyncStatus.CANCELED
                assert int(operation.error_code) == errors.ERROR_CANCELLED
                assert ours.information.remote_address is None
                await ours.connect_async(LOCALHOST, port_of(listening))
            ours.abort()


async def test_cancelling_the_awaiting_task_at_every_turn_leaves_it_new() -> None:
    with plain_listener() as listening:
        for count in range(16):
            ours = StreamSocket()

            async def connect(ours: StreamSocket = ours) -> None:
                await ours.connect_async(LOCALHOST, port_of(listening))

            task = asyncio.create_task(connect())
            await turns(count)
            if task.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await task
                # When the cancelling came between the success and the wake-up, the socket is open.
                if ours.information.remote_address is None:
                    await ours.connect_async(LOCALHOST, port_of(listening))
            ours.abort()


async def test_timeout_around_a_connect() -> None:
    with silent_port() as port:
        ours = StreamSocket()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await ours.connect_async(LOCALHOST, port)
        with plain_listener() as listening:
            await ours.connect_async(LOCALHOST, port_of(listening))
        ours.abort()


async def test_close_at_every_turn_of_a_connect() -> None:
    with plain_listener() as listening:
        for count in range(16):
            ours = StreamSocket()
            operation = ours.connect_async(LOCALHOST, port_of(listening))
            await turns(count)
            was_open = ours.information.remote_address is not None
            ours.close()
            try:
                await operation
            except asyncio.CancelledError:
                assert not was_open
            for call in connect_calls(LOCALHOST, port_of(listening)):
                with pytest.raises(OSError) as caught:
                    call(ours)
                assert caught.value.winerror == errors.RO_E_CLOSED
            await turns(3)


async def test_close_behind_a_cancel_of_a_finished_connect_stays_closed() -> None:
    with plain_listener() as listening:
        ours = StreamSocket()
        operation = ours.connect_async(LOCALHOST, port_of(listening))
        await until(lambda: ours.information.remote_address is not None)
        operation.cancel()
        ours.close()
        await turns(5)
        with pytest.raises(OSError) as caught:
            ours.connect_async(LOCALHOST, port_of(listening))
        assert caught.value.winerror == errors.RO_E_CLOSED


# -- names -----------------------------------------------------------------------------------------------------------


async def test_endpoint_pairs() -> None:
    for arguments in ((), (HostNameSortOptions.NONE,), (HostNameSortOptions.OPTIMIZE_FOR_LONG_CONNECTIONS,)):
        operation = StreamSocket.get_endpoint_pairs_async(HostName("localhost"), "80", *arguments)
        assert isinstance(operation, IAsyncOperation)
        pairs = await operation
        assert {str(pair.remote_host_name) for pair in pairs} == {"127.0.0.1", "::1"}
        for pair in pairs:
            assert (pair.remote_service_name, pair.local_service_name) == ("80", "")
            assert pair.local_host_name is not None
            assert pair.local_host_name.is_equal(pair.remote_host_name)


async def test_endpoint_pairs_by_service_name_and_by_the_3x_name() -> None:
    pairs = await StreamSocket.get_endpoint_pairs_async(LOCALHOST, "https")
    assert [pair.remote_service_name for pair in pairs] == ["443"]
    with pytest.warns(DeprecationWarning, match="get_endpoint_pairs_async"):
        operation = StreamSocket.get_endpoint_pairs_with_sort_options_async(LOCALHOST, "1", HostNameSortOptions.NONE)
    assert len(await operation) == 1


# -- streams, limits, counters ---------------------------------------------------------------------------------------


async def test_streams_are_the_same_objects_each_time() -> None:
    async with connected() as (ours, _):
        assert ours.input_stream is ours.input_stream
        assert ours.output_stream is ours.output_stream
        assert isinstance(ours.input_stream, IInputStream)
        assert isinstance(ours.output_stream, IOutputStream)
        assert ours.control is ours.control
        assert ours.information is ours.information


async def test_upgrade_while_something_is_pending() -> None:
    tls = SocketProtectionLevel.TLS12
    async with connected() as (ours, _):
        reading = ours.input_stream.read_async(Buffer(1), 1, InputStreamOptions.NONE)
        with pytest.raises(OSError, match="pending") as caught:
            ours.upgrade_to_ssl_async(tls, HostName("localhost"))
        assert caught.value.winerror == errors.E_ILLEGAL_METHOD_CALL
        await ours.cancel_io_async()
        with pytest.raises(OSError):
            await reading


async def test_limits() -> None:
    async with socket_and_peer(send_buffer=4096, receive_buffer=4096) as (ours, _):
        limits = ours.limits
        assert (limits.write_queue_limit, limits.close_timeout) == (WRITE_QUEUE_LIMIT, CLOSE_TIMEOUT)
        queued = await clog(ours, 1 << 20)
        limits.write_queue_limit = queued
        with pytest.raises(OSError) as caught:
            ours.write(b"x")
        assert caught.value.winerror == errors.WSAENOBUFS
        assert ours.counters.writes_refused == 1
        assert ours.counters.queued_bytes <= queued
        limits.write_queue_limit = queued + 1
        assert ours.write(b"x").status == AsyncStatus.STARTED


@pytest.mark.parametrize(
    ("limit", "value", "error"),
    [
        ("write_queue_limit", -1, ValueError),
        ("write_queue_limit", 1 << 64, ValueError),
        ("write_queue_limit", 1.5, TypeError),
        ("write_queue_limit", None, TypeError),
        ("close_timeout", -0.1, ValueError),
        ("close_timeout", float("nan"), ValueError),
        ("close_timeout", float("inf"), ValueError),
        ("close_timeout", "5", TypeError),
    ],
)
async def test_bad_limit(limit: str, value: Any, error: type[Exception]) -> None:
    async with socket_and_peer() as (ours, _):
        before = getattr(ours.limits, limit)
        with pytest.raises(error):
            setattr(ours.limits, limit, value)
        assert getattr(ours.limits, limit) == before


async def test_counters() -> None:
    async with socket_and_peer() as (ours, peer):
        assert set(ours.counters) == {0}
        await ours.write(b"12345")
        peer.send(b"1234567")
        assert await ours.read_exactly(3) == b"123"
        counters = ours.counters
        assert (counters.bytes_sent, counters.send_calls) == (5, 1)
        assert (counters.bytes_received, counters.unread_bytes) == (7, 4)
        assert counters.receive_calls >= 1
        await ours.aclose()
        assert ours.counters.bytes_received == 7
    assert set(StreamSocket().counters) == {0}


async def test_end_reason() -> None:
    assert StreamSocket().end_reason == EndReason.OPEN
    async with socket_and_peer() as (ours, _):
        assert ours.end_reason == EndReason.OPEN
        ours.close()
        assert ours.end_reason == EndReason.CLOSED_BY_US
    async with socket_and_peer() as (ours, peer):
        peer.close()
        assert await ours.read() == b""
        assert ours.end_reason == EndReason.CLOSED_BY_PEER
        await ours.aclose()
        assert ours.end_reason == EndReason.CLOSED_BY_PEER
    async with socket_and_peer() as (ours, peer):
        reset(peer)
        with pytest.raises(ConnectionResetError):
            await ours.read()
        assert ours.end_reason == EndReason.RESET
    async with socket_and_peer() as (ours, _):
        ours.abort()
        ours.abort()
        assert ours.end_reason == EndReason.ABORTED
    async with socket_and_peer() as (ours, _):
        detached = ours.detach()
        socket.close(detached.fd)
        assert ours.end_reason == EndReason.DETACHED


async def test_text_form_names_both_ends() -> None:
    assert repr(StreamSocket()) == "<StreamSocket new>"
    async with connected() as (ours, theirs):
        here, there = theirs.getpeername(), theirs.getsockname()
        assert repr(ours) == f"<StreamSocket {here[0]}:{here[1]} -> {there[0]}:{there[1]} open>"
        assert option(ours, socket.SOL_SOCKET, socket.SO_ERROR) == 0
        ours.close()
        assert repr(ours).endswith(" closed>")
