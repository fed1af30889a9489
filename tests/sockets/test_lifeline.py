"""Objects that the program drops without closing them: a warning that names the place, and nothing left behind."""

from __future__ import annotations

import gc
import inspect
import socket
import warnings
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.pairs import FIN, RST, connected_sockets, ending, receive, socket_and_peer, turns, until
from tests.sockets.peers import client_of, host_of, plain_listener, port_of

import moorings
from moorings.engine import descriptor
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import StreamSocket, StreamSocketListener
from winrt.windows.storage.streams import Buffer, InputStreamOptions

if TYPE_CHECKING:
    from collections.abc import Iterator


def here() -> str:
    """File and line of the caller, as a warning names them."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return f"{__file__}:{frame.f_back.f_lineno}"


@contextmanager
def one_warning(*texts: str) -> Iterator[None]:
    """Exactly one ResourceWarning, with all of `texts`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    messages = [str(warning.message) for warning in caught if warning.category is ResourceWarning]
    assert len(messages) == 1, messages
    for text in texts:
        assert text in messages[0]


async def test_dropped_while_open() -> None:
    with plain_listener() as listening:
        ours, place = StreamSocket(), here()
        await ours.connect_async(host_of(listening), port_of(listening))
        theirs, address = listening.accept()
        theirs.setblocking(False)
        with theirs:
            with one_warning("unclosed StreamSocket", f":{address[1]} ->", place, "close() it"):
                del ours
            assert await ending(theirs) == FIN


async def test_dropped_with_unread_data_resets() -> None:
    plain, peer = connected_sockets()
    ours = StreamSocket.from_socket(plain)
    peer.send(b"unread")
    stream = ours._connection.stream
    await until(lambda: descriptor.unread_bytes(stream.fd))
    with peer:
        with one_warning(__file__):
            del ours
        assert await ending(peer) == RST
    assert stream.is_released()


async def test_dropped_with_queued_data_resets() -> None:
    plain, peer = connected_sockets(send_buffer=4096, receive_buffer=4096)
    ours = StreamSocket.from_socket(plain)
    writing = ours.write(bytes(1 << 20))
    await turns(3)
    with peer:
        with one_warning(__file__):
            del ours
        assert await ending(peer) == RST
    with pytest.raises(OSError):
        await writing


@pytest.mark.parametrize("end", ["close", "abort", "detach"])
async def test_no_warning_after_an_end(end: str) -> None:
    plain, peer = connected_sockets()
    ours = StreamSocket.from_socket(plain)
    given_away = getattr(ours, end)()
    if given_away is not None:
        socket.close(given_away.fd)
    await turns(3)
    peer.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del ours
        gc.collect()


async def test_no_warning_for_one_that_never_connected() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = StreamSocket()
        del ours
        listener = StreamSocketListener()
        listener.add_connection_received(print)
        del listener
        gc.collect()


async def test_a_warning_that_is_an_error_still_closes() -> None:
    plain, peer = connected_sockets()
    ours = StreamSocket.from_socket(plain)
    unraisable: list[Any] = []
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr("sys.unraisablehook", unraisable.append)
        warnings.simplefilter("error")
        del ours
        gc.collect()
    assert [type(event.exc_value) for event in unraisable] == [ResourceWarning]
    with peer:
        assert await ending(peer) == FIN


async def test_place_of_a_socket_of_the_python_face() -> None:
    with plain_listener() as listening:
        ours, place = await moorings.connect(f"tcp://127.0.0.1:{port_of(listening)}"), here()
        with one_warning(place):
            del ours


async def test_place_of_an_adopted_socket() -> None:
    plain, peer = connected_sockets()
    with peer:
        ours, place = await moorings.adopt(plain), here()
        with one_warning(place):
            del ours


async def test_place_of_an_accepted_socket() -> None:
    sockets: list[StreamSocket] = []
    listener, place = StreamSocketListener(), here()
    listener.add_connection_received(lambda _listener, args: sockets.append(args.socket))
    await listener.bind_endpoint_async(HostName("127.0.0.1"), "")
    with client_of(listener) as client:
        await until(lambda: sockets)
        with one_warning("accepted by the listener made at", place):
            sockets.clear()
        assert await ending(client) == FIN
    listener.close()


async def test_dropped_listener_gives_its_port_back() -> None:
    listener, place = StreamSocketListener(), here()
    listener.add_connection_received(print)
    await listener.bind_endpoint_async(HostName("127.0.0.1"), "")
    port = listener.information.local_port
    with one_warning(f"unclosed StreamSocketListener on port {port}", place):
        del listener
    second = StreamSocketListener()
    await second.bind_endpoint_async(HostName("127.0.0.1"), port)
    second.close()


async def test_dropped_listener_leaves_its_connections_alone() -> None:
    sockets: list[StreamSocket] = []

    def keep(_listener: object, args: Any) -> None:
        sockets.append(args.socket)

    listener = StreamSocketListener()
    listener.add_connection_received(keep)
    await listener.bind_endpoint_async(HostName("127.0.0.1"), "")
    with client_of(listener) as client:
        await until(lambda: sockets)
        with one_warning("unclosed StreamSocketListener"):
            del listener
        await sockets[0].write(b"alive")
        assert await receive(client, 5) == b"alive"
        sockets[0].abort()


async def test_a_listener_that_is_in_a_circle_with_its_handler_is_noticed_too() -> None:
    listener = StreamSocketListener()
    listener.add_connection_received(lambda _listener, _args, listener=listener: print(listener))  # noqa: T201
    await listener.bind_service_name_async("")
    with one_warning("unclosed StreamSocketListener"):
        del listener


@pytest.mark.parametrize("kept", ["input_stream", "output_stream"])
async def test_a_stream_keeps_the_connection(kept: str) -> None:
    plain, peer = connected_sockets()
    ours = StreamSocket.from_socket(plain)
    gone = weakref.ref(ours)
    stream: Any = getattr(ours, kept)
    with peer, warnings.catch_warnings():
        warnings.simplefilter("error")
        del ours
        gc.collect()
        assert gone() is None
        if kept == "input_stream":
            peer.send(b"data")
            assert bytes(await stream.read_async(Buffer(4), 4, InputStreamOptions.NONE)) == b"data"
        else:
            await stream.write_async(b"data")
            assert await receive(peer, 4) == b"data"
    with one_warning("unclosed StreamSocket"):
        del stream
    await turns(3)


async def test_a_pending_read_alone_does_not_keep_the_connection() -> None:
    plain, peer = connected_sockets()
    ours = StreamSocket.from_socket(plain)
    reading = ours.input_stream.read_async(Buffer(4), 4, InputStreamOptions.NONE)
    with peer:
        with one_warning("unclosed StreamSocket"):
            del ours
        with pytest.raises(OSError):
            await reading


async def test_connecting_keeps_the_socket_until_it_is_decided() -> None:
    with plain_listener() as listening:
        operation = StreamSocket().connect_async(host_of(listening), port_of(listening))
        with one_warning("unclosed StreamSocket"):
            await operation
            del operation
            await turns(3)


async def test_arguments_that_nobody_looked_at_close_silently() -> None:
    seen: list[int] = []
    listener = StreamSocketListener()
    listener.add_connection_received(lambda _listener, _args: seen.append(1))
    await listener.bind_service_name_async("")
    with client_of(listener) as client:
        assert await ending(client) == FIN
        assert seen == [1]
    assert listener.open_connections == 0
    listener.close()


async def test_information_and_control_do_not_keep_the_connection() -> None:
    plain, peer = connected_sockets()
    ours = StreamSocket.from_socket(plain)
    information, control = ours.information, ours.control
    with peer:
        with one_warning("unclosed StreamSocket"):
            del ours
        assert information.remote_port == str(peer.getsockname()[1])
        assert control.no_delay is True


async def test_a_connected_socket_is_freed_without_the_collector() -> None:
    """No circle of references holds it: the descriptor goes at once."""
    gc.disable()
    try:
        async with socket_and_peer() as (ours, _):
            await ours.write(b"x")
            await ours.aclose()
            gone = weakref.ref(ours)
        del ours
        assert gone() is None
        with plain_listener() as listening:
            ours = StreamSocket()
            await ours.connect_async(host_of(listening), port_of(listening))
            ours.abort()
            gone = weakref.ref(ours)
            await turns(3)
            del ours
            assert gone() is None
    finally:
        gc.enable()
