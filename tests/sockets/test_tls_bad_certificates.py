"""Every kind of bad certificate in a real handshake: the same verdict and errors on both paths and versions."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from OpenSSL import SSL
from tests.certificates.bad_certificates import KINDS, BadChain, make
from tests.certificates.openssl_oracle import _server_context
from tests.sockets.peers import plain_listener, port_of
from tests.sockets.tls_servers import LEVELS

from moorings.certificates.enums import ChainValidationResult as Result
from moorings.certificates.trust import TrustAnchors
from moorings.certificates.validation import IGNORABLE, hresult_of
from winrt.windows.networking import HostName
from winrt.windows.networking.sockets import StreamSocket

if TYPE_CHECKING:
    import socket

SERVED = [kind for kind in KINDS if make(kind).can_be_served and not make(kind).check_revocation]
#: A server of OpenSSL does not use such certificates in TLS 1.2, where the key's usage chooses the cipher.
NOT_IN_TLS_12 = {"wrong_key_usage", "broken_extension"}
CASES = [(kind, "TLS 1.3") for kind in SERVED] + [(kind, "TLS 1.2") for kind in SERVED if kind not in NOT_IN_TLS_12]
LOCALHOST = HostName("127.0.0.1")


async def shake_hands_as_server(listening: socket.socket, server: SSL.Connection) -> bool:
    """Shake hands with one client, until either side has enough; whether it came to an end."""
    loop = asyncio.get_running_loop()
    server.set_accept_state()
    done = False
    peer, _ = await loop.sock_accept(listening)
    with peer:
        while True:
            try:
                server.do_handshake()
                done = True
            except SSL.WantReadError:
                pass
            except SSL.Error:
                return done
            with contextlib.suppress(SSL.WantReadError, OSError):
                await loop.sock_sendall(peer, server.bio_read(1 << 20))
            try:
                data = await loop.sock_recv(peer, 65536)
            except OSError:
                return done
            if not data:
                return done
            server.bio_write(data)


async def serve(listening: socket.socket, chain: BadChain) -> None:
    """Be a server with that chain for one client."""
    await shake_hands_as_server(listening, SSL.Connection(_server_context(chain), None))


async def verdict(chain: BadChain, version: str, ignored: list[Result]) -> tuple[int, list[Result], int]:
    """Whether a client accepts the chain (0, else the HRESULT), the errors it tells, and their severity."""
    ours = StreamSocket()
    ours.control.trust_anchors = TrustAnchors(certificates=chain.roots)
    ours.control.server_name = chain.server_name
    ours.control.ignorable_server_certificate_errors.extend(ignored)
    with plain_listener() as listening:
        listening.setblocking(False)
        serving = asyncio.ensure_future(serve(listening, chain))
        code = 0
        told: list[Result] = []
        try:
            await ours.connect_async(LOCALHOST, port_of(listening), LEVELS[version])
        except OSError as error:
            code, told = error.winerror, list(error.certificate_errors)  # type: ignore[attr-defined]
        information = ours.information
        found = list(information.server_certificate_errors)
        assert told == (found if code else [])
        ours.close()
        await serving
    assert information.server_certificate is not None or not found or Result.OTHER_ERRORS in found
    return code, found, int(information.server_certificate_error_severity)


@pytest.mark.parametrize(("kind", "version"), CASES)
async def test_both_paths_say_the_same(kind: str, version: str) -> None:
    chain = make(kind)
    expected = list(chain.expected)
    seen = (set(expected) - set(chain.less_in_openssl)) | set(chain.more_in_openssl)
    fast = await verdict(chain, version, [])
    assert await verdict(chain, version, [Result.REVOCATION_FAILURE]) == fast
    if not seen:
        assert fast == (0, [], 0)
        return
    if expected:
        assert fast == (hresult_of(expected), expected, int(chain.severity))
    else:
        assert fast[0] != 0
        assert set(fast[1]) <= set(chain.more_in_openssl)
    ignorable = [each for each in fast[1] if each in IGNORABLE]
    if ignorable == fast[1]:
        for left_out in ignorable:
            rest = [each for each in ignorable if each != left_out]
            if rest:
                assert await verdict(chain, version, rest) == fast
        assert await verdict(chain, version, ignorable) == (0, *fast[1:])
    elif ignorable:
        assert await verdict(chain, version, ignorable) == fast


def test_there_are_enough_kinds() -> None:
    assert len([kind for kind in SERVED if make(kind).expected]) > 25
