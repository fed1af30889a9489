"""The TLS session of the full path: certificate errors are decided one by one, inside the handshake. Needs pyOpenSSL.

The interface is that of `tls_codec.TlsSession`. OpenSSL asks for each error it finds before it goes on; the answer is
`judge`'s, who sees the whole chain that the peer sent. So the verdict is there before anything of the program's goes
out: no application byte and no client certificate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.x509 import load_der_x509_certificate
from OpenSSL import SSL, crypto

from moorings.engine.tls_codec import FailureKind, TlsFailure, failure_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["FullTlsSession", "Finding", "make_full_context", "show_identity", "trust_der"]

#: One call of OpenSSL's verification: error number (0 for none), depth, certificate in DER.
Finding = tuple[int, int, bytes]

_TAKE_SIZE = 65536


def make_full_context(
    *,
    minimum: int,
    maximum: int,
    ciphers: str,
    options: int,
    partial_chain: int,
    key_log: Callable[[Any, bytes], None] | None = None,
) -> Any:
    """A context for clients; versions as in the protocol, 0x0303 and 0x0304; the caller adds whom it trusts."""
    context: Any = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(minimum)
    context.set_max_proto_version(maximum)
    context.set_cipher_list(ciphers.encode())
    context.set_options(options)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.get_cert_store().set_flags(partial_chain)
    context.set_ocsp_client_callback(_take_staple)
    if key_log is not None:
        context.set_keylog_callback(key_log)
    return context


def _take_staple(made: Any, answer: bytes, _data: object) -> bool:
    """Keep what the server stapled; whether it is good enough is for the verdict to tell."""
    session: FullTlsSession = made.get_app_data()
    session.staple = answer
    return True


def trust_der(context: Any, der: bytes) -> None:
    """Let a context end chains at this certificate."""
    context.get_cert_store().add_cert(crypto.load_certificate(crypto.FILETYPE_ASN1, der))


def show_identity(context: Any, der: bytes, chain: Sequence[bytes], key: Any) -> None:
    """Let a context show a certificate, with its chain; `key` is a private key of `cryptography`."""
    context.use_certificate(load_der_x509_certificate(der))
    for other in chain:
        context.add_extra_chain_cert(load_der_x509_certificate(other))
    context.use_privatekey(key)


class FullTlsSession:
    """A client's session on pyOpenSSL."""

    __slots__ = ("_ciphertext", "_fed", "_judge", "_made", "_problem", "chain", "findings", "peer_closed", "staple")

    def __init__(
        self,
        context: Any,
        *,
        sni: str,
        alpn: tuple[str, ...],
        judge: Callable[[list[bytes], Finding], bool],
        ask_staple: bool = False,
    ) -> None:
        """`judge` is given the chain that the peer sent, its own certificate first, and one finding; False refuses.

        With `ask_staple` the server is asked for an OCSP answer, which is then in `staple`.
        """
        made: Any = SSL.Connection(context, None)
        made.set_connect_state()
        made.set_verify(SSL.VERIFY_PEER, self._verify)
        if sni:
            made.set_tlsext_host_name(sni.encode("ascii"))
        if alpn:
            made.set_alpn_protos([name.encode("ascii") for name in alpn])
        if ask_staple:
            made.set_app_data(self)
            made.request_ocsp()
        self._made = made
        self._judge = judge
        self._ciphertext = b""
        self._fed = False
        self._problem: Exception | None = None
        #: What the peer sent, and what OpenSSL found, in the order of its calls.
        self.chain: list[bytes] = []
        self.findings: list[Finding] = []
        self.peer_closed = False
        #: The OCSP answer that the server stapled; b"" for none.
        self.staple = b""

    def _verify(self, made: Any, certificate: Any, code: int, depth: int, _ok: int) -> bool:
        if self._problem is not None:
            return False
        if not self.chain:
            self.chain = [_der(each) for each in made.get_peer_cert_chain() or ()]
        finding = (code, depth, _der(certificate))
        self.findings.append(finding)
        try:
            return self._judge(self.chain, finding)
        except Exception as error:  # noqa: BLE001 - OpenSSL is between us and the caller; `step` raises it
            self._problem = error
            return False

    def step(self) -> bool:
        """Go on with the handshake as far as the bytes go; True when it is done."""
        try:
            self._made.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            if self._problem is not None:
                raise self._problem from None
            code = next((found[0] for found in reversed(self.findings) if found[0]), 0)
            failure = _failure(error)
            if failure.kind is FailureKind.CERTIFICATE:
                failure.verify_code = code
            raise failure from error
        return True

    def feed(self, ciphertext: Any) -> None:
        """Take what came from the network; it is copied."""
        self._made.bio_write(ciphertext)
        self._fed = True

    def wants_send(self) -> int:
        """How many bytes of ciphertext there are to send."""
        while piece := self._pull():
            self._ciphertext += piece
        return len(self._ciphertext)

    def take_ciphertext(self) -> bytes:
        """All that has to be sent."""
        self.wants_send()
        taken, self._ciphertext = self._ciphertext, b""
        return taken

    def _pull(self) -> bytes:
        try:
            found: bytes = self._made.bio_read(_TAKE_SIZE)
        except SSL.WantReadError:
            return b""
        return found

    def has_buffered(self) -> bool:
        """Whether `read_into` may give something without being fed."""
        return self._fed or self._made.pending() > 0

    def read_into(self, target: Any, count: int) -> int:
        """Decrypt up to `count` bytes into `target`; 0 when the peer has closed, -1 when it has to be fed first."""
        try:
            number: int = self._made.recv_into(target, count)
        except SSL.WantReadError:
            self._fed = False
            return -1
        except SSL.ZeroReturnError:
            self._fed = False
            self.peer_closed = True
            return 0
        except SSL.Error as error:
            raise _failure(error) from error
        return number

    def write(self, data: Any) -> int:
        """Encrypt some of `data`, at least a byte; the number of bytes that were taken."""
        try:
            number: int = self._made.send(data)
        except SSL.Error as error:
            raise _failure(error) from error
        return number

    def close_notify(self) -> None:
        """Tell the peer that we send no more."""
        try:
            self._made.shutdown()
        except SSL.Error:
            return  # the alert is out; the rest is for reads to tell

    def version(self) -> str:
        """The version in use, such as "TLSv1.3"."""
        return str(self._made.get_protocol_version_name())

    def cipher(self) -> str:
        """The name of the cipher suite; "" before it is known."""
        return self._made.get_cipher_name() or ""

    def alpn(self) -> str:
        """The application protocol that both sides agreed on; "" for none."""
        found: bytes = self._made.get_alpn_proto_negotiated()
        return found.decode("ascii", "replace")

    def requested_name(self) -> str:
        """Clients have none."""
        return ""

    def resumed(self) -> bool:
        """Never: each of these handshakes asks about the certificate."""
        return False

    def exported(self) -> None:
        """Nothing: what was let pass once must be asked for again."""

    def peer_chain(self) -> list[bytes]:
        """What the peer sent, as DER, its own certificate first; after a failed handshake, too."""
        return list(self.chain)


def _der(certificate: Any) -> bytes:
    return bytes(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate))


def _failure(error: Exception) -> TlsFailure:
    """What pyOpenSSL's error says: it has a list of (library, function, reason)."""
    if isinstance(error, SSL.SysCallError):
        return TlsFailure(FailureKind.PROTOCOL, str(error))
    reasons: Any = error.args[0] if error.args else None
    text = str(reasons[-1][-1]) if reasons and type(reasons) is not str else "the session is over"
    return failure_of(text.upper().replace(" ", "_").replace("/", "_"), text)
