"""TLS as a client: from a connected descriptor to a stream whose server was accepted, or to the reasons why it was not.

Two paths, one verdict. Where no error may be ignored, the standard library verifies in its usual way; when it refuses,
the offline validator names everything that is wrong with the chain that came. Where some may be ignored, pyOpenSSL asks
about each error inside the handshake, and the same validator has judged the same chain before the first answer. (Where
revocation counts, OpenSSL gets its answers in advance and the verdict falls when the staple is there.) A chain
that OpenSSL refuses for something the validator does not know is refused, with OpenSSL's own finding; one to which
OpenSSL, which checks no policies, and the check of the name have no objection is accepted.

Behind this verdict come the pins and the program's own say, before anything goes out that answers the certificate.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from moorings import errors
from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.libraries import require
from moorings.certificates.validation import IGNORABLE, find_errors, find_path, hresult_of, result_of_verify_code
from moorings.certificates.verify_codes import sorted_results
from moorings.engine.hub import hub_of
from moorings.engine.layered_tls import LayeredTlsStream
from moorings.engine.tls_codec import FailureKind, TlsFailure, TlsSession, error_of
from moorings.engine.tls_handshake import shake_hands, shake_hands_over
from moorings.engine.tls_moving import movable
from moorings.engine.tls_stream import TlsStream
from moorings.names.endpoints import endpoint_text
from moorings.names.enums import HostNameType
from moorings.names.host_name import HostName
from moorings.sockets.enums import SocketProtectionLevel
from moorings.sockets.tls_context import ContextKey, KeptSession, memory_of
from moorings.sockets.tls_settings import TlsFacts, facts_of
from moorings.sockets.upgrading import injected

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable

    from moorings.certificates.revocation_check import RevocationCheck
    from moorings.certificates.trust import TrustAnchors
    from moorings.engine.interface import ByteStream
    from moorings.engine.tcp_stream import TcpStream
    from moorings.foundation.home import Home
    from moorings.sockets.connection import Connection

__all__ = ["ClientHandshake", "check_ignorable"]

_Result = ChainValidationResult
#: What only we check: OpenSSL is asked for neither. (What else it does not look at, such as policies, makes no error.)
_OURS = frozenset(
    (_Result.INVALID_NAME, _Result.REVOKED, _Result.REVOCATION_INFORMATION_MISSING, _Result.REVOCATION_FAILURE)
)


def check_ignorable(connection: Connection, member: str) -> frozenset[ChainValidationResult]:
    """The errors that the next handshake ignores. E_INVALIDARG for one that is fatal."""
    listed = frozenset(connection.ignorable_errors or ())
    fatal = [_Result(each) for each in sorted(listed - IGNORABLE)]
    if fatal:
        names = ", ".join(each.name or str(int(each)) for each in fatal)
        raise errors.invalid_argument(f"{member}: ignorable_server_certificate_errors has {names}, never to be ignored")
    return listed


_PIN_STEP = "if it has a new key by right, pin that one, too (Certificate.pin_sha256 of information.server_certificate)"


class ClientHandshake:
    """One handshake of one connection, with the settings of the moment at which it was made."""

    def __init__(
        self,
        home: Home,
        connection: Connection,
        level: SocketProtectionLevel,
        host: HostName,
        port: str,
        ignorable: frozenset[ChainValidationResult],
        ask: Callable[[TlsFacts, str], Awaitable[None]] | None = None,
    ) -> None:
        """`ask` is the program's say: it raises to refuse."""
        settings = connection.settings
        self._home = home
        self._connection = connection
        self._ignorable = ignorable
        self._port = port
        self._host = host
        self._alpn = settings.tls.alpn
        self._key = ContextKey(
            level,
            settings.min_protection_level,
            settings.tls.anchors,
            settings.client_certificate,
            self._alpn,
            settings.tls.key_log,
            settings.tls.transferable,
        )
        self._ask = ask
        self._pins = settings.tls.pins
        self._revocation = settings.tls.revocation
        self._name = settings.tls.server_name or _name_to_check(host)
        self._is_address = HostName(self._name).type != HostNameType.DOMAIN_NAME
        self._errors: tuple[ChainValidationResult, ...] | None = None
        self._found: list[ChainValidationResult] = []
        self._kept: KeptSession | None = None
        self._fast: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"{self._connection.kind} to {endpoint_text(self._host.display_name, self._port)}"

    async def run(self, plain_socket: socket.socket, *, unsent: bytes = b"") -> TlsStream:
        """Shake hands on a connected non-blocking socket; the stream owns it then, otherwise the caller still does.

        `unsent` is plaintext that goes out before.

        `connection.tls` has the facts afterwards, also of a failed handshake. Raises OSError: the certificate's errors
        with their own codes; SEC_E_* for what else is wrong with TLS; those of the connection.
        """
        session = self._make_session()
        verdict = self._verdict_on(session)
        await self._conclude(session, shake_hands(plain_socket, session, str(self), first=unsent, verdict=verdict))
        tickets = session.version() == "TLSv1.3"
        return TlsStream(hub_of(self._home), plain_socket, self._connection, session, expects_tickets=tickets)

    async def run_over(self, lower: ByteStream) -> LayeredTlsStream:
        """Shake hands over an open stream: a tunnel through a proxy, or TLS. It belongs to the new stream then.

        Otherwise, and when this is cancelled, it has been ended. What came before is no part of TLS, as when TLS is
        started in mid-stream. Else as `run`.
        """
        self._key = self._key._replace(transferable=False)  # it has no descriptor of its own
        try:
            if lower.stash_size():
                raise injected(self._connection, lower.stash_size())
            session = self._make_session()
            await self._conclude(
                session, shake_hands_over(lower, session, str(self), verdict=self._verdict_on(session))
            )
        except OSError:
            lower.close()  # an alert may be on its way
            raise
        except BaseException:
            lower.abort()
            raise
        tickets = session.version() == "TLSv1.3"
        return LayeredTlsStream(hub_of(self._home), lower, self._connection, session, expects_tickets=tickets)

    async def _conclude(self, session: Any, handshake: Awaitable[None]) -> None:
        """Wait for the handshake, and keep what it has shown."""
        connection = self._connection
        connection.tls = TlsFacts()
        try:
            await handshake
        except TlsFailure as failure:
            connection.tls = self._facts(session)._replace(level=SocketProtectionLevel.PLAIN_SOCKET)
            if failure.kind is FailureKind.CERTIFICATE:
                raise self._refused(failure.verify_code) from failure
            raise error_of(failure, f"{self}: the TLS handshake failed") from failure
        connection.tls = facts = self._facts(session)
        if self._fast is not None:
            connection.on_last_look = self._keep_session(facts, self._fast)

    def _make_session(self) -> Any:
        memory = memory_of(hub_of(self._home))
        if self._ignorable or self._revocation is not None:
            require("ignoring certificate errors one by one", "OpenSSL")
            from moorings.engine.tls_full_codec import FullTlsSession  # noqa: PLC0415 (the extra `tls`)

            sni = "" if self._is_address else self._name
            context = memory.full(self._key)
            asks = self._revocation is not None
            session = FullTlsSession(context, sni=sni, alpn=self._alpn, judge=self._judge, ask_staple=asks)
            return movable(session, context)
        self._kept = memory.take_session(self._key, self._name, self._port)
        resumed = None if self._kept is None else self._kept.session
        fast = self._fast = memory.fast(self._key)
        return movable(TlsSession(fast, server_name=self._name, resumed=resumed), fast)

    def _anchors(self) -> TrustAnchors:
        return memory_of(hub_of(self._home)).anchors(self._key.anchors)

    def _validate(self, chain: list[bytes]) -> tuple[ChainValidationResult, ...]:
        if not chain:
            return ()
        return find_errors(chain[0], chain[1:], server_name=self._name, anchors=self._anchors())

    # -- the verdict -------------------------------------------------------------------------------------------------

    def _judge(self, chain: list[bytes], finding: tuple[int, int, bytes]) -> bool:
        """The answer to one finding of OpenSSL: whether the handshake may go on."""
        if self._errors is None:
            self._errors = self._validate(chain)
        code = finding[0]
        if code:
            result = result_of_verify_code(code, sent_intermediates=len(chain) > 1)
            self._found.append(result)
        return self._revocation is not None or self._passes()

    def _has_objection(self) -> bool:
        """Whether OpenSSL has found something, or we have where it leaves the check to us."""
        return bool(self._found) or not _OURS.isdisjoint(self._errors or ())

    def _passes(self) -> bool:
        return not self._has_objection() or self._ignorable.issuperset((*(self._errors or ()), *self._found))

    def _let_pass(self) -> tuple[ChainValidationResult, ...]:
        """The errors of an accepted certificate. What OpenSSL does not look at makes no error on either path."""
        return self._errors or () if self._has_objection() else ()

    def _verdict_on(self, session: Any) -> Callable[[], Awaitable[None]] | None:
        """What has to be decided before anything is said that answers the certificate; None where nothing is left."""
        if self._ask is None and not self._pins and self._revocation is None:
            return None
        return partial(self._decide, session)

    async def _decide(self, session: Any) -> None:
        connection = self._connection
        if self._revocation is not None:
            chain = session.peer_chain()
            self._errors = self._validate_with(self._revocation, chain, session.staple)
            connection.tls = TlsFacts(chain=tuple(chain))
            if not chain or not self._passes():
                raise self._refused(0)
        facts = connection.tls = self._facts(session)._replace(level=SocketProtectionLevel.PLAIN_SOCKET)
        if self._pins and not self._has_pin(facts):
            reason = f"{self}: the certificate for {self._name!r} has none of the {len(self._pins)} pinned keys"
            raise errors.make(errors.CERT_E_UNTRUSTEDCA, f"{reason}; {_PIN_STEP}")
        if self._ask is not None:
            await self._ask(facts, str(self))

    def _validate_with(
        self, revocation: RevocationCheck, chain: list[bytes], staple: bytes
    ) -> tuple[ChainValidationResult, ...]:
        """All errors, those of revocation among them."""
        if not chain:
            return (_Result.OTHER_ERRORS,)
        found = find_errors(
            chain[0],
            chain[1:],
            server_name=self._name,
            anchors=self._anchors(),
            check_revocation=True,
            crls=revocation.lists(),
            ocsp_response=staple or None,
        )
        if revocation.staple_required and not staple:
            found = (*found, _Result.REVOCATION_INFORMATION_MISSING)
        return sorted_results(found)

    def _has_pin(self, facts: TlsFacts) -> bool:
        """Whether the server's key is pinned, or that of an authority which it leads to.

        An authority counts only on a way without errors: anybody can send a pinned certificate along.
        """
        require("pinning keys")
        from moorings.certificates.parsed import MalformedCertificateError, parse  # noqa: PLC0415 (the extra `tls`)
        from moorings.certificates.pins import pin_of  # noqa: PLC0415

        if not facts.chain:
            return False
        try:
            if pin_of(parse(facts.chain[0])) in self._pins:
                return True
        except MalformedCertificateError:
            return False
        way = find_path(facts.chain[0], facts.chain[1:], server_name=self._name, anchors=self._anchors())
        return not way.errors and any(pin_of(certificate) in self._pins for certificate in way.path)

    def _facts(self, session: Any) -> TlsFacts:
        facts = facts_of(session)._replace(errors=self._let_pass())
        if facts.resumed and self._kept is not None:
            facts = facts._replace(chain=self._kept.chain)
        return facts

    def _refused(self, verify_code: int) -> OSError:
        """The exception for a certificate that is not accepted, with all of its errors; 0 where OpenSSL was content."""
        facts = self._connection.tls
        assert facts is not None
        chain = list(facts.chain)
        found = self._errors
        if found is None:
            try:
                found = self._validate(chain)
            except OSError:
                found = ()  # without the extra `tls`, or with roots that cannot be read: what OpenSSL says remains
        if not found or (self._ignorable and self._ignorable.issuperset(found)):
            own = result_of_verify_code(verify_code, sent_intermediates=len(chain) > 1)
            found = sorted_results((*found, *self._found, own))
        self._connection.tls = facts._replace(errors=found)
        names = ", ".join(each.name for each in found)
        fatal = [each for each in found if each not in IGNORABLE]
        if fatal:
            step = f"{', '.join(each.name for each in fatal)} cannot be ignored: the server needs another certificate"
        else:
            step = (
                "if you know this server all the same, put them into control.ignorable_server_certificate_errors and "
                "connect again"
            )
        reason = f"{self}: the certificate for {self._name!r} is not accepted: {names}; {step}"
        error = errors.make(hresult_of(found), reason)
        error.certificate_errors = found
        return error

    def _keep_session(self, facts: TlsFacts, context: ssl.SSLContext) -> Callable[[TcpStream], None]:
        memory, key, name, port = memory_of(hub_of(self._home)), self._key, self._name, self._port

        def keep(stream: TcpStream) -> None:
            session = getattr(stream, "session", None)
            made = None if session is None or getattr(stream, "session_failed", False) else session.exported()
            if made is not None and made.has_ticket:
                memory.keep_session(key, name, port, KeptSession(made, facts.chain, time.monotonic()), context)

        return keep


def _name_to_check(host: HostName) -> str:
    """The name of a host as certificates have it: ASCII, or an address without its scope."""
    return host.canonical_name.partition("%")[0]
