"""What plain scripts do, for the tests of programs without a loop of their own."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.engine.pairs import PATIENCE

from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import StreamSocket, StreamSocketListener
from winrt.windows.storage.streams import Buffer, InputStreamOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCALHOST = HostName("127.0.0.1")


@contextmanager
def listening(handler: Callable[[StreamSocketListener, Any], object] | None) -> Iterator[StreamSocketListener]:
    listener = StreamSocketListener()
    if handler is not None:
        listener.add_connection_received(handler)
    listener.bind_endpoint_async(LOCALHOST, "").get()
    try:
        yield listener
    finally:
        listener.close()


def connect(listener: StreamSocketListener) -> StreamSocket:
    ours = StreamSocket()
    ours.connect_async(LOCALHOST, listener.information.local_port).get()
    return ours


def read_exactly(ours: StreamSocket, count: int) -> bytes:
    return bytes(ours.input_stream.read_async(Buffer(count), count, InputStreamOptions.NONE).get())


def echo(_listener: StreamSocketListener, args: Any) -> None:
    """Send back what comes until the peer ends; blocks on its worker thread."""
    ours = args.socket
    buffer = Buffer(4096)
    while True:
        received = ours.input_stream.read_async(buffer, 4096, InputStreamOptions.PARTIAL).get()
        if received.length == 0:
            break
        ours.output_stream.write_async(received).get()
    ours.close()


def until(condition: Callable[[], object], event: threading.Event | None = None) -> None:
    """Wait until `condition` holds; another thread will see to it."""
    pause = event or threading.Event()
    for _ in range(int(PATIENCE * 1000)):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it never came true")
