"""Control, information and event arguments of a StreamSocketListener."""

# pyright: reportPrivateUsage=false
# The functions below the class make its objects; as methods they would be part of the public surface.

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.foundation.projection import Object, check_enum, check_float, check_object, final, not_constructible
from moorings.sockets.client_control import check_buffer_size
from moorings.sockets.connection import Connection, Settings, post, require_new
from moorings.sockets.enums import SocketQualityOfService
from moorings.sockets.stream_socket import StreamSocket, accepted_socket
from moorings.sockets.stream_socket_control import check_hop_limit
from moorings.sockets.tls_settings import as_key_log, check_alpn, check_transferable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Sequence

    from moorings.certificates.certificate import Certificate
    from moorings.certificates.trust import TrustAnchors
    from moorings.sockets.accepting import Accepting
    from moorings.sockets.tls_settings import ServerTlsSettings


class ListenerControlMembers(Object):
    """What the control objects of all listeners have: settings that every accepted connection gets."""

    __slots__ = ("_accepting", "_settings")
    _accepting: Accepting
    _settings: Settings

    def _require_new(self, member: str) -> None:
        require_new(self._accepting.state, f"{self._accepting}: control.{member}", "set it before binding")

    @property
    def quality_of_service(self) -> SocketQualityOfService:
        """NORMAL (default), or LOW_LATENCY: SO_PRIORITY 6 and the low-delay marking of packets (ip(7))."""
        return self._settings.quality_of_service

    @quality_of_service.setter
    def quality_of_service(self, value: SocketQualityOfService) -> None:
        quality = check_enum(value, SocketQualityOfService, "quality_of_service")
        if quality not in tuple(SocketQualityOfService):
            raise errors.invalid_argument(f"quality_of_service {int(quality)} is not known")
        self._require_new("quality_of_service")
        self._settings.quality_of_service = quality

    @property
    def outbound_unicast_hop_limit(self) -> int:
        """TTL or hop limit of outgoing packets, 1 to 255; default 128. Errors: E_INVALIDARG for 0."""
        return self._settings.outbound_unicast_hop_limit

    @outbound_unicast_hop_limit.setter
    def outbound_unicast_hop_limit(self, value: int) -> None:
        number = check_hop_limit(value)
        self._require_new("outbound_unicast_hop_limit")
        self._settings.outbound_unicast_hop_limit = number

    @property
    def outbound_buffer_size_in_bytes(self) -> int:
        """Size of the kernel's send buffer; 0 until it is set. Errors: E_INVALIDARG beyond 2147483647."""
        return self._settings.outbound_buffer_size or 0

    @outbound_buffer_size_in_bytes.setter
    def outbound_buffer_size_in_bytes(self, value: int) -> None:
        number = check_buffer_size(value)
        self._require_new("outbound_buffer_size_in_bytes")
        self._settings.outbound_buffer_size = number

    @property
    def no_delay(self) -> bool:
        """True (default): small writes are sent without waiting for more (TCP_NODELAY)."""
        return self._settings.no_delay

    @no_delay.setter
    def no_delay(self, value: bool) -> None:
        self._require_new("no_delay")
        self._settings.no_delay = bool(value)

    @property
    def keep_alive(self) -> bool:
        """True: the kernel probes idle connections (SO_KEEPALIVE). Default False."""
        return self._settings.keep_alive

    @keep_alive.setter
    def keep_alive(self, value: bool) -> None:
        self._require_new("keep_alive")
        self._settings.keep_alive = bool(value)

    # -- TLS, which WinRT's listeners do not have ----------------------------------------------------------------------

    @property
    def server_certificate(self) -> Certificate | None:
        """The certificate, with its key and chain, that clients get in the TLS handshake; None (default): plain TCP.

        On a listener that has one it may be replaced at any time, without a gap: handshakes from then on use the new
        one, and where it cannot be used the old one stays. Not in WinRT. Errors: TypeError; E_INVALIDARG for one
        without a private key, or one that OpenSSL does not take; E_ILLEGAL_METHOD_CALL on a bound listener without TLS.
        """
        return self._accepting.tls.certificate

    @server_certificate.setter
    def server_certificate(self, value: Certificate | None) -> None:
        accepting = self._accepting
        if accepting.secure is None or value is None:
            self._require_new("server_certificate")
        if value is None:
            accepting.tls.certificate = None
            return
        from moorings.certificates.certificate import Certificate  # noqa: PLC0415 (only who uses TLS pays for it)

        check_object(value, Certificate, "server_certificate")
        if accepting.secure is not None:
            accepting.secure = make_secure(accepting.tls, value)
        elif not value.has_private_key:
            raise errors.invalid_argument("server_certificate: the certificate has no private key")
        accepting.tls.certificate = value

    @property
    def client_trust_anchors(self) -> TrustAnchors | None:
        """With these each client needs a certificate that leads to one of them; None (default) asks for none.

        On a bound listener with TLS they may be replaced, as the certificate may: handshakes from then on use the new
        ones, and no session from before shortens them. Not in WinRT. Errors: TypeError for what is no TrustAnchors;
        those of anchors that cannot be read, and the old ones stay then; E_ILLEGAL_METHOD_CALL on a bound listener
        without TLS.
        """
        return self._accepting.tls.client_anchors

    @client_trust_anchors.setter
    def client_trust_anchors(self, value: TrustAnchors | None) -> None:
        from moorings.certificates.trust import TrustAnchors  # noqa: PLC0415 (only who uses TLS pays for it)

        if value is not None and not isinstance(value, TrustAnchors):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"client_trust_anchors takes TrustAnchors or None, not {type(value).__name__}")
        accepting = self._accepting
        if accepting.secure is None or accepting.tls.certificate is None:
            self._require_new("client_trust_anchors")
        else:
            accepting.secure = make_secure(replace(accepting.tls, client_anchors=value), accepting.tls.certificate)
        accepting.tls.client_anchors = value

    @property
    def alpn_protocols(self) -> Sequence[str]:
        """Application protocols (RFC 7301), the best one first; the first that a client offers too is used.

        Not in WinRT. Errors: TypeError; E_INVALIDARG for a name that is empty, not ASCII, or longer than 255.
        """
        return self._accepting.tls.alpn

    @alpn_protocols.setter
    def alpn_protocols(self, value: Iterable[str]) -> None:
        names = check_alpn(value)
        self._require_new("alpn_protocols")
        self._accepting.tls.alpn = names

    @property
    def key_log(self) -> str:
        """The file that gets the secrets of the TLS sessions, for Wireshark; "" (default): none. Not in WinRT.

        As `StreamSocketControl.key_log`; a file that cannot be used fails the bind.
        """
        return self._accepting.tls.key_log

    @key_log.setter
    def key_log(self, value: Any) -> None:
        path = as_key_log(value)
        self._require_new("key_log")
        self._accepting.tls.key_log = path

    @property
    def transferable(self) -> bool:
        """True: connections with TLS may move to another process, as `StreamSocketControl.transferable`; default False.

        Not in WinRT. Errors: ERROR_NOT_SUPPORTED without the extra `tls`.
        """
        return self._accepting.tls.transferable

    @transferable.setter
    def transferable(self, value: bool) -> None:
        self._require_new("transferable")
        self._accepting.tls.transferable = check_transferable(value)

    @property
    def handshake_timeout(self) -> float:
        """Seconds that a client has for its TLS handshake; default 60. Not in WinRT.

        It may be changed at any time. Errors: TypeError and ValueError for what is no number above 0.
        """
        return self._accepting.tls.handshake_timeout

    @handshake_timeout.setter
    def handshake_timeout(self, value: float) -> None:
        number = check_float(value, "handshake_timeout")
        if not number > 0:
            raise ValueError("handshake_timeout must be a number of seconds above 0")
        self._accepting.tls.handshake_timeout = number


@final
@not_constructible
class StreamSocketListenerControl(ListenerControlMembers):
    """Settings that every accepted socket gets. All setters fail with E_ILLEGAL_METHOD_CALL once a bind has started.

    Source: WinRT StreamSocketListenerControl.
    """

    __slots__ = ()


@final
@not_constructible
class StreamSocketListenerInformation(Object):
    """What there is to know about a listener. Source: WinRT StreamSocketListenerInformation."""

    __slots__ = ("_accepting",)
    _accepting: Accepting

    @property
    def local_port(self) -> str:
        """The bound TCP port as text, "" before the bind; it stays after close."""
        return self._accepting.port


@final
@not_constructible
class StreamSocketListenerConnectionReceivedEventArgs(Object):
    """A new connection. One that no handler looked at is closed when these arguments are dropped.

    Source: WinRT StreamSocketListenerConnectionReceivedEventArgs.
    """

    __slots__ = ("_connection", "_place", "_socket")
    _connection: Connection
    _place: Any
    _socket: StreamSocket | None

    @property
    def socket(self) -> StreamSocket:
        """The connected socket, with the listener's settings; the same object each time."""
        if self._socket is None:
            self._socket = accepted_socket(self._connection, self._place)
        return self._socket

    def __del__(self) -> None:
        stream = self._connection.stream
        if self._socket is not None or stream is None or not stream.is_open() or stream.home.dropped:
            return
        if stream.home.on_home_thread() or not post(stream.home, stream.close):
            stream.close()


def make_secure(settings: ServerTlsSettings, certificate: Certificate) -> ssl.SSLContext:
    """The context of a listener. Errors: E_INVALIDARG for a certificate without key, or that OpenSSL does not take;
    those of trusted certificates and of a key log file that cannot be used.
    """
    from moorings.sockets.tls_context import server_context  # noqa: PLC0415 (only who uses TLS pays for it)

    return server_context(
        certificate,
        settings.client_anchors,
        settings.alpn,
        settings.key_log,
        transferable=settings.transferable,
    )


def listener_control(accepting: Accepting) -> StreamSocketListenerControl:
    """The control object of a listener."""
    control = object.__new__(StreamSocketListenerControl)
    control._accepting = accepting
    control._settings = accepting.settings
    return control


def listener_information(accepting: Accepting) -> StreamSocketListenerInformation:
    """The information object of a listener."""
    information = object.__new__(StreamSocketListenerInformation)
    information._accepting = accepting
    return information


def event_args(
    connection: Connection, place: Any, socket: StreamSocket | None = None
) -> StreamSocketListenerConnectionReceivedEventArgs:
    """The event arguments of a new connection, with its public object where there is one already."""
    args = object.__new__(StreamSocketListenerConnectionReceivedEventArgs)
    args._connection = connection
    args._place = place
    args._socket = socket
    return args
