"""Revocation in handshakes: lists, staples, exact sets of errors, and that nothing goes out before they are known."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp
from OpenSSL import SSL
from tests.certificates.bad_certificates import KINDS, BadChain, bad, intermediate, make, ocsp_answer, root
from tests.certificates.certificate_factory import DAY, NOW, Made, make_crl, make_server
from tests.certificates.certificate_factory import make as make_certificate
from tests.certificates.openssl_oracle import _server_context
from tests.interop.test_tls_openssl import s_server
from tests.sockets.peers import plain_listener, port_of
from tests.sockets.test_tls_bad_certificates import shake_hands_as_server
from tests.sockets.tls_servers import LEVELS, client_identity, server_context, serving, trusting

import moorings
from moorings import RevocationCheck, errors
from moorings.certificates.enums import ChainValidationResult as R
from moorings.certificates.pem import to_pem
from moorings.certificates.trust import TrustAnchors
from moorings.certificates.validation import IGNORABLE, hresult_of
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import SocketProtectionLevel, StreamSocket

if TYPE_CHECKING:
    from pathlib import Path

GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN
ASKED = [kind for kind in KINDS if make(kind).can_be_served and make(kind).check_revocation]
LOCALHOST = HostName("127.0.0.1")
Level = SocketProtectionLevel
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the command openssl")
MISSING = R.REVOCATION_INFORMATION_MISSING
versions = pytest.mark.parametrize("version", LEVELS)


class Outcome:
    """What came of one connect."""

    def __init__(self, code: int, found: list[R], heard: bool) -> None:
        self.code = code
        self.found = found
        #: Whether the server's handshake was completed, and so something was said to it.
        self.heard = heard

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple) and (self.code, self.found, self.heard) == other

    def __repr__(self) -> str:
        return repr((self.code, self.found, self.heard))

    __hash__ = None  # type: ignore[assignment]


async def meet(chain: BadChain, version: str, ignored: list[R], *, revocation: Any = None) -> Outcome:
    """Connect to a server with this chain, which staples the chain's answer."""
    context = _server_context(chain)
    context.set_ocsp_server_callback(lambda _connection, _data: chain.ocsp_response or b"")
    ours = StreamSocket()
    ours.control.trust_anchors = TrustAnchors(certificates=chain.roots)
    ours.control.server_name = chain.server_name
    ours.control.client_certificate = client_identity()
    ours.control.revocation = RevocationCheck(crls=chain.crls) if revocation is None else revocation
    ours.control.ignorable_server_certificate_errors.extend(ignored)
    with plain_listener() as listening:
        listening.setblocking(False)
        server = SSL.Connection(context, None)
        serving = asyncio.ensure_future(shake_hands_as_server(listening, server))
        code = 0
        try:
            await ours.connect_async(LOCALHOST, port_of(listening), LEVELS[version])
        except OSError as error:
            code = error.winerror  # type: ignore[attr-defined]
        found = list(ours.information.server_certificate_errors)
        assert ours.information.server_certificate is not None
        ours.close()
        return Outcome(code, found, await serving)


async def check(chain: BadChain, version: str, expected: list[R], **settings: Any) -> None:
    """The exact set, refused unless all of it is ignored, and ignored only where that is possible."""
    if not expected:
        assert await meet(chain, version, [], **settings) == (0, [], True)
        return
    code = hresult_of(expected)
    assert await meet(chain, version, [], **settings) == (code, expected, False)
    ignorable = [each for each in expected if each in IGNORABLE]
    outcome = await meet(chain, version, ignorable or [R.EXPIRED], **settings)
    assert outcome == ((0, expected, True) if ignorable == expected else (code, expected, False))


@versions
@pytest.mark.parametrize("kind", ASKED)
async def test_every_kind(version: str, kind: str) -> None:
    await check(make(kind), version, list(make(kind).expected))


def test_the_kinds_are_those_of_revocation() -> None:
    found = {result for kind in ASKED for result in make(kind).expected}
    assert found >= {R.REVOKED, R.REVOCATION_INFORMATION_MISSING, R.REVOCATION_FAILURE}
    assert "revoked_by_ocsp" in ASKED


def _leaf(issuer: Made | None = None, **options: Any) -> Made:
    return make_server(issuer or root(), **options)


@versions
@pytest.mark.parametrize(
    ("status", "expected"),
    [(GOOD, []), (REVOKED, [R.REVOKED]), (UNKNOWN, [R.REVOCATION_FAILURE])],
    ids=["good", "revoked", "unknown"],
)
async def test_staples(version: str, status: ocsp.OCSPCertStatus, expected: list[R]) -> None:
    server = _leaf(intermediate())
    answer = ocsp_answer(server, intermediate(), status)
    await check(bad(server, sent=(intermediate(),), ocsp_response=answer), version, expected)


@versions
async def test_revocation_hides_no_other_error_and_none_hides_it(version: str) -> None:
    server = _leaf(until=NOW - DAY)
    listed = make_crl(root(), server)
    await check(bad(server, crls=(listed,)), version, [R.REVOKED, R.EXPIRED])
    answer = ocsp_answer(server, root(), REVOKED)
    await check(bad(server, ocsp_response=answer), version, [R.REVOKED, R.EXPIRED])
    await check(bad(server), version, [R.EXPIRED, R.REVOCATION_INFORMATION_MISSING])
    other = _leaf(make_certificate("Somebody"))
    await check(bad(other, server_name="x.example"), version, [R.INCOMPLETE_CHAIN, R.INVALID_NAME, MISSING])


@versions
async def test_a_staple_may_be_required(version: str) -> None:
    server = _leaf()
    lists = (make_crl(root()),)
    required = RevocationCheck(crls=lists, staple_required=True)
    await check(bad(server, crls=lists), version, [])
    await check(bad(server), version, [MISSING], revocation=required)
    await check(bad(server, ocsp_response=ocsp_answer(server, root(), GOOD)), version, [], revocation=required)
    await check(bad(server), version, [MISSING], revocation=True)


async def test_nobody_is_asked_unless_the_program_wants_it() -> None:
    server = _leaf()
    revoked = bad(server, ocsp_response=ocsp_answer(server, root(), REVOKED))
    assert await meet(revoked, "TLS 1.3", [], revocation=False) == (0, [], True)
    assert await meet(revoked, "TLS 1.3", [R.EXPIRED], revocation=False) == (0, [], True)


async def test_lists_in_files_are_read_when_they_have_changed(tmp_path: Path) -> None:
    path = tmp_path / "list.crl"
    server = _leaf()
    chain = bad(server)
    asks = RevocationCheck(files=[path])
    ours = trusting(revocation=path)
    async with serving(server_context("TLS 1.3")) as served:
        with pytest.raises(FileNotFoundError, match=r"list\.crl"):
            await ours.connect_async(HostName("localhost"), served.port, Level.TLS13)
        assert ours.information.protection_level == Level.PLAIN_SOCKET
    ours.close()
    path.write_bytes(make_crl(root()))
    await check(chain, "TLS 1.3", [], revocation=asks)
    path.write_bytes(make_crl(root(), server))
    await check(chain, "TLS 1.3", [R.REVOKED], revocation=asks)


def _answers(server: Made) -> dict[str, bytes]:
    """What a server may staple that says nothing about it. (OpenSSL sends nothing that is no answer at all.)"""
    later = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
    broken = bytes.fromhex("301d 0a0100 a018 3016 06092b0601050507300101 0409") + b"\x30\x07garbage"
    return {
        "of somebody else": ocsp_answer(make_server(root(), "localhost"), root(), GOOD),
        "signed by somebody else": ocsp_answer(server, root(), GOOD, signer=make_certificate("Somebody")),
        "try later": later.public_bytes(serialization.Encoding.DER),
        "broken": broken,
    }


@needs_openssl
@versions
async def test_s_server_staples(tmp_path: Path, version: str) -> None:
    server = make_server(root(), "localhost")
    (tmp_path / "server.pem").write_bytes(server.key_pem + to_pem(server.der))
    anchors = TrustAnchors(certificates=[root().der])
    stapled = {"good": ocsp_answer(server, root(), GOOD), "revoked": ocsp_answer(server, root(), REVOKED)}
    for kind, answer in (stapled | _answers(server)).items():
        (tmp_path / "answer.der").write_bytes(answer)
        async with s_server(tmp_path, version, "-rev", "-status_file", "answer.der") as (_, port):
            url = f"tls://localhost:{port}"
            if kind == "good":
                async with await moorings.connect(url, ca=anchors, revocation=True) as ours:
                    await ours.write(b"abc\n")
                    assert await ours.read_until() == b"cba\n"
                continue
            with pytest.raises(OSError, match="not accepted") as caught:
                await moorings.connect(url, ca=anchors, revocation=True)
            expected = errors.CRYPT_E_REVOKED if kind == "revoked" else errors.CRYPT_E_REVOCATION_OFFLINE
            assert (kind, caught.value.winerror) == (kind, expected)  # type: ignore[attr-defined]


async def test_the_members() -> None:
    ours = StreamSocket()
    assert ours.control.revocation is None
    ours.control.revocation = True
    assert isinstance(ours.control.revocation, RevocationCheck)
    ours.control.revocation = None
    assert ours.control.revocation is None
    with pytest.raises(TypeError, match="revocation takes"):
        ours.control.revocation = 5  # type: ignore[assignment]
    ours.close()
    with pytest.raises(OSError, match="is closed"):
        ours.control.revocation = True
    with pytest.raises(OSError, match="are for 'tls://host:port'"):
        await moorings.connect("tcp://localhost:1", revocation=True)
