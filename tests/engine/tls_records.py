"""Records as no good peer makes them: the keys come from the key log, the records are our own."""

from __future__ import annotations

import hashlib
import hmac
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.engine.tls_pairs import NAME, client_context, server_context

from moorings.engine.tls_codec import TlsSession

if TYPE_CHECKING:
    import ssl

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
HELLO_REQUEST = bytes(4)
KEY_UPDATE, KEY_UPDATE_WITH_REQUEST = b"\x18\0\0\x01\0", b"\x18\0\0\x01\x01"
WARNING, FATAL = 1, 2
USER_CANCELED, NO_RENEGOTIATION, INTERNAL_ERROR = 90, 100, 80
_AES128_TLS12 = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"


class LoggedSession(TlsSession):
    """A session that remembers what the server said, and whose secrets are logged. A server's sends no tickets."""

    def __init__(self, version: str, *, client: bool) -> None:
        with tempfile.NamedTemporaryFile(prefix="keys", delete=False) as file:
            self.log = Path(file.name)
        self.client = client
        self.said = b""
        context: ssl.SSLContext = client_context(version) if client else server_context(version)
        context.keylog_filename = str(self.log)
        if version == "TLS 1.2":
            context.set_ciphers(_AES128_TLS12)
        if not client:
            context.num_tickets = 0
        TlsSession.__init__(self, context, server_side=not client, server_name=NAME if client else None)

    def feed(self, ciphertext: Any) -> None:
        if self.client:
            self.said += bytes(ciphertext)
        TlsSession.feed(self, ciphertext)

    def take_ciphertext(self) -> bytes:
        taken = TlsSession.take_ciphertext(self)
        if not self.client:
            self.said += taken
        return taken


class Forger:
    """Makes encrypted records of any kind, as one side of a session sends them, after its handshake."""

    def __init__(self, session: LoggedSession) -> None:
        client = session.client
        log = session.log
        self.version = session.version()
        secrets = {words[0]: words[1:] for line in log.read_text().splitlines() if len(words := line.split()) == 3}
        self.sequence = 0
        if self.version == "TLSv1.3":
            name = "CLIENT_TRAFFIC_SECRET_0" if client else "SERVER_TRAFFIC_SECRET_0"
            self.hash = hashlib.sha384 if "SHA384" in session.cipher() else hashlib.sha256
            self.size = 32 if "256_GCM" in session.cipher() else 16
            assert "GCM" in session.cipher()
            self.secret = bytes.fromhex(secrets[name][1])
            self._set_keys()
        else:
            client_random, master = map(bytes.fromhex, secrets["CLIENT_RANDOM"])
            server_random = session.said[11:43]  # behind the headers of record and message, and the version
            block = _prf(master, b"key expansion" + server_random + client_random, 40)
            self.key = AESGCM(block[:16] if client else block[16:32])
            self.salt = block[32:36] if client else block[36:40]
            self.sequence = 1  # Finished was the first
        log.unlink()

    def _set_keys(self) -> None:
        self.key = AESGCM(self._expand(b"key", self.size))
        self.salt = self._expand(b"iv", 12)
        self.sequence = 0

    def _expand(self, label: bytes, size: int) -> bytes:
        label = b"tls13 " + label
        info = size.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
        return _hkdf_expand(self.hash, self.secret, info, size)

    def update_keys(self) -> None:
        """What comes behind a KeyUpdate."""
        self.secret = self._expand(b"traffic upd", self.hash().digest_size)
        self._set_keys()

    def record(self, kind: int, content: bytes) -> bytes:
        """One record of this kind."""
        number = self.sequence.to_bytes(8, "big")
        self.sequence += 1
        if self.version == "TLSv1.3":
            nonce = bytes(a ^ b for a, b in zip(self.salt, b"\0\0\0\0" + number, strict=True))
            header = bytes([APPLICATION_DATA, 3, 3]) + (len(content) + 17).to_bytes(2, "big")
            return header + self.key.encrypt(nonce, content + bytes([kind]), header)
        sealed = self.key.encrypt(
            self.salt + number, content, number + bytes([kind, 3, 3]) + len(content).to_bytes(2, "big")
        )
        return bytes([kind, 3, 3]) + (len(sealed) + 8).to_bytes(2, "big") + number + sealed

    def data(self, content: bytes) -> bytes:
        return self.record(APPLICATION_DATA, content)

    def alert(self, level: int, code: int) -> bytes:
        return self.record(ALERT, bytes([level, code]))

    def key_update(self, *, request: bool = False) -> bytes:
        made = self.record(HANDSHAKE, KEY_UPDATE_WITH_REQUEST if request else KEY_UPDATE)
        self.update_keys()
        return made


def _hkdf_expand(kind: object, secret: bytes, info: bytes, size: int) -> bytes:
    made, block, number = b"", b"", 1
    while len(made) < size:
        block = hmac.digest(secret, block + info + bytes([number]), kind)  # type: ignore[arg-type]
        made += block
        number += 1
    return made[:size]


def _prf(secret: bytes, seed: bytes, size: int) -> bytes:
    """RFC 5246 section 5."""
    made, link = b"", seed
    while len(made) < size:
        link = hmac.digest(secret, link, "sha256")
        made += hmac.digest(secret, link + seed, "sha256")
    return made[:size]
