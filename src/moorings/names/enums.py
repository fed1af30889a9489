"""Enumerations of `Windows.Networking`."""

from __future__ import annotations

from enum import IntFlag

from moorings.errors import OpenEnum


class HostNameType(OpenEnum):
    """What the text of a host name is. Source: WinRT HostNameType."""

    DOMAIN_NAME = 0
    IPV4 = 1
    IPV6 = 2
    BLUETOOTH = 3


class HostNameSortOptions(IntFlag):
    """The order in which the addresses of a name are tried. Source: WinRT HostNameSortOptions.

    NONE alternates between address families, so that a broken family costs one attempt only.
    OPTIMIZE_FOR_LONG_CONNECTIONS keeps the order of RFC 6724, which prefers efficient paths.
    """

    NONE = 0
    OPTIMIZE_FOR_LONG_CONNECTIONS = 2


class DomainNameType(OpenEnum):
    """Whether a route policy means one name or all names below it. Source: WinRT DomainNameType."""

    SUFFIX = 0
    FULLY_QUALIFIED = 1
