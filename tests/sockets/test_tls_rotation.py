"""Replacing what a listener shows and trusts while clients come: none is lost, and a bad one changes nothing."""

from __future__ import annotations

import asyncio
import datetime
import functools
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from tests.engine.pairs import PATIENCE, until
from tests.sockets.tls_servers import LEVELS, LOCALHOST, VERSIONS, authority, client_identity, trusting, trusts

import moorings
from moorings import EndReason, StreamSocket, errors
from moorings.certificates.certificate import Certificate
from moorings.certificates.trust import TrustAnchors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROTATIONS = 12
CLIENTS = 6
both_versions = pytest.mark.parametrize("version", VERSIONS)


@functools.cache
def leaf(number: int) -> trustme.LeafCert:
    until_then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30 + number)
    return authority().issue_cert("localhost", not_after=until_then)


async def echo(connection: StreamSocket) -> None:
    async for line in connection.lines():
        await connection.write(line + b"\n")


def _files(directory: Path, number: int) -> tuple[Path, Path]:
    directory.mkdir(exist_ok=True)
    certificate, key = directory / "cert.pem", directory / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in leaf(number).cert_chain_pems))
    key.write_bytes(leaf(number).private_key_pem.bytes())
    return certificate, key


def bad_replacements(directory: Path) -> dict[str, tuple[Any, type[OSError], str]]:
    """What may be tried, what is raised, and what it says."""
    certificate, key = _files(directory / "one", 0)
    _, other_key = _files(directory / "two", 1)
    (directory / "empty.pem").touch()
    (directory / "cut.pem").write_bytes(key.read_bytes()[:100])
    return {
        "a key of another certificate": ((certificate, other_key), OSError, "key"),
        "no such file": ((certificate, directory / "nowhere.pem"), FileNotFoundError, "nowhere"),
        "no file": (directory, OSError, directory.name),
        "an empty file": (directory / "empty.pem", OSError, "no certificate"),
        "a key that was cut off": ((certificate, directory / "cut.pem"), OSError, "key"),
        "no key": (certificate, OSError, "private key"),
    }


class Clients:
    """Some that connect all the time, one connection after the other, until they are told to stop."""

    def __init__(self, port: int, version: str) -> None:
        self.port = str(port)
        self.version = version
        self.stopped = False
        self.count = 0
        self.shown: set[str] = set()

    async def run(self) -> None:
        async with asyncio.timeout(PATIENCE * 2), asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._connect_often())

    async def _connect_often(self) -> None:
        while not self.stopped:
            ours = trusting()
            await ours.connect_async(LOCALHOST, self.port, LEVELS[self.version])
            await ours.write(b"hello\n")
            assert await ours.read_until() == b"hello\n"
            self.shown.add(repr(ours.information.server_certificate))
            await ours.aclose()
            assert ours.end_reason == EndReason.CLOSED_BY_US
            self.count += 1


def _seen(clients: Clients, name: str) -> Callable[[], bool]:
    return lambda: name in clients.shown


@both_versions
async def test_under_load(tmp_path: Path, version: str) -> None:
    bad = bad_replacements(tmp_path)
    async with moorings.listen("tls://127.0.0.1:0", echo, certificate=_files(tmp_path / "first", 0)) as listener:
        clients = Clients(listener.port, version)
        running = asyncio.ensure_future(clients.run())
        control = listener.listener.control
        await until(_seen(clients, repr(control.server_certificate)))
        for number in range(1, ROTATIONS):
            before = control.server_certificate
            replacement, kind, text = list(bad.values())[number % len(bad)]
            with pytest.raises(kind, match=text):
                listener.replace_certificate(replacement)
            assert control.server_certificate is before
            listener.replace_certificate(_files(tmp_path / "next", number))
            await until(_seen(clients, repr(control.server_certificate)))
            assert not running.done() or running.exception() is None
        clients.stopped = True
        await running
        assert listener.listener.handshakes_failed == 0
    assert listener.report is not None
    assert listener.report.accepted == clients.count
    assert listener.report.broken == 0
    assert len(clients.shown) == ROTATIONS


async def test_a_bad_replacement_says_why_and_changes_nothing(tmp_path: Path) -> None:
    bad = bad_replacements(tmp_path)
    async with moorings.listen("tls://127.0.0.1:0", echo, certificate=_files(tmp_path / "good", 3)) as listener:
        old = listener.listener.control.server_certificate
        inner = listener.listener._accepting
        context = inner.secure
        for what, (replacement, kind, text) in bad.items():
            with pytest.raises(kind, match=text) as caught:
                listener.replace_certificate(replacement)
            assert getattr(caught.value, "winerror", 0), what
            assert listener.listener.control.server_certificate is old
            assert inner.secure is context
        for nothing in (None, 5):
            with pytest.raises((OSError, TypeError)):
                listener.replace_certificate(nothing)
        assert inner.secure is context
        async with moorings.connect(f"tls://localhost:{listener.port}", ca=trusts()) as ours:
            await ours.write(b"still the old one\n")
            assert await ours.read_until() == b"still the old one\n"
            assert repr(ours.information.server_certificate) == repr(old)


@both_versions
async def test_the_authorities_of_clients_are_replaced_with_their_sessions(tmp_path: Path, version: str) -> None:
    """A client that is no longer trusted does not come in with a session from before, either."""
    others = trustme.CA()
    identity = Certificate.from_pem(leaf(0).private_key_and_cert_chain_pem.bytes())
    stranger = Certificate.from_pem(others.issue_cert("new@example.org").private_key_and_cert_chain_pem.bytes())

    async with moorings.listen("tls://127.0.0.1:0", echo, certificate=identity, client_ca=trusts()) as listener:

        async def ask(certificate: Certificate) -> bool:
            ours = trusting(client_certificate=certificate)
            try:
                await ours.connect_async(LOCALHOST, str(listener.port), LEVELS[version])
                await ours.write(b"hello\n")
                assert await ours.read_until() == b"hello\n"
            finally:
                await ours.aclose()
            return ours.information.is_resumed

        async def refused(certificate: Certificate) -> None:
            failed = listener.listener.handshakes_failed
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await ask(certificate)
            await until(lambda: listener.listener.handshakes_failed == failed + 1)

        assert [await ask(client_identity()), await ask(client_identity())] == [False, True]
        await refused(stranger)
        control = listener.listener.control
        with pytest.raises(FileNotFoundError):
            control.client_trust_anchors = TrustAnchors(files=[tmp_path / "nowhere.pem"])
        with pytest.raises(OSError, match="no certificate") as caught:
            control.client_trust_anchors = TrustAnchors(certificates=[b"nonsense"])
        assert caught.value.winerror == errors.E_INVALIDARG  # type: ignore[attr-defined]
        assert control.client_trust_anchors is trusts()
        assert await ask(client_identity())
        control.client_trust_anchors = both = TrustAnchors(certificates=[others.cert_pem.bytes()])
        assert control.client_trust_anchors is both
        await refused(client_identity())
        assert not await ask(stranger)
        assert control.server_certificate is identity
        control.server_certificate = identity  # the new authorities stay with it
        await refused(client_identity())
