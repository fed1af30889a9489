from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from tests.certificates.bad_certificates import root
from tests.certificates.certificate_factory import CA_EXTENSIONS, ec_key, make, make_server, server_extensions

from moorings.certificates.name_constraints import NameBudget, violates_name_constraints
from moorings.certificates.parsed import parse

DNS, MAIL, URI = x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier


def net(text: str) -> x509.GeneralName:
    return x509.IPAddress(ip_network(text))


def address(text: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(text))


def violates(
    names: list[x509.GeneralName],
    permitted: list[x509.GeneralName] | None = None,
    excluded: list[x509.GeneralName] | None = None,
) -> bool:
    constraints = x509.NameConstraints(permitted or None, excluded or None)
    authority = make("Constrained", root(), key=ec_key(3), extensions=(*CA_EXTENSIONS, (constraints, True)))
    extensions = (*server_extensions()[:-1], (x509.SubjectAlternativeName(names), False))
    server = make_server(authority, extensions=extensions)
    return violates_name_constraints([parse(server.der), parse(authority.der)], NameBudget())


@pytest.mark.parametrize(
    ("name", "tree", "is_inside"),
    [
        (DNS("a.example"), DNS("a.example"), True),
        (DNS("b.A.example"), DNS("a.EXAMPLE"), True),
        (DNS("ba.example"), DNS("a.example"), False),
        (DNS("a.example"), DNS(".a.example"), False),
        (DNS("b.a.example"), DNS(".a.example"), True),
        (DNS("a.example"), DNS(""), True),
        (DNS("*.a.example"), DNS("a.example"), True),
        (address("192.0.2.7"), net("192.0.2.0/24"), True),
        (address("198.51.100.7"), net("192.0.2.0/24"), False),
        (address("2001:db8::1"), net("2001:db8::/32"), True),
        (address("2001:db8::1"), net("192.0.2.0/24"), False),
        (MAIL("a@b.example"), MAIL("b.example"), True),
        (MAIL("a@c.b.example"), MAIL("b.example"), False),
        (MAIL("a@c.b.example"), MAIL(".b.example"), True),
        (MAIL("a@b.example"), MAIL("a@b.example"), True),
        (MAIL("A@b.example"), MAIL("a@b.example"), False),
        (URI("https://b.example/x"), URI("b.example"), True),
        (URI("https://user@b.example:443/x"), URI("b.example"), True),
        (URI("https://a.b.example/x"), URI("b.example"), False),
        (URI("https://a.b.example/x"), URI(".b.example"), True),
    ],
)
def test_one_name_and_one_constraint(name: x509.GeneralName, tree: x509.GeneralName, is_inside: bool) -> None:
    assert violates([name], permitted=[tree]) == (not is_inside)
    assert violates([name], excluded=[tree]) == is_inside


@pytest.mark.parametrize("name", [URI("urn:x:y"), URI("https://"), x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))])
def test_what_cannot_be_compared_violates(name: x509.GeneralName) -> None:
    tree = name if isinstance(name, x509.RegisteredID) else URI("b.example")
    assert violates([name], permitted=[tree])
    assert violates([name], excluded=[tree])


def test_other_kinds_are_not_constrained() -> None:
    assert not violates([DNS("a.example"), address("192.0.2.1")], permitted=[MAIL("b.example")])


def test_excluded_wins_over_permitted() -> None:
    assert violates([DNS("x.a.example")], [DNS("a.example")], [DNS("x.a.example")])
    assert not violates([DNS("y.a.example")], [DNS("a.example")], [DNS("x.a.example")])


def test_address_in_the_subject_counts_without_alternative_names() -> None:
    constraints = x509.NameConstraints(None, [MAIL("b.example")])
    authority = make("Constrained", root(), key=ec_key(3), extensions=(*CA_EXTENSIONS, (constraints, True)))
    subject = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@b.example")])
    leaf = make(subject, authority, extensions=server_extensions()[:-1], key=ec_key(9))
    assert violates_name_constraints([parse(leaf.der), parse(authority.der)], NameBudget())
