"""The keys of TLS records, derived from the secrets of a session; for moving a connection into the kernel.

TLS 1.3: RFC 8446 section 7.3. TLS 1.2: RFC 5246 sections 5 and 6.3, with the suites of RFC 5288 and RFC 7905, which
have no keys but those of encryption. Secrets and keys are bytearrays, so that `wipe` can overwrite them: as far as that
goes in Python, where a library may have made copies of its own.
"""

from __future__ import annotations

import hmac
import struct
from typing import Any, NamedTuple

__all__ = [
    "DirectionKeys",
    "Suite",
    "crypto_info",
    "expand_label",
    "keys_of_master",
    "keys_of_traffic_secret",
    "open_record",
    "pseudo_random",
    "suite_of",
    "wipe",
]

HEADER_SIZE = 5
ALERT, HANDSHAKE, APPLICATION_DATA, CHANGE_CIPHER_SPEC = 21, 22, 23, 20
KEY_UPDATE = 24

VERSION_NUMBERS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

# linux/tls.h: TLS_CIPHER_AES_GCM_128, TLS_CIPHER_AES_GCM_256, TLS_CIPHER_CHACHA20_POLY1305.
AES_GCM_128, AES_GCM_256, CHACHA20_POLY1305 = 51, 52, 54
_IV_SIZE = 12
_TAG_SIZE = 16
_GCM_SALT_SIZE = 4


class Suite(NamedTuple):
    """What the keys of a cipher suite look like, and the kernel's number for it."""

    kernel_number: int
    key_size: int
    digest: str
    version: str

    @property
    def explicit_nonce(self) -> bool:
        """Whether each record carries the second part of its nonce (RFC 5288)."""
        return self.version == "TLSv1.2" and self.kernel_number != CHACHA20_POLY1305


class DirectionKeys(NamedTuple):
    """Key and IV of one direction; of AES-GCM in TLS 1.2 only the first four octets of the IV."""

    key: bytearray
    iv: bytearray

    def wipe(self) -> None:
        """Overwrite both."""
        wipe(self.key)
        wipe(self.iv)


_TLS13 = {
    "TLS_AES_128_GCM_SHA256": (AES_GCM_128, 16, "sha256"),
    "TLS_AES_256_GCM_SHA384": (AES_GCM_256, 32, "sha384"),
    "TLS_CHACHA20_POLY1305_SHA256": (CHACHA20_POLY1305, 32, "sha256"),
}
_TLS12_ENDINGS = {
    "-AES128-GCM-SHA256": (AES_GCM_128, 16, "sha256"),
    "-AES256-GCM-SHA384": (AES_GCM_256, 32, "sha384"),
    "-CHACHA20-POLY1305": (CHACHA20_POLY1305, 32, "sha256"),
}


def suite_of(version: str, cipher: str) -> Suite | None:
    """The suite behind OpenSSL's names, such as "TLSv1.3", "TLS_AES_128_GCM_SHA256"; None where kernels have none."""
    found: tuple[int, int, str] | None = None
    if version == "TLSv1.3":
        found = _TLS13.get(cipher)
    elif version == "TLSv1.2":
        found = next((row for ending, row in _TLS12_ENDINGS.items() if cipher.endswith(ending)), None)
    return None if found is None else Suite(*found, version)


def wipe(secret: bytearray) -> None:
    """Overwrite a secret."""
    secret[:] = bytes(len(secret))


def expand_label(secret: bytes | bytearray, label: bytes, length: int, digest: str) -> bytearray:
    """HKDF-Expand-Label with an empty context (RFC 8446 section 7.1), for no more than one block of the hash."""
    full = b"tls13 " + label
    info = struct.pack(">HB", length, len(full)) + full + b"\0"
    return bytearray(hmac.digest(secret, info + b"\1", digest)[:length])


def keys_of_traffic_secret(suite: Suite, secret: bytes | bytearray) -> DirectionKeys:
    """The keys of one direction of TLS 1.3."""
    return DirectionKeys(
        expand_label(secret, b"key", suite.key_size, suite.digest), expand_label(secret, b"iv", _IV_SIZE, suite.digest)
    )


def pseudo_random(secret: bytes | bytearray, label: bytes, seed: bytes, length: int, digest: str) -> bytearray:
    """The PRF of TLS 1.2 (RFC 5246 section 5)."""
    seed = label + seed
    made = bytearray()
    link = seed
    while len(made) < length:
        link = hmac.digest(secret, link, digest)
        made += hmac.digest(secret, link + seed, digest)
    del made[length:]
    return made


def keys_of_master(
    suite: Suite, master: bytes | bytearray, client_random: bytes, server_random: bytes
) -> tuple[DirectionKeys, DirectionKeys]:
    """The keys of the client's and of the server's direction of TLS 1.2."""
    iv_size = _GCM_SALT_SIZE if suite.explicit_nonce else _IV_SIZE
    size = 2 * (suite.key_size + iv_size)
    block = pseudo_random(master, b"key expansion", server_random + client_random, size, suite.digest)
    key, iv = suite.key_size, iv_size
    try:
        return (
            DirectionKeys(block[:key], block[2 * key : 2 * key + iv]),
            DirectionKeys(block[key : 2 * key], block[2 * key + iv :]),
        )
    finally:
        wipe(block)


def crypto_info(suite: Suite, keys: DirectionKeys, sequence: int, explicit: bytes = b"") -> bytearray:
    """What the kernel takes for one direction (`struct tls12_crypto_info_*` of linux/tls.h): it begins at `sequence`.

    `explicit` is the second part of the next nonce where the records carry it.
    """
    made = bytearray(struct.pack("=HH", VERSION_NUMBERS[suite.version], suite.kernel_number))
    if suite.kernel_number == CHACHA20_POLY1305:
        made += keys.iv
        made += keys.key
    else:
        salt = memoryview(keys.iv)[:_GCM_SALT_SIZE]
        made += explicit if suite.explicit_nonce else memoryview(keys.iv)[_GCM_SALT_SIZE:]
        made += keys.key
        made += salt
    made += struct.pack(">Q", sequence)
    return made


def _nonce(keys: DirectionKeys, sequence: int) -> bytes:
    number = int.from_bytes(keys.iv, "big") ^ sequence
    return number.to_bytes(len(keys.iv), "big")


def _aad(suite: Suite, sequence: int, kind: int, length: int) -> bytes:
    header = struct.pack(">BHH", kind, 0x0303, length)
    return header if suite.version == "TLSv1.3" else struct.pack(">Q", sequence) + header


def open_record(suite: Suite, keys: DirectionKeys, sequence: int, record: bytes) -> tuple[int, bytes] | None:
    """Content type and plaintext of a record; None where it was not made with these keys and this number.

    Needs the package `cryptography`.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 (the extra `tls`)
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305  # noqa: PLC0415

    cipher: Any = ChaCha20Poly1305(keys.key) if suite.kernel_number == CHACHA20_POLY1305 else AESGCM(keys.key)
    body = record[HEADER_SIZE:]
    kind = record[0]
    if suite.explicit_nonce:
        nonce, body = bytes(keys.iv) + body[:8], body[8:]
    else:
        nonce = _nonce(keys, sequence)
    if len(body) < _TAG_SIZE:
        return None
    length = len(body) if suite.version == "TLSv1.3" else len(body) - _TAG_SIZE
    try:
        plain: bytes = cipher.decrypt(nonce, body, _aad(suite, sequence, kind, length))
    except InvalidTag:
        return None
    if suite.version == "TLSv1.3":
        plain = plain.rstrip(b"\0")
        return (plain[-1], plain[:-1]) if plain else None
    return kind, plain
