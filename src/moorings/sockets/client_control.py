"""The settings that all control objects of TCP clients have: the kernel's buffer, small writes, TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.certificates.enums import ChainValidationResult
from moorings.foundation.projection import check_enum, check_object, check_str, check_uint
from moorings.names.host_name import HostName
from moorings.sockets.connection import State, require_new
from moorings.sockets.tls_settings import as_key_log

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableSequence, Sequence

    from moorings.certificates.certificate import Certificate
    from moorings.certificates.revocation_check import RevocationCheck
    from moorings.certificates.trust import TrustAnchors
    from moorings.sockets.connection import Connection

__all__ = ["ClientControlMembers", "check_buffer_size"]

_INT_MAX = 0x7FFFFFFF


def check_buffer_size(value: Any) -> int:
    """An unsigned 32-bit number that the kernel can take (E_INVALIDARG otherwise)."""
    number = check_uint(value, 32, "outbound_buffer_size_in_bytes")
    if number > _INT_MAX:
        raise errors.invalid_argument(f"outbound_buffer_size_in_bytes must be at most {_INT_MAX}")
    return number


class ClientControlMembers:
    """Mixed into the control objects; until when TLS may be set up is theirs to say (`_require_no_handshake`)."""

    __slots__ = ()

    _connection: Connection

    def _require_new(self, member: str) -> None:
        require_new(self._connection.state, f"{self._connection}: control.{member}", "set it before connect_async")

    def _require_no_handshake(self, member: str) -> None:
        """Raise what is against setting `member` now."""
        raise NotImplementedError

    @property
    def outbound_buffer_size_in_bytes(self) -> int:
        """Size of the kernel's send buffer; 0 until it is set. Setting it turns off the kernel's own tuning.

        Setting it late has no effect and is no error. Errors: E_INVALIDARG beyond 2147483647.
        """
        return self._connection.settings.outbound_buffer_size or 0

    @outbound_buffer_size_in_bytes.setter
    def outbound_buffer_size_in_bytes(self, value: int) -> None:
        number = check_buffer_size(value)
        if self._connection.state == State.NEW:
            self._connection.settings.outbound_buffer_size = number

    @property
    def no_delay(self) -> bool:
        """True (default): small writes are sent without waiting for more (TCP_NODELAY)."""
        return self._connection.settings.no_delay

    @no_delay.setter
    def no_delay(self, value: bool) -> None:
        self._require_new("no_delay")
        self._connection.settings.no_delay = bool(value)

    @property
    def ignorable_server_certificate_errors(self) -> MutableSequence[ChainValidationResult]:
        """Certificate errors that the next TLS handshake ignores; always the same list, empty at first."""
        connection = self._connection
        if connection.ignorable_errors is None:
            from moorings.foundation.vectors import Vector  # noqa: PLC0415 (only those who use TLS pay for it)

            connection.ignorable_errors = Vector[ChainValidationResult](
                check=lambda value: check_enum(value, ChainValidationResult, "value")
            )
        result: MutableSequence[ChainValidationResult] = connection.ignorable_errors
        return result

    @property
    def client_certificate(self) -> Certificate | None:
        """The certificate that a TLS server gets when it asks; None by default. It may be set until the handshake.

        A server sees it only after its own certificate has been accepted. Errors: TypeError for what is no Certificate;
        E_INVALIDARG for one without its private key.
        """
        return self._connection.settings.client_certificate

    @client_certificate.setter
    def client_certificate(self, value: Certificate | None) -> None:
        self._require_no_handshake("client_certificate")
        if value is not None:
            from moorings.certificates.certificate import Certificate  # noqa: PLC0415 (only who uses TLS pays for it)

            check_object(value, Certificate, "client_certificate")
            if not value.has_private_key:
                raise errors.invalid_argument("client_certificate: the certificate has no private key")
        self._connection.settings.client_certificate = value

    @property
    def trust_anchors(self) -> TrustAnchors | None:
        """Whom to trust in TLS handshakes; None (default) is what OpenSSL trusts on this machine. Not in WinRT.

        Errors: TypeError for what is no TrustAnchors.
        """
        return self._connection.settings.tls.anchors

    @trust_anchors.setter
    def trust_anchors(self, value: TrustAnchors | None) -> None:
        from moorings.certificates.trust import TrustAnchors  # noqa: PLC0415 (only who uses TLS pays for it)

        self._require_no_handshake("trust_anchors")
        if value is not None and not isinstance(value, TrustAnchors):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"trust_anchors takes TrustAnchors or None, not {type(value).__name__}")
        self._change_tls(anchors=value)

    @property
    def server_name(self) -> str:
        """The name that TLS asks for (SNI) and checks; "" (default) is the host that is connected to. Not in WinRT.

        Errors: TypeError; E_INVALIDARG for what is no host name.
        """
        return self._connection.settings.tls.server_name

    @server_name.setter
    def server_name(self, value: str) -> None:
        self._require_no_handshake("server_name")
        self._change_tls(server_name=HostName(value).canonical_name if check_str(value, "server_name") else "")

    @property
    def pin_sha256(self) -> Sequence[str]:
        """Keys of which the server, or an authority that it leads to, must have one; empty: any key. Not in WinRT.

        One pin or several, so that there is one for the next key: each the base64 of the SHA-256 of a public key
        (`Certificate.pin_sha256`). They come on top of the usual checks, in resumed sessions too. Where none fits, the
        connect fails with `moorings.errors.PinMismatchError`, which nothing ignores; where errors are ignored, only the
        server's own key counts. Errors: TypeError; E_INVALIDARG for what is no pin, and beyond 64.
        """
        return self._connection.settings.tls.pins

    @pin_sha256.setter
    def pin_sha256(self, value: str | Iterable[str] | None) -> None:
        from moorings.certificates.pins import check_pins  # noqa: PLC0415 (only who pins pays for it)

        pins = check_pins(value)
        self._require_no_handshake("pin_sha256")
        self._change_tls(pins=pins)

    @property
    def revocation(self) -> RevocationCheck | None:
        """Whom to ask whether the server's certificate was revoked; None (default): nobody. Not in WinRT.

        Takes a RevocationCheck, True (the server must staple an OCSP answer), or paths of revocation lists. Errors:
        TypeError.
        """
        return self._connection.settings.tls.revocation

    @revocation.setter
    def revocation(self, value: Any) -> None:
        from moorings.certificates.revocation_check import as_revocation  # noqa: PLC0415 (only who asks pays for it)

        check = as_revocation(value, "revocation")
        self._require_no_handshake("revocation")
        self._change_tls(revocation=check)

    @property
    def key_log(self) -> str:
        """The file that gets the secrets of the TLS session, for Wireshark; "" (default): none. Not in WinRT.

        Takes a path, or True for the file that SSLKEYLOGFILE names, if it does. Whoever reads that file can read the
        connection: it is made with mode 0600, and one that others could read is refused when connecting
        (E_ACCESSDENIED). Such connections share no session with others. Errors: TypeError; E_INVALIDARG for no path.
        """
        return self._connection.settings.tls.key_log

    @key_log.setter
    def key_log(self, value: Any) -> None:
        path = as_key_log(value)
        self._require_no_handshake("key_log")
        self._change_tls(key_log=path)

    def _change_tls(self, **changes: Any) -> None:
        settings = self._connection.settings
        settings.tls = settings.tls._replace(**changes)
