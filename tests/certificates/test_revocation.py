from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.certificates.bad_certificates import R, intermediate, ocsp_answer, other_extensions, root
from tests.certificates.certificate_factory import DAY, NOW, SERVER_NAME, Made, ec_key, make_crl, make_server

from moorings.certificates.revocation import CRLS_LIMIT, OCSP_BYTES_LIMIT
from moorings.certificates.trust import TrustAnchors
from moorings.certificates.validation import find_errors

GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN
MISSING, FAILURE = (R.REVOCATION_INFORMATION_MISSING,), (R.REVOCATION_FAILURE,)


@pytest.fixture(scope="module")
def server() -> Made:
    return make_server(root())


def found(server: Made, *sent: Made, **options: Any) -> tuple[int, ...]:
    anchors = TrustAnchors(certificates=[root().der])
    others = [made.der for made in sent]
    options.setdefault("check_revocation", True)
    return find_errors(server.der, others, server_name=SERVER_NAME, anchors=anchors, **options)


def listed(
    made: Made, *, reason: x509.ReasonFlags | None = None, extension: Any = None, critical: bool = True
) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(root().certificate.subject)
    builder = builder.last_update(NOW - DAY).next_update(NOW + DAY)
    entry = x509.RevokedCertificateBuilder().serial_number(made.certificate.serial_number).revocation_date(NOW - DAY)
    if reason is not None:
        entry = entry.add_extension(x509.CRLReason(reason), critical=False)
    builder = builder.add_revoked_certificate(entry.build())
    if extension is not None:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(root().key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def point(**options: Any) -> x509.IssuingDistributionPoint:
    values = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**(values | options))  # type: ignore[arg-type]


def test_off_by_default(server: Made) -> None:
    answer = ocsp_answer(server, root(), REVOKED)
    assert found(server, crls=(listed(server),), ocsp_response=answer, check_revocation=False) == ()


# -- lists -------------------------------------------------------------------------------------------------------------


def test_taken_back(server: Made) -> None:
    assert found(server, crls=(listed(server, reason=x509.ReasonFlags.key_compromise),)) == (R.REVOKED,)
    assert found(server, crls=(listed(server, reason=x509.ReasonFlags.remove_from_crl),)) == ()


@pytest.mark.parametrize(
    ("extension", "expected"),
    [
        (point(only_contains_user_certs=True), (R.REVOKED,)),
        (point(only_contains_ca_certs=True), MISSING),
        (point(full_name=[x509.UniformResourceIdentifier("http://lists.example/other")]), MISSING),
        (point(indirect_crl=True), FAILURE),
        (x509.DeltaCRLIndicator(1), FAILURE),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), FAILURE),
    ],
)
def test_extensions_of_lists(server: Made, extension: Any, expected: tuple[int, ...]) -> None:
    assert found(server, crls=(listed(server, extension=extension),)) == expected


def test_the_list_of_its_own_distribution_point() -> None:
    place = x509.UniformResourceIdentifier("http://lists.example/1")
    points = x509.CRLDistributionPoints([x509.DistributionPoint([place], None, None, None)])
    server = make_server(root(), extensions=other_extensions(points))
    assert found(server, crls=(listed(server, extension=point(full_name=[place])),)) == (R.REVOKED,)


def test_a_list_of_somebody_else_says_nothing(server: Made) -> None:
    assert found(server, crls=(make_crl(intermediate(), server),)) == MISSING


def test_a_good_list_heals_a_bad_one(server: Made) -> None:
    old = make_crl(root(), since=NOW - 3 * DAY, until=NOW - DAY)
    assert found(server, crls=(old,)) == FAILURE
    assert found(server, crls=(old, make_crl(root()), b"garbage")) == ()
    assert found(server, crls=(old, make_crl(root(), server))) == (R.REVOKED,)


def test_garbage_and_too_many(server: Made) -> None:
    assert found(server, crls=(b"garbage",)) == FAILURE
    assert found(server, crls=(make_crl(intermediate()),) * (CRLS_LIMIT + 1)) == FAILURE


# -- OCSP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "expected"), [(GOOD, ()), (REVOKED, (R.REVOKED,)), (UNKNOWN, FAILURE)])
def test_answers(server: Made, status: ocsp.OCSPCertStatus, expected: tuple[int, ...]) -> None:
    assert found(server, ocsp_response=ocsp_answer(server, root(), status)) == expected


def test_a_responder_of_the_issuer(server: Made) -> None:
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
    signer = make_server(root(), "responder.example", key=ec_key(8), extensions=other_extensions(usages))
    assert found(server, ocsp_response=ocsp_answer(server, root(), GOOD, signer=signer)) == ()
    expired = make_server(
        root(), "responder.example", key=ec_key(8), extensions=other_extensions(usages), until=NOW - DAY
    )
    assert found(server, ocsp_response=ocsp_answer(server, root(), GOOD, signer=expired)) == FAILURE


def test_a_responder_without_that_right(server: Made) -> None:
    signer = make_server(root(), "responder.example", key=ec_key(8))
    assert found(server, ocsp_response=ocsp_answer(server, root(), GOOD, signer=signer)) == FAILURE
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
    stranger = make_server(None, "responder.example", key=ec_key(8), extensions=other_extensions(usages))
    assert found(server, ocsp_response=ocsp_answer(server, root(), GOOD, signer=stranger)) == FAILURE


def test_an_answer_about_another(server: Made) -> None:
    other = make_server(root(), "other.example")
    assert found(server, ocsp_response=ocsp_answer(other, root(), GOOD)) == FAILURE


def test_an_old_answer(server: Made) -> None:
    answer = ocsp_answer(server, root(), GOOD)
    assert found(server, ocsp_response=answer, now=NOW + 2 * DAY) == FAILURE


@pytest.mark.parametrize("answer", [b"", b"garbage", bytes(OCSP_BYTES_LIMIT + 1)])
def test_no_answer(server: Made, answer: bytes) -> None:
    assert found(server, ocsp_response=answer) == FAILURE


def test_an_unsuccessful_answer(server: Made) -> None:
    status = ocsp.OCSPResponseStatus.TRY_LATER
    answer = ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(serialization.Encoding.DER)
    assert found(server, ocsp_response=answer) == FAILURE


def test_revoked_by_either(server: Made) -> None:
    good = ocsp_answer(server, root(), GOOD)
    assert found(server, ocsp_response=good, crls=(make_crl(root(), server),)) == (R.REVOKED,)


def test_the_leaf_alone_needs_an_answer() -> None:
    server = make_server(intermediate())
    answer = ocsp_answer(server, intermediate(), GOOD)
    assert found(server, intermediate(), ocsp_response=answer) == ()
    assert found(server, intermediate()) == MISSING
