"""What the two client classes of WebSockets have in common, as WinRT names it. See `MessageWebSocket`."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from moorings.foundation.closable import IClosable
from moorings.foundation.projection import Object, arities, deprecated_alias

if TYPE_CHECKING:
    from collections.abc import Callable, MutableSequence, Sequence

    from moorings.certificates.certificate import Certificate
    from moorings.certificates.credentials import PasswordCredential
    from moorings.certificates.enums import ChainValidationResult
    from moorings.foundation.async_info import IAsyncAction
    from moorings.foundation.events import EventRegistrationToken
    from moorings.foundation.uri import Uri
    from moorings.names.host_name import HostName
    from moorings.sockets.enums import SocketSslErrorSeverity
    from moorings.sockets.statistics import BandwidthStatistics
    from moorings.streams.interfaces import IOutputStream

__all__ = ["IWebSocket", "IWebSocketControl", "IWebSocketControl2", "IWebSocketInformation", "IWebSocketInformation2"]


class IWebSocket(IClosable):
    """A WebSocket that connects to a server."""

    __slots__ = ()

    @abstractmethod
    def connect_async(self, uri: Uri, /) -> IAsyncAction:
        """Connect to a ws or wss URI."""

    @abstractmethod
    def set_request_header(self, header_name: str, header_value: str, /) -> None:
        """Add a header to the request."""

    @property
    @abstractmethod
    def output_stream(self) -> IOutputStream:
        """What the peer gets."""

    @abstractmethod
    @arities(0, 2)
    def close(self, *arguments: Any) -> None:
        """Close with an empty close frame, or with a code and a reason."""

    close_with_status = deprecated_alias("close")

    @abstractmethod
    def add_closed(self, handler: Callable[[Any, Any], object], /) -> EventRegistrationToken:
        """Add a handler (socket, WebSocketClosedEventArgs)."""

    @abstractmethod
    def remove_closed(self, token: EventRegistrationToken, /) -> None:
        """Remove the handler that `token` stands for."""


class IWebSocketControl(Object):
    """Settings of a WebSocket that connects."""

    __slots__ = ()

    @property
    @abstractmethod
    def outbound_buffer_size_in_bytes(self) -> int:
        """Size of the kernel's send buffer."""

    @outbound_buffer_size_in_bytes.setter
    @abstractmethod
    def outbound_buffer_size_in_bytes(self, value: int) -> None: ...

    @property
    @abstractmethod
    def server_credential(self) -> PasswordCredential | None:
        """User name and password for a server that asks."""

    @server_credential.setter
    @abstractmethod
    def server_credential(self, value: PasswordCredential | None) -> None: ...

    @property
    @abstractmethod
    def proxy_credential(self) -> PasswordCredential | None:
        """User name and password for a proxy that asks."""

    @proxy_credential.setter
    @abstractmethod
    def proxy_credential(self, value: PasswordCredential | None) -> None: ...

    @property
    @abstractmethod
    def supported_protocols(self) -> MutableSequence[str]:
        """Subprotocols to offer, the best one first."""


class IWebSocketControl2(IWebSocketControl):
    """Settings of a WebSocket that connects, and what it ignores."""

    __slots__ = ()

    @property
    @abstractmethod
    def ignorable_server_certificate_errors(self) -> MutableSequence[ChainValidationResult]:
        """Certificate errors that the next connect ignores."""


class IWebSocketInformation(Object):
    """What there is to know about a WebSocket."""

    __slots__ = ()

    @property
    @abstractmethod
    def bandwidth_statistics(self) -> BandwidthStatistics:
        """Bandwidth estimates of the TCP connection."""

    @property
    @abstractmethod
    def local_address(self) -> HostName | None:
        """The local IP address."""

    @property
    @abstractmethod
    def protocol(self) -> str:
        """The subprotocol that the server chose."""


class IWebSocketInformation2(IWebSocketInformation):
    """What there is to know about a WebSocket, and about its server's certificate."""

    __slots__ = ()

    @property
    @abstractmethod
    def server_certificate(self) -> Certificate | None:
        """The server's certificate."""

    @property
    @abstractmethod
    def server_certificate_error_severity(self) -> SocketSslErrorSeverity:
        """How bad its errors are."""

    @property
    @abstractmethod
    def server_certificate_errors(self) -> Sequence[ChainValidationResult]:
        """What is wrong with it."""

    @property
    @abstractmethod
    def server_intermediate_certificates(self) -> Sequence[Any]:
        """What the server sent besides."""
