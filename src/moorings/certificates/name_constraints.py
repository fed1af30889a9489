"""Whether the names below an authority are among those it may certify (RFC 5280 section 4.2.1.10).

A kind of name that this module cannot compare violates a constraint on that kind: what is not understood is refused.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from moorings.certificates.der import DerError, name_key
from moorings.certificates.parsed import LIBRARY_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moorings.certificates.parsed import ParsedCertificate

__all__ = ["violates_name_constraints"]

#: Comparisons of one name with one constraint, for one path; a chain that needs more is refused.
NAME_COMPARISONS_LIMIT: Final = 100_000


class _Budget:
    """Counts comparisons, so that many names times many constraints end."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = NAME_COMPARISONS_LIMIT

    def spend(self, count: int) -> bool:
        self.left -= count
        return self.left >= 0


def violates_name_constraints(path: Sequence[ParsedCertificate]) -> bool:
    """Whether a certificate of *path* (leaf first) has a name that one above it excludes or does not permit."""
    budget = _Budget()
    for position, authority in enumerate(path):
        constraints = authority.extension(x509.NameConstraints)
        if constraints is None:
            continue
        for below, certificate in enumerate(path[:position]):
            if below and certificate.is_self_issued:
                continue
            if any(not _permits(constraints, name, budget) for name in _names(certificate)):
                return True
    return False


def _names(certificate: ParsedCertificate) -> Iterator[x509.GeneralName]:
    """The subject (unless it is empty), e-mail addresses in it, and all alternative names."""
    try:
        subject = certificate.x509.subject
    except LIBRARY_ERRORS:
        subject = x509.Name([])
    if subject.rdns:
        yield x509.DirectoryName(subject)
    alternative = certificate.extension(x509.SubjectAlternativeName)
    if alternative is not None:
        yield from alternative
        return
    for attribute in subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
        try:
            yield x509.RFC822Name(str(attribute.value))
        except ValueError:
            continue


def _permits(constraints: x509.NameConstraints, name: x509.GeneralName, budget: _Budget) -> bool:
    permitted = [tree for tree in constraints.permitted_subtrees or () if type(tree) is type(name)]
    excluded = [tree for tree in constraints.excluded_subtrees or () if type(tree) is type(name)]
    if not permitted and not excluded:
        return True
    if not budget.spend(len(permitted) + len(excluded)):
        return False
    inside = _COMPARISONS.get(type(name))
    if inside is None:
        return False
    try:
        if any(inside(name.value, tree.value) for tree in excluded):
            return False
        return not permitted or any(inside(name.value, tree.value) for tree in permitted)
    except (*LIBRARY_ERRORS, DerError):
        return False


def _dns_inside(name: str, tree: str) -> bool:
    """The name is the constraint, or ends with it at a label; a wildcard stands for what it may become."""
    name, tree = name.lower().rstrip("."), tree.lower().rstrip(".")
    if not tree:
        return True
    if tree.startswith("."):
        return name.endswith(tree)
    return name == tree or name.endswith("." + tree)


def _host_inside(host: str, tree: str) -> bool:
    """Hosts of addresses and locators: a constraint with a leading dot is for subdomains, one without for that host."""
    host, tree = host.lower().rstrip("."), tree.lower()
    return host.endswith(tree) if tree.startswith(".") else host == tree


def _mail_inside(name: str, tree: str) -> bool:
    local, at, host = name.rpartition("@")
    if not at:
        raise ValueError("an address without host cannot be compared")
    tree_local, tree_at, tree_host = tree.rpartition("@")
    if tree_at:
        return local == tree_local and host.lower() == tree_host.lower()
    return _host_inside(host, tree)


def _locator_inside(name: str, tree: str) -> bool:
    host = urlsplit(name).hostname
    if not host:
        raise ValueError("a locator without host cannot be compared")
    return _host_inside(host, tree)


def _address_inside(name: Any, tree: Any) -> bool:
    if isinstance(name, ipaddress.IPv4Network | ipaddress.IPv6Network):
        raise ValueError("a network is no name of a server")
    return name.version == tree.version and name in tree


def _directory_inside(name: x509.Name, tree: x509.Name) -> bool:
    whole, start = name_key(name.public_bytes()), name_key(tree.public_bytes())
    return whole[: len(start)] == start


_COMPARISONS: Final[dict[type[x509.GeneralName], Any]] = {
    x509.DNSName: _dns_inside,
    x509.RFC822Name: _mail_inside,
    x509.UniformResourceIdentifier: _locator_inside,
    x509.IPAddress: _address_inside,
    x509.DirectoryName: _directory_inside,
}
