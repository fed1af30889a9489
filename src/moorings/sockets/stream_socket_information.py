"""`StreamSocketInformation`: what there is to know about a connection, in any state, also after its end."""

# pyright: reportPrivateUsage=false
# The functions below the class make its objects; as methods they would be part of the public surface.

from __future__ import annotations

from typing import TYPE_CHECKING

from moorings.foundation.projection import Object, final, not_constructible
from moorings.sockets.connection_facts import ConnectionFacts, certificate_of

if TYPE_CHECKING:
    from moorings.certificates.certificate import Certificate
    from moorings.names.host_name import HostName
    from moorings.sockets.connection import Connection


@final
@not_constructible
class StreamSocketInformation(ConnectionFacts, Object):
    """Endpoints, protection and statistics of one StreamSocket; readable in any state.

    Source: WinRT StreamSocketInformation.
    """

    __slots__ = ("_connection",)

    @property
    def remote_host_name(self) -> HostName | None:
        """The host given to connect; the peer's address for an accepted or adopted socket; None before."""
        connection = self._connection
        if connection.host_name is None or connection.stream is None:
            return self.remote_address
        return connection.host_name

    @property
    def remote_service_name(self) -> str:
        """The service given to connect; the peer's port for an accepted or adopted socket; "" before."""
        connection = self._connection
        if not connection.service_name or connection.stream is None:
            return self.remote_port
        return connection.service_name

    @property
    def session_key(self) -> None:
        """The shared secret of a proximity tap; None for every other socket."""
        return

    # -- not in WinRT ------------------------------------------------------------------------------------------------

    @property
    def client_certificate(self) -> Certificate | None:
        """Of an accepted connection: the certificate that the client showed; None for none. Not in WinRT.

        Errors: ERROR_NOT_SUPPORTED without the extra `tls`.
        """
        facts = self._connection.tls
        if facts is None or not self._connection.accepted or not facts.chain:
            return None
        return certificate_of(facts.chain[0])

    @property
    def requested_server_name(self) -> str:
        """Of an accepted connection: the name that the client asked for (SNI); "" for none. Not in WinRT."""
        facts = self._connection.tls
        return "" if facts is None else facts.requested_name

    @property
    def alpn_protocol(self) -> str:
        """The application protocol that both sides agreed on; "" for none. Not in WinRT."""
        facts = self._connection.tls
        return "" if facts is None else facts.alpn


def information_of(connection: Connection) -> StreamSocketInformation:
    """The information object of a connection."""
    information = object.__new__(StreamSocketInformation)
    information._connection = connection
    return information
