"""The TLS session without I/O."""

from __future__ import annotations

import ssl

import pytest
import trustme
from tests.engine.tls_pairs import (
    NAME,
    VERSIONS,
    client_context,
    client_session,
    server_certificate,
    server_session,
    shaken,
)

from moorings import errors
from moorings.engine.tls_codec import FailureKind, TlsFailure, TlsSession, alert_name, error_of, failure_of

both_versions = pytest.mark.parametrize("version", VERSIONS)
MEMORY = memoryview(bytearray(65536))


def read(session: TlsSession) -> bytes:
    count = session.read_into(MEMORY, len(MEMORY))
    assert count >= 0
    return bytes(MEMORY[:count])


def _go_on(session: TlsSession) -> None:
    for _ in range(3):
        assert not session.step() or session.read_into(MEMORY, 1) == -1


@both_versions
def test_both_sides_know_what_they_agreed_on(version: str) -> None:
    client, server = shaken(version)
    assert client.version() == server.version() == {"TLS 1.2": "TLSv1.2", "TLS 1.3": "TLSv1.3"}[version]
    assert client.cipher() == server.cipher() != ""
    assert client.alpn() == server.alpn() == ""
    assert server.requested_name() == NAME
    assert client.requested_name() == ""
    assert not client.resumed()
    leaf = ssl.PEM_cert_to_DER_cert(server_certificate().cert_chain_pems[0].bytes().decode())
    assert client.peer_chain() == [leaf]
    assert server.peer_chain() == []


@both_versions
def test_bytes_both_ways(version: str) -> None:
    client, server = shaken(version)
    for source, target in ((client, server), (server, client)):
        assert source.write(b"some bytes") == 10
        assert source.wants_send()
        target.feed(source.take_ciphertext())
        assert not source.wants_send()
        assert target.has_buffered()
        while (count := target.read_into(MEMORY, 4)) < 0:
            assert target.has_buffered()
        assert bytes(MEMORY[:count]) == b"some"
        assert target.has_buffered()
        assert read(target) == b" bytes"
        assert not target.has_buffered()


@both_versions
def test_records_one_byte_at_a_time(version: str) -> None:
    client, server = client_session(version), server_session(version)
    done = [False, False]
    sides = (client, server)
    for _ in range(20):
        for number, (source, target) in enumerate(((client, server), (server, client))):
            done[number] = done[number] or source.step()
            for byte in source.take_ciphertext():
                target.feed(bytes([byte]))
                if not done[1 - number]:
                    done[1 - number] = sides[1 - number].step()
        if all(done):
            break
    assert done == [True, True]
    client.write(b"message")
    for byte in client.take_ciphertext()[:-1]:
        server.feed(bytes([byte]))
        assert server.read_into(MEMORY, 100) == -1


@both_versions
def test_close_notify_and_what_came_before_it(version: str) -> None:
    client, server = shaken(version)
    client.write(b"last words")
    client.close_notify()
    client.close_notify()
    server.feed(client.take_ciphertext())
    assert read(server) == b"last words"
    assert not server.peer_closed
    assert read(server) == b""
    assert server.peer_closed
    assert read(server) == b""
    server.write(b"answer")
    client.feed(server.take_ciphertext())
    while (count := client.read_into(MEMORY, 100)) < 0:
        assert client.has_buffered()
    assert bytes(MEMORY[:count]) == b"answer"


@both_versions
def test_a_refused_certificate_is_still_there_to_be_looked_at(version: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trustme.CA().configure_trust(context)
    client, server = TlsSession(context, server_name=NAME), server_session(version)
    client.step()
    server.feed(client.take_ciphertext())
    server.step()
    client.feed(server.take_ciphertext())
    with pytest.raises(TlsFailure) as caught:
        client.step()
    assert caught.value.kind is FailureKind.CERTIFICATE
    assert caught.value.verify_code == 20
    assert len(client.peer_chain()) == 1
    server.feed(client.take_ciphertext())  # the alert
    with pytest.raises(TlsFailure) as caught:
        _go_on(server)
    assert caught.value.kind is FailureKind.ALERT
    assert caught.value.text == "unknown ca"


def test_a_wrong_name_has_its_code() -> None:
    client, server = TlsSession(client_context(), server_name="other.example"), server_session()
    client.step()
    server.feed(client.take_ciphertext())
    server.step()
    client.feed(server.take_ciphertext())
    with pytest.raises(TlsFailure) as caught:
        client.step()
    assert caught.value.verify_code == 62


@both_versions
@pytest.mark.parametrize("answer", [b"220 mail.example ESMTP\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_is_no_tls(version: str, answer: bytes) -> None:
    client = client_session(version)
    client.step()
    client.feed(answer)
    with pytest.raises(TlsFailure) as caught:
        client.step()
    assert caught.value.kind is FailureKind.NOT_TLS


def test_no_version_in_common() -> None:
    context = client_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    client, server = TlsSession(context, server_name=NAME), server_session("TLS 1.2")
    client.step()
    server.feed(client.take_ciphertext())
    with pytest.raises(TlsFailure) as caught:
        server.step()
    assert caught.value.kind is FailureKind.VERSION
    client.feed(server.take_ciphertext())
    with pytest.raises(TlsFailure) as caught:
        client.step()
    assert caught.value.kind is FailureKind.ALERT
    assert caught.value.text == "protocol version"


@both_versions
def test_a_record_that_was_changed(version: str) -> None:
    client, server = shaken(version)
    client.write(b"message")
    record = bytearray(client.take_ciphertext())
    record[-1] ^= 1
    server.feed(record)
    with pytest.raises(TlsFailure) as caught:
        server.read_into(MEMORY, 100)
    assert caught.value.kind is FailureKind.RECORD
    assert server.wants_send()  # the alert


@both_versions
def test_an_earlier_session_shortens_the_handshake(version: str) -> None:
    context = client_context(version)
    server_side = server_session(version)
    first = TlsSession(context, server_name=NAME)
    for _ in range(4):
        first.step()
        server_side.feed(first.take_ciphertext())
        server_side.step()
        first.feed(server_side.take_ciphertext())
    assert first.read_into(MEMORY, 1) == -1  # the tickets of TLS 1.3
    session = first.exported()
    assert session is not None
    context_of_server = server_side._made.context
    second = TlsSession(context, server_name=NAME, resumed=session)
    again = TlsSession(context_of_server, server_side=True)
    for _ in range(4):
        second.step()
        again.feed(second.take_ciphertext())
        again.step()
        second.feed(again.take_ciphertext())
    assert second.resumed()
    assert again.resumed()


@pytest.mark.parametrize(
    ("reason", "kind", "winerror"),
    [
        ("CERTIFICATE_VERIFY_FAILED", FailureKind.CERTIFICATE, errors.SEC_E_CERT_UNKNOWN),
        ("TLSV1_ALERT_UNKNOWN_CA", FailureKind.ALERT, errors.SEC_E_ILLEGAL_MESSAGE),
        ("TLS_ALERT_HANDSHAKE_FAILURE", FailureKind.ALERT, errors.SEC_E_ILLEGAL_MESSAGE),
        ("SSL_TLS_ALERT_HANDSHAKE_FAILURE", FailureKind.ALERT, errors.SEC_E_ILLEGAL_MESSAGE),
        ("TLSV1_UNRECOGNIZED_NAME", FailureKind.ALERT, errors.SEC_E_ILLEGAL_MESSAGE),
        ("TOO_MANY_WARN_ALERTS", FailureKind.PROTOCOL, errors.SEC_E_ILLEGAL_MESSAGE),
        ("INVALID_ALERT", FailureKind.PROTOCOL, errors.SEC_E_ILLEGAL_MESSAGE),
        ("WRONG_VERSION_NUMBER", FailureKind.NOT_TLS, errors.SEC_E_INVALID_TOKEN),
        ("NO_SHARED_CIPHER", FailureKind.VERSION, errors.SEC_E_ALGORITHM_MISMATCH),
        ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", FailureKind.RECORD, errors.SEC_E_MESSAGE_ALTERED),
        ("UNEXPECTED_MESSAGE", FailureKind.PROTOCOL, errors.SEC_E_ILLEGAL_MESSAGE),
    ],
)
def test_reasons_of_openssl(reason: str, kind: FailureKind, winerror: int) -> None:
    failure = failure_of(reason, "the text")
    assert failure.kind is kind
    error = error_of(failure, "StreamSocket a -> b")
    assert error.winerror == winerror
    assert error.reason.startswith("StreamSocket a -> b: ")
    assert error.__cause__ is failure


def test_names_of_alerts() -> None:
    assert alert_name("SSLV3_ALERT_HANDSHAKE_FAILURE") == "handshake failure"
    assert alert_name("TLS_ALERT_INTERNAL_ERROR") == "internal error"
    assert alert_name("TLSV1_UNRECOGNIZED_NAME") == "unrecognized name"
    assert alert_name("TLSV13_ALERT_CERTIFICATE_REQUIRED") == "certificate required"
