"""Enumerations of `Windows.Networking.Connectivity`. Source: the WinRT reference page of each type."""

from __future__ import annotations

from enum import IntFlag

from moorings.errors import OpenEnum


class CellularApnAuthenticationType(OpenEnum):
    """How a cellular access point authenticates."""

    NONE = 0
    PAP = 1
    CHAP = 2
    MSCHAPV2 = 3


class ConnectionProfileDeleteStatus(OpenEnum):
    """Result of deleting a connection profile."""

    SUCCESS = 0
    DENIED_BY_USER = 1
    DENIED_BY_SYSTEM = 2
    UNKNOWN_ERROR = 3


class DataUsageGranularity(OpenEnum):
    """Length of one interval of a usage report."""

    PER_MINUTE = 0
    PER_HOUR = 1
    PER_DAY = 2
    TOTAL = 3


class DomainAuthenticationKind(OpenEnum):
    """How this machine was authenticated to a domain network."""

    NONE = 0
    LDAP = 1
    TLS = 2


class DomainConnectivityLevel(OpenEnum):
    """Whether this machine is connected to its domain network."""

    NONE = 0
    UNAUTHENTICATED = 1
    AUTHENTICATED = 2


class NetworkAuthenticationType(OpenEnum):
    """How a wireless network authenticates."""

    NONE = 0
    UNKNOWN = 1
    OPEN80211 = 2
    SHARED_KEY80211 = 3
    WPA = 4
    WPA_PSK = 5
    WPA_NONE = 6
    RSNA = 7
    RSNA_PSK = 8
    IHV = 9
    WPA3 = 10
    WPA3_ENTERPRISE192_BITS = 10
    WPA3_SAE = 11
    OWE = 12
    WPA3_ENTERPRISE = 13


class NetworkConnectivityLevel(OpenEnum):
    """How far a connection reaches."""

    NONE = 0
    LOCAL_ACCESS = 1
    CONSTRAINED_INTERNET_ACCESS = 2
    INTERNET_ACCESS = 3


class NetworkCostType(OpenEnum):
    """How a connection is paid for."""

    UNKNOWN = 0
    UNRESTRICTED = 1
    FIXED = 2
    VARIABLE = 3


class NetworkEncryptionType(OpenEnum):
    """How a wireless network encrypts."""

    NONE = 0
    UNKNOWN = 1
    WEP = 2
    WEP40 = 3
    WEP104 = 4
    TKIP = 5
    CCMP = 6
    WPA_USE_GROUP = 7
    RSN_USE_GROUP = 8
    IHV = 9
    GCMP = 10
    GCMP256 = 11


class NetworkTypes(IntFlag):
    """What a network leads to."""

    NONE = 0
    INTERNET = 1
    PRIVATE_NETWORK = 2


class RoamingStates(IntFlag):
    """Whether a connection roams."""

    NONE = 0
    NOT_ROAMING = 1
    ROAMING = 2


class TriStates(OpenEnum):
    """A filter condition that may be left open."""

    DO_NOT_CARE = 0
    NO = 1
    YES = 2


class WwanDataClass(IntFlag):
    """Data services that a mobile broadband device offers."""

    NONE = 0
    GPRS = 1
    EDGE = 2
    UMTS = 4
    HSDPA = 8
    HSUPA = 16
    LTE_ADVANCED = 32
    NEW_RADIO_NON_STANDALONE = 64
    NEW_RADIO_STANDALONE = 128
    CDMA1X_RTT = 65536
    CDMA1X_EVDO = 131072
    CDMA1X_EVDO_REV_A = 262144
    CDMA1X_EVDV = 524288
    CDMA3X_RTT = 1048576
    CDMA1X_EVDO_REV_B = 2097152
    CDMA_UMB = 4194304
    CUSTOM = 2147483648


class WwanNetworkIPKind(OpenEnum):
    """Address families of a mobile broadband connection."""

    NONE = 0
    IPV4 = 1
    IPV6 = 2
    IPV4V6 = 3
    IPV4V6V4_XLAT = 4


class WwanNetworkRegistrationState(OpenEnum):
    """Registration of a mobile broadband device with its network."""

    NONE = 0
    DEREGISTERED = 1
    SEARCHING = 2
    HOME = 3
    ROAMING = 4
    PARTNER = 5
    DENIED = 6
