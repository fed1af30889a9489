"""The offline validator: all that is wrong with a server's (or client's) certificate, and not only the first thing.

Theory of operation
-------------------
`PathSearch` finds the ways from the certificate to a root. Each way is judged by all the rules of RFC 5280 and of a TLS
server's certificate, and its findings are gathered without stopping at one. The best way counts: one without findings,
else the one with the mildest. So a server with two chains, one of which has expired, is fine, as it is for OpenSSL.

The verdict follows OpenSSL's at security level 2 without X509_V_FLAG_X509_STRICT and with X509_V_FLAG_PARTIAL_CHAIN (a
trusted certificate ends a chain, self-signed or not). Stricter than OpenSSL: an authority needs basic constraints
unless it is a root, policies are always checked, and the common name is never a server's name.

`find_errors` makes no connection, reads no file but those of the trust anchors, and ends soon whatever it is given: see
the limits in `path_building`, `parsed`, `name_constraints`, `policies` and `revocation`.

Sources: RFC 5280; RFC 9525; openssl-verification-options(1); CA/Browser Forum Baseline Requirements.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.libraries import require
from moorings.certificates.verify_codes import (
    IGNORABLE,
    hresult_of,
    result_of_verify_code,
    severity_of,
    sorted_results,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moorings.certificates.judging import Judgement
    from moorings.certificates.parsed import ParsedCertificate
    from moorings.certificates.trust import TrustAnchors

__all__ = ["IGNORABLE", "find_errors", "find_path", "hresult_of", "result_of_verify_code", "severity_of"]

#: Certificates that a peer may send besides its own.
INTERMEDIATES_LIMIT: Final = 64

Purpose = Literal["server", "client", "any"]


def find_errors(
    leaf_der: bytes,
    intermediates_der: Sequence[bytes],
    *,
    server_name: str | None,
    anchors: TrustAnchors,
    now: datetime | None = None,
    purpose: Purpose = "server",
    crls: Sequence[bytes] = (),
    ocsp_response: bytes | None = None,
    check_revocation: bool = False,
) -> tuple[ChainValidationResult, ...]:
    """All errors of a certificate, each once, in the order of their numbers; empty where there is none.

    *intermediates_der* are the certificates the peer sent besides its own, in any order. *server_name* is a DNS name or
    an address; None checks no name. *now* defaults to the present; a naive one is local time. *purpose* "any" checks no
    usage. With *check_revocation* the certificate must be answered for by *crls* (DER) or *ocsp_response* (DER, as
    stapled); without it both are ignored.

    Octets that are no certificate give OTHER_ERRORS; nothing that a peer sends raises. Errors: ERROR_NOT_SUPPORTED
    0x80070032 without the extra `tls`; what the anchors raise when they cannot be read.
    """
    path = find_path(
        leaf_der,
        intermediates_der,
        server_name=server_name,
        anchors=anchors,
        now=now,
        purpose=purpose,
        crls=crls,
        ocsp_response=ocsp_response,
        check_revocation=check_revocation,
    )
    return path.errors


def find_path(
    leaf_der: bytes,
    intermediates_der: Sequence[bytes],
    *,
    server_name: str | None,
    anchors: TrustAnchors,
    now: datetime | None = None,
    purpose: Purpose = "server",
    crls: Sequence[bytes] = (),
    ocsp_response: bytes | None = None,
    check_revocation: bool = False,
) -> Judgement:
    """The best path, with its errors: `find_errors` with the certificates (leaf first) beside them."""
    require("validating a certificate")
    from moorings.certificates.judging import Judgement, Rules, judge  # noqa: PLC0415 (needs cryptography)
    from moorings.certificates.parsed import MalformedCertificateError, parse  # noqa: PLC0415

    moment = datetime.now(UTC) if now is None else now.astimezone(UTC)
    rules = Rules(moment, server_name, purpose, bool(intermediates_der), check_revocation, tuple(crls), ocsp_response)
    extra: set[ChainValidationResult] = set()
    try:
        leaf = parse(leaf_der)
    except MalformedCertificateError:
        return Judgement((), (ChainValidationResult.OTHER_ERRORS,), is_trusted=False)
    if len(intermediates_der) > INTERMEDIATES_LIMIT:
        extra.add(ChainValidationResult.OTHER_ERRORS)
    intermediates: list[ParsedCertificate] = []
    for der in intermediates_der[:INTERMEDIATES_LIMIT]:
        try:
            intermediates.append(parse(der))
        except MalformedCertificateError:
            extra.add(ChainValidationResult.OTHER_ERRORS)
    judgement = judge(leaf, intermediates, anchors, rules)
    if not extra:
        return judgement
    return judgement._replace(errors=sorted_results((*judgement.errors, *extra)))
