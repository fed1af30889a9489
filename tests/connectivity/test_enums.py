"""Enumerations: numbers that an alias or a flag makes special, and numbers of the future."""

from __future__ import annotations

from moorings.connectivity.enums import (
    DataUsageGranularity,
    NetworkAuthenticationType,
    NetworkConnectivityLevel,
    NetworkTypes,
    WwanDataClass,
)


def test_numbers() -> None:
    assert NetworkAuthenticationType.WPA3 is NetworkAuthenticationType.WPA3_ENTERPRISE192_BITS
    assert NetworkAuthenticationType.WPA3_ENTERPRISE == 13
    assert WwanDataClass.CUSTOM == 0x80000000
    assert [level.value for level in NetworkConnectivityLevel] == [0, 1, 2, 3]
    assert [member.name for member in DataUsageGranularity] == ["PER_MINUTE", "PER_HOUR", "PER_DAY", "TOTAL"]


def test_numbers_of_the_future() -> None:
    assert NetworkAuthenticationType(99) == 99
    assert NetworkTypes(7) == 7
    assert NetworkTypes.INTERNET | NetworkTypes.PRIVATE_NETWORK == 3
