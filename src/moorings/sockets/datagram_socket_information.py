"""`DatagramSocketInformation`: the endpoints of a DatagramSocket, in any state, also after its end."""

# pyright: reportPrivateUsage=false
# The functions below the class make its objects; as methods they would be part of the public surface.

from __future__ import annotations

from typing import TYPE_CHECKING

from moorings.foundation.projection import Object, final, not_constructible
from moorings.names.endpoints import ANYWHERE
from moorings.names.host_name import HostName, host_name_from_sockaddr
from moorings.sockets.datagram_binding import plain_text

if TYPE_CHECKING:
    from moorings.sockets.datagram_link import DatagramLink


@final
@not_constructible
class DatagramSocketInformation(Object):
    """Where a DatagramSocket is bound and connected; readable in any state, the values stay after close.

    Source: WinRT DatagramSocketInformation.
    """

    __slots__ = ("_link",)
    _link: DatagramLink

    @property
    def local_address(self) -> HostName | None:
        """The bound address; None before, and for a socket bound to all addresses until it is connected."""
        local = self._link.local_sockaddr
        return None if local is None or plain_text(local) in ANYWHERE else host_name_from_sockaddr(local)

    @property
    def local_port(self) -> str:
        """The bound UDP port as text, "" before."""
        local = self._link.local_sockaddr
        return "" if local is None else str(local[1])

    @property
    def remote_address(self) -> HostName | None:
        """The address of the connected peer, None without one."""
        remote = self._link.remote_sockaddr
        return None if remote is None else host_name_from_sockaddr(remote)

    @property
    def remote_port(self) -> str:
        """The port of the connected peer as text, "" without one."""
        remote = self._link.remote_sockaddr
        return "" if remote is None else str(remote[1])


def datagram_information(link: DatagramLink) -> DatagramSocketInformation:
    """The information object of a socket."""
    information = object.__new__(DatagramSocketInformation)
    information._link = link
    return information
