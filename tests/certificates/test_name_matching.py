"""Names of servers, beside what the package service-identity says about them."""

from __future__ import annotations

import pytest
from service_identity import VerificationError
from service_identity.cryptography import verify_certificate_hostname
from service_identity.exceptions import CertificateError
from tests.certificates.bad_certificates import root
from tests.certificates.certificate_factory import make_server

from moorings.certificates.name_matching import matches_name
from moorings.certificates.parsed import parse

PAIRS = [
    ("a.example.org", "a.example.org", True),
    ("A.EXAMPLE.org", "a.example.ORG", True),
    ("a.example.org", "a.example.org.", True),
    ("a.example.org", "b.example.org", False),
    ("example.org", "a.example.org", False),
    ("*.example.org", "a.example.org", True),
    ("*.example.org", "example.org", False),
    ("*.example.org", "a.b.example.org", False),
    ("*.org", "example.org", False),
    ("*", "localhost", False),
    ("*.*.org", "a.example.org", False),
    ("a*.example.org", "ab.example.org", False),
    ("a.*.org", "a.example.org", False),
    ("xn--mnchen-3ya.example", "münchen.example", True),
    ("a_b.example.org", "a_b.example.org", True),
]


@pytest.mark.parametrize(("presented", "wanted", "expected"), PAIRS)
def test_pairs(presented: str, wanted: str, expected: bool) -> None:
    made = make_server(root(), presented)
    assert matches_name(parse(made.der), wanted) == expected
    try:
        verify_certificate_hostname(made.certificate, wanted.rstrip("."))
    except (VerificationError, CertificateError):
        assert not expected
    else:
        assert expected


def test_a_wildcard_stands_for_names_in_other_scripts_too() -> None:
    """RFC 9525 section 6.3 has it so, as browsers and OpenSSL do; service-identity refuses it."""
    assert matches_name(parse(make_server(root(), "*.example.org").der), "münchen.example.org")


def test_one_odd_name_does_not_spoil_the_others() -> None:
    certificate = parse(make_server(root(), "a*b*.example.org", "\0", "a b", "good.example.org").der)
    assert matches_name(certificate, "good.example.org")


@pytest.mark.parametrize("name", ["*.example.org", ".example.org", "a..example.org", "a.example.org\0.evil.example"])
def test_patterns_are_no_names(name: str) -> None:
    assert not matches_name(parse(make_server(root(), "*.example.org").der), name)
