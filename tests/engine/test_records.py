"""Sessions whose I/O was taken over by OpenSSL's own calls, beside those that go through `ssl`."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import ssl
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
from tests.engine.pairs import connected_sockets
from tests.engine.tls_pairs import VERSIONS, client_session, secured, server_context, shaken, stream_and_wire, tls_pair

from moorings import native_mode
from moorings.engine.tls_codec import FailureKind, TlsFailure, TlsSession

NATIVE = native_mode()[0]
LEAVES: Any = import_module("moorings.engine._records" if NATIVE else "moorings.engine._pure_records")
native_only = pytest.mark.skipif(not NATIVE, reason="the hot modules are not compiled")
both_versions = pytest.mark.parametrize("version", VERSIONS)
MEMORY = memoryview(bytearray(300_000))


def taken(version: str) -> tuple[Any, Any, TlsSession]:
    """A client's records, a server's records, and the client's session."""
    client, server = shaken(version)
    records = LEAVES.records_of(client), LEAVES.records_of(server)
    assert None not in records
    return (*records, client)


def read_all(records: Any, count: int = len(MEMORY)) -> bytes:
    found = b""
    while records.has_buffered() and (number := records.read_into(MEMORY, count)) > 0:
        found += bytes(MEMORY[:number])
    return found


def test_the_twin_takes_nothing_over() -> None:
    pure: Any = import_module("moorings.engine._pure_records")
    assert pure.records_of(object()) is None
    assert "not compiled" in pure.status()


@native_only
def test_it_works_here() -> None:
    assert LEAVES.status() == ""


@native_only
@both_versions
def test_bytes_both_ways(version: str) -> None:
    client, server, session = taken(version)
    for source, target in ((client, server), (server, client)):
        assert source.write(b"some bytes") == 10
        assert source.wants_send()
        target.feed(source.take_ciphertext())
        assert not source.wants_send()
        assert source.take_ciphertext() == b""
        assert target.has_buffered()
        assert read_all(target, 4) == b"some bytes"
        assert not target.has_buffered()
        assert target.read_into(MEMORY, 10) == -1
    assert session.version() == {"TLS 1.2": "TLSv1.2", "TLS 1.3": "TLSv1.3"}[version]
    assert session.exported() is not None


@native_only
@both_versions
def test_what_the_session_held_is_taken_along(version: str) -> None:
    client, server = shaken(version)
    server.write(b"early")
    client.feed(server.take_ciphertext())
    client.write(b"answer")
    records = LEAVES.records_of(client)
    assert records.has_buffered()
    assert records.wants_send()
    assert read_all(records) == b"early"
    server.feed(records.take_ciphertext())
    assert server.read_into(MEMORY, 100) == 6


@native_only
@both_versions
def test_plaintext_that_a_session_had_decrypted_counts(version: str) -> None:
    client, server = shaken(version)
    server.write(b"some bytes")
    client.feed(server.take_ciphertext())
    while client.read_into(MEMORY, 4) < 0:
        assert client.has_buffered()
    assert read_all(LEAVES.records_of(client)) == b" bytes"


@native_only
@both_versions
def test_any_cuts_and_any_sizes(version: str) -> None:
    chance = random.Random(5)
    client, server, _ = taken(version)
    for _ in range(60):
        plain = chance.randbytes(chance.choice((1, 30, 16384, 16385, 70_000)))
        client.write(plain)
        ciphertext = client.take_ciphertext()
        found = b""
        while ciphertext:
            cut = chance.choice((1, 5, 100, 16_000, len(ciphertext)))
            server.feed(ciphertext[:cut])
            ciphertext = ciphertext[cut:]
            found += read_all(server, chance.choice((1000, 16384, len(MEMORY))))
        assert found == plain


@native_only
@both_versions
def test_an_end_behind_bytes_is_told_after_them(version: str) -> None:
    client, server, _ = taken(version)
    client.write(b"last words")
    client.close_notify()
    client.close_notify()
    server.feed(client.take_ciphertext())
    assert server.read_into(MEMORY, 100) == 10
    assert server.has_buffered()
    assert server.read_into(MEMORY, 100) == 0
    server.write(b"answer")
    client.feed(server.take_ciphertext())
    assert read_all(client) == b"answer"


@native_only
@both_versions
def test_a_record_that_was_changed(version: str) -> None:
    client, server, _ = taken(version)
    client.write(b"good")
    good = client.take_ciphertext()
    client.write(b"bad")
    bad = bytearray(client.take_ciphertext())
    bad[-1] ^= 1
    server.feed(good + bytes(bad))
    assert server.read_into(MEMORY, 100) == 4
    for _ in range(2):
        assert server.has_buffered()
        with pytest.raises(TlsFailure) as caught:
            server.read_into(MEMORY, 100)
        assert caught.value.kind is FailureKind.RECORD
    client.feed(server.take_ciphertext())
    with pytest.raises(TlsFailure) as caught:
        client.read_into(MEMORY, 100)
    assert (caught.value.kind, caught.value.text) == (FailureKind.ALERT, "bad record mac")
    with pytest.raises(TlsFailure):
        client.write(b"more")


@native_only
def test_what_is_not_a_session_of_ssl_is_left_alone() -> None:
    client, _server = shaken("TLS 1.3")
    made, incoming, outgoing = client.parts()

    class Odd:
        def __init__(self, *parts: object) -> None:
            self.parts = lambda: parts

        def hand_over(self) -> None:
            raise AssertionError

    other = TlsSession(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), server_side=True)
    for odd in (
        object(),
        Odd(made, outgoing, incoming),
        Odd(made, incoming, ssl.MemoryBIO()),
        Odd(made, incoming, object()),
        Odd(other.parts()[0], incoming, outgoing),
        Odd(made, object(), outgoing),
    ):
        assert LEAVES.records_of(odd) is None
    assert LEAVES.records_of(client) is not None
    assert LEAVES.records_of(Odd(made, incoming, outgoing)) is None  # it has been taken


@native_only
def test_the_object_finds_nothing_afterwards_and_may_outlive_the_records() -> None:
    client, server = shaken("TLS 1.3")
    made = client.parts()[0]
    records = LEAVES.records_of(client)
    server.write(b"x")
    for _ in range(2):
        with pytest.raises(ssl.SSLWantReadError):
            made.read(10)
        records = None
    assert records is None
    with pytest.raises(ssl.SSLError):
        made.write(b"nobody takes it")
    assert made.version() == "TLSv1.3"


@native_only
def test_it_can_be_turned_off() -> None:
    program = "from moorings.engine import _records; print(_records.status())"
    environment = {**os.environ, "MOORINGS_DIRECT_TLS": "off"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "MOORINGS_DIRECT_TLS=off\n"


class Closed(TlsSession):
    """A session that nobody can take over."""

    __slots__ = ()
    parts = None  # type: ignore[assignment]


@both_versions
async def test_a_stream_whose_session_cannot_be_taken_over(version: str) -> None:
    ours, theirs = connected_sockets()
    mine, closed = client_session(version), Closed(server_context(version), server_side=True)
    client, server = await asyncio.gather(secured(ours, mine, client=True), secured(theirs, closed, client=False))
    async with client, server:
        for size in (1, 64, 100_000):
            data = os.urandom(size)
            sending = asyncio.ensure_future(client.write(data))
            assert await server.read_exactly(size) == data
            await sending
            await server.write(data[:64])
            assert await client.read_exactly(min(size, 64)) == data[:64]


@both_versions
async def test_a_record_in_pieces_before_many_others(version: str) -> None:
    """A part of a record is with OpenSSL when the rest comes with more: none of it may be overwritten."""
    data = random.Random(1).randbytes(200_000)
    async with stream_and_wire(version) as (stream, wire):
        ciphertext = wire.records(data)
        reading = asyncio.ensure_future(stream.read_exactly(len(data)))
        for cut in (10, 16_300, 1, 70_000, 5):
            await wire.send_raw(ciphertext[:cut])
            ciphertext = ciphertext[cut:]
            await asyncio.sleep(0)
        await wire.send_raw(ciphertext)
        assert await reading == data


@both_versions
async def test_small_reads_of_big_records_take_turns_with_other_connections(version: str) -> None:
    """What is left in the loop's block when a read has enough must not be lost to the next stream that receives."""
    async with tls_pair(version) as (one, other), tls_pair(version) as (third, fourth):
        first, second = random.Random(2).randbytes(150_000), random.Random(3).randbytes(150_000)
        writes = [asyncio.ensure_future(one.write(first)), asyncio.ensure_future(third.write(second))]
        found, also = b"", b""
        while len(found) < len(first):
            found += await other.read_exactly(min(7_001, len(first) - len(found)))
            also += await fourth.read_exactly(min(7_001, len(second) - len(also)))
        assert (found, also) == (first, second)
        await asyncio.gather(*writes)


@native_only
def test_versions_that_free_what_is_in_use() -> None:
    for version in ((1, 1, 1, 23), (3, 0, 0, 13), (3, 1, 0, 5), (3, 2, 0, 1), (3, 3, 0, 0)):
        assert not LEAVES.frees_safely((*version, 0))
    for version in ((3, 0, 0, 14), (3, 1, 0, 6), (3, 2, 0, 2), (3, 3, 0, 1), (3, 4, 0, 0), (4, 0, 0, 0)):
        assert LEAVES.frees_safely((*version, 0))


COLLECTED = """
import gc
from moorings.engine._records import records_of
from tests.engine.tls_pairs import shaken

class Holder:
    pass

for version in ("TLS 1.2", "TLS 1.3"):
    holder = Holder()
    client, server = shaken(version)
    holder.itself, holder.records = holder, records_of(client)
    del holder, client, server
    gc.collect()
"""


@native_only
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_the_garbage_collector_may_take_a_session_in_any_order() -> None:
    """The BIO was used after the collector had freed it with the session; only a judge of memory can see that."""
    environment = {**os.environ, "PYTHONMALLOC": "malloc"}
    command = ["valgrind", "-q", "--undef-value-errors=no", "--error-exitcode=9", sys.executable, "-c", COLLECTED]
    judged = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert judged.returncode == 0, judged.stderr
