"""Pinned keys: on top of the usual verdict, on both paths, in resumed sessions, and never to be ignored."""

from __future__ import annotations

import pickle
import ssl
from typing import Any

import pytest
import trustme
from tests.sockets.tls_servers import (
    LOCALHOST,
    VERSIONS,
    authority,
    bad_leaf,
    server_certificate,
    server_context,
    serving,
    trusting,
    trusts,
)

import moorings
from moorings import Certificate, StreamSocket, errors
from moorings.certificates.enums import ChainValidationResult as Result
from moorings.certificates.trust import TrustAnchors
from moorings.sockets.enums import SocketProtectionLevel

Level = SocketProtectionLevel
both_versions = pytest.mark.parametrize("version", VERSIONS)
both_paths = pytest.mark.parametrize("ignored", [[], [Result.EXPIRED]], ids=["fast path", "full path"])


def pin(pem: bytes) -> str:
    return Certificate(pem).pin_sha256


def leaf_pin() -> str:
    return pin(server_certificate().cert_chain_pems[0].bytes())


def other_pin() -> str:
    return pin(trustme.CA().cert_pem.bytes())


async def mismatch(ours: StreamSocket, port: str) -> errors.PinMismatchError:
    with pytest.raises(errors.PinMismatchError) as caught:
        await ours.connect_async(LOCALHOST, port, Level.TLS13)
    assert ours.information.protection_level == Level.PLAIN_SOCKET
    assert ours.information.server_certificate is not None
    return caught.value


@both_versions
@both_paths
async def test_one_of_the_pins_must_fit(version: str, ignored: list[Result]) -> None:
    async with serving(server_context(version)) as served:
        ours = trusting(pin_sha256=[other_pin(), other_pin()])
        ours.control.ignorable_server_certificate_errors.extend(ignored)
        error = await mismatch(ours, served.port)
        assert error.winerror == errors.CERT_E_UNTRUSTEDCA
        assert "none of the 2 pinned keys" in error.reason
        assert type(error).__name__ == "PinMismatchError"
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.reason) == (errors.PinMismatchError, error.reason)
        assert list(ours.information.server_certificate_errors) == []
        ours.control.pin_sha256 = (other_pin(), leaf_pin())
        assert ours.control.pin_sha256 == (ours.control.pin_sha256[0], leaf_pin())
        await ours.connect_async(LOCALHOST, served.port, Level.TLS13)
        await ours.write(b"x")
        assert await ours.read() == b"x"
        await ours.aclose()
    assert served.received == [b"x"]


@both_versions
@both_paths
async def test_an_authority_may_be_pinned(version: str, ignored: list[Result]) -> None:
    async with serving(server_context(version)) as served:
        ours = trusting(pin_sha256=pin(authority().cert_pem.bytes()))
        ours.control.ignorable_server_certificate_errors.extend(ignored)
        await ours.connect_async(LOCALHOST, served.port, Level.TLS13)
        await ours.aclose()


async def test_a_pinned_certificate_that_is_only_sent_along_counts_for_nothing() -> None:
    """Whoever holds any certificate could send the pinned authority's, too."""
    pinned, mine = trustme.CA(), trustme.CA()
    leaf = mine.issue_cert("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    anchors = TrustAnchors(certificates=[mine.cert_pem.bytes(), pinned.cert_pem.bytes()])
    with trustme.Blob(leaf.private_key_and_cert_chain_pem.bytes() + pinned.cert_pem.bytes()).tempfile() as file:
        context.load_cert_chain(file)
    async with serving(context) as served:
        ours = trusting(trust_anchors=anchors, pin_sha256=pin(pinned.cert_pem.bytes()))
        await mismatch(ours, served.port)
        assert len(ours.information.server_intermediate_certificates) == 1
        ours.control.trust_anchors = TrustAnchors(certificates=[pinned.cert_pem.bytes()])
        ours.control.ignorable_server_certificate_errors.extend([Result.UNTRUSTED, Result.INCOMPLETE_CHAIN])
        await mismatch(ours, served.port)
        ours.close()


@both_versions
async def test_where_errors_are_ignored_the_own_key_counts(version: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = VERSIONS[version]
    bad_leaf().configure_cert(context)
    async with serving(context) as served:
        ours = trusting(pin_sha256=pin(authority().cert_pem.bytes()))
        found = ours.control.ignorable_server_certificate_errors
        found.extend([Result.EXPIRED, Result.INVALID_NAME])
        await mismatch(ours, served.port)
        assert list(ours.information.server_certificate_errors) == list(found)
        ours.control.pin_sha256 = pin(bad_leaf().cert_chain_pems[0].bytes())
        await ours.connect_async(LOCALHOST, served.port, Level.TLS13)
        await ours.aclose()


async def test_nothing_ignores_a_mismatch() -> None:
    async with serving(server_context("TLS 1.3")) as served:
        ours = trusting(pin_sha256=other_pin())
        ours.control.ignorable_server_certificate_errors.extend(Result(number) for number in (1, 3, 4, 6, 7, 11, 12))
        await mismatch(ours, served.port)
        ours.close()


async def test_a_pin_does_not_replace_the_usual_verdict() -> None:
    async with serving(server_context("TLS 1.3")) as served:
        ours = StreamSocket()
        ours.control.trust_anchors = TrustAnchors(certificates=[trustme.CA().cert_pem.bytes()])
        ours.control.pin_sha256 = leaf_pin()
        with pytest.raises(OSError, match="INCOMPLETE_CHAIN"):
            await ours.connect_async(LOCALHOST, served.port, Level.TLS13)
        ours.close()


@both_versions
async def test_resumed_sessions(version: str) -> None:
    async with serving(server_context(version)) as served:

        async def connect(**settings: Any) -> bool:
            ours = trusting(**settings)
            await ours.connect_async(LOCALHOST, served.port, Level.TLS13)
            await ours.write(b"x")
            assert await ours.read() == b"x"
            await ours.aclose()
            return ours.information.is_resumed

        assert not await connect()
        assert await connect(pin_sha256=leaf_pin())
        assert await connect(pin_sha256=[pin(authority().cert_pem.bytes())])
        ours = trusting(pin_sha256=other_pin())
        await mismatch(ours, served.port)
        assert ours.information.is_resumed
        ours.close()


async def test_the_python_face() -> None:
    async with serving(server_context("TLS 1.3")) as served:
        url = f"tls://localhost:{served.port}"
        async with await moorings.connect(url, ca=trusts(), pin_sha256=leaf_pin()) as ours:
            await ours.write(b"x")
        with pytest.raises(errors.PinMismatchError):
            await moorings.connect(url, ca=trusts(), pin_sha256=[other_pin()])
    with pytest.raises(OSError, match="no pin") as caught:
        await moorings.connect("tls://localhost:1", pin_sha256="not a pin")
    assert caught.value.winerror == errors.E_INVALIDARG  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        await moorings.connect("tls://localhost:1", pin_sha256=5)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="are for 'tls://host:port'"):
        await moorings.connect("tcp://localhost:1", pin_sha256=other_pin())
