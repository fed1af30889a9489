"""Plain sockets to connect to, and a look at the options of our own."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from moorings import errors
from moorings.engine.descriptor import borrowed
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import StreamSocket, StreamSocketListener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
FAMILIES = [socket.AF_INET, socket.AF_INET6]


@contextmanager
def plain_listener(family: int = socket.AF_INET, backlog: int = 128) -> Iterator[socket.socket]:
    """A plain listening socket."""
    with socket.socket(family) as listening:
        listening.bind((LOOPBACK[family], 0))
        listening.listen(backlog)
        yield listening


@contextmanager
def refused_port() -> Iterator[str]:
    """A port where nobody listens, and nobody else will: it is bound."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield str(bound.getsockname()[1])


@contextmanager
def silent_port() -> Iterator[str]:
    """A port that does not answer: the queue of its listener is full."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield str(listening.getsockname()[1])


def host_of(listening: socket.socket) -> HostName:
    return HostName(listening.getsockname()[0])


def port_of(listening: socket.socket) -> str:
    return str(listening.getsockname()[1])


@asynccontextmanager
async def connected(
    configure: Callable[[StreamSocket], object] | None = None, family: int = socket.AF_INET
) -> AsyncIterator[tuple[StreamSocket, socket.socket]]:
    """One of our sockets, connected with `connect_async` to a plain one."""
    with plain_listener(family) as listening:
        ours = StreamSocket()
        if configure is not None:
            configure(ours)
        await ours.connect_async(host_of(listening), port_of(listening))
        theirs, _ = listening.accept()
        with theirs:
            theirs.setblocking(False)
            try:
                yield ours, theirs
            finally:
                ours.abort()


def client_of(listener: StreamSocketListener, family: int = socket.AF_INET) -> socket.socket:
    """A plain socket that is connected to our listener; the kernel does that, accepted or not."""
    client = socket.socket(family)
    try:
        client.settimeout(20)
        client.connect((LOOPBACK[family], int(listener.information.local_port)))
        client.setblocking(False)
    except BaseException:
        client.close()
        raise
    return client


def option(ours: StreamSocket, level: int, name: int) -> int:
    """What the kernel says about an option of our socket."""
    stream = ours._connection.stream
    assert stream is not None
    with borrowed(stream.fd) as plain_socket:
        return plain_socket.getsockopt(level, name)


def code(error: BaseException) -> str:
    """The name of the HRESULT of an error."""
    return errors.hresult_name(getattr(error, "winerror", 0))
