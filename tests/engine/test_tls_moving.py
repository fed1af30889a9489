"""Sessions that may move: secrets, counting, and why they stay; without a kernel that has TLS."""

from __future__ import annotations

import gc
import os
import random
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from tests.engine.pairs import until
from tests.engine.tls_pairs import (
    NAME,
    Wire,
    client_context,
    movable_session,
    server_context,
    server_session,
    stream_and_wire,
)
from tests.engine.tls_records import HANDSHAKE, KEY_UPDATE, Forger, LoggedSession

from moorings import Buffer, InputStreamOptions, errors
from moorings.engine import kernel_tls
from moorings.engine.kernel_tls import Obstacle
from moorings.engine.tls_codec import TlsFailure, TlsSession
from moorings.engine.tls_keys import CHACHA20_POLY1305
from moorings.engine.tls_moving import (
    FileKeyLog,
    KernelKeys,
    MovableSession,
    MoveRefused,
    RecordTrail,
    keep_keys,
    movable,
    parse_key_log,
)

VERSIONS = ["TLS 1.2", "TLS 1.3"]
both_versions = pytest.mark.parametrize("version", VERSIONS)
CIPHERS = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"]
every_cipher = pytest.mark.parametrize(
    ("version", "ciphers"), [("TLS 1.3", ""), *(("TLS 1.2", each) for each in CIPHERS)]
)


def shake(client: Any, server: Any, *, size: int = 1 << 20) -> None:
    """Shake hands, `size` bytes at a time."""
    done = [False, False]
    for _ in range(20):
        for index, (one, other) in enumerate(((client, server), (server, client))):
            if not done[index]:
                done[index] = one.step()
            data = one.take_ciphertext()
            for start in range(0, len(data), size):
                other.feed(data[start : start + size])
                if not done[1 - index]:
                    done[1 - index] = other.step()
        if all(done) and not client.wants_send() and not server.wants_send():
            return
    raise AssertionError("the handshake takes too long")


def movable_pair(version: str, ciphers: str = "", *, size: int = 1 << 20) -> tuple[MovableSession, MovableSession]:
    client = movable_session(version, client=True, ciphers=ciphers)
    server = movable_session(version, client=False)
    shake(client, server, size=size)
    return client, server


def read(session: Any) -> bytes:
    target = bytearray(100_000)
    found = b""
    while (count := session.read_into(target, len(target))) > 0:
        found += target[:count]
    return found


def send(one: Any, other: Any, data: bytes) -> bytes:
    """From one session to the other; the plaintext that arrives."""
    sent = 0
    while sent < len(data):
        sent += one.write(data[sent:])
    other.feed(one.take_ciphertext())
    return read(other)


def record_like_a_kernel(keys: KernelKeys, plain: bytes) -> bytes:
    """The next record, as the kernel makes it of what it was given."""
    suite, info = keys.suite, bytes(keys.sending[4:])
    sequence = info[-8:]
    if suite.kernel_number == CHACHA20_POLY1305:
        iv, key = info[:12], info[12:44]
        cipher: Any = ChaCha20Poly1305(key)
    else:
        explicit, key, salt = info[:8], info[8 : 8 + suite.key_size], info[8 + suite.key_size : 12 + suite.key_size]
        iv, cipher = salt + explicit, AESGCM(key)
    nonce = iv
    if not suite.explicit_nonce:
        nonce = bytes(a ^ b for a, b in zip(iv, bytes(4) + sequence, strict=True))
    if suite.version == "TLSv1.3":
        head = b"\x17\x03\x03" + (len(plain) + 17).to_bytes(2, "big")
        return head + bytes(cipher.encrypt(nonce, plain + b"\x17", head))
    associated = sequence + b"\x17\x03\x03" + len(plain).to_bytes(2, "big")
    body = (nonce[4:] if suite.explicit_nonce else b"") + bytes(cipher.encrypt(nonce, plain, associated))
    return b"\x17\x03\x03" + len(body).to_bytes(2, "big") + body


# -- keys and numbers ------------------------------------------------------------------------------------------------


@every_cipher
@pytest.mark.parametrize("size", [1 << 20, 1, 7], ids=["whole", "single octets", "sevens"])
def test_openssl_reads_what_the_kernel_would_send(version: str, ciphers: str, size: int) -> None:
    client, server = movable_pair(version, ciphers, size=size)
    assert send(client, server, b"hello") == b"hello"
    assert send(server, client, b"x" * 40_000) == b"x" * 40_000
    assert send(client, server, b"y" * 20_000) == b"y" * 20_000
    for mine, other in ((client, server), (server, client)):
        other.feed(record_like_a_kernel(mine.kernel_keys(), b"from the kernel"))
        assert read(other) == b"from the kernel"


@both_versions
def test_both_sides_agree(version: str) -> None:
    client, server = movable_pair(version)
    send(client, server, b"a")
    send(server, client, b"b")
    ours, theirs = client.kernel_keys(), server.kernel_keys()
    # Without the explicit part of nonces, which the receiver reads from the records.
    start = 12 if version == "TLS 1.2" else 4
    assert ours.sending[start:] == theirs.receiving[start:]
    assert ours.receiving[start:] == theirs.sending[start:]


@both_versions
def test_right_after_the_handshake(version: str) -> None:
    client, server = movable_pair(version)
    read(client)
    server.feed(record_like_a_kernel(client.kernel_keys(), b"first"))
    assert read(server) == b"first"
    client.feed(record_like_a_kernel(server.kernel_keys(), b"words"))
    assert read(client) == b"words"


@both_versions
def test_data_that_comes_together_with_the_end_of_the_handshake(version: str) -> None:
    client, server = movable_session(version, client=True), movable_session(version, client=False)
    client.step()
    server.feed(client.take_ciphertext())
    server.step()
    client.feed(server.take_ciphertext())
    done = client.step()
    last = client.take_ciphertext()
    if not done:
        server.feed(last)
        assert server.step()
        client.feed(server.take_ciphertext())
        assert client.step()
        last = b""
    client.write(b"early")
    server.feed(last + client.take_ciphertext() + b"\x17")
    assert server.step()
    assert read(server) == b"early"
    assert server.incoming.missing == 4
    assert server.incoming.count == (2 if version == "TLS 1.2" else 1)


@both_versions
def test_a_shortened_handshake(version: str) -> None:
    """The order of the last messages is another one."""
    client_side, server_side = client_context(version), server_context(version)
    keep_keys(client_side)
    keep_keys(server_side)
    resumed: Any = None
    for shortened in (False, True):
        client = movable(TlsSession(client_side, server_name=NAME, resumed=resumed), client_side)
        server = movable(TlsSession(server_side, server_side=True), server_side, server_side=True)
        shake(client, server)
        assert send(server, client, b"ticket") == b"ticket"
        assert client.resumed() is shortened
        resumed = client.exported()
        server.feed(record_like_a_kernel(client.kernel_keys(), b"x"))
        client.feed(record_like_a_kernel(server.kernel_keys(), b"y"))
        assert (read(server), read(client)) == (b"x", b"y")


def test_pyopenssl() -> None:
    from moorings.engine.tls_full_codec import FullTlsSession, make_full_context

    for version, number in (("TLS 1.2", 0x0303), ("TLS 1.3", 0x0304)):
        context = make_full_context(minimum=number, maximum=number, ciphers="ECDHE+AESGCM", options=0, partial_chain=0)
        keep_keys(context)
        client = movable(FullTlsSession(context, sni=NAME, alpn=(), judge=lambda *_: True), context)
        server = server_session(version)
        shake(client, server)
        assert send(client, server, b"hello") == b"hello"
        assert send(server, client, b"x" * 20_000) == b"x" * 20_000
        server.feed(record_like_a_kernel(client.kernel_keys(), b"from the kernel"))
        assert read(server) == b"from the kernel"


# -- why a connection stays ------------------------------------------------------------------------------------------


def refusal(session: MovableSession) -> str:
    with pytest.raises(MoveRefused) as caught:
        session.kernel_keys()
    return str(caught.value)


@both_versions
def test_a_count_that_is_wrong_is_noticed(version: str) -> None:
    client, server = movable_pair(version)
    send(client, server, b"a")
    for trail in (client.outgoing, server.incoming):
        trail.count += 1
    assert "updated" in refusal(client)
    assert "updated" in refusal(server)


def test_a_record_by_half() -> None:
    client, server = movable_pair("TLS 1.3")
    client.write(b"in two pieces")
    data = client.take_ciphertext()
    server.feed(data[:3])
    assert server.incoming.missing == 2
    server.feed(data[3:9])
    assert server.incoming.missing == len(data) - 9
    assert "by half" in refusal(server)
    server.feed(data[9:])
    assert server.incoming.missing == 0
    assert read(server) == b"in two pieces"
    server.kernel_keys()


def test_a_cipher_that_kernels_do_not_have() -> None:
    client, _ = movable_pair("TLS 1.2", "ECDHE-ECDSA-AES128-SHA256")
    assert "ECDHE-ECDSA-AES128-SHA256" in refusal(client)


def test_secrets_that_are_gone() -> None:
    client, server = movable_pair("TLS 1.3")
    kept = [secret for _, secret in client._secrets.values()]
    assert kept
    assert all(any(secret) for secret in kept)
    client.wipe()
    assert not any(any(secret) for secret in kept)
    assert "secrets" in refusal(client)
    kept = [secret for _, secret in server._secrets.values()]
    del server
    gc.collect()
    assert not any(any(secret) for secret in kept)


def test_an_answer_that_is_still_to_be_sent() -> None:
    client, server = movable_pair("TLS 1.3")
    server.write(b"queued")
    assert "still to be sent" in refusal(server)
    client.feed(server.take_ciphertext())
    read(client)
    client.kernel_keys()


@pytest.mark.parametrize("request_one", [False, True])
def test_key_updates(request_one: bool) -> None:
    client, server = movable_session("TLS 1.3", client=True), LoggedSession("TLS 1.3", client=False)
    shake(client, server)
    forger = Forger(server)
    client.feed(forger.data(b"a"))
    assert read(client) == b"a"
    client.kernel_keys()
    client.feed(forger.key_update(request=request_one))
    assert read(client) == b""
    assert refusal(client) == "a key update is pending"
    client.feed(forger.data(b"b"))
    assert read(client) == b"b"
    assert "updated" in refusal(client)


def test_our_own_answer_to_a_key_update() -> None:
    client, server = movable_session("TLS 1.3", client=True), LoggedSession("TLS 1.3", client=False)
    shake(client, server)
    forger = Forger(server)
    client.feed(forger.key_update(request=True))
    assert read(client) == b""
    client.incoming.restart()  # as if only the other direction had been looked at
    client.write(b"c")
    client.take_ciphertext()
    assert "updated" in refusal(client)


def test_a_key_update_behind_another_message_of_the_record() -> None:
    client, server = movable_session("TLS 1.3", client=True), LoggedSession("TLS 1.3", client=False)
    shake(client, server)
    forger = Forger(server)
    ticket = bytes(4) + bytes(4) + b"\1n" + b"\0\1t" + bytes(2)
    client.feed(forger.record(HANDSHAKE, b"\4" + len(ticket).to_bytes(3, "big") + ticket + KEY_UPDATE))
    assert read(client) == b""
    assert refusal(client) == "a key update is pending"


# -- the key log -----------------------------------------------------------------------------------------------------


def test_the_key_log_is_there_for_one_step_only() -> None:
    context = client_context()
    log = FileKeyLog(context)
    before = len(os.listdir("/proc/self/fd"))
    client, server = TlsSession(context, server_name=NAME), server_session()
    found = bytearray()
    client.step()
    server.feed(client.take_ciphertext())
    server.step()
    client.feed(server.take_ciphertext())
    assert log.during(client.step, found)
    assert b"CLIENT_TRAFFIC_SECRET_0 " in found
    assert context.keylog_filename is None
    client.feed(b"no TLS at all")
    with pytest.raises(ZeroDivisionError):
        log.during(lambda: 1 // 0 == 0, found)
    assert context.keylog_filename is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_lines_of_a_key_log() -> None:
    text = bytearray(
        b"# comment\nCLIENT_RANDOM 0aFF 00ff10\nEXPORTER_SECRET 00 11\n"
        b"SERVER_TRAFFIC_SECRET_0 00 1g\nCLIENT_RANDOM 00\n\n"
    )
    assert parse_key_log(text) == {"CLIENT_RANDOM": (b"\x0a\xff", bytearray(b"\x00\xff\x10"))}


def test_contexts_that_were_not_asked_keep_nothing() -> None:
    context = client_context()
    session = TlsSession(context, server_name=NAME)
    assert movable(session, context) is session
    assert context.keylog_filename is None


# -- records ---------------------------------------------------------------------------------------------------------


def test_records_in_any_pieces() -> None:
    source = random.Random(3)
    records = [
        bytes((23, 3, 3)) + size.to_bytes(2, "big") + source.randbytes(size)
        for size in (0, 1, 2, 100, 16384, 5, 16401, 0)
    ]
    stream = b"".join(records)
    for step in (1, 2, 5, 6, 1000, len(stream)):
        trail = RecordTrail()
        for start in range(0, len(stream), step):
            trail.add(memoryview(stream)[start : start + step])
        assert (trail.count, trail.missing, trail.last) == (len(records), 0, records[-1])


def test_what_is_no_tls_is_still_told_as_that() -> None:
    client = movable_session("TLS 1.3", client=True)
    client.step()
    client.take_ciphertext()
    client.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(TlsFailure):
        client.step()
    client = movable_session("TLS 1.3", client=True)
    client.step()
    client.feed(b"\x16\x03\x03\xff\xff" + bytes(100))
    with pytest.raises(TlsFailure):
        client.step()


# -- the stream ------------------------------------------------------------------------------------------------------


def refused(stream: Any, winerror: int = errors.ERROR_NOT_SUPPORTED) -> str:
    with pytest.raises(OSError) as caught:
        stream.detach()
    assert caught.value.winerror == winerror
    return str(caught.value)


async def goes_on(stream: Any, wire: Wire) -> None:
    await wire.send_raw(wire.records(b"still there"))
    assert await stream.read_exactly(11) == b"still there"
    await stream.write(b"me, too")
    assert await wire.receive() == b"me, too"


@both_versions
async def test_a_connection_that_was_not_asked_beforehand_stays(version: str) -> None:
    async with stream_and_wire(version) as (stream, wire):
        assert "transferable" in refused(stream)
        await goes_on(stream, wire)


@both_versions
async def test_a_kernel_without_tls(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_tls, "find_obstacle", lambda _suite: Obstacle("there is no TLS", "another kernel"))
    async with stream_and_wire(version, transferable=True) as (stream, wire):
        await wire.send_raw(wire.records(b"unread ") + wire.records(b"bytes"))
        assert await stream.read_exactly(3) == b"unr"
        assert "there is no TLS (another kernel)" in refused(stream)
        assert await stream.read_exactly(9) == b"ead bytes"
        await goes_on(stream, wire)


@both_versions
async def test_half_a_record_is_refused_and_waited_for(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_tls, "find_obstacle", lambda _suite: Obstacle("whole", ""))
    async with stream_and_wire(version, transferable=True) as (stream, wire):
        record = wire.records(b"in two pieces")
        await wire.send_raw(record[:9])
        waiting = stream.input_stream.read_async(Buffer(4), 4, InputStreamOptions.NONE)
        await until(lambda: stream._connection.stream.session.incoming.missing)
        cancelled = stream.cancel_io_async()
        with pytest.raises(OSError, match="cancel_io_async"):
            await waiting
        assert "by half" in refused(stream)
        await wire.send_raw(record[9:] + wire.records(b" and more")[:7])
        await cancelled
        assert "whole" in refused(stream)
        assert await stream.read() == b"in two pieces"


@both_versions
async def test_io_that_is_pending_is_refused(version: str) -> None:
    async with stream_and_wire(version, transferable=True) as (stream, wire):
        reading = stream.input_stream.read_async(Buffer(4), 4, InputStreamOptions.NONE)
        assert "pending" in refused(stream, errors.E_ILLEGAL_METHOD_CALL)
        await wire.send_raw(wire.records(b"four"))
        assert bytes(await reading) == b"four"
        stream.write(bytes(1 << 24))
        assert "pending" in refused(stream, errors.E_ILLEGAL_METHOD_CALL)


@both_versions
async def test_a_direction_that_has_ended(version: str) -> None:
    async with stream_and_wire(version, transferable=True) as (stream, wire):
        wire.session.close_notify()
        await wire.send_raw(wire.session.take_ciphertext())
        assert await stream.read() == b""
        assert "ended" in refused(stream, errors.E_ILLEGAL_METHOD_CALL)
    async with stream_and_wire(version, transferable=True) as (stream, wire):
        stream.end_writing()
        assert await wire.receive() == b""
        assert "ended" in refused(stream, errors.E_ILLEGAL_METHOD_CALL)
