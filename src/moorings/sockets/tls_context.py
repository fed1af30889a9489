"""OpenSSL's contexts, and the sessions that shorten a second handshake: one memory for each loop.

A context is dear (it reads the trusted roots) and does not change, so it is kept. Its key has everything that it was
made of; a session is kept under the key of its context, and the name and port of the server, and taken out when it is
used: a handshake is shortened only where nothing has changed that its verdict was based on. Both memories are bounded
and forget the oldest.
"""

from __future__ import annotations

import os
import ssl
import time
import warnings
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from moorings import errors
from moorings.certificates.certificate import identity_pem
from moorings.certificates.trust import TrustAnchors
from moorings.engine.key_log import KeyLogWriter, attach_key_log
from moorings.engine.tls_codec import RecordingSslObject, remember_requested_name
from moorings.engine.tls_moving import keep_keys
from moorings.sockets.enums import SocketProtectionLevel

if TYPE_CHECKING:
    from moorings.certificates.certificate import Certificate
    from moorings.engine.hub import Hub

__all__ = ["ContextKey", "KeptSession", "TlsMemory", "memory_of", "server_context"]

#: Contexts that a loop keeps.
CONTEXTS_LIMIT = 16
#: Sessions that a loop keeps to shorten handshakes with.
SESSIONS_LIMIT = 256
#: Seconds for which a session is used (RFC 8446 section 4.6.1 allows a week).
SESSION_LIFETIME = 3600.0

_Level = SocketProtectionLevel
_VERSIONS = {
    _Level.TLS10: ssl.TLSVersion.TLSv1,
    _Level.TLS11: ssl.TLSVersion.TLSv1_1,
    _Level.TLS12: ssl.TLSVersion.TLSv1_2,
    _Level.TLS13: ssl.TLSVersion.TLSv1_3,
}
#: What the library offers where nothing else is asked for.
POLICY_MINIMUM = ssl.TLSVersion.TLSv1_2
#: The suites of Python's own client contexts, without those that this list leaves out; NULL ciphers are never offered.
CIPHERS = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
# A HelloRequest is answered with an alert, and the connection goes on (RFC 5246 section 7.4.1.1).
_OPTIONS = ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


class ContextKey(NamedTuple):
    """Everything that a client's context is made of."""

    level: SocketProtectionLevel
    floor: SocketProtectionLevel
    anchors: TrustAnchors | None
    certificate: Certificate | None
    alpn: tuple[str, ...]
    key_log: str = ""
    transferable: bool = False

    def versions(self) -> tuple[ssl.TLSVersion, ssl.TLSVersion]:
        """The lowest and the highest version to offer."""
        highest = _VERSIONS.get(self.level, ssl.TLSVersion.TLSv1_3)
        lowest = _VERSIONS.get(self.floor, POLICY_MINIMUM)
        return min(lowest, highest), highest


class KeptSession(NamedTuple):
    """A session of the past, with what its server had sent."""

    session: ssl.SSLSession
    chain: tuple[bytes, ...]
    made_at: float


class TlsMemory:
    """The contexts and sessions of one loop."""

    def __init__(self) -> None:
        self._contexts: OrderedDict[tuple[str, ContextKey], Any] = OrderedDict()
        self._sessions: OrderedDict[tuple[ContextKey, str, str], KeptSession] = OrderedDict()
        self._system: TrustAnchors | None = None

    def anchors(self, chosen: TrustAnchors | None) -> TrustAnchors:
        """Whom to trust: the chosen ones, or the system's, which are read once."""
        if chosen is not None:
            return chosen
        if self._system is None:
            self._system = TrustAnchors.system()
        return self._system

    def fast(self, key: ContextKey) -> ssl.SSLContext:
        """The context of the standard library."""
        context: ssl.SSLContext = self._kept("fast", key, self._make_fast)
        return context

    def full(self, key: ContextKey) -> Any:
        """The context of pyOpenSSL. Errors: ERROR_NOT_SUPPORTED without the extra `tls`."""
        return self._kept("full", key, self._make_full)

    def _kept(self, kind: str, key: ContextKey, make: Any) -> Any:
        if key.key_log:
            return make(key)  # the file that it holds open ends with the connection
        found = self._contexts.get((kind, key))
        if found is None:
            found = make(key)
            self._contexts[kind, key] = found
            if len(self._contexts) > CONTEXTS_LIMIT:
                _, forgotten = self._contexts.popitem(last=False)[0]
                for place in [place for place in self._sessions if place[0] == forgotten]:
                    del self._sessions[place]
        else:
            self._contexts.move_to_end((kind, key))
        return found

    def _make_fast(self, key: ContextKey) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _set_versions(context, *key.versions())
        context.options |= _OPTIONS
        context.set_ciphers(CIPHERS)
        context.hostname_checks_common_name = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self.anchors(key.anchors).load_into(context)
        if key.alpn:
            context.set_alpn_protocols(list(key.alpn))
        if key.certificate is not None:
            load_identity(context, key.certificate)
        _log_keys(context, key.key_log, transferable=key.transferable)
        return context

    def _make_full(self, key: ContextKey) -> Any:
        from moorings.certificates.certificate import (  # noqa: PLC0415
            certificate_der,
            chain_ders,
            private_key,
        )
        from moorings.certificates.libraries import require  # noqa: PLC0415

        require("ignoring certificate errors one by one", "OpenSSL.SSL")
        from moorings.engine.tls_full_codec import make_full_context, show_identity, trust_der  # noqa: PLC0415

        lowest, highest = key.versions()
        writer = KeyLogWriter(key.key_log) if key.key_log else None
        made = make_full_context(
            minimum=int(lowest),
            maximum=int(highest),
            ciphers=CIPHERS,
            options=int(_OPTIONS),
            partial_chain=int(ssl.VERIFY_X509_PARTIAL_CHAIN),
            key_log=writer,
        )
        if key.transferable:
            keep_keys(made, writer)
        anchors = self.anchors(key.anchors)
        for der in anchors.ders():
            trust_der(made, der)
        if key.certificate is not None:
            show_identity(
                made, certificate_der(key.certificate), chain_ders(key.certificate), private_key(key.certificate)
            )
        return made

    # -- sessions ----------------------------------------------------------------------------------------------------

    def take_session(self, key: ContextKey, name: str, port: str) -> KeptSession | None:
        """A session to shorten a handshake with; it is used once."""
        found = self._sessions.pop((key, name, port), None)
        if found is None or time.monotonic() - found.made_at > SESSION_LIFETIME:
            return None
        return found

    def keep_session(self, key: ContextKey, name: str, port: str, kept: KeptSession, context: ssl.SSLContext) -> None:
        """Remember a session of a connection whose server was accepted without any error.

        It goes on in the context that it was made in only: one that has been forgotten meanwhile, or that was never
        kept, as those with a key log are not, has no use for it.
        """
        if self._contexts.get(("fast", key)) is not context:
            return
        self._sessions[key, name, port] = kept
        self._sessions.move_to_end((key, name, port))
        if len(self._sessions) > SESSIONS_LIMIT:
            self._sessions.popitem(last=False)


def memory_of(hub: Hub) -> TlsMemory:
    """The memory of a loop, made on first use."""
    if hub.tls_memory is None:
        hub.tls_memory = TlsMemory()
    memory: TlsMemory = hub.tls_memory
    return memory


def _set_versions(context: ssl.SSLContext, lowest: ssl.TLSVersion, highest: ssl.TLSVersion) -> None:
    if lowest >= POLICY_MINIMUM:
        context.minimum_version, context.maximum_version = lowest, highest
        return
    with warnings.catch_warnings():  # that versions 1.0 and 1.1 are old is known: the program asked for them by name
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = lowest, highest


def load_identity(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Let `context` show a certificate. `ssl` takes files only: this one is in memory, and gone at once.

    Errors: E_INVALIDARG where OpenSSL does not take it, such as a key that is too weak.
    """
    descriptor = os.memfd_create("moorings-identity", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(identity_pem(certificate))
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except ssl.SSLError as error:
        reason = (error.reason or "it cannot be used").lower().replace("_", " ")
        raise errors.invalid_argument(f"the certificate {certificate!r} cannot be used for TLS: {reason}") from error
    finally:
        os.close(descriptor)


def server_context(
    certificate: Certificate,
    client_anchors: TrustAnchors | None,
    alpn: tuple[str, ...],
    key_log: str = "",
    *,
    transferable: bool = False,
) -> ssl.SSLContext:
    """The context of a listener. With `client_anchors` each client needs a certificate that leads there.

    The connections of a `transferable` one may move to other processes.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = POLICY_MINIMUM
    context.options |= _OPTIONS
    context.set_ciphers(CIPHERS)
    context.sslobject_class = RecordingSslObject
    context.sni_callback = remember_requested_name
    load_identity(context, certificate)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if client_anchors is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        client_anchors.load_into(context)
    _log_keys(context, key_log, transferable=transferable)
    return context


def _log_keys(context: ssl.SSLContext, key_log: str, *, transferable: bool) -> None:
    """Secrets go to the program's log, and to ourselves where a connection may move: OpenSSL has one log only."""
    if transferable:
        keep_keys(context, KeyLogWriter(key_log) if key_log else None)
    elif key_log:
        attach_key_log(context, key_log)
