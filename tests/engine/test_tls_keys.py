"""Keys of records: the published vectors, and OpenSSL on the other side."""

from __future__ import annotations

import struct

import pytest

from moorings.engine.tls_keys import (
    AES_GCM_128,
    AES_GCM_256,
    CHACHA20_POLY1305,
    DirectionKeys,
    Suite,
    crypto_info,
    keys_of_master,
    keys_of_traffic_secret,
    open_record,
    pseudo_random,
    suite_of,
)

AES_128 = suite_of("TLSv1.3", "TLS_AES_128_GCM_SHA256")


@pytest.mark.parametrize(
    ("secret", "key", "iv"),
    [
        (
            "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
            "9f02283b6c9c07efc26bb9f2ac92e356",
            "cf782b88dd83549aadf1e984",
        ),
        (
            "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
            "17422dda596ed5d9acd890e3c63f5051",
            "5b78923dee08579033e523d9",
        ),
    ],
    ids=["server", "client"],
)
def test_tls13_vectors(secret: str, key: str, iv: str) -> None:
    """RFC 8448 section 3: the traffic keys of application data."""
    assert AES_128 is not None
    keys = keys_of_traffic_secret(AES_128, bytes.fromhex(secret))
    assert (keys.key.hex(), keys.iv.hex()) == (key, iv)
    keys.wipe()
    assert not any(keys.key + keys.iv)


def test_tls12_vector() -> None:
    """The vector of P_SHA256 that the TLS working group's list has."""
    made = pseudo_random(
        bytes.fromhex("9bbe436ba940f017b17652849a71db35"),
        b"test label",
        bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c"),
        100,
        "sha256",
    )
    assert made.hex() == (
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17"
        "abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66"
    )


def test_the_parts_of_a_key_block() -> None:
    suite = suite_of("TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384")
    assert suite == Suite(AES_GCM_256, 32, "sha384", "TLSv1.2")
    client, server = keys_of_master(suite, b"m" * 48, b"c" * 32, b"s" * 32)
    block = pseudo_random(b"m" * 48, b"key expansion", b"s" * 32 + b"c" * 32, 72, "sha384")
    assert client.key + server.key + client.iv + server.iv == block


@pytest.mark.parametrize(
    ("version", "cipher"),
    [
        ("TLSv1.2", "ECDHE-RSA-AES128-SHA256"),
        ("TLSv1.2", "TLS_AES_128_GCM_SHA256"),
        ("TLSv1.2", "DHE-RSA-AES128-CCM"),
        ("TLSv1.3", "TLS_AES_128_CCM_SHA256"),
        ("TLSv1.1", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("", ""),
    ],
)
def test_what_the_kernel_has_not(version: str, cipher: str) -> None:
    assert suite_of(version, cipher) is None


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_what_the_kernel_takes(version: str) -> None:
    """As struct tls12_crypto_info_aes_gcm_128, ..._256 and ..._chacha20_poly1305 of linux/tls.h."""
    number = struct.pack("=H", {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}[version])
    for kernel_number, size in ((AES_GCM_128, 16), (AES_GCM_256, 32)):
        suite = Suite(kernel_number, size, "", version)
        keys = DirectionKeys(bytearray(b"k" * size), bytearray(b"salt" if suite.explicit_nonce else b"saltivivivev"))
        made = crypto_info(suite, keys, 7, b"ivivivev" if suite.explicit_nonce else b"")
        assert made[2:] == struct.pack("=H", kernel_number) + b"ivivivev" + b"k" * size + b"salt" + bytes(7) + b"\7"
        assert made[:2] == number
    keys = DirectionKeys(bytearray(b"k" * 32), bytearray(b"saltivivivev"))
    made = crypto_info(Suite(CHACHA20_POLY1305, 32, "", version), keys, 258)
    assert made == number + struct.pack("=H", 54) + b"saltivivivev" + b"k" * 32 + bytes(6) + b"\1\2"


def test_a_record_that_is_too_short() -> None:
    assert AES_128 is not None
    keys = DirectionKeys(bytearray(16), bytearray(12))
    assert open_record(AES_128, keys, 0, b"\x17\x03\x03\x00\x05short") is None
    assert open_record(AES_128, keys, 0, b"\x17\x03\x03\x00\x14" + bytes(20)) is None
