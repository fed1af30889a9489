from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from tests.certificates.bad_certificates import root
from tests.certificates.certificate_factory import CA_EXTENSIONS, ec_key, make, make_server, server_extensions

from moorings.certificates.parsed import parse
from moorings.certificates.policies import violates_policies

A, B = "1.3.6.1.4.1.57264.1", "1.3.6.1.4.1.57264.2"
ANY = "2.5.29.32.0"


def has(*oids: str) -> x509.CertificatePolicies:
    return x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(oid), None) for oid in oids])


def demands(skip: int = 0, mapping: int | None = None) -> x509.PolicyConstraints:
    return x509.PolicyConstraints(require_explicit_policy=skip, inhibit_policy_mapping=mapping)


def maps(*pairs: tuple[str, str]) -> x509.UnrecognizedExtension:
    def value(tag: int, contents: bytes) -> bytes:
        return bytes((tag, len(contents))) + contents

    def octets(oid: str) -> bytes:
        # The builder of certificates encodes it: take it out of a policy.
        return has(oid).public_bytes()[4:]

    return x509.UnrecognizedExtension(
        x509.ObjectIdentifier("2.5.29.33"),
        value(0x30, b"".join(value(0x30, octets(first) + octets(second)) for first, second in pairs)),
    )


def violates(leaf: list[Any], *authorities: list[Any]) -> bool:
    """Authorities from the top down; the root is left out, as for the validator."""
    path = [root()]
    for number, extra in enumerate(authorities):
        extensions = (*CA_EXTENSIONS, *((extension, False) for extension in extra))
        path.append(make(f"Authority {number}", path[-1], key=ec_key(3 + number), extensions=extensions))
    extensions = (*server_extensions(), *((extension, False) for extension in leaf))
    path.append(make_server(path[-1], extensions=extensions))
    return violates_policies([parse(made.der) for made in reversed(path[1:])])


@pytest.mark.parametrize(
    ("expected", "leaf", "authorities"),
    [
        (False, [], [[]]),
        (False, [has(A)], [[has(A), demands()]]),
        (True, [], [[has(A), demands()]]),
        (True, [has(B)], [[has(A), demands()]]),
        (True, [has(A)], [[demands()]]),
        (False, [has(A)], [[has(ANY), demands()]]),
        (False, [has(ANY)], [[has(A), demands()]]),
        (True, [has(ANY)], [[has(A), demands(), x509.InhibitAnyPolicy(0)]]),
        (False, [has(ANY)], [[has(A), demands(), x509.InhibitAnyPolicy(1)]]),
        (False, [], [[demands(2)]]),
        (True, [], [[demands(1)], []]),
        (True, [], [[demands(0)], []]),
        (True, [demands(0)], [[]]),
        (False, [demands(1)], [[]]),
        (False, [has(B)], [[has(A), demands(), maps((A, B))]]),
        (True, [has(A)], [[has(A), demands(), maps((A, B))]]),
        (True, [has(B)], [[has(A), demands(0, 0)], [has(A), maps((A, B))]]),
        (True, [has(A)], [[has(A), maps((A, ANY))]]),
        (True, [has(A)], [[has(A), x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.33"), b"\x04\x00")]]),
    ],
)
def test_policies(expected: bool, leaf: list[Any], authorities: list[list[Any]]) -> None:
    assert violates(leaf, *authorities) == expected
