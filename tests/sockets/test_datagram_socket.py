"""DatagramSocket on an event loop: the end."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import Any

import pytest
from tests.engine.pairs import until
from tests.sockets.datagram_peers import Received, bound, plain_peer, port_of
from tests.sockets.peers import code

from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import DatagramSocket

LOCALHOST = HostName("127.0.0.1")


async def test_close_ends_what_is_pending() -> None:
    ours = await bound()
    receiving = asyncio.ensure_future(ours.receive())
    await asyncio.sleep(0)
    ours.close()
    ours.close()
    with pytest.raises(OSError) as caught:
        await receiving
    assert code(caught.value) == "ERROR_OPERATION_ABORTED"
    with pytest.raises(OSError) as caught:
        await ours.receive()
    assert code(caught.value) == "RO_E_CLOSED"
    assert ours.counters == ours.counters


async def test_close_sends_what_is_queued() -> None:
    with plain_peer() as peer:
        ours = await bound()
        ours.send(b"queued", peer.getsockname())
        ours.close()
        assert peer.recv(10) == b"queued"
        async with await bound() as other:
            other.send(b"at the end of the block", peer.getsockname())
        assert peer.recv(100) == b"at the end of the block"


async def test_close_while_binding() -> None:
    ours = DatagramSocket()
    binding = ours.bind_service_name_async("")
    ours.close()
    with pytest.raises(asyncio.CancelledError):
        await binding
    assert ours.information.local_port == ""


async def test_no_handler_starts_after_close() -> None:
    seen: list[bytes] = []
    ours = DatagramSocket()

    def close_at_once(sender: DatagramSocket, args: Any) -> None:
        seen.append(bytes(args.data))
        sender.close()

    ours.add_message_received(close_at_once)
    await ours.bind_endpoint_async(LOCALHOST, "")
    with plain_peer() as peer:
        for _ in range(10):
            peer.sendto(b"x", ("127.0.0.1", port_of(ours)))
        await until(lambda: bool(seen))
        await asyncio.sleep(0)
    assert seen == [b"x"]


async def test_cancel_io_keeps_the_socket() -> None:
    ours = await bound()
    receiving = asyncio.ensure_future(ours.receive())
    await asyncio.sleep(0)
    await ours.cancel_io_async()
    with pytest.raises(OSError) as caught:
        await receiving
    assert code(caught.value) == "ERROR_OPERATION_ABORTED"
    with plain_peer() as peer:
        peer.sendto(b"x", ("127.0.0.1", port_of(ours)))
        assert (await ours.receive()).data == b"x"
    await DatagramSocket().cancel_io_async()
    ours.close()


async def test_a_dropped_socket_warns_and_gives_its_port_back() -> None:
    dropped = [await bound(lambda _socket, _args: None)]
    port = dropped[0].information.local_port
    match = rf"unclosed DatagramSocket 127.0.0.1:{port}, made at .*datagram_peers.py"
    with pytest.warns(ResourceWarning, match=match):  # noqa: PT031 - a dropped object, then the collector
        dropped.clear()
        gc.collect()
    again = DatagramSocket()
    await again.bind_endpoint_async(LOCALHOST, port)
    again.close()


@pytest.mark.parametrize("handlers", [1, 2])
async def test_a_dropped_socket_whose_handlers_refer_to_it(handlers: int) -> None:
    class Program:
        def __init__(self) -> None:
            self.socket = DatagramSocket()
            for _ in range(handlers):
                self.socket.add_message_received(self.on_message)

        def on_message(self, _socket: DatagramSocket, _args: Any) -> None:
            raise AssertionError

    dropped = [Program()]
    await dropped[0].socket.bind_endpoint_async(LOCALHOST, "")
    with pytest.warns(ResourceWarning, match="unclosed DatagramSocket"):  # noqa: PT031 - as above
        dropped.clear()
        gc.collect()


async def test_a_stream_keeps_a_dropped_socket_sending() -> None:
    """It receives no more, and does not spin on what arrives."""
    received = Received()
    dropped = [await bound(received)]
    engine_port: Any = dropped[0]._link.port
    with plain_peer() as peer:
        streams = [await dropped[0].get_output_stream_async(LOCALHOST, str(peer.getsockname()[1]))]
        own = ("127.0.0.1", port_of(dropped[0]))
        dropped.clear()
        await until(lambda: not engine_port.reading)
        peer.sendto(b"nobody takes it", own)
        assert await streams[0].write_async(b"x") == 1
        assert peer.recv(10) == b"x"
    assert received.items == []
    with pytest.warns(ResourceWarning, match="unclosed DatagramSocket"):  # noqa: PT031 - as above
        streams.clear()
        gc.collect()


async def test_an_unbound_socket_is_dropped_in_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DatagramSocket()
        gc.collect()
