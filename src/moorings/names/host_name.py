"""`HostName`: a name or an address, validated once and never changed."""

# pyright: reportPrivateUsage=false
# The functions below the class are its other constructors; as methods they would be part of the public surface.

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from moorings.foundation.closable import IStringable
from moorings.foundation.projection import check_object, check_str, final
from moorings.names.enums import HostNameType
from moorings.names.host_text import HostText, parse_host_text

if TYPE_CHECKING:
    from typing import Any

    from moorings.connectivity.network_adapter import IPInformation

_V4_MAPPED_PREFIX = "::ffff:"


@final
class HostName(IStringable):
    """A host name, an IPv4 or IPv6 address, or a Bluetooth address; local or remote.

    `host_name` is taken as it is, nothing is trimmed. An IPv6 address may stand in brackets and carry `%scope`. A DNS
    name may be written in Unicode; labels with underscores are allowed. "localhost" stands for all loopback addresses.
    Raises TypeError where no str is given, and E_INVALIDARG (0x80070057) with the reason for a text that is no host
    name. Two objects are `==` only if they are the same object; `is_equal` compares names. Source: WinRT HostName.
    """

    __slots__ = ("__weakref__", "_ip_information", "_raw_name", "_text")
    _winrt_name_ = "Windows.Networking.HostName"

    _raw_name: str
    _text: HostText
    _ip_information: IPInformation | None

    def __new__(cls, host_name: str, /) -> HostName:
        """Check `host_name` and understand it."""
        text = check_str(host_name, "host_name")
        return _make(text, parse_host_text(text), None)

    @property
    def raw_name(self) -> str:
        """The text this object was made of."""
        return self._raw_name

    @property
    def display_name(self) -> str:
        """The name for people: Unicode labels, or the canonical text of an address."""
        return self._text.display

    @property
    def canonical_name(self) -> str:
        """The name for comparing: lower-case ASCII without trailing dot, or an address by RFC 5952 with its scope."""
        return self._text.canonical

    @property
    def type(self) -> HostNameType:
        """What the text is: DOMAIN_NAME, IPV4, IPV6 or BLUETOOTH."""
        return self._text.type

    @property
    def ip_information(self) -> IPInformation | None:
        """Adapter and prefix of a local address that came from `NetworkInformation.get_host_names`, else None."""
        return self._ip_information

    def is_equal(self, host_name: HostName, /) -> bool:
        """True where both have the same canonical name. None raises E_INVALIDARG (0x80070057)."""
        return self._text.canonical == check_object(host_name, HostName, "host_name")._text.canonical

    @staticmethod
    def compare(value1: str, value2: str, /) -> int:
        """The order of two names by their canonical forms: -1, 0 or 1.

        Raises E_INVALIDARG (0x80070057) for a text that is no host name.
        """
        first = HostName(value1).canonical_name
        second = HostName(value2).canonical_name
        return (first > second) - (first < second)

    def to_string(self) -> str:
        """The display name."""
        return self._text.display

    def __str__(self) -> str:
        return self._text.display

    def __repr__(self) -> str:
        return f"HostName({self._raw_name!r})"


def _make(raw_name: str, text: HostText, ip_information: IPInformation | None) -> HostName:
    host = object.__new__(HostName)
    host._raw_name = raw_name
    host._text = text
    host._ip_information = ip_information
    return host


def host_text(host: HostName) -> HostText:
    """What was understood of a host name."""
    return host._text


def local_host_name(text: str, ip_information: IPInformation) -> HostName:
    """A local address together with the adapter that has it."""
    return _make(text, parse_host_text(text), ip_information)


def host_name_from_sockaddr(sockaddr: tuple[Any, ...]) -> HostName:
    """The address in what `getpeername()` or `getsockname()` returned. Not validated: the kernel made it.

    An IPv4 peer of a socket for both families arrives as `::ffff:a.b.c.d` and becomes the IPv4 address it is.
    """
    text: str = sockaddr[0]
    if ":" not in text:
        kind = HostNameType.IPV4
    elif text.startswith(_V4_MAPPED_PREFIX) and "." in text:
        kind = HostNameType.IPV4
        text = text[len(_V4_MAPPED_PREFIX) :]
    else:
        kind = HostNameType.IPV6
        if len(sockaddr) == 4 and sockaddr[3]:
            text = f"{text}%{scope_text(sockaddr[3])}"
    return _make(text, HostText(kind, text, text, text), None)


def scope_text(scope_id: int) -> str:
    """A scope as people read it: the name of the interface, or the number of one that has gone."""
    try:
        return socket.if_indextoname(scope_id)
    except OSError:
        return str(scope_id)
