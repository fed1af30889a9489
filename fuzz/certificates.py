"""Fuzz target: any octets are a certificate, a list or an answer about one, or refused with a reason."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from moorings.certificates.certificate import Certificate
from moorings.certificates.der import DerError, name_attributes, oid_pairs, text_of_string
from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.trust import TrustAnchors
from moorings.certificates.validation import find_errors
from moorings.errors import CodedError

_CORPUS = Path(__file__).parent / "corpus" / "certificates"
_ROOT, _LEAF = ((_CORPUS / name).read_bytes() for name in ("root.der", "leaf.der"))
_ANCHORS = TrustAnchors(certificates=[_ROOT])
#: When the certificates of the corpus are valid.
_MOMENT = datetime(2030, 6, 1, tzinfo=UTC)
_NAMES = ("server.moorings.example", "192.0.2.1")


def one_input(data: bytes) -> None:
    """Take octets as a server's certificate, as an authority, as a list of revocations, as an answer, as a file."""
    for leaf, others, crls, answer in (
        (data, (_LEAF,), (), None),
        (_LEAF, (data,), (), None),
        (_LEAF, (), (data,), None),
        (_LEAF, (), (), data),
    ):
        found = find_errors(
            leaf,
            others,
            server_name=_NAMES[len(data) % 2],
            anchors=_ANCHORS,
            now=_MOMENT,
            crls=crls,
            ocsp_response=answer,
            check_revocation=True,
        )
        assert list(found) == sorted(set(found))
        assert ChainValidationResult.SUCCESS not in found
    try:
        certificate = Certificate(data)
    except CodedError:
        pass
    else:
        _read_all(certificate)
    for parser in (name_attributes, oid_pairs, text_of_string):
        try:
            parser(data)
        except DerError:
            continue


def _read_all(certificate: Certificate) -> None:
    for name in dir(Certificate):
        if not name.startswith("_"):
            getattr(certificate, name)
    repr(certificate)
    bytes(certificate.get_hash_value("SHA256"))
