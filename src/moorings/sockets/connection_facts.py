"""What there is to know about a connection, whatever is spoken on it: the members of all information objects."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.verify_codes import severity_of
from moorings.engine.tcp_info import NO_SAMPLE
from moorings.foundation.vectors import VectorView
from moorings.names.host_name import HostName, host_name_from_sockaddr
from moorings.sockets.enums import SocketProtectionLevel, SocketSslErrorSeverity
from moorings.sockets.statistics import BandwidthStatistics, RoundTripTimeStatistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moorings.certificates.certificate import Certificate
    from moorings.engine.tcp_info import TcpInfo
    from moorings.sockets.connection import Connection

__all__ = ["ConnectionFacts", "certificate_of"]

#: Weight of a new sample in the mean deviation, as RFC 6298 weighs round trip times.
_GAIN = 0.25


class _Rates:
    """Our own samples of a rate: how far they stray from their mean."""

    __slots__ = ("deviation", "mean", "sampled_at")

    def __init__(self) -> None:
        self.mean = -1.0
        self.deviation = 0.0
        self.sampled_at = 0.0

    def add(self, sample: int) -> int:
        now = time.monotonic()
        if now == self.sampled_at:
            return int(self.deviation)
        self.sampled_at = now
        if self.mean < 0:
            self.mean = float(sample)
        else:
            stray = abs(sample - self.mean)
            self.deviation += _GAIN * (stray - self.deviation)
            self.mean += _GAIN * (sample - self.mean)
        return int(self.deviation)


class ConnectionFacts:
    """Mixed into the information objects."""

    __slots__ = ()

    _connection: Connection

    @property
    def local_address(self) -> HostName | None:
        """The local IP address, or None before there was a connection."""
        sockaddr = self._connection.local()
        return None if not sockaddr else host_name_from_sockaddr(sockaddr)

    @property
    def local_port(self) -> str:
        """The local TCP port as text, "" before there was a connection."""
        sockaddr = self._connection.local()
        return "" if not sockaddr else str(sockaddr[1])

    @property
    def remote_address(self) -> HostName | None:
        """The IP address that was reached, or None."""
        sockaddr = self._connection.remote_sockaddr
        return None if not sockaddr else host_name_from_sockaddr(sockaddr)

    @property
    def remote_port(self) -> str:
        """The TCP port that was reached, or ""."""
        sockaddr = self._connection.remote_sockaddr
        return "" if not sockaddr else str(sockaddr[1])

    @property
    def protection_level(self) -> SocketProtectionLevel:
        """The TLS version in use, TLS12 or TLS13, also after the end; PLAIN_SOCKET without TLS."""
        facts = self._connection.tls
        return SocketProtectionLevel.PLAIN_SOCKET if facts is None else facts.level

    @property
    def round_trip_time_statistics(self) -> RoundTripTimeStatistics:
        """Round trip times in microseconds, from TCP_INFO; zeros where the kernel does not say."""
        connection = self._connection
        info = connection.info()
        rtt = info.rtt or 0
        connection.peak_rtt = max(connection.peak_rtt, rtt)
        lowest = info.min_rtt if info.min_rtt is not None and info.min_rtt != NO_SAMPLE else 0
        return RoundTripTimeStatistics(info.rttvar or 0, connection.peak_rtt, lowest, rtt)

    @property
    def bandwidth_statistics(self) -> BandwidthStatistics:
        """Bandwidth estimates in bits per second, from TCP_INFO; zeros where the kernel does not say.

        The instability is the mean deviation of the estimates over the calls of this property.
        """
        connection = self._connection
        info = connection.info()
        outbound = (info.delivery_rate or 0) * 8
        inbound = 0
        if info.rcv_rtt and info.rcv_space:
            inbound = info.rcv_space * 8 * 1_000_000 // info.rcv_rtt
        if connection.rates is None:
            connection.rates = (_Rates(), _Rates())
        return BandwidthStatistics(
            outbound,
            inbound,
            connection.rates[0].add(outbound),
            connection.rates[1].add(inbound),
            _peaked(info),
            False,
        )

    @property
    def server_certificate(self) -> Certificate | None:
        """The server's certificate after a TLS handshake, also after a failed one; None without TLS.

        Errors: ERROR_NOT_SUPPORTED without the extra `tls`.
        """
        facts = self._connection.tls
        if facts is None or self._connection.accepted or not facts.chain:
            return None
        return certificate_of(facts.chain[0])

    @property
    def server_certificate_error_severity(self) -> SocketSslErrorSeverity:
        """How bad the certificate errors were, the worst of them; NONE without any."""
        return SocketSslErrorSeverity(int(severity_of(self.server_certificate_errors)))

    @property
    def server_certificate_errors(self) -> Sequence[ChainValidationResult]:
        """Everything that is wrong with the server's certificate, ignored or not; empty where it is in order."""
        facts = self._connection.tls
        return VectorView[ChainValidationResult](() if facts is None else facts.errors)

    @property
    def server_intermediate_certificates(self) -> Sequence[Any]:
        """Certificates the server sent besides its own, also after a failed handshake; empty without TLS.

        Errors: ERROR_NOT_SUPPORTED without the extra `tls`.
        """
        facts = self._connection.tls
        if facts is None or self._connection.accepted:
            return VectorView[Any](())
        found = (certificate_of(der) for der in facts.chain[1:])
        return VectorView[Any](tuple(each for each in found if each is not None))

    @property
    def cipher(self) -> str:
        """The name of the TLS cipher suite; "" without TLS. Not in WinRT."""
        facts = self._connection.tls
        return "" if facts is None else facts.cipher

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier session shortened the TLS handshake. Not in WinRT."""
        facts = self._connection.tls
        return False if facts is None else facts.resumed


def certificate_of(der: bytes) -> Certificate | None:
    """What a peer sent; None where it is no certificate."""
    from moorings.certificates.certificate import make_certificate  # noqa: PLC0415 (only who uses TLS pays for it)

    try:
        return make_certificate(der)
    except OSError as error:
        if getattr(error, "winerror", None) != errors.E_INVALIDARG:
            raise
        return None


def _peaked(info: TcpInfo) -> bool:
    """Whether the sender, and not the program, set the pace, with much of the path in flight."""
    if info.app_limited is not False or not info.delivery_rate or not info.min_rtt or info.min_rtt == NO_SAMPLE:
        return False
    if not info.snd_cwnd or not info.snd_mss:
        return False
    path_bytes = info.delivery_rate * info.min_rtt / 1_000_000
    return info.snd_cwnd * info.snd_mss >= path_bytes / 2
