"""Whether a certificate is for a server of a given name.

Names are the DNS names and addresses of the subject alternative name; the common name never counts. A wildcard is a
whole left-most label, stands for exactly one label, and needs two more behind it. Source: RFC 9525 section 6.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from cryptography import x509

from moorings import errors
from moorings.names.enums import HostNameType
from moorings.names.host_text import parse_host_text

if TYPE_CHECKING:
    from moorings.certificates.parsed import ParsedCertificate

__all__ = ["matches_name"]

#: What a DNS name in a certificate may look like; NUL, blanks and non-ASCII letters match nothing.
_PRESENTED: Final = re.compile(r"(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?\Z")
_WILDCARD_LABELS: Final = 3


def matches_name(certificate: ParsedCertificate, server_name: str) -> bool:
    """Whether the certificate names *server_name*: a DNS name (also in Unicode), or an IP address.

    A text that is neither matches nothing.
    """
    alternative = certificate.extension(x509.SubjectAlternativeName)
    if alternative is None:
        return False
    try:
        text = parse_host_text(server_name)
    except errors.CodedError:
        return False
    if text.type in {HostNameType.IPV4, HostNameType.IPV6}:
        address = ipaddress.ip_address(text.canonical.partition("%")[0])
        return address in alternative.get_values_for_type(x509.IPAddress)
    if text.type is not HostNameType.DOMAIN_NAME:
        return False
    return any(_matches(name, text.canonical) for name in alternative.get_values_for_type(x509.DNSName))


def _matches(presented: str, wanted: str) -> bool:
    if _PRESENTED.match(presented) is None:
        return False
    presented = presented.lower().rstrip(".")
    wanted = wanted.rstrip(".")
    if not presented.startswith("*."):
        return presented == wanted
    label, _, rest = wanted.partition(".")
    return bool(label) and presented.count(".") + 1 >= _WILDCARD_LABELS and rest == presented[2:]
