"""One TLS session without any I/O: ciphertext in and out, plaintext in and out.

Theory of operation
-------------------
A session works on two memory BIOs. The caller feeds it what came from the network, takes what has to go there, and
never waits in it. `step` drives the handshake; then `read_into` and `write` move plaintext. Either may leave ciphertext
to send (answers to key updates, alerts), which `wants_send` tells. Nothing is decrypted before somebody asks, and the
caller feeds only what the session has asked for, so that its buffers hold one receive call and one record at most.

`TlsSession` is the fast one, on the standard library's `ssl`, where OpenSSL verifies the peer in the usual way.
`tls_full_codec` has the same interface on pyOpenSSL, for handshakes in which certificate errors are decided one by one.
Failures are `TlsFailure`: what happened, in words and codes; who knows the connection makes the exception of it.
"""

from __future__ import annotations

import re
import ssl
from enum import Enum
from typing import Any

from moorings import errors

__all__ = [
    "FailureKind",
    "RecordingSslObject",
    "TlsFailure",
    "TlsSession",
    "error_of",
    "remember_requested_name",
]

#: Plaintext bytes of one record at most (RFC 8446 section 5.1).
RECORD_SIZE = 16384

# `_ssl.ENCODING_DER`, which has no public name: X509_FILETYPE_ASN1 of openssl/x509.h.
_DER = 2

_NOT_TLS = frozenset(("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "UNKNOWN_PROTOCOL"))
_VERSIONS = frozenset(("UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "NO_SHARED_CIPHER", "VERSION_TOO_LOW"))
# What the peer sent, as OpenSSL 3 and 4 name it; what they say of alerts that are none has other names.
_ALERT = re.compile(r"(SSLV3|TLSV1|TLSV13)_(ALERT_)?|(SSL_TLS|TLS)_ALERT_")
_BAD_RECORD = frozenset(("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "BAD_RECORD_TYPE", "DATA_LENGTH_TOO_LONG"))


class FailureKind(Enum):
    """What made a session fail."""

    CERTIFICATE = "certificate"
    """We do not accept the peer's certificate."""
    ALERT = "alert"
    """The peer ended the session with an alert."""
    NOT_TLS = "not TLS"
    """What the peer sends is no TLS."""
    VERSION = "version"
    """The two sides have no version or cipher in common."""
    RECORD = "record"
    """A record that was changed on its way, or made with other keys."""
    PROTOCOL = "protocol"
    """Anything else that breaks the protocol."""


class TlsFailure(Exception):  # noqa: N818 - it never leaves the library; `errors` has what does
    """A session that cannot go on."""

    def __init__(self, kind: FailureKind, text: str, verify_code: int = 0) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text
        #: The X509_V_ERR number where a certificate was refused, else 0.
        self.verify_code = verify_code


_CODES = {
    FailureKind.CERTIFICATE: errors.SEC_E_CERT_UNKNOWN,
    FailureKind.ALERT: errors.SEC_E_ILLEGAL_MESSAGE,
    FailureKind.NOT_TLS: errors.SEC_E_INVALID_TOKEN,
    FailureKind.VERSION: errors.SEC_E_ALGORITHM_MISMATCH,
    FailureKind.RECORD: errors.SEC_E_MESSAGE_ALTERED,
    FailureKind.PROTOCOL: errors.SEC_E_ILLEGAL_MESSAGE,
}
_NEXT_STEPS = {
    FailureKind.CERTIFICATE: "the certificate is not accepted",
    FailureKind.ALERT: "the peer ended TLS with an alert; its log says why",
    FailureKind.NOT_TLS: "what the peer sends is no TLS; is it the right port, or does it need an upgrade first?",
    FailureKind.VERSION: "both sides have no TLS version or cipher in common; look at their protection levels",
    FailureKind.RECORD: "a record was changed on its way; what came before it is intact",
    FailureKind.PROTOCOL: "the peer breaks the protocol",
}


def error_of(failure: TlsFailure, what: str) -> errors.CodedError:
    """The exception for a failure; `what` names the connection and what was being done."""
    reason = f"{what}: {_NEXT_STEPS[failure.kind]} ({failure.text})"
    return errors.make(_CODES[failure.kind], reason, cause=failure)


def failure_of(reason: str, text: str, verify_code: int = 0) -> TlsFailure:
    """The failure behind a reason of OpenSSL, such as "WRONG_VERSION_NUMBER"."""
    if verify_code or reason == "CERTIFICATE_VERIFY_FAILED":
        return TlsFailure(FailureKind.CERTIFICATE, text, verify_code)
    if _ALERT.match(reason):
        return TlsFailure(FailureKind.ALERT, alert_name(reason))
    for kind, reasons in (
        (FailureKind.NOT_TLS, _NOT_TLS),
        (FailureKind.VERSION, _VERSIONS),
        (FailureKind.RECORD, _BAD_RECORD),
    ):
        if reason in reasons:
            return TlsFailure(kind, text)
    return TlsFailure(FailureKind.PROTOCOL, text)


def alert_name(reason: str) -> str:
    """The alert in a reason such as "TLSV1_ALERT_UNKNOWN_CA", in words."""
    return _ALERT.sub("", reason).lower().replace("_", " ")


class RecordingSslObject(ssl.SSLObject):
    """An SSLObject that remembers which server name the client asked for."""

    #: The name of the client's SNI extension, on the accepting side; "" when it sent none.
    requested_name: str = ""


def remember_requested_name(made: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
    """For `SSLContext.sni_callback`: note the name and go on."""
    if isinstance(made, RecordingSslObject):
        made.requested_name = name or ""


class TlsSession:
    """A session on the standard library's `ssl`."""

    __slots__ = ("_incoming", "_made", "_outgoing", "_read", "_write", "peer_closed")

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_name: str | None = None,
        resumed: ssl.SSLSession | None = None,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._made: ssl.SSLObject = context.wrap_bio(
            self._incoming, self._outgoing, server_side, server_name, session=resumed
        )
        # The object below costs a call less for each record; where there is none the public one does the same.
        inner: Any = getattr(self._made, "_sslobj", self._made)
        self._read = inner.read
        self._write = inner.write
        #: Whether the peer has said that it sends no more.
        self.peer_closed = False

    # -- handshake ---------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Go on with the handshake as far as the bytes go; True when it is done."""
        try:
            self._made.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.CertificateError as error:
            raise failure_of("CERTIFICATE_VERIFY_FAILED", _verify_text(error), _verify_code(error)) from error
        except ssl.SSLError as error:
            raise failure_of(error.reason or "", _text(error)) from error
        return True

    # -- the network's side ------------------------------------------------------------------------------------------

    def feed(self, ciphertext: Any) -> None:
        """Take what came from the network; it is copied."""
        self._incoming.write(ciphertext)

    def wants_send(self) -> int:
        """How many bytes of ciphertext there are to send."""
        return self._outgoing.pending

    def take_ciphertext(self) -> bytes:
        """All that has to be sent."""
        return self._outgoing.read()

    def has_buffered(self) -> bool:
        """Whether `read_into` may give something without being fed."""
        return self._incoming.pending > 0 or self._made.pending() > 0

    # -- the program's side ------------------------------------------------------------------------------------------

    def read_into(self, target: Any, count: int) -> int:
        """Decrypt up to `count` bytes into `target`; 0 when the peer has closed, -1 when it has to be fed first."""
        try:
            number: int = self._read(count, target)
        except ssl.SSLWantReadError:
            return -1
        except ssl.SSLZeroReturnError:
            number = 0
        except ssl.SSLError as error:
            raise failure_of(error.reason or "", _text(error)) from error
        if number == 0:
            self.peer_closed = True
        return number

    def write(self, data: Any) -> int:
        """Encrypt some of `data`, at least a byte; the number of bytes that were taken."""
        try:
            number: int = self._write(data)
        except ssl.SSLError as error:
            raise failure_of(error.reason or "", _text(error)) from error
        return number

    def close_notify(self) -> None:
        """Tell the peer that we send no more. What it has sent must have been read from here before."""
        try:
            self._made.unwrap()
        except (ssl.SSLError, ValueError):
            # The alert is out; that the peer's own one is not there yet, or that it says something else, is for reads.
            return

    # -- handing over ------------------------------------------------------------------------------------------------

    def parts(self) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
        """What the session is made of, for who takes its I/O over (`_records.pyx`): object, incoming, outgoing."""
        return self._made, self._incoming, self._outgoing

    def hand_over(self) -> None:
        """Somebody else moves the bytes from now on; only facts are asked for here."""
        del self._incoming, self._outgoing, self._read, self._write

    # -- facts -------------------------------------------------------------------------------------------------------

    def version(self) -> str:
        """The version in use, such as "TLSv1.3"; "" before it is known."""
        return self._made.version() or ""

    def cipher(self) -> str:
        """The name of the cipher suite; "" before it is known."""
        found = self._made.cipher()
        return found[0] if found else ""

    def alpn(self) -> str:
        """The application protocol that both sides agreed on; "" for none."""
        return self._made.selected_alpn_protocol() or ""

    def requested_name(self) -> str:
        """The server name that the client asked for, on the accepting side; "" for none."""
        return getattr(self._made, "requested_name", "")

    def resumed(self) -> bool:
        """Whether the handshake was shortened by an earlier session."""
        return bool(self._made.session_reused)

    def exported(self) -> ssl.SSLSession | None:
        """What a later handshake may be shortened with."""
        return self._made.session

    def peer_chain(self) -> list[bytes]:
        """What the peer sent, as DER, its own certificate first; after a failed handshake, too."""
        inner: Any = getattr(self._made, "_sslobj", None)
        public: Any = getattr(self._made, "get_unverified_chain", None)
        try:
            chain = public() if public is not None else inner.get_unverified_chain()
            if not chain:  # a shortened handshake leaves the certificate alone, where it leaves any
                chain = [self._made.getpeercert(binary_form=True)]
        except (AttributeError, ValueError, ssl.SSLError):
            return []
        return [_der(each) for each in chain if each is not None]


def _der(certificate: Any) -> bytes:
    return certificate if isinstance(certificate, bytes) else bytes(certificate.public_bytes(_DER))


def _text(error: ssl.SSLError) -> str:
    reason = error.reason or (str(error.args[-1]) if error.args else "")
    return reason.lower().replace("_", " ")


def _verify_code(error: ssl.CertificateError) -> int:
    return int(getattr(error, "verify_code", 0) or 0) or 1


def _verify_text(error: ssl.CertificateError) -> str:
    return str(getattr(error, "verify_message", "") or error).rstrip(".")
