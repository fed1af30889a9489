"""The validator beyond the kinds of `bad_certificates`: arguments, purposes, and what a hostile server can do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.certificates.bad_certificates import R, intermediate, other_extensions, root, stranger
from tests.certificates.certificate_factory import (
    CA_EXTENSIONS,
    DAY,
    NOW,
    SERVER_NAME,
    Made,
    ec_key,
    key_usage,
    make,
    make_server,
    rsa_key,
    server_extensions,
)

from moorings.certificates import name_constraints, path_building
from moorings.certificates.parsed import CERTIFICATE_BYTES_LIMIT
from moorings.certificates.path_building import PATHS_LIMIT, SIGNATURE_CHECKS_LIMIT, PathSearch
from moorings.certificates.trust import TrustAnchors
from moorings.certificates.validation import INTERMEDIATES_LIMIT, find_errors, find_path


def found(leaf: Made | bytes, *others: Made | bytes, roots: tuple[Made, ...] = (), **options: Any) -> tuple[int, ...]:
    ders = [item.der if isinstance(item, Made) else item for item in (leaf, *others)]
    anchors = TrustAnchors(certificates=[made.der for made in roots or (root(),)])
    options.setdefault("server_name", SERVER_NAME)
    return find_errors(ders[0], ders[1:], anchors=anchors, **options)


# -- arguments -------------------------------------------------------------------------------------------------------


def test_moment() -> None:
    server = make_server(root())
    assert found(server, now=NOW + 299 * DAY) == ()
    assert found(server, now=NOW + 301 * DAY) == (R.EXPIRED,)
    assert found(server, now=(NOW + 301 * DAY).astimezone().replace(tzinfo=None)) == (R.EXPIRED,)
    assert found(server, now=datetime(1990, 1, 1, tzinfo=UTC)) == (R.EXPIRED,)
    assert found(server, now=server.certificate.not_valid_after_utc) == ()


def test_no_name_is_checked_without_one() -> None:
    assert found(make_server(root(), "other.example"), server_name=None) == ()


@pytest.mark.parametrize("name", ["", " ", "a b", "x" * 300, "..", "(01:23:45:67:89:AB)", "\0"])
def test_a_name_that_is_none_matches_nothing(name: str) -> None:
    assert found(make_server(root(), "*.moorings.example"), server_name=name) == (R.INVALID_NAME,)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_octets(kind: type) -> None:
    assert found(kind(make_server(root()).der)) == ()


@pytest.mark.parametrize(
    ("purpose", "usages", "expected"),
    [
        ("server", [ExtendedKeyUsageOID.SERVER_AUTH], ()),
        ("server", [ExtendedKeyUsageOID.CLIENT_AUTH], (R.WRONG_USAGE,)),
        ("server", [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE], (R.WRONG_USAGE,)),
        ("server", [x509.ObjectIdentifier("2.16.840.1.113730.4.1")], ()),
        ("client", [ExtendedKeyUsageOID.SERVER_AUTH], (R.WRONG_USAGE,)),
        ("client", [ExtendedKeyUsageOID.CLIENT_AUTH], ()),
        ("any", [ExtendedKeyUsageOID.CODE_SIGNING], ()),
    ],
)
def test_purposes(purpose: str, usages: list[x509.ObjectIdentifier], expected: tuple[int, ...]) -> None:
    server = make_server(root(), extensions=other_extensions(x509.ExtendedKeyUsage(usages)))
    assert found(server, purpose=purpose) == expected


@pytest.mark.parametrize(
    ("purpose", "usage", "expected"),
    [
        ("server", "key_encipherment", ()),
        ("client", "key_encipherment", (R.WRONG_USAGE,)),
        ("client", "key_agreement", ()),
        ("any", "crl_sign", ()),
    ],
)
def test_key_usages(purpose: str, usage: str, expected: tuple[int, ...]) -> None:
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    server = make_server(root(), extensions=other_extensions(key_usage(usage), usages))
    assert found(server, purpose=purpose) == expected


def test_ignoring_one_error_hides_no_other() -> None:
    server = make_server(None, "other.example", until=NOW - DAY, key=rsa_key(1024))
    assert found(server) == (R.UNTRUSTED, R.EXPIRED, R.INVALID_NAME, R.OTHER_ERRORS)


def test_the_path_that_was_judged() -> None:
    server = make_server(intermediate())
    anchors = TrustAnchors(certificates=[root().der])
    judged = find_path(server.der, [root().der, intermediate().der], server_name=None, anchors=anchors)
    assert [item.der for item in judged.path] == [server.der, intermediate().der, root().der]
    assert judged.is_trusted


def test_a_root_of_version_1_may_be_trusted() -> None:
    """Roots of the nineties have no extensions; others need basic constraints."""
    old = make("Old root", key=ec_key(3), extensions=(), key_identifiers=False)
    constrained = make("Old root", key=ec_key(3), extensions=server_extensions()[:1])
    assert found(make_server(constrained), roots=(constrained,)) == (R.BASIC_CONSTRAINTS_ERROR,)
    # Version 3 without any word is no authority; OpenSSL agrees.
    assert R.BASIC_CONSTRAINTS_ERROR in found(make_server(old), roots=(old,))


# -- which path ------------------------------------------------------------------------------------------------------


def test_a_trusted_end_is_better_than_another() -> None:
    """Crossed by a root that nobody knows, and by one that has expired: the one that is known counts."""
    strange = make("Crossed", stranger(), key=ec_key(4))
    old = make("Crossed", root(), key=ec_key(4), until=NOW - DAY)
    for sent in ((strange, old, stranger()), (stranger(), old, strange)):
        assert found(make_server(strange), *sent) == (R.EXPIRED,)


def test_an_ignorable_path_is_better_than_a_fatal_one() -> None:
    strange = make("Crossed", stranger(), key=ec_key(4))
    forbidden = make("Crossed", root(), key=ec_key(4), extensions=server_extensions())
    assert found(make_server(strange), forbidden, strange, stranger()) == (R.UNTRUSTED,)


def test_renewed_root_with_the_same_key() -> None:
    old = make("Renewed", key=ec_key(6), until=NOW - DAY)
    new = make("Renewed", key=ec_key(6))
    for roots in ((old, new), (new, old)):
        assert found(make_server(new), roots=roots) == ()


def test_names_of_authorities_match_without_case_and_blanks() -> None:
    authority = make("Case  and BLANKS", root(), key=ec_key(3))
    alias = make("case and blanks", root(), key=ec_key(3))
    assert found(make_server(alias), authority) == ()


# -- hostile servers -------------------------------------------------------------------------------------------------


def test_a_certificate_of_great_size() -> None:
    assert found(b"\x30" + bytes(CERTIFICATE_BYTES_LIMIT)) == (R.OTHER_ERRORS,)


def test_too_many_certificates() -> None:
    server = make_server(intermediate())
    assert found(server, *(intermediate(),) * INTERMEDIATES_LIMIT) == ()
    assert found(server, *(intermediate(),) * (INTERMEDIATES_LIMIT + 1)) == (R.OTHER_ERRORS,)


def crowd(layers: int, width: int) -> tuple[Made, list[Made]]:
    """Authorities crossed with each other: as many as *width* of each name, each signed by the same key above."""
    sent: list[Made] = []
    above: Made | None = None
    for layer in range(layers):
        row = [
            make(f"Layer {layer}", above, key=ec_key(200 + layer), since=NOW - (2 + number) * DAY)
            if above is not None
            else make("Layer 0", stranger(), key=ec_key(200), since=NOW - (2 + number) * DAY)
            for number in range(width)
        ]
        sent += row
        above = row[0]
    assert above is not None
    return make_server(above), sent


def test_many_paths_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 names of 8 certificates each are 4,096 paths; all of them end without a root."""
    server, sent = crowd(4, 8)
    searches: list[PathSearch] = []
    begin = PathSearch.__init__

    def watched(search: PathSearch, *arguments: Any) -> None:
        begin(search, *arguments)
        searches.append(search)

    monkeypatch.setattr(PathSearch, "__init__", watched)
    assert found(server, *sent) == (R.UNTRUSTED, R.OTHER_ERRORS)
    (search,) = searches
    assert search.exhausted
    assert len(search._signatures) <= SIGNATURE_CHECKS_LIMIT  # pyright: ignore[reportPrivateUsage]


def test_a_good_path_among_many_is_found_first() -> None:
    server, sent = crowd(3, 4)
    anchor = sent[-1]
    assert found(server, *sent, roots=(anchor,)) == ()


def test_signature_checks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many who have the issuer's name and not its key: each must be tried, up to a limit."""
    monkeypatch.setattr(path_building, "SIGNATURE_CHECKS_LIMIT", 5)
    impostors = [make("Common name", root(), key=ec_key(300 + n), key_identifiers=False) for n in range(8)]
    real = make("Common name", root(), key=ec_key(3), key_identifiers=False)
    server = make_server(real, key_identifiers=False)
    assert R.OTHER_ERRORS in found(server, *impostors, real)
    monkeypatch.undo()
    assert found(server, *impostors, real) == ()


def test_steps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that may look at any number of paths still ends."""
    server, sent = crowd(3, 3)
    monkeypatch.setattr(path_building, "PATHS_LIMIT", 10**9)
    assert found(server, *sent) == (R.UNTRUSTED,)
    monkeypatch.setattr(path_building, "SEARCH_STEPS_LIMIT", 20)
    assert found(server, *sent) == (R.UNTRUSTED, R.OTHER_ERRORS)


def test_the_first_path_is_within_the_limits() -> None:
    assert PATHS_LIMIT < 8**4
    assert path_building.PATH_LENGTH_LIMIT < path_building.SEARCH_STEPS_LIMIT


def test_authorities_that_vouch_for_each_other() -> None:
    """A circle: each issued the other."""
    first = make("First", make("Second", key=ec_key(4)), key=ec_key(3))
    second = make("Second", make("First", key=ec_key(3)), key=ec_key(4))
    assert found(make_server(first), first, second) == (R.UNTRUSTED,)


def test_names_times_constraints_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    trees = [x509.DNSName(f"d{number}.example") for number in range(40)]
    constraints = x509.NameConstraints(None, trees)
    authority = make("Many", root(), key=ec_key(3), extensions=(*CA_EXTENSIONS, (constraints, True)))
    server = make_server(authority, SERVER_NAME, *(f"s{number}.other.example" for number in range(40)))
    assert found(server, authority) == ()
    monkeypatch.setattr(name_constraints, "NAME_COMPARISONS_LIMIT", 1000)
    assert found(server, authority) == (R.OTHER_ERRORS,)
