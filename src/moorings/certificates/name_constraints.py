"""Whether the names below an authority are among those it may certify (RFC 5280 section 4.2.1.10).

A kind of name that this module cannot compare violates a constraint on that kind: what is not understood is refused.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import NameOID

from moorings.certificates.der import name_key
from moorings.certificates.parsed import LIBRARY_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from moorings.certificates.der import NameKey
    from moorings.certificates.parsed import ParsedCertificate

__all__ = ["NameBudget", "violates_name_constraints"]

#: Names and constraints that are looked at and compared for one leaf; a chain that needs more is refused.
NAME_COMPARISONS_LIMIT: Final = 50_000


class NameBudget:
    """Counts the work for one leaf on all its paths, so that many names times many constraints end."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = NAME_COMPARISONS_LIMIT

    def spend(self, count: int) -> None:
        """Take this much work, or give up."""
        self.left -= count
        if self.left < 0:
            raise _TooMuchError


class _TooMuchError(Exception):
    """There are more names and constraints than anybody needs."""


class _Trees(NamedTuple):
    """The constraints of one authority by the kind of name, in a form that can be compared."""

    permitted: dict[type[Any], list[Any]]
    excluded: dict[type[Any], list[Any]]


def violates_name_constraints(path: Sequence[ParsedCertificate], budget: NameBudget) -> bool:
    """Whether a certificate of *path* (leaf first) has a name that one above it excludes or does not permit."""
    try:
        return any(_violates(path[:position], authority, budget) for position, authority in enumerate(path))
    except _TooMuchError:
        return True


def _violates(below: Sequence[ParsedCertificate], authority: ParsedCertificate, budget: NameBudget) -> bool:
    constraints = authority.extension(x509.NameConstraints)
    if constraints is None or not below:
        return False
    trees = _Trees(
        _by_kind(constraints.permitted_subtrees or (), budget), _by_kind(constraints.excluded_subtrees or (), budget)
    )
    return any(
        not _permits(trees, name, budget)
        for position, certificate in enumerate(below)
        if not position or not certificate.is_self_issued
        for name in _names(certificate)
    )


def _by_kind(subtrees: Sequence[x509.GeneralName], budget: NameBudget) -> dict[type[Any], list[Any]]:
    budget.spend(len(subtrees))
    found: dict[type[Any], list[Any]] = {}
    for tree in subtrees:
        found.setdefault(tree.__class__, []).append(_comparable(tree))
    return found


def _comparable(name: x509.GeneralName) -> Any:
    """The value of a name; None where it cannot be compared."""
    try:
        return name_key(name.value.public_bytes()) if isinstance(name, x509.DirectoryName) else name.value
    except LIBRARY_ERRORS:
        return None


def _names(certificate: ParsedCertificate) -> Iterator[x509.GeneralName]:
    """The subject (unless it is empty), all alternative names, or else the e-mail addresses in the subject."""
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


def _permits(trees: _Trees, name: x509.GeneralName, budget: NameBudget) -> bool:
    kind: type[Any] = name.__class__
    permitted, excluded = trees.permitted.get(kind, ()), trees.excluded.get(kind, ())
    budget.spend(1 + len(permitted) + len(excluded))
    if not permitted and not excluded:
        return True
    inside = _COMPARISONS.get(kind)
    value = _comparable(name)
    if inside is None or value is None or None in permitted or None in excluded:
        return False
    try:
        if any(inside(value, tree) for tree in excluded):
            return False
        return not permitted or any(inside(value, tree) for tree in permitted)
    except LIBRARY_ERRORS:
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


def _directory_inside(name: NameKey, tree: NameKey) -> bool:
    return name[: len(tree)] == tree


_COMPARISONS: Final[dict[type[x509.GeneralName], Any]] = {
    x509.DNSName: _dns_inside,
    x509.RFC822Name: _mail_inside,
    x509.UniformResourceIdentifier: _locator_inside,
    x509.IPAddress: _address_inside,
    x509.DirectoryName: _directory_inside,
}
