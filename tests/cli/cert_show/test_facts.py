"""What is said of a certificate, whatever it is."""

from __future__ import annotations

import hashlib
import json
import subprocess
from base64 import b64encode
from datetime import timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID
from tests.certificates.bad_certificates import KINDS
from tests.certificates.bad_certificates import make as make_bad
from tests.certificates.certificate_factory import DAY, NOW, ec_key, make, make_server, rsa_key, server_extensions
from tests.sockets.tls_servers import trusts

from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.trust import TrustAnchors
from moorings.cli.cert_show.facts import MEANINGS, days_until, describe, judge, roles


def test_a_certificate_as_openssl_reads_it() -> None:
    root = make("Root")
    made = make_server(root)
    facts = describe(made.der, "its own", NOW)
    printed = subprocess.run(
        [
            "openssl",
            "x509",
            "-inform",
            "DER",
            "-noout",
            "-subject",
            "-serial",
            "-fingerprint",
            "-sha256",
            "-nameopt",
            "RFC2253",
        ],
        input=made.der,
        capture_output=True,
        check=True,
    ).stdout.decode()
    lines = dict(line.partition("=")[::2] for line in printed.splitlines())
    # RFC 2253 has the most important part first, and no space behind a comma.
    assert facts.subject.split(", ") == lines["subject"].split(",")[::-1]
    assert facts.serial.upper().lstrip("0") == lines["serial"].lstrip("0")
    assert facts.sha256 == lines["sha256 Fingerprint"].replace(":", "").lower()
    assert facts.issuer.endswith("CN=Root")
    assert (facts.key, facts.signature, facts.problem) == ("ECDSA_P256", "sha256ECDSA", "")
    assert facts.usages == ("server",)
    assert facts.key_usages == ("digital signature",)


def test_the_pin_is_that_of_the_public_key() -> None:
    made = make_server(make("Root"), key=rsa_key(2048))
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    wanted = b64encode(hashlib.sha256(made.key.public_key().public_bytes(*form)).digest()).decode()
    facts = describe(made.der, "its own", NOW)
    assert (facts.pin, facts.key) == (wanted, "RSA, 2048 bits")


def test_names_of_all_kinds() -> None:
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("*.example.com"),
            x509.DNSName("a, b"),
            x509.DNSName("x\x00.example\x1b[31m"),
            x509.IPAddress(ip_address("::1")),
            x509.RFC822Name("me@example.com"),
            x509.UniformResourceIdentifier("https://example.com/"),
        ]
    )
    made = make("all", None, extensions=((names, False),))
    assert describe(made.der, "", NOW).names == (
        "*.example.com",
        "'a, b'",
        "'x\\x00.example\\x1b[31m'",
        "IP ::1",
        "e-mail me@example.com",
        "URI https://example.com/",
    )


def test_names_of_subjects_cannot_be_taken_for_others() -> None:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "A, CN=b"),
            x509.NameAttribute(x509.ObjectIdentifier("1.3.6.1.4.1.57264.99.7"), "odd"),
            x509.NameAttribute(NameOID.COMMON_NAME, "c"),
        ]
    )
    facts = describe(make(name, None).der, "", NOW)
    assert facts.subject == r"O=A\, CN\=b, 1.3.6.1.4.1.57264.99.7=odd, CN=c"


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_certificates_are_described(kind: str) -> None:
    for der in make_bad(kind).chain:
        facts = describe(der, "its own", NOW)
        assert facts.sha256 == hashlib.sha256(der).hexdigest()
        assert bool(facts.problem) != bool(facts.pin)
        values = json.loads(json.dumps(facts.as_json()))
        assert ("problem" in values) == bool(facts.problem)
        assert "der" not in values


def test_roles() -> None:
    root = make("Root")
    middle = make("Middle", root, key=ec_key(3))
    server = make_server(middle)
    chain = [server.der, middle.der, root.der, server.der, b"no certificate"]
    assert roles(chain) == ["its own", "authority", "root", "other", "other"]
    assert roles([root.der]) == ["its own, self-signed"]


def test_days() -> None:
    assert [days_until(NOW + timedelta(hours=hours), NOW) for hours in (-25, -1, 1, 47)] == [-2, -1, 0, 1]


def test_the_first_certificate_on_the_way_that_expires_counts() -> None:
    root = make("Root")
    middle = make("Middle", root, key=ec_key(3), until=NOW + 3 * DAY)
    server = make_server(middle)
    found = judge([server.der, middle.der], TrustAnchors(certificates=[root.der]), server_name=None)
    assert (found.expires_in_days(NOW), found.is_trusted, found.errors) == (3, True, ())
    assert found.path[-1].endswith("CN=Root")
    assert found.as_json()["trusted_root"] == found.path[-1]


def test_nothing_that_can_be_read() -> None:
    found = judge([b"no certificate"], trusts(), server_name="localhost")
    assert (found.path, found.expires, found.expires_in_days(NOW)) == ((), None, None)
    assert found.severity == "FATAL"


def test_without_a_name_any_use_will_do() -> None:
    root = make("Root")
    client = make_server(root, extensions=(*server_extensions()[:2],))
    anchors = TrustAnchors(certificates=[root.der])
    assert judge([client.der], anchors, server_name=None).errors == ()
    assert judge([client.der], anchors, server_name="x.example").errors == (ChainValidationResult.INVALID_NAME,)


def test_every_error_has_a_meaning() -> None:
    assert set(MEANINGS) == set(ChainValidationResult) - {ChainValidationResult.SUCCESS}
