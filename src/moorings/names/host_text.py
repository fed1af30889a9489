"""Which texts are host names, and what they mean. Pure: no look-ups, no system state.

Theory of operation
-------------------
Four kinds of text are host names: an IPv4 address as `inet_pton` reads it (four decimal numbers, no leading zeros, no
octal or hexadecimal), an IPv6 address with optional brackets and `%scope`, a Bluetooth address in parentheses, and a
DNS name by the rules of IDNA 2008 with the mapping of UTS #46, plus labels with underscores as SRV records use them.

A DNS name whose last label is a number is refused, as the URL standard of the WHATWG does: the C library would read
`127.1` or `0x7f000001` as an IPv4 address although it looks like a name here. The check stands after the mapping, so
full-width digits do not slip through.
"""

from __future__ import annotations

import re
import socket
from typing import NamedTuple

import idna

from moorings import errors
from moorings.names.enums import HostNameType

#: Longest text looked at, in characters. A valid name has at most 253 octets once encoded; the mapping of UTS #46
#: removes or joins characters, but never that many.
MAX_TEXT_LENGTH = 1024
#: Longest DNS name, in octets, without the trailing dot. Source: RFC 1035 section 2.3.4.
MAX_NAME_LENGTH = 253
#: Longest DNS label, in octets. Source: RFC 1035 section 2.3.4.
MAX_LABEL_LENGTH = 63

_MAX_SHOWN = 80
_MAX_SCOPE_ID = 0xFFFF_FFFF
_BLUETOOTH = re.compile(r"\([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}\)")
_IPV4_LOOK = re.compile(r"[0-9][0-9.]*")
_IPV6_DIGITS = re.compile(r"[0-9A-Fa-f:.]{2,45}")
# A name of an interface (at most 15 octets, no white space, no slash, see dev_valid_name in the kernel) or its number.
_SCOPE = re.compile(r"[!-$&-.0-9;-Z\\^-~]{1,15}")
_LDH_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_A_LABEL_PREFIX = "xn--"


class HostText(NamedTuple):
    """A text that was understood."""

    type: HostNameType
    #: Lower-case ASCII name without trailing dot, or the canonical text of an address (RFC 5952) with its scope.
    canonical: str
    #: The same for people: IDNA labels in Unicode.
    display: str
    #: What a resolver is asked for: `canonical`, with the trailing dot where one was given.
    lookup: str


def shown(text: str) -> str:
    """The text as an error message shows it: quoted, and cut where it is long."""
    return repr(text) if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]!r}..."


def parse_host_text(text: str) -> HostText:
    """Understand a host name or address.

    Raises E_INVALIDARG (0x80070057) with the reason for a text that is none. Sources: RFC 1035, 4007, 4291, 5890 to
    5893, 5952, UTS #46, inet_pton(3).
    """
    if not text:
        raise _invalid(text, "a host name cannot be empty")
    if len(text) > MAX_TEXT_LENGTH:
        raise _invalid(text, f"{len(text)} characters are too long for a host name; at most {MAX_TEXT_LENGTH} are read")
    if text[0] == "(":
        return _parse_bluetooth(text)
    if ":" in text or text[0] == "[":
        return _parse_ipv6(text)
    if _IPV4_LOOK.fullmatch(text):
        return _parse_ipv4(text)
    return _parse_domain_name(text)


def _invalid(text: str, reason: str) -> OSError:
    return errors.invalid_argument(f"host name {shown(text)}: {reason}")


def _parse_bluetooth(text: str) -> HostText:
    if not _BLUETOOTH.fullmatch(text):
        raise _invalid(text, "a Bluetooth address has the form (AA:BB:CC:DD:EE:FF)")
    canonical = text.upper()
    return HostText(HostNameType.BLUETOOTH, canonical, canonical, canonical)


def _parse_ipv4(text: str) -> HostText:
    try:
        packed = socket.inet_pton(socket.AF_INET, text)
    except OSError:
        raise _invalid(
            text, "not an IPv4 address: four decimal numbers from 0 to 255 without leading zeros are needed"
        ) from None
    canonical = socket.inet_ntop(socket.AF_INET, packed)
    return HostText(HostNameType.IPV4, canonical, canonical, canonical)


def _parse_ipv6(text: str) -> HostText:
    inner = text
    if inner[0] == "[":
        if inner[-1] != "]":
            raise _invalid(text, "the bracket is not closed; ports are given apart from the host name")
        inner = inner[1:-1]
    address, percent, scope = inner.partition("%")
    if not _IPV6_DIGITS.fullmatch(address):
        raise _invalid(text, "not an IPv6 address; ports are given apart from the host name")
    try:
        packed = socket.inet_pton(socket.AF_INET6, address)
    except OSError:
        raise _invalid(text, "not an IPv6 address") from None
    if percent and not _is_scope(scope):
        raise _invalid(text, "after % the name of an interface or its number is needed")
    canonical = socket.inet_ntop(socket.AF_INET6, packed) + percent + scope
    return HostText(HostNameType.IPV6, canonical, canonical, canonical)


def _is_scope(scope: str) -> bool:
    if not _SCOPE.fullmatch(scope):
        return False
    return not scope.isdecimal() or int(scope) <= _MAX_SCOPE_ID


def _parse_domain_name(text: str) -> HostText:
    mapped = text.lower() if text.isascii() else _map(text)
    absolute = mapped.endswith(".")
    labels = [_parse_label(text, label) for label in mapped.removesuffix(".").split(".")]
    canonical = ".".join(ascii_label for ascii_label, _ in labels)
    if len(canonical) > MAX_NAME_LENGTH:
        raise _invalid(text, f"{len(canonical)} octets are too long for a DNS name; at most {MAX_NAME_LENGTH} fit")
    if _NUMBER_LABEL.fullmatch(labels[-1][0]):
        raise _invalid(text, "the last label is a number, so this would be read as an IPv4 address, and it is none")
    display = ".".join(unicode_label for _, unicode_label in labels)
    return HostText(HostNameType.DOMAIN_NAME, canonical, display, canonical + "." if absolute else canonical)


def _map(text: str) -> str:
    """The mapping of UTS #46: case, width, the four kinds of dots, characters that vanish."""
    try:
        return idna.uts46_remap(text, std3_rules=False, transitional=False)
    except ValueError as error:  # IDNAError is one
        raise _invalid(text, f"not a name by the rules of IDNA: {error}") from None


def _parse_label(text: str, label: str) -> tuple[str, str]:
    """One label in its ASCII and in its Unicode form."""
    if not label:
        raise _invalid(text, "a label between dots is empty")
    if label.isascii() and not label.startswith(_A_LABEL_PREFIX):
        if not _LDH_LABEL.fullmatch(label):
            raise _invalid(text, _what_is_wrong(label))
        return label, label
    try:
        unicode_label = idna.ulabel(label) if label.isascii() else label
        ascii_label = idna.alabel(unicode_label).decode("ascii")
    except ValueError as error:  # IDNAError is one
        raise _invalid(text, f"label {shown(label)} breaks the rules of IDNA: {error}") from None
    if label.isascii() and ascii_label != label:
        raise _invalid(text, f"label {shown(label)} is not the canonical encoding of {shown(unicode_label)}")
    return ascii_label, unicode_label


def _what_is_wrong(label: str) -> str:
    if len(label) > MAX_LABEL_LENGTH:
        return f"label {shown(label)} has {len(label)} octets; at most {MAX_LABEL_LENGTH} fit"
    for character in label:
        if not (character.isalnum() or character in "-_"):
            return f"character {character!r} is not allowed"
    return f"label {shown(label)} starts or ends with a hyphen"
