"""What the kernel measures about a TCP connection. Sources: WinRT reference; tcp(7), `struct tcp_info`."""

from __future__ import annotations

from moorings.foundation.projection import final
from moorings.foundation.winrt_struct import WinRTStruct, bool_field, uint_field

__all__ = ["BandwidthStatistics", "RoundTripTimeStatistics"]


@final
class RoundTripTimeStatistics(WinRTStruct):
    """Round trip times of a connection, in microseconds. All zero before the connection is open."""

    variance: int = uint_field(32, "How much the round trip time varies, in microseconds (tcpi_rttvar).", default=0)
    max: int = uint_field(32, "The largest smoothed round trip time seen so far, in microseconds.", default=0)
    min: int = uint_field(32, "The smallest round trip time, in microseconds (tcpi_min_rtt).", default=0)
    sum: int = uint_field(32, "Despite its name the smoothed round trip time, in microseconds (tcpi_rtt).", default=0)


@final
class BandwidthStatistics(WinRTStruct):
    """Bandwidth estimates of a connection, in bits per second. All zero before the connection is open.

    The `peaked` fields are True while enough of the path is used for the estimate to be a good one.
    """

    outbound_bits_per_second: int = uint_field(
        64, "Estimated outbound bandwidth, in bits per second (tcpi_delivery_rate).", default=0
    )
    inbound_bits_per_second: int = uint_field(
        64, "Estimated inbound bandwidth, in bits per second (tcpi_rcv_space over tcpi_rcv_rtt).", default=0
    )
    outbound_bits_per_second_instability: int = uint_field(
        64, "Mean deviation of the outbound estimates, in bits per second.", default=0
    )
    inbound_bits_per_second_instability: int = uint_field(
        64, "Mean deviation of the inbound estimates, in bits per second.", default=0
    )
    outbound_bandwidth_peaked: bool = bool_field("Whether the outbound estimate is a good one.", default=False)
    inbound_bandwidth_peaked: bool = bool_field("Whether the inbound estimate is a good one.", default=False)
