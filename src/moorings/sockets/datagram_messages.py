"""What a DatagramSocket receives: the arguments of `message_received`, which `receive()` gives too."""

# pyright: reportPrivateUsage=false
# The functions below the class make its objects; as methods they would be part of the public surface.

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorings.engine.datagram import Datagram
from moorings.foundation.projection import Object, final, not_constructible
from moorings.names.host_name import HostName, host_name_from_sockaddr
from moorings.sockets.message_stream import MessageStream
from moorings.streams.data_reader import DataReader, reader_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from moorings.foundation.async_info import IAsyncOperationWithProgress
    from moorings.sockets.datagram_link import DatagramLink
    from moorings.streams.interfaces import IInputStream

_CONGESTION_BITS = 3
_NANOSECONDS = 1_000_000_000


@final
@not_constructible
class DatagramSocketMessageReceivedEventArgs(Object, Datagram):
    """One datagram, or a failure that the network reported (`error` is set then, and its readers raise it).

    Beside WinRT's members it has the Python face: `data`, `address`, `interface`, `hop_limit`, `ecn`, `timestamp`,
    `reply`. It stays valid as long as it is kept. Source: WinRT DatagramSocketMessageReceivedEventArgs.
    """

    __slots__ = ("_known_host", "_known_name", "_link")
    _winrt_name_ = "Windows.Networking.Sockets.DatagramSocketMessageReceivedEventArgs"
    _link: DatagramLink
    _known_name: Any
    _known_host: Any

    def get_data_reader(self) -> DataReader:
        """A DataReader with the whole datagram loaded; the same one each time, so that reading goes on.

        Errors: where the event stands for a failure, that failure: ConnectionResetError, WSAECONNRESET 0x80072746, for
        a port where nobody listens. Source: WinRT DatagramSocketMessageReceivedEventArgs.GetDataReader.
        """
        reader: DataReader | None = self.reader
        if reader is None:
            reader = self.reader = reader_over(self.payload())
        return reader

    def get_data_stream(self) -> IInputStream:
        """An IInputStream over the same bytes, with a position of its own.

        Errors: as `get_data_reader`. Source: WinRT DatagramSocketMessageReceivedEventArgs.GetDataStream.
        """
        return MessageStream(self.payload())

    @property
    def remote_address(self) -> HostName:
        """The address of the sender; of an error event, the peer it concerns."""
        name = self.name
        if name is not self._known_name or name is None:
            # This object may serve for many datagrams, one after the other; their sender is mostly the same.
            self._known_host = None if name is None else host_name_from_sockaddr(name)
            self._known_name = name
        return self._known_host  # type: ignore[no-any-return]

    @property
    def remote_port(self) -> str:
        """The port of the sender, as text; "" where the network did not tell."""
        return "" if self.name is None else str(self.name[1])

    @property
    def local_address(self) -> HostName:
        """The address that the datagram was sent to: one of this machine, a group, or a broadcast address."""
        destination = self.destination
        if destination is None:
            local = self._link.local_sockaddr
            return None if local is None else host_name_from_sockaddr(local)  # type: ignore[return-value]
        return host_name_from_sockaddr(destination)

    @property
    def address(self) -> tuple[str, int]:
        """Address and port of the sender, as `send` takes them. ("", 0) where the network did not tell."""
        if self.name is None:
            return ("", 0)
        return (self.remote_address.canonical_name, self.name[1])

    @property
    def ecn(self) -> int:
        """The two congestion bits of the IP header (RFC 3168): 0 not used, 1 and 2 capable, 3 congestion met."""
        return 0 if self.traffic_class < 0 else self.traffic_class & _CONGESTION_BITS

    @property
    def timestamp(self) -> float:
        """When the kernel received it, in seconds as `time.time()` has them; 0.0 where it did not say."""
        return self.timestamp_ns / _NANOSECONDS

    def reply(self, data: Any, /) -> IAsyncOperationWithProgress[int, int]:
        """Send `data` to the sender, as `DatagramSocket.send` does."""
        return self._link.send(data, self)

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<message error {self.error}>"
        return f"<message of {self.size} bytes from {self.remote_address} port {self.remote_port}>"


def message_maker(link: DatagramLink) -> Callable[[], DatagramSocketMessageReceivedEventArgs]:
    """What makes the messages of one socket."""

    def make() -> DatagramSocketMessageReceivedEventArgs:
        message: DatagramSocketMessageReceivedEventArgs = Datagram.__new__(DatagramSocketMessageReceivedEventArgs)
        Datagram.__init__(message)
        message._link = link
        message._known_name = message._known_host = None
        return message

    return make
