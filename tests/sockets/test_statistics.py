from __future__ import annotations

import pytest

from moorings.sockets.statistics import BandwidthStatistics, RoundTripTimeStatistics


def test_round_trip_times() -> None:
    times = RoundTripTimeStatistics(variance=1, max=2, min=3, sum=4)
    assert times.unpack() == (1, 2, 3, 4)
    assert RoundTripTimeStatistics() == (0, 0, 0, 0)
    with pytest.raises(OverflowError):
        RoundTripTimeStatistics(2**32)


def test_bandwidth() -> None:
    bandwidth = BandwidthStatistics(2**64 - 1, outbound_bandwidth_peaked=True)
    assert bandwidth == (2**64 - 1, 0, 0, 0, True, False)
    assert BandwidthStatistics().outbound_bandwidth_peaked is False
    with pytest.raises(ValueError, match="negative"):
        BandwidthStatistics(-1)
