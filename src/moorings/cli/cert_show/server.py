"""A look at a server: one handshake, in which everything is noted and nothing is refused.

The handshake goes to its end whatever the certificate is, so that all of it can be shown. Nothing but the handshake is
sent: no data, and no certificate of ours. The verdict comes afterwards, from the offline validator. Needs pyOpenSSL.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import moorings
from moorings import HostName, HostNameType, errors
from moorings.cli.cert_show.starttls import PROTOCOLS
from moorings.cli.output import describe_error
from moorings.cli.statistics_line import peer_of
from moorings.engine.tls_codec import FailureKind, TlsFailure, error_of
from moorings.engine.tls_full_codec import FullTlsSession, make_full_context, trust_der
from moorings.engine.tls_handshake import shake_hands
from moorings.sockets.tls_context import CIPHERS, POLICY_MINIMUM

if TYPE_CHECKING:
    from moorings.certificates.trust import TrustAnchors
    from moorings.engine.tls_full_codec import Finding

#: What OpenSSL calls the moment at which a server asks for a certificate (SSL_state_string_long(3)).
_ASKED = b"read server certificate request"


class Wish(NamedTuple):
    """Whom to look at, and how."""

    host: str
    service: str
    #: The name to ask for and to check; "" is the host.
    server_name: str
    alpn: tuple[str, ...]
    starttls: str
    timeout: float
    anchors: TrustAnchors
    #: Whether to ask for an answer of the authority on revocation.
    asks_staple: bool = False

    @property
    def name(self) -> str:
        """The name to ask for and to check, as certificates have it."""
        return HostName(self.server_name or self.host).canonical_name.partition("%")[0]

    @property
    def place(self) -> str:
        """Host and port, as a URL has them."""
        return f"[{self.host}]:{self.service}" if ":" in self.host else f"{self.host}:{self.service}"


class Seen(NamedTuple):
    """What a server showed."""

    address: str
    chain: tuple[bytes, ...]
    protocol: str
    cipher: str
    alpn: str
    asked_for_certificate: bool
    #: Why the handshake did not end well, after the certificate had come; "" where it did.
    failure: str
    #: Errors that OpenSSL found in the chain.
    verify_codes: tuple[int, ...]
    #: What the server stapled; b"" for nothing.
    staple: bytes


async def look(wish: Wish) -> Seen:
    """Shake hands once. Errors: OSError where no certificate comes; CommandError where TLS cannot be started."""
    try:
        async with asyncio.timeout(wish.timeout):
            connection = await moorings.connect(f"tcp://{wish.place}")
            try:
                if wish.starttls:
                    await PROTOCOLS[wish.starttls](connection)
                address = peer_of(connection)
                given = connection.detach()
            finally:
                connection.abort()
            with socket.socket(fileno=given.fd) as plain_socket:
                return await _look(plain_socket, wish, address)
    except TimeoutError as error:
        if hasattr(error, "winerror"):
            raise
        reason = (
            f"{wish.place}: no TLS handshake within {wish.timeout:g} s; is the host up, and does it speak TLS there?"
        )
        raise errors.make(errors.WSAETIMEDOUT, reason) from error


def _go_on(_chain: list[bytes], _finding: Finding) -> bool:
    """All of it is to be seen; the verdict comes later, and nothing is sent before."""
    return True


async def _look(plain_socket: socket.socket, wish: Wish, address: str) -> Seen:
    context = make_full_context(
        minimum=int(POLICY_MINIMUM),
        maximum=int(ssl.TLSVersion.TLSv1_3),
        ciphers=CIPHERS,
        options=int(ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION),
        partial_chain=int(ssl.VERIFY_X509_PARTIAL_CHAIN),
    )
    for der in wish.anchors.ders():
        trust_der(context, der)
    asked = False

    def note(made: Any, _where: int, _result: int) -> None:
        nonlocal asked
        asked = asked or _ASKED in made.get_state_string()

    context.set_info_callback(note)
    is_address = HostName(wish.name).type != HostNameType.DOMAIN_NAME
    sni = "" if is_address else wish.name
    session = FullTlsSession(context, sni=sni, alpn=wish.alpn, judge=_go_on, ask_staple=wish.asks_staple)
    failure = ""
    try:
        await shake_hands(plain_socket, session, wish.place)
    except TlsFailure as error:
        made = error_of(error, wish.place)
        if not session.chain:
            raise made from error
        failure = str(made.reason) if error.kind is not FailureKind.ALERT else f"the server ended it: {error.text}"
    except OSError as error:
        if not session.chain:
            raise
        failure = describe_error(error)  # some servers say no by hanging up
    else:
        session.close_notify()
        with suppress(OSError):
            plain_socket.send(session.take_ciphertext(), socket.MSG_NOSIGNAL)
    return Seen(
        address,
        tuple(session.chain),
        session.version(),
        session.cipher(),
        session.alpn(),
        asked,
        failure,
        tuple(dict.fromkeys(code for code, _, _ in session.findings if code)),
        session.staple,
    )
